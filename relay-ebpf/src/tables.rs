//! The maps, declared with the names, types and capacities of `relay_common::table`.

use core::marker::PhantomData;

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, PerCpuHashMap};
use aya_ebpf::macros::btf_map;
use relay_common::addr::{Addr, Family};
use relay_common::bucket::Bucket;
use relay_common::table::{
    BANS_MAX, Ban, ENTRIES_MAX, EntryCount, EntryId, Limit, PORT_WORDS, Settings, TagName,
};
use relay_common::verdict::{Connect, Reason, Tables};

use crate::clock;

/// Entries take memory when they are added, by the relay; the kernel adds none.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;
const ENTRIES: usize = ENTRIES_MAX as usize;
const BANS: usize = BANS_MAX as usize;

#[btf_map(name = "allow_v4")]
static ALLOW_V4: LpmTrie<[u8; 16], EntryId, ENTRIES> = LpmTrie::new();
#[btf_map(name = "allow_v6")]
static ALLOW_V6: LpmTrie<[u8; 16], EntryId, ENTRIES> = LpmTrie::new();
#[btf_map(name = "bans_v4")]
static BANS_V4: LpmTrie<[u8; 16], Ban, BANS> = LpmTrie::new();
#[btf_map(name = "bans_v6")]
static BANS_V6: LpmTrie<[u8; 16], Ban, BANS> = LpmTrie::new();
#[btf_map(name = "ports")]
static PORTS: Array<u64, { PORT_WORDS as usize }> = Array::new();
#[btf_map(name = "settings")]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map(name = "rates")]
static RATES: HashMap<EntryId, Limit, ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map(name = "entry_counts")]
static ENTRY_COUNTS: PerCpuHashMap<EntryId, EntryCount, ENTRIES, ON_DEMAND> = PerCpuHashMap::new();
/// The kernel never reads it. It stands here so that it is made and pinned with the others.
#[btf_map(name = "tags")]
static TAGS: HashMap<EntryId, TagName, ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<u64, { Reason::ALL.len() }> = PerCpuArray::new();
#[btf_map(name = "diagnosed")]
static DIAGNOSED: Array<u64, 1> = Array::new();
/// As with the tags: the relay's processes write and read it.
#[btf_map(name = "programs")]
static PROGRAMS: Array<u64, 1> = Array::new();

/// How often a bucket that other CPUs keep changing is tried again. Then the attempt counts as over the
/// rate: so many attempts at once are.
const TRIES: usize = 8;

/// Counts a frame with `reason` on this CPU.
#[inline(always)]
pub fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason.index()) {
        // SAFETY: the slot is this CPU's own, and no other program run on it interrupts this one.
        unsafe { *counter += 1 };
    }
}

/// Returns whether this is the first diagnostic with `bit` since the relay last cleared the word.
#[inline(always)]
pub fn first_diagnostic(bit: u64) -> bool {
    let Some(word) = DIAGNOSED.get_ptr_mut(0) else { return false };
    // SAFETY: an array's values stay in place, aligned to eight bytes.
    let said = unsafe { word.read_volatile() };
    // SAFETY: as above, and every writer in the kernel is this one.
    said & bit == 0 && unsafe { exchange(word, said, said | bit) }
}

/// Writes `new` to `word` if it still holds `seen`, in one step for all CPUs; returns whether it did.
///
/// # Safety
///
/// `word` must point to eight aligned bytes of a map's value.
#[inline(always)]
unsafe fn exchange(word: *mut u64, seen: u64, new: u64) -> bool {
    // The BPF target of this compiler hides compare-and-swap from `AtomicU64`, which BPF has had since
    // Linux 5.12; the intrinsic reaches it. The object is built by the pinned compiler alone.
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg};
        // SAFETY: the caller's promise.
        unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(word, seen, new).1 }
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
        // SAFETY: the caller's promise.
        unsafe { AtomicU64::from_ptr(word) }.compare_exchange(seen, new, SeqCst, SeqCst).is_ok()
    }
}

/// The maps as the judge sees them. `R` says what becomes of a connection attempt.
pub struct Maps<R> {
    record: PhantomData<R>,
}

impl<R> Maps<R> {
    /// Returns the maps.
    #[inline(always)]
    pub const fn new() -> Self {
        Self { record: PhantomData }
    }
}

/// What becomes of a connection attempt of a listed source.
pub trait Record {
    /// Returns whether an attempt of `entry` is within its rate.
    fn connect(entry: EntryId) -> Connect;
}

/// Attempts are taken from the entry's bucket and counted.
pub enum Recording {}

/// Attempts leave no trace.
pub enum Explaining {}

impl Record for Recording {
    #[inline(always)]
    fn connect(entry: EntryId) -> Connect {
        let now_ns = clock::now_ns();
        let connect =
            RATES.get_ptr_mut(entry).map_or(Connect::WithinRate, |limit| take(limit, now_ns));
        if let Some(count) = ENTRY_COUNTS.get_ptr_mut(entry) {
            // SAFETY: the value is this CPU's own. If the entry is removed meanwhile, its memory stays
            // until this run ends (RCU), or goes to a new entry, whose count then has one more.
            let count = unsafe { &mut *count };
            match connect {
                Connect::WithinRate => count.passed += 1,
                Connect::OverRate => count.over_rate += 1,
            }
            count.last_ns = now_ns;
        }
        connect
    }
}

impl Record for Explaining {
    #[inline(always)]
    fn connect(entry: EntryId) -> Connect {
        let Some(limit) = RATES.get_ptr(entry) else { return Connect::WithinRate };
        // SAFETY: the value lies in the map, where it stays readable until this run ends. A rate that is
        // changed meanwhile may be seen half: this answer is for a person.
        let limit = unsafe { *limit };
        match Bucket::from_ns(limit.full_at_ns).take(&limit.rate, clock::now_ns()) {
            Some(_) => Connect::WithinRate,
            None => Connect::OverRate,
        }
    }
}

#[inline(always)]
fn take(limit: *mut Limit, now_ns: u64) -> Connect {
    // SAFETY: the value lies in the map, where it stays readable until this run ends; the relay never
    // writes into it in place but exchanges the whole element.
    let rate = unsafe { (*limit).rate };
    // SAFETY: as above; only the field's place is taken here.
    let full_at_ns = unsafe { &raw mut (*limit).full_at_ns };
    for _ in 0..TRIES {
        // SAFETY: as above; the value is aligned to eight bytes.
        let seen = unsafe { full_at_ns.read_volatile() };
        let Some(left) = Bucket::from_ns(seen).take(&rate, now_ns) else {
            return Connect::OverRate;
        };
        // SAFETY: as above.
        if unsafe { exchange(full_at_ns, seen, left.full_at_ns()) } {
            return Connect::WithinRate;
        }
    }
    Connect::OverRate
}

impl<R: Record> Tables for Maps<R> {
    #[inline(always)]
    fn guarded(&self, port: u16) -> bool {
        PORTS.get(u32::from(port / 64)).is_none_or(|word| word >> (port % 64) & 1 == 1)
    }

    #[inline(always)]
    fn settings(&self) -> Settings {
        SETTINGS.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn listed(&self, source: &Addr) -> Option<EntryId> {
        let key = key(source);
        let entry = match source.family() {
            Family::V4 => ALLOW_V4.get(&key),
            Family::V6 => ALLOW_V6.get(&key),
        };
        entry.copied()
    }

    #[inline(always)]
    fn banned_until_ns(&self, source: &Addr) -> Option<u64> {
        let key = key(source);
        let ban = match source.family() {
            Family::V4 => BANS_V4.get(&key),
            Family::V6 => BANS_V6.get(&key),
        };
        ban.map(|ban| ban.until_ns)
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    #[inline(always)]
    fn connect(&self, entry: EntryId) -> Connect {
        R::connect(entry)
    }
}

#[inline(always)]
fn key(source: &Addr) -> Key<[u8; 16]> {
    Key::new(u32::from(source.family().bits()), source.octets())
}
