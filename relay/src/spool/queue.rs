//! What an operator sees and does: list, show, retry, remove, and how the spool fares.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;
use crate::spool::StoreError;
use crate::spool::claim::Hold;
use crate::spool::content::{self, Progress};
use crate::spool::index::{Entry, Standing, Turn};
use crate::spool::order::{self, Command, Order, What};
use crate::spool::shared::Shared;

/// The most messages that one call of `list` looks at.
const LOOKED_AT: usize = 10_000;
/// The most octets of a name in a summary: recipients beyond this many are counted only.
const RECIPIENTS_SHOWN: usize = 16;

/// Which messages are asked for; none of the fields narrows nothing. All compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Part of the sender.
    pub sender: Option<String>,
    /// Part of a recipient.
    pub recipient: Option<String>,
    /// The whole domain of a recipient.
    pub domain: Option<String>,
    /// The login.
    pub login: Option<String>,
    /// Goes on behind this id.
    pub after: Option<MessageId>,
}

impl Filter {
    fn is_open(&self) -> bool {
        let Self { sender, recipient, domain, login, after: _ } = self;
        sender.is_none() && recipient.is_none() && domain.is_none() && login.is_none()
    }

    fn admits(&self, envelope: &Envelope) -> bool {
        let holds = |whole: &str, part: &Option<String>| {
            let whole = whole.to_ascii_lowercase();
            part.as_ref().is_none_or(|part| whole.contains(&part.to_ascii_lowercase()))
        };
        let is = |whole: &str, name: &Option<String>| {
            name.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(whole))
        };
        holds(&envelope.sender.to_string(), &self.sender)
            && is(envelope.login.as_deref().unwrap_or(""), &self.login)
            && envelope.recipients.iter().any(|recipient| {
                holds(recipient.as_str(), &self.recipient) && is(recipient.domain(), &self.domain)
            })
    }
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// It waits until its time.
    Waiting,
    /// An attempt is being made.
    Claimed,
    /// A part of it failed its check; `retry` looks again, `remove` gives it up.
    Damaged,
}

/// A message in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The message's id.
    pub id: MessageId,
    /// Where it stands.
    pub place: Place,
    /// When it became ours.
    pub accepted_at: Timestamp,
    /// When it is due; none unless it waits.
    pub due_at: Option<Timestamp>,
    /// Attempts made.
    pub attempts: u32,
    /// The length of the body, octets.
    pub size_bytes: u64,
    /// The sender, empty for the null path; none if the envelope cannot be read.
    pub sender: Option<String>,
    /// The first 16 recipients.
    pub recipients: Vec<String>,
    /// How many recipients are still open.
    pub pending: u32,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Summary>,
    /// Where to go on ([`Filter::after`]); none at the end.
    pub next: Option<MessageId>,
}

/// Everything about one message but its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The line of a listing.
    pub summary: Summary,
    /// The envelope.
    pub envelope: Envelope,
    /// Where every recipient stands, in the order of the envelope.
    pub progress: Vec<Progress>,
}

/// How the spool fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Messages kept.
    pub messages: usize,
    /// Of these, set aside because a part failed its check.
    pub damaged: usize,
    /// The octets of their bodies.
    pub body_bytes: u64,
    /// The octets of the log.
    pub log_bytes: u64,
    /// The files of the log.
    pub segments: usize,
    /// Files of the log that a write or flush failed on, or in which something cannot be read.
    pub troubled_segments: usize,
    /// Free space, octets.
    pub free_bytes: u64,
    /// Free space that submissions leave alone, octets.
    pub reserve_bytes: u64,
    /// Messages committed since the start.
    pub commits: u64,
    /// Flushes for them and for outcomes since the start.
    pub flushes: u64,
}

fn summary(id: MessageId, entry: &Entry, envelope: Option<&Envelope>) -> Summary {
    let (place, due_at) = match entry.turn {
        Turn::Due(due_at) => (Place::Waiting, Some(due_at)),
        Turn::Claimed => (Place::Claimed, None),
        Turn::Damaged => (Place::Damaged, None),
    };
    let recipients = envelope.map_or(&[][..], |envelope| &envelope.recipients);
    Summary {
        id,
        place,
        accepted_at: entry.accepted_at,
        due_at,
        attempts: entry.attempts,
        size_bytes: entry.size_bytes,
        sender: envelope.map(|envelope| envelope.sender.to_string()),
        recipients: recipients.iter().take(RECIPIENTS_SHOWN).map(ToString::to_string).collect(),
        pending: if entry.state.is_some() { entry.pending } else { recipients.len() as u32 },
    }
}

async fn envelope_of(shared: &Shared, id: MessageId) -> Result<Envelope, StoreError> {
    let (_, payload) = shared.read(|index| index.entries.get(&id).map(|e| e.message)).await?;
    Ok(content::decode_message(&payload)?.0)
}

/// Lists at most `limit` messages that `filter` admits.
pub(super) async fn list(shared: &Shared, filter: &Filter, limit: usize) -> Page {
    let mut messages = Vec::new();
    let mut last = filter.after;
    for _ in 0..LOOKED_AT {
        if messages.len() >= limit {
            return Page { messages, next: last };
        }
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = {
            let index = shared.index();
            index.entries.range((from, Bound::Unbounded)).next().map(|(id, e)| (*id, e.clone()))
        };
        let Some((id, entry)) = next else { return Page { messages, next: None } };
        last = Some(id);
        match envelope_of(shared, id).await {
            Ok(envelope) if filter.admits(&envelope) => {
                messages.push(summary(id, &entry, Some(&envelope)));
            }
            // What cannot be read is listed unless something about it was asked for.
            Err(StoreError::Damaged(_) | StoreError::Failed(_)) if filter.is_open() => {
                messages.push(summary(id, &entry, None));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Page { messages, next: last }
}

/// Shows one message.
pub(super) async fn show(shared: &Shared, id: MessageId) -> Result<Details, StoreError> {
    let entry = shared.index().entries.get(&id).cloned().ok_or(StoreError::Gone)?;
    let envelope = envelope_of(shared, id).await?;
    let progress = if entry.state.is_some() {
        let (_, state) = shared.read(|index| index.entries.get(&id)?.state).await?;
        content::decode_progress(&state, &envelope)?
    } else {
        Progress::start(&envelope)
    };
    Ok(Details { summary: summary(id, &entry, Some(&envelope)), envelope, progress })
}

/// Makes one waiting message due now.
pub(super) fn retry(shared: &Shared, id: MessageId) -> Result<(), StoreError> {
    let mut index = shared.index();
    let entry = index.entries.get(&id).ok_or(StoreError::Gone)?;
    if entry.turn == Turn::Claimed {
        return Err(StoreError::Claimed);
    }
    index.turn(id, Turn::Due(Timestamp::now()));
    drop(index);
    shared.due.notify_one();
    Ok(())
}

/// Makes all waiting messages due now; returns how many.
pub(super) fn retry_all(shared: &Shared) -> usize {
    let mut index = shared.index();
    let waits = |entry: &Entry| matches!(entry.turn, Turn::Due(_));
    let waiting: Vec<_> =
        index.entries.iter().filter(|(_, entry)| waits(entry)).map(|(id, _)| *id).collect();
    let now = Timestamp::now();
    for id in &waiting {
        index.turn(*id, Turn::Due(now));
    }
    drop(index);
    shared.due.notify_one();
    waiting.len()
}

/// Removes a message that nobody has in hand.
pub(super) async fn remove(
    shared: &Arc<Shared>,
    orders: &mpsc::Sender<Command>,
    id: MessageId,
) -> Result<(), StoreError> {
    let before = {
        let mut index = shared.index();
        let turn = index.entries.get(&id).ok_or(StoreError::Gone)?.turn;
        if turn == Turn::Claimed {
            return Err(StoreError::Claimed);
        }
        index.turn(id, Turn::Claimed);
        turn
    };
    // If the tombstone cannot be written, the message gets another turn.
    let _hold = Hold::new(Arc::clone(shared), id);
    let (answer, answered) = oneshot::channel();
    let order = Order::new(id, What::Tombstone { answer }, Vec::new());
    let result = order::place(orders, order, answered).await;
    if result.is_err() {
        shared.index().turn(id, before);
    }
    result
}

/// Tells how the spool fares.
pub(super) fn status(shared: &Shared) -> Result<Status, StoreError> {
    let space = shared.space()?;
    let index = shared.index();
    let is_sound = |standing| matches!(standing, Standing::Active | Standing::Sealed);
    Ok(Status {
        messages: index.entries.len(),
        damaged: index.damaged,
        body_bytes: index.body_bytes,
        log_bytes: index.log_bytes(),
        segments: index.segments.len(),
        troubled_segments: index.segments.values().filter(|t| !is_sound(t.standing)).count(),
        free_bytes: space.free_bytes,
        reserve_bytes: shared.reserve_bytes(space),
        commits: shared.commits.load(Ordering::Relaxed),
        flushes: shared.flushes.load(Ordering::Relaxed),
    })
}
