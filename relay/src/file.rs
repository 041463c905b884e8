//! Files that are read whole, with a limit, and the room that is left on their file systems.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// What a buffer must have free, octets, or std reads into one of its own first, which nobody wipes. With that
/// much more than a file's size there is one allocation, where a buffer that grows would leave copies behind.
pub const END_ROOM: usize = 64;

/// The share of a file system that messages and their history leave free: a twentieth.
const KEPT_SHARE: u64 = 20;
/// The most that this share comes to, octets. What it is kept for, outcomes and reports, grows with the messages that
/// wait and not with the disk: 5 % of a terabyte would turn mail away beside 50 GB of room.
const KEPT_MAX_BYTES: u64 = 2 << 30;

/// Returns how much of a file system of `total_bytes` messages and their history leave free, octets: 5 %, at most
/// 2 GiB.
#[must_use]
pub const fn kept_free(total_bytes: u64) -> u64 {
    if total_bytes < KEPT_MAX_BYTES * KEPT_SHARE {
        total_bytes / KEPT_SHARE
    } else {
        KEPT_MAX_BYTES
    }
}

/// Reads a file, at most `most_bytes` of it. It is wiped when dropped, since it may hold a key. Blocks on
/// the disk.
///
/// # Errors
///
/// What the operating system says.
pub fn read(path: &Path, most_bytes: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = fs::File::open(path)?;
    let size = file.metadata()?.len().min(most_bytes);
    let room = usize::try_from(size).unwrap_or_default() + END_ROOM;
    let mut octets = Zeroizing::new(Vec::with_capacity(room));
    file.take(most_bytes).read_to_end(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_is_kept_free_and_of_a_large_disk_two_gibibytes() {
        assert_eq!(kept_free(0), 0);
        assert_eq!(kept_free(20 << 30), 1 << 30);
        assert_eq!(kept_free(40 << 30), 2 << 30);
        assert_eq!(kept_free(u64::MAX), 2 << 30);
    }
}
