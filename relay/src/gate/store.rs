//! The files that outlive the gate process: added entries, and bans.
//!
//! A file is replaced whole: written beside, flushed, renamed over, and the folder flushed. So after a
//! crash it is the old one or the new one. It begins with a line that names kind and version, then a
//! line a record, then a line with their number and a checksum: a file that was cut short or changed
//! by hand is known as such, and never taken for a shorter list.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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
        "{}: written in version {found} of its form, this program knows {known}; use the program that \
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

/// One file of records of one kind.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    kind: &'static str,
    version: u32,
}

impl Store {
    /// Returns the file `path` of records of this kind and version.
    #[must_use]
    pub const fn new(path: PathBuf, kind: &'static str, version: u32) -> Self {
        Self { path, kind, version }
    }

    /// Reads every record; `None` if there is no file yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; see [`Store::set_aside`] for a damaged file.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<Vec<T>>, StoreError> {
        let text = match fs::metadata(&self.path) {
            Ok(about) if about.len() > SIZE_MAX => return Err(self.damaged("far too large")),
            Ok(_) => fs::read(&self.path).map_err(|source| self.io("reading", source))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io("reading", source)),
        };
        self.parse(&text).map(Some)
    }

    fn parse<T: DeserializeOwned>(&self, text: &[u8]) -> Result<Vec<T>, StoreError> {
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
        let summed = &text[..text.len() - rest.len() + records.len()];
        if tail.crc32c != checksum(summed) {
            return Err(self.damaged("its checksum does not fit"));
        }
        let parsed: Vec<T> = records
            .split_inclusive(|byte| *byte == b'\n')
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .map_err(|error| self.damaged(&error.to_string()))?;
        if parsed.len() == tail.records {
            Ok(parsed)
        } else {
            Err(self.damaged("records are missing"))
        }
    }

    /// Replaces the file. When it returns, the new one is on disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; then the old file stands, or the new one whole.
    pub fn save<T: Serialize>(&self, records: &[T]) -> Result<(), StoreError> {
        let text = self.render(records);
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
        fs::rename(&beside, &self.path).map_err(|source| self.io("replacing", source))?;
        self.flush_folder()
    }

    fn render<T: Serialize>(&self, records: &[T]) -> Vec<u8> {
        let mut text = Vec::new();
        let head = Head { sallyport: self.kind.to_owned(), version: self.version };
        push(&mut text, &head);
        for record in records {
            push(&mut text, record);
        }
        let tail = Tail { records: records.len(), crc32c: checksum(&text) };
        push(&mut text, &tail);
        text
    }

    /// Moves a damaged file out of the way, for somebody to look at, and returns where it is now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn set_aside(&self, now_seconds: i64) -> Result<PathBuf, StoreError> {
        let aside = self.path.with_extension(format!("damaged-{now_seconds}"));
        fs::rename(&self.path, &aside).map_err(|source| self.io("setting aside", source))?;
        self.flush_folder()?;
        Ok(aside)
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

fn checksum(text: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn store(folder: &Path) -> Store {
        Store::new(folder.join("allow.jsonl"), "allowlist", 1)
    }

    #[test]
    fn what_was_saved_is_read_back_and_nothing_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        assert_eq!(store.load::<String>().unwrap(), None);
        for records in [vec![], vec!["one".to_owned()], vec!["a\nb".into(), "\"".into()]] {
            store.save(&records).unwrap();
            assert_eq!(store.load::<String>().unwrap(), Some(records));
        }
        let mode = fs::metadata(&store.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_cut_at_any_byte_is_damaged_and_never_a_shorter_list() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.save(&["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]).unwrap();
        let whole = fs::read(&store.path).unwrap();
        for length in 0..whole.len() {
            fs::write(&store.path, &whole[..length]).unwrap();
            let error = store.load::<String>().unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "cut at {length}: {error}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.save(&["10.0.0.0/8", "192.0.2.0/24"]).unwrap();
        let whole = fs::read(&store.path).unwrap();
        for place in 0..whole.len() {
            let mut text = whole.clone();
            text[place] ^= 1;
            fs::write(&store.path, &text).unwrap();
            assert!(store.load::<String>().is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.save(&["old"]).unwrap();
        let text = store.render(&["new", "newer"]);
        for length in 0..=text.len() {
            fs::write(store.path.with_extension("new"), &text[..length]).unwrap();
            assert_eq!(store.load::<String>().unwrap(), Some(vec!["old".to_owned()]));
        }
        store.save(&["newest"]).unwrap();
        assert_eq!(store.load::<String>().unwrap(), Some(vec!["newest".to_owned()]));
    }

    #[test]
    fn a_damaged_file_is_set_aside_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        fs::write(&store.path, "half a li").unwrap();
        let aside = store.set_aside(1_000).unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), "half a li");
        assert_eq!(store.load::<String>().unwrap(), None);
    }

    #[test]
    fn a_file_of_a_later_version_or_another_kind_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        Store { version: 2, ..store.clone() }.save(&["x"]).unwrap();
        assert!(matches!(store.load::<String>(), Err(StoreError::Version { found: 2, .. })));
        Store { kind: "bans", ..store.clone() }.save(&["x"]).unwrap();
        let error = store.load::<String>().unwrap_err().to_string();
        assert!(error.contains("it holds \"bans\", not allowlist"), "{error}");
    }
}
