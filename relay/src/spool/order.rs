//! What is asked of the writer, and who waits for the answer.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::mail::fingerprint::Fingerprint;
use crate::mail::message::MessageId;
use crate::spool::StoreError;
use crate::spool::label::{Label, Stay};
use crate::spool::segment::Location;
use crate::spool::shared::Shared;

/// How many orders may wait for the writer; whoever comes then waits to be let in.
pub const QUEUE: usize = 512;

/// The way to whoever waits for an order.
pub type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer takes from its queue.
#[derive(Debug)]
pub enum Command {
    /// A record.
    Write(Order),
    /// Nothing: the writer looks whether the spool is closing.
    Look,
    /// All space that can be had is to be given back; answered when it is.
    Compact(Answer<()>),
}

/// A record to be written.
#[derive(Debug)]
pub struct Order {
    /// The message it is about.
    pub id: MessageId,
    /// What it says.
    pub what: What,
    /// The payload.
    pub payload: Vec<u8>,
    /// The CRC-32C of the payload, reckoned by whoever waits: the writer has enough to do.
    pub payload_crc: u32,
}

/// The kinds of orders.
#[derive(Debug)]
pub enum What {
    /// A part of a draft: answered when it is written, and flushed with its message.
    Part { number: u32, answer: Answer<Location> },
    /// A message: answered when it is flushed.
    Message {
        parts: Parts,
        size_bytes: u64,
        accepted_at: Timestamp,
        due_at: Timestamp,
        label: Label,
        /// What it is known by if it comes again; none for the relay's own reports.
        fingerprint: Option<Fingerprint>,
        answer: Answer<()>,
    },
    /// What an attempt came to, or that the message is held: answered when it is flushed.
    State { pending: u32, attempts: u32, due_at: Timestamp, stay: Stay, answer: Answer<()> },
    /// The end of a message: answered when it is flushed.
    Tombstone { answer: Answer<()> },
}

impl What {
    /// Returns what a submission is known by, and when it was committed; none for everything else.
    pub fn submission(&self) -> Option<(Fingerprint, Timestamp)> {
        match self {
            Self::Message { fingerprint, accepted_at, .. } => {
                fingerprint.map(|fingerprint| (fingerprint, *accepted_at))
            }
            Self::Part { .. } | Self::State { .. } | Self::Tombstone { .. } => None,
        }
    }

    /// Tells whether a message becomes ours by it.
    pub const fn is_message(&self) -> bool {
        matches!(self, Self::Message { .. })
    }
}

impl Order {
    /// Makes an order.
    pub fn new(id: MessageId, what: What, payload: Vec<u8>) -> Self {
        let payload_crc = crc32c::crc32c(&payload);
        Self { id, what, payload, payload_crc }
    }

    /// Tells whoever waits that it was not done. Nobody may wait any more: that is fine.
    pub fn refuse(self, problem: StoreError) {
        match self.what {
            What::Part { answer, .. } => drop(answer.send(Err(problem))),
            What::Message { answer, .. }
            | What::State { answer, .. }
            | What::Tombstone { answer } => drop(answer.send(Err(problem))),
        }
    }
}

/// The parts of a draft that are on disk. They are given back when this is dropped.
#[derive(Debug)]
pub struct Parts {
    shared: Arc<Shared>,
    locations: Vec<Location>,
}

impl Parts {
    /// Begins without any.
    pub const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, locations: Vec::new() }
    }

    /// Takes one more, which the writer has pinned.
    pub fn push(&mut self, location: Location) {
        self.locations.push(location);
    }

    /// Returns where they are, in order.
    pub fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// Gives them to a message: they are no longer given back.
    pub fn into_locations(mut self) -> Vec<Location> {
        std::mem::take(&mut self.locations)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if self.locations.is_empty() {
            return;
        }
        let mut index = self.shared.index();
        for location in self.locations.drain(..) {
            index.release(location);
            index.unpin(location.segment);
        }
    }
}

/// Puts an order into the writer's queue and waits for the answer.
///
/// # Errors
///
/// What the writer answers; [`StoreError::Closed`] if it has stopped.
pub async fn place<T>(
    orders: &mpsc::Sender<Command>,
    order: Order,
    answer: oneshot::Receiver<Result<T, StoreError>>,
) -> Result<T, StoreError> {
    orders.send(Command::Write(order)).await.map_err(|_| StoreError::Closed)?;
    answer.await.map_err(|_| StoreError::Closed)?
}
