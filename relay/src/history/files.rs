//! The files of the history: lines are appended to the one of today, old ones are removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::day::{self, Day};
use crate::{config, file};

/// The most that one day may take of all: one part in this many. A flood of one day does not push out all
/// the days before.
const DAY_SHARE: u64 = 2;

/// The folder, and the file of today.
#[derive(Debug)]
pub struct Files {
    config: config::History,
    today: Option<Today>,
    /// The octets of all other days.
    others_bytes: u64,
}

#[derive(Debug)]
struct Today {
    day: Day,
    file: File,
    size_bytes: u64,
}

/// Why lines were not written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// The day, or all days, or the disk, have no room.
    #[error("there is no room: raise history.size, or free some of the disk")]
    NoRoom,
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Files {
    /// Opens the folder, making it with mode 0700 if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be made or read.
    pub fn open(config: config::History) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.path)?;
        let mut files = Self { config, today: None, others_bytes: 0 };
        files.turn(Day::of(Timestamp::now()))?;
        Ok(files)
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.config.path
    }

    /// Appends whole lines to the file of the day that `now` lies in.
    ///
    /// # Errors
    ///
    /// [`NotWritten`]; part of the lines may be there.
    pub fn append(&mut self, lines: &[u8], now: Timestamp) -> Result<(), NotWritten> {
        let (day, length) = (Day::of(now), lines.len() as u64);
        if self.today.as_ref().is_none_or(|today| today.day != day) {
            self.turn(day)?;
        }
        let size_bytes = self.today.as_ref().map_or(0, |today| today.size_bytes) + length;
        if size_bytes > self.config.size_bytes / DAY_SHARE || !has_room(&self.config.path)? {
            return Err(NotWritten::NoRoom);
        }
        if self.others_bytes + size_bytes > self.config.size_bytes {
            self.prune(day, self.config.size_bytes.saturating_sub(size_bytes))?;
        }
        let Some(today) = &mut self.today else { return Err(NotWritten::NoRoom) };
        if let Err(problem) = today.file.write_all(lines) {
            // What was written of it is unknown: the next one looks.
            self.today = None;
            return Err(problem.into());
        }
        today.size_bytes += length;
        Ok(())
    }

    /// Opens the file of a day and removes those that have had their time.
    fn turn(&mut self, day: Day) -> io::Result<()> {
        self.today = None;
        let path = self.config.path.join(day.file_name());
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        // A crash may have left a line without its end: the next one must not be read as its rest.
        let mut size_bytes = file.metadata()?.len();
        if size_bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size_bytes += 1;
            }
        }
        self.today = Some(Today { day, file, size_bytes });
        self.prune(day, self.config.size_bytes.saturating_sub(size_bytes))
    }

    /// Removes the days before `today` that are too old, and the oldest until the others take at most
    /// `room_bytes`.
    fn prune(&mut self, today: Day, room_bytes: u64) -> io::Result<()> {
        let mut days = days(&self.config.path)?;
        days.retain(|(day, _)| *day != today);
        self.others_bytes = days.iter().map(|(_, size)| size).sum();
        for day in day::spent(&days, today, self.config.keep, room_bytes) {
            fs::remove_file(self.config.path.join(day.file_name()))?;
            let size = days.iter().find(|(other, _)| *other == day).map_or(0, |(_, size)| *size);
            self.others_bytes = self.others_bytes.saturating_sub(size);
        }
        Ok(())
    }
}

/// Returns the days that a folder holds and the lengths of their files, oldest first.
///
/// # Errors
///
/// If it cannot be read.
pub fn days(folder: &Path) -> io::Result<Vec<(Day, u64)>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(day) = entry.file_name().to_str().and_then(Day::of_file) {
            days.push((day, entry.metadata()?.len()));
        }
    }
    days.sort_unstable();
    Ok(days)
}

fn has_room(folder: &PathBuf) -> io::Result<bool> {
    let space = rustix::fs::statvfs(folder)?;
    let kept_bytes = file::kept_free(space.f_blocks.saturating_mul(space.f_frsize));
    Ok(space.f_bavail.saturating_mul(space.f_frsize) >= kept_bytes)
}
