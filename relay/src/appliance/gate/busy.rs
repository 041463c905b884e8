//! Who does something most of late: completes connections, fails to log in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use relay_common::addr::Net;

/// The addresses that are remembered of each step.
const ADDRESSES_MAX: usize = 128;
/// What is older is forgotten: the longest window of the watch, and the step that it begins in.
const KEPT: Duration = Duration::from_secs(1_000);
/// A step is as long as such a part of its age at most: a window begins within a step, and no more of it is doubtful.
const PART: u32 = 10;

/// How often an address did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doer {
    pub address: IpAddr,
    /// How often, at most.
    pub count: u64,
    /// By how much that may be too high: what another one did whose place it took, and what it did itself in the step
    /// in which the time that was asked for begins.
    pub error: u64,
}

/// Addresses and what they did, step by step: some 150 steps, and 1 MiB, at the most.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// The oldest first.
    steps: VecDeque<Step>,
}

/// What was told from one moment to another.
#[derive(Clone, Debug)]
struct Step {
    first: Duration,
    last: Duration,
    of: Summary,
}

/// Addresses by the Space-Saving rule (Metwally, Agrawal and El Abbadi 2005): a newcomer takes the place and the
/// number of the one that did it least. Two of them make one whose bounds hold as well (Agarwal et al. 2012).
#[derive(Clone, Debug, Default)]
struct Summary {
    /// Count, at most, and error.
    of: BTreeMap<IpAddr, (u64, u64)>,
    /// How often any other address did it, at most.
    others: u64,
}

impl Busy {
    /// Counts what an address did since the last time before `at`.
    pub fn add(&mut self, address: IpAddr, count: u64, at: Duration) {
        if let Some(step) = self.step(at) {
            step.of.add(address, count);
        }
    }

    /// Counts what was done since the last time before `at` by nobody knows whom: by none of those that were named
    /// for it.
    pub fn add_unnamed(&mut self, count: u64, at: Duration) {
        if count > 0
            && let Some(step) = self.step(at)
        {
            step.of.others = step.of.others.saturating_add(count);
        }
    }

    fn step(&mut self, at: Duration) -> Option<&mut Step> {
        if self.steps.back().is_none_or(|step| step.last < at) {
            self.steps.push_back(Step { first: at, last: at, of: Summary::default() });
            self.settle(at);
        }
        self.steps.back_mut()
    }

    /// Returns whether an address did it of late.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.steps.iter().any(|step| step.of.of.contains_key(&address))
    }

    /// Returns at most `limit` addresses inside a network, or of all, by what they did after a moment, or within
    /// [`KEPT`] if that is later: those first that certainly did it most, so that nobody is named first for what another
    /// did.
    pub fn top(&self, within: Option<Net>, after: Duration, limit: usize) -> Vec<Doer> {
        let asked = self.steps.iter().filter(|step| step.last > after);
        let parts = asked.map(|step| {
            let mut of = step.of.clone();
            if step.first <= after {
                // How much of it came after the moment nobody knows.
                of.of.values_mut().for_each(|(count, error)| *error = *count);
            }
            of
        });
        let inside = |address: IpAddr| within.is_none_or(|net| net.contains(address.into()));
        let Summary { of, .. } = Summary::joined(&parts.collect::<Vec<_>>());
        let doer = |(address, (count, error))| Doer { address, count, error };
        let mut top: Vec<_> =
            of.into_iter().filter(|(address, _)| inside(*address)).map(doer).collect();
        top.sort_by_key(|doer| {
            (Reverse(doer.count - doer.error), Reverse(doer.count), doer.address)
        });
        top.truncate(limit);
        top
    }

    /// Forgets what is old, and makes one step of two that are short for their age.
    fn settle(&mut self, now: Duration) {
        while self.steps.front().is_some_and(|step| now.saturating_sub(step.last) > KEPT) {
            self.steps.pop_front();
        }
        let mut place = 1;
        while let Some(newer) = self.steps.get(place) {
            let older = &self.steps[place - 1];
            let (first, last) = (older.first, newer.last);
            if last.saturating_sub(first) > now.saturating_sub(last) / PART {
                place += 1;
                continue;
            }
            let mut of = Summary::joined(&[older.of.clone(), newer.of.clone()]);
            of.bound();
            self.steps[place - 1] = Step { first, last, of };
            self.steps.remove(place);
        }
    }
}

impl Summary {
    fn add(&mut self, address: IpAddr, count: u64) {
        let mut before = 0;
        if !self.of.contains_key(&address) && self.of.len() >= ADDRESSES_MAX {
            let least = self.of.iter().min_by_key(|(_, (count, _))| *count);
            if let Some((least, count)) = least.map(|(address, (count, _))| (*address, *count)) {
                self.of.remove(&least);
                self.others = self.others.max(count);
                before = count;
            }
        }
        let held = self.of.entry(address).or_insert((before, before));
        held.0 = held.0.saturating_add(count);
    }

    /// Returns what some of them say together; an address that one of them does not name may be among its others.
    fn joined(parts: &[Self]) -> Self {
        let others = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.others));
        // Count, error, and the others of those that name it.
        let mut named: BTreeMap<IpAddr, (u64, u64, u64)> = BTreeMap::new();
        for part in parts {
            for (address, (count, error)) in &part.of {
                let sums = named.entry(*address).or_default();
                sums.0 = sums.0.saturating_add(*count);
                sums.1 = sums.1.saturating_add(*error);
                sums.2 = sums.2.saturating_add(part.others);
            }
        }
        let of = named.into_iter().map(|(address, (count, error, known))| {
            let unseen = others.saturating_sub(known);
            (address, (count.saturating_add(unseen), error.saturating_add(unseen)))
        });
        Self { of: of.collect(), others }
    }

    /// Keeps those of the highest counts.
    fn bound(&mut self) {
        if self.of.len() <= ADDRESSES_MAX {
            return;
        }
        let mut counts: Vec<_> = std::mem::take(&mut self.of).into_iter().collect();
        counts.sort_by_key(|(_, (count, _))| Reverse(*count));
        let dropped = counts.split_off(ADDRESSES_MAX);
        self.others = dropped.iter().map(|(_, (count, _))| *count).fold(self.others, u64::max);
        self.of = counts.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn ticks(number: u32) -> Duration {
        Duration::from_millis(100) * number
    }

    #[test]
    fn the_busiest_are_named_first_and_the_memory_of_them_is_bounded() {
        let mut busy = Busy::default();
        let at = Duration::from_secs(61);
        for number in 0..1_000 {
            busy.add(address(number), 1, at);
            busy.add(address(7), 1, at);
        }
        assert_eq!((busy.steps.len(), busy.steps[0].of.of.len()), (1, ADDRESSES_MAX));
        let first = Doer { address: address(7), count: 1_001, error: 0 };
        assert_eq!(busy.top(None, Duration::ZERO, 1), [first]);
        let net = Net::new(address(7), 32).unwrap();
        assert_eq!(busy.top(Some(net), Duration::ZERO, 5).len(), 1);
        busy.add(address(1), 1, at + KEPT + ticks(1));
        assert_eq!(busy.steps.len(), 1, "who is idle is forgotten");
        assert!(!busy.knows(address(7)));
    }

    #[test]
    fn a_newcomer_is_not_named_first_for_what_it_took_over() {
        let mut busy = Busy::default();
        let at = Duration::from_secs(61);
        (0..128).for_each(|number| busy.add(address(number), 50, at));
        busy.add(address(999), 1, at);
        let top = busy.top(None, Duration::ZERO, ADDRESSES_MAX);
        assert_eq!(top.last(), Some(&Doer { address: address(999), count: 51, error: 50 }));
        assert_eq!((top[0].count, top[0].error), (50, 0));
    }

    #[test]
    fn who_was_not_named_once_may_have_done_what_nobody_was_named_for() {
        let mut busy = Busy::default();
        busy.add(address(1), 40, ticks(1));
        busy.add_unnamed(9, ticks(1));
        busy.add(address(2), 30, ticks(2));
        let told = |number, count, error| Doer { address: address(number), count, error };
        assert_eq!(busy.top(None, Duration::ZERO, 5), [told(1, 40, 0), told(2, 39, 9)]);
    }

    #[test]
    fn only_what_came_after_the_moment_is_counted_and_what_may_have_come_before_it_is_the_error() {
        let mut busy = Busy::default();
        (1..=50).for_each(|tick| busy.add(address(1), 40, ticks(tick)));
        // It is over; twenty seconds later another one begins.
        (250..=253).for_each(|tick| busy.add(address(2), 30, ticks(tick)));
        let now = Doer { address: address(2), count: 120, error: 0 };
        assert_eq!(busy.top(None, ticks(243), 5), [now], "of a second");
        assert_eq!(busy.top(None, ticks(153), 5), [now], "of ten");
        (254..=900).for_each(|tick| busy.add(address(2), 30, ticks(tick)));
        let [first, ..] = busy.top(None, ticks(300), 5)[..] else { panic!("nobody") };
        let truly = 600 * 30;
        assert!((first.count - first.error..=first.count).contains(&truly), "{first:?}");
        assert!(first.error <= truly / 10, "{first:?}");
        assert!(busy.top(None, ticks(300), 5).len() == 1, "{:?}", busy.top(None, ticks(300), 5));
    }

    #[test]
    fn bounds_hold_and_memory_is_bounded_however_many_come_for_a_quarter_of_an_hour() {
        let mut busy = Busy::default();
        let (mut truly, mut number) = (0, 0_u32);
        for tick in 1..=9_000 {
            for _ in 0..20 {
                number = number.wrapping_add(1);
                busy.add(address(1_000 + number % 5_000), 1, ticks(tick));
            }
            busy.add(address(7), 2, ticks(tick));
            truly += 2;
        }
        assert!(busy.steps.len() <= 150, "{}", busy.steps.len());
        assert!(busy.steps.iter().all(|step| step.of.of.len() <= ADDRESSES_MAX));
        let [first, ..] = busy.top(None, Duration::ZERO, 1)[..] else { panic!("nobody") };
        assert_eq!(first.address, address(7));
        assert!((first.count - first.error..=first.count).contains(&truly), "{first:?}");
    }
}
