//! The values of a table, asked one by one with a descriptor that may only read.
//!
//! The kernel maps no table into a process through such a descriptor, so each look is a call to it.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::libc;

use super::table::shape;
use super::{Element, bpf, number};
use crate::gate::list::Load;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
/// The most words of a value.
const WORDS_MAX: usize = 1_200;

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
