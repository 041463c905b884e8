//! A host that lives for weeks, with day and night, weekends, noise and bad weather: nothing is told until
//! something happens.

use super::super::samples::{net, settings};
use super::super::*;
use super::Dice;

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;

/// A host at work.
struct Host {
    watch: Watch,
    dice: Dice,
    now: Sample,
    /// The load of each quarter of an hour strays by this part.
    weather: f64,
    alerts: Vec<Alert>,
}

/// What comes besides the usual, a second.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    refused: f64,
    connections: f64,
    failed: f64,
}

impl Host {
    fn new(seed: u64) -> Self {
        let now = Sample {
            told: Some(Told::default()),
            ..Sample::new(Duration::ZERO, Timestamp::UNIX_EPOCH)
        };
        let watch = Watch::new(settings());
        Self { watch, dice: Dice(seed), now, weather: 1.0, alerts: Vec::new() }
    }

    /// How busy the world is at a moment: from 0.05 at night to 1 by day, half of that at the weekend.
    fn load(&self) -> f64 {
        let second = self.now.wall.as_second();
        let hour = rate_of(second.rem_euclid(DAY).unsigned_abs()) / 3_600.0;
        let wave = (0.5 - 0.5 * (hour / 24.0 * core::f64::consts::TAU).cos()).powi(2);
        let weekend = (second.div_euclid(DAY) + 3) % 7 >= 5;
        (0.05 + 0.95 * wave) * if weekend { 0.5 } else { 1.0 }
    }

    fn number(&mut self, mean: f64) -> u64 {
        // Twelve uniforms are close to a normal number, which is close to a Poisson one where the mean is high.
        if mean < 12.0 {
            return self.dice.poisson(mean);
        }
        let normal = (0..12).map(|_| self.dice.unit()).sum::<f64>() - 6.0;
        whole((mean + mean.sqrt() * normal).max(0.0))
    }

    /// Lets time pass in steps of `step`, with something besides the usual.
    fn pass(&mut self, time: Duration, step: Duration, extra: Extra) {
        let until = self.now.at + time;
        let mut second = self.now.wall.as_second();
        while self.now.at < until {
            self.now.at += step;
            self.now.wall += step;
            let each = step.as_secs_f64();
            let new_second = self.now.wall.as_second() != second;
            second = self.now.wall.as_second();
            if second % 900 == 0 && new_second {
                self.weather = 0.8 + 0.4 * self.dice.unit();
            }
            let load = self.load() * self.weather;
            // Strangers knock at any hour: ten a second, and a few more by day.
            let refused = self.number((10.0 + 30.0 * load + extra.refused) * each);
            self.now.refused += refused;
            let mut told = self.now.told.unwrap_or_default();
            self.now.completed.clear();
            for (entry, share) in (0..).zip([0.6, 0.3, 0.09, 0.01]) {
                let more = if entry == 3 { extra.connections } else { 0.0 };
                let count = self.number((40.0 * load * share + more) * each);
                if count > 0 {
                    self.now.completed.push((net(entry), count));
                }
                self.now.admitted += count;
                told.completed += count;
            }
            told.failed_logins += self.number((0.02 * load + extra.failed) * each);
            self.now.told = Some(told);
            self.now.sources = [None; SOURCE_WINDOWS];
            self.now.loud = None;
            if new_second {
                let sources = [2.0, 5.0, 30.0].map(|mean| Some(self.number(mean * (0.5 + load))));
                self.now.sources = sources;
                self.now.loud =
                    Some(vec![(net(900), self.number(60.0)), (net(901), self.number(90.0 * load))]);
            }
            let alerts = self.watch.take(&self.now);
            self.alerts.extend(alerts);
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Where nothing happens time passes in longer steps.
const LONG: Duration = Duration::from_secs(2);

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

#[test]
fn a_week_with_day_and_night_gives_no_alert_and_a_flood_hidden_in_the_next_is_found_within_a_second()
 {
    let mut host = Host::new(0x5a11_7907);
    host.pass(seconds(WEEK), LONG, Extra::default());
    assert_eq!(host.alerts, [], "the first week");
    host.pass(seconds(2 * DAY + 9 * 3_600), LONG, Extra::default());
    host.pass(seconds(60), TICK, Extra::default());
    assert_eq!(host.alerts, [], "the second one");
    let begun = host.now.at;
    host.pass(seconds(5), TICK, Extra { refused: 400.0, ..Extra::default() });
    let [alert] = &host.alerts[..] else { panic!("one flood: {:?}", host.alerts) };
    assert_eq!((alert.class, alert.stage), (Class::Refused, Stage::Opened));
    let took = alert.at.saturating_sub(begun);
    assert!(took <= SECOND, "{took:?} after it began");
    // It goes on by night, where so much would have been found by what is usual by day, too.
    host.pass(seconds(120), TICK, Extra::default());
    host.pass(seconds(12 * 3_600), LONG, Extra::default());
    host.alerts.clear();
    // Slower than any noise of a second, by night.
    host.pass(seconds(1_800), SECOND, Extra { refused: 25.0, ..Extra::default() });
    assert!(host.alerts.iter().any(|alert| alert.class == Class::Refused), "{:?}", host.alerts);
}

#[test]
fn a_stolen_login_and_a_driven_client_are_found_in_a_busy_host() {
    let mut host = Host::new(7);
    host.pass(seconds(3 * DAY), LONG, Extra::default());
    assert_eq!(host.alerts, []);
    host.pass(seconds(60), SECOND, Extra { connections: 30.0, ..Extra::default() });
    let [alert] = &host.alerts[..] else { panic!("{:?}", host.alerts) };
    assert_eq!((alert.class, alert.net), (Class::Entry, Some(net(3))));
    host.pass(seconds(3_600), SECOND, Extra::default());
    host.alerts.clear();
    host.pass(seconds(900), SECOND, Extra { failed: 1.0, ..Extra::default() });
    assert!(host.alerts.iter().any(|alert| alert.class == Class::Logins), "{:?}", host.alerts);
}
