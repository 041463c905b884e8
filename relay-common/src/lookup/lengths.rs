//! Which lengths of prefixes a list has: one bit each, in words that are written at once.
//!
//! A bit stands for the bits that a prefix lacks, so the lowest bit that is set is the longest prefix:
//! bit 0 is a single address, bit 32 of IPv4 and bit 128 of IPv6 everybody.

use crate::addr::Family;

/// The words that hold the lengths of one family; IPv4 uses the first alone.
pub const LENGTH_WORDS: usize = 3;

/// Returns the word and the bit of a prefix of `family`.
pub const fn place(family: Family, prefix: u8) -> (usize, u64) {
    let lacking = family.bits() - prefix;
    ((lacking / 64) as usize, 1 << (lacking % 64))
}

/// Returns the bits of the first word for prefixes longer than `prefix`, which lacks fewer than 64 bits.
#[inline(always)]
pub const fn longer_than(family: Family, prefix: u8) -> u64 {
    (1 << (family.bits() - prefix)) - 1
}

/// Returns the longest prefix in `left`, which is not zero and word number `word` of a family.
#[inline(always)]
pub const fn first(family: Family, word: usize, left: u64) -> u8 {
    let lacking = (word as u32 * u64::BITS).wrapping_add(left.trailing_zeros());
    family.bits().wrapping_sub(lacking as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_a_place_of_its_own_and_comes_back_from_it() {
        for family in [Family::V4, Family::V6] {
            let mut seen = [0u64; LENGTH_WORDS];
            for prefix in 0..=family.bits() {
                let (word, bit) = place(family, prefix);
                assert_eq!(seen[word] & bit, 0);
                seen[word] |= bit;
                assert_eq!(first(family, word, bit), prefix);
            }
        }
    }

    #[test]
    fn the_longer_ones_are_the_lower_bits() {
        let longer = longer_than(Family::V4, 24);
        for prefix in 0..=32 {
            assert_eq!(place(Family::V4, prefix).1 & longer != 0, prefix > 24, "{prefix}");
        }
    }

    #[test]
    fn the_longest_comes_first() {
        let (word, host) = place(Family::V4, 32);
        let (_, network) = place(Family::V4, 24);
        assert_eq!(first(Family::V4, word, host | network), 32);
    }
}
