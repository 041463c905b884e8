//! Numbers over the last minutes, one a second.

use std::collections::VecDeque;

/// How many are kept: five minutes, more than a line of a wide terminal shows.
pub const KEPT: usize = 300;

/// A count that grows, as a rate over time.
#[derive(Debug, Default)]
pub struct Series {
    before: Option<(i64, u64)>,
    rates: VecDeque<u64>,
}

impl Series {
    /// Takes the count at a time, milliseconds of any clock. A count that went back began anew, and a time
    /// that did says nothing.
    pub fn take(&mut self, at_ms: i64, count: u64) {
        let before = self.before.replace((at_ms, count));
        let Some((then_ms, then)) = before else { return };
        let Ok(passed_ms) = u64::try_from(at_ms - then_ms) else { return };
        if passed_ms == 0 || count < then {
            return;
        }
        let rate = (count - then).saturating_mul(1000) / passed_ms;
        if self.rates.len() == KEPT {
            self.rates.pop_front();
        }
        self.rates.push_back(rate);
    }

    /// Returns the latest rate, a second; 0 before there is one.
    pub fn now(&self) -> u64 {
        self.rates.back().copied().unwrap_or(0)
    }

    /// Returns the highest rate that is kept.
    pub fn peak(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or(0)
    }

    /// Returns the last `width` rates, oldest first.
    pub fn last(&self, width: usize) -> Vec<u64> {
        self.rates.iter().skip(self.rates.len().saturating_sub(width)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_count_is_a_rate_and_one_that_begins_anew_is_none() {
        let mut series = Series::default();
        for (at, count) in [(0, 100), (1000, 150), (1500, 250), (2500, 3), (3500, 10), (3500, 99)] {
            series.take(at, count);
        }
        assert_eq!(series.last(9), [50, 200, 7]);
        assert_eq!((series.now(), series.peak()), (7, 200));
        assert_eq!(series.last(2), [200, 7]);
    }

    #[test]
    fn no_more_than_five_minutes_are_kept() {
        let mut series = Series::default();
        for second in 0..1000_u32 {
            series.take(i64::from(second) * 1000, u64::from(second) * 2);
        }
        assert_eq!(series.last(usize::MAX), [2; KEPT]);
    }
}
