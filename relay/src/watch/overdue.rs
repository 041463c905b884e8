//! Attempts whose handshake is overdue, within a second.
//!
//! An attempt that is [`PATIENCE`] old should have had its handshake. So of the attempts between the start of the
//! window and so long ago, at most as many are missing as handshakes came since that start: if every handshake takes
//! less than that, none is, however the load rises and falls. Handshakes of younger attempts count against the
//! missing ones, so what is found is too little rather than too much.

use std::collections::VecDeque;
use std::time::Duration;

use super::TICK;
use super::pace::{Reading, WINDOWS, rate};

/// How long a handshake may take: a round trip to the other side of the world, one tick until the relay tells it, and
/// one until it is looked at.
pub const PATIENCE: Duration = Duration::from_millis(600);

/// How much earlier than it should a tick may come: what is as old but for that is old enough, or it would wait for one
/// tick more.
const EARLY: Duration = Duration::from_millis(50);

/// A longer pause of the sampler, or of the relay that tells, begins anew: who accepted nothing for a while is no
/// forger's doing.
pub const PAUSE: Duration = TICK.saturating_mul(3);

/// The counts that are kept: those of a window, one each tick, and of some ticks that came early.
const KEPT: usize = 16;

/// What was counted up to a moment.
#[derive(Clone, Copy, Debug)]
struct Count {
    at: Duration,
    attempts: u64,
    handshakes: u64,
}

impl Count {
    /// Returns the attempts that no handshake followed so far; less than none is none.
    const fn missing(&self) -> u64 {
        self.attempts.saturating_sub(self.handshakes)
    }

    /// Returns how many more attempts than handshakes there were since an earlier count; fewer is none.
    const fn since(&self, earlier: &Self) -> u64 {
        (self.attempts - earlier.attempts).saturating_sub(self.handshakes - earlier.handshakes)
    }
}

/// The counts of the last second.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    counts: VecDeque<Count>,
}

impl Overdue {
    /// Takes both counts, and returns the attempts and the handshakes that stand against each other; none until some
    /// are old enough.
    pub fn take(
        &mut self,
        at: Duration,
        attempts: u64,
        handshakes: u64,
    ) -> Option<(Reading, u64, u64)> {
        if let Some(last) = self.counts.back()
            && (at.saturating_sub(last.at) > PAUSE
                || attempts < last.attempts
                || handshakes < last.handshakes)
        {
            self.restart();
        }
        let since_last = self.counts.back().map_or(TICK, |last| at.saturating_sub(last.at));
        if since_last < TICK / 2 {
            return None;
        }
        let now = Count { at, attempts, handshakes };
        self.counts.push_back(now);
        while self.counts.len() > KEPT
            || self.counts.front().is_some_and(|first| at.saturating_sub(first.at) > WINDOWS[0])
        {
            self.counts.pop_front();
        }
        let start = *self.counts.front()?;
        let old = |count: &&Count| at.saturating_sub(count.at) + EARLY >= PATIENCE;
        let mut due = self.counts.iter().rev().filter(old);
        let (newest, before) = (due.next()?, due.next()?);
        let due = newest.attempts - start.attempts;
        let came = handshakes - start.handshakes;
        let span = newest.at.saturating_sub(before.at).max(TICK);
        let least = WINDOWS[0].saturating_sub(PATIENCE);
        let in_all = newest.at.saturating_sub(start.at).max(least);
        let per_second = rate(due.saturating_sub(came), in_all);
        let reading = Reading {
            at,
            count: now.missing(),
            count_before: start.missing(),
            per_second,
            per_second_now: rate(newest.since(before), span),
            // As if nothing were on its way.
            at_most: per_second.max(rate(now.since(&start), WINDOWS[0])),
            since_last,
            adds_up: true,
        };
        Some((reading, due, came))
    }

    /// Forgets every count.
    pub fn restart(&mut self) {
        self.counts.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_load_whatever_is_overdue_while_every_handshake_comes_in_time(
            load in prop::collection::vec((0..200_u64, 0..6_usize), 1..80),
        ) {
            let mut overdue = Overdue::default();
            let (mut attempts, mut handshakes) = (0, 0);
            let mut way = VecDeque::from([0_u64; 6]);
            for (tick, (new, takes)) in (0_u32..).zip(load) {
                attempts += new;
                way[takes] += new;
                handshakes += way.pop_front().expect("six ticks are under way");
                way.push_back(0);
                if let Some((reading, ..)) = overdue.take(TICK * tick, attempts, handshakes) {
                    prop_assert!(reading.per_second < f64::EPSILON, "{reading:?}");
                }
            }
        }
    }

    /// Takes a tick in which nothing came, and returns the rate of what is overdue.
    fn calm(overdue: &mut Overdue, tick: u32) -> u64 {
        let found = overdue.take(TICK * tick, 0, 0);
        found.map_or(0, |(reading, ..)| super::super::whole(reading.per_second))
    }

    #[test]
    fn what_no_handshake_follows_is_overdue_when_its_patience_is_over() {
        let mut overdue = Overdue::default();
        (0..=20).for_each(|tick| assert_eq!(calm(&mut overdue, tick), 0));
        let flood = |tick: u32| u64::from(tick - 20) * 50;
        let found: Vec<u64> = (21..35)
            .filter_map(|tick| overdue.take(TICK * tick, flood(tick), 0))
            .map(|(reading, ..)| super::super::whole(reading.per_second))
            .collect();
        assert_eq!(found, [0, 0, 0, 0, 0, 0, 125, 250, 375, 500, 500, 500, 500, 500]);
    }

    #[test]
    fn a_tick_that_comes_a_little_early_waits_for_no_other() {
        let mut overdue = Overdue::default();
        let late = |tick: u32| Duration::from_millis(if tick.is_multiple_of(2) { 3 } else { 0 });
        let flood = |tick: u32| u64::from(tick.saturating_sub(20)) * 50;
        let mut found = (0..35).filter_map(|tick| {
            let at = TICK * tick + late(tick);
            let (reading, ..) = overdue.take(at, flood(tick), 0)?;
            (reading.per_second > 0.0).then_some(tick)
        });
        assert_eq!(found.next(), Some(27), "the first attempts are due");
    }

    #[test]
    fn the_rate_of_now_is_of_attempts_that_no_handshake_followed() {
        let mut overdue = Overdue::default();
        // Besides 300 a tick, 100 that are answered two ticks later.
        let answered = |tick: u32| u64::from(tick.saturating_sub(2)) * 100;
        let mut found = None;
        for tick in 0..=20_u32 {
            found = overdue.take(TICK * tick, u64::from(tick) * 400, answered(tick));
        }
        let (reading, ..) = found.unwrap();
        assert_eq!([reading.per_second_now, reading.at_most].map(super::super::whole), [3_000; 2]);
    }

    #[test]
    fn a_pause_and_counts_that_began_anew_begin_anew() {
        for (at, attempts) in [(TICK * 21 + PAUSE, 9_000), (TICK * 21, 10)] {
            let mut overdue = Overdue::default();
            (0..20).for_each(|tick| assert_eq!(calm(&mut overdue, tick), 0));
            overdue.take(TICK * 20, 500, 500);
            assert!(overdue.take(at, attempts, 500).is_none(), "{at:?}");
            assert_eq!(overdue.counts.len(), 1);
        }
    }
}
