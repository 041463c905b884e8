use proptest::prelude::*;

use super::samples::world::Dice;
use super::samples::{accustomed, settings, tick};
use super::*;

/// Feeds a series of counts per tick to a watch and keeps every alert.
struct Replay {
    watch: Watch,
    at: u32,
    count: u64,
    alerts: Vec<Alert>,
}

impl Replay {
    fn new() -> Self {
        let mut replay =
            Self { watch: Watch::new(settings()), at: 0, count: 0, alerts: Vec::new() };
        replay.tick(0);
        replay
    }

    fn tick(&mut self, count: u64) {
        self.at += 1;
        self.count += count;
        let (at, wall) = tick(self.at);
        let alerts = self.watch.take(&Sample { refused: self.count, ..Sample::new(at, wall) });
        self.alerts.extend(alerts);
    }

    fn ticks(&mut self, ticks: u64, count: u64) -> &mut Self {
        for _ in 0..ticks {
            self.tick(count);
        }
        self
    }

    fn stages(&self) -> Vec<Stage> {
        self.alerts.iter().map(|alert| alert.stage).collect()
    }
}

#[test]
fn the_first_spike_ever_is_reported_within_half_a_second() {
    let mut replay = Replay::new();
    replay.ticks(5, 100);
    assert_eq!(replay.stages(), [Stage::Opened]);
    let alert = replay.alerts[0];
    assert_eq!((alert.count, alert.usual), (1000, 0));
    assert!(alert.at <= TICK * 5, "{alert:?}");
}

#[test]
fn a_spike_of_twice_the_floor_is_reported_within_a_second() {
    let mut replay = Replay::new();
    replay.ticks(6_000, 0).ticks(8, 10);
    assert_eq!(replay.stages(), [Stage::Opened]);
}

#[test]
fn a_spike_tells_its_total_peak_and_duration_when_it_closes() {
    let mut replay = Replay::new();
    replay.ticks(50, 100).ticks(400, 0);
    assert_eq!(replay.stages(), [Stage::Opened, Stage::Closed]);
    let closed = replay.alerts[1];
    assert_eq!((closed.count, closed.total), (1000, 5000));
    // Five seconds of flood, less the ticks before the opening, more the second that the window
    // needs to forget it.
    assert!((4..=6).contains(&closed.lasted.as_secs()), "{closed:?}");
    assert!(closed.at >= Duration::from_secs(35), "quiet lasts thirty seconds: {closed:?}");
}

#[test]
fn a_spike_that_grows_is_told_again_at_twice_and_at_ten_times_only() {
    let mut replay = Replay::new();
    replay.ticks(50, 100);
    for count in [150, 190, 210, 250, 400, 900, 1_100, 5_000, 200, 1_500] {
        replay.ticks(50, count);
    }
    assert_eq!(replay.stages(), [Stage::Opened, Stage::Grew(2), Stage::Grew(10)]);
}

#[test]
fn a_jump_to_ten_times_is_told_once() {
    let mut replay = Replay::new();
    replay.ticks(50, 20).tick(2_500);
    assert_eq!(replay.stages(), [Stage::Opened, Stage::Grew(10)]);
}

#[test]
fn a_flood_that_lasts_an_hour_stays_one_open_spike_and_teaches_nothing() {
    let mut replay = Replay::new();
    replay.ticks(600, 1).ticks(36_000, 500).ticks(400, 1);
    assert_eq!(replay.stages(), [Stage::Opened, Stage::Closed]);
    assert_eq!(replay.alerts[1].usual, 10);
    replay.ticks(20, 500);
    assert_eq!(replay.alerts.last().map(|alert| alert.stage), Some(Stage::Opened), "the next one");
}

#[test]
fn a_rate_that_dips_for_less_than_quiet_is_one_spike() {
    let mut replay = Replay::new();
    for _ in 0..10 {
        replay.ticks(20, 100).ticks(280, 0);
    }
    assert_eq!(replay.stages(), [Stage::Opened]);
    let open: Vec<Alert> = replay.watch.open().collect();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].class, open[0].count), (Class::Refused, 1000));
    assert_eq!(open[0].total, 20_000);
}

#[test]
fn one_tick_above_the_threshold_opens_nothing_if_the_next_two_are_below() {
    let spikes = settings();
    let bounds = usual::Bounds::new(0.0, 100.0);
    let mut spike = Spike::default();
    let reading = |at: u32, per_second: f64| pace::Reading {
        at: TICK * at,
        count: 0,
        count_before: 0,
        per_second,
        per_second_now: per_second,
        at_most: per_second,
        since_last: TICK,
        adds_up: true,
    };
    for (at, rate) in (0..).zip([150.0, 0.0, 0.0, 150.0, 0.0, 0.0, 150.0]) {
        assert_eq!(spike.take(0, &reading(at, rate), bounds, spikes.quiet), None);
    }
    assert_eq!(spike.take(0, &reading(8, 0.0), bounds, spikes.quiet), None);
    let change = spike.take(0, &reading(9, 150.0), bounds, spikes.quiet);
    assert_eq!(change.map(|change| change.stage), Some(Stage::Opened), "two of the last three");
}

#[test]
fn a_day_with_day_and_night_and_its_noise_gives_no_alert() {
    let mut replay = Replay::new();
    let mut dice = Dice(0x5a11_7907);
    for tick in 0..864_000u32 {
        let hour = f64::from(tick) / 36_000.0;
        // From 20 a second at night to 400 by day: far above the floor, which is 50.
        let wave = (0.5 - 0.5 * (hour / 24.0 * core::f64::consts::TAU).cos()).powi(2);
        replay.tick(dice.poisson(2.0 + 38.0 * wave));
    }
    assert_eq!(replay.alerts, []);
}

#[test]
fn a_load_that_rises_by_two_fifths_at_once_is_no_spike_at_any_tick() {
    for seed in 1..=20 {
        let (mut dice, watch) = (Dice(seed), accustomed(36.0));
        let mut replay = Replay { watch, ..Replay::new() };
        for _ in 0..9_000 {
            replay.tick(dice.poisson(5.2));
        }
        assert_eq!(replay.alerts, [], "seed {seed}");
    }
}

#[test]
fn a_flood_by_day_is_found_above_the_day() {
    let mut replay = Replay::new();
    let mut dice = Dice(7);
    for _ in 0..36_000 {
        replay.tick(dice.poisson(40.0));
    }
    assert_eq!(replay.alerts.len(), 1, "400 a second at the start of the world is above the floor");
    // To who knows the day it is none.
    let mut replay = Replay { watch: accustomed(400.0), ..Replay::new() };
    for _ in 0..36_000 {
        replay.tick(dice.poisson(40.0));
    }
    assert_eq!(replay.alerts, []);
    replay.ticks(10, 100);
    assert_eq!(replay.stages(), [Stage::Opened]);
    assert!((300..=400).contains(&replay.alerts[0].usual), "{:?}", replay.alerts);
}

#[test]
fn counters_that_begin_anew_say_nothing() {
    let mut replay = Replay::new();
    replay.ticks(20, 5);
    replay.count = 0;
    replay.ticks(20, 5);
    assert_eq!(replay.alerts, []);
}

#[test]
fn the_memory_of_alerts_is_bounded() {
    let mut replay = Replay::new();
    for _ in 0..50 {
        replay.ticks(20, 100).ticks(320, 0);
    }
    assert_eq!(replay.alerts.len(), 100);
    assert_eq!(replay.watch.recent().count(), RECENT_ALERTS);
    assert_eq!(replay.watch.recent().last(), replay.alerts.last());
}

proptest! {
    #[test]
    fn the_same_samples_give_the_same_alerts(
        steps in prop::collection::vec((0u64..5_000, 0u64..2_000), 0..400),
    ) {
        let run = || {
            let mut watch = Watch::new(settings());
            let (mut at, mut count) = (Duration::ZERO, 0);
            let mut alerts = Vec::new();
            for (gained, millis) in &steps {
                at += Duration::from_millis(*millis);
                count += gained;
                let wall = Timestamp::UNIX_EPOCH + at;
                alerts.extend(watch.take(&Sample { refused: count, ..Sample::new(at, wall) }));
            }
            alerts
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn alerts_come_in_order_and_never_count_more_than_came(
        steps in prop::collection::vec((0u64..300, 1u64..100), 1..60),
    ) {
        let mut replay = Replay::new();
        for (count, ticks) in steps {
            replay.ticks(ticks, count);
        }
        let mut open = false;
        let mut told = 1;
        for alert in &replay.alerts {
            match alert.stage {
                Stage::Opened => {
                    prop_assert!(!open);
                    prop_assert!(alert.count > 50, "nothing opens below the floor");
                    told = 1;
                }
                Stage::Grew(times) => {
                    prop_assert!(open && times > told);
                    told = times;
                }
                Stage::Closed => prop_assert!(open),
            }
            open = alert.stage != Stage::Closed;
            prop_assert!(alert.total <= replay.count);
        }
        prop_assert_eq!(open, replay.watch.open().next().is_some());
    }

    #[test]
    fn a_rate_below_the_floor_is_never_a_spike(
        counts in prop::collection::vec(0u64..=5, 1..600),
    ) {
        let mut replay = Replay::new();
        for count in counts {
            replay.tick(count);
        }
        prop_assert_eq!(replay.alerts, vec![]);
    }
}

mod classes;
mod days;
mod weeks;
