//! Changes to the tables, each in an order in which no state between admits a stranger.
//!
//! A list is exchanged at one moment, but not the terms of its entries: the rows of those that stay are written
//! before it, one by one, and stay written if the list is then refused.
//!
//! This process is the only writer, so it keeps a picture of the list and of the bans: the program finds the
//! longest prefix of a source, and what must be known here is how networks lie in each other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use relay_common::addr::{Addr, Net};
use relay_common::bucket::Rate;
use relay_common::state::{Alone, Mode, Shadow, Slot, State};
use relay_common::table::{self, ENTRIES, ENTRIES_MAX, EntryId, RATES, Sketch, TAGS, TagName};

use super::anchors::Anchors;
use super::bans::Bans;
use super::chunks::{Chunks, Terms};
use super::errors::not_written;
use super::generation::{Generation, Places, seed};
use super::opening::Opening;
use super::pins::Pins;
use super::rows::Rows;
use super::shelf::Shelf;
use super::sums::Sums;
use super::switch::Board;
use super::wanted::{NUMBER_TAKEN, check, check_entry, limited, port_words};
use crate::gate::list::{self, Roll};
use crate::gate::sys::{Access, Types};
use crate::gate::{Counters, Entry, EntryCounts, GateError, Ruleset};

/// How long the parts of the last exchange of the whole list took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Writing the rows of entries.
    pub rows: Duration,
    /// Building the list's memory.
    pub list: Duration,
    /// Waiting until no CPU used what was in its place.
    pub waited: Duration,
    /// Letting it count.
    pub switch: Duration,
}

/// The tables, and the picture of what they hold.
pub struct Tables {
    anchors: Anchors,
    board: Board,
    places: Places,
    chunks: Chunks,
    tags: Shelf<TagName>,
    rates: Shelf<Rate>,
    bans: Bans,
    rows: Rows,
    sums: Sums,
    diagnosed: Array<MapData, u64>,
    programs: Array<MapData, u64>,
    roll: Roll,
    /// The list that counts; none before the first ruleset.
    live: Option<Generation>,
    shadow: Option<Generation>,
    took: Took,
}

impl Tables {
    /// Takes the tables over with what they hold. The list that counts goes on doing so until the first
    /// ruleset.
    pub fn adopt(pins: &Pins) -> Result<Self, GateError> {
        let opening = Opening { pins, access: Access::ReadWrite };
        // Only root may ask for types by their number; without them bpftool prints plain bytes.
        let types = |of| opening.raw(of).map(|table| Types::of(table).ok());
        let board = Board::open(opening)?;
        board.seed_sources(seed()?);
        let bans = Bans::adopt(opening, &board)?;
        Ok(Self {
            anchors: Anchors::open(pins)?,
            places: Places::open(pins, types(&table::ROW_TYPE)?)?,
            chunks: Chunks::adopt(pins, types(&table::ENTRY_TYPE)?, types(&table::COUNT_TYPE)?)?,
            tags: Shelf::adopt(opening.table(&TAGS, Map::Array)?, TAGS, TagName::NONE)?,
            rates: Shelf::adopt(opening.table(&RATES, Map::Array)?, RATES, Rate::UNLIMITED)?,
            bans,
            rows: Rows::open(opening)?,
            sums: Sums::adopt(opening)?,
            diagnosed: opening.table(&table::DIAGNOSED, Map::Array)?,
            programs: opening.table(&table::PROGRAMS, Map::Array)?,
            roll: Roll::default(),
            live: None,
            shadow: None,
            took: Took::default(),
            board,
        })
    }

    /// Returns the state word's meaning.
    pub fn state(&self) -> State {
        self.board.state()
    }

    /// Returns the words beside the lists.
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Returns the counters' rows, to change them.
    pub const fn rows(&mut self) -> (&mut Rows, &Board) {
        (&mut self.rows, &self.board)
    }

    /// Returns the networks that have rows, from before the first ruleset too.
    pub fn entries(&self) -> Vec<(Net, EntryId)> {
        if self.live.is_some() {
            self.roll.iter().collect()
        } else {
            self.chunks.entries().collect()
        }
    }

    /// Returns the bans.
    pub fn bans(&self) -> Vec<(Net, u64)> {
        self.bans.list()
    }

    /// Returns until when `source` is banned.
    pub fn banned_until_ns(&self, source: Addr, now_ns: u64) -> Option<u64> {
        self.bans.until_ns(source, now_ns)
    }

    /// Returns the longest entry that holds `source`.
    pub fn entry(&self, source: &Addr) -> Option<EntryId> {
        self.places.image(self.live.as_ref()?).entry(source, |_| true)
    }

    /// Returns the number of the entry of exactly this network.
    pub fn id(&self, net: &Net) -> Option<EntryId> {
        self.roll.id(net)
    }

    /// Returns the network of an entry.
    pub fn network(&self, id: EntryId) -> Option<Net> {
        self.chunks.network(id)
    }

    /// Returns the tag of an entry.
    pub fn tag(&self, id: EntryId) -> Option<String> {
        let [tag, _, _] = self.chunks.places(id)?;
        self.tags.value(tag).and_then(|tag| tag.as_str().map(str::to_owned))
    }

    /// Returns what was counted.
    pub fn counters(&self) -> Result<Counters, GateError> {
        self.rows.counters()
    }

    /// Returns what was counted of an entry.
    pub fn counts(&self, id: EntryId) -> Result<EntryCounts, GateError> {
        self.chunks.counts(id)
    }

    /// Returns how long the last exchange of the list took.
    pub const fn took(&self) -> Took {
        self.took
    }

    /// Returns how much memory the list that counts takes, in bytes.
    pub fn list_bytes(&self) -> usize {
        self.live.as_ref().map_or(0, Generation::bytes)
    }

    /// Brings every table to `ruleset`. What is refused comes before what is admitted, and what is admitted
    /// before what no longer is; nobody who stays is cut.
    pub fn replace(&mut self, ruleset: &Ruleset) -> Result<(), GateError> {
        check(ruleset)?;
        let ports = port_words(&ruleset.ports);
        self.board.guard(&ports, |wanted, held| wanted | held);
        self.bans.add(&ruleset.bans, &self.board)?;
        self.replace_entries(&ruleset.entries)?;
        self.board
            .set_state(|state| state.with_scope(ruleset.scope).with_own_host(ruleset.own_host));
        let wanted: BTreeSet<Net> = ruleset.bans.iter().map(|(net, _)| *net).collect();
        for (net, _) in self.bans.list() {
            if !wanted.contains(&net) {
                self.bans.remove(&net, &self.board)?;
            }
        }
        self.board.guard(&ports, |wanted, _| wanted);
        self.rows.set_ports(&ruleset.ports, &self.board)
    }

    fn replace_entries(&mut self, entries: &[Entry]) -> Result<(), GateError> {
        let begin = Instant::now();
        let last = entries.iter().map(|entry| entry.id).max().unwrap_or(EntryId(0));
        self.chunks.ensure(last)?;
        // A number that goes to another network gets its row when the former list does not count any more.
        let mut late = Vec::new();
        for entry in entries {
            match self.chunks.network(entry.id) {
                Some(net) if net != entry.net && self.state().number() > 0 => late.push(entry),
                _ => self.keep(entry)?,
            }
        }
        self.took.rows = begin.elapsed();
        let begin = Instant::now();
        let roll: Roll = entries.iter().map(|entry| (entry.net, entry.id)).collect();
        self.build(roll)?;
        self.took.list = begin.elapsed().saturating_sub(self.places.waited());
        self.took.waited = self.places.waited();
        for entry in late {
            self.keep(entry)?;
        }
        let kept: BTreeSet<EntryId> = self.roll.iter().map(|(_, id)| id).collect();
        let gone: Vec<EntryId> =
            self.chunks.entries().map(|(_, id)| id).filter(|id| !kept.contains(id)).collect();
        for id in gone {
            self.chunks.clear(id);
        }
        self.tidy_shelves();
        Ok(())
    }

    /// Builds a list in the slot that does not count, and lets it count.
    fn build(&mut self, roll: Roll) -> Result<(), GateError> {
        let state = self.board.state();
        let (slot, number) = (state.slot().other(), state.number().wrapping_add(1).max(1));
        let built = self.places.build(&roll, slot, number)?;
        let begin = Instant::now();
        self.board.set_state(|state| state.with_list(slot, number));
        self.took.switch = begin.elapsed();
        self.roll = roll;
        if let Some(former) = self.live.replace(built)
            && let Some(current) = &self.live
        {
            self.places.free(former, current);
        }
        Ok(())
    }

    /// Adds or changes an entry: its row first, then the network that leads to it.
    pub fn insert(&mut self, entry: &Entry) -> Result<(), GateError> {
        check_entry(entry)?;
        let full = || GateError::Full { table: ENTRIES.name, capacity: ENTRIES_MAX };
        if self.roll.id(&entry.net).is_none() && self.roll.len() >= ENTRIES_MAX as usize {
            return Err(full());
        }
        if self.chunks.network(entry.id).is_some_and(|net| net != entry.net) {
            return Err(GateError::Entry { entry: entry.net, problem: NUMBER_TAKEN });
        }
        self.chunks.ensure(entry.id)?;
        let held = self.roll.id(&entry.net);
        self.keep(entry)?;
        let Some(live) = &self.live else {
            return self.build([(entry.net, entry.id)].into_iter().collect());
        };
        let image = self.places.image(live);
        if list::add(&image, &mut self.roll, entry.net, entry.id).is_err() {
            let mut roll = self.roll.clone();
            roll.insert(entry.net, entry.id);
            self.build(roll)?;
        }
        if let Some(held) = held
            && held != entry.id
        {
            self.chunks.clear(held);
        }
        Ok(())
    }

    /// Writes what belongs to an entry. A rate that changed begins with a full bucket.
    fn keep(&mut self, entry: &Entry) -> Result<(), GateError> {
        let former = self.chunks.places(entry.id);
        let tags = |chunks| used(chunks).into_iter().map(|[tag, ..]| tag).collect();
        let rates = |chunks| -> BTreeSet<u16> {
            used(chunks)
                .into_iter()
                .flat_map(|[_, rate, source_rate]| [rate, source_rate])
                .collect()
        };
        let rate = place(&mut self.rates, limited(entry.rate), || rates(&self.chunks))?;
        // No row has that place yet.
        let with_rate = || rates(&self.chunks).into_iter().chain([rate]).collect();
        let terms = Terms {
            net: entry.net,
            tag: place(&mut self.tags, entry.tag, || tags(&self.chunks))?,
            rate,
            source_rate: place(&mut self.rates, limited(entry.source_rate), with_rate)?,
            until_ns: entry.until_ns.unwrap_or(0),
        };
        self.chunks.write(entry.id, &terms)?;
        if former.is_some_and(|[_, rate, _]| rate != terms.rate) {
            self.chunks.fill_bucket(entry.id);
        }
        Ok(())
    }

    /// Frees the places of tags and rates that no entry has any more.
    fn tidy_shelves(&mut self) {
        let used: Vec<[u16; 3]> = used(&self.chunks);
        let (mut tags, mut rates) = (BTreeSet::new(), BTreeSet::new());
        for [tag, rate, source_rate] in used {
            tags.insert(tag);
            rates.extend([rate, source_rate]);
        }
        self.tags.keep(|place| tags.contains(&place));
        self.rates.keep(|place| rates.contains(&place));
    }

    /// Takes an entry away: its network first.
    pub fn remove(&mut self, net: &Net) -> Option<EntryId> {
        let image = self.places.image(self.live.as_ref()?);
        let id = list::remove(&image, &mut self.roll, net)?;
        self.chunks.clear(id);
        Some(id)
    }

    /// Bans networks.
    pub fn ban(&mut self, bans: &[(Net, u64)]) -> Result<(), GateError> {
        self.bans.add(bans, &self.board)
    }

    /// Lifts the ban of exactly this network.
    pub fn unban(&mut self, net: &Net) -> Result<bool, GateError> {
        self.bans.remove(net, &self.board)
    }

    /// Observes until a time, or enforces.
    pub fn observe(&self, until_ns: Option<u64>) {
        self.board.set_observe_until(until_ns.unwrap_or(0));
        let mode = if until_ns.is_some() { Mode::Observe } else { Mode::Enforce };
        self.board.set_state(|state| state.with_mode(mode));
    }

    /// Tells the second door whether the first stands.
    pub fn leave_alone(&self, alone: Alone) {
        self.board.set_state(|state| state.with_alone(alone));
    }

    /// Puts a candidate list in shadow, or takes it away.
    pub fn shadow(&mut self, candidate: Option<&[Net]>) -> Result<(), GateError> {
        self.board.set_state(|state| state.with_shadow(Shadow::None));
        self.chunks.clear_would_drop();
        match candidate {
            None => {
                self.shadow = None;
                self.places.clear(Slot::SHADOW);
            }
            Some(nets) => {
                let roll: Roll = nets.iter().map(|net| (*net, EntryId(0))).collect();
                self.shadow = Some(self.places.build(&roll, Slot::SHADOW, 0)?);
                self.board.set_state(|state| state.with_shadow(Shadow::Stands));
            }
        }
        Ok(())
    }

    /// Pins again what is not pinned any more; returns how many tables were.
    pub fn pin_again(&self) -> Result<usize, GateError> {
        let mut pinned = self.anchors.pin_again()? + self.chunks.pin_again()?;
        for list in self.live.iter().chain(&self.shadow) {
            pinned += self.places.pin_again(list)?;
        }
        Ok(pinned)
    }

    /// Returns the sums of refused frames by source, of all CPUs.
    pub fn refused(&self) -> Result<Box<Sketch>, GateError> {
        self.sums.total()
    }

    /// Lets the kernel say each diagnostic once more.
    pub fn clear_diagnosed(&mut self) -> Result<(), GateError> {
        self.diagnosed.set(0, 0, 0).map_err(|error| not_written(&table::DIAGNOSED, error))
    }

    /// Announces the gate's newest program, before it is attached.
    pub fn announce(&mut self, program: u32) -> Result<(), GateError> {
        let held = self.programs.get(&0, 0).unwrap_or(0);
        let word = u64::from(program) << 32 | held >> 32;
        self.programs.set(0, word, 0).map_err(|error| not_written(&table::PROGRAMS, error))
    }
}

/// Returns the place of a value; a full shelf is tidied once, but for the places that are used.
fn place<T: aya::Pod + Ord>(
    shelf: &mut Shelf<T>,
    value: Option<T>,
    used: impl FnOnce() -> BTreeSet<u16>,
) -> Result<u16, GateError> {
    if let Some(place) = shelf.place(value)? {
        return Ok(place);
    }
    let used = used();
    shelf.keep(|place| used.contains(&place));
    shelf.place(value)?.ok_or_else(|| shelf.full())
}

fn used(chunks: &Chunks) -> Vec<[u16; 3]> {
    chunks.entries().filter_map(|(_, id)| chunks.places(id)).collect()
}
