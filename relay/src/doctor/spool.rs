//! The disk that a 250 stands for: room, rights, and flushes that reach it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FsWord, StatVfs, StatVfsMountFlags, statfs, statvfs};

use super::access::{Grant, Reader, Wish};
use super::{Case, Cause, Finding, Looked, flush};
use crate::spool::Status;
use crate::{config, file};

/// A flush that is faster than this reaches no disk that keeps what it is given: the fastest that do take
/// about as long for the way to the device alone.
const TOO_FAST: Duration = Duration::from_micros(20);
/// A flush that is slower than this is felt by every client.
const SLOW: Duration = Duration::from_millis(50);
/// Free inodes below which a log may not get its next file.
const INODES_MIN: u64 = 64;

/// What statfs(2) says of file systems in memory: tmpfs and ramfs.
const IN_MEMORY: [FsWord; 2] = [0x0102_1994, 0x8584_58f6];

/// What was seen of the folder and its file system.
#[derive(Clone, Debug)]
struct Seen {
    folder: Folder,
    is_read_only: bool,
    is_in_memory: bool,
    free_bytes: u64,
    reserve_bytes: u64,
    /// None where the file system counts none.
    free_inodes: Option<u64>,
    /// The median time of a flush; none if it was not measured.
    flush: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folder {
    Writable,
    Missing,
    /// Its owner and mode keep the relay's user from it.
    Shut {
        owner: u32,
        mode: u32,
    },
}

pub(super) fn look(case: &Case) -> Looked {
    let config = &case.config.spool;
    let pid = case.relay.says().map(|status| status.pid);
    let relay = Reader::of(&case.config.relay.user, pid).ok();
    let mut left_out = Vec::new();
    match observe(config, relay.as_ref(), &mut left_out) {
        Ok(seen) => {
            Looked { findings: judge(&config.path, &seen, &case.config.relay.user), left_out }
        }
        Err(problem) => Looked::left_out(format!("disk: {}: {problem}", config.path.display())),
    }
}

fn observe(
    config: &config::Spool,
    relay: Option<&Reader>,
    left_out: &mut Vec<String>,
) -> io::Result<Seen> {
    let path = config.path.as_path();
    let folder = match fs::metadata(path) {
        Ok(found) => folder(path, &found, relay, left_out),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Folder::Missing,
        Err(error) => return Err(error),
    };
    // Of a folder that is to be made the file system is known already.
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let StatVfs { f_bavail, f_frsize, f_blocks, f_favail, f_files, f_flag, .. } =
        statvfs(existing)?;
    let is_read_only = f_flag.contains(StatVfsMountFlags::RDONLY);
    let flush = if folder == Folder::Missing || is_read_only {
        None
    } else {
        let measured = flush::measure(path);
        let measured = measured.map_err(|error| {
            left_out.push(format!("disk: how long a flush takes: {}: {error}", path.display()));
        });
        measured.ok().and_then(|times| times.get(times.len() / 2).copied())
    };
    Ok(Seen {
        folder,
        is_read_only,
        is_in_memory: IN_MEMORY.contains(&statfs(existing)?.f_type),
        free_bytes: f_bavail.saturating_mul(f_frsize),
        reserve_bytes: file::kept_free(f_blocks.saturating_mul(f_frsize)).max(config.reserve_bytes),
        free_inodes: (f_files > 0).then_some(f_favail),
        flush,
    })
}

fn folder(
    path: &Path,
    found: &Metadata,
    relay: Option<&Reader>,
    left_out: &mut Vec<String>,
) -> Folder {
    match relay.map_or(Grant::Yes, |relay| relay.may(path, found, Wish::Keep)) {
        Grant::Yes => Folder::Writable,
        Grant::No => Folder::Shut { owner: found.uid(), mode: found.permissions().mode() & 0o7777 },
        Grant::Unknown(why) => {
            left_out.push(format!(
                "disk: whether the relay's user may write to {}: {why}",
                path.display()
            ));
            Folder::Writable
        }
    }
}

fn judge(path: &Path, seen: &Seen, user: &str) -> Vec<Finding> {
    let folder = path.display();
    let mut found = Vec::new();
    match seen.folder {
        Folder::Writable => {}
        Folder::Missing => found.push(Finding::new(
            Cause::SpoolMissing,
            format!("{folder} is not there: it is made when the product starts, and was not, or its disk is not mounted"),
            "mount its disk; then systemctl start sallyport-relay, or sallyport run",
        )),
        Folder::Shut { owner, mode } => found.push(Finding::new(
            Cause::SpoolUnwritable,
            format!("user {user} may not write to {folder} (owner {owner}, mode {mode:o})"),
            format!("chown {user} {folder}; chmod 700 {folder}"),
        )),
    }
    if seen.is_read_only {
        found.push(Finding::new(
            Cause::SpoolReadOnly,
            format!("the file system of {folder} is mounted read-only; after errors of the disk the kernel does that by itself"),
            "dmesg says why; mend the disk, then mount -o remount,rw",
        ));
    }
    if seen.free_bytes < seen.reserve_bytes {
        found.push(Finding::new(
            Cause::DiskFull,
            format!(
                "{folder}: {} MiB are free, and {} MiB are kept for outcomes and reports: clients get 452 4.3.1",
                seen.free_bytes >> 20,
                seen.reserve_bytes >> 20
            ),
            "make room on that file system; sallyport queue list shows what waits",
        ));
    }
    if seen.free_inodes.is_some_and(|free| free < INODES_MIN) {
        found.push(Finding::new(
            Cause::InodesFull,
            format!("{folder}: its file system has hardly an inode left, so the log gets no further file"),
            "remove small files there: df -i, then du --inodes",
        ));
    }
    found.extend(flushing(path, seen));
    found
}

fn flushing(path: &Path, seen: &Seen) -> Option<Finding> {
    let folder = path.display();
    if seen.is_in_memory {
        return Some(Finding::new(
            Cause::SpoolInMemory,
            format!(
                "{folder} lies in memory (tmpfs): mail that was answered with 250 is lost with the next reboot. This is sure"
            ),
            "set spool.path to a folder on a disk, and restart the relay",
        ));
    }
    let flush = seen.flush?;
    let micros = flush.as_micros();
    if flush < TOO_FAST {
        let says = format!(
            "a flush in {folder} takes {micros} µs, which no disk does: it does not reach one, and a loss of power \
             takes mail that was answered with 250. This is very likely, not sure"
        );
        let remedy = "look for overlay mounts with `volatile`, eatmydata, or caching without barriers in the host's virtual disk";
        return Some(Finding::new(Cause::NotFlushing, says, remedy));
    }
    (flush > SLOW).then(|| {
        Finding::new(
            Cause::FlushSlow,
            format!("a flush in {folder} takes {} ms: each client waits that long for its 250", flush.as_millis()),
            "look for other load on that disk (iostat -x), or use a faster one; many sessions share one flush",
        )
    })
}

pub(super) fn look_inside(case: &Case) -> Looked {
    let Some(status) = case.relay.says() else {
        return Looked::left_out(
            "spool: how many messages it holds says the relay's process only; without it: sallyport spool check",
        );
    };
    let limit = case.config.spool.messages;
    status.spool.as_ref().map(|spool| inside(spool, limit)).unwrap_or_default().into()
}

fn inside(spool: &Status, limit: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    if spool.messages >= limit {
        found.push(Finding::new(
            Cause::SpoolFull,
            format!("{} messages wait, which is the limit: clients get 452 4.3.1", spool.messages),
            "sallyport queue list shows what waits and why; spool.messages is the limit",
        ));
    }
    if spool.damaged > 0 || spool.troubled_segments > 0 {
        found.push(Finding::new(
            Cause::SpoolDamaged,
            format!("{} messages are damaged, and {} files of the log had a failed flush", spool.damaged, spool.troubled_segments),
            "sallyport queue list --place damaged; sallyport spool check; and look at the disk: dmesg, smartctl",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Seen {
        Seen {
            folder: Folder::Writable,
            is_read_only: false,
            is_in_memory: false,
            free_bytes: 10 << 30,
            reserve_bytes: 1 << 30,
            free_inodes: Some(1_000_000),
            flush: Some(Duration::from_micros(200)),
        }
    }

    #[test]
    fn each_state_of_the_disk_has_its_cause() {
        let flush = |micros| Seen { flush: Some(Duration::from_micros(micros)), ..healthy() };
        let shut = Folder::Shut { owner: 0, mode: 0o700 };
        let rows: [(&str, Seen, &[&str]); 14] = [
            ("healthy", healthy(), &[]),
            ("not measured", Seen { flush: None, ..healthy() }, &[]),
            ("no inodes counted", Seen { free_inodes: None, ..healthy() }, &[]),
            (
                "missing",
                Seen { folder: Folder::Missing, flush: None, ..healthy() },
                &["spool-missing"],
            ),
            ("another's", Seen { folder: shut, ..healthy() }, &["spool-unwritable"]),
            (
                "read-only",
                Seen { is_read_only: true, flush: None, ..healthy() },
                &["spool-read-only"],
            ),
            ("full", Seen { free_bytes: (1 << 30) - 1, ..healthy() }, &["disk-full"]),
            ("at the reserve", Seen { free_bytes: 1 << 30, ..healthy() }, &[]),
            ("no inodes", Seen { free_inodes: Some(3), ..healthy() }, &["inodes-full"]),
            ("in memory", Seen { is_in_memory: true, ..flush(2) }, &["spool-in-memory"]),
            ("not flushing", flush(3), &["not-flushing"]),
            ("the fastest that flushes", flush(20), &[]),
            ("slow", flush(50_001), &["flush-slow"]),
            ("a disk that turns", flush(9_000), &[]),
        ];
        for (row, seen, wanted) in rows {
            let found = judge(Path::new("/spool"), &seen, "sallyport");
            let found: Vec<_> = found.iter().map(|found| found.cause.id()).collect();
            assert_eq!(found, wanted, "{row}");
        }
    }

    #[test]
    fn a_full_or_damaged_spool_is_told() {
        let empty = Status {
            next_due: None,
            messages: 9,
            damaged: 0,
            held: 0,
            captured: 0,
            captured_bytes: 0,
            body_bytes: 0,
            log_bytes: 0,
            segments: 1,
            troubled_segments: 0,
            free_bytes: 0,
            reserve_bytes: 0,
            commits: 0,
            flushes: 0,
        };
        let causes = |status: &Status, limit| {
            inside(status, limit).iter().map(|found| found.cause.id()).collect::<Vec<_>>()
        };
        assert_eq!(causes(&empty, 10), [""; 0]);
        assert_eq!(causes(&empty, 9), ["spool-full"]);
        assert_eq!(causes(&Status { troubled_segments: 1, ..empty }, 10), ["spool-damaged"]);
    }
}
