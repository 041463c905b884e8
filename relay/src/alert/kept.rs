//! What outlives the process: troubles, silences and what is still to be told, in one small file.
//!
//! The first line is `sallyport-alerts 1` and the checksum (CRC-32C) of the rest, which is JSON. The file is
//! replaced as a whole, so a crash leaves the old one or the new one.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use super::silences::Silences;
use super::troubles::Troubles;

/// The name of the file in the folder of the spool.
const FILE: &str = "alerts.json";
/// The longest file that is read, octets: what the limits of its parts allow (32 channels of one MiB each, a thousand
/// troubles of at most 16 KiB), and more.
const FILE_MAX: u64 = 64 << 20;
/// The first word of the file; the version of its form follows.
const WORD: &str = "sallyport-alerts ";
/// The version of the form.
const VERSION: u32 = 1;

/// Everything that is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// Whether the process that wrote this had not ended in order.
    pub is_running: bool,
    /// When processes before this one had not ended in order, within the last hour.
    #[serde(default)]
    pub cut_off: Vec<Timestamp>,
    /// A random number, drawn once: with its number it names an entry for receivers.
    pub series: u64,
    /// The last alert of the gate that was heard: its series and its number.
    pub heard: Option<(Timestamp, u64)>,
    /// What is wrong now, and what was told.
    pub troubles: Troubles,
    /// What nobody wants to hear of.
    pub silences: Silences,
    /// What is still to be told.
    pub outbox: Outbox,
}

/// How long a process that ended without an order counts.
const LATELY: SignedDuration = SignedDuration::from_hours(1);
/// The most of them that are counted.
const CUT_OFF_MAX: usize = 100;
/// From how many on, within that time, people hear of it again.
const GROWN: [usize; 6] = [2, 5, 10, 20, 50, CUT_OFF_MAX];

impl Kept {
    /// Notes that the process before this one had not ended in order; returns the words for it.
    pub fn note_cut_off(&mut self, now: Timestamp) -> String {
        self.cut_off.retain(|at| (SignedDuration::ZERO..LATELY).contains(&now.duration_since(*at)));
        self.cut_off.push(now);
        let surplus = self.cut_off.len().saturating_sub(CUT_OFF_MAX);
        self.cut_off.drain(..surplus);
        let grown = GROWN.into_iter().rfind(|times| *times <= self.cut_off.len());
        let often = grown.map(|times| format!(", {times} times or more within an hour"));
        let often = often.unwrap_or_default();
        format!("the relay ended without an order{often}, and was started anew")
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct KeptFile(PathBuf);

impl KeptFile {
    /// Returns the file in the folder of the spool.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self(folder.join(FILE))
    }

    /// Reads it; what is not there is empty. Blocks on the disk.
    ///
    /// A file that cannot be understood, or is of a later version, is set aside, and the sentence about it comes
    /// beside an empty beginning: mail does not wait for alerts.
    #[must_use]
    pub fn read(&self) -> (Kept, Option<String>) {
        let mut octets = Vec::new();
        let read =
            fs::File::open(&self.0).and_then(|file| file.take(FILE_MAX).read_to_end(&mut octets));
        let problem = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (Kept::default(), None);
            }
            Err(error) => Problem::Damaged(error.to_string()),
            Ok(_) => match parse(&octets) {
                Ok(kept) => return (kept, None),
                Err(problem) => problem,
            },
        };
        let aside = self.0.with_extension(match problem {
            Problem::Damaged(_) => "damaged".to_owned(),
            Problem::Version(found) => format!("version-{found}"),
        });
        let moved = match fs::rename(&self.0, &aside) {
            Ok(()) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it cannot be set aside: {error}"),
        };
        let file = self.0.display();
        let words = format!(
            "{file}: {problem}; {moved}. Silences and alerts that were still to be told are lost"
        );
        (Kept::default(), Some(words))
    }

    /// Writes it. When this returns it survives a loss of power. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What the operating system says; then the former one is still there.
    pub fn write(&self, kept: &[u8]) -> io::Result<()> {
        let new = self.0.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(kept)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        fs::File::open(self.0.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

/// Returns the text of the file.
///
/// # Errors
///
/// None that is known: the shape has no values that JSON lacks.
pub fn text(kept: &Kept) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(kept)?;
    let mut text = format!("{WORD}{VERSION} {:08x}\n", crc32c::crc32c(&json)).into_bytes();
    text.extend_from_slice(&json);
    Ok(text)
}

/// Why a file is not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Damaged(String),
    #[error(
        "written in version {0} of its form, this program reads {VERSION}: give it its name back for the \
         program that wrote it"
    )]
    Version(u32),
}

fn parse(octets: &[u8]) -> Result<Kept, Problem> {
    let damaged = |problem: &str| Problem::Damaged(problem.to_owned());
    let wrong = || damaged("it is no file of alerts");
    let line = octets.iter().position(|octet| *octet == b'\n').ok_or_else(wrong)?;
    let (head, json) = (&octets[..line], &octets[line + 1..]);
    let head = std::str::from_utf8(head).ok().and_then(|head| head.strip_prefix(WORD));
    let (version, sum) = head.and_then(|head| head.split_once(' ')).ok_or_else(wrong)?;
    match version.parse() {
        Ok(VERSION) => {}
        Ok(found) if found > VERSION => return Err(Problem::Version(found)),
        Ok(_) | Err(_) => return Err(wrong()),
    }
    if sum != format!("{:08x}", crc32c::crc32c(json)) {
        return Err(damaged("its checksum is wrong"));
    }
    serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::wording::noted;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_set_aside_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeptFile::within(folder.path());
        let (mut kept, problem) = file.read();
        assert_eq!(problem, None);
        let now = Timestamp::UNIX_EPOCH;
        kept.heard = Some((now, 7));
        kept.outbox.push("ops", noted("x", "y").at(now), now);
        let text = text(&kept).unwrap();
        file.write(&text).unwrap();
        let (read, problem) = file.read();
        assert_eq!(problem, None);
        assert_eq!((read.heard, read.outbox.of("ops").count()), (Some((now, 7)), 1));
        for place in 0..text.len() {
            let mut octets = text.clone();
            octets[place] ^= 1;
            assert!(parse(&octets).is_err(), "octet {place}");
            assert!(parse(&text[..place]).is_err(), "cut at {place}");
        }
        let mut octets = text;
        octets.pop();
        file.write(&octets).unwrap();
        let (empty, problem) = file.read();
        assert_eq!(empty.outbox.of("ops").count(), 0);
        let problem = problem.unwrap();
        assert!(problem.contains("its checksum is wrong; it is kept as"), "{problem}");
        assert!(folder.path().join("alerts.damaged").exists());
        assert!(file.read().1.is_none());
    }

    #[test]
    fn a_relay_that_ends_again_and_again_says_so_when_it_has_become_worse() {
        let mut kept = Kept::default();
        let mut words = Vec::new();
        for minute in 0..12 {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
            words.push(kept.note_cut_off(at));
        }
        let first = "the relay ended without an order, and was started anew";
        assert_eq!(words[0], first);
        words.dedup();
        let often = |times: &str| {
            format!(
                "the relay ended without an order, {times} times or more within an hour, and was started anew"
            )
        };
        assert_eq!(words[1..], ["2", "5", "10"].map(often));
        let later = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(3);
        assert_eq!(kept.note_cut_off(later), first);
        assert_eq!(kept.cut_off.len(), 1);
    }

    #[test]
    fn a_file_of_a_later_version_is_kept_as_it_is_under_a_name_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeptFile::within(folder.path());
        let later = b"sallyport-alerts 2 of a form that nobody knows here\n{}";
        file.write(later).unwrap();
        let problem = file.read().1.unwrap();
        for words in
            ["alerts.json: written in version 2", "this program reads 1", "alerts.version-2"]
        {
            assert!(problem.contains(words), "{words}: {problem}");
        }
        assert_eq!(fs::read(folder.path().join("alerts.version-2")).unwrap(), later);
    }
}
