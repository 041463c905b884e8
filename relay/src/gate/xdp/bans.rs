//! The table of bans, and the picture of it that this process keeps.

use std::collections::BTreeMap;

use aya::maps::{HashMap, Map, MapData};
use relay_common::addr::{Addr, Family, Net};
use relay_common::table::{BANS, Ban, BanKey};

use super::errors::{gone, not_written, refused};
use super::opening::Opening;
use super::switch::Board;
use crate::gate::cidr::ancestry;
use crate::gate::{GateError, sys};

/// The bans.
pub struct Bans {
    map: HashMap<MapData, BanKey, Ban>,
    /// A second descriptor, to write many at once.
    table: std::os::fd::OwnedFd,
    held: BTreeMap<Net, u64>,
    /// How many there are of each family and length.
    lengths: BTreeMap<(Family, u8), usize>,
}

fn key(net: &Net) -> BanKey {
    BanKey::of(&net.addr(), net.prefix())
}

impl Bans {
    /// Takes the table over with what it holds.
    pub fn adopt(opening: Opening<'_>, board: &Board) -> Result<Self, GateError> {
        let map: HashMap<MapData, BanKey, Ban> = opening.table(&BANS, Map::HashMap)?;
        let mut bans = Self {
            map,
            table: opening.raw(&BANS)?,
            held: BTreeMap::new(),
            lengths: BTreeMap::new(),
        };
        let rows: Result<Vec<_>, _> = bans.map.iter().collect();
        let rows = rows.map_err(|error| refused("table bans: read".to_owned(), error))?;
        for (key, ban) in rows {
            if let Some(net) = net(&key) {
                bans.note(net, ban.until_ns);
            }
        }
        bans.tell_lengths(board);
        Ok(bans)
    }

    fn note(&mut self, net: Net, until_ns: u64) {
        if self.held.insert(net, until_ns).is_none() {
            *self.lengths.entry((net.family(), net.prefix())).or_default() += 1;
        }
    }

    /// Returns the bans in the order of their networks.
    pub fn list(&self) -> Vec<(Net, u64)> {
        self.held.iter().map(|(net, until_ns)| (*net, *until_ns)).collect()
    }

    /// Returns the latest time until which a ban that is not over holds `source`.
    pub fn until_ns(&self, source: Addr, now_ns: u64) -> Option<u64> {
        let holding = ancestry(Net::host(source)).filter_map(|net| self.held.get(&net).copied());
        holding.filter(|until_ns| *until_ns > now_ns).max()
    }

    /// Adds bans, or changes their times. A length is told before the first ban that has it counts, after
    /// all are written.
    pub fn add(&mut self, bans: &[(Net, u64)], board: &Board) -> Result<(), GateError> {
        let wanted: Vec<&(Net, u64)> =
            bans.iter().filter(|(net, until_ns)| self.held.get(net) != Some(until_ns)).collect();
        let keys: Vec<BanKey> = wanted.iter().map(|(net, _)| key(net)).collect();
        let values: Vec<Ban> = wanted.iter().map(|(_, until)| Ban { until_ns: *until }).collect();
        let result = sys::put_many(&self.table, &keys, &values);
        let done = result.as_ref().err().map_or(keys.len(), |(_, done)| *done);
        for (net, until_ns) in wanted.into_iter().take(done) {
            self.note(*net, *until_ns);
        }
        self.tell_lengths(board);
        result.map_err(|(error, _)| not_written(&BANS, error))
    }

    /// Lifts the ban of exactly this network; returns whether there was one.
    pub fn remove(&mut self, net: &Net, board: &Board) -> Result<bool, GateError> {
        if !self.held.contains_key(net) {
            return Ok(false);
        }
        gone(self.map.remove(&key(net)), &BANS)?;
        self.held.remove(net);
        let of_length = (net.family(), net.prefix());
        if let Some(count) = self.lengths.get_mut(&of_length) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&of_length);
                self.tell_lengths(board);
            }
        }
        Ok(true)
    }

    /// Tells the program which lengths to look up: none costs nothing.
    fn tell_lengths(&self, board: &Board) {
        for family in [Family::V4, Family::V6] {
            let of_family = self.lengths.keys().filter(|(of, _)| *of == family);
            board.set_ban_lengths(family, of_family.map(|(_, prefix)| *prefix));
        }
    }
}

fn net(key: &BanKey) -> Option<Net> {
    let family = [Family::V4, Family::V6].into_iter().find(|known| *known as u32 == key.family)?;
    let [high, low] = [&key.network[..8], &key.network[8..]]
        .map(|half| u64::from_be_bytes(half.try_into().expect("invariant: half of sixteen")));
    Net::new(Addr::from_words(family, [high, low]), u8::try_from(key.prefix).ok()?).ok()
}
