//! What becomes of a message after an attempt: outcomes for the spool, notices for the reports,
//! events for the journal.

use std::time::Duration;

use jiff::Timestamp;

use super::health;
use super::ruling::{Judged, Ruling};
use crate::config::{Retry, unit};
use crate::event::Event;
use crate::mail::envelope::{Deadline, Envelope};
use crate::mail::message::MessageId;
use crate::mail::outcome::{Fate, Outcome, Relayed};
use crate::mail::report::{Diagnostic, Kind, News, Notice, Occasion, is_wanted};
use crate::policy::retry::{self, Next};
use crate::smtp::address::Address;
use crate::smtp::parameter::ByMode;
use crate::smtp::reply::Enhanced;

/// What is known of a message before its attempt is settled.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Which message.
    pub id: MessageId,
    /// How it came, and what its sender asked for.
    pub envelope: &'a Envelope,
    /// When the sender was last told that a recipient waits, in the order of the envelope; none:
    /// not yet.
    pub told: &'a [Option<Timestamp>],
    /// When deferred mail is tried again.
    pub retry: &'a Retry,
    /// Attempts settled before this one.
    pub attempts: u32,
    /// When its time began to run, UTC: as it became ours, or was released.
    pub since: Timestamp,
    /// The present, UTC.
    pub now: Timestamp,
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
    /// How long recipients wait that are held, or put off because the next hop asked for less, which is no
    /// attempt; none: [`health::SUSPENDED`], or the normal schedule.
    pub hold: Option<Duration>,
}

impl Leg {
    /// Returns the leg of recipients whom no host was asked about: one ruling of ours for all of them.
    #[must_use]
    pub fn by_us(
        route: &str,
        recipients: Vec<Address>,
        ruling: Ruling,
        hold: Option<Duration>,
        status: Enhanced,
        words: &str,
    ) -> Self {
        let rule = |to| Judged::by_us(to, ruling, status, words);
        Self {
            route: route.to_owned(),
            remote: None,
            next_hop: String::new(),
            judged: recipients.into_iter().map(rule).collect(),
            hold,
        }
    }
}

/// One recipient, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    route: String,
    /// Its words say so if it was given up for its age.
    outcome: Outcome,
    /// The words of the attempt alone.
    said: String,
    notice: Option<Notice>,
}

/// All recipients of an attempt, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    id: MessageId,
    rows: Vec<Row>,
    /// What the sender is still to be told of recipients that need no attempt any more.
    owed: Vec<Notice>,
}

impl Settlement {
    /// Decides every recipient of `legs`.
    #[must_use]
    pub fn of(facts: Facts<'_>, legs: Vec<Leg>) -> Self {
        let mut rows = Vec::new();
        for Leg { route, remote, next_hop, judged, hold } in legs {
            for judged in judged {
                let (fate, news) = fate(facts, &judged, hold);
                let over = fate == Fate::Failed && is_open(judged.ruling);
                let Judged { recipient, status, why, .. } = judged;
                let said = why.text().to_owned();
                let reply = if over { given_up(facts, &said) } else { said.clone() };
                let notice = news.map(|news| Notice {
                    recipient: recipient.clone(),
                    news,
                    status: told_status(news, status, facts),
                    // Remote-MTA is for the words of others only (RFC 3464, section 2.3.5).
                    remote: remote.clone().filter(|_| matches!(why, Diagnostic::Smtp(_))),
                    diagnostic: why,
                });
                let outcome = Outcome { recipient, fate, next_hop: next_hop.clone(), reply };
                rows.push(Row { route: route.clone(), outcome, said, notice });
            }
        }
        Self { id: facts.id, rows, owed: Vec::new() }
    }

    /// Adds what could not be told after earlier attempts.
    #[must_use]
    pub fn owing(mut self, owed: Vec<Notice>) -> Self {
        self.owed = owed;
        self
    }

    /// Returns what the sender is to be told in a report of this kind.
    #[must_use]
    pub fn notices(&self, kind: Kind) -> Vec<Notice> {
        let of_rows = self.rows.iter().filter_map(|row| row.notice.as_ref());
        let notices = self.owed.iter().chain(of_rows);
        notices.filter(|notice| notice.news.kind() == kind).cloned().collect()
    }

    /// Notes that a report of this kind was written.
    #[must_use]
    pub fn reported(mut self, kind: Kind) -> Self {
        self.owed.retain(|notice| notice.news.kind() != kind);
        self
    }

    /// Takes back what was to be told in a report of this kind, since it could not be written.
    /// Those that were to be given up get another attempt after `wait`: nobody's mail vanishes
    /// without a report. Who waits is told of after the next attempt. Of those that were delivered the
    /// report is owed: another attempt would deliver them twice.
    #[must_use]
    pub fn unreported(mut self, kind: Kind, wait: Duration) -> Self {
        for row in &mut self.rows {
            let Some(notice) = row.notice.take_if(|notice| notice.news.kind() == kind) else {
                continue;
            };
            match row.outcome.fate {
                Fate::Failed => {
                    row.outcome.fate = Fate::Deferred(wait);
                    row.outcome.reply.clone_from(&row.said);
                }
                Fate::Delivered => self.owed.push(notice),
                Fate::Deferred(_) | Fate::Postponed(_) | Fate::Paused(_) | Fate::Captured => {}
            }
        }
        self
    }

    /// Returns what the sender is still to be told of recipients that need no attempt any more.
    #[must_use]
    pub fn owed(&self) -> &[Notice] {
        &self.owed
    }

    /// Returns the recipients of which the sender is told that they wait.
    #[must_use]
    pub fn told(&self) -> Vec<Address> {
        self.notices(Kind::Delayed).into_iter().map(|notice| notice.recipient).collect()
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

/// Decides the fate of a recipient, and what the sender is told of it.
fn fate(facts: Facts<'_>, judged: &Judged, hold: Option<Duration>) -> (Fate, Option<News>) {
    let wants = |occasion| is_wanted(facts.envelope, &judged.recipient, occasion);
    let given_up = |news| (Fate::Failed, wants(Occasion::Failure).then_some(news));
    match judged.ruling {
        Ruling::Delivered => {
            let trace = facts.envelope.terms.deadline.is_some_and(|deadline| deadline.trace);
            let success = judged.relayed == Relayed::WithoutDsn && wants(Occasion::Success);
            let traced = trace && wants(Occasion::Trace);
            (Fate::Delivered, (success || traced).then_some(News::Relayed))
        }
        Ruling::Failed => given_up(News::Refused),
        Ruling::Captured => (Fate::Captured, None),
        // Not the sender's fault and not for him to mend: it never expires into a report.
        Ruling::Held => {
            let news = is_late(facts, &judged.recipient).then_some(News::Late(None));
            (Fate::Paused(hold.unwrap_or(health::SUSPENDED)), news)
        }
        Ruling::Deferred | Ruling::Postponed | Ruling::Elsewhere => {
            let deadline = facts.envelope.terms.deadline;
            let left = deadline.map(|deadline| until(facts.now, deadline.at));
            if deadline.is_some_and(|deadline| is_over(deadline, ByMode::Return, facts.now)) {
                return given_up(News::Overdue);
            }
            let age = until(facts.since, facts.now);
            match retry::next(facts.retry, facts.attempts, age, facts.jitter) {
                Next::GiveUp => given_up(News::Expired),
                Next::Wait(wait) => {
                    let left = left.filter(|left| !left.is_zero()).unwrap_or(Duration::MAX);
                    let ends_at = facts.since.saturating_add(facts.retry.expire).ok();
                    let news = is_late(facts, &judged.recipient).then_some(News::Late(ends_at));
                    let fate: fn(Duration) -> Fate = match (judged.ruling, hold) {
                        (Ruling::Postponed, _) => Fate::Postponed,
                        (_, Some(_)) => Fate::Paused,
                        (_, None) => Fate::Deferred,
                    };
                    (fate(hold.unwrap_or(wait).min(left)), news)
                }
            }
        }
    }
}

/// Tells whether a recipient could be tried again, were its time not over.
const fn is_open(ruling: Ruling) -> bool {
    match ruling {
        Ruling::Deferred | Ruling::Postponed | Ruling::Elsewhere => true,
        Ruling::Delivered | Ruling::Failed | Ruling::Captured | Ruling::Held => false,
    }
}

/// Says that a recipient was given up for its age, before what the last attempt was told: a 450 alone
/// does not explain why it is over.
fn given_up(facts: Facts<'_>, said: &str) -> String {
    let deadline = facts.envelope.terms.deadline;
    if deadline.is_some_and(|deadline| is_over(deadline, ByMode::Return, facts.now)) {
        return format!("given up at the time that its sender set: {said}");
    }
    format!("given up after {}: {said}", unit::written(facts.retry.expire))
}

/// Tells whether the sender is to hear now that a recipient waits: once, when it waits for longer
/// than usual, and once when the time is over that he set.
fn is_late(facts: Facts<'_>, recipient: &Address) -> bool {
    let Facts { envelope, retry, since, now, .. } = facts;
    let is_old = until(since, now) >= retry.delay_report;
    let overdue = envelope.terms.deadline.filter(|set| is_over(*set, ByMode::Notify, now));
    if !is_old && overdue.is_none() {
        return false;
    }
    let place = envelope.recipients.iter().position(|other| other == recipient);
    let told = place.and_then(|place| facts.told.get(place).copied().flatten());
    let usual = is_old && told.is_none();
    let set = overdue.is_some_and(|set| told.is_none_or(|told| told < set.at));
    (usual && is_wanted(envelope, recipient, Occasion::Delay))
        || (set && is_wanted(envelope, recipient, Occasion::Deadline))
}

/// Tells whether the time that a sender set is over, and `mode` is to follow (RFC 2852, section 4).
fn is_over(deadline: Deadline, mode: ByMode, now: Timestamp) -> bool {
    deadline.mode == mode && now >= deadline.at
}

/// Returns the time from one instant to a later one; none is zero.
fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Returns the status for the report: 5.4.7 for what expired (RFC 3463, section 3.5), else that of
/// the answer if it is of the right class. What waits past the sender's time is 4.4.7.
fn told_status(news: News, status: Option<Enhanced>, facts: Facts<'_>) -> Enhanced {
    let of_class = |class| status.filter(|status| status.0 == class);
    let deadline = facts.envelope.terms.deadline;
    match news {
        News::Expired | News::Overdue => Enhanced(5, 4, 7),
        News::Refused => of_class(5).unwrap_or(Enhanced(5, 0, 0)),
        News::Late(_) if deadline.is_some_and(|d| is_over(d, ByMode::Notify, facts.now)) => {
            Enhanced(4, 4, 7)
        }
        News::Late(_) => of_class(4).unwrap_or(Enhanced(4, 0, 0)),
        News::Relayed => of_class(2).unwrap_or(Enhanced(2, 0, 0)),
    }
}

fn event(id: MessageId, row: &Row) -> Event {
    let Row { route, outcome, .. } = row;
    let Outcome { recipient, fate, next_hop, reply } = outcome.clone();
    let (domain, route) = (recipient.domain().to_ascii_lowercase(), route.clone());
    match fate {
        Fate::Delivered => Event::Delivered { id, domain, route, next_hop, reply },
        Fate::Deferred(retry_in) | Fate::Postponed(retry_in) | Fate::Paused(retry_in) => {
            Event::Deferred { id, domain, route, reason: reply, retry_in }
        }
        Fate::Failed => Event::Failed { id, domain, route, reason: reply },
        Fate::Captured => Event::Captured { id, domain, route },
    }
}

#[cfg(test)]
mod tests;
