//! Who is refused most: a bounded summary of the sources of refused frames, by address and by network.
//!
//! The kernel sums refused frames up in a count-min sketch, which nobody can push anything out of, and tells
//! a few of them as samples. The samples name candidates; the sketch says how many frames each candidate had
//! over the last minute, as an estimate: it counts one frame of sixteen, chosen by chance, and networks may share
//! a counter. The error that is given covers both for six networks in seven. Candidates are kept by the
//! Space-Saving rule (Metwally, Agrawal and El Abbadi 2005), so a flood of forged sources that come once each
//! pushes out others that come once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use relay_common::addr::{Addr, Family, Net};
use relay_common::table::{
    LEVEL_PREFIXES, LEVELS, SKETCH_CELLS, SKETCHED, Sketch, family_index, sketch_cells,
};

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

#[derive(Clone, Copy, Debug)]
struct Candidate {
    seen: u64,
    reason: u8,
    /// When sums were taken first after it was seen last; [`Duration::MAX`] if none were yet.
    last: Duration,
}

/// The summary.
#[derive(Debug, Default)]
pub struct Talkers {
    levels: [BTreeMap<Net, Candidate>; LEVELS],
    /// The sketch as it was at each step of the window, the oldest first.
    sums: VecDeque<(Duration, Box<Sketch>)>,
    /// The same, second by second.
    seconds: VecDeque<(Duration, Box<Sketch>)>,
    now: Option<(Duration, Box<Sketch>)>,
}

impl Talkers {
    /// Takes a sample of a refused frame.
    pub fn note(&mut self, source: Addr, reason: u8) {
        let prefixes = LEVEL_PREFIXES[family_index(source.family())];
        let last = Duration::MAX;
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
            let candidate = level.entry(net).or_insert(Candidate { seen: seen - 1, reason, last });
            candidate.seen += 1;
            (candidate.reason, candidate.last) = (reason, last);
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
        for candidate in self.levels.iter_mut().flat_map(BTreeMap::values_mut) {
            candidate.last = candidate.last.min(at);
        }
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
                }
            }
        }
        while self.sums.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW) {
            self.sums.pop_front();
        }
        self.now = Some((at, Box::new(*sketch)));
    }

    /// Returns at most `limit` networks, the loudest within `window` first, which counts from the last sums that were
    /// taken and is a minute at most. A flood that has just begun is not in the sums yet: then those are named that
    /// samples of that time name most, each with at least the frames that were told.
    #[must_use]
    pub fn named(&self, window: Duration, limit: usize) -> Vec<Talker> {
        let Some(((at, now), then)) = self.now.as_ref().zip(self.sum_before(window)) else {
            return Vec::new();
        };
        let mut named = self.between(now, then, limit);
        if named.is_empty() {
            let refused = now.total.saturating_sub(then.total);
            let of_late =
                |(_, candidate): &(&Net, &Candidate)| at.saturating_sub(candidate.last) <= window;
            let seen = |(net, candidate): (&Net, &Candidate)| Talker {
                net: *net,
                frames: candidate.seen.max(1),
                error: refused.saturating_sub(candidate.seen),
                reason: candidate.reason,
            };
            named = self.levels[0].iter().filter(of_late).map(seen).collect();
            named.sort_by_key(|talker| std::cmp::Reverse((talker.frames, talker.net)));
        }
        named.truncate(limit);
        named
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
mod tests {
    use relay_common::table::NO_SKETCH;

    use super::*;

    /// A kernel that refuses frames: every eighth goes into the sketch, every hundredth is told.
    struct Kernel {
        sketch: Sketch,
        talkers: Talkers,
        at: Duration,
    }

    impl Kernel {
        fn new() -> Self {
            let sketch = Sketch { seed: 77, ..NO_SKETCH };
            let mut talkers = Talkers::default();
            talkers.take(Duration::ZERO, &sketch);
            Self { sketch, talkers, at: Duration::ZERO }
        }

        fn refuse(&mut self, source: Addr) {
            self.sketch.total += 1;
            if self.sketch.total.is_multiple_of(SKETCHED) {
                for (level, prefix) in
                    LEVEL_PREFIXES[family_index(source.family())].into_iter().enumerate()
                {
                    let cells = sketch_cells(&source.masked(prefix), prefix, self.sketch.seed);
                    for (row, cell) in cells.into_iter().enumerate() {
                        self.sketch.cells[level][row][cell] += 1;
                    }
                }
            }
            if self.sketch.total.is_multiple_of(101) {
                self.talkers.note(source, 6);
            }
        }

        fn tick(&mut self, seconds: u64) {
            self.at += Duration::from_secs(seconds);
            self.talkers.take(self.at, &self.sketch);
        }
    }

    /// Numbers that look random and are the same each time.
    fn random(state: &mut u64) -> u64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 32
    }

    fn net(text: &str, prefix: u8) -> Net {
        Net::new(text.parse::<std::net::IpAddr>().unwrap(), prefix).unwrap()
    }

    #[test]
    fn loud_sources_are_named_with_their_counts_among_a_million_that_come_once() {
        let mut kernel = Kernel::new();
        let mut state = 1;
        let loud = Addr::v4([203, 0, 113, 7]);
        let noisy = |n: u64| Addr::v4([198, 51, 100, n as u8]);
        let v6 = "2001:db8:7:9::1".parse::<std::net::Ipv6Addr>().unwrap();
        for n in 0..1_000_000u64 {
            kernel.refuse(Addr::v4((random(&mut state) as u32).to_be_bytes()));
            match n % 20 {
                0 => kernel.refuse(loud),
                1 => kernel.refuse(noisy(random(&mut state))),
                2 => kernel.refuse(Addr::from(v6)),
                _ => {}
            }
            if n % 100_000 == 0 {
                kernel.tick(1);
            }
        }
        kernel.tick(1);
        let told = kernel.talkers.loudest(5);
        let found = |net: Net| told.iter().find(|talker| talker.net == net).copied();
        for wanted in [net("203.0.113.7", 32), net("198.51.100.0", 24), net("2001:db8:7:9::", 64)] {
            let talker = found(wanted).unwrap_or_else(|| panic!("{wanted} is not in {told:?}"));
            assert!(talker.error < 5_000, "{talker:?}");
            let slack = talker.error + 2_500;
            assert!(talker.frames.abs_diff(50_000) <= slack, "{talker:?}");
        }
        assert!(found(net("203.0.113.0", 24)).is_none(), "its one address says it all");
        assert!(told.len() <= 8, "{told:?}");
    }

    #[test]
    fn who_has_gone_quiet_leaves_the_window() {
        let mut kernel = Kernel::new();
        let source = Addr::v4([203, 0, 113, 7]);
        (0..10_000).for_each(|_| kernel.refuse(source));
        kernel.tick(10);
        assert_eq!(kernel.talkers.loudest(5)[0].net, net("203.0.113.7", 32));
        (0..8).for_each(|_| kernel.tick(10));
        assert_eq!(kernel.talkers.loudest(5), []);
    }

    #[test]
    fn a_flood_that_has_just_begun_is_named_by_its_samples() {
        let mut kernel = Kernel::new();
        let source = Addr::v4([203, 0, 113, 7]);
        (0..3).for_each(|_| kernel.talkers.note(source, 6));
        kernel.talkers.note(Addr::v4([192, 0, 2, 1]), 6);
        assert_eq!(kernel.talkers.loudest(5), []);
        let named = kernel.talkers.named(WINDOW, 1);
        assert_eq!((named.len(), named[0].net), (1, net("203.0.113.7", 32)));
        assert!(named[0].frames >= 3, "{named:?}");
    }

    #[test]
    fn a_short_window_names_who_came_in_it_and_not_a_flood_that_ended_before() {
        let mut kernel = Kernel::new();
        let (old, new) = (Addr::v4([203, 0, 113, 7]), Addr::v4([198, 51, 100, 9]));
        for _ in 0..20 {
            (0..200).for_each(|_| kernel.refuse(old));
            kernel.tick(1);
        }
        (0..15).for_each(|_| kernel.tick(1));
        for _ in 0..10 {
            (0..60).for_each(|_| kernel.refuse(new));
            kernel.tick(1);
        }
        let second = Duration::from_secs;
        assert_eq!(kernel.talkers.loudest(1)[0].net, net("203.0.113.7", 32), "of the minute");
        let named = kernel.talkers.named(second(10), 5);
        assert_eq!(named.len(), 1, "{named:?}");
        assert_eq!(named[0].net, net("198.51.100.9", 32));
        assert!(named[0].frames <= 600 + 2 * SKETCHED, "{named:?}");
        // Too few for the sums: samples say it, of that time too.
        (0..30).for_each(|_| kernel.tick(1));
        kernel.talkers.note(new, 6);
        let named: Vec<Net> =
            kernel.talkers.named(second(1), 5).iter().map(|one| one.net).collect();
        assert_eq!(named, [net("198.51.100.9", 32)]);
        (0..90).for_each(|_| kernel.tick(1));
        assert_eq!(kernel.talkers.named(second(10), 5), [], "nobody");
    }

    #[test]
    fn counters_that_began_anew_are_no_huge_numbers() {
        let mut kernel = Kernel::new();
        (0..10_000).for_each(|_| kernel.refuse(Addr::v4([203, 0, 113, 7])));
        kernel.tick(5);
        let fresh = Kernel::new();
        kernel.talkers.take(Duration::from_secs(6), &fresh.sketch);
        assert_eq!(kernel.talkers.loudest(5), []);
    }
}
