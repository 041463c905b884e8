//! The lists in the tables: `relay_common::lookup` over the maps.

use relay_common::addr::{Addr, Family};
use relay_common::lookup::cover::COVER_LINES;
use relay_common::lookup::{self, Memory, Region, lengths};
use relay_common::state::Slot;
use relay_common::table::{Entry, EntryId, family_index};

use crate::tables::{CELLS, COVER, ENTRIES, HEADS, Words, field};

/// The list in one slot.
pub struct List {
    slot: u32,
}

impl List {
    /// Returns the list in `slot`.
    #[inline(always)]
    pub const fn of(slot: Slot) -> Self {
        Self { slot: slot.index() }
    }
}

impl Memory for List {
    type Line = Words;

    #[inline(always)]
    fn cover(&self, line: u32) -> Option<Words> {
        COVER.get_ptr_mut(self.slot * COVER_LINES + line).map(Words)
    }

    #[inline(always)]
    fn cells(&self, line: u32) -> Option<Words> {
        CELLS.get_value_ptr_mut(self.slot, &line).map(Words)
    }

    #[inline(always)]
    fn region(&self, family: Family) -> Option<Region> {
        let head = HEADS.get_ptr(self.slot)?;
        let at = family_index(family);
        let (first, mask) = (field!(head, parts[at].first), field!(head, parts[at].mask));
        Some(Region { first, mask, seed: field!(head, parts[at].seed) })
    }

    #[inline(always)]
    fn nearby(&self, family: Family) -> Option<Region> {
        let head = HEADS.get_ptr(self.slot)?;
        let at = family_index(family);
        let first = field!(head, parts[at].nearby_first);
        let mask = field!(head, parts[at].nearby_mask);
        Some(Region { first, mask, seed: field!(head, parts[at].seed) })
    }

    #[inline(always)]
    fn lengths(&self, family: Family, word: usize) -> u64 {
        let at = family_index(family);
        HEADS.get_ptr(self.slot).map_or(0, |head| field!(head, parts[at].lengths[word]))
    }

    #[inline(always)]
    fn probe(&self, source: &Addr) -> bool {
        self.search(source, lookup::undecided(source.family()), 0).is_some()
    }

    #[inline(always)]
    fn find(&self, source: &Addr, prefix: u8) -> Option<EntryId> {
        let [high, low] = source.words();
        let key = source.family() as u32 | u32::from(prefix) << 8;
        found(find(self.slot, high, low, key))
    }
}

impl List {
    /// Returns the longest entry that holds `source` and that has not ended at `now_ns`.
    #[inline(always)]
    pub fn entry(&self, source: &Addr, now_ns: u64) -> Option<EntryId> {
        self.search(source, u64::MAX, now_ns)
    }

    /// Searches a word of lengths after the other, of the first those in `among`; at 0 nothing has ended.
    #[inline(always)]
    fn search(&self, source: &Addr, among: u64, now_ns: u64) -> Option<EntryId> {
        let [high, low] = source.words();
        for word in 0..lengths::LENGTH_WORDS {
            let left = lookup::probed(self, source, word) & lookup::among_of(word, among);
            if left == 0 {
                continue;
            }
            let key = source.family() as u32 | (word as u32) << 8 | self.slot << 16;
            let id = found(search(key, high, low, left, now_ns));
            if id.is_some() {
                return id;
            }
        }
        None
    }
}

/// The mark of a number that was found.
const FOUND: u64 = 1 << 32;

#[inline(always)]
fn found(word: u64) -> Option<EntryId> {
    (word & FOUND != 0).then_some(EntryId(word as u32))
}

#[inline(always)]
fn told(id: Option<EntryId>) -> u64 {
    id.map_or(0, |id| FOUND | u64::from(id.0))
}

/// Returns the address of these words; a family that is not IPv4's is IPv6's.
#[inline(always)]
pub fn address(family: u32, high: u64, low: u64) -> Addr {
    let family = if family == Family::V4 as u32 { Family::V4 } else { Family::V6 };
    Addr::from_words(family, [high, low])
}

/// Probes a list for the first bits of an address.
///
/// This and the next are global functions: the verifier looks at each once, with arguments it knows nothing
/// of, and not once for each way that leads to a call.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find(slot: u32, high: u64, low: u64, key: u32) -> u64 {
    let source = address(key & 0xff, high, low);
    told(lookup::find(&List { slot }, &source, (key >> 8) as u8))
}

/// Searches a list for the longest entry that holds an address and has not ended, among the lengths in `left`,
/// which are of one word. `key` is the family, the word, and the list's slot.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn search(key: u32, high: u64, low: u64, left: u64, now_ns: u64) -> u64 {
    let source = address(key & 0xff, high, low);
    let (list, word) = (List { slot: key >> 16 }, (key >> 8 & 0xff) as usize);
    let lives = |id| {
        row(id).is_some_and(|row| {
            let until_ns = field!(row, until_ns);
            until_ns == 0 || now_ns < until_ns
        })
    };
    told(lookup::longest_of_word(&list, &source, word, left, lives))
}

/// Returns the row of an entry.
#[inline(always)]
pub fn row(id: EntryId) -> Option<*mut Entry> {
    let (chunk, at) = id.place();
    ENTRIES.get_value_ptr_mut(chunk, &at)
}
