//! What the watch is given: the kernel's counters each tick, the sums by source each second and whenever many frames
//! are refused, what the relay tells.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use relay_common::addr::Net;
use relay_common::table::{Sample as Frame, Sketch};

use super::busy::Busy;
use super::handshakes::Handshakes;
use super::hearing::Hearing;
use super::keeper::Keeper;
use super::learned::Learned;
use super::reasons::{self, Reasons};
use super::spikes::Picture;
use super::telling::stands;
use super::unanswered::Unanswered;
use crate::config::Config;
use crate::event::spike::Class;
use crate::gate::clocks::Moment;
use crate::gate::{Counters, Queue};
use crate::journal::Journal;
use crate::net::tally::{Causes, Tally};
use crate::watch::distinct::{Distinct, SOURCE_WINDOWS};
use crate::watch::talkers::Talkers;
use crate::watch::{Sample, Stage, Told, WINDOWS, Watch};

/// The latest frames of a kind that are kept, for one of them to be shown: those of some ticks.
const FRAMES_KEPT: usize = 256;
/// The longest text of the relay's that is taken over into an alert, characters.
const TOLD_MAX: usize = 200;
/// The networks of each length that are measured one by one.
const LOUD_MAX: usize = 16;
/// A relay that has told nothing for so long tells nothing now: it does so each tick.
const TOLD_WITHIN: Duration = Duration::from_millis(300);
/// So many refused frames in a tick, and the sums by source are looked at in it too. Fewer can wait for the second.
const LOUD_TICK: u64 = 10;

/// The time that status speaks of.
const MINUTE: Duration = Duration::from_secs(60);

/// The latest frames of a kind, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Frames(VecDeque<Frame>);

impl Frames {
    /// Keeps a frame.
    pub fn note(&mut self, frame: Frame) {
        if self.0.len() == FRAMES_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(frame);
    }

    /// Returns them, the latest first.
    pub fn latest(&self) -> impl Iterator<Item = &Frame> {
        self.0.iter().rev()
    }
}

/// The watch and all that it is told with.
#[derive(Debug)]
pub(super) struct Watching {
    pub watch: Watch,
    pub talkers: Talkers,
    pub learned: Learned,
    pub hearing: Hearing,
    pub distinct: Distinct,
    pub reasons: Reasons,
    pub refused_frames: Frames,
    pub admitted_frames: Frames,
    pub unanswered: Unanswered,
    /// What is shown of each open spike, as of the last second in which it was loud.
    pub pictures: BTreeMap<(Class, Option<Net>), Picture>,
    /// What the relay told so far, and when it did last; of handshakes also what nobody told yet.
    failed_logins: u64,
    pub handshakes: Handshakes,
    causes: Causes,
    /// The last failed login, in words.
    pub failure: Option<String>,
    told_at: Option<Duration>,
    completed: BTreeMap<Net, u64>,
    missing: u64,
    /// The refused frames up to the last tick, and the admitted attempts.
    refused: u64,
    admitted: u64,
    sources: [Option<u64>; SOURCE_WINDOWS],
    loud: Option<Vec<(Net, u64)>>,
    /// At least how many different sources were refused in each window, as of the last second, or of a louder tick.
    pub crowd: [Option<u64>; SOURCE_WINDOWS],
    /// Who completed connections of late, and whose logins failed.
    pub connecting: Busy,
    pub failing: Busy,
}

impl Watching {
    /// Returns a watch that knows what was usual before the last restart.
    pub fn new(config: &Config, journal: &Journal) -> Self {
        let mut watch = Watch::new(config.spikes.clone());
        let learned = Learned::recall(&config.gate.state, &mut watch, journal);
        Self {
            watch,
            talkers: Talkers::default(),
            learned,
            hearing: Hearing::default(),
            distinct: Distinct::default(),
            reasons: Reasons::default(),
            refused_frames: Frames::default(),
            admitted_frames: Frames::default(),
            unanswered: Unanswered::default(),
            pictures: BTreeMap::new(),
            failed_logins: 0,
            handshakes: Handshakes::default(),
            causes: Causes::default(),
            failure: None,
            told_at: None,
            completed: BTreeMap::new(),
            missing: 0,
            refused: u64::MAX,
            admitted: u64::MAX,
            sources: [None; SOURCE_WINDOWS],
            loud: None,
            crowd: [None; SOURCE_WINDOWS],
            connecting: Busy::default(),
            failing: Busy::default(),
        }
    }

    /// Returns what was counted by reason, by the gate and as the relay told it.
    pub fn counted(&self, counters: &Counters) -> reasons::Counts {
        reasons::counts(counters, self.handshakes.counted(), &self.causes)
    }

    /// Returns at least how many different sources were refused in the last minute, or in the longest of the shorter
    /// windows if the gate has not looked for so long.
    pub fn crowd(&self) -> Option<u64> {
        let known = self.crowd.iter().zip(WINDOWS).filter(|(_, window)| *window <= MINUTE);
        known.rev().find_map(|(count, _)| *count)
    }

    /// Counts the different sources in the kernel's sums, for the next sample and for whoever asks.
    fn count_sources(&mut self, at: Duration, sketch: &Sketch) {
        self.sources = self.distinct.take(at, sketch);
        self.crowd = self.sources;
    }

    /// Puts one tick together.
    fn sample(
        &mut self,
        counters: &Counters,
        queue: Queue,
        bypassed: u64,
        missing: u64,
        now: Moment,
    ) -> Sample {
        // In whole milliseconds, as a record has it: a replay gives the same alerts.
        let at = Duration::from_millis(now.boot_ns / 1_000_000);
        let wall = Timestamp::from_millisecond(now.wall.as_millisecond()).unwrap_or(now.wall);
        self.missing += missing;
        let admitted = counters.admitted();
        let attempts = admitted.saturating_sub(std::mem::replace(&mut self.admitted, admitted));
        self.handshakes.look(at, queue, attempts);
        let told = Told { completed: self.handshakes.counted(), failed_logins: self.failed_logins };
        let tells = self.told_at.is_some_and(|told| at.saturating_sub(told) <= TOLD_WITHIN);
        Sample {
            refused: counters.dropped(),
            admitted,
            bypassed,
            missing: self.missing,
            told: tells.then_some(told),
            sources: std::mem::take(&mut self.sources),
            loud: self.loud.take(),
            completed: std::mem::take(&mut self.completed).into_iter().collect(),
            ..Sample::new(at, wall)
        }
    }
}

impl Keeper {
    /// Has the watch look at the counters, and tells what it found.
    pub(super) fn watch_counters(&mut self, counters: &Counters, now: Moment) {
        let missing = self.health.iter().filter(|one| !stands(&one.state));
        let missing = if self.is_detached { 0 } else { missing.count() as u64 };
        let watching = &mut self.watching;
        let refused = std::mem::replace(&mut watching.refused, counters.dropped());
        if watching.refused.saturating_sub(refused) >= LOUD_TICK
            && let Ok(sketch) = self.gate.refused()
        {
            watching.count_sources(Duration::from_nanos(now.boot_ns), &sketch);
        }
        let queue = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).queue();
        let sample = watching.sample(counters, queue, self.bypasses.total(), missing, now);
        watching.learned.record(&sample, self.config.spikes.record_bytes);
        let alerts = watching.watch.take(&sample);
        let at = sample.at;
        if !alerts.is_empty()
            && let Ok(sketch) = self.gate.refused()
        {
            watching.talkers.take(at, &sketch);
        }
        watching.reasons.take(at, || {
            reasons::counts(counters, watching.handshakes.counted(), &watching.causes)
        });
        for alert in &alerts {
            if alert.stage == Stage::Opened {
                self.watching.reasons.begin(alert.class, alert.since, alert.window);
            }
            self.tell(alert, counters, now);
            if alert.stage == Stage::Closed {
                self.watching.reasons.end(alert.class);
            }
        }
        self.look_at_spikes(at, counters);
        let Watching { watch, unanswered, .. } = &mut self.watching;
        unanswered.age(at, || watch.open().any(|alert| alert.class == Class::Forged));
    }

    /// Looks at the sums by source, and writes what was learned if it is time. Called each second.
    pub(super) fn sum_up(&mut self, now: Moment) {
        let at = Duration::from_nanos(now.boot_ns);
        let watching = &mut self.watching;
        if let Ok(sketch) = self.gate.refused() {
            watching.talkers.take(at, &sketch);
            watching.count_sources(at, &sketch);
            let loud = watching.talkers.loudest(LOUD_MAX).into_iter();
            // What may be an error is left out.
            let least = |talker: crate::watch::talkers::Talker| {
                (talker.net, talker.frames.saturating_sub(talker.error))
            };
            watching.loud = Some(loud.map(least).collect());
        }
        if let Some(problem) = watching.learned.keep(&watching.watch, at) {
            self.trouble(&problem);
        }
    }

    /// Takes what the relay tells of clients. It is believed as far as alerts go, and no further.
    pub(super) fn hear(&mut self, tally: &Tally, now: Moment) {
        self.heard_relay();
        let at = Duration::from_nanos(now.boot_ns);
        let watching = &mut self.watching;
        watching.told_at = Some(at);
        let mut completed = tally.completed.others;
        watching.unanswered.complete_unnamed(completed);
        for (address, count) in &tally.completed.by {
            // The host's own connections are in no entry and made no attempt at the first door.
            let Some(entry) = self.lists.allow.admitting(Net::from(*address)) else { continue };
            completed = completed.saturating_add(*count);
            let held = watching.completed.entry(entry.net).or_default();
            *held = held.saturating_add(*count);
            watching.unanswered.complete(entry.net, *count);
            watching.connecting.add(*address, *count, at);
        }
        watching.connecting.add_unnamed(tally.completed.others, at);
        for (address, count) in &tally.failed.by {
            watching.failing.add(*address, *count, at);
        }
        watching.failing.add_unnamed(tally.failed.others, at);
        watching.handshakes.accept(completed, tally.completed.sum());
        let failed = tally.failed.sum();
        watching.failed_logins = watching.failed_logins.saturating_add(failed);
        watching.causes.add(&tally.causes);
        if let Some(failure) = &tally.failure {
            let short = failure.chars().map(|c| if c.is_control() { ' ' } else { c });
            watching.failure = Some(short.take(TOLD_MAX).collect());
        }
    }

    /// Writes what was learned, at the end.
    pub(super) fn end(&mut self) {
        let Watching { learned, watch, .. } = &mut self.watching;
        if let Some(problem) = learned.keep_now(watch) {
            self.trouble(&problem);
        }
    }
}
