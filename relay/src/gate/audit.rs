//! The audit log: every change of the gate, by whom and when, a line each, appended and never rewritten.
//!
//! Each line names the checksum of the line before it, so that a line that was taken out, or put in, shows
//! when the log is read. It is a guard against accidents and careless hands; who is root can write a log of
//! his own, and should be watched by other means. The file is opened for each line, so it may be moved away.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest line that is read back, octets: a list of a million networks is one line.
const LINE_MAX: u64 = 256 << 20;
/// How much of the end of the log is read to find its last line, octets.
const TAIL: u64 = 64 << 10;
/// Root's, and root's group's to read.
const MODE: u32 = 0o640;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The user who asked for it; none for what time or the gate itself brought.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// What was done, for instance `allow add`.
    pub verb: String,
    /// The networks that it was done to.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub networks: Vec<String>,
    /// The networks that went, where a change brings some and takes others.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub removed: Vec<String>,
    /// Everything else that was said, for instance tag, note and end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// A line of the log.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The checksum of the line before.
    after: String,
    #[serde(flatten)]
    change: Change,
}

/// What was read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Page {
    /// The changes, the oldest first.
    pub changes: Vec<Change>,
    /// Lines that do not follow the one before them, or cannot be read; counted from 1.
    pub broken_lines: Vec<usize>,
}

/// The log.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

impl Audit {
    /// Returns the log in the gate's state folder.
    #[must_use]
    pub fn within(state: &Path) -> Self {
        Self { path: state.join("audit.jsonl") }
    }

    /// Appends a change; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// What the file system said, with the file's name.
    pub fn append(&self, change: Change) -> io::Result<()> {
        self.write(change).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        })
    }

    fn write(&self, change: Change) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(MODE).open(&self.path)?;
        let (last, is_whole) = last_line(&mut file)?;
        let mut text = if is_whole { Vec::new() } else { vec![b'\n'] };
        let line = Line { after: sum(&last), change };
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_data()
    }

    /// Reads the changes since a time, at most `limit` of them, the newest.
    ///
    /// # Errors
    ///
    /// What the file system said; that there is no log yet is none.
    pub fn read(&self, since: Timestamp, limit: usize) -> io::Result<Page> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Page::default()),
            opened => opened?,
        };
        let mut file = BufReader::new(file);
        let mut changes = std::collections::VecDeque::new();
        let (mut broken_lines, mut before) = (Vec::new(), None);
        for number in 1.. {
            let mut line = Vec::new();
            if (&mut file).take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            match serde_json::from_slice::<Line>(text) {
                Ok(Line { after, change }) => {
                    // The first line may follow one that was moved away.
                    if before.as_ref().is_some_and(|before| *before != after) {
                        broken_lines.push(number);
                    }
                    if change.at >= since {
                        changes.push_back(change);
                    }
                    if changes.len() > limit {
                        changes.pop_front();
                    }
                }
                Err(_) => broken_lines.push(number),
            }
            before = Some(sum(text));
        }
        Ok(Page { changes: changes.into(), broken_lines })
    }
}

/// Returns the last line without its end, and whether it has one.
fn last_line(file: &mut File) -> io::Result<(Vec<u8>, bool)> {
    let length = file.seek(io::SeekFrom::End(0))?;
    let mut tail = TAIL;
    loop {
        let from = length.saturating_sub(tail);
        file.seek(io::SeekFrom::Start(from))?;
        let mut text = Vec::new();
        (&*file).take(tail).read_to_end(&mut text)?;
        let is_whole = text.last().is_none_or(|byte| *byte == b'\n');
        if is_whole {
            text.pop();
        }
        if let Some(place) = text.iter().rposition(|byte| *byte == b'\n') {
            return Ok((text.split_off(place + 1), is_whole));
        }
        if from == 0 {
            return Ok((text, is_whole));
        }
        tail = tail.saturating_mul(16).min(LINE_MAX);
    }
}

fn sum(line: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, line);
    let (first, _) = digest.as_ref().split_first_chunk().expect("invariant: SHA-256 has 32 bytes");
    format!("{:016x}", u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(second: i64, networks: usize) -> Change {
        Change {
            at: Timestamp::from_second(second).unwrap(),
            uid: Some(1000),
            verb: "allow add".into(),
            networks: (0..networks).map(|n| format!("10.0.0.{n}/32")).collect(),
            removed: Vec::new(),
            detail: Some("tag billing".into()),
        }
    }

    fn audit(folder: &tempfile::TempDir) -> Audit {
        Audit::within(folder.path())
    }

    #[test]
    fn changes_are_read_back_in_order_since_a_time_and_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let audit = audit(&folder);
        assert_eq!(audit.read(Timestamp::MIN, 10).unwrap(), Page::default());
        // One line is longer than what is read at once to find the last one.
        for (second, networks) in [(1, 1), (2, 20_000), (3, 0), (4, 2)] {
            audit.append(change(second, networks)).unwrap();
        }
        let all = audit.read(Timestamp::MIN, 10).unwrap();
        assert_eq!((all.changes.len(), all.broken_lines), (4, Vec::new()));
        let since = audit.read(Timestamp::from_second(3).unwrap(), 10).unwrap();
        assert_eq!(since.changes, [change(3, 0), change(4, 2)]);
        assert_eq!(audit.read(Timestamp::MIN, 1).unwrap().changes, [change(4, 2)]);
    }

    #[test]
    fn a_line_that_is_missing_changed_or_cut_shows() {
        let folder = tempfile::tempdir().unwrap();
        let audit = audit(&folder);
        for second in 1..=4 {
            audit.append(change(second, 1)).unwrap();
        }
        let whole = std::fs::read_to_string(&audit.path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        let broken = |text: String| {
            std::fs::write(&audit.path, text).unwrap();
            audit.read(Timestamp::MIN, 10).unwrap().broken_lines
        };
        assert_eq!(broken([lines[0], lines[2], lines[3], ""].join("\n")), [2]);
        assert_eq!(broken(whole.replacen("billing", "payroll", 2)), [2, 3]);
        let cut = whole.len() - 7;
        assert_eq!(broken(whole[..cut].to_owned()), [4]);
        audit.append(change(5, 1)).unwrap();
        let page = audit.read(Timestamp::MIN, 10).unwrap();
        assert_eq!(
            (page.changes.len(), page.broken_lines),
            (4, vec![4]),
            "half a line stays alone"
        );
    }
}
