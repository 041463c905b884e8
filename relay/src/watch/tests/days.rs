//! Days that are all alike, and rates that stay: what comes every day is usual, also if the first days were told.

use super::super::samples::settings;
use super::super::samples::world::Dice;
use super::super::*;

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;
/// The time between two samples.
const STEP: Duration = Duration::from_secs(2);

/// A host of which the refused attempts are counted.
struct Host {
    watch: Watch,
    dice: Dice,
    now: Sample,
    alerts: Vec<Alert>,
}

impl Host {
    fn new(seed: u64) -> Self {
        let now = Sample::new(Duration::ZERO, Timestamp::UNIX_EPOCH);
        Self { watch: Watch::new(settings()), dice: Dice(seed), now, alerts: Vec::new() }
    }

    /// Lets seconds pass; `rate` is the rate at an hour of the day.
    fn pass(&mut self, seconds: u32, rate: impl Fn(f64) -> f64) -> &mut Self {
        for _ in 0..seconds / 2 {
            self.now.at += STEP;
            self.now.wall += STEP;
            let of_day = self.now.wall.as_second().rem_euclid(DAY.into());
            let hour = f64::from(u32::try_from(of_day).expect("a day is short")) / 3_600.0;
            self.now.refused += self.dice.poisson(rate(hour) * 2.0);
            self.alerts.extend(self.watch.take(&self.now));
        }
        self
    }

    /// Returns what was told since it was asked last: stage, and day and hour.
    fn told(&mut self) -> Vec<(Stage, u64, u64)> {
        let told = |alert: &Alert| {
            let hours = alert.at.as_secs() / 3_600;
            (alert.stage, hours / 24, hours % 24)
        };
        std::mem::take(&mut self.alerts).iter().map(told).collect()
    }
}

/// From `night` to `day` a second between two hours, and back at six in the evening.
fn working(night: f64, day: f64, from: f64, to: f64) -> impl Fn(f64) -> f64 {
    move |hour| {
        let risen = ((hour - from) / (to - from)).clamp(0.0, 1.0);
        if hour >= 18.0 { night } else { night + (day - night) * risen }
    }
}

#[test]
fn a_morning_that_rises_every_day_is_told_on_three_days_at_most() {
    for (night, day, from, to) in [(30.0, 200.0, 8.0, 9.0), (5.0, 700.0, 6.0, 9.0)] {
        let mut host = Host::new(1);
        host.pass(3 * DAY, working(night, day, from, to));
        assert!(host.told().iter().all(|(_, _, hour)| (6..=18).contains(hour)));
        host.pass(12 * DAY, working(night, day, from, to));
        assert_eq!(host.told(), [], "{night} to {day}");
    }
}

#[test]
fn a_rate_that_stays_is_usual_after_three_days_and_a_flood_above_it_is_told_before_and_after() {
    let mut host = Host::new(1);
    host.pass(DAY, |_| 400.0);
    assert_eq!(host.told(), [(Stage::Opened, 0, 0)]);
    host.pass(600, |_| 1_500.0);
    assert_eq!(host.told(), [(Stage::Grew(2), 1, 0)]);
    host.pass(8 * DAY, |_| 400.0);
    let told = host.told();
    assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), [Stage::Closed], "{told:?}");
    host.pass(600, |_| 1_500.0);
    assert_eq!(host.told().len(), 1);
    host.pass(600, |_| 400.0);
    assert!(host.told().iter().all(|told| told.0 == Stage::Closed));
    assert_eq!(host.watch.open().count(), 0);
}

#[test]
fn a_rate_that_stays_is_closed_by_a_floor_above_it() {
    let mut host = Host::new(1);
    host.pass(HOUR, |_| 400.0);
    assert_eq!(host.told(), [(Stage::Opened, 0, 0)]);
    host.watch.configure(config::Spikes { floor_per_second: 800, ..settings() });
    host.pass(120, |_| 400.0);
    assert_eq!(host.told(), [(Stage::Closed, 0, 1)]);
    host.pass(DAY, |_| 400.0);
    host.watch.configure(settings());
    host.pass(DAY, |_| 400.0);
    assert_eq!(host.told(), [], "what a day taught is kept");
}

#[test]
fn a_scan_of_the_night_is_over_when_the_usual_day_is_higher() {
    let mut host = Host::new(1);
    let usual = working(5.0, 700.0, 6.0, 9.0);
    host.pass(14 * DAY, &usual);
    host.told();
    host.pass(2 * HOUR, &usual);
    host.pass(5 * HOUR, |hour| usual(hour) + 60.0);
    host.pass(17 * HOUR, &usual);
    let told = host.told();
    let stages: Vec<_> = told.iter().map(|told| told.0).collect();
    assert_eq!(stages, [Stage::Opened, Stage::Closed], "{told:?}");
    assert!(told[1].2 <= 7, "{told:?}");
}

#[test]
fn a_flood_of_hours_is_one_alert_on_each_of_three_days() {
    let mut host = Host::new(1);
    let usual = working(5.0, 40.0, 6.0, 9.0);
    host.pass(8 * DAY, &usual);
    host.told();
    for day in 0..3 {
        host.pass(10 * HOUR, &usual);
        host.pass(6 * HOUR, |_| 5_000.0);
        host.pass(8 * HOUR, &usual);
        let stages: Vec<_> = host.told().iter().map(|told| told.0).collect();
        assert_eq!(stages, [Stage::Opened, Stage::Closed], "day {day}");
    }
}

#[test]
fn what_was_seen_on_three_days_is_known_after_a_restart() {
    let mut host = Host::new(1);
    let usual = working(30.0, 200.0, 8.0, 9.0);
    host.pass(3 * DAY, &usual);
    assert!(!host.told().is_empty());
    let learned = host.watch.usual();
    host.watch = Watch::new(settings());
    host.watch.recall(learned);
    host.pass(3 * DAY, &usual);
    assert_eq!(host.told(), []);
}
