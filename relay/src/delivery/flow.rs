//! How fast a route hands messages on: so many per time, evenly but for a burst of one second.
//!
//! A next hop that asks for less slows it down to half, and again, to a sixteenth at the least;
//! messages that are taken bring the configured rate back.

use std::time::{Duration, Instant};

use crate::config::Rate;

/// How much of a rate may be used at once: hops that limit a rate mostly count by the second.
const BURST: Duration = Duration::from_secs(1);

/// The parts of a rate: it is slowed down to one and quickened by one.
const PARTS: u32 = 16;

/// The flow of one route: a bucket of tokens, kept as the moment when it is full again.
#[derive(Clone, Debug)]
pub struct Flow {
    rate: Rate,
    /// How much of the rate is used, in parts.
    speed: u32,
    full_at: Instant,
}

impl Flow {
    /// Returns a flow that may begin with a burst.
    #[must_use]
    pub const fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, speed: PARTS, full_at: now }
    }

    /// Returns when the next message may go, without taking its turn.
    #[must_use]
    pub fn next(&self, now: Instant) -> Instant {
        self.next_behind(now, 0)
    }

    /// Returns when a message may go that has so many others before it, without taking a turn.
    #[must_use]
    pub fn next_behind(&self, now: Instant, ahead: u32) -> Instant {
        let slack = BURST.saturating_sub(self.interval());
        let full_at = self.full_at.max(now) + self.interval().saturating_mul(ahead);
        now.max(full_at.checked_sub(slack).unwrap_or(now))
    }

    /// Takes the next turn and returns when it comes.
    pub fn take(&mut self, now: Instant) -> Instant {
        let next = self.next(now);
        self.full_at = self.full_at.max(now) + self.interval();
        next
    }

    /// Slows down: the next hop asked for less.
    pub fn slow(&mut self) {
        self.speed = (self.speed / 2).max(1);
    }

    /// Quickens a little: a message was taken.
    pub fn quicken(&mut self) {
        self.speed = (self.speed + 1).min(PARTS);
    }

    /// Returns the rate as it is now, messages a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.interval().as_secs_f64().recip()
    }

    /// Returns the time between two messages.
    fn interval(&self) -> Duration {
        self.rate.per * PARTS / (self.rate.count * self.speed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(count: u32, per: u64) -> Rate {
        Rate { count, per: Duration::from_secs(per) }
    }

    /// Returns when the first messages may go, in milliseconds from the start.
    fn turns(flow: &mut Flow, start: Instant, count: usize) -> Vec<u128> {
        (0..count).map(|_| (flow.take(start) - start).as_millis()).collect()
    }

    #[test]
    fn a_second_goes_at_once_and_the_rest_evenly() {
        let start = Instant::now();
        let rows: [(&str, Rate, &[u128]); 3] = [
            ("by the second", rate(4, 1), &[0, 0, 0, 0, 250, 500, 750, 1000]),
            ("by the minute", rate(60, 60), &[0, 1000, 2000]),
            ("slow", rate(1, 3600), &[0, 3_600_000, 7_200_000]),
        ];
        for (row, rate, expected) in rows {
            let mut flow = Flow::new(rate, start);
            assert_eq!(turns(&mut flow, start, expected.len()), expected, "{row}");
        }
    }

    #[test]
    fn it_slows_down_by_halves_and_comes_back_bit_by_bit() {
        let start = Instant::now();
        let mut flow = Flow::new(rate(16, 1), start);
        let speeds: Vec<_> = (0..6)
            .map(|_| {
                flow.slow();
                flow.per_second().round()
            })
            .collect();
        assert_eq!(speeds, [8.0, 4.0, 2.0, 1.0, 1.0, 1.0]);
        (0..100).for_each(|_| flow.quicken());
        assert!((flow.per_second() - 16.0).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_two_of_it(
            count in 1..=50_u32,
            waits in prop::collection::vec(0..400_u64, 1..200),
        ) {
            let start = Instant::now();
            let mut flow = Flow::new(rate(count, 1), start);
            let mut now = start;
            let mut turns = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                let next = flow.next(now);
                prop_assert_eq!(flow.take(now), next);
                turns.push(next);
            }
            for first in &turns {
                let within = turns.iter().filter(|t| *t >= first && **t < *first + SECOND).count();
                prop_assert!(within <= 2 * count as usize, "{within} of {count}");
            }
        }
    }
}
