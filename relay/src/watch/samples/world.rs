//! A host that lives for weeks, with day and night, weekends, noise and bad weather, as samples. The same seed gives
//! the same samples. The example `recorded-week` writes them as a record.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use relay_common::addr::Net;

use super::{SOURCE_WINDOWS, Sample, Told};

const DAY: i64 = 86_400;
/// How much longer the handshakes of each client take than those of the one before.
const ROUND_TRIP: Duration = Duration::from_millis(130);

/// A small generator with a seed, so that a week is the same week on every run.
#[derive(Clone, Debug)]
pub struct Dice(
    /// Where it stands; at first the seed, which is not 0.
    pub u64,
);

impl Dice {
    /// Returns a number from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bits = u32::try_from(self.0 >> 32).expect("32 bits are left");
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns a Poisson number (Knuth's product of uniforms); where `mean` is high a normal one, which is close to
    /// it.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean >= 12.0 {
            let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
            return rounded((mean + mean.sqrt() * normal).max(0.0));
        }
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers here are small, and none is negative"
)]
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

/// What comes besides the usual, a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra {
    /// Refused frames.
    pub refused: f64,
    /// Connections of the least busy entry, which is network 3.
    pub connections: f64,
    /// Failed logins.
    pub failed: f64,
}

/// A host at work.
#[derive(Debug)]
pub struct World {
    dice: Dice,
    /// What is counted now.
    pub now: Sample,
    /// Connections whose handshakes are not completed yet, and when they are.
    way: Vec<(Duration, Net, u64)>,
    /// The load of each quarter of an hour strays by this part.
    weather: f64,
}

impl World {
    /// Returns the host at the start of a week (Thursday, 00:00 UTC).
    pub fn new(seed: u64) -> Self {
        let now = Sample {
            told: Some(Told::default()),
            ..Sample::new(Duration::ZERO, Timestamp::UNIX_EPOCH)
        };
        Self { dice: Dice(seed), now, way: Vec::new(), weather: 1.0 }
    }

    /// How busy the world is at a moment: from 0.05 at night to 1 by day, half of that at the weekend.
    fn load(&self) -> f64 {
        let second = self.now.wall.as_second();
        let of_day = u32::try_from(second.rem_euclid(DAY)).expect("a day is short");
        let hour = f64::from(of_day) / 3_600.0;
        let wave = (0.5 - 0.5 * (hour / 24.0 * core::f64::consts::TAU).cos()).powi(2);
        let weekend = (second.div_euclid(DAY) + 3) % 7 >= 5;
        (0.05 + 0.95 * wave) * if weekend { 0.5 } else { 1.0 }
    }

    /// Lets `step` pass, with something besides the usual; [`World::now`] is the sample then.
    pub fn pass(&mut self, step: Duration, extra: Extra) {
        let second = self.now.wall.as_second();
        self.now.at += step;
        self.now.wall += step;
        let each = step.as_secs_f64();
        let new_second = self.now.wall.as_second() != second;
        if self.now.wall.as_second() % 900 == 0 && new_second {
            self.weather = 0.8 + 0.4 * self.dice.unit();
        }
        let load = self.load() * self.weather;
        // Strangers knock at any hour: ten a second, and a few more by day.
        self.now.refused += self.dice.poisson((10.0 + 30.0 * load + extra.refused) * each);
        let mut told = self.now.told.unwrap_or_default();
        self.now.completed.clear();
        for (entry, share) in (0..).zip([0.6, 0.3, 0.09, 0.01]) {
            let more = if entry == 3 { extra.connections } else { 0.0 };
            let count = self.dice.poisson((40.0 * load * share + more) * each);
            if count > 0 {
                // Some are farther away than others.
                self.way.push((self.now.at + ROUND_TRIP * entry, net(entry), count));
            }
            self.now.admitted += count;
        }
        let now = self.now.at;
        for (_, net, count) in self.way.extract_if(.., |(due, ..)| *due <= now) {
            self.now.completed.push((net, count));
            told.completed += count;
        }
        told.failed_logins += self.dice.poisson((0.02 * load + extra.failed) * each);
        self.now.told = Some(told);
        self.now.sources = [None; SOURCE_WINDOWS];
        self.now.loud = None;
        if new_second {
            let sources = [1.0, 2.0, 5.0, 30.0];
            self.now.sources = sources.map(|mean| Some(self.dice.poisson(mean * (0.5 + load))));
            let loud = [(900, 60.0), (901, 90.0 * load)];
            let loud = loud.map(|(of, mean)| (net(of), self.dice.poisson(mean)));
            self.now.loud = Some(loud.to_vec());
        }
    }
}

/// Returns the network of an address of 32 bits.
pub fn net(number: u32) -> Net {
    Net::new(IpAddr::from(number.to_be_bytes()), 32).expect("a host is a network")
}
