//! What goes to channels, and what they answer.

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use super::beats::Beats;
use super::{Purpose, Work, random};
use crate::alert::channel::{Cargo, Outcome, tell};
use crate::alert::troubles::Trouble;
use crate::config::alerts::{Channel, ChannelKind, WebhookFormat};
use crate::event::alert::Alert;

/// How long a channel that failed is left alone.
const PAUSE: Duration = Duration::from_secs(2);
/// How often a receiver that forgets open troubles is told them again.
const AGAIN: Duration = Duration::from_secs(60);

impl Work {
    /// Sends what is due to channels that are free.
    pub(super) fn launch(&mut self, now: Timestamp) {
        for channel in self.means.config.clone().alerts.channels.iter().cloned() {
            let Some((purpose, id, cargo)) = self.due(&channel, now) else { continue };
            let state = self.states.entry(channel.name.clone()).or_default();
            state.is_busy = true;
            match purpose {
                Purpose::Entry(_) => {}
                Purpose::Open => state.refreshed = Some(Instant::now()),
                Purpose::Heartbeat => state.beats.sent(Instant::now()),
            }
            let name = channel.name.clone();
            let flight = self.flights.spawn(tell(self.means.clone(), channel, id, cargo));
            self.under_way.insert(flight.id(), (name, purpose));
        }
    }

    /// Returns what a channel is to be told now.
    fn due(&self, channel: &Channel, now: Timestamp) -> Option<(Purpose, String, Cargo)> {
        let state = self.states.get(&channel.name);
        if state.is_some_and(|state| {
            state.is_busy || state.paused_until.is_some_and(|at| at > Instant::now())
        }) {
            return None;
        }
        let series = self.kept.series;
        if let Some(entry) = self.kept.outbox.due(&channel.name, now) {
            let id = format!("{series:016x}-{}", entry.number);
            return Some((Purpose::Entry(entry.number), id, Cargo::Alert(entry.alert.clone())));
        }
        let ChannelKind::Webhook(hook) = &channel.kind else { return None };
        let beats = state.map_or_else(Beats::default, |state| state.beats);
        match hook.heartbeat {
            Some(every) if beats.is_due(every, Instant::now()) => {
                let id = format!("{series:016x}-heartbeat-{}", now.as_second());
                return Some((Purpose::Heartbeat, id, Cargo::Heartbeat(every.as_secs())));
            }
            Some(_) | None => {}
        }
        let refreshed = state.and_then(|state| state.refreshed);
        let is_due = refreshed.is_none_or(|last| last.elapsed() >= AGAIN);
        if hook.format != WebhookFormat::Alertmanager || !is_due {
            return None;
        }
        let open = self.kept.troubles.open().filter_map(Trouble::as_known);
        let open: Vec<Alert> = open.filter(|alert| channel.takes(alert)).collect();
        let id = format!("{series:016x}-open-{}", now.as_second());
        (!open.is_empty()).then_some((Purpose::Open, id, Cargo::Open(open)))
    }

    /// Takes what became of a telling.
    pub(super) fn land(&mut self, landed: Result<(Id, Outcome), JoinError>) {
        let (flight, outcome) = landed.unwrap_or_else(|fault| {
            (fault.id(), Outcome::Later { why: fault.to_string(), after: None })
        });
        let Some((name, purpose)) = self.under_way.remove(&flight) else { return };
        let now = Timestamp::now();
        let state = self.states.entry(name.clone()).or_default();
        state.is_busy = false;
        let was_sound = state.fault.is_none();
        let fault = match &outcome {
            Outcome::Taken(_) => None,
            Outcome::Later { why, .. } | Outcome::Refused(why) => Some(why.clone()),
        };
        if fault.is_some() {
            state.last_fault = Some(now);
            state.paused_until = Some(Instant::now() + PAUSE);
        } else {
            (state.last_taken, state.failed_test) = (Some(now), None);
        }
        // What it takes, or never takes, does not wait; what it did not take earlier may.
        let this = match purpose {
            Purpose::Entry(number) => Some(number),
            Purpose::Open | Purpose::Heartbeat => None,
        };
        let waits = self.kept.outbox.tried(&name).any(|entry| Some(entry.number) != this);
        state.is_put_off = matches!(outcome, Outcome::Later { .. });
        state.failing_since = match &outcome {
            Outcome::Later { .. } => state.failing_since.or(Some(now)),
            Outcome::Taken(_) | Outcome::Refused(_) => state.failing_since.filter(|_| waits),
        };
        state.fault.clone_from(&fault);
        match (outcome, purpose) {
            (Outcome::Taken(_), Purpose::Entry(number)) => {
                self.is_written &= self.kept.outbox.take(number).is_none();
            }
            (Outcome::Later { after, .. }, Purpose::Entry(number)) => {
                let [octet] = random();
                self.kept.outbox.put_off(number, after, f64::from(octet) / 255.0, now);
                self.is_written = false;
            }
            (Outcome::Refused(why), Purpose::Entry(number)) => {
                if let Some(entry) = self.kept.outbox.take(number) {
                    self.is_written = false;
                    self.give_up(&entry, &why);
                }
            }
            (Outcome::Later { .. }, Purpose::Heartbeat) => state.beats.missed(Instant::now()),
            (_, Purpose::Open | Purpose::Heartbeat) => {}
        }
        // One line for a channel that begins to fail, not one for each try.
        if let Some(why) = fault.filter(|_| was_sound) {
            self.trouble(format!(
                "the alert channel {name}: {why}; `sallyport alert list` shows how it fares"
            ));
        }
    }
}
