//! Where the servers keep their files: on a disk, where their users can go.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// Where files go if nobody else may enter the folder of the results: a disk, by the standard of file systems.
const OTHER: &str = "/var/tmp";
/// statfs(2).
const TMPFS: u64 = 0x0102_1994;

/// Makes a folder below `folder` that every user can enter; in `/var/tmp` if `folder` lies where others may not go.
///
/// # Errors
///
/// If there is no disk below it: what a flush costs is half of what is measured.
pub fn below(folder: &Path) -> Result<TempDir> {
    let folder = folder.canonicalize()?;
    let is_open = |folder: &Path| {
        folder.metadata().is_ok_and(|folder| folder.permissions().mode() & 0o001 != 0)
    };
    let folder = if folder.ancestors().all(is_open) {
        &folder
    } else {
        eprintln!(
            "bench: the servers run as other users, who may not enter {}: they work in {OTHER}",
            folder.display()
        );
        Path::new(OTHER)
    };
    let kind = rustix::fs::statfs(folder).with_context(|| folder.display().to_string())?.f_type;
    let is_memory = u64::try_from(kind).is_ok_and(|kind| kind == TMPFS);
    ensure!(!is_memory, "{} lies in memory: give a folder on a disk", folder.display());
    let scratch = tempfile::Builder::new().prefix("bench-smtp-").tempdir_in(folder)?;
    std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o755))?;
    Ok(scratch)
}
