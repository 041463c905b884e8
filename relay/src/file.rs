//! Files that are read whole, with a limit.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// What a buffer must have free, octets, or std reads into one of its own first, which nobody wipes. With that
/// much more than a file's size there is one allocation, where a buffer that grows would leave copies behind.
pub const END_ROOM: usize = 64;

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
