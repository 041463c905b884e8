//! What a file says, read again when the file has changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::stamp::Stamp;

/// Reads a file, or says in words why it cannot.
type Read<T> = Box<dyn Fn(&Path) -> Result<T, String> + Send + Sync>;

/// The meaning of a file that may change at any time.
pub(super) struct Live<T> {
    path: PathBuf,
    read: Read<T>,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    value: Arc<T>,
    stamp: Option<Stamp>,
    /// Why the file as it was then could not be read.
    problem: Option<String>,
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T> Live<T> {
    /// Reads `path` by `read`. Blocks on the disk.
    pub(super) fn open<E: fmt::Display + 'static>(
        path: &Path,
        read: impl Fn(&Path) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // First the stamp: a change between the two is then seen as one.
        let stamp = Stamp::of(path);
        let value = Arc::new(read(path)?);
        let live = Self::with(path, value, read);
        live.kept().stamp = stamp;
        Ok(live)
    }

    /// Begins with `value` in place of a file that is not there.
    pub(super) fn with<E: fmt::Display + 'static>(
        path: &Path,
        value: Arc<T>,
        read: impl Fn(&Path) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        let read: Read<T> = Box::new(move |path| read(path).map_err(|error| error.to_string()));
        Self {
            path: path.to_owned(),
            read,
            kept: Mutex::new(Kept { value, stamp: None, problem: None }),
        }
    }

    /// Returns what the file says; none if it has changed since it was read.
    pub(super) fn current(&self) -> Option<Arc<T>> {
        let kept = self.kept();
        (kept.stamp == Stamp::of(&self.path)).then(|| Arc::clone(&kept.value))
    }

    /// Returns what the file says, read again if it has changed. If it cannot be read, what it said
    /// before, and once the words why. Blocks on the disk.
    pub(super) fn read(&self) -> (Arc<T>, Option<String>) {
        let mut kept = self.kept();
        let stamp = Stamp::of(&self.path);
        let mut problem = None;
        if kept.stamp != stamp {
            kept.stamp = stamp;
            match (self.read)(&self.path) {
                Ok(value) => kept.value = Arc::new(value),
                Err(words) => problem = Some(words),
            }
            kept.problem.clone_from(&problem);
        }
        (Arc::clone(&kept.value), problem)
    }

    /// Returns why the file could not be read when it was last looked at; none: it could.
    pub(super) fn problem(&self) -> Option<String> {
        self.kept().problem.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let number = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().parse::<u32>();
        assert!(Live::open(&path, number).is_err());
        std::fs::write(&path, "1").unwrap();
        let live = Live::open(&path, number).unwrap();
        assert_eq!(live.current().as_deref(), Some(&1));
        std::fs::write(&path, "23").unwrap();
        assert_eq!(live.current(), None);
        assert_eq!(live.read(), (Arc::new(23), None));
        assert_eq!(live.current().as_deref(), Some(&23));
        std::fs::write(&path, "many").unwrap();
        assert!(matches!(live.read(), (value, Some(_)) if *value == 23));
        assert!(matches!(live.read(), (value, None) if *value == 23));
        assert!(live.problem().is_some(), "it is known for as long as it lasts");
        std::fs::write(&path, "4").unwrap();
        assert_eq!((live.read(), live.problem()), ((Arc::new(4), None), None));
    }
}
