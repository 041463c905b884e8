//! Finding the lines of one message, in slices.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::day::Day;
use super::fact::Line;
use super::files::days;
use super::keeper::LINE_MAX;
use crate::mail::message::MessageId;

/// How many octets one slice reads.
const SLICE: u64 = 64 << 20;
/// How many octets of lines one slice finds, but for the last line.
const FOUND: usize = 4 << 20;
/// Octets read at a time.
const PIECE: usize = 256 << 10;

/// Where a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    day: Day,
    offset: u64,
}

/// What one slice of a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The lines of the message, as they were entered; among them those that tell of lines that are missing.
    pub lines: Vec<Line>,
    /// How many lines of it cannot be read: a crash cut them off, or a later version wrote them.
    #[serde(default)]
    pub unread: usize,
    /// Where to go on; none: the search is at its end.
    pub next: Option<Cursor>,
}

/// Looks for lines about `id` in the files of a folder: one slice, from `from` on or from the message's
/// first day. Blocks on the disk; reads 64 MiB at most.
///
/// # Errors
///
/// If the folder or a file cannot be read.
pub fn search(folder: &Path, id: MessageId, from: Option<Cursor>) -> io::Result<Found> {
    let from = from.unwrap_or_else(|| Cursor { day: Day::before(id), offset: 0 });
    let mut slice = Slice {
        wanted: format!("{{\"id\":\"{id}\","),
        lines: Vec::new(),
        unread: 0,
        left: SLICE,
        room: FOUND,
    };
    for (day, _) in days(folder)?.into_iter().filter(|(day, _)| *day >= from.day) {
        let offset = if day == from.day { from.offset } else { 0 };
        let mut file = match File::open(folder.join(day.file_name())) {
            Ok(file) => file,
            // Its time had come meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(offset))?;
        if let Some(passed) = slice.read(BufReader::with_capacity(PIECE, file))? {
            let next = Some(Cursor { day, offset: offset + passed });
            return Ok(Found { lines: slice.lines, unread: slice.unread, next });
        }
    }
    Ok(Found { lines: slice.lines, unread: slice.unread, next: None })
}

/// One slice of a search.
struct Slice {
    wanted: String,
    lines: Vec<Line>,
    unread: usize,
    left: u64,
    room: usize,
}

/// How the lines begin that are about the history itself.
const ABOUT_ITSELF: &[u8] = b"{\"id\":null,";

impl Slice {
    /// Reads a file to its end, or to the end of the slice; then it returns how far it came.
    fn read(&mut self, mut file: BufReader<File>) -> io::Result<Option<u64>> {
        let (mut text, mut passed) = (Vec::new(), 0);
        loop {
            if self.left == 0 || self.room == 0 {
                return Ok(Some(passed));
            }
            text.clear();
            // Bounded: a file that others spoiled may have no end of line.
            let length = file.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut text)?;
            if length == 0 {
                return Ok(None);
            }
            passed += length as u64;
            self.left = self.left.saturating_sub(length as u64);
            if text.starts_with(self.wanted.as_bytes()) || text.starts_with(ABOUT_ITSELF) {
                self.room = self.room.saturating_sub(length);
                match serde_json::from_slice::<Line>(&text) {
                    Ok(line) => self.lines.push(line),
                    Err(_) => self.unread += 1,
                }
            }
        }
    }
}
