//! Keeps samples for a replay: the newest half of the limit in one file, the half before in another.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::watch::Sample;
use crate::watch::series::{HEAD, Writer};

/// What is collected before it is written: some ten seconds.
const CHUNK: usize = 4 << 10;
/// Where the end of the last whole line is looked for, octets from the end of a file: a line is shorter.
const TAIL: u64 = 64 << 10;
/// Who may read the files: root and its group. They name networks.
const MODE: u32 = 0o640;
/// After so long a file that could not be written is tried again: a disk that was full has room by then, or not.
const AGAIN: Duration = Duration::from_secs(3600);

/// Where samples are kept.
#[derive(Debug)]
pub(super) struct Recorder {
    newest: PathBuf,
    before: PathBuf,
    open: Option<Open>,
    problem: Option<String>,
    failed: Option<Failed>,
}

/// A file could not be written.
#[derive(Debug)]
struct Failed {
    /// When it was tried last.
    at: Duration,
    /// The limit then: another one is tried at once, and told.
    limit: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    writer: Writer,
    text: String,
}

impl Recorder {
    /// Returns a recorder that keeps nothing yet.
    pub fn within(state: &Path) -> Self {
        Self {
            newest: state.join("samples.txt"),
            before: state.join("samples.before.txt"),
            open: None,
            problem: None,
            failed: None,
        }
    }

    /// Keeps a sample, in files of at most `limit` octets together; 0 keeps none.
    pub fn take(&mut self, sample: &Sample, limit: u64) {
        if limit == 0 {
            self.flush();
            (self.open, self.failed) = (None, None);
            return;
        }
        let before = self.failed.as_ref().filter(|failed| failed.limit == limit);
        if before.is_some_and(|failed| sample.at.saturating_sub(failed.at) < AGAIN) {
            return;
        }
        let is_news = before.is_none();
        let Err(error) = self.keep(sample, limit) else {
            return;
        };
        if is_news {
            let file = self.newest.display();
            let again = "it is tried again each hour";
            self.problem = Some(format!("{file}: no sample is kept, {again}: {error}"));
        }
        self.failed = Some(Failed { at: sample.at, limit });
        // A file into which nothing went would push the last good one out at the next try.
        if self.open.take().is_some_and(|open| open.bytes == 0) {
            let _ = std::fs::remove_file(&self.newest);
        }
    }

    fn keep(&mut self, sample: &Sample, limit: u64) -> io::Result<()> {
        let is_full = |open: &Open| open.bytes + open.text.len() as u64 >= limit / 2;
        if self.open.as_ref().is_some_and(is_full) {
            self.flush();
            self.open = None;
        }
        if self.open.is_none() {
            self.open = self.resumed(sample, limit);
        }
        if self.open.is_none() {
            // What an earlier process kept goes the same way.
            match std::fs::rename(&self.newest, &self.before) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(MODE).open(&self.newest)?;
            let text = format!("{HEAD}\n");
            self.open = Some(Open { file, bytes: 0, writer: Writer::default(), text });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.writer.write(sample, &mut open.text);
        if open.text.len() < CHUNK {
            return Ok(());
        }
        open.flush()?;
        self.failed = None;
        Ok(())
    }

    /// Goes on with the newest file, if an earlier process kept it since the host was booted and it has room: a gate that
    /// is started often must not push out what the first of them saw.
    fn resumed(&self, sample: &Sample, limit: u64) -> Option<Open> {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.newest).ok()?;
        let about = file.metadata().ok()?;
        let booted = sample.wall.checked_sub(sample.at).ok()?;
        let written = Timestamp::try_from(about.modified().ok()?).ok()?;
        if written < booted || about.len() >= limit / 2 {
            return None;
        }
        let bytes = whole_lines(&mut file, about.len()).ok()??;
        file.set_len(bytes).ok()?;
        Some(Open { file, bytes, writer: Writer::default(), text: String::new() })
    }

    /// Writes what was collected.
    pub fn flush(&mut self) {
        if let Some(Err(error)) = self.open.as_mut().map(Open::flush) {
            self.problem = Some(format!("{}: samples are missing: {error}", self.newest.display()));
        }
    }

    /// Returns what went wrong, once.
    pub fn problem(&mut self) -> Option<String> {
        self.problem.take()
    }
}

impl Open {
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(self.text.as_bytes())?;
        self.bytes += self.text.len() as u64;
        self.text.clear();
        Ok(())
    }
}

/// Goes behind the last whole line of a file of samples, which a crash may have cut short, and returns how long it is up
/// to there; none if it is no such file.
fn whole_lines(file: &mut File, length: u64) -> io::Result<Option<u64>> {
    let mut head = [0; HEAD.len() + 1];
    if file.read_exact(&mut head).is_err() || head.strip_suffix(b"\n") != Some(HEAD.as_bytes()) {
        return Ok(None);
    }
    let tail = length.min(TAIL);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut text = Vec::new();
    file.take(tail).read_to_end(&mut text)?;
    let Some(end) = text.iter().rposition(|octet| *octet == b'\n') else { return Ok(None) };
    let whole = length - tail + end as u64 + 1;
    file.seek(SeekFrom::Start(whole))?;
    Ok(Some(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::series::Reader;

    fn sample(tick: u64) -> Sample {
        let at = Duration::from_millis(tick * 100);
        Sample { refused: tick * 7, ..Sample::new(at, Timestamp::UNIX_EPOCH + at) }
    }

    #[test]
    fn the_newest_samples_are_kept_and_no_more_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::within(folder.path());
        let limit = 64 << 10;
        (1..20_000).for_each(|tick| recorder.take(&sample(tick), limit));
        recorder.flush();
        assert_eq!(recorder.problem(), None);
        let mut last = None;
        let mut bytes = 0;
        for name in ["samples.before.txt", "samples.txt"] {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            bytes += text.len() as u64;
            let mut reader = Reader::default();
            for line in text.lines() {
                let Some(read) = reader.read(line).unwrap() else { continue };
                if let Some(last) = last {
                    assert_eq!(read.at, last + Duration::from_millis(100), "nothing is missing");
                }
                last = Some(read.at);
            }
        }
        assert_eq!(last, Some(sample(19_999).at));
        assert!((limit / 2..=limit + 2 * CHUNK as u64).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_gate_that_is_started_often_keeps_what_the_first_saw_and_after_a_boot_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| -> Vec<Duration> {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            let mut reader = Reader::default();
            text.lines().filter_map(|line| reader.read(line).unwrap()).map(|read| read.at).collect()
        };
        let limit = 64 << 10;
        for start in 0..5 {
            let mut recorder = Recorder::within(folder.path());
            (1..100).for_each(|tick| recorder.take(&sample(start * 100 + tick), limit));
            recorder.flush();
            // A crash cuts the last line short.
            let newest = folder.path().join("samples.txt");
            let text = std::fs::read_to_string(&newest).unwrap();
            std::fs::write(newest, &text[..text.len() - 2]).unwrap();
        }
        let kept = read("samples.txt");
        assert_eq!((kept.first(), kept.len()), (Some(&sample(1).at), 5 * 99 - 4));
        assert!(!folder.path().join("samples.before.txt").exists());
        let mut recorder = Recorder::within(folder.path());
        let booted = Timestamp::now() + Duration::from_secs(60);
        let of_then = |tick| Sample { wall: booted + sample(tick).at, ..sample(tick) };
        (1..100).for_each(|tick| recorder.take(&of_then(tick), limit));
        recorder.flush();
        assert_eq!(read("samples.before.txt").len(), 5 * 99 - 4);
        assert_eq!(read("samples.txt").len(), 99);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_once_and_tried_again_each_hour() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("gate");
        let mut recorder = Recorder::within(&folder);
        let limit = 1 << 20;
        (1..5).for_each(|tick| recorder.take(&sample(tick), limit));
        let problem = recorder.problem().expect("it is told");
        let named = format!("{}: no sample is kept", folder.join("samples.txt").display());
        assert!(problem.starts_with(&named), "{problem}");
        (5..9).for_each(|tick| recorder.take(&sample(tick), limit));
        recorder.take(&sample(36_010), limit);
        assert_eq!(recorder.problem(), None);
        std::fs::create_dir(&folder).unwrap();
        recorder.take(&sample(36_020), limit);
        assert!(!folder.join("samples.txt").exists(), "an hour after the last try, not before");
        (72_010..76_000).for_each(|tick| recorder.take(&sample(tick), limit));
        recorder.flush();
        let text = std::fs::read_to_string(folder.join("samples.txt")).unwrap();
        assert_eq!(text.lines().count(), 1 + 76_000 - 72_010);
        assert_eq!(recorder.problem(), None);
    }
}
