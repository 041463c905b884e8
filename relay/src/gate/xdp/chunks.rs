//! The rows of entries: tables inside a table, made as the list grows.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use relay_common::addr::{Addr, Family, Net};
use relay_common::table::{
    self, CHUNK, CHUNKS, COUNTED, COUNTED_CHUNKS, COUNTED_IN, ENTRIES, ENTRIES_IN, Entry,
    EntryCount, EntryId,
};

use super::errors::not_written;
use super::kernel_said;
use super::opening::{Opening, typed};
use super::pins::{Pins, pin_if_missing};
use crate::gate::sys::{self, Access, Types, Written};
use crate::gate::{EntryCounts, GateError};

/// The words of a row, and which is which.
const ROW: usize = size_of::<Entry>() / 8;
const NETWORK: usize = 0;
const TERMS: usize = 2;
const UNTIL: usize = 3;
const FULL_AT: usize = 4;
const PASSED: usize = 5;
const OVER_RATE: usize = 6;
const LAST: usize = 7;
const WOULD_DROP: usize = 8;

/// What the gate's side writes into a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The network.
    pub net: Net,
    /// The place of the tag.
    pub tag: u16,
    /// The place of the rate.
    pub rate: u16,
    /// The place of the rate of each source.
    pub source_rate: u16,
    /// The end on the boot clock; 0 for never.
    pub until_ns: u64,
}

/// Every chunk.
pub struct Chunks {
    pins: Pins,
    rows: OwnedFd,
    counted: OwnedFd,
    row_types: Option<Types>,
    count_types: Option<Types>,
    all: Vec<Chunk>,
}

struct Chunk {
    table: OwnedFd,
    rows: Written,
    /// What each CPU counted, twice: to put and to ask. The later chunks count in their rows.
    counted: Option<OwnedFd>,
    counts: Option<PerCpuArray<MapData, EntryCount>>,
}

/// Returns the name of the pin of a chunk.
fn name(of: &str, chunk: usize) -> String {
    format!("{of}_{chunk}")
}

impl Chunks {
    /// Takes over the chunks that are pinned, and makes the first one if there is none.
    pub fn adopt(
        pins: &Pins,
        row_types: Option<Types>,
        count_types: Option<Types>,
    ) -> Result<Self, GateError> {
        let opening = Opening { pins, access: Access::ReadWrite };
        let mut chunks = Self {
            pins: pins.clone(),
            rows: opening.raw(&ENTRIES)?,
            counted: opening.raw(&COUNTED)?,
            row_types,
            count_types,
            all: Vec::new(),
        };
        for number in 0..CHUNKS as usize {
            if !pins.path(&name(ENTRIES.name, number)).exists() {
                break;
            }
            let table = opening.named(&name(ENTRIES.name, number))?;
            let counts = (number < COUNTED_CHUNKS as usize)
                .then(|| opening.named(&name(COUNTED.name, number)))
                .transpose()?;
            chunks.all.push(Chunk::open(table, counts)?);
        }
        // What was pinned and not yet put, when the process was killed, is put again; so is nothing else.
        chunks.put_from(0)?;
        chunks.ensure(EntryId(0))?;
        Ok(chunks)
    }

    /// Makes chunks until there is a row for `id`.
    pub fn ensure(&mut self, id: EntryId) -> Result<(), GateError> {
        let first = self.all.len();
        let (last, _) = id.place();
        for number in first..=last as usize {
            let table = self.make(&ENTRIES_IN, ENTRIES.name, number, true)?;
            let counts = (number < COUNTED_CHUNKS as usize)
                .then(|| self.make(&COUNTED_IN, COUNTED.name, number, false))
                .transpose()?;
            self.all.push(Chunk::open(table, counts)?);
        }
        self.put_from(first)
    }

    fn make(
        &self,
        shape: &table::Table,
        of: &str,
        number: usize,
        rows: bool,
    ) -> Result<OwnedFd, GateError> {
        let types = if rows { &self.row_types } else { &self.count_types };
        let made = sys::make(shape, types.as_ref());
        let made = made.map_err(|error| kernel_said(format!("table {of}: make a chunk"), error))?;
        self.pins.pin(&made, &name(of, number))?;
        Ok(made)
    }

    /// Puts the chunks from number `first` on where the program finds them.
    fn put_from(&self, first: usize) -> Result<(), GateError> {
        let chunks = || (0u32..).zip(&self.all).skip(first);
        let rows: Vec<_> = chunks().map(|(number, chunk)| (number, &chunk.table)).collect();
        let counts: Vec<_> = chunks()
            .filter_map(|(number, chunk)| chunk.counted.as_ref().map(|counted| (number, counted)))
            .collect();
        for (outer, chunks, of) in
            [(&self.counted, counts, COUNTED.name), (&self.rows, rows, ENTRIES.name)]
        {
            if !chunks.is_empty() {
                sys::put(outer, &chunks)
                    .map_err(|error| kernel_said(format!("table {of}: put chunks"), error))?;
            }
        }
        Ok(())
    }

    /// Returns every row that an entry has.
    pub fn entries(&self) -> impl Iterator<Item = (Net, EntryId)> + '_ {
        let rows = (0u32..).zip(&self.all).flat_map(|(number, chunk)| {
            (0..CHUNK).map(move |at| (EntryId(number * CHUNK + at), chunk.row(at)))
        });
        rows.filter_map(|(id, row)| network(row).map(|net| (net, id)))
    }

    fn row(&self, id: EntryId) -> Option<&[AtomicU64]> {
        let (chunk, at) = id.place();
        self.all.get(chunk as usize).map(|chunk| chunk.row(at))
    }

    /// Returns the network whose row this is.
    pub fn network(&self, id: EntryId) -> Option<Net> {
        network(self.row(id)?)
    }

    /// Returns the places of an entry's tag and rates.
    pub fn places(&self, id: EntryId) -> Option<[u16; 3]> {
        let row = self.row(id)?;
        network(row)?;
        let terms = load(row, TERMS).to_ne_bytes();
        Some([2, 4, 6].map(|at| u16::from_ne_bytes([terms[at], terms[at + 1]])))
    }

    /// Writes the terms of an entry. A row that was another network's begins anew; there must be a row.
    pub fn write(&mut self, id: EntryId, terms: &Terms) -> Result<(), GateError> {
        let known = self.network(id) == Some(terms.net);
        if !known {
            self.forget_counts(id)?;
        }
        let Some(row) = self.row(id) else { return Ok(()) };
        let store = |at: usize, value: u64| {
            if load(row, at) != value {
                row[at].store(value, Ordering::Release);
            }
        };
        let Terms { net, tag, rate, source_rate, until_ns } = *terms;
        if !known {
            row[TERMS].store(0, Ordering::Release);
            for at in [FULL_AT, PASSED, OVER_RATE, LAST, WOULD_DROP] {
                store(at, 0);
            }
            let octets = net.addr().octets();
            let (high, low) = octets.split_at(8);
            for (at, half) in [high, low].into_iter().enumerate() {
                let half = half.try_into().expect("invariant: half of sixteen is eight");
                store(NETWORK + at, u64::from_ne_bytes(half));
            }
        }
        store(UNTIL, until_ns);
        let [tag, rate, source_rate] = [tag, rate, source_rate].map(u16::to_ne_bytes);
        let head = [net.prefix(), net.family() as u8];
        let terms = [head, tag, rate, source_rate].concat();
        store(
            TERMS,
            u64::from_ne_bytes(terms.try_into().expect("invariant: four pairs are eight")),
        );
        Ok(())
    }

    /// Begins the bucket of an entry anew.
    pub fn fill_bucket(&self, id: EntryId) {
        if let Some(row) = self.row(id) {
            row[FULL_AT].store(0, Ordering::Release);
        }
    }

    /// Makes the row of an entry nobody's.
    pub fn clear(&self, id: EntryId) {
        if let Some(row) = self.row(id) {
            row[TERMS].store(0, Ordering::Release);
        }
    }

    /// Begins every count of the candidate list anew.
    pub fn clear_would_drop(&self) {
        for chunk in &self.all {
            for row in chunk.rows.words().chunks_exact(ROW) {
                if load(row, WOULD_DROP) != 0 {
                    row[WOULD_DROP].store(0, Ordering::Release);
                }
            }
        }
    }

    /// Takes back what CPUs counted under a number that goes to another network.
    fn forget_counts(&mut self, id: EntryId) -> Result<(), GateError> {
        let (chunk, at) = id.place();
        let counts = self.all.get_mut(chunk as usize).and_then(|chunk| chunk.counts.as_mut());
        let Some(counts) = counts else { return Ok(()) };
        let held = counts.get(&at, 0).map_err(|error| not_written(&COUNTED_IN, error))?;
        if held.iter().all(|count| *count == EntryCount::default()) {
            return Ok(());
        }
        let nothing = PerCpuValues::try_from(vec![EntryCount::default(); held.len()])
            .map_err(|error| kernel_said("count the CPUs".to_owned(), error))?;
        counts.set(at, nothing, 0).map_err(|error| not_written(&COUNTED_IN, error))
    }

    /// Returns what was counted of an entry.
    pub fn counts(&self, id: EntryId) -> Result<EntryCounts, GateError> {
        let (chunk, at) = id.place();
        let Some(chunk) = self.all.get(chunk as usize) else {
            return Ok(EntryCounts::default());
        };
        let row = chunk.row(at);
        let own = EntryCount {
            passed: load(row, PASSED),
            over_rate: load(row, OVER_RATE),
            last_ns: load(row, LAST),
        };
        let cpus = match &chunk.counts {
            Some(counts) => {
                let cpus = counts.get(&at, 0).map_err(|error| not_written(&COUNTED_IN, error))?;
                cpus.to_vec()
            }
            None => Vec::new(),
        };
        let sum = cpus.iter().fold(own, |sum, cpu| EntryCount {
            passed: sum.passed + cpu.passed,
            over_rate: sum.over_rate + cpu.over_rate,
            last_ns: sum.last_ns.max(cpu.last_ns),
        });
        let EntryCount { passed, over_rate, last_ns } = sum;
        Ok(EntryCounts { passed, over_rate, last_ns, would_drop: load(row, WOULD_DROP) })
    }

    /// Pins again what is not pinned any more; returns how many tables were.
    pub fn pin_again(&self) -> Result<usize, GateError> {
        let mut pinned = 0;
        for (number, chunk) in self.all.iter().enumerate() {
            let tables = [(Some(&chunk.table), ENTRIES), (chunk.counted.as_ref(), COUNTED)];
            for (table, of) in tables {
                let Some(table) = table else { continue };
                let path = self.pins.path(&name(of.name, number));
                pinned += usize::from(pin_if_missing(table, &path)?);
            }
        }
        Ok(pinned)
    }
}

impl Chunk {
    fn open(table: OwnedFd, counted: Option<OwnedFd>) -> Result<Self, GateError> {
        let rows = Written::map(&table, CHUNK as usize * size_of::<Entry>());
        let rows =
            rows.map_err(|error| kernel_said(format!("table {}: map", ENTRIES.name), error))?;
        let again = counted.as_ref().map(OwnedFd::try_clone).transpose();
        let again = again.map_err(|error| kernel_said("copy a descriptor".to_owned(), error))?;
        let counts = again.map(|fd| typed(fd, Map::PerCpuArray, &COUNTED_IN)).transpose()?;
        Ok(Self { table, rows, counted, counts })
    }

    fn row(&self, at: u32) -> &[AtomicU64] {
        let first = at as usize * ROW;
        &self.rows.words()[first..first + ROW]
    }
}

fn load(row: &[AtomicU64], at: usize) -> u64 {
    row[at].load(Ordering::Acquire)
}

fn network(row: &[AtomicU64]) -> Option<Net> {
    let words = [load(row, NETWORK), load(row, NETWORK + 1)];
    net_of(words, load(row, TERMS))
}

/// Returns the network of a row, given its first words as they stand; none for nobody's row.
pub fn net_of(words: [u64; 2], terms: u64) -> Option<Net> {
    let [prefix, family, ..] = terms.to_ne_bytes();
    let family = [Family::V4, Family::V6].into_iter().find(|known| *known as u8 == family)?;
    let words = words.map(|word| u64::from_be_bytes(word.to_ne_bytes()));
    Net::new(Addr::from_words(family, words), prefix).ok()
}
