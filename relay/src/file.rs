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
    let mut octets = Zeroizing::new(Vec::new());
    fs::File::open(path)?.take(most_bytes).read_to_end(&mut octets)?;
    Ok(octets)
}
