//! Finds spikes: samples of counters in, alerts out.
//!
//! The machine is pure: time comes with each [`Sample`], so a recorded series gives the same alerts on every run
//! ([`series`]). It decides nothing about sources and reads no clock. Classes of the whole host are compared with
//! what is usual in that hour of the week; networks, of which there are many, with the highest rates that each
//! of them had. What is above that is told, and usual itself when it was told on three days. Classes about listed entries count completed handshakes, since SYNs can be forged.

mod alert;
/// How many different sources there are.
pub mod distinct;
mod forged;
mod high;
mod lookout;
/// What is kept over a restart.
pub mod memory;
mod overdue;
mod pace;
mod profile;
#[cfg(test)]
pub mod samples;
/// Samples as lines of text.
pub mod series;
mod sources;
mod spike;
/// Who is refused most.
pub mod talkers;
mod usual;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use relay_common::addr::Net;

use crate::config;
use crate::event::spike::Class;

pub use self::alert::{Alert, Stage};
pub use self::pace::WINDOWS;

use self::distinct::SOURCE_WINDOWS;
use self::forged::Forged;
use self::lookout::{Lookout, Rules};
use self::profile::{Newcomers, Profiles};
use self::sources::Sources;
use self::spike::{Change, Spike};

/// The usual time between two samples.
pub const TICK: Duration = Duration::from_millis(100);

/// The alerts that [`Watch::recent`] remembers; the oldest leaves first.
pub const RECENT_ALERTS: usize = 64;

/// The listed entries whose profiles are kept; the one seen longest ago leaves first.
pub const ENTRIES_MAX: usize = 65_536;

/// The refused networks whose profiles are kept.
pub const PREFIXES_MAX: usize = 256;

/// How long after a spike of all refusals networks are measured again: they are by the last minute.
const AFTER_SPIKE: Duration = Duration::from_secs(75);

/// What was counted up to one moment. Counts are since some fixed moment, and may begin anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was counted, on a clock that never goes back; its start does not matter.
    pub at: Duration,
    /// The same on the wall clock, for the hour of the week.
    pub wall: Timestamp,
    /// Frames to guarded ports that were dropped, whatever the reason.
    pub refused: u64,
    /// Connection attempts of listed sources that the first door passed.
    pub admitted: u64,
    /// Attempts around the first door.
    pub bypassed: u64,
    /// Interfaces without the gate's program, added up over all samples.
    pub missing: u64,
    /// What the relay tells; none while none is attached.
    pub told: Option<Told>,
    /// At least how many different sources were refused in each window; none where that was not looked at.
    pub sources: [Option<u64>; SOURCE_WINDOWS],
    /// At least how many frames of the loudest networks were refused in the last minute; none where that was not
    /// looked at.
    pub loud: Option<Vec<(Net, u64)>>,
    /// The handshakes that sources of listed entries completed since the last sample, by entry.
    pub completed: Vec<(Net, u64)>,
}

impl Sample {
    /// Returns a sample of nothing.
    #[must_use]
    pub const fn new(at: Duration, wall: Timestamp) -> Self {
        Self {
            at,
            wall,
            refused: 0,
            admitted: 0,
            bypassed: 0,
            missing: 0,
            told: None,
            sources: [None; SOURCE_WINDOWS],
            loud: None,
            completed: Vec::new(),
        }
    }
}

/// What the relay counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Connections of listed sources that were accepted: completed handshakes.
    pub completed: u64,
    /// Failed logins.
    pub failed_logins: u64,
}

/// Watches every class.
#[derive(Debug)]
pub struct Watch {
    settings: config::Spikes,
    refused: Lookout,
    sources: Sources,
    forged: Forged,
    bypassed: Lookout,
    missing: Lookout,
    logins: Lookout,
    prefixes: Profiles,
    entries: Profiles,
    /// When a spike of all refusals was open last.
    flooded: Option<Duration>,
    /// The time of the last sample.
    last: Option<Duration>,
    recent: VecDeque<Alert>,
}

impl Watch {
    /// Returns a watch that knows nothing usual yet: until it does, the floors alone open a spike, so the first
    /// one ever is reported.
    #[must_use]
    pub fn new(settings: config::Spikes) -> Self {
        Self {
            settings,
            refused: Lookout::new(),
            sources: Sources::new(),
            forged: Forged::new(),
            bypassed: Lookout::new(),
            missing: Lookout::new(),
            logins: Lookout::new(),
            prefixes: Profiles::new(PREFIXES_MAX, Newcomers::Stand),
            entries: Profiles::new(ENTRIES_MAX, Newcomers::Learn),
            flooded: None,
            last: None,
            recent: VecDeque::with_capacity(RECENT_ALERTS),
        }
    }

    /// Takes other settings; what was learned and open spikes stay.
    pub fn configure(&mut self, settings: config::Spikes) {
        self.settings = settings;
    }

    /// Takes what was counted in one tick and returns the alerts that it causes: at most one a class, and a
    /// network.
    ///
    /// A sample that is not later than the one before is ignored. A count that went back (the
    /// counters began anew) starts its rate over and says nothing.
    pub fn take(&mut self, sample: &Sample) -> Vec<Alert> {
        if self.last.is_some_and(|last| sample.at <= last) {
            return Vec::new();
        }
        self.last = Some(sample.at);
        let mut alerts = Vec::new();
        let (at, wall) = (sample.at, sample.wall);
        let mut tell = |class, net, change: Option<Change>| {
            alerts.extend(change.map(|change| Alert::new(class, net, at, &change)));
        };
        let floor = |per_second: u64| rules(&self.settings, per_second);
        let spikes = &self.settings;
        let refused = floor(spikes.floor_per_second);
        tell(Class::Refused, None, self.refused.take(at, wall, sample.refused, refused));
        let sources = floor(spikes.sources_per_second);
        tell(Class::Sources, None, self.sources.take(sample, sources));
        let forged = floor(spikes.forged_per_second);
        tell(Class::Forged, None, self.forged.take(sample, forged));
        // One is enough.
        tell(Class::Bypass, None, self.bypassed.take(at, wall, sample.bypassed, floor(0)));
        tell(Class::Missing, None, self.missing.take(at, wall, sample.missing, floor(0)));
        let failed = sample.told.map(|told| told.failed_logins);
        let logins = floor(spikes.logins_per_second);
        let failed = failed.and_then(|failed| self.logins.take(at, wall, failed, logins));
        tell(Class::Logins, None, failed);
        let connections = floor(spikes.connections_per_second);
        for (net, change) in self.entries.add(at, wall, &sample.completed, connections) {
            tell(Class::Entry, Some(net), Some(change));
        }
        if self.refused.spike.is_open() {
            self.flooded = Some(at);
        }
        if let Some(loud) = &sample.loud {
            for (net, change) in self.prefixes.set(at, wall, &self.judged(at, loud), refused) {
                tell(Class::Prefix, Some(net), Some(change));
            }
        }
        for alert in &alerts {
            if self.recent.len() == RECENT_ALERTS {
                self.recent.pop_front();
            }
            self.recent.push_back(*alert);
        }
        alerts
    }

    /// Leaves networks out that a flood is told of already, unless their own spike is open.
    fn judged(&self, at: Duration, loud: &[(Net, u64)]) -> Vec<(Net, u64)> {
        let flooded = self.flooded.is_some_and(|last| at.saturating_sub(last) < AFTER_SPIKE);
        let open: Vec<Net> = self.prefixes.open().map(|(net, _)| net).collect();
        loud.iter().copied().filter(|(net, _)| !flooded || open.contains(net)).collect()
    }

    /// Returns the latest alerts, oldest first, at most [`RECENT_ALERTS`].
    pub fn recent(&self) -> impl Iterator<Item = &Alert> {
        self.recent.iter()
    }

    /// Returns how every open spike stands: since when (`at`), its peak so far and its total.
    pub fn open(&self) -> impl Iterator<Item = Alert> + '_ {
        let whole =
            self.lookouts().into_iter().filter_map(|(class, lookout)| match &lookout.spike {
                Spike::Calm(_) => None,
                Spike::Open(open) => Some((class, None, open.so_far())),
            });
        let prefixes = self.prefixes.open().map(|(net, change)| (Class::Prefix, Some(net), change));
        let entries = self.entries.open().map(|(net, change)| (Class::Entry, Some(net), change));
        let all = whole.chain(prefixes).chain(entries);
        all.map(|(class, net, change)| Alert::new(class, net, change.since, &change))
    }

    /// Returns how many attempts were refused in the last second.
    #[must_use]
    pub fn refused_per_second(&self) -> u64 {
        whole(self.refused.per_second())
    }

    fn lookouts(&self) -> [(Class, &Lookout); 6] {
        [
            (Class::Refused, &self.refused),
            (Class::Sources, &self.sources.lookout),
            (Class::Forged, self.forged.lookout()),
            (Class::Bypass, &self.bypassed),
            (Class::Missing, &self.missing),
            (Class::Logins, &self.logins),
        ]
    }
}

fn rules(settings: &config::Spikes, floor_per_second: u64) -> Rules {
    let floor = rate_of(floor_per_second);
    Rules { floor, deviations: settings.deviations, quiet: settings.quiet }
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
