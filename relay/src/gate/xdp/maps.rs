//! The pinned tables with their types: what can be asked of them, by the gate and by those who only read.

use std::collections::BTreeMap;

use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{
    Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues,
};
use relay_common::addr::{Addr, Family, Net};
use relay_common::bucket::Bucket;
use relay_common::table::{self, Ban, EntryCount, EntryId, Limit, Settings, TAGS, Table, TagName};
use relay_common::verdict::{Connect, Reason, Tables};

use super::kernel_said;
use super::pins::Pins;
use super::tables::refused;
use crate::gate::sys::{self, Access};
use crate::gate::{Counters, GateError};

/// A table of prefixes.
pub type Prefixes<V> = LpmTrie<MapData, [u8; 16], V>;

/// One table of prefixes a family.
pub struct Families<V: Pod> {
    v4: Prefixes<V>,
    v6: Prefixes<V>,
}

impl<V: Pod> Families<V> {
    /// Returns the table of a family.
    pub const fn of(&self, family: Family) -> &Prefixes<V> {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// Returns the table of a family, to change it.
    pub const fn of_mut(&mut self, family: Family) -> &mut Prefixes<V> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Returns the value of the longest prefix that holds `source`.
    fn find(&self, source: &Addr) -> Option<V> {
        self.of(source.family()).get(&key(&Net::host(*source)), 0).ok()
    }

    /// Returns every row of both families.
    pub fn rows(&self) -> Result<Vec<(Net, V)>, MapError> {
        let mut rows = Vec::new();
        for family in [Family::V4, Family::V6] {
            for row in self.of(family) {
                let (key, value) = row?;
                rows.extend(net(family, &key).map(|net| (net, value)));
            }
        }
        Ok(rows)
    }
}

/// Returns the key of a network.
pub fn key(net: &Net) -> Key<[u8; 16]> {
    Key::new(u32::from(net.prefix()), net.addr().octets())
}

/// Returns the network of a key; `None` for one that no gate wrote.
fn net(family: Family, key: &Key<[u8; 16]>) -> Option<Net> {
    let addr = Addr::from_octets(family, key.data());
    Net::new(addr, u8::try_from(key.prefix_len()).ok()?).ok()
}

/// Every table that is asked or written at run time.
pub struct Maps {
    pub(super) allow: Families<EntryId>,
    pub(super) bans: Families<Ban>,
    pub(super) ports: Array<MapData, u64>,
    pub(super) settings: Array<MapData, Settings>,
    pub(super) rates: HashMap<MapData, EntryId, Limit>,
    pub(super) entry_counts: PerCpuHashMap<MapData, EntryId, EntryCount>,
    pub(super) tags: HashMap<MapData, EntryId, TagName>,
    pub(super) counters: PerCpuArray<MapData, u64>,
    pub(super) diagnosed: Array<MapData, u64>,
    pub(super) programs: Array<MapData, u64>,
}

impl Maps {
    /// Opens the pinned tables.
    ///
    /// # Errors
    ///
    /// [`GateError::Kernel`] naming the pin that is missing or not permitted.
    pub fn open(pins: &Pins, access: Access) -> Result<Self, GateError> {
        let of = Opening { pins, access };
        Ok(Self {
            allow: Families {
                v4: of.table(&table::ALLOW_V4, Map::LpmTrie)?,
                v6: of.table(&table::ALLOW_V6, Map::LpmTrie)?,
            },
            bans: Families {
                v4: of.table(&table::BANS_V4, Map::LpmTrie)?,
                v6: of.table(&table::BANS_V6, Map::LpmTrie)?,
            },
            ports: of.table(&table::PORTS, Map::Array)?,
            settings: of.table(&table::SETTINGS, Map::Array)?,
            rates: of.table(&table::RATES, Map::HashMap)?,
            entry_counts: of.table(&table::ENTRY_COUNTS, Map::PerCpuHashMap)?,
            tags: of.table(&TAGS, Map::HashMap)?,
            counters: of.table(&table::COUNTERS, Map::PerCpuArray)?,
            diagnosed: of.table(&table::DIAGNOSED, Map::Array)?,
            programs: of.table(&table::PROGRAMS, Map::Array)?,
        })
    }

    /// Returns the tag of an entry; none if it has none.
    pub fn tag(&self, entry: EntryId) -> Option<String> {
        self.tags.get(&entry, 0).ok().and_then(|tag| tag.as_str().map(str::to_owned))
    }

    /// Returns the counters by reason, of all CPUs together.
    pub fn counters(&self) -> Result<Counters, GateError> {
        let mut counters = BTreeMap::new();
        for reason in Reason::ALL {
            let cpus = self.counters.get(&reason.index(), 0);
            let cpus = cpus.map_err(|error| refused("table counters: read".to_owned(), error))?;
            counters.insert(reason, cpus.iter().sum());
        }
        Ok(Counters(counters))
    }

    /// Returns the counters of these entries, of all CPUs together.
    pub fn entry_counts(
        &self,
        entries: impl Iterator<Item = EntryId>,
    ) -> Result<BTreeMap<EntryId, EntryCount>, GateError> {
        let mut counts = BTreeMap::new();
        for entry in entries {
            match self.entry_counts.get(&entry, 0) {
                Ok(cpus) => drop(counts.insert(entry, total(&cpus))),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(refused("table entry_counts: read".to_owned(), error)),
            }
        }
        Ok(counts)
    }

    /// Returns the numbers of the gate's newest program and of the one before; 0 for none.
    pub fn programs(&self) -> [u32; 2] {
        let word = self.programs.get(&0, 0).unwrap_or(0);
        [(word >> 32) as u32, word as u32]
    }
}

fn total(cpus: &PerCpuValues<EntryCount>) -> EntryCount {
    cpus.iter().fold(EntryCount::default(), |sum, cpu| EntryCount {
        passed: sum.passed + cpu.passed,
        over_rate: sum.over_rate + cpu.over_rate,
        last_ns: sum.last_ns.max(cpu.last_ns),
    })
}

/// A way to open tables.
struct Opening<'a> {
    pins: &'a Pins,
    access: Access,
}

impl Opening<'_> {
    fn table<T: TryFrom<Map, Error = MapError>>(
        &self,
        table: &Table,
        kind: fn(MapData) -> Map,
    ) -> Result<T, GateError> {
        let path = self.pins.table(table);
        let what = || format!("{}: open", path.display());
        let fd = sys::open_pin(&path, self.access).map_err(|error| kernel_said(what(), error))?;
        let map = MapData::from_fd(fd).map_err(|error| refused(what(), error))?;
        T::try_from(kind(map)).map_err(|error| refused(what(), error))
    }
}

/// The judge of a frame can be asked about the pinned tables from outside the kernel. A table that cannot be
/// read lists nobody.
impl Tables for Maps {
    fn guarded(&self, port: u16) -> bool {
        let word = self.ports.get(&u32::from(port / 64), 0);
        word.map_or(true, |word| word >> (port % 64) & 1 == 1)
    }

    fn settings(&self) -> Settings {
        self.settings.get(&0, 0).unwrap_or_default()
    }

    fn listed(&self, source: &Addr) -> Option<EntryId> {
        self.allow.find(source)
    }

    fn banned_until_ns(&self, source: &Addr) -> Option<u64> {
        self.bans.find(source).map(|ban| ban.until_ns)
    }

    fn now_ns(&self) -> u64 {
        crate::gate::boot_clock_ns()
    }

    fn connect(&self, entry: EntryId) -> Connect {
        let Ok(limit) = self.rates.get(&entry, 0) else { return Connect::WithinRate };
        match Bucket::from_ns(limit.full_at_ns).take(&limit.rate, self.now_ns()) {
            Some(_) => Connect::WithinRate,
            None => Connect::OverRate,
        }
    }
}
