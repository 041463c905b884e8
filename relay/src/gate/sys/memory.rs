//! The values of a table as memory of this process.
//!
//! An array that was made mappable (Linux 5.5) can be mapped into a process: a write is a store, and the
//! program in the kernel sees it with its next load. All access is by atomic words, since the kernel and
//! other processes may be at them at any moment.
#![expect(unsafe_code, reason = "mapping memory that others write to")]

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The size of a page on every machine that BPF arrays can be mapped on is a power of two no less than this.
const PAGE: usize = 4096;

/// A mapping; it ends when this is dropped.
#[derive(Debug)]
struct Region {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the region is reached through atomic words alone, and unmapped once.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    fn map(table: impl AsFd, bytes: usize) -> io::Result<Self> {
        let length = bytes.next_multiple_of(PAGE);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so nothing of ours is replaced.
        let base =
            unsafe { mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, table, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { base, words: bytes / 8 })
    }

    const fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has these words, aligned to a page, and stays until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let length = (self.words * 8).next_multiple_of(PAGE);
        // SAFETY: it was mapped with this length, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), length) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// The values of a table, to be read and written.
#[derive(Debug)]
pub struct Written(Region);

impl Written {
    /// Maps the first `bytes` bytes of a table's values, a multiple of eight.
    ///
    /// # Errors
    ///
    /// What the kernel said: EINVAL for a table that is not mappable or shorter, EPERM for a descriptor that
    /// may only read.
    pub fn map(table: impl AsFd, bytes: usize) -> io::Result<Self> {
        Region::map(table, bytes).map(Self)
    }

    /// Returns the words.
    pub const fn words(&self) -> &[AtomicU64] {
        self.0.words()
    }
}
