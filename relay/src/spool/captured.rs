//! Messages that are kept instead of sent, oldest first, until their retention ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::config;
use crate::history::Ended;
use crate::mail::message::MessageId;
use crate::spool::StoreError;
use crate::spool::claim::Hold;
use crate::spool::index::{Entry, Index, Ticket, Turn};
use crate::spool::order::{Command, Order, What};
use crate::spool::shared::Shared;

/// The share of all messages that may be captured: one part in this many.
const PARTS: usize = 4;
/// The most messages that are dropped together: they share flushes, and nobody waits long for them.
const TOGETHER: usize = 256;

/// For how long captured messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long.
    pub keep: Duration,
    /// The octets of all bodies.
    pub size_bytes: u64,
    /// How many.
    pub messages: usize,
}

/// The captured messages and what they take.
#[derive(Debug, Default)]
pub struct Captured {
    /// Ids rise with the time: the first is the oldest.
    ids: BTreeSet<MessageId>,
    body_bytes: u64,
}

impl Captured {
    /// Counts a message in.
    pub fn add(&mut self, id: MessageId, size_bytes: u64) {
        self.ids.insert(id);
        self.body_bytes += size_bytes;
    }

    /// Counts a message out that was counted in with the same size.
    pub fn remove(&mut self, id: MessageId, size_bytes: u64) {
        if self.ids.remove(&id) {
            self.body_bytes -= size_bytes;
        }
    }

    /// Returns those of them that lie in a range, in the order of their ids.
    pub fn range(
        &self,
        range: impl RangeBounds<MessageId>,
    ) -> impl DoubleEndedIterator<Item = MessageId> + '_ {
        self.ids.range(range).copied()
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// Returns the octets of their bodies.
    pub const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Returns the oldest messages, at most `most`, whose retention has ended at `now` and why, and when the
    /// next one's time is over. The newest stays until then, however large it is: who captures mail wants to
    /// see what he just sent.
    fn over(
        &self,
        entries: &BTreeMap<MessageId, Entry>,
        now: Timestamp,
        retention: Retention,
        most: usize,
    ) -> (Vec<(MessageId, Ended)>, Option<Timestamp>) {
        let (mut over, mut bytes, mut left) = (Vec::new(), self.body_bytes, self.ids.len());
        for (id, entry) in self.ids.iter().filter_map(|id| Some((*id, entries.get(id)?))) {
            let ends_at = entry.accepted_at.saturating_add(retention.keep);
            let ends_at = ends_at.unwrap_or(Timestamp::MAX);
            let why = if ends_at <= now {
                Some(Ended::Time)
            } else if left == 1 {
                None
            } else if bytes > retention.size_bytes {
                Some(Ended::Size)
            } else if left > retention.messages {
                Some(Ended::Number)
            } else {
                None
            };
            let Some(why) = why.filter(|_| over.len() < most) else {
                return (over, Some(ends_at));
            };
            over.push((id, why));
            (bytes, left) = (bytes.saturating_sub(entry.size_bytes), left - 1);
        }
        (over, None)
    }
}

/// Drops what is over; see [`Spool::retire`](super::Spool::retire).
pub(super) async fn retire(
    shared: &Arc<Shared>,
    orders: &mpsc::Sender<Command>,
    now: Timestamp,
    capture: &config::Capture,
) -> Result<(Vec<(MessageId, Ended)>, Option<Timestamp>), StoreError> {
    let messages = (shared.settings.messages / PARTS).max(1);
    let retention = Retention { keep: capture.keep, size_bytes: capture.size_bytes, messages };
    let mut dropped = Vec::new();
    loop {
        let (over, next) = take(&mut shared.index(), now, retention);
        if over.is_empty() {
            return Ok((dropped, next));
        }
        // If a tombstone cannot be written, its message stays captured.
        let hold = |Over { id, ticket, why }| {
            (Hold::new(Arc::clone(shared), id, ticket, Turn::Captured), why)
        };
        let holds: Vec<_> = over.into_iter().map(hold).collect();
        let mut answers = Vec::with_capacity(holds.len());
        for (hold, why) in &holds {
            let (answer, answered) = oneshot::channel();
            let order = Order::new(hold.id(), What::Tombstone { answer }, Vec::new());
            orders.send(Command::Write(order)).await.map_err(|_| StoreError::Closed)?;
            answers.push((hold.id(), *why, answered));
        }
        for (id, why, answer) in answers {
            answer.await.map_err(|_| StoreError::Closed)??;
            dropped.push((id, why));
        }
    }
}

/// A message that is over, its turn taken.
struct Over {
    id: MessageId,
    ticket: Ticket,
    why: Ended,
}

/// Takes the turns of messages that are over.
fn take(index: &mut Index, now: Timestamp, retention: Retention) -> (Vec<Over>, Option<Timestamp>) {
    let (over, next) = index.captured.over(&index.entries, now, retention, TOGETHER);
    let take = |(id, why)| Over { id, ticket: index.take(id), why };
    (over.into_iter().map(take).collect(), next)
}
