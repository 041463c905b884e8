//! Every table that the kernel and the relay share: its name, key, value and capacity, once.
//!
//! The kernel program declares its maps with these types and capacities; the relay compares what was
//! loaded or adopted with [`ALL`] and refuses a pin of another shape.

use crate::bucket::Rate;
use crate::verdict::Reason;

/// The version of the tables' layout. It is part of the pins' path: a pin of the same name is reused
/// without a look at what its bytes mean, so any change of a type here takes a new number.
pub const LAYOUT: u32 = 1;

/// The most entries of the allowlist, in each family and in all.
pub const ENTRIES_MAX: u32 = 65_536;
/// The most bans in each family.
pub const BANS_MAX: u32 = 131_072;
/// The words of the guarded ports: one bit a port.
pub const PORT_WORDS: u32 = 1_024;

/// The number of an allowlist entry. It stays with the entry; counters, rate and tag are kept under it.
///
/// Zero is no entry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EntryId(pub u32);

/// The settings of the gate in one word. Zero, the default, is the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Settings(u64);

/// Which segments to a guarded port are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every one: a stranger's port scan of any kind meets silence.
    EverySegment,
    /// Only what may be a SYN: the host answers a stranger's other segments with RST.
    SynOnly,
}

impl Settings {
    const SYN_ONLY: u64 = 1;

    /// Returns the settings with this scope. Bits 8 to 15 are kept free for the mode (enforce, observe).
    pub const fn new(scope: Scope) -> Self {
        match scope {
            Scope::EverySegment => Self(0),
            Scope::SynOnly => Self(Self::SYN_ONLY),
        }
    }

    /// Returns which segments are looked at.
    #[inline(always)]
    pub const fn scope(self) -> Scope {
        if self.0 & Self::SYN_ONLY == 0 { Scope::EverySegment } else { Scope::SynOnly }
    }
}

/// Until when a network is banned, in nanoseconds of the boot clock (it goes on during suspend, and no
/// step of the wall clock moves it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ban {
    /// The time that the kernel obeys: the latest of this ban's and of every ban that covers it. A lookup
    /// finds the longest prefix only; without this a short ban of one address would end the long ban of
    /// the network around it.
    pub until_ns: u64,
    /// The time that was asked for this network itself; 0 if none was.
    pub own_until_ns: u64,
}

/// The connect rate of one entry, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// The rate.
    pub rate: Rate,
    /// The bucket, as the number that [`Bucket`](crate::bucket::Bucket) holds; only the kernel writes it.
    pub full_at_ns: u64,
}

/// What one CPU counted of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EntryCount {
    /// Connection attempts that were passed.
    pub passed: u64,
    /// Connection attempts that were dropped because the entry's rate was exceeded.
    pub over_rate: u64,
    /// The last connection attempt of either kind, in nanoseconds of the boot clock; 0 for none.
    pub last_ns: u64,
}

/// A tag: UTF-8, filled up with zeros. The kernel never reads it; the relay finds its policy by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct TagName(pub [u8; TAG_BYTES]);

/// The longest tag in bytes.
pub const TAG_BYTES: usize = 32;

impl TagName {
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

/// The kinds of tables, as the kernel numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Key to value.
    Hash = 1,
    /// Number to value.
    Array = 2,
    /// Key to one value a CPU.
    PerCpuHash = 5,
    /// Number to one value a CPU.
    PerCpuArray = 6,
    /// Longest prefix to value.
    Prefixes = 11,
}

/// The shape of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name of the map, and of its pin. At most 15 bytes, which is what the kernel keeps.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The size of a key in bytes.
    pub key_bytes: u32,
    /// The size of a value in bytes.
    pub value_bytes: u32,
    /// The most entries.
    pub capacity: u32,
}

impl Table {
    const fn of<K, V>(name: &'static str, kind: Kind, capacity: u32) -> Self {
        assert!(name.len() <= 15, "the kernel cuts longer names off");
        let (key_bytes, value_bytes) = (size_of::<K>() as u32, size_of::<V>() as u32);
        Self { name, kind, key_bytes, value_bytes, capacity }
    }
}

/// A prefix table's key: the length of the prefix in bits (4 bytes, host order), then an address's 16.
type PrefixKey = [u8; 20];

/// The allowlist's IPv4 networks, and the entry of each.
pub const ALLOW_V4: Table =
    Table::of::<PrefixKey, EntryId>("allow_v4", Kind::Prefixes, ENTRIES_MAX);
/// The allowlist's IPv6 networks, and the entry of each.
pub const ALLOW_V6: Table =
    Table::of::<PrefixKey, EntryId>("allow_v6", Kind::Prefixes, ENTRIES_MAX);
/// The banned IPv4 networks.
pub const BANS_V4: Table = Table::of::<PrefixKey, Ban>("bans_v4", Kind::Prefixes, BANS_MAX);
/// The banned IPv6 networks.
pub const BANS_V6: Table = Table::of::<PrefixKey, Ban>("bans_v6", Kind::Prefixes, BANS_MAX);
/// The guarded ports: bit `port % 64` of word `port / 64`.
pub const PORTS: Table = Table::of::<u32, u64>("ports", Kind::Array, PORT_WORDS);
/// The [`Settings`], alone.
pub const SETTINGS: Table = Table::of::<u32, Settings>("settings", Kind::Array, 1);
/// The connect rates of the entries that have one.
pub const RATES: Table = Table::of::<EntryId, Limit>("rates", Kind::Hash, ENTRIES_MAX);
/// The counters of every entry.
pub const ENTRY_COUNTS: Table =
    Table::of::<EntryId, EntryCount>("entry_counts", Kind::PerCpuHash, ENTRIES_MAX);
/// The tags of the entries that have one.
pub const TAGS: Table = Table::of::<EntryId, TagName>("tags", Kind::Hash, ENTRIES_MAX);
/// The counters of every [`Reason`], by its number.
pub const COUNTERS: Table =
    Table::of::<u32, u64>("counters", Kind::PerCpuArray, Reason::ALL.len() as u32);
/// The diagnostics that were said since the relay started: one word, a bit for each [`Reason`].
pub const DIAGNOSED: Table = Table::of::<u32, u64>("diagnosed", Kind::Array, 1);
/// The numbers of the gate's programs, in one word: the newest in the upper half, the one before in the
/// lower. Both are written before the newest is attached, so a reader never takes ours for a foreign one.
pub const PROGRAMS: Table = Table::of::<u32, u64>("programs", Kind::Array, 1);

/// Every table.
pub const ALL: [Table; 12] = [
    ALLOW_V4,
    ALLOW_V6,
    BANS_V4,
    BANS_V6,
    PORTS,
    SETTINGS,
    RATES,
    ENTRY_COUNTS,
    TAGS,
    COUNTERS,
    DIAGNOSED,
    PROGRAMS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zeroed_settings_word_is_the_strictest() {
        assert_eq!(Settings(0), Settings::new(Scope::EverySegment));
        assert_eq!(Settings::new(Scope::SynOnly).scope(), Scope::SynOnly);
    }

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

    #[test]
    fn no_two_tables_share_a_name() {
        let mut names = ALL.map(|table| table.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
