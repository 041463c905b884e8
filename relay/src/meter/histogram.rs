//! Times by buckets: a few atomic counters, so that no thread waits for another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds for what a client or a disk waits for, seconds.
pub const SHORT: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// Bounds for the way of a message, seconds: from a tenth of one to a day.
pub const LONG: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// How many times lie below each of some bounds, and their sum.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, included, rising, in seconds.
    bounds: &'static [f64],
    /// One more than bounds: the last is for what lies above all of them.
    buckets: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

/// What a histogram holds at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Each bound in seconds, and how many times are no longer.
    pub buckets: Vec<(f64, u64)>,
    /// How many times there are.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
}

impl Histogram {
    /// Returns an empty one with these bounds, rising, in seconds.
    pub fn of(bounds: &'static [f64]) -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, buckets, sum_ns: AtomicU64::new(0) }
    }

    /// Adds a time.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let place = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Returns what it holds now.
    pub fn snapshot(&self) -> Snapshot {
        let mut count = 0;
        let mut totals = self.buckets.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let buckets = self.bounds.iter().copied().zip(&mut totals).collect();
        let count = totals.next().unwrap_or_default();
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed));
        Snapshot { buckets, count, sum_seconds: sum.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_in_every_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::of(&[0.5, 1.0]);
        for ms in [500, 501, 1000, 1001] {
            histogram.observe(Duration::from_millis(ms));
        }
        let Snapshot { buckets, count, sum_seconds } = histogram.snapshot();
        assert_eq!(buckets, [(0.5, 1), (1.0, 3)]);
        assert_eq!(count, 4);
        assert!((sum_seconds - 3.002).abs() < 1e-9, "{sum_seconds}");
    }

    #[test]
    fn bounds_rise() {
        for bounds in [SHORT, LONG] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
