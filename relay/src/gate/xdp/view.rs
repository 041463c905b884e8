//! The tables for the process that reads mail from the network: read, by name, and nothing else.

use std::cell::Cell;
use std::mem::offset_of;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use relay_common::addr::{Addr, Net};
use relay_common::bucket::{Bucket, Rate};
use relay_common::lookup::lengths::{self, LENGTH_WORDS};
use relay_common::state::State;
use relay_common::table::{
    self, BANS, Ban, BanKey, CHUNKS, COUNTED, COUNTED_IN, COVER, ENTRIES, Entry, EntryCount,
    EntryId, HEADS, RATES, SWITCH, Switch, TAGS, TagName, family_index,
};
use relay_common::verdict::{Connect, Reason, Tables, Verdict, judge_connect};

use super::chunks::net_of;
use super::generation::{COVER_WORDS, pin_name};
use super::opening::{Opening, typed};
use super::pins::Pins;
use super::{attach, kernel_said};
use crate::gate::list::{HEAD_WORDS, Image, Load as _};
use crate::gate::sys::{Access, Seen, Window};
use crate::gate::{EntryCounts, GateError, Health, Listed, boot_clock_ns};

/// The pinned tables, opened for reading. It holds no link and no program, and its descriptors stay
/// read-only whatever rights the process has.
pub struct View {
    pub(super) pins: Pins,
    pub(super) switch: Seen,
    heads: Seen,
    cover: Seen,
    pub(super) tags: Array<MapData, TagName>,
    rates: Array<MapData, Rate>,
    bans: HashMap<MapData, BanKey, Ban>,
    programs: Array<MapData, u64>,
    /// The list that was asked last, and the rows of entries.
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    current: Option<List>,
    chunks: Vec<Chunk>,
}

/// Some rows of entries, and what each CPU counted of them; the later chunks count in their rows alone.
struct Chunk {
    rows: Seen,
    counts: Option<PerCpuArray<MapData, EntryCount>>,
}

/// The memory of one list.
struct List {
    state: State,
    cells: Seen,
}

/// How often a list is looked for that is replaced while it is asked.
const TRIES: usize = 16;

impl View {
    /// Opens the tables below `pins`, the folder of the gate's configuration.
    ///
    /// # Errors
    ///
    /// [`GateError::Kernel`] or [`GateError::NotPermitted`], naming the pin: the gate has not started yet, or
    /// this process is not in the group that may read.
    pub fn open(pins: &Path) -> Result<Self, GateError> {
        let pins = Pins::below(pins);
        let opening = Opening { pins: &pins, access: Access::Read };
        let view = Self {
            switch: seen(opening, SWITCH.name)?,
            heads: seen(opening, HEADS.name)?,
            cover: seen(opening, COVER.name)?,
            tags: opening.table(&TAGS, Map::Array)?,
            rates: opening.table(&RATES, Map::Array)?,
            bans: opening.table(&BANS, Map::HashMap)?,
            programs: opening.table(&table::PROGRAMS, Map::Array)?,
            lists: Mutex::default(),
            pins,
        };
        view.open_list(view.state())?;
        Ok(view)
    }

    fn state(&self) -> State {
        State::from_word(self.switch.all().load(0).unwrap_or(0))
    }

    /// Returns the entry that lists `source`, whether or not it is banned; `None` for a stranger.
    #[must_use]
    pub fn listed(&self, source: IpAddr) -> Option<Listed> {
        let source = Addr::from(source);
        self.ask(|asked| {
            let id = asked.image.entry(&source, |id| asked.lives(id))?;
            let row = asked.row(id)?;
            // A number that goes to another network meanwhile must not lend its tag.
            let net = row.net.filter(|net| net.contains(source));
            let tag = net.and_then(|_| self.tags.get(&row.tag.into(), 0).ok());
            let tag = tag.filter(|tag| *tag != TagName::NONE);
            let tag = tag.and_then(|tag| tag.as_str().map(str::to_owned));
            Some(Listed { entry: id, net, tag, counts: asked.counts(id) })
        })?
    }

    /// Returns what the gate would make of a SYN from `source` now, without taking from its rate.
    #[must_use]
    pub fn verdict(&self, source: IpAddr) -> Verdict {
        let source = Addr::from(source);
        let asked = self.ask(|asked| judge_connect(&source, asked));
        asked.unwrap_or(Verdict::Drop(Reason::UnlistedSyn))
    }

    /// Returns how these interfaces stand.
    #[must_use]
    pub fn health(&self, interfaces: &[String]) -> Vec<Health> {
        let word = self.programs.get(&0, 0).unwrap_or(0);
        let programs = [(word >> 32) as u32, word as u32];
        let health = |name: &String| attach::health(name, interfaces, &programs, &self.pins);
        interfaces.iter().map(health).collect()
    }

    /// Asks the list that counts now; `None` if it cannot be read.
    fn ask<T>(&self, question: impl Fn(&Asked<'_>) -> T) -> Option<T> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let state = self.state();
            let of = |state: State| (state.slot(), state.number());
            if lists.current.as_ref().is_none_or(|list| of(list.state) != of(state)) {
                lists.current = Some(self.open_list(state).ok()?);
            }
            let Lists { current, chunks } = &*lists;
            let List { cells, .. } = current.as_ref()?;
            let head = self.heads.window(state.slot().index() as usize * HEAD_WORDS, HEAD_WORDS);
            let cover = self.cover.window(state.slot().index() as usize * COVER_WORDS, COVER_WORDS);
            let image = Image::new(head, cover, cells.all());
            let missed = Cell::new(false);
            let answer = question(&Asked { view: self, state, image, chunks, missed: &missed });
            // An entry that was added to the list that counts may have come with a chunk of rows.
            if missed.get() && self.open_chunks(&mut lists.chunks) {
                continue;
            }
            // If the list was replaced meanwhile, its memory may have been used for another.
            if of(self.state()) == of(state) {
                return Some(answer);
            }
        }
        None
    }

    fn open_list(&self, state: State) -> Result<List, GateError> {
        let opening = Opening { pins: &self.pins, access: Access::Read };
        Ok(List { state, cells: seen(opening, &pin_name(state.slot()))? })
    }

    /// Opens the chunks of rows that came since the last time; returns whether any did.
    fn open_chunks(&self, chunks: &mut Vec<Chunk>) -> bool {
        let held = chunks.len();
        let opening = Opening { pins: &self.pins, access: Access::Read };
        while chunks.len() < CHUNKS as usize
            && let Ok(rows) = seen(opening, &format!("{}_{}", ENTRIES.name, chunks.len()))
        {
            let counts = opening.named(&format!("{}_{}", COUNTED.name, chunks.len()));
            let counts = counts.and_then(|table| typed(table, Map::PerCpuArray, &COUNTED_IN)).ok();
            chunks.push(Chunk { rows, counts });
        }
        chunks.len() > held
    }
}

/// Opens a pinned table.
fn seen(opening: Opening<'_>, name: &str) -> Result<Seen, GateError> {
    let table = opening.named(name)?;
    Seen::of(table).map_err(|error| kernel_said(format!("table {name}: open"), error))
}

/// One list while it is asked.
struct Asked<'a> {
    view: &'a View,
    state: State,
    image: Image<'a, Window<'a>>,
    chunks: &'a [Chunk],
    /// Set if a row was asked for whose chunk is not open.
    missed: &'a Cell<bool>,
}

/// A row of an entry, as far as it is looked at.
struct SeenRow {
    net: Option<Net>,
    tag: u16,
    rate: u16,
    until_ns: u64,
    full_at_ns: u64,
}

/// The words of a row.
const ROW_WORDS: usize = size_of::<Entry>() / 8;
/// The first word of what a row counts.
const COUNT_WORD: usize = offset_of!(Entry, count) / 8;

impl Asked<'_> {
    fn row(&self, id: EntryId) -> Option<SeenRow> {
        let (chunk, at) = id.place();
        let Some(chunk) = self.chunks.get(chunk as usize) else {
            self.missed.set(true);
            return None;
        };
        let row = chunk.rows.window(at as usize * ROW_WORDS, ROW_WORDS);
        let [high, low, terms, until_ns, full_at_ns] =
            [0, 1, 2, 3, 4].map(|at| row.load(at).unwrap_or(0));
        let [_, _, a, b, c, d, ..] = terms.to_ne_bytes();
        let [tag, rate] = [[a, b], [c, d]].map(u16::from_ne_bytes);
        let net = net_of([high, low], terms);
        Some(SeenRow { net, tag, rate, until_ns, full_at_ns })
    }

    /// Sums what was counted of an entry, as far as it can be read.
    fn counts(&self, id: EntryId) -> EntryCounts {
        let (chunk, at) = id.place();
        let Some(chunk) = self.chunks.get(chunk as usize) else { return EntryCounts::default() };
        let row = chunk.rows.window(at as usize * ROW_WORDS, ROW_WORDS);
        let [passed, over_rate, last_ns, would_drop] =
            [0, 1, 2, 3].map(|word| row.load(COUNT_WORD + word).unwrap_or(0));
        let own = EntryCounts { passed, over_rate, last_ns, would_drop };
        let cpus = chunk.counts.as_ref().and_then(|counts| counts.get(&at, 0).ok());
        cpus.iter().flat_map(|cpus| cpus.iter()).fold(own, |sum, cpu| EntryCounts {
            passed: sum.passed + cpu.passed,
            over_rate: sum.over_rate + cpu.over_rate,
            last_ns: sum.last_ns.max(cpu.last_ns),
            would_drop: sum.would_drop,
        })
    }

    fn lives(&self, id: EntryId) -> bool {
        self.row(id).is_some_and(|row| row.until_ns == 0 || boot_clock_ns() < row.until_ns)
    }

    fn rate(&self, place: u16) -> Option<Rate> {
        if place == 0 { None } else { self.view.rates.get(&place.into(), 0).ok() }
    }
}

/// The judge of a connection attempt can be asked about the pinned tables from outside the kernel. It knows
/// nothing of the rates of single sources: who is over his is not cut for it.
impl Tables for Asked<'_> {
    fn guarded(&self, _port: u16) -> bool {
        true
    }

    fn state(&self) -> State {
        self.state
    }

    fn covers(&self, _state: State, source: &Addr) -> bool {
        self.image.covers(source)
    }

    fn lacks(&self, _state: State, source: &Addr) -> bool {
        !self.image.covers(source)
    }

    fn banned(&self, source: &Addr) -> bool {
        let family = source.family();
        let first = offset_of!(Switch, ban_lengths) / 8 + family_index(family) * LENGTH_WORDS;
        let words = self.view.switch.window(first, LENGTH_WORDS);
        let is_length = |prefix: &u8| {
            let (word, bit) = lengths::place(family, *prefix);
            words.load(word).unwrap_or(u64::MAX) & bit != 0
        };
        let banned = |prefix| self.view.bans.get(&BanKey::of(source, prefix), 0).ok();
        let bans = (0..=family.bits()).filter(is_length).filter_map(banned);
        bans.into_iter().any(|ban| boot_clock_ns() < ban.until_ns)
    }

    fn connect(&self, _state: State, source: &Addr) -> Connect {
        let Some(row) = self.image.entry(source, |id| self.lives(id)).and_then(|id| self.row(id))
        else {
            return Connect::Ended;
        };
        let Some(rate) = self.rate(row.rate) else { return Connect::WithinRate };
        match Bucket::from_ns(row.full_at_ns).take(&rate, boot_clock_ns()) {
            Some(_) => Connect::WithinRate,
            None => Connect::OverRate,
        }
    }

    fn observing(&self) -> bool {
        let until_ns = self.view.switch.all().load(offset_of!(Switch, observe_until_ns) / 8);
        until_ns.is_some_and(|until_ns| boot_clock_ns() < until_ns)
    }
}
