//! The memory of a list: where each word stands, and how cells are written and taken.

use std::sync::atomic::{AtomicU64, Ordering};

use relay_common::addr::{Addr, Family, Net};
use relay_common::lookup::cell::{self, Key, STEPS_MAX};
use relay_common::lookup::cover::COVER_LINES;
use relay_common::lookup::{Line, Memory, Region, WORDS, lengths, nearby};
use relay_common::table::{EntryId, Head, Part, family_index};

use super::{Full, Roll};
use crate::gate::words::{halves, pair};

/// The words of a head.
pub const HEAD_WORDS: usize = size_of::<Head>() / 8;
/// The words of a family's part of it.
const PART_WORDS: usize = size_of::<Part>() / 8;
/// Where the parts begin in a head, and what stands where in a part, in words.
const PARTS_AT: usize = 1;
const NEARBY_AT: usize = 1;
const SEED_AT: usize = 2;
const LENGTHS_AT: usize = 3;

/// Words that can be read at any moment.
pub trait Load {
    /// Returns the word at `at`; `None` behind the end.
    fn load(&self, at: usize) -> Option<u64>;
}

impl Load for &[AtomicU64] {
    fn load(&self, at: usize) -> Option<u64> {
        self.get(at).map(|word| word.load(Ordering::Acquire))
    }
}

/// How much memory a list takes, and what its hash is mixed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Lines of cells of IPv4, then of IPv6: powers of two.
    pub lines: [u32; 2],
    /// Lines that say what is near a source, of both in the same way; they stand behind all cells.
    pub nearby: [u32; 2],
    /// What the hash is mixed with.
    pub seed: u64,
}

impl Sizes {
    /// The least lines of a family: room for a few changes.
    const LEAST: usize = 16;

    /// Returns sizes with room for `roll`, and for about as many entries again.
    #[must_use]
    pub fn for_roll(roll: &Roll, seed: u64) -> Self {
        let lines = |family| {
            let count = roll.count(family);
            let lines = match family {
                // A third full lines are seldom followed by another.
                Family::V4 => count / 3,
                Family::V6 => count + count / 2,
            };
            power_of_two(lines.max(Self::LEAST))
        };
        // Twice as many neighbourhoods as entries: few share their bits.
        let nearby = |family| power_of_two(2 * roll.count(family) / nearby::per_line(family));
        let both = [Family::V4, Family::V6];
        Self { lines: both.map(lines), nearby: both.map(nearby), seed }
    }

    /// Returns sizes with twice the room for cells, under another seed.
    #[must_use]
    pub const fn doubled(self) -> Self {
        let [v4, v6] = self.lines;
        let nearby = self.nearby;
        Self {
            lines: [v4 * 2, v6 * 2],
            nearby,
            seed: self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Returns how many lines of cells there are in all, those that say what is near among them.
    #[must_use]
    pub const fn cell_lines(&self) -> u32 {
        self.lines[0] + self.lines[1] + self.nearby[0] + self.nearby[1]
    }

    /// Returns how many lines of bitmaps there are.
    #[must_use]
    pub const fn cover_lines() -> u32 {
        COVER_LINES
    }
}

fn power_of_two(lines: usize) -> u32 {
    let lines = lines.next_power_of_two();
    u32::try_from(lines).expect("invariant: a roll has at most a million entries")
}

/// The memory of one list, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a, W = &'a [AtomicU64]> {
    head: W,
    cover: W,
    cells: W,
    of: std::marker::PhantomData<&'a ()>,
}

impl<W: Load> Image<'_, W> {
    /// Returns the image in these words: its head, its bitmaps, its cells.
    pub const fn new(head: W, cover: W, cells: W) -> Self {
        Self { head, cover, cells, of: std::marker::PhantomData }
    }

    /// Returns the number of its generation.
    pub fn number(&self) -> u64 {
        self.head.load(0).unwrap_or(0)
    }

    fn part(&self, family: Family, at: usize) -> Option<u64> {
        self.head.load(PARTS_AT + family_index(family) * PART_WORDS + at)
    }
}

/// A line of an image.
pub struct ImageLine<'a, W> {
    words: &'a W,
    first: usize,
}

impl<W: Load> Line for ImageLine<'_, W> {
    fn word(&self, at: usize) -> u64 {
        self.words.load(self.first + at).unwrap_or(0)
    }
}

impl<'a, W: Load> Memory for &'a Image<'_, W> {
    type Line = ImageLine<'a, W>;

    fn cover(&self, line: u32) -> Option<Self::Line> {
        line_of(&self.cover, line)
    }

    fn cells(&self, line: u32) -> Option<Self::Line> {
        line_of(&self.cells, line)
    }

    fn region(&self, family: Family) -> Option<Region> {
        let lines = self.part(family, 0)?;
        let seed = self.part(family, SEED_AT)?;
        let (first, mask) = halves(lines);
        Some(Region { first, mask, seed })
    }

    fn nearby(&self, family: Family) -> Option<Region> {
        let lines = self.part(family, NEARBY_AT)?;
        let seed = self.part(family, SEED_AT)?;
        let (first, mask) = halves(lines);
        Some(Region { first, mask, seed })
    }

    fn lengths(&self, family: Family, word: usize) -> u64 {
        self.part(family, LENGTHS_AT + word).unwrap_or(0)
    }
}

fn line_of<W: Load>(words: &W, line: u32) -> Option<ImageLine<'_, W>> {
    let first = line as usize * WORDS;
    words.load(first)?;
    Some(ImageLine { words, first })
}

impl<'a> Image<'a> {
    /// Writes the head of an empty list.
    pub(super) fn begin(&self, sizes: Sizes, number: u32) {
        let mut first = 0u32;
        for (family, lines) in [Family::V4, Family::V6].into_iter().zip(sizes.lines) {
            self.set_part(family, 0, pair(first, lines - 1));
            self.set_part(family, SEED_AT, sizes.seed);
            for word in LENGTHS_AT..PART_WORDS {
                self.set_part(family, word, 0);
            }
            first += lines;
        }
        for (family, lines) in [Family::V4, Family::V6].into_iter().zip(sizes.nearby) {
            self.set_part(family, NEARBY_AT, pair(first, lines - 1));
            first += lines;
        }
        self.head[0].store(number.into(), Ordering::Release);
    }

    fn set_part(&self, family: Family, at: usize, value: u64) {
        let at = PARTS_AT + family_index(family) * PART_WORDS + at;
        self.head[at].store(value, Ordering::Release);
    }

    /// Marks a length.
    pub(super) fn set_length(&self, family: Family, prefix: u8) {
        let (word, bit) = lengths::place(family, prefix);
        self.set_part(family, LENGTHS_AT + word, (&self).lengths(family, word) | bit);
    }

    /// Takes the mark of a length away that no entry has any more: it would only cost probes.
    pub(super) fn clear_length(&self, family: Family, prefix: u8) {
        let (word, bit) = lengths::place(family, prefix);
        self.set_part(family, LENGTHS_AT + word, (&self).lengths(family, word) & !bit);
    }

    /// Marks a network's length for its neighbourhood.
    pub(super) fn mark_nearby(&self, net: &Net) {
        let mark = nearby::mark(net.family(), net.prefix());
        let region = self.nearby(net.family()).expect("invariant: the head was written first");
        let nearby::Place { line, word, shift } = nearby::place(&net.addr(), region.seed);
        let line = region.first + (line & region.mask);
        let word = &self.cells[line as usize * WORDS + word];
        let held = word.load(Ordering::Relaxed);
        if held & mark << shift != mark << shift {
            word.store(held | mark << shift, Ordering::Release);
        }
    }

    /// Returns a word of the bitmaps.
    pub(super) fn cover_word(&self, line: u32, word: usize) -> &'a AtomicU64 {
        &self.cover[line as usize * WORDS + word]
    }

    /// Writes the cell of an entry, or changes its number.
    pub(super) fn put(&self, net: Net, id: EntryId) -> Result<(), Full> {
        let key = cell::key(&net.addr(), net.prefix());
        let mut free = None;
        for place in self.places(&net) {
            let last = place.last.load(Ordering::Relaxed);
            if place.holds(&key) && (is_live(last) || is_dead(last)) {
                place.last.store(key.live(id), Ordering::Release);
                return Ok(());
            }
            // A dead cell of one word is written at once, so it can be used again. One of three words keeps
            // its network until the list is built anew: a reader may be between its words.
            let usable = last == 0 || (is_dead(last) && place.network.is_none());
            if usable && free.is_none() {
                free = Some(place);
            }
            if last == 0 {
                break;
            }
        }
        let place = free.ok_or(Full)?;
        if let (Some(network), Some(wanted)) = (place.network, key.network()) {
            network[0].store(wanted[0], Ordering::Relaxed);
            network[1].store(wanted[1], Ordering::Relaxed);
        }
        place.last.store(key.live(id), Ordering::Release);
        Ok(())
    }

    /// Makes the cell of an entry a dead one.
    pub(super) fn take(&self, net: &Net) {
        let key = cell::key(&net.addr(), net.prefix());
        for place in self.places(net) {
            let last = place.last.load(Ordering::Relaxed);
            if is_live(last) && place.holds(&key) {
                place.last.store(key.dead(), Ordering::Release);
            }
            if last == 0 {
                return;
            }
        }
    }

    /// Returns the cells in which an entry may stand, in the order of the search.
    fn places(&self, net: &Net) -> impl Iterator<Item = Place<'a>> {
        let family = net.family();
        let shape = cell::shape(family);
        let region = (&self).region(family).expect("invariant: the head was written first");
        let first = cell::spread(&net.addr(), net.prefix(), region.seed);
        let cells = self.cells;
        (0..STEPS_MAX as u32).flat_map(move |step| {
            let line = region.first + (first.wrapping_add(step) & region.mask);
            (0..shape.per_line).map(move |at| {
                let cell = line as usize * WORDS + at * shape.words;
                let words = &cells[cell..cell + shape.words];
                match words {
                    [high, low, last] => Place { network: Some([high, low]), last },
                    [last] => Place { network: None, last },
                    _ => unreachable!("a cell has one word or three"),
                }
            })
        })
    }
}

/// A cell.
struct Place<'a> {
    network: Option<[&'a AtomicU64; 2]>,
    last: &'a AtomicU64,
}

impl Place<'_> {
    /// Returns whether the cell is, or was, that of `key`.
    fn holds(&self, key: &Key) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let same_last = [key.live(EntryId(0)), key.dead()]
            .into_iter()
            .any(|wanted| (last ^ wanted) & cell::KIND_AND_NETWORK == 0);
        let load = |words: [&AtomicU64; 2]| words.map(|word| word.load(Ordering::Relaxed));
        same_last && self.network.map(load) == key.network()
    }
}

const fn is_live(last: u64) -> bool {
    last & cell::LIVE != 0
}

const fn is_dead(last: u64) -> bool {
    last & cell::DEAD != 0
}

/// Returns whether the words hold `source` as the kernel sees it, see [`relay_common::lookup::covers`].
impl<W: Load> Image<'_, W> {
    /// Returns whether any entry holds `source`.
    pub fn covers(&self, source: &Addr) -> bool {
        relay_common::lookup::covers(&self, source)
    }

    /// Returns the longest entry that holds `source` and that `lives`.
    pub fn entry(&self, source: &Addr, lives: impl Fn(EntryId) -> bool) -> Option<EntryId> {
        relay_common::lookup::entry(&self, source, lives)
    }
}
