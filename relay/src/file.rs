//! Files that are read whole, with a limit.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a file, at most `most_bytes` of it. It is wiped when dropped, since it may hold a key. Blocks on
/// the disk.
///
/// # Errors
///
/// What the operating system says.
pub fn read(path: &Path, most_bytes: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = fs::File::open(path)?;
    // One allocation, and room to see the end: a buffer that grows would leave copies behind.
    let size = file.metadata()?.len().saturating_add(1).min(most_bytes);
    let room = usize::try_from(size).unwrap_or_default();
    let mut octets = Zeroizing::new(Vec::with_capacity(room));
    file.take(most_bytes).read_to_end(&mut octets)?;
    Ok(octets)
}
