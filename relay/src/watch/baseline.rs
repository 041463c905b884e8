//! The usual rate of a class and how far it strays.

use std::time::Duration;

use crate::config;

/// How long the baseline takes to follow a lasting change by two thirds: long enough that a minute
/// of unrest teaches it little, short enough to follow day and night.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// Exponentially weighted mean and mean absolute deviation of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Baseline {
    mean: f64,
    deviation: f64,
    learned: Duration,
}

impl Baseline {
    /// Returns the usual rate, a second; zero before anything was learned.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Returns the rate above which an attempt is unusual: the mean and `deviations` times the
    /// deviation, and never less than the floor.
    pub fn threshold(&self, settings: &config::Spikes) -> f64 {
        // Independent events at a rate of n a second stray by the root of n whatever was measured:
        // a short calm must not make the watch nervous.
        let deviation = self.deviation.max(self.mean.sqrt());
        let unusual = self.mean + settings.deviations * deviation;
        unusual.max(super::rate_of(settings.floor_per_second))
    }

    /// Takes a rate that stood for `time`.
    pub fn learn(&mut self, per_second: f64, time: Duration) {
        self.learned = (self.learned + time).min(MEMORY);
        // At the start each second counts alike, so that the mean is right at once, not after
        // fifteen minutes of climbing from zero.
        let weight = (time.as_secs_f64() / self.learned.as_secs_f64()).clamp(0.0, 1.0);
        let stray = (per_second - self.mean).abs();
        let first = self.learned == time;
        self.mean += weight * (per_second - self.mean);
        // The first rate is no deviation from the zero that stood there before.
        self.deviation =
            if first { 0.0 } else { self.deviation + weight * (stray - self.deviation) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn settings() -> config::Spikes {
        config::Spikes { floor_per_second: 50, deviations: 8.0, quiet: Duration::from_secs(30) }
    }

    #[test]
    fn nothing_learned_means_the_floor() {
        assert!((Baseline::default().threshold(&settings()) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_steady_rate_is_the_mean_from_the_first_tick_on() {
        let mut baseline = Baseline::default();
        for _ in 0..100 {
            baseline.learn(400.0, TICK);
            assert!((baseline.mean() - 400.0).abs() < 1e-6);
        }
        // 400 + 8 * 20
        assert!((baseline.threshold(&settings()) - 560.0).abs() < 1e-3);
    }

    #[test]
    fn a_lasting_change_is_followed_by_two_thirds_in_fifteen_minutes() {
        let mut baseline = Baseline::default();
        for _ in 0..9_000 {
            baseline.learn(100.0, TICK);
        }
        for _ in 0..9_000 {
            baseline.learn(200.0, TICK);
        }
        assert!((160.0..167.0).contains(&baseline.mean()), "{baseline:?}");
    }
}
