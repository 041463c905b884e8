//! The bitmaps in front of the cells: most strangers are known by them.
//!
//! IPv4 is exact down to networks of 24 bits. `fine` has two bits for each of them, in one line a /16:
//! whether any entry reaches into it, and whether entries hold it whole. `coarse` has a bit for each
//! network of 20 bits: it is small enough to stay in the CPU's cache while a flood of forged sources
//! passes by.
//!
//! IPv6 is a hint. `short` has a bit for each network of 16 bits into which an entry shorter than 32 bits
//! reaches; `spread` has a bit for each hash of the first 32 bits of a longer entry. Where neither is set
//! nobody is listed; a bit that is set by chance costs a probe.

use crate::addr::{Addr, Family};

use super::{Line, Memory, WORDS};

/// The lines of a generation's bitmaps.
pub const COVER_LINES: u32 = SPREAD_AT + SPREAD_LINES;

/// The bits of a line.
const LINE_BITS: u32 = 512;
/// One line for each IPv4 network of 16 bits.
const FINE_LINES: u32 = 1 << 16;
const COARSE_AT: u32 = FINE_LINES;
const COARSE_LINES: u32 = (1 << 20) / LINE_BITS;
const SHORT_AT: u32 = COARSE_AT + COARSE_LINES;
const SHORT_LINES: u32 = (1 << 16) / LINE_BITS;
const SPREAD_AT: u32 = SHORT_AT + SHORT_LINES;
const SPREAD_LINES: u32 = (1 << 20) / LINE_BITS;
/// In a line of `fine` the words of "whole" stand behind those of "any".
const WHOLE: usize = WORDS / 2;

/// IPv6 entries shorter than this are in `short`.
pub const SHORT_BELOW: u8 = 32;
/// IPv4 entries longer than this are in the cells alone.
pub const EXACT_BITS: u8 = 24;

/// What the bitmaps say of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No entry holds it.
    No,
    /// An entry holds it.
    Yes,
    /// The cells know.
    Probe,
}

/// A bit of the bitmaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The word in it.
    pub word: usize,
    /// The bit of the word, from 0.
    pub bit: u32,
}

impl Place {
    #[inline(always)]
    const fn of(first_line: u32, bit: u32) -> Self {
        let word = bit / u64::BITS % WORDS as u32;
        Self { line: first_line + bit / LINE_BITS, word: word as usize, bit: bit % u64::BITS }
    }

    #[inline(always)]
    fn is_set<M: Memory + ?Sized>(self, memory: &M) -> bool {
        memory.cover(self.line).is_some_and(|line| line.word(self.word) >> self.bit & 1 == 1)
    }
}

/// Returns the place of the /20 with this number, the first 20 bits of its addresses.
#[inline(always)]
pub const fn coarse(number: u32) -> Place {
    Place::of(COARSE_AT, number & 0xf_ffff)
}

/// Returns the "any" bit of the /24 with this number; its "whole" bit stands [`whole_word`] further on.
#[inline(always)]
pub const fn fine(number: u32) -> Place {
    let bit = number & 0xff;
    Place { line: number >> 8 & 0xffff, word: (bit / 64) as usize, bit: bit % 64 }
}

/// Returns the word that holds the "whole" bits of a line of `fine`, given that of the "any" bits.
#[inline(always)]
pub const fn whole_word(any_word: usize) -> usize {
    any_word + WHOLE
}

/// Returns the place of the IPv6 /16 with this number.
#[inline(always)]
pub const fn short(number: u32) -> Place {
    Place::of(SHORT_AT, number & 0xffff)
}

/// Returns the place of the hash of an IPv6 address's first 32 bits.
#[inline(always)]
pub const fn spread_of(first_32: u32) -> Place {
    Place::of(SPREAD_AT, first_32.wrapping_mul(0x9e37_79b1) >> 12)
}

/// Asks the bitmaps about `source`.
#[inline(always)]
pub(super) fn ask<M: Memory + ?Sized>(memory: &M, source: &Addr) -> Answer {
    let [high, _] = source.words();
    let first_32 = (high >> 32) as u32;
    match source.family() {
        Family::V4 => {
            if !coarse(first_32 >> 12).is_set(memory) {
                return Answer::No;
            }
            let Place { line, word, bit } = fine(first_32 >> 8);
            let Some(line) = memory.cover(line) else { return Answer::No };
            match (line.word(word) >> bit & 1, line.word(whole_word(word)) >> bit & 1) {
                (0, _) => Answer::No,
                (_, 0) => Answer::Probe,
                (_, _) => Answer::Yes,
            }
        }
        Family::V6 => {
            let hinted = spread_of(first_32).is_set(memory) || short(first_32 >> 16).is_set(memory);
            if hinted { Answer::Probe } else { Answer::No }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regions_do_not_overlap_and_fill_the_lines() {
        let last =
            [fine(0xff_ffff), coarse(0xf_ffff), short(0xffff), Place::of(SPREAD_AT, 0xf_ffff)];
        let first = [fine(0), coarse(0), short(0), Place::of(SPREAD_AT, 0)];
        for (end, next) in last.iter().zip(&first[1..]) {
            assert_eq!(end.line + 1, next.line);
        }
        assert_eq!(last[3].line + 1, COVER_LINES);
        assert!(last.iter().chain(&first).all(|place| place.word < WORDS && place.bit < 64));
        assert!(whole_word(fine(0xff).word) < WORDS);
    }

    #[test]
    fn hashes_of_the_first_bits_stay_within_their_lines() {
        for number in (0..=u32::MAX).step_by(99_991) {
            let place = spread_of(number);
            assert!((SPREAD_AT..COVER_LINES).contains(&place.line));
        }
    }
}
