//! The few file operations that the spool is built on, and nothing else: a folder of append-only
//! files. The real one is here; `simulated` has one that loses power, tears writes and fills up.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{ReadWriteFlags, preadv2};

/// The file whose lock says that a process has the spool open.
const LOCK: &str = "lock";
/// How often the lock is tried: whoever looks at a folder holds it for a moment.
const TRIES: u32 = 21;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The space of a file system, octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What an unprivileged process may still write.
    pub free_bytes: u64,
    /// The whole.
    pub total_bytes: u64,
}

/// Whether a process has a folder open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// None has.
    Nobody,
    /// Another one has, and writes.
    Other,
}

/// A folder of files.
pub trait Disk: Send + Sync + Debug {
    /// Lists the names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a new, empty file; fails if there is one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file for reading.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Takes a file out of the folder; whoever has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Returns when names made, changed and removed so far survive a loss of power.
    fn flush_folder(&self) -> io::Result<()>;
    /// Tells how much space is left.
    fn space(&self) -> io::Result<Space>;
}

/// A file that grows at its end.
pub trait File: Send + Sync + Debug {
    /// Writes all of `bytes` at `offset`; on an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset`, or fails.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset` if that needs no wait for the disk; false if it does, or if they cannot be
    /// read at all.
    fn read_from_memory(&self, bytes: &mut [u8], offset: u64) -> bool;
    /// Returns when all that was written survives a loss of power.
    ///
    /// After an error nothing is known of what was written since the last success, and a second
    /// try would say nothing about it: the kernel forgets the failure with the first report.
    fn flush(&self) -> io::Result<()>;
    /// Returns the length, octets.
    fn size(&self) -> io::Result<u64>;
}

/// A folder of the operating system, held by this process alone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: fs::File,
    /// The lock lasts as long as this is open, also when the process is killed; none for one that is
    /// only looked at.
    _lock: Option<fs::File>,
}

impl Folder {
    /// Opens the folder at `path`, making it with mode 0700 if it is not there, and locks it. When
    /// this returns a loss of power does not take the folder away again.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if another process has it open for a second; what the operating system says otherwise.
    pub fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.try_exists()?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let handle = fs::File::open(path)?;
        if is_new {
            // The names of the folder and of those made above it lie in folders that we may not be
            // allowed to open, so the whole file system is flushed, this once.
            rustix::fs::syncfs(&handle)?;
        }
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))?;
        take(&lock, || std::thread::sleep(PAUSE))?;
        Ok(Self { path: path.to_owned(), handle, _lock: Some(lock) })
    }

    /// Opens the folder at `path` to look at it, without its lock.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not there; what the operating system says otherwise.
    pub fn look(path: &Path) -> io::Result<(Self, Use)> {
        let handle = fs::File::open(path)?;
        let used = match fs::File::open(path.join(LOCK)) {
            // Held for a moment only, and shared: another one who looks is no writer.
            Ok(lock) => match lock.try_lock_shared() {
                Ok(()) => Use::Nobody,
                Err(fs::TryLockError::WouldBlock) => Use::Other,
                Err(fs::TryLockError::Error(problem)) => return Err(problem),
            },
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Use::Nobody,
            Err(problem) => return Err(problem),
        };
        Ok((Self { path: path.to_owned(), handle, _lock: None }, used))
    }
}

/// Locks a file against everybody else; `pause` is called between two tries.
fn take(lock: &fs::File, mut pause: impl FnMut()) -> io::Result<()> {
    for _ in 1..TRIES {
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => pause(),
            taken => return taken.map_err(io::Error::from),
        }
    }
    lock.try_lock().map_err(io::Error::from)
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name()));
        names.map(|name: io::Result<_>| Ok(name?.to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let file = options.create_new(true).read(true).write(true).mode(0o600);
        Ok(Arc::new(file.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::open(self.path.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn flush_folder(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::fstatvfs(&self.handle)?;
        Ok(Space {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }
}

impl File for fs::File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn read_from_memory(&self, bytes: &mut [u8], offset: u64) -> bool {
        let wanted = bytes.len();
        let mut bytes = [io::IoSliceMut::new(bytes)];
        // What is not in the page cache as a whole is cut short or refused (preadv2(2), RWF_NOWAIT).
        preadv2(self, &mut bytes, offset, ReadWriteFlags::NOWAIT).is_ok_and(|read| read == wanted)
    }

    fn flush(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_can_read_and_only_one_can_open() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("spool");
        let folder = Folder::open(&path).unwrap();
        folder.create("a").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("a")), 0o600);
        assert_eq!(mode(&path.join(LOCK)), 0o600);
        assert_eq!(Folder::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(folder);
        Folder::open(&path).unwrap();
    }

    #[test]
    fn one_who_looks_for_a_moment_keeps_nobody_from_opening() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LOCK);
        let lock = fs::File::create(&path).unwrap();
        let looking = fs::File::open(&path).unwrap();
        looking.try_lock_shared().unwrap();
        let mut pauses = 0;
        let taken = take(&lock, || {
            pauses += 1;
            if pauses == 3 {
                looking.unlock().unwrap();
            }
        });
        assert_eq!((taken.is_ok(), pauses), (true, 3));
        assert!(looking.try_lock_shared().is_err(), "it is ours now");
        lock.unlock().unwrap();
        looking.try_lock_shared().unwrap();
        assert_eq!(take(&lock, || {}).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_read_from_memory_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(&home.path().join("spool")).unwrap();
        let file = folder.create("a").unwrap();
        file.write_at(b"0123456789", 0).unwrap();
        let mut octets = [0; 4];
        // Not every file system reads without waiting; one that does gives what was written.
        if file.read_from_memory(&mut octets, 3) {
            assert_eq!(&octets, b"3456");
        }
        assert!(!file.read_from_memory(&mut octets, 8), "it ends before the fourth octet");
        assert!(!file.read_from_memory(&mut octets, 100));
    }
}
