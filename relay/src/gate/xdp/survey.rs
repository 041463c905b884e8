//! What the whole gate counted, for the process that only reads.
//!
//! It goes over every row of every entry, some thousands with each call to the kernel.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::mem::offset_of;
use std::os::fd::OwnedFd;

use aya::maps::Map;
use relay_common::table::{
    CHUNKS, COUNTED, COUNTED_CHUNKS, COUNTERS, ENTRIES, Entry, EntryCount, Switch, TagName,
};

use super::chunks::net_of;
use super::opening::Opening;
use super::view::View;
use super::{kernel_said, rows};
use crate::gate::list::Load as _;
use crate::gate::sys::{Access, all_words};
use crate::gate::{Busy, Counters, GateError, Survey, TagCounts, boot_clock_ns};

/// The words of a row, and which is which.
const ROW: usize = size_of::<Entry>() / 8;
const NETWORK: usize = offset_of!(Entry, network) / 8;
const TERMS: usize = offset_of!(Entry, prefix) / 8;
const UNTIL: usize = offset_of!(Entry, until_ns) / 8;
const COUNT: usize = offset_of!(Entry, count) / 8;
const WOULD_DROP: usize = offset_of!(Entry, would_drop) / 8;

/// The words of what a CPU counted of an entry, and which is which.
const PIECE: usize = size_of::<EntryCount>() / 8;
const PASSED: usize = offset_of!(EntryCount, passed) / 8;
const OVER_RATE: usize = offset_of!(EntryCount, over_rate) / 8;

/// One entry as counted; they are compared by how many attempts they passed.
type Counted = (u64, u64, [u64; 2], u64);

impl View {
    /// Returns what was counted on these interfaces and guarded ports, of the entries by tag, and of the
    /// `most` entries that passed most.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn survey(
        &self,
        interfaces: &[String],
        ports: &[u16],
        most: usize,
    ) -> Result<Survey, GateError> {
        let counters = self.counters_of(interfaces, ports)?;
        let mut of_tags: BTreeMap<u16, TagCounts> = BTreeMap::new();
        let mut busiest: BinaryHeap<Reverse<Counted>> = BinaryHeap::with_capacity(most + 1);
        let now_ns = boot_clock_ns();
        for number in 0..CHUNKS as usize {
            let Some(rows) = self.chunk(ENTRIES.name, number)? else { break };
            let (rows, _) = read(&rows)?;
            // The later chunks count in their rows.
            let (counts, words) = match self.chunk(COUNTED.name, number)? {
                Some(counts) if number < COUNTED_CHUNKS as usize => read(&counts)?,
                Some(_) | None => (Vec::new(), PIECE),
            };
            let mut counts = counts.chunks_exact(words);
            for row in rows.chunks_exact(ROW) {
                let own = counts.next().unwrap_or_default();
                let words = [row[NETWORK], row[NETWORK + 1]];
                let is_over = row[UNTIL] != 0 && row[UNTIL] <= now_ns;
                if is_over || net_of(words, row[TERMS]).is_none() {
                    continue;
                }
                let sum = |at: usize| {
                    let own = own.chunks_exact(PIECE).map(|cpu| cpu[at]);
                    own.fold(row[COUNT + at], u64::wrapping_add)
                };
                let (passed, over_rate) = (sum(PASSED), sum(OVER_RATE));
                let of_tag = of_tags.entry(tag(row[TERMS])).or_default();
                of_tag.entries += 1;
                of_tag.passed += passed;
                of_tag.over_rate += over_rate;
                of_tag.would_drop += row[WOULD_DROP];
                busiest.push(Reverse((passed, over_rate, words, row[TERMS])));
                if busiest.len() > most {
                    busiest.pop();
                }
            }
        }
        let names: BTreeMap<u16, String> =
            of_tags.keys().map(|place| (*place, self.tag_at(*place))).collect();
        let mut by_tag: BTreeMap<String, TagCounts> = BTreeMap::new();
        for (place, counts) in of_tags {
            by_tag.insert(names.get(&place).cloned().unwrap_or_default(), counts);
        }
        let busy = |Reverse((passed, over_rate, words, terms)): Reverse<Counted>| {
            let tag = names.get(&tag(terms)).cloned().unwrap_or_default();
            net_of(words, terms).map(|net| Busy { net, tag, passed, over_rate })
        };
        let busiest = busiest.into_sorted_vec().into_iter().filter_map(busy).collect();
        Ok(Survey { counters, by_tag, busiest })
    }

    /// Returns the counters if they stand for these interfaces and ports.
    fn counters_of(
        &self,
        interfaces: &[String],
        ports: &[u16],
    ) -> Result<Option<Counters>, GateError> {
        let word = |offset: usize| self.switch.all().load(offset / 8).unwrap_or(0);
        if word(offset_of!(Switch, rows_key)) != rows::key(interfaces, ports) {
            return Ok(None);
        }
        let [_, _, _, _, factor @ ..] = word(offset_of!(Switch, interface_factor)).to_ne_bytes();
        let names = interfaces.iter().cloned().map(Some);
        let opening = Opening { pins: &self.pins, access: Access::Read };
        let counters = opening.table(&COUNTERS, Map::PerCpuArray)?;
        rows::sum(&counters, names, ports, u32::from_ne_bytes(factor)).map(Some)
    }

    /// Opens a chunk; none if there is none of this number yet.
    fn chunk(&self, of: &str, number: usize) -> Result<Option<OwnedFd>, GateError> {
        let name = format!("{of}_{number}");
        if !self.pins.path(&name).exists() {
            return Ok(None);
        }
        Opening { pins: &self.pins, access: Access::Read }.named(&name).map(Some)
    }

    fn tag_at(&self, place: u16) -> String {
        let tag = self.tags.get(&place.into(), 0).unwrap_or(TagName::NONE);
        tag.as_str().unwrap_or_default().to_owned()
    }
}

fn read(table: &OwnedFd) -> Result<(Vec<u64>, usize), GateError> {
    let said = |error: io::Error| kernel_said("read what entries counted".to_owned(), error);
    all_words(table).map_err(said)
}

/// Returns the place of the tag in an entry's terms.
const fn tag(terms: u64) -> u16 {
    let [_, _, low, high, ..] = terms.to_ne_bytes();
    u16::from_ne_bytes([low, high])
}
