//! Changes to the pinned tables, each in an order in which no state between admits a stranger.
//!
//! This process is the only writer, so it keeps a picture of the two lists: the kernel can be asked for the
//! longest prefix of a source, but not for exactly one network.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;

use aya::maps::{MapError, PerCpuValues};
use relay_common::addr::{Family, Net};
use relay_common::bucket::Bucket;
use relay_common::table::{self, Ban, EntryCount, EntryId, Limit, Settings, Table};

use super::bans::Bans;
use super::kernel_said;
use super::maps::{Maps, key};
use crate::gate::{Entry, GateError, Ruleset};

/// `BPF_NOEXIST`: only a new element.
const IF_NEW: u64 = 1;

/// The tables and the picture of their lists.
pub struct Tables {
    maps: Maps,
    entries: BTreeMap<Net, EntryId>,
    owners: BTreeMap<EntryId, Net>,
    bans: Bans,
}

impl Tables {
    /// Takes the tables over with what they hold.
    pub fn adopt(maps: Maps) -> Result<Self, GateError> {
        let entries =
            maps.allow.rows().map_err(|error| refused("table allow: read".to_owned(), error))?;
        let bans =
            maps.bans.rows().map_err(|error| refused("table bans: read".to_owned(), error))?;
        let owners = entries.iter().map(|(net, id)| (*id, *net)).collect();
        Ok(Self { entries: entries.into_iter().collect(), owners, bans: Bans::of(bans), maps })
    }

    /// Returns the tables, to ask them.
    pub const fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Returns the allowlist.
    pub fn entries(&self) -> Vec<(Net, EntryId)> {
        self.entries.iter().map(|(net, id)| (*net, *id)).collect()
    }

    /// Returns the bans, with the times that were asked for.
    pub fn bans(&self) -> Vec<(Net, u64)> {
        self.bans.list()
    }

    /// Returns the counters of every entry.
    pub fn entry_counts(&self) -> Result<BTreeMap<EntryId, EntryCount>, GateError> {
        self.maps.entry_counts(self.entries.values().copied())
    }

    /// Brings every table to `ruleset`. What is refused comes before what is admitted, and what is admitted
    /// before what no longer is; nobody who stays is cut.
    pub fn replace(&mut self, ruleset: &Ruleset) -> Result<(), GateError> {
        check(ruleset)?;
        let ports = port_words(&ruleset.ports);
        self.guard(&ports, |wanted, held| wanted | held)?;
        self.settle(ruleset.settings)?;
        for (net, until_ns) in &ruleset.bans {
            if self.bans.own_until_ns(net) != Some(*until_ns) {
                self.ban(net, *until_ns)?;
            }
        }
        self.replace_entries(&ruleset.entries)?;
        let wanted: BTreeSet<Net> = ruleset.bans.iter().map(|(net, _)| *net).collect();
        for (net, _) in self.bans() {
            if !wanted.contains(&net) {
                self.unban(&net)?;
            }
        }
        self.guard(&ports, |wanted, _| wanted)
    }

    fn replace_entries(&mut self, entries: &[Entry]) -> Result<(), GateError> {
        let wanted: BTreeMap<Net, &Entry> =
            entries.iter().map(|entry| (entry.net, entry)).collect();
        let owners: BTreeMap<EntryId, Net> =
            entries.iter().map(|entry| (entry.id, entry.net)).collect();
        // A number that goes to another network takes a tag with it: its old owner must be gone before.
        let moved = |(net, id): &(Net, EntryId)| owners.get(id).is_some_and(|owner| owner != net);
        for (net, _) in self.entries().into_iter().filter(moved) {
            self.remove(&net)?;
        }
        // In a full table the new ones that found no room come last.
        let mut late = Vec::new();
        for entry in entries {
            match self.insert(entry) {
                Ok(()) => {}
                Err(GateError::Full { .. }) => late.push(entry),
                Err(error) => return Err(error),
            }
        }
        for (net, _) in self.entries() {
            if !wanted.contains_key(&net) {
                self.remove(&net)?;
            }
        }
        late.into_iter().try_for_each(|entry| self.insert(entry))
    }

    /// Adds or changes an entry: what is kept under its number first, then the network that leads to it.
    pub fn insert(&mut self, entry: &Entry) -> Result<(), GateError> {
        check_entry(entry)?;
        let held = self.entries.get(&entry.net).copied();
        if self.owners.get(&entry.id).is_some_and(|owner| *owner != entry.net) {
            return Err(GateError::Entry {
                entry: entry.net,
                problem: "its number is another entry's",
            });
        }
        if let Err(error) = self.keep(entry).and_then(|()| self.list(entry)) {
            if held != Some(entry.id) {
                self.forget(entry.id)?;
            }
            return Err(error);
        }
        if let Some(old) = held
            && old != entry.id
        {
            self.forget(old)?;
        }
        Ok(())
    }

    fn list(&mut self, entry: &Entry) -> Result<(), GateError> {
        let table = allow_table(entry.net.family());
        let trie = self.maps.allow.of_mut(entry.net.family());
        trie.insert(&key(&entry.net), entry.id, 0).map_err(|error| not_written(&table, error))?;
        self.entries.insert(entry.net, entry.id);
        self.owners.insert(entry.id, entry.net);
        Ok(())
    }

    /// Writes what is kept under an entry's number. A rate that did not change keeps its bucket.
    fn keep(&mut self, entry: &Entry) -> Result<(), GateError> {
        let (id, maps) = (entry.id, &mut self.maps);
        let held = maps.tags.get(&id, 0).ok();
        match entry.tag {
            tag if tag == held => {}
            Some(tag) => {
                maps.tags.insert(id, tag, 0).map_err(|error| not_written(&table::TAGS, error))?;
            }
            None => gone(maps.tags.remove(&id), &table::TAGS)?,
        }
        let held = maps.rates.get(&id, 0).ok().map(|limit| limit.rate);
        match entry.rate.filter(|rate| !rate.is_unlimited()) {
            rate if rate == held => {}
            Some(rate) => {
                let limit = Limit { rate, full_at_ns: Bucket::FULL.full_at_ns() };
                maps.rates
                    .insert(id, limit, 0)
                    .map_err(|error| not_written(&table::RATES, error))?;
            }
            None => gone(maps.rates.remove(&id), &table::RATES)?,
        }
        match maps.entry_counts.insert(id, nothing_counted()?, IF_NEW) {
            Err(error) if errno(&error) == Some(nix::libc::EEXIST) => Ok(()),
            result => result.map_err(|error| not_written(&table::ENTRY_COUNTS, error)),
        }
    }

    /// Forgets what is kept under a number that no network leads to any more.
    fn forget(&mut self, id: EntryId) -> Result<(), GateError> {
        self.owners.remove(&id);
        gone(self.maps.tags.remove(&id), &table::TAGS)?;
        gone(self.maps.rates.remove(&id), &table::RATES)?;
        gone(self.maps.entry_counts.remove(&id), &table::ENTRY_COUNTS)
    }

    /// Takes an entry away: its network first.
    pub fn remove(&mut self, net: &Net) -> Result<Option<EntryId>, GateError> {
        let Some(id) = self.entries.get(net).copied() else { return Ok(None) };
        gone(self.maps.allow.of_mut(net.family()).remove(&key(net)), &allow_table(net.family()))?;
        self.entries.remove(net);
        self.forget(id)?;
        Ok(Some(id))
    }

    /// Bans a network until a time of the boot clock.
    pub fn ban(&mut self, net: &Net, until_ns: u64) -> Result<(), GateError> {
        let table = bans_table(net.family());
        let known = self.bans.own_until_ns(net);
        let rows = self.bans.add(*net, until_ns);
        if let Err(error) = self.write_bans(&rows) {
            // Only a new row can find no room; it is the first one written.
            if known.is_none() {
                self.bans.take(net);
            }
            return Err(error.in_table(&table));
        }
        Ok(())
    }

    /// Lifts the ban of exactly this network. Rows inside it get their own time back afterwards.
    pub fn unban(&mut self, net: &Net) -> Result<bool, GateError> {
        let Some(rows) = self.bans.take(net) else { return Ok(false) };
        let table = bans_table(net.family());
        gone(self.maps.bans.of_mut(net.family()).remove(&key(net)), &table)?;
        self.write_bans(&rows).map_err(|error| error.in_table(&table))?;
        Ok(true)
    }

    fn write_bans(&mut self, rows: &[(Net, Ban)]) -> Result<(), NotWritten> {
        rows.iter().try_for_each(|(net, ban)| {
            self.maps.bans.of_mut(net.family()).insert(&key(net), *ban, 0).map_err(NotWritten)
        })
    }

    /// Writes the guarded ports as `choose` mixes the wanted words with those held.
    fn guard(&mut self, wanted: &[u64], choose: fn(u64, u64) -> u64) -> Result<(), GateError> {
        for (index, wanted) in (0u32..).zip(wanted) {
            let held = self
                .maps
                .ports
                .get(&index, 0)
                .map_err(|error| not_written(&table::PORTS, error))?;
            let chosen = choose(*wanted, held);
            if chosen != held {
                self.maps
                    .ports
                    .set(index, chosen, 0)
                    .map_err(|error| not_written(&table::PORTS, error))?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, settings: Settings) -> Result<(), GateError> {
        self.maps.settings.set(0, settings, 0).map_err(|error| not_written(&table::SETTINGS, error))
    }

    /// Lets the kernel say each diagnostic once more.
    pub fn clear_diagnosed(&mut self) -> Result<(), GateError> {
        self.maps.diagnosed.set(0, 0, 0).map_err(|error| not_written(&table::DIAGNOSED, error))
    }

    /// Announces the gate's newest program, before it is attached.
    pub fn announce(&mut self, program: u32) -> Result<(), GateError> {
        let [newest, _] = self.maps.programs();
        let word = u64::from(program) << 32 | u64::from(newest);
        self.maps.programs.set(0, word, 0).map_err(|error| not_written(&table::PROGRAMS, error))
    }
}

/// An element that the kernel would not take.
struct NotWritten(MapError);

impl NotWritten {
    fn in_table(self, table: &Table) -> GateError {
        not_written(table, self.0)
    }
}

/// Returns the guarded ports as the words of their table.
fn port_words(ports: &[u16]) -> Vec<u64> {
    let mut words = vec![0; table::PORT_WORDS as usize];
    for port in ports {
        words[usize::from(port / 64)] |= 1 << (port % 64);
    }
    words
}

fn nothing_counted() -> Result<PerCpuValues<EntryCount>, GateError> {
    let cpus = aya::util::nr_cpus()
        .map_err(|(path, error)| kernel_said(format!("{path}: read"), error))?;
    PerCpuValues::try_from(vec![EntryCount::default(); cpus])
        .map_err(|error| kernel_said("count the CPUs".to_owned(), error))
}

const fn allow_table(family: Family) -> Table {
    match family {
        Family::V4 => table::ALLOW_V4,
        Family::V6 => table::ALLOW_V6,
    }
}

const fn bans_table(family: Family) -> Table {
    match family {
        Family::V4 => table::BANS_V4,
        Family::V6 => table::BANS_V6,
    }
}

fn check(ruleset: &Ruleset) -> Result<(), GateError> {
    let fits = |table: Table, wanted: usize| {
        let capacity = table.capacity;
        let name = table.name;
        (wanted <= capacity as usize).then_some(()).ok_or(GateError::TooMany {
            table: name,
            wanted,
            capacity,
        })
    };
    fits(table::ENTRY_COUNTS, ruleset.entries.len())?;
    for family in [Family::V4, Family::V6] {
        fits(
            bans_table(family),
            ruleset.bans.iter().filter(|(net, _)| net.family() == family).count(),
        )?;
    }
    let (mut nets, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for entry in &ruleset.entries {
        check_entry(entry)?;
        let problem = match (nets.insert(entry.net), ids.insert(entry.id)) {
            (true, true) => continue,
            (false, _) => "the network is listed twice",
            (true, false) => "its number is another entry's",
        };
        return Err(GateError::Entry { entry: entry.net, problem });
    }
    Ok(())
}

const fn check_entry(entry: &Entry) -> Result<(), GateError> {
    match entry.id {
        EntryId(0) => Err(GateError::Entry { entry: entry.net, problem: "number 0 is no entry's" }),
        EntryId(_) => Ok(()),
    }
}

/// Takes "there was none" for done.
fn gone(result: Result<(), MapError>, table: &Table) -> Result<(), GateError> {
    match result {
        Err(error) if errno(&error) == Some(nix::libc::ENOENT) => Ok(()),
        result => result.map_err(|error| refused(format!("table {}: remove", table.name), error)),
    }
}

fn not_written(table: &Table, error: MapError) -> GateError {
    match errno(&error) {
        // A trie is full with ENOSPC, a hash with E2BIG.
        Some(nix::libc::ENOSPC | nix::libc::E2BIG) => {
            GateError::Full { table: table.name, capacity: table.capacity }
        }
        _ => refused(format!("table {}: write", table.name), error),
    }
}

/// Returns the number of the system's error inside `error`.
pub fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
        None => error.source().and_then(errno),
        number => number,
    }
}

/// Returns the gate's error for one of aya's.
pub fn refused(what: String, error: impl Error + Send + Sync + 'static) -> GateError {
    let source =
        errno(&error).map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error);
    kernel_said(what, source)
}
