//! The values of a table, asked one by one with a descriptor that may only read.
//!
//! The kernel maps no table into a process through such a descriptor, so each look is a call to it.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::libc;

use super::table::{ENOTSUPP, array_shape, shape};
use super::{Batch, Element, bpf, number};
use crate::gate::list::Load;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
/// The most words of a value.
const WORDS_MAX: usize = 1_200;

/// Returns the words of all values of an array, one behind the other, with as few calls as the kernel
/// permits; and how many words each has. Where each CPU has values of its own, those of all CPUs that there
/// can be stand one behind the other as one.
///
/// # Errors
///
/// What the kernel said; [`io::ErrorKind::InvalidData`] for a table that is no array of words.
pub fn all_words(table: &OwnedFd) -> io::Result<(Vec<u64>, usize)> {
    let (copies, bytes, capacity) = array_shape(table)?;
    if bytes == 0 || !bytes.is_multiple_of(8) || bytes > WORDS_MAX * 8 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let words = bytes / 8 * copies;
    let (mut keys, mut values) = (vec![0_u32; capacity], vec![0_u64; capacity * words]);
    let mut last = 0_u32;
    let map_fd = number(table.as_raw_fd());
    let mut batch = Batch {
        from: 0,
        to: std::ptr::from_mut(&mut last) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(capacity).map_err(io::Error::other)?,
        map_fd,
        element_flags: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) {
        Ok(_) => return Ok((values, words)),
        // Kernels before 5.6, and before 5.13 for values of each CPU: one after the other then.
        Err(error) if matches!(error.raw_os_error(), Some(ENOTSUPP | libc::EINVAL)) => {}
        Err(error) => return Err(error),
    }
    for (key, value) in (0_u32..).zip(values.chunks_exact_mut(words)) {
        let (key, value) = (std::ptr::from_ref(&key) as u64, value.as_mut_ptr() as u64);
        let mut element = Element { map_fd: map_fd.into(), key, value, flags: 0 };
        bpf(BPF_MAP_LOOKUP_ELEM, &mut element)?;
    }
    Ok((values, words))
}

/// An array whose values are words.
#[derive(Debug)]
pub struct Seen {
    table: OwnedFd,
    /// The words of a value.
    words: usize,
    capacity: usize,
}

impl Seen {
    /// Takes an array of values of at most [`WORDS_MAX`] words.
    ///
    /// # Errors
    ///
    /// What the kernel said; [`io::ErrorKind::InvalidData`] for a table of other values.
    pub fn of(table: OwnedFd) -> io::Result<Self> {
        let (bytes, capacity) = shape(&table)?;
        if bytes == 0 || !bytes.is_multiple_of(8) || bytes > WORDS_MAX * 8 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { table, words: bytes / 8, capacity })
    }

    /// Returns all words.
    pub const fn all(&self) -> Window<'_> {
        Window { seen: self, first: 0, count: self.capacity * self.words }
    }

    /// Returns `count` words from `first` on.
    pub const fn window(&self, first: usize, count: usize) -> Window<'_> {
        Window { seen: self, first, count }
    }

    /// Returns a word. The kernel copies a value word by word, so none is torn.
    fn word(&self, at: usize) -> Option<u64> {
        let key = u32::try_from(at / self.words).ok()?;
        let mut value = [0_u64; WORDS_MAX];
        let mut element = Element {
            map_fd: number(self.table.as_raw_fd()).into(),
            key: std::ptr::from_ref(&key) as u64,
            value: std::ptr::from_mut(&mut value) as u64,
            flags: 0,
        };
        bpf(BPF_MAP_LOOKUP_ELEM, &mut element).ok()?;
        Some(value[at % self.words])
    }
}

/// Some words of a table.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    seen: &'a Seen,
    first: usize,
    count: usize,
}

impl Load for Window<'_> {
    fn load(&self, at: usize) -> Option<u64> {
        if at < self.count { self.seen.word(self.first + at) } else { None }
    }
}
