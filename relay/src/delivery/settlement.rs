//! What becomes of a message after an attempt: outcomes for the spool, failures for the report,
//! events for the journal.

use std::time::Duration;

use super::health;
use super::ruling::{Judged, Ruling};
use crate::config::Retry;
use crate::event::Event;
use crate::mail::bounce::{Cause, Diagnostic, Failure};
use crate::mail::message::MessageId;
use crate::mail::outcome::{Fate, Outcome};
use crate::policy::retry::{self, Next};
use crate::smtp::reply::Enhanced;

/// What is known of a message before its attempt is settled.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Which message.
    pub id: MessageId,
    /// When deferred mail is tried again.
    pub retry: &'a Retry,
    /// Attempts settled before this one.
    pub attempts: u32,
    /// How long the message has been ours.
    pub age: Duration,
    /// A random number, for the wait.
    pub jitter: u32,
}

/// What one transaction, or none, came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The name of the route; empty if there was none.
    pub route: String,
    /// The host that was spoken to last; none if none was reached.
    pub remote: Option<String>,
    /// The same with its port.
    pub next_hop: String,
    /// A ruling for every recipient of the load.
    pub judged: Vec<Judged>,
    /// How long recipients wait that are held, or put off because the next hop asked for less; none:
    /// [`health::SUSPENDED`], or the normal schedule.
    pub hold: Option<Duration>,
}

/// One recipient, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    route: String,
    outcome: Outcome,
    failure: Option<Failure>,
}

/// All recipients of an attempt, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    id: MessageId,
    rows: Vec<Row>,
}

impl Settlement {
    /// Decides every recipient of `legs`.
    #[must_use]
    pub fn of(facts: Facts<'_>, legs: Vec<Leg>) -> Self {
        let mut rows = Vec::new();
        for Leg { route, remote, next_hop, judged, hold } in legs {
            for Judged { recipient, ruling, status, why, relayed: _ } in judged {
                let (fate, cause) = fate(facts, ruling, hold);
                let reply = why.text().to_owned();
                let failure = cause.map(|cause| Failure {
                    recipient: recipient.clone(),
                    status: failed_status(cause, status),
                    // Remote-MTA is for the words of others only (RFC 3464, section 2.3.5).
                    remote: remote.clone().filter(|_| matches!(why, Diagnostic::Smtp(_))),
                    diagnostic: why,
                    cause,
                });
                let outcome = Outcome { recipient, fate, next_hop: next_hop.clone(), reply };
                rows.push(Row { route: route.clone(), outcome, failure });
            }
        }
        Self { id: facts.id, rows }
    }

    /// Returns who was given up and why.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.rows.iter().filter_map(|row| row.failure.clone()).collect()
    }

    /// Keeps those that were to be given up for another attempt after `wait`: the report about
    /// them could not be written, and nobody's mail vanishes without one.
    #[must_use]
    pub fn without_failures(mut self, wait: Duration) -> Self {
        for row in &mut self.rows {
            if row.failure.take().is_some() {
                row.outcome.fate = Fate::Deferred(wait);
            }
        }
        self
    }

    /// Returns what there is to say: one event for each route, recipient domain, fate and reply.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for row in &self.rows {
            let event = event(self.id, row);
            if !events.contains(&event) {
                events.push(event);
            }
        }
        events
    }

    /// Returns what became of every recipient, with the name of its route.
    pub fn results(&self) -> impl Iterator<Item = (&str, &Outcome)> {
        self.rows.iter().map(|row| (row.route.as_str(), &row.outcome))
    }

    /// Returns the outcomes for the spool.
    #[must_use]
    pub fn into_outcomes(self) -> Vec<Outcome> {
        self.rows.into_iter().map(|row| row.outcome).collect()
    }
}

/// Decides the fate of a recipient, and why it is given up if it is.
fn fate(facts: Facts<'_>, ruling: Ruling, hold: Option<Duration>) -> (Fate, Option<Cause>) {
    match ruling {
        Ruling::Delivered => (Fate::Delivered, None),
        Ruling::Failed => (Fate::Failed, Some(Cause::Refused)),
        // Not the sender's fault and not for him to mend: it never expires into a report.
        Ruling::Held => (Fate::Deferred(hold.unwrap_or(health::SUSPENDED)), None),
        Ruling::Deferred | Ruling::Elsewhere => {
            match retry::next(facts.retry, facts.attempts, facts.age, facts.jitter) {
                Next::Wait(wait) => (Fate::Deferred(hold.unwrap_or(wait)), None),
                Next::GiveUp => (Fate::Failed, Some(Cause::Expired)),
            }
        }
    }
}

/// Returns the status for the report: 5.4.7 for what expired (RFC 3463, section 3.5), 5.0.0 for
/// what was refused without an enhanced code.
fn failed_status(cause: Cause, status: Option<Enhanced>) -> Enhanced {
    match cause {
        Cause::Expired => Enhanced(5, 4, 7),
        Cause::Refused => status.filter(|status| status.0 == 5).unwrap_or(Enhanced(5, 0, 0)),
    }
}

fn event(id: MessageId, row: &Row) -> Event {
    let Row { route, outcome, .. } = row;
    let Outcome { recipient, fate, next_hop, reply } = outcome.clone();
    let (domain, route) = (recipient.domain().to_ascii_lowercase(), route.clone());
    match fate {
        Fate::Delivered => Event::Delivered { id, domain, route, next_hop, reply },
        Fate::Deferred(retry_in) => Event::Deferred { id, domain, route, reason: reply, retry_in },
        Fate::Failed => Event::Failed { id, domain, route, reason: reply },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::outcome::Relayed;

    const DAY: Duration = Duration::from_secs(86_400);

    fn judged(recipient: &str, ruling: Ruling, code: Option<Enhanced>) -> Judged {
        let why = Diagnostic::Smtp("the reply".into());
        let (recipient, relayed) = (recipient.parse().unwrap(), Relayed::WithoutDsn);
        Judged { recipient, ruling, status: code, why, relayed }
    }

    fn settled(age: Duration, judged: Vec<Judged>) -> Settlement {
        let retry = Retry { after: vec![Duration::from_secs(60)], expire: 5 * DAY };
        let jitter = u32::MAX / 2;
        let facts = Facts { id: MessageId(1), retry: &retry, attempts: 0, age, jitter };
        let leg = Leg {
            route: "smarthost".into(),
            remote: Some("mx.example.net".into()),
            next_hop: "mx.example.net:587".into(),
            judged,
            hold: None,
        };
        Settlement::of(facts, vec![leg])
    }

    /// `d`, `w` (waits) or `f` with its status.
    fn shown(settlement: &Settlement) -> Vec<String> {
        let show = |row: &Row| match (&row.outcome.fate, &row.failure) {
            (Fate::Delivered, None) => "d".to_owned(),
            (Fate::Deferred(_), None) => "w".to_owned(),
            (Fate::Failed, Some(Failure { status: Enhanced(a, b, c), .. })) => {
                format!("{a}.{b}.{c}")
            }
            other => panic!("{other:?}"),
        };
        settlement.rows.iter().map(show).collect()
    }

    #[test]
    fn every_ruling_has_its_fate_by_age() {
        let of = |age| {
            settled(
                age,
                vec![
                    judged("a@example.com", Ruling::Delivered, Some(Enhanced(2, 0, 0))),
                    judged("b@example.com", Ruling::Deferred, Some(Enhanced(4, 2, 2))),
                    judged("c@example.com", Ruling::Elsewhere, None),
                    judged("d@example.com", Ruling::Held, Some(Enhanced(5, 7, 8))),
                    judged("e@example.com", Ruling::Failed, Some(Enhanced(5, 1, 1))),
                    judged("f@example.com", Ruling::Failed, None),
                ],
            )
        };
        assert_eq!(shown(&of(DAY)), ["d", "w", "w", "w", "5.1.1", "5.0.0"]);
        assert_eq!(shown(&of(5 * DAY)), ["d", "5.4.7", "5.4.7", "w", "5.1.1", "5.0.0"]);
    }

    #[test]
    fn a_pause_takes_the_place_of_the_schedule_and_does_not_outlive_the_message() {
        let retry = Retry { after: vec![Duration::from_secs(60)], expire: 5 * DAY };
        let pause = Some(Duration::from_secs(7));
        for (age, ruling, expected) in [
            (DAY, Ruling::Deferred, (Fate::Deferred(Duration::from_secs(7)), None)),
            (DAY, Ruling::Elsewhere, (Fate::Deferred(Duration::from_secs(7)), None)),
            (5 * DAY, Ruling::Deferred, (Fate::Failed, Some(Cause::Expired))),
        ] {
            let facts = Facts { id: MessageId(1), retry: &retry, attempts: 99, age, jitter: 0 };
            assert_eq!(fate(facts, ruling, pause), expected, "{ruling:?}");
        }
    }

    #[test]
    fn without_its_report_nobody_is_given_up_and_deliveries_stay_delivered() {
        let rows = vec![
            judged("a@example.com", Ruling::Delivered, None),
            judged("b@example.com", Ruling::Failed, None),
        ];
        let settlement = settled(DAY, rows).without_failures(Duration::from_secs(60));
        assert_eq!(shown(&settlement), ["d", "w"]);
        assert!(settlement.failures().is_empty());
    }

    #[test]
    fn recipients_of_one_domain_with_one_fate_are_one_event() {
        let rows = vec![
            judged("a@example.com", Ruling::Delivered, None),
            judged("b@Example.com", Ruling::Delivered, None),
            judged("c@example.net", Ruling::Delivered, None),
            judged("d@example.com", Ruling::Failed, None),
        ];
        assert_eq!(settled(DAY, rows).events().len(), 3);
    }
}
