//! The folders that the processes need, with the owners that keep them apart.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{Gid, Uid};

use super::privilege::Identity;
use crate::config::Config;

/// Makes the folders of both processes if they are missing, and sets owner and mode:
///
/// - of the control sockets: root's, the relay's group may make its own socket there but not remove
///   the gate's (sticky);
/// - of the gate's state: root's alone;
/// - of the spool and of the history: the relay's alone.
///
/// # Errors
///
/// If a folder cannot be made or given away.
pub fn prepare(config: &Config, relay: Identity) -> anyhow::Result<()> {
    for socket in [&config.gate.socket, &config.relay.socket] {
        let folder = socket.parent().unwrap_or(Path::new("/"));
        owned(folder, 0o1775, Identity { uid: 0, gid: relay.gid })?;
    }
    owned(&config.gate.state, 0o700, Identity { uid: 0, gid: 0 })?;
    if !config.history.keep.is_zero() {
        owned(&config.history.path, 0o700, relay)?;
    }
    owned(&config.spool.path, 0o700, relay)
}

/// Lets other users pass through the folders of the BPF file system above `pins`, and returns those
/// that had to be changed.
///
/// systemd mounts `/sys/fs/bpf` with mode 0700: the relay's user could not reach the tables that it
/// may read. Passing (0711) shows nobody what is there, and every pin keeps its own mode.
///
/// # Errors
///
/// If a folder cannot be changed.
pub fn passable(pins: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut changed = Vec::new();
    for folder in pins.ancestors().skip(1) {
        let is_bpf = rustix::fs::statfs(folder).is_ok_and(|found| found.f_type == BPF_FS_MAGIC);
        if !is_bpf {
            continue;
        }
        let name = || format!("folder {}", folder.display());
        let mode = fs::metadata(folder).with_context(name)?.mode() & 0o7777;
        if mode & 0o001 == 0 {
            let mode = fs::Permissions::from_mode(mode | 0o011);
            fs::set_permissions(folder, mode).with_context(name)?;
            changed.push(folder.to_owned());
        }
    }
    Ok(changed)
}

/// What statfs(2) says of a BPF file system.
pub const BPF_FS_MAGIC: rustix::fs::FsWord = 0xcafe_4a11;

/// Gives a file that the relay must read to its group: its key, its logins.
///
/// # Errors
///
/// If it cannot be given away.
pub fn readable_by_relay(file: &Path, relay: Identity) -> anyhow::Result<()> {
    rustix::fs::chown(file, None, Some(Gid::from_raw(relay.gid)))
        .with_context(|| format!("{}: cannot be given to the relay's group", file.display()))
}

fn owned(folder: &Path, mode: u32, owner: Identity) -> anyhow::Result<()> {
    let name = || format!("folder {}", folder.display());
    fs::create_dir_all(folder).with_context(name)?;
    let now = fs::metadata(folder).with_context(name)?;
    if (now.uid(), now.gid()) != (owner.uid, owner.gid) {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chown(folder, Some(uid), Some(gid)).with_context(name)?;
    }
    if now.mode() & 0o7777 != mode {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).with_context(name)?;
    }
    Ok(())
}
