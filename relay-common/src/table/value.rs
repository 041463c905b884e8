//! The values of the lists, the entries and the bans.

use super::{CHUNK, PORT_WORDS};
use crate::addr::{Addr, Family};
use crate::lookup::WORDS;
use crate::lookup::lengths::LENGTH_WORDS;

/// The number of an allowlist entry: the place of its row. It stays with the entry; counters, rates and tag
/// are kept under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EntryId(pub u32);

impl EntryId {
    /// Returns the chunk that holds the entry's row, and the place in it.
    #[inline(always)]
    pub const fn place(self) -> (u32, u32) {
        (self.0 / CHUNK, self.0 % CHUNK)
    }
}

/// What stands beside the lists: the state word, what is guarded and what the counting needs. The program asks
/// for it once a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Switch {
    /// The [`State`](crate::state::State).
    pub state: u64,
    /// Until when the mode "observe" holds, in nanoseconds of the boot clock.
    pub observe_until_ns: u64,
    /// How many refused frames may still be told as samples. The gate's process fills it up at every tick,
    /// so that a flood costs the same few samples whatever its rate, and none while nobody reads them.
    pub samples_left: u64,
    /// The same for the second door, whose samples no flood before the first may use up.
    pub door_samples_left: u64,
    /// How many admitted connection attempts the first door may still tell, likewise: who stands in forged ones.
    pub admitted_samples_left: u64,
    /// What the cells of single sources' rates are mixed with.
    pub source_seed: u64,
    /// Which interfaces and ports the rows of counters stand for; the program never reads it.
    pub rows_key: u64,
    /// Spreads the numbers of guarded interfaces over the cells of `interfaces`, no two to one.
    pub interface_factor: u32,
    /// Spreads the guarded ports over rows of counters, no two to one.
    pub port_factor: u32,
    /// Which lengths of prefixes are banned, IPv4's first; see [`crate::lookup::lengths`].
    pub ban_lengths: [[u64; LENGTH_WORDS]; 2],
    /// The guarded ports: one bit each.
    pub ports: [u64; PORT_WORDS],
}

/// Where the parts of one list are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Head {
    /// The number of its generation.
    pub number: u64,
    /// IPv4's part, then IPv6's.
    pub parts: [Part; 2],
}

/// One family's part of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Part {
    /// The first line of its cells.
    pub first: u32,
    /// The number of its lines less one.
    pub mask: u32,
    /// The first of the lines, behind all cells, that say what is near a source; see
    /// [`crate::lookup::nearby`].
    pub nearby_first: u32,
    /// The number of these lines less one.
    pub nearby_mask: u32,
    /// What its hash is mixed with.
    pub seed: u64,
    /// The lengths that its entries have; see [`crate::lookup::lengths`].
    pub lengths: [u64; LENGTH_WORDS],
}

/// Returns the place of a family in a pair.
#[inline(always)]
pub const fn family_index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// A line of `cover` or `cells`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Row {
    /// Its words.
    pub words: [u64; WORDS],
}

/// What belongs to an entry. The relay's side writes the first half, the kernel the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// The network's first address, see [`Addr::octets`].
    pub network: [u8; 16],
    /// The length of its prefix in bits.
    pub prefix: u8,
    /// 4 or 6; 0 for a row that no entry has.
    pub family: u8,
    /// The place of its tag in `tags`; 0 for none.
    pub tag: u16,
    /// The place of its connect rate in `rates`; 0 for none.
    pub rate: u16,
    /// The place of the connect rate of each of its sources in `rates`; 0 for none.
    pub source_rate: u16,
    /// When it ends, in nanoseconds of the boot clock; 0 for never.
    pub until_ns: u64,
    /// The bucket of its rate, as the number that [`Bucket`](crate::bucket::Bucket) holds.
    pub full_at_ns: u64,
    /// What all CPUs together counted, for entries beyond [`COUNTED_CHUNKS`](super::COUNTED_CHUNKS).
    pub count: EntryCount,
    /// Connection attempts that the candidate list in shadow would drop.
    pub would_drop: u64,
}

/// What was counted of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EntryCount {
    /// Connection attempts that were passed.
    pub passed: u64,
    /// Connection attempts that were dropped because a rate was exceeded.
    pub over_rate: u64,
    /// The last connection attempt of either kind, in nanoseconds of the boot clock; 0 for none.
    pub last_ns: u64,
}

/// A banned network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct BanKey {
    /// The network's first address, see [`Addr::octets`].
    pub network: [u8; 16],
    /// The length of its prefix in bits.
    pub prefix: u32,
    /// 4 or 6.
    pub family: u32,
}

impl BanKey {
    /// Returns the key of the first `prefix` bits of `source`.
    #[inline(always)]
    pub const fn of(source: &Addr, prefix: u8) -> Self {
        let network = source.masked(prefix).octets();
        Self { network, prefix: prefix as u32, family: source.family() as u32 }
    }
}

/// Until when a network is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ban {
    /// Nanoseconds of the boot clock: it goes on during suspend, and no step of the wall clock moves it.
    pub until_ns: u64,
}

/// A tag: UTF-8, filled up with zeros. The kernel never reads it; the relay finds its policy by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct TagName(pub [u8; TAG_BYTES]);

/// The longest tag in bytes.
pub const TAG_BYTES: usize = 32;

impl TagName {
    /// No tag.
    pub const NONE: Self = Self([0; TAG_BYTES]);

    /// Returns `tag` as it is kept; `None` if it is longer than [`TAG_BYTES`] or has a zero byte.
    pub fn new(tag: &str) -> Option<Self> {
        let mut bytes = [0; TAG_BYTES];
        bytes.get_mut(..tag.len())?.copy_from_slice(tag.as_bytes());
        (!tag.contains('\0')).then_some(Self(bytes))
    }

    /// Returns the tag; `None` if the bytes are not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(TAG_BYTES);
        core::str::from_utf8(self.0.get(..end)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_kept_whole_or_not_at_all() {
        let longest = "x".repeat(TAG_BYTES);
        for tag in ["", "billing", "größe", longest.as_str()] {
            assert_eq!(TagName::new(tag).unwrap().as_str(), Some(tag));
        }
        assert_eq!(TagName::new(&"x".repeat(TAG_BYTES + 1)), None);
        assert_eq!(TagName::new("a\0b"), None);
        assert_eq!(TagName([0xff; TAG_BYTES]).as_str(), None);
    }
}
