//! Turns a counter into rates: how many in the last second, ten seconds, minute, quarter of an hour.

use std::collections::VecDeque;
use std::time::Duration;

/// The windows that rates are taken over, the shortest first. A flood shows in the first at once; what is
/// slow enough to hide there shows in a later one.
pub const WINDOWS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(15 * 60),
];

/// The counts kept of a window.
const KEPT: usize = 16;
/// The counts of a window lie at least such a part of it apart: a little less than a tick of the first.
const STEPS: u32 = 12;

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
    /// The rate that it may have been at most: more than `per_second` where that leaves out what is not certain.
    pub at_most: f64,
    /// The time since the last reading.
    pub since_last: Duration,
    /// Whether what came in a window is what came in the parts of it: different sources may be the same in each part.
    pub adds_up: bool,
}

/// The counts of one window.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    counts: VecDeque<(Duration, u64)>,
    last: f64,
}

impl Pace {
    /// Returns the pace of a window of [`WINDOWS`].
    pub fn new(window: usize) -> Self {
        Self { window: WINDOWS[window], counts: VecDeque::with_capacity(KEPT), last: 0.0 }
    }

    /// Takes a count and returns the rate, about twelve times a window; none for the first count, for one that
    /// is not later than the last, and for one that went back. A window longer than a second has no rate before
    /// it is full: how fast it fills says nothing.
    pub fn take(&mut self, at: Duration, count: u64) -> Option<Reading> {
        let last = self.counts.back().copied();
        if last.is_some_and(|(before, _)| at <= before) {
            return None;
        }
        if last.is_some_and(|(_, before)| count < before) {
            self.restart();
        }
        let previous = self.counts.back().copied();
        let step = self.window / STEPS;
        if previous.is_some_and(|(before, _)| at.saturating_sub(before) < step) {
            return None;
        }
        // The oldest count kept is the youngest that is a whole window old, if one is.
        while self
            .counts
            .get(1)
            .is_some_and(|(second, _)| at.saturating_sub(*second) >= self.window)
            || self.counts.len() == KEPT
        {
            self.counts.pop_front();
        }
        let oldest = self.counts.front().copied();
        self.counts.push_back((at, count));
        let ((start, count_before), (tick, count_last)) = oldest.zip(previous)?;
        let span = at.saturating_sub(start);
        if self.window > WINDOWS[0] && span + step < self.window {
            return None;
        }
        // A second that is not full yet is still divided by all of it: the rate of one that has hardly begun
        // would be mostly noise.
        let since_last = at.saturating_sub(tick);
        let per_second = rate(count - count_before, span.max(WINDOWS[0]));
        let reading = Reading {
            at,
            count,
            count_before,
            per_second,
            per_second_now: rate(count - count_last, since_last),
            at_most: per_second,
            since_last,
            adds_up: true,
        };
        self.last = per_second;
        Some(reading)
    }

    /// Forgets every count: the window fills anew.
    pub fn restart(&mut self) {
        self.counts.clear();
        self.last = 0.0;
    }

    /// Returns the last rate.
    pub fn last(&self) -> f64 {
        self.last
    }
}

/// Returns how many a second so many in some time are.
pub(super) fn rate(count: u64, over: Duration) -> f64 {
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
        let mut pace = Pace::new(0);
        let rates: Vec<_> = (0..30u64)
            .filter_map(|tick| pace.take(Duration::from_millis(tick * 100), tick * 7))
            .map(|reading| reading.per_second.round())
            .collect();
        assert!(near(rates[0], 7.0), "one tick of seven in a second that has hardly begun");
        assert!(rates[9..].iter().all(|rate| near(*rate, 70.0)), "{rates:?}");
    }

    #[test]
    fn a_longer_window_says_nothing_before_it_is_full_and_then_a_dozen_times_a_window() {
        for (window, length) in WINDOWS.iter().enumerate().skip(1) {
            let mut pace = Pace::new(window);
            let ticks = length.as_secs() * 10;
            let read = |tick: u64| (tick, pace.take(Duration::from_millis(tick * 100), tick * 7));
            let readings: Vec<_> = (0..3 * ticks).map(read).collect();
            let readings: Vec<_> =
                readings.into_iter().filter_map(|(tick, reading)| Some((tick, reading?))).collect();
            assert!(readings[0].0 >= ticks * 10 / 12, "{:?}", readings[0]);
            assert!((20..=28).contains(&readings.len()), "{}", readings.len());
            assert!(readings.iter().all(|(_, reading)| near(reading.per_second, 70.0)));
            assert!(pace.counts.len() <= KEPT);
        }
    }

    #[test]
    fn a_pause_of_the_sampler_spreads_the_count_over_the_pause() {
        let mut pace = Pace::new(0);
        assert_eq!(pace.take(Duration::from_secs(1), 0), None);
        let reading = pace.take(Duration::from_secs(11), 1000).unwrap();
        assert!(near(reading.per_second, 100.0));
    }

    #[test]
    fn a_count_that_went_back_or_a_time_that_stood_still_gives_no_rate() {
        let mut pace = Pace::new(0);
        assert_eq!(pace.take(Duration::from_secs(1), 500), None);
        assert_eq!(pace.take(Duration::from_secs(1), 600), None);
        assert_eq!(pace.take(Duration::from_secs(2), 10), None);
        assert!(near(pace.take(Duration::from_secs(3), 30).unwrap().per_second, 20.0));
    }
}
