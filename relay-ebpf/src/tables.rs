//! The maps, declared with the names, types and capacities of `relay_common::table`, and the pointers into
//! them.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;
use relay_common::bucket::Rate;
use relay_common::lookup::cover::COVER_LINES;
use relay_common::lookup::{Line, WORDS};
use relay_common::state::SLOTS;
use relay_common::table::{
    ANY_SIZE, BANS_MAX, Ban, BanKey, CHUNK, CHUNKS, COUNT_ROWS, COUNTED_CHUNKS, Counts, Entry,
    EntryCount, Head, INTERFACE_CELLS, MAPPABLE, ON_DEMAND, RATES_MAX, Row, SAMPLES_BYTES,
    SOURCE_CELLS, Sample, Sketch, Switch, TAGS_MAX, TagName,
};

const MAP: usize = MAPPABLE as usize;
const LISTS: usize = SLOTS as usize;

#[btf_map(name = "switch")]
pub static SWITCH: Array<Switch, 1, MAP> = Array::new();
#[btf_map(name = "heads")]
pub static HEADS: Array<Head, LISTS, MAP> = Array::new();
#[btf_map(name = "cover")]
pub static COVER: Array<Row, { SLOTS as usize * COVER_LINES as usize }, MAP> = Array::new();
#[btf_map(name = "cells")]
pub static CELLS: ArrayOfMaps<Array<Row, 64, { (MAPPABLE | ANY_SIZE) as usize }>, LISTS> =
    ArrayOfMaps::new();
#[btf_map(name = "entries")]
pub static ENTRIES: ArrayOfMaps<Array<Entry, { CHUNK as usize }, MAP>, { CHUNKS as usize }> =
    ArrayOfMaps::new();
#[btf_map(name = "entry_counts")]
pub static COUNTED: ArrayOfMaps<
    PerCpuArray<EntryCount, { CHUNK as usize }>,
    { COUNTED_CHUNKS as usize },
> = ArrayOfMaps::new();
#[btf_map(name = "rates")]
pub static RATES: Array<Rate, { RATES_MAX as usize }> = Array::new();
#[btf_map(name = "source_rates")]
pub static SOURCE_RATES: Array<u64, { 2 * SOURCE_CELLS as usize }> = Array::new();
#[btf_map(name = "bans")]
pub static BANS: HashMap<BanKey, Ban, { BANS_MAX as usize }, { ON_DEMAND as usize }> =
    HashMap::new();
#[btf_map(name = "interfaces")]
pub static INTERFACES: Array<u32, { INTERFACE_CELLS as usize }> = Array::new();
#[btf_map(name = "counters")]
pub static COUNTERS: PerCpuArray<Counts, { COUNT_ROWS as usize }> = PerCpuArray::new();
#[btf_map(name = "refused")]
pub static REFUSED: PerCpuArray<Sketch, 1> = PerCpuArray::new();
#[btf_map(name = "samples")]
pub static SAMPLES: RingBuf<Sample, { SAMPLES_BYTES as usize }> = RingBuf::new();
#[btf_map(name = "diagnosed")]
pub static DIAGNOSED: Array<u64, 1> = Array::new();
#[btf_map(name = "doors")]
pub static DOORS: ProgramArray<1> = ProgramArray::new();
// The kernel never reads these. They stand here so that they are made and pinned with the others, and that
// bpftool knows their types.
#[btf_map(name = "tags")]
static TAGS: Array<TagName, { TAGS_MAX as usize }> = Array::new();
#[btf_map(name = "programs")]
static PROGRAMS: Array<u64, 1> = Array::new();
#[btf_map(name = "row_type")]
static ROW_TYPE: Array<Row, 1> = Array::new();
#[btf_map(name = "entry_type")]
static ENTRY_TYPE: Array<Entry, 1> = Array::new();
#[btf_map(name = "count_type")]
static COUNT_TYPE: Array<EntryCount, 1> = Array::new();

/// Reads a field of a map's value, once. Others may be writing it: a field is written whole.
macro_rules! field {
    ($value:expr, $($field:tt)+) => {{
        let value = $value;
        // SAFETY: a map's values stay readable until the program ends; the field lies inside, aligned.
        unsafe { (&raw const (*value).$($field)+).read_volatile() }
    }};
}

/// Returns a word of a map's value by the name of its field.
macro_rules! word {
    ($value:expr, $($field:tt)+) => {{
        let value = $value;
        // SAFETY: the field lies inside a map's value, eight bytes long and aligned.
        crate::tables::Word(unsafe { &raw mut (*value).$($field)+ })
    }};
}
/// Returns half a word of a map's value by the name of its field.
macro_rules! half {
    ($value:expr, $($field:tt)+) => {{
        let value = $value;
        // SAFETY: the field lies inside a map's value, four bytes long and aligned.
        crate::tables::Half(unsafe { &raw mut (*value).$($field)+ })
    }};
}
/// Writes a field of memory that is this program's own, for instance a sample that was reserved.
macro_rules! put {
    ($value:expr, $field:ident, $what:expr) => {{
        // SAFETY: the field lies inside memory that the kernel lent to this program alone.
        unsafe { (&raw mut (*$value).$field).write($what) }
    }};
}

/// Returns the place of such a field.
macro_rules! place_of {
    ($value:expr, $field:ident) => {{
        // SAFETY: only the place of the field is taken, which lies inside the memory.
        unsafe { &raw mut (*$value).$field }
    }};
}
pub(crate) use {field, half, place_of, put, word};

/// Half a word that this CPU alone writes. Made by the macro `half` alone.
#[derive(Clone, Copy)]
pub struct Half(pub(crate) *mut u32);

impl Half {
    /// Adds one; it wraps.
    #[inline(always)]
    pub fn count(self) {
        // SAFETY: a map's values stay readable until the program ends, and this one is aligned.
        let sum = unsafe { self.0.read_volatile() }.wrapping_add(1);
        // SAFETY: as above; no other program of this CPU interrupts this one.
        unsafe { self.0.write_volatile(sum) };
    }
}

/// A word of a map's value, which other CPUs and the gate's process may be reading and writing. Made by the
/// macro `word` alone.
#[derive(Clone, Copy)]
pub struct Word(pub(crate) *mut u64);

impl Word {
    /// Returns word number `at` of the counters of a row, which must be one of them.
    #[inline(always)]
    pub fn at(counts: *mut Counts, at: usize) -> Self {
        // SAFETY: the only caller keeps `at` below the number of words of the value.
        Self(unsafe { counts.cast::<u64>().add(at) })
    }

    /// Returns what the word holds.
    #[inline(always)]
    pub fn read(self) -> u64 {
        // SAFETY: a map's values stay readable until the program ends, and this one is aligned.
        unsafe { self.0.read_volatile() }
    }

    /// Writes a word of which no other writer's value is worth keeping.
    #[inline(always)]
    pub fn write(self, value: u64) {
        // SAFETY: as in `read`.
        unsafe { self.0.write_volatile(value) };
    }

    /// Adds one to a word that this CPU alone writes, and returns the sum.
    #[inline(always)]
    pub fn count(self) -> u64 {
        let sum = self.read() + 1;
        self.write(sum);
        sum
    }

    /// Adds one to a word in one step for all CPUs.
    #[inline(always)]
    pub fn count_with_others(self) {
        // The BPF target of this compiler hides atomics from `AtomicU64`; the intrinsics reach them. The
        // object is built by the pinned compiler alone.
        #[cfg(target_arch = "bpf")]
        {
            use core::intrinsics::{AtomicOrdering::SeqCst, atomic_xadd};
            // SAFETY: as in `read`.
            unsafe { atomic_xadd::<u64, u64, { SeqCst }>(self.0, 1) };
        }
        #[cfg(not(target_arch = "bpf"))]
        self.write(self.read() + 1);
    }

    /// Writes `new` if the word still holds `seen`, in one step for all CPUs; returns whether it did. BPF has
    /// compare-and-swap since Linux 5.12.
    #[inline(always)]
    pub fn exchange(self, seen: u64, new: u64) -> bool {
        #[cfg(target_arch = "bpf")]
        {
            use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg};
            // SAFETY: as in `read`.
            unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(self.0, seen, new).1 }
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            let same = self.read() == seen;
            if same {
                self.write(new);
            }
            same
        }
    }
}

/// A line of `cover` or `cells`.
#[derive(Clone, Copy)]
pub struct Words(pub *mut Row);

impl Line for Words {
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        word!(self.0, words[at % WORDS]).read()
    }
}
