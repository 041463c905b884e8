//! Turns a counter into a rate: how many in the last second.

use std::collections::VecDeque;
use std::time::Duration;

use super::whole;

/// The window that a rate is taken over.
const WINDOW: Duration = Duration::from_secs(1);

/// The counts kept: one window of ticks and some to spare, so that early ticks do not shorten it.
const KEPT: usize = 16;

/// A rate and what it was made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// When the newest count was read.
    pub at: Duration,
    /// The newest count.
    pub count: u64,
    /// The count at the start of the window.
    pub count_before: u64,
    /// The rate over the window.
    pub per_second: f64,
    /// The rate since the last count: what a flood that has just begun really has.
    pub per_second_now: f64,
    /// The time since the last count.
    pub since_last: Duration,
}

/// The counts of the last second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    counts: VecDeque<(Duration, u64)>,
    last: f64,
}

impl Pace {
    /// Takes a count and returns the rate; none for the first count, for one that is not later than
    /// the last, and for one that went back.
    pub fn take(&mut self, at: Duration, count: u64) -> Option<Reading> {
        let last = self.counts.back().copied();
        if last.is_some_and(|(before, _)| at <= before) {
            return None;
        }
        if last.is_some_and(|(_, before)| count < before) {
            self.counts.clear();
            self.last = 0.0;
        }
        // The oldest count kept is the youngest that is a whole window old, if one is.
        while self.counts.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW)
            || self.counts.len() == KEPT
        {
            self.counts.pop_front();
        }
        let oldest = self.counts.front().copied();
        let previous = self.counts.back().copied();
        self.counts.push_back((at, count));
        let ((start, count_before), (tick, count_last)) = oldest.zip(previous)?;
        // A window that is not full yet is still divided by a whole second: the rate of a second
        // that has hardly begun would be mostly noise.
        let window = at.saturating_sub(start).max(WINDOW);
        let since_last = at.saturating_sub(tick);
        let reading = Reading {
            at,
            count,
            count_before,
            per_second: rate(count - count_before, window),
            per_second_now: rate(count - count_last, since_last),
            since_last,
        };
        self.last = reading.per_second;
        Some(reading)
    }

    /// Returns the last rate.
    pub fn last(&self) -> u64 {
        whole(self.last)
    }
}

fn rate(count: u64, over: Duration) -> f64 {
    super::rate_of(count) / over.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(rate: f64, wanted: f64) -> bool {
        (rate - wanted).abs() < 1e-9
    }

    #[test]
    fn a_steady_count_has_its_rate_after_one_window() {
        let mut pace = Pace::default();
        let rates: Vec<_> = (0..30u64)
            .filter_map(|tick| pace.take(Duration::from_millis(tick * 100), tick * 7))
            .map(|reading| reading.per_second.round())
            .collect();
        assert!(near(rates[0], 7.0), "one tick of seven in a second that has hardly begun");
        assert!(rates[9..].iter().all(|rate| near(*rate, 70.0)), "{rates:?}");
    }

    #[test]
    fn a_pause_of_the_sampler_spreads_the_count_over_the_pause() {
        let mut pace = Pace::default();
        assert_eq!(pace.take(Duration::from_secs(1), 0), None);
        let reading = pace.take(Duration::from_secs(11), 1000).unwrap();
        assert!(near(reading.per_second, 100.0));
    }

    #[test]
    fn a_count_that_went_back_or_a_time_that_stood_still_gives_no_rate() {
        let mut pace = Pace::default();
        assert_eq!(pace.take(Duration::from_secs(1), 500), None);
        assert_eq!(pace.take(Duration::from_secs(1), 600), None);
        assert_eq!(pace.take(Duration::from_secs(2), 10), None);
        assert!(near(pace.take(Duration::from_secs(3), 30).unwrap().per_second, 20.0));
    }
}
