//! What each released version of the product kept on disk, in `tests/state`, and what stands in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The version whose state `cargo run -p tests --example write_state` writes.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The folders and files that are kept of an installation.
pub const FILES: [&str; 4] = ["gate", "spool", "history", "users.toml"];
/// An entry with tag, note and rate.
pub const LISTED: &str = "198.51.100.0/24";
/// An entry that ends, a year after it was made.
pub const TEMPORARY: &str = "203.0.113.7/32";
/// A network that was an entry and is none any more. It is banned.
pub const TAKEN: &str = "203.0.113.64/32";
/// The route that is suspended: what waits for it is in the spool.
pub const ROUTE: &str = "next-hop";
/// The messages in the spool. The first one is held.
pub const MESSAGES: [&[u8]; 2] = [
    b"From: <billing@example.net>\r\nSubject: held\r\n\r\nkept by an operator\r\n",
    b"From: <billing@example.net>\r\nSubject: waits\r\n\r\n.kept for a route\r\n",
];

/// Returns the folder of a version's state.
#[must_use]
pub fn folder_of(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("state").join(version)
}

/// Returns the versions whose state is kept, at least one.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn versions() -> Result<Vec<String>> {
    let folder = folder_of("");
    let mut versions = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        versions.push(entry?.file_name().to_string_lossy().into_owned());
    }
    ensure!(!versions.is_empty(), "{}: no version", folder.display());
    versions.sort();
    Ok(versions)
}

/// Puts the state of a version into the folder of an installation, in place of what is there, and returns the
/// password of its login. What the relay owns is given to the user of this number.
///
/// # Errors
///
/// If a file cannot be written.
pub fn install(version: &str, into: &Path, relay: u32) -> Result<String> {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let from = folder_of(version);
    for name in FILES {
        let (from, to) = (from.join(name), into.join(name));
        if from.is_file() {
            fs::copy(from, to)?;
            continue;
        }
        fs::create_dir_all(&to)?;
        let owner = if name == "gate" { 0 } else { relay };
        chown(&to, Some(owner), Some(owner))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(from)? {
            let (entry, owner) = (entry?, Some(owner));
            let file = to.join(entry.file_name());
            fs::copy(entry.path(), &file)?;
            chown(&file, owner, owner)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(fs::read_to_string(from.join("password"))?)
}
