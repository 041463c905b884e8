//! Whether a flush reaches a disk, by how long it takes.
//!
//! It is measured on a file without a name (open(2), `O_TMPFILE`) in the folder of the spool: nothing is left
//! there, whatever ends this process, and the spool never sees it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// How often it is measured: the median counts.
const TIMES: usize = 15;
/// After this long no more is measured.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is written before each flush, octets: a small message.
const PIECE: usize = 4096;

/// Measures flushes of a file in `folder`, the shortest first; at least one.
///
/// # Errors
///
/// What the system says: `PermissionDenied` for whom the folder is not, `Unsupported` where the file system
/// has no files without names.
pub(super) fn measure(folder: &Path) -> io::Result<Vec<Duration>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR)?);
    let (begun, mut times) = (Instant::now(), Vec::new());
    while times.len() < TIMES && (times.is_empty() || begun.elapsed() < PATIENCE) {
        file.write_all(&[0; PIECE])?;
        let at = Instant::now();
        file.sync_data()?;
        times.push(at.elapsed());
    }
    times.sort();
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_measured_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let times = measure(folder.path()).unwrap();
        assert!((1..=TIMES).contains(&times.len()) && times.is_sorted());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(measure(&folder.path().join("none")).is_err());
    }
}
