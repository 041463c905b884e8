//! The hash table of a list: a cell an entry, several cells a line, lines in a row for a full one.
//!
//! The last word of a cell holds its number, its state and the length of its prefix; for IPv4 it holds the
//! network too, so that such a cell is one word and a line has eight. A cell of IPv6 has two words of
//! network before that one, and a line two cells. Cells of a line are used from its beginning, so an empty
//! one ends the search. A cell that was taken out stays as a dead one until the list is built anew.

use crate::addr::{Addr, Family};
use crate::table::EntryId;

use super::Line;

/// The lines that are looked at for one key, at most. The writer keeps to it.
pub const STEPS_MAX: usize = 8;

/// Entry numbers are smaller than this.
pub const IDS_END: u32 = 1 << 22;

/// The mark of a live cell, in its last word.
pub const LIVE: u64 = 1 << 8;
/// The mark of a dead one.
pub const DEAD: u64 = 1 << 9;
/// The bits of the last word that tell live cells of one prefix length.
const KIND: u64 = 0x3ff;
const ID_SHIFT: u32 = 10;
/// IPv4's network, in the upper half of its word.
const NETWORK_V4: u64 = 0xffff_ffff << 32;
/// The bits of the last word by which a cell is known: all but its number.
pub const KIND_AND_NETWORK: u64 = NETWORK_V4 | KIND;

/// The shape of a family's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Cells in a line.
    pub per_line: usize,
    /// Words in a cell.
    pub words: usize,
}

/// Returns the shape of a family's cells.
#[inline(always)]
pub const fn shape(family: Family) -> Shape {
    match family {
        Family::V4 => Shape { per_line: 8, words: 1 },
        Family::V6 => Shape { per_line: 2, words: 3 },
    }
}

/// What is searched for: the words of a live cell of number zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    family: Family,
    network: [u64; 2],
    last: u64,
}

/// Returns the key of a network. Bits behind `prefix` must be zero.
#[inline(always)]
pub const fn key(network: &Addr, prefix: u8) -> Key {
    let words = network.words();
    let last = LIVE | prefix as u64;
    match network.family() {
        Family::V4 => Key { family: Family::V4, network: [0, 0], last: words[0] | last },
        Family::V6 => Key { family: Family::V6, network: words, last },
    }
}

impl Key {
    /// Returns the words of network of an IPv6 cell; none for IPv4.
    pub const fn network(&self) -> Option<[u64; 2]> {
        match self.family {
            Family::V4 => None,
            Family::V6 => Some(self.network),
        }
    }

    /// Returns the last word of the live cell that gives this key the number `id`.
    pub const fn live(&self, id: EntryId) -> u64 {
        self.last | (id.0 as u64) << ID_SHIFT
    }

    /// Returns the last word of the cell once it is dead.
    pub const fn dead(&self) -> u64 {
        self.last ^ LIVE ^ DEAD
    }

    /// Returns whether `last` is the last word of a live cell of this key, as far as that word tells.
    #[inline(always)]
    const fn is_live(&self, last: u64) -> bool {
        (last ^ self.last) & KIND_AND_NETWORK == 0
    }
}

/// What a line says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The key's entry.
    Found(EntryId),
    /// There is no cell of it, nor in the lines that follow.
    Ended,
    /// It may be in the next line.
    Full,
}

/// Looks for `key` in a line.
#[inline(always)]
pub fn look<L: Line>(line: &L, key: &Key) -> Look {
    match key.family {
        Family::V4 => {
            let mut at = 0;
            while at < shape(Family::V4).per_line {
                let last = line.word(at);
                if key.is_live(last) {
                    return Look::Found(number(last));
                }
                if last == 0 {
                    return Look::Ended;
                }
                at += 1;
            }
        }
        Family::V6 => {
            let mut at = 0;
            while at < shape(Family::V6).per_line {
                // The last word is written last: a live one says that the network stands.
                let last = line.word(at * 3 + 2);
                if key.is_live(last)
                    && line.word(at * 3) == key.network[0]
                    && line.word(at * 3 + 1) == key.network[1]
                {
                    return Look::Found(number(last));
                }
                if last == 0 {
                    return Look::Ended;
                }
                at += 1;
            }
        }
    }
    Look::Full
}

#[inline(always)]
const fn number(last: u64) -> EntryId {
    EntryId((last >> ID_SHIFT) as u32 & (IDS_END - 1))
}

/// Returns the hash of a network and its length: where its cell is looked for first.
///
/// It is keyed, so that nobody who knows the list alone can tell which cells share a line. It multiplies
/// into 64 bits only.
#[inline(always)]
pub const fn spread(network: &Addr, prefix: u8, seed: u64) -> u32 {
    let [high, low] = network.words();
    let mut mixed = (high ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 32;
    // A product carries bits upwards only, and the line is taken from its middle.
    mixed ^= low ^ (low >> 32);
    mixed = mixed.wrapping_add(prefix as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;

    struct Words([u64; 8]);

    impl Line for Words {
        fn word(&self, at: usize) -> u64 {
            self.0[at]
        }
    }

    #[test]
    fn a_live_cell_is_found_by_its_key_alone_and_a_dead_one_by_none() {
        let network = Addr::v4([192, 0, 2, 0]);
        let wanted = key(&network, 24);
        let id = EntryId(IDS_END - 1);
        let other = key(&Addr::v4([192, 0, 3, 0]), 24);
        let longer = key(&network, 25);
        let mut line = Words([0; 8]);
        assert_eq!(look(&line, &wanted), Look::Ended);
        line.0[0] = other.live(EntryId(1));
        line.0[1] = wanted.live(id);
        assert_eq!(look(&line, &wanted), Look::Found(id));
        assert_eq!(look(&line, &other), Look::Found(EntryId(1)));
        assert_eq!(look(&line, &longer), Look::Ended);
        line.0[1] = wanted.dead();
        assert_eq!(look(&line, &wanted), Look::Ended);
        line.0 = [other.live(EntryId(1)); 8];
        assert_eq!(look(&line, &wanted), Look::Full);
    }

    #[test]
    fn an_ipv6_cell_is_its_network_and_its_last_word() {
        let network = Addr::from("2001:db8::".parse::<Ipv6Addr>().unwrap());
        let wanted = key(&network, 128);
        let mut line = Words([0; 8]);
        line.0[3..5].copy_from_slice(&wanted.network().unwrap());
        assert_eq!(look(&line, &wanted), Look::Ended, "the first cell is empty");
        line.0[2] = key(&network, 127).live(EntryId(7));
        line.0[5] = wanted.live(EntryId(9));
        assert_eq!(look(&line, &wanted), Look::Found(EntryId(9)));
        line.0[3] ^= 1;
        assert_eq!(look(&line, &wanted), Look::Full, "another network");
    }

    #[test]
    fn ipv6_networks_of_one_64_spread_evenly_whatever_their_length() {
        for prefix in [72_u8, 80, 88, 96, 112, 128] {
            let mut lines = vec![0_u32; 1 << 12];
            // 256 of them where there are no more, as of /72.
            let count = 1_u128 << (prefix - 64).min(13);
            for number in 0..count {
                let address = 0x2001_0db8_u128 << 96 | number << (128 - prefix);
                let network = Addr::from(Ipv6Addr::from_bits(address));
                lines[spread(&network, prefix, 0x5eed) as usize & 0xfff] += 1;
            }
            // Two in the mean at most.
            assert!(lines.iter().all(|count| *count < 16), "/{prefix}: {:?}", lines.iter().max());
        }
    }

    #[test]
    fn a_million_neighbours_spread_evenly() {
        let mut lines = vec![0u32; 1 << 17];
        for number in 0..1u32 << 20 {
            let network = Addr::v4((0x0a00_0000 + number).to_be_bytes());
            lines[spread(&network, 32, 0x5eed) as usize & 0x1_ffff] += 1;
        }
        // Eight in the mean; a row of random numbers has its fullest at about thirty.
        assert!(lines.iter().all(|count| *count < 40), "{:?}", lines.iter().max());
        assert!(lines.iter().filter(|count| **count == 0).count() < 200);
    }
}
