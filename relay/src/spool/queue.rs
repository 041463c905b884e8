//! What an operator sees and does: list, show, retry, remove, and how the spool fares.

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
use crate::spool::index::{Entry, Index, Standing, Turn};
use crate::spool::order::{self, Command, Order, What};
use crate::spool::shared::Shared;

/// The most octets of a name in a summary: recipients beyond this many are counted only.
const RECIPIENTS_SHOWN: usize = 16;

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
    /// An operator holds it; released, it goes on.
    Held,
    /// It is kept instead of sent, until its retention ends.
    Captured,
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
    /// When it is due, or will be once it is released; none unless it waits or is held.
    pub due_at: Option<Timestamp>,
    /// Attempts made.
    pub attempts: u32,
    /// The length of the body, octets.
    pub size_bytes: u64,
    /// The sender, empty for the null path; none if the envelope cannot be read.
    pub sender: Option<String>,
    /// The first 16 recipients.
    pub recipients: Vec<String>,
    /// The first 16 of those who are still open; none if nobody is, or where they stand cannot be read.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// How many recipients are still open.
    pub pending: u32,
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

/// A piece of a message's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// At most 256 KiB and what of a record is left.
    pub octets: Vec<u8>,
    /// The number of the next one; none at the end.
    pub next: Option<usize>,
}

/// How the spool fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Messages kept.
    pub messages: usize,
    /// Of these, set aside because a part failed its check.
    pub damaged: usize,
    /// Of these, held by an operator.
    pub held: usize,
    /// Of these, captured.
    pub captured: usize,
    /// The octets of the bodies of captured messages.
    pub captured_bytes: u64,
    /// The octets of their bodies.
    pub body_bytes: u64,
    /// The octets of the log.
    pub log_bytes: u64,
    /// The files of the log.
    pub segments: usize,
    /// Files of the log that a write or flush failed on, or in which something cannot be read.
    pub troubled_segments: usize,
    /// When the next message is due of those that wait for a time.
    #[serde(default)]
    pub next_due: Option<Timestamp>,
    /// Free space, octets.
    pub free_bytes: u64,
    /// Free space that submissions leave alone, octets.
    pub reserve_bytes: u64,
    /// Messages committed since the start.
    pub commits: u64,
    /// Flushes for them and for outcomes since the start.
    pub flushes: u64,
}

impl Place {
    /// Returns where a message stands whose turn it is, and when it is due.
    pub(super) const fn of(turn: Turn) -> (Self, Option<Timestamp>) {
        match turn {
            Turn::Due(due_at) => (Self::Waiting, Some(due_at)),
            Turn::Claimed(_) | Turn::Spoiled(_) => (Self::Claimed, None),
            Turn::Damaged => (Self::Damaged, None),
            Turn::Held(due_at) => (Self::Held, Some(due_at)),
            Turn::Captured => (Self::Captured, None),
        }
    }
}

/// Returns the line of a message in a listing; `standings` are those of its recipients as far as they are known.
pub(super) fn summary(
    id: MessageId,
    entry: &Entry,
    envelope: Option<&Envelope>,
    standings: &[content::Standing],
) -> Summary {
    let (place, due_at) = Place::of(entry.turn);
    let recipients = envelope.map_or(&[][..], |envelope| &envelope.recipients);
    let named = recipients.iter().zip(standings);
    let waiting = named.filter(|(_, standing)| **standing == content::Standing::Pending);
    Summary {
        id,
        place,
        accepted_at: entry.accepted_at,
        due_at,
        attempts: entry.attempts,
        size_bytes: entry.size_bytes,
        sender: envelope.map(|envelope| envelope.sender.to_string()),
        recipients: recipients.iter().take(RECIPIENTS_SHOWN).map(ToString::to_string).collect(),
        waiting: waiting.take(RECIPIENTS_SHOWN).map(|(waits, _)| waits.to_string()).collect(),
        pending: if entry.state.is_some() { entry.pending } else { recipients.len() as u32 },
    }
}

pub(super) async fn envelope_of(shared: &Shared, id: MessageId) -> Result<Envelope, StoreError> {
    let (_, payload) = shared.read(|index| index.entries.get(&id).map(|e| e.message)).await?;
    Ok(content::decode_message(&payload)?.0)
}

/// Reads where the recipients of a message stand whose entry and envelope are known.
pub(super) async fn progress_of(
    shared: &Shared,
    id: MessageId,
    entry: &Entry,
    envelope: &Envelope,
) -> Result<Vec<Progress>, StoreError> {
    if entry.state.is_none() {
        return Ok(Progress::start(envelope));
    }
    let (_, state) = shared.read(|index| index.entries.get(&id)?.state).await?;
    content::decode_progress(&state, envelope)
}

/// Shows one message.
pub(super) async fn show(shared: &Shared, id: MessageId) -> Result<Details, StoreError> {
    let entry = shared.index().entries.get(&id).cloned().ok_or(StoreError::Gone)?;
    let envelope = envelope_of(shared, id).await?;
    let progress = progress_of(shared, id, &entry, &envelope).await?;
    let standings: Vec<_> = progress.iter().map(|progress| progress.standing).collect();
    Ok(Details { summary: summary(id, &entry, Some(&envelope), &standings), envelope, progress })
}

/// Reads a piece of a message's text.
pub(super) async fn read_piece(
    shared: &Shared,
    id: MessageId,
    number: usize,
) -> Result<Piece, StoreError> {
    let parts = shared.index().entries.get(&id).ok_or(StoreError::Gone)?.parts.len();
    let find = |index: &Index| {
        let entry = index.entries.get(&id)?;
        entry.parts.iter().copied().chain([entry.message]).nth(number)
    };
    let (_, mut octets) = shared.read(find).await?;
    if number == parts {
        let (_, body_starts) = content::decode_message(&octets)?;
        octets.drain(..body_starts);
    }
    Ok(Piece { octets, next: (number < parts).then_some(number + 1) })
}

/// Makes one waiting message due now.
pub(super) fn retry(shared: &Shared, id: MessageId) -> Result<(), StoreError> {
    let mut index = shared.index();
    match index.entries.get(&id).ok_or(StoreError::Gone)?.turn {
        Turn::Due(_) | Turn::Damaged => {}
        Turn::Claimed(_) | Turn::Spoiled(_) => return Err(StoreError::Claimed),
        Turn::Held(_) => return Err(StoreError::Held),
        Turn::Captured => return Err(StoreError::Captured),
    }
    index.turn(id, Turn::Due(shared.now()));
    drop(index);
    shared.due.notify_one();
    Ok(())
}

/// Removes a message that nobody has in hand.
pub(super) async fn remove(
    shared: &Arc<Shared>,
    orders: &mpsc::Sender<Command>,
    id: MessageId,
) -> Result<(), StoreError> {
    let (before, ticket) = {
        let mut index = shared.index();
        let turn = index.entries.get(&id).ok_or(StoreError::Gone)?.turn;
        if matches!(turn, Turn::Claimed(_) | Turn::Spoiled(_)) {
            return Err(StoreError::Claimed);
        }
        (turn, index.take(id))
    };
    // If the tombstone cannot be written, it is as before.
    let _hold = Hold::new(Arc::clone(shared), id, ticket, before);
    let (answer, answered) = oneshot::channel();
    let order = Order::new(id, What::Tombstone { answer }, Vec::new());
    order::place(orders, order, answered).await
}

/// Returns when the oldest message was accepted that is to leave by itself.
pub(super) fn oldest(shared: &Shared) -> Option<Timestamp> {
    let index = shared.index();
    let leaves = |entry: &&Entry| match entry.turn {
        Turn::Due(_) | Turn::Claimed(_) => true,
        Turn::Spoiled(_) | Turn::Damaged | Turn::Held(_) | Turn::Captured => false,
    };
    index.entries.values().find(leaves).map(|entry| entry.accepted_at)
}

/// Tells how the spool fares.
pub(super) fn status(shared: &Shared) -> Result<Status, StoreError> {
    let space = shared.space()?;
    let index = shared.index();
    let is_sound = |standing| matches!(standing, Standing::Active | Standing::Sealed);
    Ok(Status {
        messages: index.entries.len(),
        damaged: index.damaged,
        held: index.held,
        captured: index.captured.count(),
        captured_bytes: index.captured.body_bytes(),
        body_bytes: index.body_bytes,
        log_bytes: index.log_bytes(),
        segments: index.segments.len(),
        troubled_segments: index.segments.values().filter(|t| !is_sound(t.standing)).count(),
        next_due: index.agenda.next_due(),
        free_bytes: space.free_bytes,
        reserve_bytes: shared.reserve_bytes(space),
        commits: shared.commits.load(Ordering::Relaxed),
        flushes: shared.flushes.load(Ordering::Relaxed),
    })
}
