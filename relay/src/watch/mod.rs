//! Finds spikes: samples of the kernel's counters in, alerts out.
//!
//! The machine is pure: time comes with each [`Sample`], so a recorded series gives the same alerts
//! on every run. It decides nothing about sources and reads no clock. It knows one class so far,
//! attempts refused in total; further classes are further rows of [`WATCHED`] and of
//! [`Sample::counts`].

mod baseline;
/// Who is refused most.
pub mod talkers;
mod pace;
mod spike;

use std::collections::VecDeque;
use std::time::Duration;

use crate::config;
use crate::event::spike::Class;

use self::baseline::Baseline;
use self::pace::{Pace, Reading};
use self::spike::{Change, Spike};

/// The usual time between two samples.
pub const TICK: Duration = Duration::from_millis(100);

/// The alerts that [`Watch::recent`] remembers; the oldest leaves first.
pub const RECENT_ALERTS: usize = 64;

/// How late the baseline learns a rate.
const LATE: Duration = Duration::from_secs(1);

/// The rates that wait to be learned at most: more than a second of ticks.
const KEPT: usize = 16;

/// The classes that are watched, in the order of [`Sample::counts`].
pub const WATCHED: [Class; 1] = [Class::Refused];

/// The counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the counters were read, on a clock that never goes back; its start does not matter.
    pub at: Duration,
    /// The count of each class since some fixed moment, in the order of [`WATCHED`].
    pub counts: [u64; WATCHED.len()],
}

/// What an alert says about its spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It began.
    Opened,
    /// It grew to so many times the level that it settled at: 2, then 10.
    Grew(u32),
    /// It is over.
    Closed,
}

/// One thing worth telling an operator about a spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The class.
    pub class: Class,
    /// What happened.
    pub stage: Stage,
    /// When, on the clock of the samples.
    pub at: Duration,
    /// When the spike was noticed, on the same clock.
    pub since: Duration,
    /// Attempts a second: now, or at the peak if the spike is over.
    pub per_second: u64,
    /// What was usual before the spike, attempts a second.
    pub usual_per_second: u64,
    /// Attempts counted since the spike began.
    pub total: u64,
    /// How long the rate has stood above the closing level.
    pub lasted: Duration,
}

/// The rate, the baseline and the open spike of one class.
#[derive(Debug)]
struct Lookout {
    pace: Pace,
    baseline: Baseline,
    /// Rates of the last second that the baseline has not learned yet.
    unlearned: VecDeque<Reading>,
    spike: Spike,
}

/// Watches every class.
#[derive(Debug)]
pub struct Watch {
    settings: config::Spikes,
    lookouts: [Lookout; WATCHED.len()],
    recent: VecDeque<Alert>,
}

impl Watch {
    /// Returns a watch that knows no usual rate yet: until it does, `floor_per_second` alone opens a
    /// spike, so the first one ever is reported.
    #[must_use]
    pub fn new(settings: config::Spikes) -> Self {
        let lookouts = WATCHED.map(|_| Lookout {
            pace: Pace::default(),
            baseline: Baseline::default(),
            unlearned: VecDeque::new(),
            spike: Spike::default(),
        });
        Self { settings, lookouts, recent: VecDeque::with_capacity(RECENT_ALERTS) }
    }

    /// Takes other settings; what was learned and open spikes stay.
    pub fn configure(&mut self, settings: config::Spikes) {
        self.settings = settings;
    }

    /// Takes the counters of one tick and returns the alerts that they cause: at most one a class.
    ///
    /// A sample that is not later than the one before is ignored. A count that went back (the
    /// counters began anew) starts the rate over and says nothing.
    pub fn take(&mut self, sample: Sample) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for ((class, lookout), count) in
            WATCHED.into_iter().zip(&mut self.lookouts).zip(sample.counts)
        {
            let alert = lookout.take(sample.at, count, &self.settings);
            alerts.extend(alert.map(|change| change.alert(class, sample.at)));
        }
        for alert in &alerts {
            if self.recent.len() == RECENT_ALERTS {
                self.recent.pop_front();
            }
            self.recent.push_back(*alert);
        }
        alerts
    }

    /// Returns the latest alerts, oldest first, at most [`RECENT_ALERTS`].
    pub fn recent(&self) -> impl Iterator<Item = &Alert> {
        self.recent.iter()
    }

    /// Returns how every open spike stands: since when (`at`), its peak so far and its total.
    pub fn open(&self) -> impl Iterator<Item = Alert> + '_ {
        let stands = WATCHED.into_iter().zip(&self.lookouts);
        stands.filter_map(|(class, lookout)| match &lookout.spike {
            Spike::Calm { .. } => None,
            Spike::Open(open) => {
                let change = open.so_far();
                Some(change.alert(class, change.since))
            }
        })
    }

    /// Returns the rate of `class` over the last second, attempts a second.
    #[must_use]
    pub fn per_second(&self, class: Class) -> u64 {
        WATCHED
            .into_iter()
            .zip(&self.lookouts)
            .find(|(this, _)| *this == class)
            .map_or(0, |(_, lookout)| lookout.pace.last())
    }
}

impl Lookout {
    fn take(&mut self, at: Duration, count: u64, settings: &config::Spikes) -> Option<Change> {
        let reading = self.pace.take(at, count)?;
        let threshold = self.baseline.threshold(settings);
        let change = self.spike.take(&reading, self.baseline.mean(), threshold, settings.quiet);
        if self.spike.is_open() {
            self.unlearned.clear();
        } else {
            self.learn(reading, threshold);
        }
        change
    }

    /// The baseline is frozen while a spike is open, and blind to what stands above the threshold:
    /// a flood never teaches the watch that floods are usual. It learns a second late, so that the
    /// rates by which a flood climbs over the threshold are not learned either.
    fn learn(&mut self, reading: Reading, threshold: f64) {
        if reading.per_second <= threshold {
            self.unlearned.push_back(reading);
        }
        while let Some(oldest) = self.unlearned.front()
            && (reading.at.saturating_sub(oldest.at) >= LATE || self.unlearned.len() > KEPT)
        {
            self.baseline.learn(oldest.per_second, oldest.since_last);
            self.unlearned.pop_front();
        }
    }
}

impl Change {
    fn alert(self, class: Class, at: Duration) -> Alert {
        Alert {
            class,
            stage: self.stage,
            at,
            since: self.since,
            per_second: whole(self.per_second),
            usual_per_second: whole(self.usual),
            total: self.total,
            lasted: self.lasted,
        }
    }
}

/// Returns a count as the start of a rate.
#[expect(clippy::cast_precision_loss, reason = "a rate above 2^52 is no less a flood when rounded")]
const fn rate_of(count: u64) -> f64 {
    count as f64
}

/// Rounds a rate, which is never negative, to a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates and makes zero of NaN, so no rate can wrap"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

#[cfg(test)]
mod tests;
