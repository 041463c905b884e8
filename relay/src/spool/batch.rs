//! Records that go into the log together, and what changes in the index once they are there.

use std::collections::HashMap;

use crate::mail::fingerprint::Fingerprint;
use crate::mail::message::MessageId;
use crate::spool::compact::Copied;
use crate::spool::index::{Entry, Index, Turn};
use crate::spool::order::{Answer, Order, What};
use crate::spool::record::Kind;
use crate::spool::segment::{Location, SegmentId};

/// Records that are written together.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records of orders.
    pub placed: Vec<(Order, Kind, Location)>,
    /// Records that were copied out of a segment that is being emptied.
    pub copied: Vec<Copied>,
    /// Submissions of this batch, by what they are known by.
    pub submitted: HashMap<Fingerprint, MessageId>,
    /// Submissions that came again while the first is in this batch, and the id of that.
    pub repeated: Vec<(Order, MessageId)>,
    /// Something did not fit into the segment: it is sealed after this batch.
    pub is_full: bool,
    /// How many burials it begins with.
    pub burials: usize,
    /// Somebody's promise depends on it.
    pub needs_flush: bool,
}

/// A message that must not come back, since its commit failed or its end was asked for.
#[derive(Debug)]
pub struct Burial {
    /// The message.
    pub id: MessageId,
    /// The lowest segment in which a record of it may lie.
    pub first: SegmentId,
    /// The highest.
    pub last: SegmentId,
    /// Whether the message was ever promised.
    pub promise: Promise,
    /// Who waits for its tombstone.
    pub answer: Option<Answer<()>>,
}

/// Whether somebody was told that a message is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It was ours, and its end was asked for.
    Made,
    /// It was refused: when it comes again it is a new one.
    Refused,
}

impl Promise {
    /// Returns what the tombstone says of it.
    pub const fn payload(self) -> &'static [u8] {
        match self {
            Self::Made => b"",
            Self::Refused => b"refused",
        }
    }
}

impl Batch {
    /// Enters everything into the index; returns who waits for the flush.
    pub fn enter(self, index: &mut Index) -> Vec<Answer<()>> {
        for copied in self.copied {
            copied.enter(index);
        }
        let placed = self.placed.into_iter();
        placed.filter_map(|(order, kind, location)| enter(index, order, kind, location)).collect()
    }
}

/// Enters one record into the index; returns who waits for its flush.
fn enter(index: &mut Index, order: Order, kind: Kind, location: Location) -> Option<Answer<()>> {
    match order.what {
        What::Part { answer, .. } => {
            index.pin(location);
            if answer.send(Ok(location)).is_err() {
                // The draft was dropped meanwhile.
                index.release(location);
                index.unpin(location.segment);
            }
            None
        }
        What::Message { parts, size_bytes, accepted_at, due_at, label, fingerprint: _, answer } => {
            let parts = parts.into_locations().into_boxed_slice();
            let segments = parts.iter().map(|part| part.segment).chain([location.segment]);
            let first = segments.min().unwrap_or(location.segment);
            parts.iter().for_each(|part| index.unpin(part.segment));
            index.keep(location);
            index.insert(
                order.id,
                Entry {
                    message: location,
                    parts,
                    state: None,
                    first,
                    pending: 0,
                    attempts: 0,
                    size_bytes,
                    label,
                    accepted_at,
                    turn: Turn::Due(due_at),
                },
            );
            Some(answer)
        }
        What::State { pending, attempts, due_at, stay, answer } => {
            if let Some(entry) = index.entries.get_mut(&order.id) {
                let (old, before) = (entry.state.replace(location), entry.turn);
                (entry.pending, entry.attempts) = (pending, attempts);
                if let Some(old) = old {
                    index.release(old);
                }
                let turn = before.settled(Turn::after(stay, due_at));
                index.keep(location);
                index.turn(order.id, turn);
            }
            Some(answer)
        }
        What::Tombstone { answer } => {
            index.remove(order.id);
            if let (Kind::Tombstone { first, last }, Some(tally)) =
                (kind, index.segments.get_mut(&location.segment))
            {
                tally.bury(first, last);
            }
            Some(answer)
        }
    }
}
