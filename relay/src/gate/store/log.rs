//! The log of a file: what changed since it was saved.
//!
//! It begins with a line that names the file it belongs to, by the checksum in that one. Each line has a
//! checksum in front, the first one of itself, the others of themselves and of all before, so a line that is
//! missing in the middle is known.
//! Lines are appended and flushed before a change is acknowledged. So a last line without its end was never
//! acknowledged: the process or the host stopped in the middle of it, and it does not count.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{push, written};

/// The lines that a log may have in any case before its file is saved whole.
const LINES_LEAST: usize = 1_000;

/// What the first line says.
#[derive(Serialize, Deserialize)]
struct Head {
    log_of: String,
}

/// How a log stands after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As before.
    Whole,
    /// Nobody knows: it must not be appended to any more.
    Unknown,
}

/// The log of the file that this process saved.
#[derive(Debug)]
pub struct Log {
    file: File,
    length: u64,
    sum: u32,
    lines: usize,
    lines_most: usize,
}

impl Log {
    /// Begins the log of a file with this checksum and so many records.
    pub fn begin(path: &Path, sum: u32, records: usize, mode: u32) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        let mut text = Vec::new();
        line(&mut text, 0, &Head { log_of: written(sum) });
        file.write_all(&text)?;
        file.sync_all()?;
        let length = text.len() as u64;
        Ok(Self { file, length, sum, lines: 0, lines_most: LINES_LEAST.max(records / 2) })
    }

    /// Appends records, a line each, and flushes them.
    pub fn append<T: Serialize>(&mut self, records: &[T]) -> Result<(), (io::Error, State)> {
        let (mut text, mut sum) = (Vec::new(), self.sum);
        for record in records {
            sum = line(&mut text, sum, record);
        }
        let done = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        match done {
            Ok(()) => {
                self.length += text.len() as u64;
                (self.sum, self.lines) = (sum, self.lines + records.len());
                Ok(())
            }
            Err(error) => Err((error, self.take_back())),
        }
    }

    /// Lets every write fail, as on a full disk.
    #[cfg(test)]
    pub fn fill_disk(&mut self) {
        let full = OpenOptions::new().write(true).open("/dev/full");
        self.file = full.expect("Linux has /dev/full");
    }

    /// Takes half a line back.
    fn take_back(&mut self) -> State {
        use std::io::Seek as _;
        let cut = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
        let back = cut.and_then(|()| self.file.seek(io::SeekFrom::Start(self.length)));
        if back.is_ok() { State::Whole } else { State::Unknown }
    }

    /// Returns whether it has grown so long that its file should be saved whole.
    pub const fn is_long(&self) -> bool {
        self.lines > self.lines_most
    }
}

/// Writes a line with its checksum, which goes on from `before`, and returns that.
fn line<T: Serialize>(text: &mut Vec<u8>, before: u32, record: &T) -> u32 {
    let mut line = Vec::new();
    push(&mut line, record);
    let sum = crc32c::crc32c_append(before, &line);
    text.extend(written(sum).into_bytes());
    text.push(b' ');
    text.extend(line);
    sum
}

/// Reads a line without its end; its checksum must go on from `before`. Returns the record and the sum.
fn read(line: &[u8], before: u32, number: usize) -> Result<(&[u8], u32), String> {
    let (check, record) =
        line.split_at_checked(9).ok_or_else(|| format!("line {number} is cut"))?;
    let sum = crc32c::crc32c_append(crc32c::crc32c_append(before, record), b"\n");
    if *check == *format!("{} ", written(sum)).as_bytes() {
        Ok((record, sum))
    } else {
        Err(format!("the checksum of line {number} does not fit"))
    }
}

/// Reads the records of a log that belongs to the file with this checksum; none if it is another file's.
pub fn parse<T: DeserializeOwned>(text: &[u8], sum: u32) -> Result<Vec<T>, String> {
    let Some((head, mut rest)) = super::line(text) else { return Ok(Vec::new()) };
    let (head, _) = read(head, 0, 1)?;
    let head: Head =
        serde_json::from_slice(head).map_err(|_| "its first line is not ours".to_owned())?;
    if head.log_of != written(sum) {
        // The file was saved whole, and the process ended before it could begin a new log.
        return Ok(Vec::new());
    }
    let (mut records, mut sum) = (Vec::new(), sum);
    while let Some((line, behind)) = super::line(rest) {
        let number = records.len() + 2;
        let (record, next) = read(line, sum, number)?;
        sum = next;
        let record = serde_json::from_slice(record);
        records.push(record.map_err(|error| format!("line {number}: {error}"))?);
        rest = behind;
    }
    Ok(records)
}
