//! Is a source listed, and by which entry? The lookup structures of one generation of a list.
//!
//! A generation is memory in lines of 64 bytes, written by the relay's side and read here, by the same
//! code in the kernel, in the gate's process and in tests. Two questions are asked of it:
//!
//! - [`covers`]: does any entry hold the source? Every frame for a guarded port asks that, a flood of
//!   strangers too, so most strangers are turned away by one or two bits of a bitmap ([`cover`]). For IPv4
//!   these bits are the sum of all entries, down to networks of 24 bits.
//! - [`entry`]: which is the longest entry that holds it? Only connection attempts of listed sources ask
//!   that. One probe of a hash table ([`cell`]) for each length of prefix that the list really has near the
//!   source ([`nearby`]).
//!
//! What is not decided by a bitmap is decided by the same probes.
//!
//! Every word is written at once and means something by itself, so a single entry can be added to a
//! generation that is being read, or taken out of it; the order of writes is the writer's care. That is why
//! there is no table of outermost entries besides: while one is taken out, the entries inside it would have to
//! move there, and a reader in the middle of a search could miss them in both.

pub mod cell;
pub mod cover;
pub mod lengths;
pub mod nearby;

use crate::addr::{Addr, Family};
use crate::table::EntryId;

use cell::{Look, STEPS_MAX, key, look, spread};
use cover::Answer;

/// The words of a line, which is as long as a cache line of most CPUs.
pub const WORDS: usize = 8;

/// A line of memory that somebody may be writing to.
pub trait Line {
    /// Returns the word at `at`, which is less than [`WORDS`].
    fn word(&self, at: usize) -> u64;
}

/// Where the cells of one family lie, or the lines that say what is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first of its lines.
    pub first: u32,
    /// Their number, a power of two, less one.
    pub mask: u32,
    /// What the hash of this generation is mixed with.
    pub seed: u64,
}

/// The memory of one generation. What cannot be read lists nobody.
pub trait Memory {
    /// A line.
    type Line: Line;

    /// Returns a line of the bitmaps.
    fn cover(&self, line: u32) -> Option<Self::Line>;

    /// Returns a line of cells.
    fn cells(&self, line: u32) -> Option<Self::Line>;

    /// Returns where the cells of a family lie.
    fn region(&self, family: Family) -> Option<Region>;

    /// Returns where the lines of a family lie, among those of the cells, that say what is [`nearby`].
    fn nearby(&self, family: Family) -> Option<Region>;

    /// Returns a word of the lengths that a family's entries have, see [`lengths`].
    fn lengths(&self, family: Family, word: usize) -> u64;

    /// Returns whether any entry holds `source`, of those that the bitmaps cannot tell.
    ///
    /// The kernel overrides this and [`find`](Self::find): there each is a function that the verifier looks at
    /// once, by itself.
    #[inline(always)]
    fn probe(&self, source: &Addr) -> bool {
        probe(self, source)
    }

    /// Returns the entry of exactly the first `prefix` bits of `source`.
    #[inline(always)]
    fn find(&self, source: &Addr, prefix: u8) -> Option<EntryId> {
        find(self, source, prefix)
    }
}

/// Returns whether any entry holds `source`.
#[inline(always)]
pub fn covers<M: Memory + ?Sized>(memory: &M, source: &Addr) -> bool {
    match cover::ask(memory, source) {
        Answer::No => false,
        Answer::Yes => true,
        Answer::Probe => memory.probe(source),
    }
}

/// Returns whether the bitmaps alone tell that no entry holds `source`.
#[inline(always)]
pub fn lacks<M: Memory + ?Sized>(memory: &M, source: &Addr) -> bool {
    matches!(cover::ask(memory, source), Answer::No)
}

/// Returns whether any entry holds `source`, of those that the bitmaps cannot tell.
#[inline(always)]
pub fn probe<M: Memory + ?Sized>(memory: &M, source: &Addr) -> bool {
    longest(memory, source, undecided(source.family()), |_| true).is_some()
}

/// Returns the lengths that a bitmap cannot tell, of the first word of a family.
#[inline(always)]
pub const fn undecided(family: Family) -> u64 {
    match family {
        // The bitmaps know all shorter ones.
        Family::V4 => lengths::longer_than(Family::V4, cover::EXACT_BITS),
        Family::V6 => u64::MAX,
    }
}

/// Returns the longest entry that holds `source` and that `lives`.
#[inline(always)]
pub fn entry<M: Memory + ?Sized>(
    memory: &M,
    source: &Addr,
    lives: impl Fn(EntryId) -> bool,
) -> Option<EntryId> {
    longest(memory, source, u64::MAX, lives)
}

/// Returns the longest entry that holds `source` and that `lives`, of the first word of [`lengths`] among those
/// in `among`. Each length is one probe, the longest first.
#[inline(always)]
fn longest<M: Memory + ?Sized>(
    memory: &M,
    source: &Addr,
    among: u64,
    lives: impl Fn(EntryId) -> bool,
) -> Option<EntryId> {
    (0..lengths::LENGTH_WORDS).find_map(|word| {
        let left = probed(memory, source, word) & among_of(word, among);
        longest_of_word(memory, source, word, left, &lives)
    })
}

/// Returns the lengths of a word that are searched, given those of the first.
#[inline(always)]
pub const fn among_of(word: usize, among: u64) -> u64 {
    if word == 0 { among } else { u64::MAX }
}

/// Returns the lengths of one word of a list, see [`lengths`], that are to be probed for `source`.
#[inline(always)]
pub fn probed<M: Memory + ?Sized>(memory: &M, source: &Addr, word: usize) -> u64 {
    let all = memory.lengths(source.family(), word);
    if all == 0 {
        0
    } else {
        all & nearby::among(source.family(), word, nearby::ask(memory, source))
    }
}

/// Returns the longest entry that holds `source` and that `lives`, of the lengths in `left`, which are of one
/// word.
#[inline(always)]
pub fn longest_of_word<M: Memory + ?Sized>(
    memory: &M,
    source: &Addr,
    word: usize,
    mut left: u64,
    lives: impl Fn(EntryId) -> bool,
) -> Option<EntryId> {
    for _ in 0..u64::BITS {
        if left == 0 {
            break;
        }
        let prefix = lengths::first(source.family(), word, left);
        left &= left - 1;
        if let Some(id) = memory.find(source, prefix)
            && lives(id)
        {
            return Some(id);
        }
    }
    None
}

/// Probes the cells for the first `prefix` bits of `source`.
#[inline(always)]
pub fn find<M: Memory + ?Sized>(memory: &M, source: &Addr, prefix: u8) -> Option<EntryId> {
    let region = memory.region(source.family())?;
    let network = source.masked(prefix);
    let wanted = key(&network, prefix);
    let mut at = spread(&network, prefix, region.seed);
    for _ in 0..STEPS_MAX {
        let line = memory.cells(region.first.wrapping_add(at & region.mask))?;
        match look(&line, &wanted) {
            Look::Found(id) => return Some(id),
            Look::Ended => return None,
            Look::Full => at = at.wrapping_add(1),
        }
    }
    None
}
