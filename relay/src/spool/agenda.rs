//! What is due when, and what goes first: pure, so that time is an argument.
//!
//! Messages that are due stand by the way that they go next. In each way logins take turns by
//! deficit round-robin (Shreedhar and Varghese, 1995): a turn is worth [`QUANTUM`] octets, whoever
//! takes more pays with turns to come; so does who writes to many. Of one login the highest priority goes first (RFC 6710), then
//! what is due the longest. So a backlog of one login holds up nobody else's mail, and a way that
//! stands still no other way.

mod queue;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::delivery::sorting::RECIPIENTS_MAX;
use crate::mail::message::MessageId;
use crate::spool::label::{Job, Way};
use queue::Queue;

/// What a turn is worth, octets: a few small messages, so that another login waits for no more.
pub const QUANTUM: u64 = 32 << 10;
/// What a message costs besides its body, octets: a transaction takes time however small it is.
pub const TRANSACTION: u64 = 4 << 10;
/// What a further recipient costs, octets: a command and its answer.
pub const RECIPIENT: u64 = 256;
/// The most messages that are moved to the ways at one call: the rest follows with the next.
const MOVED: usize = 10_000;

/// When a message is due: microseconds since 1970, then its id.
type Due = (i64, MessageId);

/// The messages that wait.
#[derive(Debug, Default)]
pub struct Agenda {
    /// What is not due yet.
    later: BTreeMap<Due, Job>,
    /// What is due, by way; none is empty.
    ways: BTreeMap<Way, Queue>,
    /// The way that was served last: the others come first.
    served: Way,
    /// The latest time that was told; what was due by then needs no waiting.
    now: i64,
}

impl Agenda {
    /// Returns an empty agenda whose time is `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now: now.as_microsecond(), ..Self::default() }
    }

    /// Puts `id` on the agenda for `due_at`. A message stands there once: cancel it first.
    pub fn schedule(&mut self, id: MessageId, due_at: Timestamp, job: Job) {
        let due = (due_at.as_microsecond(), id);
        if due.0 <= self.now {
            self.ways.entry(job.label.way).or_default().add(due, job);
        } else {
            self.later.insert(due, job);
        }
    }

    /// Takes `id` off, which was scheduled for `due_at` with this `job`.
    pub fn cancel(&mut self, id: MessageId, due_at: Timestamp, job: Job) {
        let due = (due_at.as_microsecond(), id);
        if self.later.remove(&due).is_some() {
            return;
        }
        let Some(queue) = self.ways.get_mut(&job.label.way) else { return };
        queue.remove(due, job);
        if queue.is_empty() {
            self.ways.remove(&job.label.way);
        }
    }

    /// Takes off the message whose turn it is at `now`, of the ways that have room; none if there is
    /// none. The ways take turns.
    pub fn take_due(
        &mut self,
        now: Timestamp,
        has_room: impl Fn(Way) -> bool,
    ) -> Option<MessageId> {
        self.advance(now);
        let served = self.served;
        let ways = self.ways.range(served..).skip_while(|(way, _)| **way == served);
        let mut ways = ways.chain(self.ways.range(..=served)).map(|(way, _)| *way);
        let way = ways.find(|way| has_room(*way))?;
        drop(ways);
        let queue = self.ways.get_mut(&way)?;
        let id = queue.take();
        if queue.is_empty() {
            self.ways.remove(&way);
        }
        self.served = way;
        id
    }

    /// Charges for the recipients of a message that was taken with this `job`, but for the first: how many are
    /// still open shows only then. A body goes out once for every [`RECIPIENTS_MAX`] of them.
    pub fn charge(&mut self, job: Job, recipients: usize) {
        let further = (recipients as u64).saturating_sub(1);
        let transactions = further / RECIPIENTS_MAX as u64;
        let bodies = transactions.saturating_mul(job.size_bytes.saturating_add(TRANSACTION));
        if let Some(queue) = self.ways.get_mut(&job.label.way) {
            queue.charge(job.label.owner, bodies.saturating_add(further.saturating_mul(RECIPIENT)));
        }
    }

    /// Tells the agenda what time it is: what is scheduled for now or before is due at once.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now.as_microsecond());
        for _ in 0..MOVED {
            let Some(next) = self.later.first_entry().filter(|next| next.key().0 <= self.now)
            else {
                break;
            };
            let (due, job) = next.remove_entry();
            self.ways.entry(job.label.way).or_default().add(due, job);
        }
    }

    /// Returns when the next message is due of those that are not yet; it may be past if many became
    /// due at once.
    pub fn next_due(&self) -> Option<Timestamp> {
        let ((micros, _), _) = self.later.first_key_value()?;
        Some(Timestamp::from_microsecond(*micros).unwrap_or(Timestamp::MAX))
    }

    /// Tells whether messages are due that wait for room only.
    pub fn has_due(&self) -> bool {
        !self.ways.is_empty()
    }
}

#[cfg(test)]
mod tests;
