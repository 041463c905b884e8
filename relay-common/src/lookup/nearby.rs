//! Which lengths the entries near a source have: those that share its first 24 bits, of IPv6 its first 32.
//!
//! A list has many lengths, a neighbourhood few. So one word that is looked at first spares most probes, of
//! listed sources and of strangers. It is found by a hash, and says too much where neighbourhoods share it, or
//! where an entry was taken out: that costs a probe. It never says too little. Entries shorter than a
//! neighbourhood are not in it; their lengths are always probed.

use crate::addr::{Addr, Family};

use super::{Memory, WORDS};

const BITS_V4: u8 = 24;
const BITS_V6: u8 = 32;
/// The bits that a neighbourhood of IPv4 takes of a word.
const SHARE_V4: u32 = 16;
/// How far the bits of IPv6's second word of lengths are turned: 97 lengths share 64 bits, so that /64 and
/// shorter ones lie where lengths are that nobody has beside them, as /115.
const TURN: u32 = 13;

/// Returns the bits of an address that make its neighbourhood.
pub const fn bits(family: Family) -> u8 {
    match family {
        Family::V4 => BITS_V4,
        Family::V6 => BITS_V6,
    }
}

/// Returns how many neighbourhoods there are to a line.
pub const fn per_line(family: Family) -> usize {
    match family {
        Family::V4 => WORDS * (u64::BITS / SHARE_V4) as usize,
        Family::V6 => WORDS,
    }
}

/// Where the word of a neighbourhood is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, before it is masked.
    pub line: u32,
    /// The word in it.
    pub word: usize,
    /// The lowest of its bits in the word.
    pub shift: u32,
}

/// Returns the place of the neighbourhood of `address`; the hash is keyed as that of the cells is.
#[inline(always)]
pub const fn place(address: &Addr, seed: u64) -> Place {
    let [high, _] = address.words();
    let first = high >> (64 - bits(address.family()));
    let mixed = (first ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let shift = match address.family() {
        Family::V4 => (mixed >> 59) as u32 % (u64::BITS / SHARE_V4) * SHARE_V4,
        Family::V6 => 0,
    };
    Place { line: (mixed >> 32) as u32, word: (mixed >> 61) as usize, shift }
}

/// Returns the bits of an entry of `prefix`; none if it is shorter than a neighbourhood.
pub const fn mark(family: Family, prefix: u8) -> u64 {
    if prefix < bits(family) {
        return 0;
    }
    let lacking = (family.bits() - prefix) as u32;
    if lacking < u64::BITS {
        1 << lacking
    } else {
        (1u64 << (lacking - u64::BITS)).rotate_left(TURN)
    }
}

/// Returns the lengths of one word of [`lengths`](super::lengths) that are to be probed, given the bits of a
/// neighbourhood.
#[inline(always)]
pub const fn among(family: Family, word: usize, held: u64) -> u64 {
    // Those that are no shorter than a neighbourhood, of this word.
    let known = match (family, word) {
        (Family::V4, 0) => (1 << (family.bits() - BITS_V4 + 1)) - 1,
        (Family::V6, 0) => u64::MAX,
        (Family::V6, 1) => (1 << (family.bits() - BITS_V6 + 1 - 64)) - 1,
        (Family::V4 | Family::V6, _) => 0,
    };
    let held = if word == 0 { held } else { held.rotate_right(TURN) };
    held & known | !known
}

/// Returns the bits of the neighbourhood of `source`.
#[inline(always)]
pub(super) fn ask<M: Memory + ?Sized>(memory: &M, source: &Addr) -> u64 {
    use super::Line as _;
    let Some(region) = memory.nearby(source.family()) else { return 0 };
    let Place { line, word, shift } = place(source, region.seed);
    let line = memory.cells(region.first.wrapping_add(line & region.mask));
    line.map_or(0, |line| line.word(word) >> shift)
}

#[cfg(test)]
mod tests {
    use super::super::lengths;
    use super::*;

    #[test]
    fn an_entry_is_probed_for_wherever_its_mark_is_and_seldom_elsewhere() {
        for family in [Family::V4, Family::V6] {
            for prefix in 0..=family.bits() {
                let (word, bit) = lengths::place(family, prefix);
                let held = mark(family, prefix);
                assert_ne!(among(family, word, held) & bit, 0, "{family:?}/{prefix}");
                let shorter = prefix < bits(family);
                assert_eq!(among(family, word, 0) & bit != 0, shorter, "{family:?}/{prefix}");
                assert_eq!(held == 0, shorter, "{family:?}/{prefix}");
            }
        }
    }

    #[test]
    fn the_lengths_that_people_give_out_have_marks_of_their_own() {
        let common = [32, 40, 44, 48, 52, 56, 60, 64, 80, 96, 112, 120, 124, 126, 127, 128];
        let all = common.iter().fold(0, |all, prefix| all | mark(Family::V6, *prefix));
        assert_eq!(all.count_ones() as usize, common.len());
    }

    #[test]
    fn neighbourhoods_of_ipv4_do_not_reach_into_each_other() {
        for number in 0..10_000_u32 {
            let Place { word, shift, .. } = place(&Addr::v4(number.to_be_bytes()), 0x5eed);
            assert!(word < WORDS && shift % SHARE_V4 == 0 && shift < 64);
        }
        assert!((24..=32).all(|prefix| mark(Family::V4, prefix) < 1 << SHARE_V4));
    }
}
