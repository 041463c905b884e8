//! That nobody has seen the password of a first login yet: a file beside the list of logins, there from before the login
//! is until the configuration is. Only a set-up that was cut off leaves it.
//!
//! Without it a login that is there is somebody's, perhaps of another configuration in the same folder, and keeps its
//! password.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::steps::{Existing, Readers, Steps};

/// Returns the file beside a list of logins.
#[must_use]
pub fn mark(users: &Path) -> PathBuf {
    users.with_extension("unseen")
}

/// Tells whether nobody can have seen the password that a login has. Blocks on the disk.
#[must_use]
pub fn is_unseen(users: &Path, login: &str) -> bool {
    fs::read_to_string(mark(users)).is_ok_and(|noted| noted.trim_end() == login)
}

/// Notes it, before the login is there.
///
/// # Errors
///
/// If the file cannot be written.
pub fn note(steps: &mut Steps, users: &Path, login: &str) -> anyhow::Result<()> {
    // Of a set-up that was cut off before it had made its login.
    forget(users)?;
    steps.file(&mark(users), &format!("{login}\n"), Readers::Root, Existing::Refuse)
}

/// Forgets it: the password was shown, and the set-up is whole.
///
/// # Errors
///
/// If it is noted, and the file cannot be removed.
pub fn forget(users: &Path) -> io::Result<()> {
    match fs::remove_file(mark(users)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
