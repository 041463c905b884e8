//! What is usual of a class: by the hour of the week. While an hour is not known yet, the same hour of other days and
//! the last minutes stand in for it. What was above all that on three days is usual too ([`super::high`]).

use std::time::Duration;

use jiff::Timestamp;

use super::high::High;
use super::pace::WINDOWS;

/// The hours of a week.
pub const HOURS: usize = 168;
const DAY_HOURS: usize = 24;
/// The seconds of an hour.
pub(super) const HOUR: i64 = 3600;
/// How long what is usual of late takes to follow a lasting change by two thirds: long enough that a minute
/// of unrest teaches it little, short enough to follow day and night.
const LATE_MEMORY: Duration = Duration::from_secs(15 * 60);
/// The same for an hour of the week: about the last three weeks count.
const HOUR_MEMORY: Duration = Duration::from_secs(3 * 3600);
/// How much of an hour must have been seen until it is known, seconds.
const KNOWN: f32 = 40.0 * 60.0;
/// How far a change may come early or late: what is usual of the hours within this time is usual now.
const EARLY: i64 = 15 * 60;
/// A rate strays by so much of itself from week to week, however calm one hour was.
const SWAY: f64 = 0.1;

/// Exponentially weighted mean and mean absolute deviation of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// The mean, a second.
    pub mean: f32,
    /// The mean deviation from it.
    pub deviation: f32,
    /// For how long they were learned, seconds; the memory at most.
    pub learned: f32,
}

/// One level for each window.
pub type Levels = [Level; WINDOWS.len()];

impl Level {
    /// Takes a rate that stood for `time`.
    pub fn learn(&mut self, per_second: f64, time: Duration, memory: Duration) {
        let first = self.learned <= 0.0;
        let learned = f64::from(self.learned) + time.as_secs_f64();
        let learned = learned.min(memory.as_secs_f64());
        // At the start each second counts alike, so that the mean is right at once, not after fifteen minutes
        // of climbing from zero.
        let weight = (time.as_secs_f64() / learned).clamp(0.0, 1.0);
        let (mean, deviation) = (f64::from(self.mean), f64::from(self.deviation));
        let stray = (per_second - mean).abs();
        self.mean = narrow(mean + weight * (per_second - mean));
        // The first rate is no deviation from the zero that stood there before.
        self.deviation = if first { 0.0 } else { narrow(deviation + weight * (stray - deviation)) };
        self.learned = narrow(learned);
    }

    /// Returns the rate in a window above which it is unusual.
    ///
    /// Two things make a rate stray, and both do at the same time. It sways: by a tenth of itself however calm one
    /// hour was, or by as much more than chance explains as was seen. And independent events at a rate of n a second
    /// stray by the root of n whatever was measured: a short calm must not make the watch nervous.
    fn threshold(&self, window: usize, times: f64) -> f64 {
        let (mean, deviation) = (f64::from(self.mean), f64::from(self.deviation));
        let variance = mean / WINDOWS[window].as_secs_f64();
        // The mean deviation of chance, squared, is so much of its variance.
        let explained = variance * core::f64::consts::FRAC_2_PI;
        let sway = (deviation * deviation - explained).max(0.0).sqrt().max(mean * SWAY);
        mean + times * (sway + variance.sqrt())
    }

    /// Returns whether every number can be.
    pub fn is_sound(&self) -> bool {
        [self.mean, self.deviation, self.learned].iter().all(|n| n.is_finite() && *n >= 0.0)
    }
}

/// The usual rate and the rate from which on it is unusual, a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub usual: f64,
    pub threshold: f64,
    /// The threshold if nothing were usual but what was learned below one. A rate above it is noted by the day.
    pub learned: f64,
}

impl Bounds {
    /// Returns bounds that owe nothing to what was noted by the day.
    pub const fn new(usual: f64, threshold: f64) -> Self {
        Self { usual, threshold, learned: threshold }
    }
}

/// What is usual of one class.
#[derive(Clone, Debug)]
pub(super) struct Usual {
    late: Levels,
    hours: Box<[Levels; HOURS]>,
    high: High,
}

impl Usual {
    /// Returns what is usual of a class of which nothing is known.
    pub fn new() -> Self {
        let hours = Box::new([Levels::default(); HOURS]);
        Self { late: Levels::default(), hours, high: High::default() }
    }

    /// Returns what stands for each hour of the week, Thursday 00:00 UTC first.
    pub fn hours(&self) -> &[Levels; HOURS] {
        &self.hours
    }

    /// Returns what was noted by the day.
    pub const fn high(&self) -> &High {
        &self.high
    }

    /// The same, to put back what was noted earlier.
    pub const fn high_mut(&mut self) -> &mut High {
        &mut self.high
    }

    /// Puts what was learned earlier in place. Numbers that cannot be are left out.
    pub fn restore(&mut self, hour: usize, levels: Levels) {
        if let Some(mine) = self.hours.get_mut(hour)
            && levels.iter().all(Level::is_sound)
        {
            let memory = HOUR_MEMORY.as_secs_f32();
            *mine = levels.map(|level| Level { learned: level.learned.min(memory), ..level });
        }
    }

    /// Returns what is usual at `wall` in a window, and from which rate on it is not. The rate is never less
    /// than `floor`; `times` is how many deviations make a spike.
    pub fn bounds(&self, window: usize, wall: Timestamp, floor: f64, times: f64) -> Bounds {
        let second = wall.as_second();
        let [early, hour, late] =
            [second - EARLY, second, second + EARLY].map(|second| second.div_euclid(HOUR));
        // Two of the three are one.
        let near = [hour, if early == hour { late } else { early }];
        let near = &near[..if near[0] == near[1] { 1 } else { 2 }];
        let mut bounds = Bounds::new(0.0, floor);
        let take = |bounds: &mut Bounds, level: &Level| {
            bounds.usual = bounds.usual.max(level.mean.into());
            bounds.threshold = bounds.threshold.max(level.threshold(window, times));
        };
        let mut all_known = true;
        for hour in near {
            let hour = of_week(*hour);
            if let Some(level) = self.known(hour, window) {
                take(&mut bounds, level);
                continue;
            }
            all_known = false;
            let of_other_days = (hour % DAY_HOURS..HOURS).step_by(DAY_HOURS);
            for level in of_other_days.filter_map(|hour| self.known(hour, window)) {
                take(&mut bounds, level);
            }
        }
        // A window that has learned nothing yet is as usual as the shorter ones say.
        let late = self.late[..=window].iter().rev().find(|level| level.learned > 0.0);
        if let Some(late) = late.filter(|_| !all_known) {
            take(&mut bounds, late);
        }
        bounds.learned = bounds.threshold;
        for level in near.iter().filter_map(|hour| self.high.level(window, *hour)) {
            take(&mut bounds, &level);
        }
        bounds
    }

    /// Returns what was learned of an hour of the week, if it was seen for most of its length.
    fn known(&self, hour: usize, window: usize) -> Option<&Level> {
        Some(&self.hours[hour][window]).filter(|level| level.learned >= KNOWN)
    }

    /// Takes a rate that stood in a window for `time` until `wall`.
    pub fn learn(&mut self, window: usize, wall: Timestamp, per_second: f64, time: Duration) {
        self.late[window].learn(per_second, time, LATE_MEMORY);
        let hour = of_week(wall.as_second().div_euclid(HOUR));
        self.hours[hour][window].learn(per_second, time, HOUR_MEMORY);
    }

    /// Notes a rate that is above what was learned.
    pub fn note(&mut self, window: usize, wall: Timestamp, per_second: f64, time: Duration) {
        self.high.note(window, wall.as_second().div_euclid(HOUR), per_second, time);
    }
}

/// Returns the hour of the week of an hour since the epoch.
fn of_week(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(168)).unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "rates need no more digits than f32 has")]
const fn narrow(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn nothing_learned_means_the_floor() {
        let bounds = Usual::new().bounds(0, at(0), 50.0, 8.0);
        assert_eq!(bounds, Bounds::new(0.0, 50.0));
    }

    #[test]
    fn a_steady_rate_is_the_mean_from_the_first_tick_on_in_every_window() {
        let mut usual = Usual::new();
        for _ in 0..100 {
            usual.learn(0, at(0), 400.0, TICK);
            for window in 0..WINDOWS.len() {
                let bounds = usual.bounds(window, at(0), 50.0, 8.0);
                assert!((bounds.usual - 400.0).abs() < 1e-3, "{bounds:?}");
            }
        }
        // 400 + 8 * (40 + 20), for it may sway by a tenth, and chance makes it stray by the root.
        assert!((usual.bounds(0, at(0), 50.0, 8.0).threshold - 880.0).abs() < 1e-2);
    }

    #[test]
    fn a_lasting_change_is_followed_by_two_thirds_in_fifteen_minutes() {
        let mut usual = Usual::new();
        (0..9_000).for_each(|_| usual.learn(0, at(0), 100.0, TICK));
        (0..9_000).for_each(|_| usual.learn(0, at(0), 200.0, TICK));
        assert!((160.0..167.0).contains(&usual.late[0].mean), "{:?}", usual.late);
    }

    #[test]
    fn an_hour_of_the_week_is_known_again_a_week_later_and_a_quarter_of_an_hour_early() {
        let mut usual = Usual::new();
        let (hour, week) = (3600, 168 * 3600);
        for second in 0..hour {
            usual.learn(0, at(second), 400.0, Duration::from_secs(1));
        }
        for second in hour..week {
            usual.learn(0, at(second), 10.0, Duration::from_secs(1));
        }
        let usually = |second| usual.bounds(0, at(week + second), 1.0, 6.0).usual.round();
        for (second, wanted) in
            [(-901, 10.0), (-899, 400.0), (0, 400.0), (hour, 400.0), (hour + 901, 10.0)]
        {
            assert!((usually(second) - wanted).abs() < 1e-9, "{second}: {}", usually(second));
        }
    }

    #[test]
    fn an_hour_that_is_not_known_is_as_usual_as_the_same_hour_of_other_days() {
        let mut usual = Usual::new();
        let day = 24 * HOUR;
        (0..HOUR).for_each(|second| usual.learn(0, at(second), 400.0, Duration::from_secs(1)));
        (HOUR..day).for_each(|second| usual.learn(0, at(second), 10.0, Duration::from_secs(1)));
        let usually = |second| usual.bounds(0, at(day + second), 1.0, 6.0).usual.round();
        for (second, wanted) in [(0, 400.0), (HOUR, 400.0), (HOUR + 901, 10.0)] {
            assert!((usually(second) - wanted).abs() < 1e-9, "{second}: {}", usually(second));
        }
        // A week later the hour itself is known, and the busier one of another day says nothing.
        (2 * day..2 * day + HOUR)
            .for_each(|second| usual.learn(0, at(second), 10.0, Duration::from_secs(1)));
        let known = usual.bounds(0, at(9 * day + HOUR / 2), 1.0, 6.0).usual.round();
        assert!((known - 10.0).abs() < 1e-9, "{known}");
    }

    #[test]
    fn what_cannot_be_is_not_restored() {
        let mut usual = Usual::new();
        let bad = Level { mean: f32::NAN, learned: 9_000.0, ..Level::default() };
        let long = Level { mean: 7.0, learned: 1e9, ..Level::default() };
        usual.restore(0, [bad; WINDOWS.len()]);
        usual.restore(1, [long; WINDOWS.len()]);
        usual.restore(HOURS, [long; WINDOWS.len()]);
        assert_eq!(usual.hours()[0], Levels::default());
        assert!((usual.hours()[1][2].learned - 10_800.0).abs() < 1e-3);
    }
}
