//! The files that outlive the gate process: added entries, and bans.
//!
//! A file is replaced whole: written beside, flushed, renamed over, and the folder flushed. So after a
//! crash it is the old one or the new one. It begins with a line that names kind and version, then a
//! line a record, then a line with their number and a checksum: a file that was cut short or changed
//! by hand is known as such, and never taken for a shorter list.
//!
//! Changes after that are appended to a [log](log) beside it, so that one entry more in a list of a million
//! costs one line.

mod log;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use log::Log;

/// The mode of the files: what they say is nobody's business but root's and root's group's.
const MODE: u32 = 0o640;

/// The largest file that is read, octets: far more than full lists take.
const SIZE_MAX: u64 = 256 << 20;

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is cut short, was changed by hand, or is not one of ours.
    #[error("{}: damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A later version of the program wrote the file.
    #[error(
        "{}: written in version {found} of its form, this program reads {known}; use the program that \
         wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it names.
        found: u32,
        /// The latest version known here.
        known: u32,
    },
}

/// What the first line of a file says.
#[derive(Serialize, Deserialize)]
struct Head {
    sallyport: String,
    version: u32,
}

/// What the last line of a file says.
#[derive(Serialize, Deserialize)]
struct Tail {
    records: usize,
    crc32c: String,
}

/// One file of records of one kind, and its log.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    kind: &'static str,
    version: u32,
    /// The log of the file that this process saved; none before that.
    log: Option<Log>,
}

impl Store {
    /// Returns the file `path` of records of this kind and version.
    #[must_use]
    pub const fn new(path: PathBuf, kind: &'static str, version: u32) -> Self {
        Self { path, kind, version, log: None }
    }

    /// Reads every record, those of the log last; `None` if there is no file yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; see [`Store::set_aside`] for a damaged file.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<Vec<T>>, StoreError> {
        let Some(text) = self.read(&self.path)? else { return Ok(None) };
        let (mut records, sum) = self.parse(&text)?;
        if let Some(text) = self.read(&self.log_path())? {
            let logged = log::parse(&text, sum);
            records.extend(logged.map_err(|problem| self.damaged(&format!("its log: {problem}")))?);
        }
        Ok(Some(records))
    }

    fn log_path(&self) -> PathBuf {
        self.path.with_extension("log.jsonl")
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::metadata(path) {
            Ok(about) if about.len() > SIZE_MAX => Err(self.damaged("far too large")),
            Ok(_) => fs::read(path).map(Some).map_err(|source| self.io("reading", source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io("reading", source)),
        }
    }

    /// Returns the records and the checksum of what stands there.
    fn parse<T: DeserializeOwned>(&self, text: &[u8]) -> Result<(Vec<T>, u32), StoreError> {
        let (head, rest) = line(text).ok_or_else(|| self.damaged("it has no first line"))?;
        let head: Head =
            serde_json::from_slice(head).map_err(|_| self.damaged("its first line is not ours"))?;
        if head.sallyport != self.kind {
            return Err(self.damaged(&format!("it holds {:?}, not {}", head.sallyport, self.kind)));
        }
        if head.version != self.version {
            let (path, found, known) = (self.path.clone(), head.version, self.version);
            return Err(StoreError::Version { path, found, known });
        }
        let body = rest.strip_suffix(b"\n").ok_or_else(|| self.damaged("its last line is cut"))?;
        let start_of_last =
            body.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let (records, tail) = body.split_at(start_of_last);
        let tail: Tail =
            serde_json::from_slice(tail).map_err(|_| self.damaged("its last lines are missing"))?;
        let sum = crc32c::crc32c(&text[..text.len() - rest.len() + records.len()]);
        if tail.crc32c != written(sum) {
            return Err(self.damaged("its checksum does not fit"));
        }
        let parsed: Vec<T> = records
            .split_inclusive(|byte| *byte == b'\n')
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .map_err(|error| self.damaged(&error.to_string()))?;
        if parsed.len() == tail.records {
            Ok((parsed, sum))
        } else {
            Err(self.damaged("records are missing"))
        }
    }

    /// Replaces the file, and begins a new log. When it returns, the new one is on disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; then the old file stands, with its log, or the new one whole.
    pub fn save<T: Serialize>(
        &mut self,
        records: impl IntoIterator<Item = T>,
    ) -> Result<(), StoreError> {
        let (text, sum, count) = self.render(records);
        let beside = self.path.with_extension("new");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            });
        written.map_err(|source| self.io("writing", source))?;
        // The old log goes on only behind the old file: it names whose it is.
        self.log = None;
        fs::rename(&beside, &self.path).map_err(|source| self.io("replacing", source))?;
        let log = Log::begin(&self.log_path(), sum, count, MODE);
        self.log = Some(log.map_err(|source| self.io("beginning its log", source))?);
        self.flush_folder()
    }

    /// Appends records to the log; they are on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; then the file is as it was, and must be saved whole before anything is appended,
    /// if nothing was saved yet.
    pub fn append<T: Serialize>(&mut self, records: &[T]) -> Result<(), StoreError> {
        let Some(log) = &mut self.log else {
            return Err(self.io("appending", io::Error::other("it was not written whole yet")));
        };
        match log.append(records) {
            Ok(()) => Ok(()),
            Err((source, log::State::Whole)) => Err(self.io("appending", source)),
            Err((source, log::State::Unknown)) => {
                self.log = None;
                Err(self.io("appending", source))
            }
        }
    }

    /// Lets the log take no other line, as on a full disk.
    #[cfg(test)]
    pub fn fill_disk(&mut self) {
        if let Some(log) = &mut self.log {
            log.fill_disk();
        }
    }

    /// Returns whether the log has grown so long that the file should be saved whole.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.log.as_ref().is_none_or(Log::is_long)
    }

    /// Returns the text of a file, the checksum in it and the number of its records.
    fn render<T: Serialize>(&self, records: impl IntoIterator<Item = T>) -> (Vec<u8>, u32, usize) {
        let mut text = Vec::new();
        let head = Head { sallyport: self.kind.to_owned(), version: self.version };
        push(&mut text, &head);
        let mut count = 0;
        for record in records {
            push(&mut text, &record);
            count += 1;
        }
        let sum = crc32c::crc32c(&text);
        push(&mut text, &Tail { records: count, crc32c: written(sum) });
        (text, sum, count)
    }

    /// Moves a damaged file and its log out of the way, for somebody to look at, and returns where the file is
    /// now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn set_aside(&self, why: &StoreError, now_seconds: i64) -> Result<PathBuf, StoreError> {
        let word = match why {
            StoreError::Version { found, .. } => format!("version-{found}"),
            StoreError::Io { .. } | StoreError::Damaged { .. } => "damaged".to_owned(),
        };
        let aside = self.path.with_extension(format!("{word}-{now_seconds}"));
        fs::rename(&self.path, &aside).map_err(|source| self.io("setting aside", source))?;
        let log_aside = self.path.with_extension(format!("{word}-log-{now_seconds}"));
        match fs::rename(self.log_path(), log_aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.io("setting its log aside", error));
            }
            Ok(()) | Err(_) => {}
        }
        self.flush_folder()?;
        Ok(aside)
    }

    /// Takes the file and its log away; that there are none is no error.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn remove(&mut self) -> Result<(), StoreError> {
        self.log = None;
        for path in [&self.path, &self.log_path()] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.io("removing", error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.flush_folder()
    }

    fn flush_folder(&self) -> Result<(), StoreError> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| self.io("flushing its folder", source))
    }

    fn io(&self, what: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), what, source }
    }

    fn damaged(&self, problem: &str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), problem: problem.to_owned() }
    }
}

fn push<T: Serialize>(text: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(&mut *text, value).expect("invariant: records are plain JSON values");
    text.push(b'\n');
}

fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

fn written(sum: u32) -> String {
    format!("{sum:08x}")
}

#[cfg(test)]
mod tests;
