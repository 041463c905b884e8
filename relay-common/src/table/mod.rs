//! Every table that the kernel and the relay share: its name, key, value and capacity, once.
//!
//! The kernel program declares its maps with these types and capacities; the relay compares what was
//! loaded or adopted with [`ALL`] and refuses a pin of another shape.
//!
//! A list of the allowlist lives in three tables at once, by its slot ([`crate::state::Slot`]): `heads`
//! tells where its parts are, `cover` holds its bitmaps, and `cells` its hash table, a table of its own. What
//! belongs to an entry stays when lists change, under the entry's number.

mod count;
mod refused;
mod value;

pub use count::{
    COUNT_ROWS, Counts, DOOR_ROW, INTERFACE_CELLS, PORT_ROWS, interface_cell, port_row,
};
pub use refused::{
    FIRST_DOOR, LEVEL_PREFIXES, LEVELS, NO_SKETCH, SAMPLE_HEAD, SAMPLES_BYTES, SECOND_DOOR,
    SKETCH_CELLS, SKETCH_ROWS, SKETCHED, SOURCE_CELLS, Sample, Sketch, is_sketched, sketch_cells,
    source_cells,
};
pub use value::{
    Ban, BanKey, Entry, EntryCount, EntryId, Head, Part, Row, Switch, TAG_BYTES, TagName,
    family_index,
};

use crate::bucket::Rate;
use crate::lookup::cover::COVER_LINES;
use crate::state::SLOTS;

/// The version of the tables' layout. It is part of the pins' path: a pin of the same name is reused
/// without a look at what its bytes mean, so any change of a type here takes a new number.
pub const LAYOUT: u32 = 4;

/// The most entries of the allowlist, of both families together.
pub const ENTRIES_MAX: u32 = CHUNKS * CHUNK;
/// The entries of one chunk. Chunks are made as the list grows.
pub const CHUNK: u32 = 16_384;
/// The chunks that there is room for.
pub const CHUNKS: u32 = 64;
/// The chunks whose entries are counted by each CPU for itself; those of the others in one place for all,
/// or a list of a million would take 24 MB a CPU.
pub const COUNTED_CHUNKS: u32 = 4;
/// The most bans, of both families together.
pub const BANS_MAX: u32 = 262_144;
/// The words of the guarded ports: one bit a port.
pub const PORT_WORDS: usize = 1_024;
/// The most guarded ports: each has rows of counters of its own.
pub const PORTS_MAX: usize = 15;
/// The most guarded interfaces, likewise.
pub const INTERFACES_MAX: usize = 64;
/// Different rates that entries may have, no rate among them.
pub const RATES_MAX: u32 = 1_024;
/// Different tags that entries may have, no tag among them.
pub const TAGS_MAX: u32 = 4_096;

/// The kinds of tables, as the kernel numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Key to value.
    Hash = 1,
    /// Number to value.
    Array = 2,
    /// Number to program.
    Programs = 3,
    /// Number to one value a CPU.
    PerCpuArray = 6,
    /// Number to table.
    ArrayOfTables = 12,
    /// A buffer that the kernel fills and the relay's side empties.
    Ring = 27,
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
    /// The kernel's flags.
    pub flags: u32,
}

/// `BPF_F_NO_PREALLOC`: elements take memory when they are added.
pub const ON_DEMAND: u32 = 1;
/// `BPF_F_MMAPABLE`: a process may map the values into its memory.
pub const MAPPABLE: u32 = 1 << 10;
/// `BPF_F_INNER_MAP`: another of any size may take its place in a table of tables.
pub const ANY_SIZE: u32 = 1 << 12;

impl Table {
    const fn of<K, V>(name: &'static str, kind: Kind, capacity: u32, flags: u32) -> Self {
        assert!(name.len() <= 15, "the kernel cuts longer names off");
        let (key_bytes, value_bytes) = (size_of::<K>() as u32, size_of::<V>() as u32);
        Self { name, kind, key_bytes, value_bytes, capacity, flags }
    }

    /// Returns a table inside another, with room for this many elements.
    pub const fn with_capacity(self, capacity: u32) -> Self {
        Self { capacity, ..self }
    }
}

/// The [`Switch`], alone.
pub const SWITCH: Table = Table::of::<u32, Switch>("switch", Kind::Array, 1, MAPPABLE);
/// The [`Head`] of the list in each slot.
pub const HEADS: Table = Table::of::<u32, Head>("heads", Kind::Array, SLOTS, MAPPABLE);
/// The bitmaps of each slot's list, one behind the other. They are always there, and not tables of their own
/// inside this one: a frame of a flood asks nothing else.
pub const COVER: Table = Table::of::<u32, Row>("cover", Kind::Array, SLOTS * COVER_LINES, MAPPABLE);
/// The cells of the list in each slot.
pub const CELLS: Table = Table::of::<u32, u32>("cells", Kind::ArrayOfTables, SLOTS, 0);
/// One list's cells; as many lines as it needs.
pub const CELLS_IN: Table = Table::of::<u32, Row>("cells_in", Kind::Array, 64, MAPPABLE | ANY_SIZE);
/// The entries' rows, by chunk.
pub const ENTRIES: Table = Table::of::<u32, u32>("entries", Kind::ArrayOfTables, CHUNKS, 0);
/// One chunk of rows.
pub const ENTRIES_IN: Table = Table::of::<u32, Entry>("entries_in", Kind::Array, CHUNK, MAPPABLE);
/// The entries' counters by CPU, by chunk.
pub const COUNTED: Table =
    Table::of::<u32, u32>("entry_counts", Kind::ArrayOfTables, COUNTED_CHUNKS, 0);
/// One chunk of counters.
pub const COUNTED_IN: Table =
    Table::of::<u32, EntryCount>("entry_counts_in", Kind::PerCpuArray, CHUNK, 0);
/// The different rates of entries; the first is none.
pub const RATES: Table = Table::of::<u32, Rate>("rates", Kind::Array, RATES_MAX, 0);
/// The buckets of single sources, two halves of [`SOURCE_CELLS`].
pub const SOURCE_RATES: Table =
    Table::of::<u32, u64>("source_rates", Kind::Array, 2 * SOURCE_CELLS, 0);
/// The different tags of entries; the first is none.
pub const TAGS: Table = Table::of::<u32, TagName>("tags", Kind::Array, TAGS_MAX, 0);
/// The banned networks of both families.
pub const BANS: Table = Table::of::<BanKey, Ban>("bans", Kind::Hash, BANS_MAX, ON_DEMAND);
/// The rows of counters of guarded interfaces, by [`interface_cell`].
pub const INTERFACES: Table = Table::of::<u32, u32>("interfaces", Kind::Array, INTERFACE_CELLS, 0);
/// The counters: [`PORT_ROWS`] rows for each interface, then those of the second door.
pub const COUNTERS: Table = Table::of::<u32, Counts>("counters", Kind::PerCpuArray, COUNT_ROWS, 0);
/// The [`Sketch`], alone.
pub const REFUSED: Table = Table::of::<u32, Sketch>("refused", Kind::PerCpuArray, 1, 0);
/// [`Sample`]s.
pub const SAMPLES: Table = Table::of::<(), ()>("samples", Kind::Ring, SAMPLES_BYTES, 0);
/// The diagnostics that were said since the relay started: one word, a bit for each
/// [`Reason`](crate::verdict::Reason).
pub const DIAGNOSED: Table = Table::of::<u32, u64>("diagnosed", Kind::Array, 1, 0);
/// The numbers of the gate's programs, in one word: the newest in the upper half, the one before in the
/// lower. Both are written before the newest is attached, so a reader never takes ours for a foreign one.
pub const PROGRAMS: Table = Table::of::<u32, u64>("programs", Kind::Array, 1, 0);
/// Nobody writes these three: tables that are made at run time borrow their types, for bpftool.
pub const ROW_TYPE: Table = Table::of::<u32, Row>("row_type", Kind::Array, 1, 0);
/// As above, for rows of entries.
pub const ENTRY_TYPE: Table = Table::of::<u32, Entry>("entry_type", Kind::Array, 1, 0);
/// As above, for counters of entries.
pub const COUNT_TYPE: Table = Table::of::<u32, EntryCount>("count_type", Kind::Array, 1, 0);
/// The program of the second door, which the filter on each socket calls. It is pinned outside the layout's
/// folder: sockets that listen keep the filter they got, whatever version of the gate comes next.
pub const DOORS: Table = Table::of::<u32, u32>("doors", Kind::Programs, 1, 0);

/// Every table that is pinned in the layout's folder, but for those inside others.
pub const ALL: [Table; 19] = [
    SWITCH,
    HEADS,
    COVER,
    CELLS,
    ENTRIES,
    COUNTED,
    RATES,
    SOURCE_RATES,
    TAGS,
    BANS,
    INTERFACES,
    COUNTERS,
    REFUSED,
    SAMPLES,
    DIAGNOSED,
    PROGRAMS,
    ROW_TYPE,
    ENTRY_TYPE,
    COUNT_TYPE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tables_share_a_name() {
        let inner = [CELLS_IN, ENTRIES_IN, COUNTED_IN, DOORS];
        let mut names: Vec<&str> = ALL.iter().chain(&inner).map(|table| table.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
