//! The judge's tables in ordinary memory: the twin of the kernel's maps.

use std::cell::RefCell;
use std::collections::BTreeMap;

use relay::gate::Ruleset;
use relay_common::addr::{Addr, Net};
use relay_common::bucket::{Bucket, Rate};
use relay_common::table::{EntryId, Settings};
use relay_common::verdict::{Connect, Tables};

/// A ruleset that can be judged by, at a time that stands still.
#[derive(Clone, Debug)]
pub struct Lists {
    ruleset: Ruleset,
    now_ns: u64,
    buckets: RefCell<BTreeMap<EntryId, Bucket>>,
}

impl Lists {
    /// Returns the tables of a ruleset at a time of the boot clock.
    #[must_use]
    pub const fn new(ruleset: Ruleset, now_ns: u64) -> Self {
        Self { ruleset, now_ns, buckets: RefCell::new(BTreeMap::new()) }
    }

    fn rate(&self, id: EntryId) -> Option<Rate> {
        self.ruleset.entries.iter().find(|entry| entry.id == id).and_then(|entry| entry.rate)
    }
}

/// Returns the longest of the networks that hold `source`, and what belongs to it.
fn longest<T: Copy>(source: &Addr, rows: impl Iterator<Item = (Net, T)>) -> Option<T> {
    let holding = rows.filter(|(net, _)| net.contains(*source));
    holding.max_by_key(|(net, _)| net.prefix()).map(|(_, value)| value)
}

impl Tables for Lists {
    fn guarded(&self, port: u16) -> bool {
        self.ruleset.ports.contains(&port)
    }

    fn settings(&self) -> Settings {
        self.ruleset.settings
    }

    fn listed(&self, source: &Addr) -> Option<EntryId> {
        longest(source, self.ruleset.entries.iter().map(|entry| (entry.net, entry.id)))
    }

    fn banned_until_ns(&self, source: &Addr) -> Option<u64> {
        let holding = self.ruleset.bans.iter().filter(|(net, _)| net.contains(*source));
        holding.map(|(_, until_ns)| *until_ns).max()
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn connect(&self, entry: EntryId) -> Connect {
        let Some(rate) = self.rate(entry) else { return Connect::WithinRate };
        let mut buckets = self.buckets.borrow_mut();
        let bucket = buckets.entry(entry).or_insert(Bucket::FULL);
        match bucket.take(&rate, self.now_ns) {
            Some(left) => {
                *bucket = left;
                Connect::WithinRate
            }
            None => Connect::OverRate,
        }
    }
}
