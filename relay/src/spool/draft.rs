//! A message that is being received: dropped it is gone, committed it is ours.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::mail::envelope::Envelope;
use crate::mail::fingerprint::Fingerprint;
use crate::mail::message::MessageId;
use crate::spool::StoreError;
use crate::spool::content;
use crate::spool::label::{Label, Way};
use crate::spool::order::{self, Command, Order, Parts, What};
use crate::spool::segment::Location;
use crate::spool::share::Owner;
use crate::spool::shared::{Purpose, Shared};

/// A message on its way into the spool. It holds a small part of the body in memory; the parts
/// before that are in the log, where they are nothing until the commit.
#[derive(Debug)]
pub struct Draft {
    id: MessageId,
    purpose: Purpose,
    label: Label,
    /// Not before this; none: at once.
    hold_until: Option<Timestamp>,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Command>,
    /// The payload of the message record: the envelope, then the octets that came last.
    payload: Vec<u8>,
    envelope_length: usize,
    size_bytes: u64,
    parts: Parts,
    /// The part that is being written.
    in_flight: Option<oneshot::Receiver<Result<Location, StoreError>>>,
    sent: u16,
    failure: Option<StoreError>,
}

impl Draft {
    /// Begins a message.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`], [`StoreError::ShareUsed`], [`StoreError::TooLarge`] for the envelope.
    pub(super) fn begin(
        shared: Arc<Shared>,
        orders: mpsc::Sender<Command>,
        envelope: &Envelope,
    ) -> Result<Self, StoreError> {
        let owner = Owner::of(envelope.login.as_deref());
        // Only the relay's own reports come from nowhere.
        let purpose = match envelope.source {
            Some(_) => Purpose::Submission(owner),
            None => Purpose::Report,
        };
        shared.admit(purpose)?;
        let payload = content::encode_envelope(envelope)?;
        Ok(Self {
            id: shared.next_id(),
            purpose,
            label: Label {
                owner,
                way: Way::NONE,
                priority: envelope.terms.priority.unwrap_or_default().into(),
            },
            hold_until: envelope.terms.hold_until,
            orders,
            envelope_length: payload.len(),
            payload,
            size_bytes: 0,
            parts: Parts::new(Arc::clone(&shared)),
            shared,
            in_flight: None,
            sent: 0,
            failure: None,
        })
    }

    /// Returns the id that the message will have.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.id
    }

    /// Says which way the message goes first, so that it waits for room there.
    #[must_use]
    pub const fn toward(mut self, way: Way) -> Self {
        self.label.way = way;
        self
    }

    /// Adds octets to the end of the body: lines that end in CRLF.
    ///
    /// The first failure is kept for [`Self::commit`]; what comes after it is thrown away.
    pub async fn append(&mut self, mut bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        while !bytes.is_empty() && self.failure.is_none() {
            let room =
                self.shared.settings.part_bytes - (self.payload.len() - self.envelope_length);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.payload.extend_from_slice(now);
            bytes = later;
            if !bytes.is_empty()
                && let Err(problem) = self.send_part().await
            {
                self.fail(problem);
            }
        }
    }

    /// Replaces the envelope: what was learned from the body stands in it.
    ///
    /// A failure is kept for [`Self::commit`].
    pub fn amend(&mut self, envelope: &Envelope) {
        if self.failure.is_some() {
            return;
        }
        match content::encode_envelope(envelope) {
            Ok(encoded) => {
                let length = encoded.len();
                drop(self.payload.splice(..self.envelope_length, encoded));
                self.envelope_length = length;
            }
            Err(problem) => self.fail(problem),
        }
    }

    /// Makes the message ours: when this returns, envelope and body are on disk and flushed, and
    /// the message is due, or will be when the client wished (RFC 4865).
    ///
    /// If the future is dropped before it returns, the message may have become ours or not.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`]: 452 4.3.1. Any other: 451 4.3.0. Nothing of the message is left.
    pub async fn commit(self) -> Result<MessageId, StoreError> {
        self.commit_as(None).await
    }

    /// Makes the message ours as [`Self::commit`] does, unless it is a repeat: the same submission was
    /// accepted within a day, and its client may not know.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`]; [`StoreError::Repeat`] with the id of the first.
    pub async fn commit_once(self, fingerprint: Fingerprint) -> Result<MessageId, StoreError> {
        self.commit_as(Some(fingerprint)).await
    }

    async fn commit_as(
        mut self,
        fingerprint: Option<Fingerprint>,
    ) -> Result<MessageId, StoreError> {
        if let Err(problem) = self.land_part().await {
            self.fail(problem);
        }
        if let Some(problem) = self.failure.take() {
            return Err(problem);
        }
        let parts = std::mem::replace(&mut self.parts, Parts::new(Arc::clone(&self.shared)));
        if let Some(fingerprint) = fingerprint {
            content::sign(&mut self.payload, fingerprint);
        }
        let (answer, answered) = oneshot::channel();
        let (size_bytes, accepted_at) = (self.size_bytes, self.shared.now());
        let due_at = self.hold_until.map_or(accepted_at, |until| until.max(accepted_at));
        let label = self.label;
        let what =
            What::Message { parts, size_bytes, accepted_at, due_at, label, fingerprint, answer };
        let order = Order::new(self.id, what, std::mem::take(&mut self.payload));
        order::place(&self.orders, order, answered).await?;
        Ok(self.id)
    }

    /// Keeps the first failure and gives the memory back.
    fn fail(&mut self, problem: StoreError) {
        self.failure.get_or_insert(problem);
        self.payload = Vec::new();
        self.envelope_length = 0;
    }

    /// Sends the octets in memory into the log; one part is written while the next is gathered.
    async fn send_part(&mut self) -> Result<(), StoreError> {
        self.land_part().await?;
        self.shared.admit(self.purpose)?;
        let (answer, answered) = oneshot::channel();
        let body = self.payload.split_off(self.envelope_length);
        let order = Order::new(self.id, What::Part { number: self.sent.into(), answer }, body);
        self.orders.send(Command::Write(order)).await.map_err(|_| StoreError::Closed)?;
        self.in_flight = Some(answered);
        // The record of the message counts its parts in 16 bits.
        self.sent = self.sent.checked_add(1).ok_or(StoreError::TooLarge)?;
        Ok(())
    }

    /// Waits until the part on its way is written.
    async fn land_part(&mut self) -> Result<(), StoreError> {
        let Some(answered) = &mut self.in_flight else { return Ok(()) };
        let landed = answered.await;
        self.in_flight = None;
        self.parts.push(landed.map_err(|_| StoreError::Closed)??);
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A part that was answered and not taken in yet would keep its segment for ever.
        if let Some(mut answered) = self.in_flight.take() {
            answered.close();
            if let Ok(Ok(location)) = answered.try_recv() {
                self.parts.push(location);
            }
        }
    }
}
