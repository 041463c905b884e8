//! Who is refused most: a bounded summary of the sources of refused frames, by address and by network.
//!
//! The kernel sums refused frames up in a count-min sketch, which nobody can push anything out of, and tells
//! a few of them as samples. The samples name candidates; the sketch says how many frames each candidate had
//! over the last minute, as an estimate: it counts one frame of sixteen, chosen by chance, and networks may share
//! a counter. The error that is given covers both for six networks in seven. Candidates are kept by the
//! Space-Saving rule (Metwally, Agrawal and El Abbadi 2005), so a flood of forged sources that come once each
//! pushes out others that come once.

mod sampled;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use relay_common::addr::{Addr, Family, Net};
use relay_common::table::{
    LEVEL_PREFIXES, LEVELS, SKETCH_CELLS, SKETCHED, Sketch, family_index, sketch_cells,
};

use self::sampled::Sampled;

/// The time that sums are taken over, and how often a sum is remembered for that.
pub const WINDOW: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(10);
/// The sums of the last seconds, one a second: what shorter windows are told from.
const SECONDS: usize = 12;
const SECOND: Duration = Duration::from_millis(900);
/// The candidates of each level.
const CANDIDATES: usize = 128;

/// A network that was refused often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talker {
    /// The network.
    pub net: Net,
    /// Refused frames over the window, an estimate.
    pub frames: u64,
    /// By how much that may be wrong: too high by what others add to its counters, or either way by chance (two
    /// standard errors).
    pub error: u64,
    /// The number of the reason of its last sample.
    pub reason: u8,
}

#[derive(Clone, Debug)]
struct Candidate {
    seen: u64,
    reason: u8,
    /// Its samples of late by their reasons, of which there are some twenty.
    reasons: BTreeMap<u8, u64>,
}

/// The summary.
#[derive(Debug, Default)]
pub struct Talkers {
    levels: [BTreeMap<Net, Candidate>; LEVELS],
    sampled: Sampled,
    /// The sketch as it was at each step of the window, the oldest first.
    sums: VecDeque<(Duration, Box<Sketch>)>,
    /// The same, second by second.
    seconds: VecDeque<(Duration, Box<Sketch>)>,
    now: Option<(Duration, Box<Sketch>)>,
}

impl Talkers {
    /// Takes a sample of a refused frame.
    pub fn note(&mut self, source: Addr, reason: u8) {
        self.sampled.note(source, reason);
        let prefixes = LEVEL_PREFIXES[family_index(source.family())];
        for (level, prefix) in self.levels.iter_mut().zip(prefixes) {
            let Ok(net) = Net::new(source.masked(prefix), prefix) else { continue };
            let mut seen = 1;
            if !level.contains_key(&net) && level.len() == CANDIDATES {
                // The newcomer takes the place, and the count, of the one seen least.
                let least = level.iter().min_by_key(|(_, candidate)| candidate.seen);
                let Some((least, count)) = least.map(|(net, one)| (*net, one.seen)) else {
                    continue;
                };
                level.remove(&least);
                seen += count;
            }
            let reasons = BTreeMap::new();
            let candidate =
                level.entry(net).or_insert(Candidate { seen: seen - 1, reason, reasons });
            candidate.seen += 1;
            candidate.reason = reason;
            *candidate.reasons.entry(reason).or_default() += 1;
        }
    }

    /// Takes the kernel's sums as they are at `at`. Called about once a second.
    pub fn take(&mut self, at: Duration, sketch: &Sketch) {
        // Counters that went back are new ones.
        if self
            .sums
            .back()
            .is_some_and(|(_, last)| last.total > sketch.total || last.seed != sketch.seed)
        {
            self.sums.clear();
            self.seconds.clear();
        }
        self.sampled.settle(at);
        if self.seconds.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= SECOND) {
            if self.seconds.len() == SECONDS {
                self.seconds.pop_front();
            }
            self.seconds.push_back((at, Box::new(*sketch)));
        }
        let due = self.sums.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= STEP);
        if due {
            self.sums.push_back((at, Box::new(*sketch)));
            // Half of what was seen in each step is forgotten, so that who has gone quiet leaves.
            for level in &mut self.levels {
                for candidate in level.values_mut() {
                    candidate.seen /= 2;
                    candidate.reasons.values_mut().for_each(|seen| *seen = seen.div_ceil(2));
                }
            }
        }
        while self.sums.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW) {
            self.sums.pop_front();
        }
        self.now = Some((at, Box::new(*sketch)));
    }

    /// Returns at most `limit` networks, the loudest within `window` first, which counts from the last sums that were
    /// taken and is a minute at most. A flood that has just begun is not in the sums yet: then those are named that have
    /// a large part of the samples of that time. Where sources are so many that none stands out it is nobody. To be
    /// asked while the flood goes on: when it is over, the few frames that come after it are most of the samples.
    #[must_use]
    pub fn named(&self, window: Duration, limit: usize) -> Vec<Talker> {
        let Some(((at, now), then)) = self.now.as_ref().zip(self.sum_before(window)) else {
            return Vec::new();
        };
        let mut named = self.between(now, then, limit);
        if named.is_empty() {
            named = self.sampled.named(*at, window, now.total.saturating_sub(then.total));
        }
        named.truncate(limit);
        named
    }

    /// Shares the refused frames of a network out by reason, as the samples of it do of late. Each reason that was
    /// sampled has one at least.
    #[must_use]
    pub fn reasons(&self, net: &Net, frames: u64) -> Vec<(u8, u64)> {
        let candidate = self.levels.iter().find_map(|level| level.get(net));
        let Some(candidate) = candidate else { return Vec::new() };
        let all = u128::from(candidate.reasons.values().sum::<u64>().max(1));
        let share = |(reason, seen): (&u8, &u64)| {
            let share = u128::from(frames) * u128::from(*seen) / all;
            (*reason, u64::try_from(share).unwrap_or(frames).max(1))
        };
        candidate.reasons.iter().map(share).collect()
    }

    /// Returns the newest sum that is as old as `window`, else the oldest that is remembered.
    fn sum_before(&self, window: Duration) -> Option<&Sketch> {
        let (at, _) = self.now.as_ref()?;
        let old = |(then, _): &&(Duration, Box<Sketch>)| at.saturating_sub(*then) >= window;
        let seconds = self.seconds.iter().rev().find(old);
        let known = seconds.or_else(|| self.sums.iter().rev().find(old)).or(self.sums.front());
        known.map(|(_, then)| &**then)
    }

    /// Returns the networks that were refused most over the window, at most `limit` of each level, the
    /// loudest first. One that owes all of its count to an address or network inside it is left out.
    #[must_use]
    pub fn loudest(&self, limit: usize) -> Vec<Talker> {
        let sums = self.now.as_ref().zip(self.sums.front());
        sums.map_or_else(Vec::new, |((_, now), (_, then))| self.between(now, then, limit))
    }

    /// The same between two sums.
    fn between(&self, now: &Sketch, then: &Sketch, limit: usize) -> Vec<Talker> {
        let counted = now.total.saturating_sub(then.total) / SKETCHED;
        let error = counted.saturating_mul(SKETCHED) * 272 / 100 / SKETCH_CELLS as u64;
        let mut told: Vec<Talker> = Vec::new();
        for (level, candidates) in self.levels.iter().enumerate() {
            let mut talkers: Vec<Talker> = candidates
                .iter()
                .map(|(net, candidate)| {
                    let frames = frames(now, then, level, net);
                    let error = error + 2 * frames.saturating_mul(SKETCHED).isqrt();
                    Talker { net: *net, frames, error, reason: candidate.reason }
                })
                .filter(|talker| talker.frames > talker.error)
                .collect();
            talkers.sort_by_key(|talker| std::cmp::Reverse((talker.frames, talker.net)));
            talkers.truncate(limit);
            let is_more = |talker: &Talker| {
                let inside = told.iter().filter(|inner| talker.net.covers(&inner.net));
                let most = inside.map(|inner| inner.frames).max().unwrap_or(0);
                // Both numbers are estimates: a tenth more is not yet more.
                talker.frames > most + most / 10 + error
            };
            let more: Vec<Talker> = talkers.into_iter().filter(is_more).collect();
            told.extend(more);
        }
        told.sort_by_key(|talker| std::cmp::Reverse(talker.frames));
        told
    }
}

/// Returns how many refused frames of a network the sketch counted between two sums, at most.
fn frames(now: &Sketch, then: &Sketch, level: usize, net: &Net) -> u64 {
    let cells = sketch_cells(&net.addr(), net.prefix(), now.seed);
    let rows = now.cells[level].iter().zip(&then.cells[level]).zip(cells);
    let counts = rows.map(|((now, then), cell)| now[cell].wrapping_sub(then[cell]));
    u64::from(counts.min().unwrap_or(0)) * SKETCHED
}

/// Returns the source of a sample; none for a family that there is not.
#[must_use]
pub fn source(family: u8, octets: [u8; 16]) -> Option<Addr> {
    let family = [Family::V4, Family::V6].into_iter().find(|known| *known as u8 == family)?;
    let [high, low] = [&octets[..8], &octets[8..]]
        .map(|half| u64::from_be_bytes(half.try_into().expect("invariant: half of sixteen")));
    Some(Addr::from_words(family, [high, low]))
}

#[cfg(test)]
mod tests;
