//! That a certificate is not renewed, and why: a file beside it, which whoever renews writes and everybody reads.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::fault::plain;
use crate::file;

/// The largest file that is read, octets.
const FILE_MAX: u64 = 4096;
/// What is behind the name of the certificate's file.
const ENDING: &str = ".failed";

/// That a certificate is not renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Since when one try after the other fails.
    pub since: Timestamp,
    /// Until when the timer waits before it tries again.
    pub until: Timestamp,
    /// Why the last one failed, in one line of at most 600 octets.
    pub why: String,
}

impl Failed {
    /// Reads what stands beside a certificate; none: its renewal does not fail. Blocks on the disk.
    #[must_use]
    pub fn read(certificate: &Path) -> Option<Self> {
        let octets = file::read(&beside(certificate, ENDING), FILE_MAX).ok()?;
        let mut lines = std::str::from_utf8(&octets).ok()?.lines();
        let mut time = || lines.next()?.parse().ok();
        let (since, until) = (time()?, time()?);
        Some(Self { since, until, why: plain(lines.next()?) })
    }

    /// Notes beside a certificate that a try failed `now`. It fails since the first of those that came to nothing one
    /// after the other. The folder is made if it is missing, as a certificate's: readable by all. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made, or the file not be written.
    pub fn note(certificate: &Path, now: Timestamp, until: Timestamp, why: &str) -> io::Result<()> {
        let before = Self::read(certificate).map(|before| before.since);
        // A clock that was set back made no try in the future.
        let since = before.filter(|since| *since <= now).unwrap_or(now);
        if let Some(folder) = certificate.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        let new = beside(certificate, ".failed.new");
        remove(&new)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        // The relay tells it, and is another user.
        file.set_permissions(Permissions::from_mode(0o644))?;
        writeln!(file, "{since}\n{until}\n{}", plain(why))?;
        // Replaced at one moment: whoever reads nothing takes that for its end.
        fs::rename(&new, beside(certificate, ENDING))
    }

    /// Forgets that the renewal of a certificate failed.
    ///
    /// # Errors
    ///
    /// If that is noted, and the file cannot be removed.
    pub fn forget(certificate: &Path) -> io::Result<()> {
        let noted = beside(certificate, ENDING);
        if noted.exists() { remove(&noted) } else { Ok(()) }
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn beside(certificate: &Path, ending: &str) -> PathBuf {
    let mut name = certificate.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_known_since_the_first_try_until_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        // Nobody has made it: the first order failed.
        let certificate = folder.path().join("etc/tls/chain.pem");
        let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
        let note = |now, until, why: &str| {
            Failed::note(&certificate, at(now), at(until), why).unwrap();
            Failed::read(&certificate).unwrap()
        };
        assert_eq!(Failed::read(&certificate), None);
        let first = note(20, 30, "a\u{1b}b\nc");
        assert_eq!(first, Failed { since: at(20), until: at(30), why: "a b c".into() });
        let mode = fs::metadata(beside(&certificate, ENDING)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644, "the relay cannot read it");
        let second = note(40, 50, &"x".repeat(9000));
        assert_eq!((second.since, second.until), (at(20), at(50)));
        assert!(second.why.len() < 1000);
        assert_eq!(note(10, 11, "the clock was set back").since, at(10));
        Failed::forget(&certificate).unwrap();
        Failed::forget(&certificate).unwrap();
        assert_eq!(Failed::read(&certificate), None);
        assert_eq!(note(60, 70, "x").since, at(60));
        fs::write(beside(&certificate, ENDING), "nonsense").unwrap();
        assert_eq!(Failed::read(&certificate), None);
    }
}
