//! A message that somebody has in hand to deliver it: nobody else gets it until it is settled.

mod settle;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::Event;
use crate::mail::envelope::{Body, Envelope};
use crate::mail::message::MessageId;
use crate::mail::report::Notice;
use crate::smtp::address::Address;
use crate::spool::StoreError;
use crate::spool::content::{self, Progress, Standing};
use crate::spool::index::{Ticket, Turn};
use crate::spool::label::Way;
use crate::spool::queue::progress_of;
use crate::spool::shared::{Next, Shared};

pub(super) use settle::settle;

/// When a message is due again that was claimed and not settled, or some of whose recipients were not asked.
const UNSETTLED: Duration = Duration::from_secs(60);
/// The longest wait before the wall clock is looked at again: it may have been set forward.
const CLOCK_CHECK: Duration = Duration::from_secs(300);
/// The most octets that are read at once of what was put in front or in place: all of it would be in memory
/// once more for every reader.
const PIECE: usize = 256 * 1024;

/// A claimed message. Dropped without [`Spool::settle`](super::Spool::settle) it is due again
/// after 60 s.
#[derive(Debug)]
pub struct Claim {
    hold: Hold,
    envelope: Envelope,
    progress: Vec<Progress>,
    pending: Vec<Address>,
    attempts: u32,
    size_bytes: u64,
    accepted_at: Timestamp,
    payload: Arc<Vec<u8>>,
    body_starts: usize,
    parts: usize,
    /// What is carried besides the body of the spool, or in its place.
    carried: Carried,
}

/// What a message in hand is sent as.
#[derive(Clone, Debug)]
enum Carried {
    /// As it is in the spool.
    Body,
    /// With these octets in front.
    Behind(Arc<Vec<u8>>),
    /// As these octets.
    As(Arc<Vec<u8>>),
}

impl Claim {
    /// Returns the message's id.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.hold.id
    }

    /// Returns the envelope as it was committed, with all recipients.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the recipients that are still open, in the order of the envelope.
    #[must_use]
    pub fn pending(&self) -> &[Address] {
        &self.pending
    }

    /// Returns where every recipient stands, in the order of the envelope.
    #[must_use]
    pub fn progress(&self) -> &[Progress] {
        &self.progress
    }

    /// Remembers that the sender was told at `now` that these recipients wait; written down when
    /// the message is settled, if any of them is still open then.
    pub fn told(&mut self, recipients: &[Address], now: Timestamp) {
        for (recipient, progress) in self.envelope.recipients.iter().zip(&mut self.progress) {
            if recipients.contains(recipient) {
                progress.told = Some(now);
            }
        }
    }

    /// Remembers which recipients the sender is still to be told of, though they need no attempt any
    /// more; the others are told of. Written down when the message is settled: while a report is owed
    /// the message stays, and is due again.
    pub fn owe(&mut self, owed: &[Notice]) {
        for (recipient, progress) in self.envelope.recipients.iter().zip(&mut self.progress) {
            progress.owed = owed.iter().find(|notice| notice.recipient == *recipient).cloned();
        }
    }

    /// Returns how many attempts were settled before.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the length of the body, octets.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match &self.carried {
            Carried::Body => self.size_bytes,
            Carried::Behind(front) => self.size_bytes + front.len() as u64,
            Carried::As(octets) => octets.len() as u64,
        }
    }

    /// Puts octets in front of the body as it is in the spool. They belong to this claim alone.
    pub fn put_in_front(&mut self, octets: Vec<u8>) {
        self.carried = Carried::Behind(Arc::new(octets));
    }

    /// Puts octets of this kind in place of the body. They belong to this claim alone.
    pub fn put_in_place(&mut self, octets: Vec<u8>, kind: Body) {
        self.carried = Carried::As(Arc::new(octets));
        self.envelope.body = kind;
    }

    /// Returns when the message became ours.
    #[must_use]
    pub const fn accepted_at(&self) -> Timestamp {
        self.accepted_at
    }

    /// Says which way the recipients go next for whom no outcome will come of this attempt.
    pub fn steer(&self, way: Way) {
        self.hold.shared.index().steer(self.hold.id, way);
    }

    /// Begins to read the body, from its start; as often as it is needed.
    #[must_use]
    pub fn body(&self) -> BodyReader {
        let end = Some((Arc::clone(&self.payload), self.body_starts));
        let (front, parts, end) = match &self.carried {
            Carried::Body => (None, self.parts, end),
            Carried::Behind(front) => (Some((Arc::clone(front), 0)), self.parts, end),
            Carried::As(octets) => (Some((Arc::clone(octets), 0)), 0, None),
        };
        BodyReader {
            shared: Arc::clone(&self.hold.shared),
            id: self.hold.id,
            next: 0,
            parts,
            front,
            end,
        }
    }
}

/// Reads the body of a claimed message part by part and checks what it reads. A clone reads on from
/// the same place.
#[derive(Clone, Debug)]
pub struct BodyReader {
    shared: Arc<Shared>,
    id: MessageId,
    next: usize,
    parts: usize,
    /// With how much of it is read.
    front: Option<(Arc<Vec<u8>>, usize)>,
    end: Option<(Arc<Vec<u8>>, usize)>,
}

impl BodyReader {
    /// Returns the next octets of the body, never empty; none at the end. They come in parts of at most
    /// 256 KiB; what was put in front or in place comes first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`]: the message is set aside when its claim ends, and what was read so far must not be
    /// ended as if it were whole. Others: try again later.
    pub async fn read_chunk(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some((front, read)) = &mut self.front {
            let piece = front[*read..front.len().min(*read + PIECE)].to_vec();
            *read += piece.len();
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            self.front = None;
        }
        if self.next < self.parts {
            let (id, number) = (self.id, self.next);
            let read = self.shared.read(|index| {
                index.entries.get(&id).and_then(|entry| entry.parts.get(number).copied())
            });
            let read = read.await.map(|(_, payload)| payload);
            if let Err(StoreError::Damaged(problem)) = &read {
                self.shared.set_aside(id, problem.clone());
            }
            self.next += 1;
            return read.map(Some);
        }
        let end = self.end.take().map(|(payload, start)| payload[start..].to_vec());
        Ok(end.filter(|end| !end.is_empty()))
    }
}

/// A turn that was taken: when it is dropped, the message gets another.
#[derive(Debug)]
pub(super) struct Hold {
    shared: Arc<Shared>,
    id: MessageId,
    ticket: Ticket,
    before: Turn,
}

impl Hold {
    /// Takes over the turn of a message that was taken with `ticket`, and was `before`.
    pub(super) const fn new(
        shared: Arc<Shared>,
        id: MessageId,
        ticket: Ticket,
        before: Turn,
    ) -> Self {
        Self { shared, id, ticket, before }
    }

    /// Returns the message's id.
    pub(super) const fn id(&self) -> MessageId {
        self.id
    }

    /// Returns the turn that the message gets if nothing came of this one.
    fn next(&self) -> Turn {
        match self.before {
            Turn::Claimed(_) | Turn::Spoiled(_) => {
                let now = self.shared.now();
                Turn::Due(now.saturating_add(UNSETTLED).unwrap_or(now))
            }
            // Whoever had it was no attempt: it waits as before.
            before @ (Turn::Due(_) | Turn::Held(_) | Turn::Captured | Turn::Damaged) => before,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut index = self.shared.index();
        let turn = match index.entries.get(&self.id).map(|entry| entry.turn) {
            Some(Turn::Claimed(ticket)) if ticket == self.ticket => self.next(),
            Some(Turn::Spoiled(ticket)) if ticket == self.ticket => Turn::Damaged,
            // Settled or gone: then the turn is somebody else's, and perhaps taken again.
            Some(
                Turn::Claimed(_)
                | Turn::Spoiled(_)
                | Turn::Due(_)
                | Turn::Damaged
                | Turn::Held(_)
                | Turn::Captured,
            )
            | None => return,
        };
        index.turn(self.id, turn);
        drop(index);
        self.shared.due.notify_one();
    }
}

/// Waits for the message whose turn is next, of the ways that have room, and reads its envelope.
pub(super) async fn next(shared: &Arc<Shared>, has_room: impl Fn(Way) -> bool) -> Claim {
    loop {
        let now = shared.now();
        match shared.take_due(now, &has_room) {
            Next::Message(id, ticket) => {
                let before = Turn::Claimed(ticket);
                let hold = Hold::new(Arc::clone(shared), id, ticket, before);
                match load(hold).await {
                    Ok(claim) => return claim,
                    Err(StoreError::Damaged(problem)) => shared.set_aside(id, problem),
                    // An operator removed it meanwhile.
                    Err(StoreError::Gone) => {}
                    Err(problem) => {
                        let problem = format!("message {id} waits: {problem}");
                        shared.say(Event::Trouble { room: "spool", problem });
                    }
                }
            }
            Next::At(due_at) => {
                let wait = Duration::try_from(due_at.duration_since(now)).unwrap_or_default();
                // Either end of the wait is a reason to look again.
                drop(tokio::time::timeout(wait.min(CLOCK_CHECK), shared.due.notified()).await);
            }
            Next::Nothing => shared.due.notified().await,
        }
    }
}

/// Gives a message back untouched; it is due at once, by `way`.
pub(super) fn put_back(claim: &Claim, way: Way) {
    let shared = &claim.hold.shared;
    let mut index = shared.index();
    index.steer(claim.id(), way);
    index.turn(claim.id(), Turn::Due(claim.accepted_at));
    drop(index);
    shared.due.notify_one();
}

/// Reads envelope, end of the body and state of a message in hand.
async fn load(hold: Hold) -> Result<Claim, StoreError> {
    let (shared, id) = (Arc::clone(&hold.shared), hold.id);
    let entry = shared.index().entries.get(&id).cloned().ok_or(StoreError::Gone)?;
    let (_, payload) = shared.read(|index| index.entries.get(&id).map(|e| e.message)).await?;
    let (envelope, body_starts) = content::decode_message(&payload)?;
    let progress = progress_of(&shared, id, &entry, &envelope).await?;
    let open = envelope.recipients.iter().zip(&progress);
    let pending: Vec<_> = open
        .filter(|(_, progress)| progress.standing == Standing::Pending)
        .map(|(recipient, _)| recipient.clone())
        .collect();
    shared.index().agenda.charge(entry.job(), pending.len());
    Ok(Claim {
        hold,
        envelope,
        progress,
        pending,
        attempts: entry.attempts,
        size_bytes: entry.size_bytes,
        accepted_at: entry.accepted_at,
        payload: Arc::new(payload),
        body_starts,
        parts: entry.parts.len(),
        carried: Carried::Body,
    })
}
