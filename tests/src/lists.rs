//! The judge's tables in ordinary memory: the twin of the kernel's maps.

use std::cell::RefCell;
use std::collections::BTreeMap;

use relay::gate::{Entry, Ruleset};
use relay_common::addr::Addr;
use relay_common::bucket::Bucket;
use relay_common::state::{Mode, State};
use relay_common::table::EntryId;
use relay_common::verdict::{Connect, Tables};

/// A ruleset that can be judged by, at a time that stands still.
#[derive(Clone, Debug)]
pub struct Lists {
    ruleset: Ruleset,
    mode: Mode,
    now_ns: u64,
    buckets: RefCell<BTreeMap<EntryId, Bucket>>,
    of_sources: RefCell<BTreeMap<(EntryId, Addr), Bucket>>,
}

impl Lists {
    /// Returns the tables of a ruleset at a time of the boot clock.
    #[must_use]
    pub fn new(ruleset: Ruleset, now_ns: u64) -> Self {
        let (buckets, of_sources) = (RefCell::new(BTreeMap::new()), RefCell::new(BTreeMap::new()));
        Self { ruleset, mode: Mode::Enforce, now_ns, buckets, of_sources }
    }

    /// Returns the same tables in another mode; one that observes does so without end.
    #[must_use]
    pub fn in_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Returns the entries that hold `source`, those that ended too.
    fn holding(&self, source: &Addr) -> impl Iterator<Item = &Entry> {
        self.ruleset.entries.iter().filter(|entry| entry.net.contains(*source))
    }
}

impl Tables for Lists {
    fn guarded(&self, port: u16) -> bool {
        self.ruleset.ports.contains(&port)
    }

    fn state(&self) -> State {
        let Ruleset { scope, own_host, .. } = self.ruleset;
        State::default().with_scope(scope).with_own_host(own_host).with_mode(self.mode)
    }

    fn covers(&self, _state: State, source: &Addr) -> bool {
        self.holding(source).next().is_some()
    }

    fn lacks(&self, state: State, source: &Addr) -> bool {
        !self.covers(state, source)
    }

    fn banned(&self, source: &Addr) -> bool {
        let holding = self.ruleset.bans.iter().filter(|(net, _)| net.contains(*source));
        holding.map(|(_, until_ns)| *until_ns).any(|until_ns| self.now_ns < until_ns)
    }

    fn connect(&self, _state: State, source: &Addr) -> Connect {
        let lives = |entry: &&Entry| entry.until_ns.is_none_or(|until_ns| self.now_ns < until_ns);
        let living = self.holding(source).filter(lives);
        let Some(entry) = living.max_by_key(|entry| entry.net.prefix()) else {
            return Connect::Ended;
        };
        if let Some(rate) = entry.source_rate {
            let mut buckets = self.of_sources.borrow_mut();
            let bucket = buckets.entry((entry.id, *source)).or_insert(Bucket::FULL);
            let Some(left) = bucket.take_shared(&rate, self.now_ns) else {
                return Connect::SourceOverRate;
            };
            *bucket = left;
        }
        if let Some(rate) = entry.rate {
            let mut buckets = self.buckets.borrow_mut();
            let bucket = buckets.entry(entry.id).or_insert(Bucket::FULL);
            let Some(left) = bucket.take(&rate, self.now_ns) else { return Connect::OverRate };
            *bucket = left;
        }
        Connect::WithinRate
    }

    fn observing(&self) -> bool {
        true
    }
}
