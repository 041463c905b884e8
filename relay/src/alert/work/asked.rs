//! What operators ask: how all stands, and a test.

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Work, told};
use crate::alert::channel::{Cargo, Outcome, tell};
use crate::alert::listing::{ChannelState, Fare, Listing, Tested};
use crate::config::alerts::Channel;
use crate::event::wording::noted;

impl Work {
    pub(super) fn list(&self) -> Listing {
        let alerts = &self.means.config.alerts;
        let state = |channel: &Channel| {
            let state = self.states.get(&channel.name);
            ChannelState {
                name: channel.name.clone(),
                kind: channel.kind.name().to_owned(),
                waiting: self.kept.outbox.of(&channel.name).count(),
                next_try: self.kept.outbox.tried(&channel.name).map(|entry| entry.due).min(),
                last_taken: state.and_then(|state| state.last_taken),
                fault: state.and_then(|state| state.fault.clone().or(state.failed_test.clone())),
                last_fault: state.and_then(|state| state.last_fault),
            }
        };
        let journal = ChannelState {
            name: "journal".to_owned(),
            kind: "journal".to_owned(),
            ..ChannelState::default()
        };
        Listing {
            open: self.kept.troubles.open().cloned().collect(),
            recent: self.kept.troubles.recent().cloned().collect(),
            silences: self.kept.silences.list(),
            channels: alerts
                .journal
                .then_some(journal)
                .into_iter()
                .chain(alerts.channels.iter().map(state))
                .collect(),
            lost: self.lost_in_all,
        }
    }

    /// Shows how the channels fare.
    pub(super) fn show_fares(&self) {
        let fare = |channel: &Channel| Fare {
            channel: channel.name.clone(),
            failing_since: self.states.get(&channel.name).and_then(|state| state.failing_since),
        };
        let fares: Vec<Fare> = self.means.config.alerts.channels.iter().map(fare).collect();
        self.fares.send_if_modified(|shown| {
            let is_news = **shown != *fares;
            if is_news {
                *shown = fares.into();
            }
            is_news
        });
    }

    /// Notes what became of a test. What was wrong with channels that took it is not any more, so what they did not take
    /// is due. Of the others operators see why; nobody waits for it, so that is no failing.
    pub(super) fn tested(&mut self, tested: Vec<Tested>, now: Timestamp) {
        for Tested { channel, taken, words, .. } in tested {
            if !taken {
                let state = self.states.entry(channel).or_default();
                state.failed_test = Some(format!("it did not take a test: {words}"));
                state.last_fault = Some(now);
                continue;
            }
            if let Some(state) = self.states.get_mut(&channel) {
                (state.fault, state.failing_since, state.last_taken) = (None, None, Some(now));
                (state.failed_test, state.is_put_off) = (None, false);
            }
            self.kept.outbox.bring_forward(&channel, now);
            self.is_written = false;
        }
    }

    /// Tells a test past troubles, silences and outbox, beside everything else.
    pub(super) fn test(
        &mut self,
        wanted: Option<&str>,
        answer: oneshot::Sender<Result<Vec<Tested>, String>>,
        now: Timestamp,
    ) {
        let alerts = &self.means.config.alerts;
        let channels: Vec<Channel> = alerts
            .channels
            .iter()
            .filter(|channel| wanted.is_none_or(|wanted| wanted == channel.name))
            .cloned()
            .collect();
        let is_journal = alerts.journal && wanted.is_none_or(|wanted| wanted == "journal");
        let refusal = match wanted {
            Some(wanted) if channels.is_empty() && !is_journal => {
                Some(format!("there is no channel {wanted}: see `sallyport alert list`"))
            }
            _ if self.test.as_ref().is_some_and(|test| !test.is_finished()) => {
                Some("a test runs already: try again when it is over".to_owned())
            }
            _ => None,
        };
        if let Some(refusal) = refusal {
            let _ = answer.send(Err(refusal));
            return;
        }
        let alert = noted("test", "this is a test: nothing is wrong").warns();
        let alert = alert.first("sallyport alert list").at(now);
        let mut results = Vec::new();
        if is_journal {
            self.journal.write(told(&alert));
            let words = "it stands in the relay's journal".to_owned();
            let name = || "journal".to_owned();
            results.push(Tested { channel: name(), kind: name(), taken: true, words });
        }
        let means = self.means.clone();
        // A receiver that has an id already need not act again: each test has its own.
        let id = format!("{:016x}-test-{}", self.kept.series, now.as_nanosecond());
        self.test = Some(tokio::spawn(async move {
            let mut tests = JoinSet::new();
            for channel in channels {
                let (means, id, cargo) = (means.clone(), id.clone(), Cargo::Alert(alert.clone()));
                tests.spawn(async move {
                    let (name, kind) = (channel.name.clone(), channel.kind.name().to_owned());
                    let (taken, words) = match tell(means, channel, id, cargo).await {
                        Outcome::Taken(words) => (true, words),
                        Outcome::Later { why, .. } | Outcome::Refused(why) => (false, why),
                    };
                    Tested { channel: name, kind, taken, words }
                });
            }
            while let Some(tested) = tests.join_next().await {
                results.extend(tested);
            }
            results.sort_by(|one, other| one.channel.cmp(&other.channel));
            let _ = answer.send(Ok(results));
        }));
    }
}
