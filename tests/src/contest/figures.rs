//! Figures out of what was measured: percentiles, medians, ratios. Pure.

use std::time::Duration;

use serde::Serialize;

/// What one load came to in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Round {
    /// Operations that ended in the window, a second.
    pub per_second: f64,
    /// How long half of the operations took at most, milliseconds.
    pub p50_ms: f64,
    /// The same of 99 in 100.
    pub p99_ms: f64,
    /// The same of 999 in 1000.
    pub p999_ms: f64,
    /// CPU time of the server in the window for each operation, microseconds.
    pub cpu_us: f64,
    /// Operations that failed, in the warm-up too.
    pub errors: f64,
    /// The share of the sessions that used a ticket.
    pub resumed: f64,
    /// Flushes of the spool for each message; none where the server does not say.
    pub flushes: Option<f64>,
    /// Messages a second from the first submission until the last was at the next hop.
    pub delivered_per_second: Option<f64>,
}

impl Round {
    /// Returns the round of `took`, the durations of all operations that ended within `window`.
    pub fn of(mut took: Vec<Duration>, window: Duration, cpu: Duration) -> Self {
        took.sort_unstable();
        let count = f64::from(u32::try_from(took.len()).unwrap_or(u32::MAX));
        let ms = |per_mille| percentile(&took, per_mille).as_secs_f64() * 1e3;
        Self {
            per_second: count / window.as_secs_f64(),
            p50_ms: ms(500),
            p99_ms: ms(990),
            p999_ms: ms(999),
            cpu_us: cpu.as_secs_f64() * 1e6 / count.max(1.0),
            ..Self::default()
        }
    }

    /// Returns the median of each figure by itself, and the sum of the errors.
    pub fn median_of(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure));
        let of_some = |figure: fn(&Self) -> Option<f64>| {
            let figures: Vec<f64> = rounds.iter().filter_map(figure).collect();
            (!figures.is_empty()).then(|| median(figures.into_iter()))
        };
        Self {
            per_second: of(|round| round.per_second),
            p50_ms: of(|round| round.p50_ms),
            p99_ms: of(|round| round.p99_ms),
            p999_ms: of(|round| round.p999_ms),
            cpu_us: of(|round| round.cpu_us),
            errors: rounds.iter().map(|round| round.errors).sum(),
            resumed: of(|round| round.resumed),
            flushes: of_some(|round| round.flushes),
            delivered_per_second: of_some(|round| round.delivered_per_second),
        }
    }
}

/// Returns the least of the sorted durations that `per_mille` of them do not exceed (the nearest rank); zero if
/// there are none.
pub fn percentile(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Returns the middle one, or the mean of the middle two; zero if there are none.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let half = figures.len() / 2;
    match figures.len() {
        0 => 0.0,
        length if length % 2 == 1 => figures[half],
        _ => f64::midpoint(figures[half - 1], figures[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        for (sorted, per_mille, wanted_ms) in [
            (&hundred[..], 500, 50),
            (&hundred[..], 990, 99),
            (&hundred[..], 999, 100),
            (&hundred[..1], 500, 1),
            (&hundred[..3], 500, 2),
            (&hundred[..0], 999, 0),
        ] {
            let found = percentile(sorted, per_mille);
            assert_eq!(found, Duration::from_millis(wanted_ms), "{} {per_mille}", sorted.len());
        }
    }

    #[test]
    fn a_median_is_the_middle() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median(std::iter::empty()).abs() < 1e-9);
    }

    #[test]
    fn a_round_counts_by_the_second_and_rounds_keep_their_errors() {
        let took = [4, 1, 3, 2].map(Duration::from_millis).to_vec();
        let round = Round::of(took, Duration::from_secs(2), Duration::from_micros(400));
        assert!((round.per_second - 2.0).abs() < 1e-9);
        assert!((round.p50_ms - 2.0).abs() < 1e-9);
        assert!((round.cpu_us - 100.0).abs() < 1e-9);
        let failed = Round { errors: 2.0, flushes: Some(0.5), ..round.clone() };
        let median = Round::median_of(&[round.clone(), failed, round]);
        assert!((median.errors - 2.0).abs() < 1e-9);
        assert_eq!(median.flushes, Some(0.5));
        assert_eq!(median.delivered_per_second, None);
    }
}
