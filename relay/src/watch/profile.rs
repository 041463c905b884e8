//! What single networks usually do, and whether one does far more: listed entries by the connections that they
//! complete, strangers' networks by the attempts that are refused.
//!
//! There may be 65,536 of them, so each has a few numbers: the highest rates that it had, which fade by half in a
//! week. A rate is unusual if it is three times as high as that. Day and night, and the weekend, need no cells of
//! their own: the highest rate of the week covers them. What one reached above that on three days is usual, too.

mod reached;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use relay_common::addr::Net;

use super::Stage;
use super::lookout::Rules;
use super::pace::{Reading, WINDOWS};
use super::spike::{Change, Spike};
use super::usual::Bounds;

pub use self::reached::Days;

use self::reached::Reached;

/// So many times the highest usual rate is unusual.
const TIMES: f32 = 3.0;
/// The highest rates fade by half in this time, seconds.
const HALF_LIFE: f32 = 7.0 * 86_400.0;
/// What an hour brought is usual when the hour is over, so a ramp within it is none.
const HOUR: Duration = Duration::from_secs(3600);
/// In its first hour a network that is new may do so many times the floor of a second, for as long as it likes.
const NEW_TIMES: f64 = 10.0;
/// The spikes of one class that are open at a time.
const OPEN_MAX: usize = 64;

/// Whether a network that is new is measured more mildly for an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newcomers {
    /// It is: somebody listed it, and its first rate is no surprise.
    Learn,
    /// It is not.
    Stand,
}

/// The highest rates of a network, a second, by window.
pub type Peaks = [f32; WINDOWS.len()];

/// What is known of one network.
#[derive(Clone, Copy, Debug, Default)]
struct Profile {
    /// What came of late: in the first window what came within it, in the others sums that fade with them.
    sums: Peaks,
    /// When the sums were as they stand.
    at: Duration,
    /// The highest rates of hours that are over.
    peaks: Peaks,
    /// The highest rates of this hour, and when it began.
    hour: Peaks,
    began: Option<Duration>,
    is_new: bool,
    /// Whether the last rates stood above the threshold: two bits a window.
    above: [u8; WINDOWS.len()],
}

/// The networks of one class, at most `most`: the one seen longest ago leaves first.
#[derive(Debug)]
pub(super) struct Profiles {
    most: usize,
    newcomers: Newcomers,
    of: BTreeMap<Net, Profile>,
    /// What came within the first window, the oldest first: a sum that fades would have a flood that is not far above
    /// its threshold climb to it for a second and more.
    lately: VecDeque<(Duration, Vec<(Net, u64)>)>,
    open: BTreeMap<Net, Tracked>,
    reached: Reached,
}

/// An open spike and what was counted.
#[derive(Debug)]
struct Tracked {
    spike: Spike,
    count: u64,
}

impl Profiles {
    pub fn new(most: usize, newcomers: Newcomers) -> Self {
        let (of, open) = (BTreeMap::new(), BTreeMap::new());
        let (lately, reached) = (VecDeque::new(), Reached::default());
        Self { most, newcomers, of, lately, open, reached }
    }

    /// Counts what came from networks since the last call, and returns what that changed, in the order of the
    /// networks. Open spikes are looked at too, whether anything came from them or not.
    pub fn add(
        &mut self,
        at: Duration,
        wall: Timestamp,
        came: &[(Net, u64)],
        rules: Rules,
    ) -> Vec<(Net, Change)> {
        let mut changes = Vec::new();
        let now = (at, day_of(wall));
        self.forget(at);
        if !came.is_empty() {
            self.lately.push_back((at, came.to_vec()));
        }
        for (net, count) in came {
            let profile = self.profile(*net, at);
            profile.fade(at);
            for sum in &mut profile.sums {
                *sum += single(super::rate_of(*count));
            }
            self.judge(*net, now, *count, rules, &mut changes);
        }
        let quiet: Vec<Net> = self.open.keys().copied().collect();
        for net in quiet.into_iter().filter(|net| came.iter().all(|(other, _)| other != net)) {
            self.profile(net, at).fade(at);
            self.judge(net, now, 0, rules, &mut changes);
        }
        changes
    }

    /// The same for networks of whom is known how many came in the last minute.
    pub fn set(
        &mut self,
        at: Duration,
        wall: Timestamp,
        in_a_minute: &[(Net, u64)],
        rules: Rules,
    ) -> Vec<(Net, Change)> {
        let mut changes = Vec::new();
        let now = (at, day_of(wall));
        let open: Vec<(Net, u64)> = self.open.keys().map(|net| (*net, 0)).collect();
        let known = |net: &Net| in_a_minute.iter().any(|(other, _)| other == net);
        let quiet = open.into_iter().filter(|(net, _)| !known(net));
        for (net, count) in in_a_minute.iter().copied().chain(quiet) {
            let profile = self.profile(net, at);
            profile.at = at;
            profile.sums = [0.0; WINDOWS.len()];
            profile.sums[MINUTE] = single(super::rate_of(count));
            self.judge(net, now, count / WINDOWS[MINUTE].as_secs(), rules, &mut changes);
        }
        changes
    }

    /// Returns every open spike.
    pub fn open(&self) -> impl Iterator<Item = (Net, Change)> + '_ {
        self.open.iter().filter_map(|(net, tracked)| match &tracked.spike {
            Spike::Calm(_) => None,
            Spike::Open(open) => Some((*net, open.so_far())),
        })
    }

    /// Returns the networks of which something is known: the usual rates, and what was reached above them by the day.
    pub fn known(&self) -> impl Iterator<Item = (Net, Peaks, Days)> + '_ {
        let known =
            self.of.iter().map(move |(net, profile)| (*net, profile.peaks, self.reached.days(net)));
        known.filter(|(_, peaks, days)| peaks.iter().any(|peak| *peak > 0.0) || !days.is_empty())
    }

    /// Puts what was known of a network in place, unless numbers cannot be. One whose first hour was not over has a
    /// whole one from now.
    pub fn restore(&mut self, net: Net, peaks: Peaks, days: Days) {
        let is_sound = peaks.iter().all(|peak| peak.is_finite() && *peak >= 0.0);
        if is_sound && self.of.len() < self.most {
            let is_new =
                self.newcomers == Newcomers::Learn && peaks.iter().all(|peak| *peak <= 0.0);
            self.of.insert(net, Profile { peaks, is_new, ..Profile::default() });
            self.reached.restore(net, days);
        }
    }

    /// Takes what is older than the first window out of its sums.
    fn forget(&mut self, at: Duration) {
        let is_old = |(then, _): &mut (Duration, Vec<_>)| at.saturating_sub(*then) >= WINDOWS[0];
        while let Some((_, came)) = self.lately.pop_front_if(is_old) {
            for (net, count) in came {
                // It may have begun anew since.
                let Some(profile) = self.of.get_mut(&net) else { continue };
                profile.sums[0] = (profile.sums[0] - single(super::rate_of(count))).max(0.0);
            }
        }
    }

    fn profile(&mut self, net: Net, at: Duration) -> &mut Profile {
        if self.of.len() >= self.most && !self.of.contains_key(&net) {
            self.make_room();
        }
        let is_new = self.newcomers == Newcomers::Learn;
        self.of.entry(net).or_insert(Profile { at, is_new, ..Profile::default() })
    }

    /// Forgets the eighth of the networks that was seen longest ago: one at a time would take a look at all of
    /// them for each.
    fn make_room(&mut self) {
        let mut left = self.most / 8 + 1;
        let mut seen: Vec<Duration> = self.of.values().map(|profile| profile.at).collect();
        let last = left.min(seen.len()).saturating_sub(1);
        let (_, until, _) = seen.select_nth_unstable(last);
        let (until, open) = (*until, &self.open);
        self.of.retain(|net, profile| {
            let goes = left > 0 && profile.at <= until && !open.contains_key(net);
            left -= usize::from(goes);
            !goes
        });
    }

    fn judge(
        &mut self,
        net: Net,
        (at, day): (Duration, i64),
        came: u64,
        rules: Rules,
        changes: &mut Vec<(Net, Change)>,
    ) {
        let is_open = self.open.contains_key(&net);
        let has_room = self.open.len() < OPEN_MAX;
        let Some(profile) = self.of.get_mut(&net) else { return };
        profile.turn(at, is_open);
        for (peak, usual) in profile.peaks.iter_mut().zip(self.reached.usual(&net, day)) {
            *peak = peak.max(usual);
        }
        let rates = profile.rates();
        let bounds = [0, 1, 2, 3].map(|window| profile.bounds(window, rules));
        if is_open {
            let Some(tracked) = self.open.get_mut(&net) else { return };
            tracked.count += came;
            let mut above = rates;
            for (rate, bounds) in above.iter_mut().zip(bounds) {
                *rate = if f64::from(*rate) > bounds.threshold { *rate } else { 0.0 };
            }
            if above.iter().any(|rate| *rate > 0.0) {
                self.reached.note(net, day, above);
            }
            for (window, (rate, bounds)) in rates.into_iter().zip(bounds).enumerate() {
                let reading = reading(at, tracked.count, rate);
                let Some(change) = tracked.spike.take(window, &reading, bounds, rules.quiet) else {
                    continue;
                };
                changes.push((net, change));
                if change.stage == Stage::Closed {
                    self.open.remove(&net);
                    // What it was would show again in longer windows.
                    profile.sums = Peaks::default();
                    return;
                }
            }
            return;
        }
        for (window, (rate, bounds)) in rates.into_iter().zip(bounds).enumerate() {
            let above = f64::from(rate) > bounds.threshold;
            let lately = profile.above[window];
            profile.above[window] = (lately << 1 | u8::from(above)) & 0b11;
            if !above {
                profile.hour[window] = profile.hour[window].max(rate);
            } else if lately != 0 && has_room {
                // Twice, as two readings of one class: it opens with the second.
                let mut spike = Spike::default();
                let total = super::whole(f64::from(profile.sums[window]));
                let reading = Reading { count_before: 0, ..reading(at, total, rate) };
                let _ = spike.take(window, &reading, bounds, rules.quiet);
                if let Some(change) = spike.take(window, &reading, bounds, rules.quiet) {
                    profile.above = <[u8; WINDOWS.len()]>::default();
                    self.open.insert(net, Tracked { spike, count: total });
                    changes.push((net, change));
                }
                return;
            }
        }
    }
}

/// Returns the day, from that of the epoch (UTC).
fn day_of(wall: Timestamp) -> i64 {
    wall.as_second().div_euclid(86_400)
}

/// The window of a minute.
const MINUTE: usize = 2;

fn reading(at: Duration, count: u64, rate: f32) -> Reading {
    let per_second = f64::from(rate);
    let since_last = super::TICK;
    Reading {
        at,
        count,
        count_before: count,
        per_second,
        per_second_now: per_second,
        at_most: per_second,
        since_last,
        adds_up: true,
    }
}

impl Profile {
    /// Lets the sums of the longer windows fade to `at`.
    fn fade(&mut self, at: Duration) {
        let passed = at.saturating_sub(self.at);
        if passed.is_zero() {
            return;
        }
        for (sum, window) in self.sums.iter_mut().zip(WINDOWS).skip(1) {
            *sum *= (-passed.as_secs_f32() / window.as_secs_f32()).exp();
        }
        self.at = at;
    }

    /// Ends the hour if it is over: what it brought is usual, unless a spike is open.
    fn turn(&mut self, at: Duration, is_open: bool) {
        // The hour of a network that is new, or was known before a restart, begins now.
        let passed = at.saturating_sub(*self.began.get_or_insert(at));
        if is_open {
            (self.hour, self.began) = (Peaks::default(), Some(at));
        } else if passed >= HOUR {
            let faded = (-passed.as_secs_f32() / HALF_LIFE).exp2();
            for (peak, hour) in self.peaks.iter_mut().zip(self.hour) {
                *peak = (*peak * faded).max(hour);
            }
            (self.hour, self.began, self.is_new) = (Peaks::default(), Some(at), false);
        }
    }

    fn rates(&self) -> Peaks {
        let mut rates = self.sums;
        for (rate, window) in rates.iter_mut().zip(WINDOWS) {
            *rate /= window.as_secs_f32();
        }
        rates
    }

    fn bounds(&self, window: usize, rules: Rules) -> Bounds {
        let floor = if self.is_new { rules.floor * NEW_TIMES } else { rules.floor_of(window) };
        let usual = self.peaks[window];
        Bounds::new(usual.into(), f64::from(usual * TIMES).max(floor))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "counts of a moment need no more digits than f32 has"
)]
const fn single(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests;
