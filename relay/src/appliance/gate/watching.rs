//! What the watch is given: the kernel's counters each tick, the sums by source each second, what the relay tells.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use relay_common::addr::Net;
use relay_common::table::Sample as Frame;
use relay_common::verdict::Reason;

use super::keeper::Keeper;
use super::learned::Learned;
use super::telling::stands;
use crate::config::Config;
use crate::gate::Counters;
use crate::gate::clocks::Moment;
use crate::journal::Journal;
use crate::net::tally::Tally;
use crate::watch::distinct::{Distinct, SOURCE_WINDOWS};
use crate::watch::talkers::Talkers;
use crate::watch::{Sample, Told, Watch};

/// The latest refused frames that are kept, for one of them to be shown.
const FRAMES_KEPT: usize = 16;
/// The networks of each length that are measured one by one.
const LOUD_MAX: usize = 16;
/// The addresses that are remembered for what they did of late.
const BUSY_MAX: usize = 128;
/// Every so often half of that is forgotten.
const HALVED_EVERY: Duration = Duration::from_secs(60);
/// How old the counts of a quiet moment may become.
const QUIET_COUNTS: Duration = Duration::from_secs(1);
/// The counts of refused frames that are kept, one a second.
const REFUSED_KEPT: usize = 15 * 60 + 1;
/// A relay that tells nothing for so long is gone.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// The watch and all that it is told with.
#[derive(Debug)]
pub(super) struct Watching {
    pub watch: Watch,
    pub talkers: Talkers,
    pub learned: Learned,
    distinct: Distinct,
    /// What was counted by reason when all was quiet last, at most a second before a spike.
    quiet: BTreeMap<Reason, u64>,
    quiet_at: Duration,
    pub frames: VecDeque<Frame>,
    /// What the relay told so far, and when it did last.
    told: Told,
    told_at: Option<Duration>,
    completed: BTreeMap<Net, u64>,
    missing: u64,
    /// What was refused in all at each second of the last quarter of an hour.
    refused: VecDeque<(Duration, u64)>,
    sources: [Option<u64>; SOURCE_WINDOWS],
    loud: Option<Vec<(Net, u64)>>,
    /// Who completed connections of late, and whose logins failed.
    pub connecting: Busy,
    pub failing: Busy,
}

impl Watching {
    /// Returns a watch that knows what was usual before the last restart.
    pub fn new(config: &Config, journal: &Journal) -> Self {
        let mut watch = Watch::new(config.spikes.clone());
        let learned = Learned::recall(&config.gate.state, &mut watch, journal);
        Self {
            watch,
            talkers: Talkers::default(),
            learned,
            distinct: Distinct::default(),
            quiet: BTreeMap::new(),
            quiet_at: Duration::ZERO,
            frames: VecDeque::with_capacity(FRAMES_KEPT),
            told: Told::default(),
            told_at: None,
            completed: BTreeMap::new(),
            missing: 0,
            refused: VecDeque::with_capacity(REFUSED_KEPT),
            sources: [None; SOURCE_WINDOWS],
            loud: None,
            connecting: Busy::default(),
            failing: Busy::default(),
        }
    }

    /// Keeps a refused frame.
    pub fn note(&mut self, frame: Frame) {
        if self.frames.len() == FRAMES_KEPT {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// Returns what was refused by reason since all was quiet last.
    pub fn reasons(&self, counters: &Counters) -> BTreeMap<&'static str, u64> {
        let since = |(reason, count): (Reason, u64)| {
            let before = self.quiet.get(&reason).copied().unwrap_or(0);
            (reason.name(), count.saturating_sub(before))
        };
        let refused = counters.by_reason().into_iter().filter(|(reason, _)| reason.drops());
        refused.map(since).filter(|(_, count)| *count > 0).collect()
    }

    /// Returns how many frames were refused within a window.
    pub fn refused_within(&self, window: Duration) -> u64 {
        let Some((now, count)) = self.refused.back() else { return 0 };
        let then = self.refused.iter().rev().find(|(at, _)| now.saturating_sub(*at) >= window);
        let then = then.or(self.refused.front()).map_or(0, |(_, count)| *count);
        count.saturating_sub(then)
    }

    /// Puts one tick together.
    fn sample(&mut self, counters: &Counters, bypassed: u64, missing: u64, now: Moment) -> Sample {
        // In whole milliseconds, as a record has it: a replay gives the same alerts.
        let at = Duration::from_millis(now.boot_ns / 1_000_000);
        let wall = Timestamp::from_millisecond(now.wall.as_millisecond()).unwrap_or(now.wall);
        self.missing += missing;
        let tells = self.told_at.is_some_and(|told| at.saturating_sub(told) <= TOLD_WITHIN);
        Sample {
            refused: counters.dropped(),
            admitted: counters.admitted(),
            bypassed,
            missing: self.missing,
            told: tells.then_some(self.told),
            sources: std::mem::take(&mut self.sources),
            loud: self.loud.take(),
            completed: std::mem::take(&mut self.completed).into_iter().collect(),
            ..Sample::new(at, wall)
        }
    }
}

/// Addresses and how often each did something of late: at most [`BUSY_MAX`]; a newcomer takes the place and the
/// number of the one that did it least.
#[derive(Debug, Default)]
pub(super) struct Busy {
    of: BTreeMap<IpAddr, u64>,
    halved: Duration,
}

impl Busy {
    fn add(&mut self, address: IpAddr, count: u64, at: Duration) {
        if at.saturating_sub(self.halved) >= HALVED_EVERY {
            self.halved = at;
            self.of.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
        let mut before = 0;
        if !self.of.contains_key(&address) && self.of.len() >= BUSY_MAX {
            let least = self.of.iter().min_by_key(|(_, count)| **count);
            if let Some((least, count)) = least.map(|(address, count)| (*address, *count)) {
                self.of.remove(&least);
                before = count;
            }
        }
        *self.of.entry(address).or_insert(before) += count;
    }

    /// Returns at most `limit` addresses inside a network, or of all, the busiest first.
    pub fn top(&self, within: Option<Net>, limit: usize) -> Vec<(IpAddr, u64)> {
        let inside = |address: &IpAddr| within.is_none_or(|net| net.contains((*address).into()));
        let inside = self.of.iter().filter(|(address, _)| inside(address));
        let mut top: Vec<_> = inside.map(|(address, count)| (*address, *count)).collect();
        top.sort_by_key(|(address, count)| (std::cmp::Reverse(*count), *address));
        top.truncate(limit);
        top
    }
}

impl Keeper {
    /// Has the watch look at the counters, and tells what it found.
    pub(super) fn watch_counters(&mut self, counters: &Counters, now: Moment) {
        let missing = self.health.iter().filter(|one| !stands(&one.state));
        let missing = if self.is_detached { 0 } else { missing.count() as u64 };
        let watching = &mut self.watching;
        let sample = watching.sample(counters, self.bypasses.total(), missing, now);
        watching.learned.record(&sample, self.config.spikes.record_bytes);
        let alerts = watching.watch.take(&sample);
        let at = sample.at;
        if !alerts.is_empty()
            && let Ok(sketch) = self.gate.refused()
        {
            watching.talkers.take(at, &sketch);
        }
        for alert in &alerts {
            self.tell(alert, counters, now);
        }
        let watching = &mut self.watching;
        let is_quiet = watching.watch.open().next().is_none();
        if watching.quiet.is_empty()
            || is_quiet && at.saturating_sub(watching.quiet_at) >= QUIET_COUNTS
        {
            (watching.quiet, watching.quiet_at) = (counters.by_reason(), at);
        }
    }

    /// Looks at the sums by source, and writes what was learned if it is time. Called each second.
    pub(super) fn sum_up(&mut self, now: Moment) {
        let at = Duration::from_nanos(now.boot_ns);
        let watching = &mut self.watching;
        if let Ok(sketch) = self.gate.refused() {
            if watching.refused.len() == REFUSED_KEPT {
                watching.refused.pop_front();
            }
            watching.refused.push_back((at, sketch.total));
            watching.talkers.take(at, &sketch);
            watching.sources = watching.distinct.take(at, &sketch);
            let loud = watching.talkers.loudest(LOUD_MAX).into_iter();
            // What may be an error is left out.
            let least = |talker: crate::watch::talkers::Talker| {
                (talker.net, talker.frames.saturating_sub(talker.error))
            };
            watching.loud = Some(loud.map(least).collect());
        }
        if let Some(problem) = watching.learned.keep(&watching.watch, at) {
            self.trouble(&problem);
        }
    }

    /// Takes what the relay tells of clients. It is believed as far as alerts go, and no further.
    pub(super) fn hear(&mut self, tally: &Tally, now: Moment) {
        let at = Duration::from_nanos(now.boot_ns);
        let watching = &mut self.watching;
        watching.told_at = Some(at);
        let mut completed = tally.completed.others;
        for (address, count) in &tally.completed.by {
            // The host's own connections are in no entry and made no attempt at the first door.
            let Some(entry) = self.lists.allow.admitting(Net::from(*address)) else { continue };
            completed = completed.saturating_add(*count);
            let held = watching.completed.entry(entry.net).or_default();
            *held = held.saturating_add(*count);
            watching.connecting.add(*address, *count, at);
        }
        for (address, count) in &tally.failed.by {
            watching.failing.add(*address, *count, at);
        }
        watching.told.completed = watching.told.completed.saturating_add(completed);
        let failed = tally.failed.sum();
        watching.told.failed_logins = watching.told.failed_logins.saturating_add(failed);
    }

    /// Writes what was learned, at the end.
    pub(super) fn end(&mut self) {
        let Watching { learned, watch, .. } = &mut self.watching;
        if let Some(problem) = learned.keep_now(watch) {
            self.trouble(&problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_are_named_first_and_the_memory_of_them_is_bounded() {
        let mut busy = Busy::default();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        let at = Duration::from_secs(61);
        for number in 0..1_000 {
            busy.add(address(number), 1, at);
            busy.add(address(7), 1, at);
        }
        assert_eq!(busy.of.len(), BUSY_MAX);
        assert_eq!(busy.top(None, 1), [(address(7), 1_001)]);
        let net = Net::new(address(7), 32).unwrap();
        assert_eq!(busy.top(Some(net), 5).len(), 1);
        (2..20).for_each(|minute| busy.add(address(1), 1, HALVED_EVERY * minute));
        assert_eq!(busy.of.len(), 1, "who is idle is forgotten");
    }
}
