//! The loop around one [`Attempt`]: does what the actions say, over whatever carries the octets.
//!
//! A [`Wire`] is a connection (`connection`), or one of the simulated world, where octets are cut and
//! lost by a seed.

use std::time::Instant;

use jiff::Timestamp;

use super::memory::{Budget, Room, aside};
use super::recall::{self, Recall};
use crate::delivery::action::{Action, End};
use crate::delivery::attempt::Attempt;
use crate::delivery::carriage::Conversion;
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::Judged;
use crate::delivery::terms::Terms;
use crate::delivery::throttle::Demand;
use crate::spool::BodyReader;

/// What carries the octets of a conversation, and its clocks.
pub(super) trait Wire {
    /// Returns the time that deadlines go by.
    fn instant(&self) -> Instant;
    /// Returns the time of the wall clock, UTC.
    fn now(&self) -> Timestamp;
    /// Returns how many octets of a body may be handed over next under one deadline; at least one.
    fn piece(&self) -> usize;
    /// Returns what bounds the messages that are held on their way to next hops.
    fn memory(&self) -> &'static Budget;
    /// Tells whether octets have to be moved before the next action.
    fn is_busy(&self) -> bool;
    /// Does what octets and secrets are needed for.
    async fn obey(&mut self, attempt: &mut Attempt, action: Action);
    /// Moves octets, or lets the attempt expire.
    async fn exchange(&mut self, attempt: &mut Attempt);
    /// Gives the stream up.
    fn close(&mut self);
}

/// A conversation with a next hop that has been greeted and waits for a message.
pub(super) struct Conversation<W> {
    attempt: Attempt,
    pub(super) wire: W,
}

/// What one message came to.
pub(super) struct Carried<W> {
    pub judged: Vec<Judged>,
    pub left: Left<W>,
    /// What the next hop asked of our pace.
    pub demand: Demand,
}

/// How a conversation ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub end: End,
    /// What the next hop asked of our pace.
    pub demand: Demand,
}

/// What is left of a conversation when its message is settled.
pub(super) enum Left<W> {
    /// The next message can begin.
    Ready(Conversation<W>),
    /// It has to be led to an end or to the next message first.
    Busy(Conversation<W>),
    /// It is closed.
    Closed(End),
}

impl<W> Left<W> {
    /// Returns how it ended; none if it did not.
    pub(super) const fn end(&self) -> Option<&End> {
        match self {
            Self::Ready(_) | Self::Busy(_) => None,
            Self::Closed(end) => Some(end),
        }
    }
}

/// What a driver learns while it moves octets.
enum Turn {
    Ready,
    Settled(Vec<Judged>),
    Closed(End),
}

/// A body on its way.
struct Cargo {
    reader: BodyReader,
    piece: Vec<u8>,
    sent: usize,
    /// For what the attempt holds of it.
    room: Option<Room>,
    /// Whether an operator wants it back.
    recall: Recall,
}

impl<W: Wire> Conversation<W> {
    /// Leads a new conversation up to its first message.
    ///
    /// # Errors
    ///
    /// How it ended before.
    pub(super) async fn begin(wire: W, terms: Terms) -> Result<Self, Ended> {
        let attempt = Attempt::new(terms, wire.instant());
        Self { attempt, wire }.rest().await
    }

    /// Carries one message up to its rulings, in as many transactions as the next hop wants for its
    /// recipients. Those that there was no transaction for any more have no ruling.
    pub(super) async fn carry(
        mut self,
        mut parcel: Parcel,
        body: BodyReader,
        recall: &Recall,
    ) -> Carried<W> {
        let (mut all, mut most) = (Vec::new(), Demand::AsBefore);
        loop {
            let rest = parcel.split_off(self.attempt.room());
            let Carried { judged, left, demand } =
                self.transact(parcel, body.clone(), recall).await;
            all.extend(judged);
            most = most.max(demand);
            let left = match left {
                // A new connection would cost more than this wait.
                Left::Busy(busy) if rest.is_some() => match busy.rest().await {
                    Ok(again) => Left::Ready(again),
                    Err(ended) => {
                        most = most.max(ended.demand);
                        Left::Closed(ended.end)
                    }
                },
                left @ (Left::Busy(_) | Left::Ready(_) | Left::Closed(_)) => left,
            };
            match (rest, left) {
                (Some(rest), Left::Ready(again)) => (self, parcel) = (again, rest),
                (_, left) => return Carried { judged: all, left, demand: most },
            }
        }
    }

    /// Carries one transaction up to its rulings.
    async fn transact(mut self, parcel: Parcel, reader: BodyReader, recall: &Recall) -> Carried<W> {
        let (piece, recall) = (Vec::new(), recall.clone());
        let mut cargo = Some(Cargo { reader, piece, sent: 0, room: None, recall });
        self.attempt.begin(parcel, self.wire.now(), self.wire.instant());
        let judged = loop {
            match self.turn(&mut cargo).await {
                Turn::Settled(judged) => break judged,
                Turn::Ready => {}
                Turn::Closed(end) => {
                    let (judged, demand) = (Vec::new(), self.attempt.take_demand());
                    return Carried { judged, left: Left::Closed(end), demand };
                }
            }
        };
        let demand = self.attempt.take_demand();
        let left = match self.attempt.next_action() {
            Some(Action::Ready) => Left::Ready(self),
            Some(Action::Close(end)) => Left::Closed(end),
            Some(action) => {
                self.obey(action, &mut None).await;
                Left::Busy(self)
            }
            None => Left::Busy(self),
        };
        Carried { judged, left, demand }
    }

    /// Leads the conversation to where the next message can begin.
    ///
    /// # Errors
    ///
    /// How it ended instead.
    pub(super) async fn rest(mut self) -> Result<Self, Ended> {
        loop {
            match self.turn(&mut None).await {
                Turn::Ready => return Ok(self),
                Turn::Settled(_) => {}
                Turn::Closed(end) => {
                    return Err(Ended { end, demand: self.attempt.take_demand() });
                }
            }
        }
    }

    /// Ends the conversation in order.
    pub(super) async fn quit(mut self) {
        self.attempt.quit(self.wire.instant());
        while !matches!(self.turn(&mut None).await, Turn::Closed(_)) {}
    }

    /// Tells whether a waiting conversation has been idle for too long.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now >= self.attempt.deadline()
    }

    async fn turn(&mut self, cargo: &mut Option<Cargo>) -> Turn {
        loop {
            let action = if self.wire.is_busy() { None } else { self.attempt.next_action() };
            match action {
                Some(Action::Ready) => return Turn::Ready,
                Some(Action::Settle(judged)) => return Turn::Settled(judged),
                Some(Action::Close(end)) => {
                    self.wire.close();
                    return Turn::Closed(end);
                }
                Some(action) => self.obey(action, cargo).await,
                None => match cargo {
                    // Until its end is said the next hop cannot have taken it.
                    Some(cargo) if !self.attempt.is_ended() => tokio::select! {
                        biased;
                        () = cargo.recall.asked() => {
                            self.wire.close();
                            return Turn::Closed(End::Ours(recall::WORDS.to_owned()));
                        }
                        () = self.wire.exchange(&mut self.attempt) => {}
                    },
                    Some(_) | None => self.wire.exchange(&mut self.attempt).await,
                },
            }
        }
    }

    async fn obey(&mut self, action: Action, cargo: &mut Option<Cargo>) {
        match action {
            Action::MakeRoom(octets) => self.make_room(octets, cargo).await,
            Action::Convert(conversion) => self.convert(conversion, cargo).await,
            Action::ReadBody => self.feed(cargo).await,
            Action::GoOn => self.attempt.go_on(self.wire.instant()),
            Action::Ready | Action::Settle(_) | Action::Close(_) => {}
            Action::Send(_) | Action::SendSecret(_) | Action::Derive(_) | Action::Secure => {
                self.wire.obey(&mut self.attempt, action).await;
            }
        }
    }

    /// Waits for memory in which the attempt may hold its message.
    async fn make_room(&mut self, octets: u64, cargo: &mut Option<Cargo>) {
        let Some(cargo) = cargo else { return self.attempt.crowded(self.wire.instant()) };
        let room = tokio::select! {
            biased;
            // What follows from that is seen before anything is said to the next hop.
            () = cargo.recall.asked() => return,
            room = self.wire.memory().room(octets) => room,
        };
        match room {
            Some(room) => {
                cargo.room = Some(room);
                self.attempt.roomy(self.wire.instant());
            }
            None => self.attempt.crowded(self.wire.instant()),
        }
    }

    /// Converts a message, and gives back the room that it does not take any more.
    async fn convert(&mut self, conversion: Conversion, cargo: &mut Option<Cargo>) {
        let Some(converted) = aside(conversion.size(), move || conversion.run()).await else {
            let words = "the message could not be converted: a fault of ours";
            return self.attempt.body_lost(words, self.wire.instant());
        };
        if let Some(room) = cargo.as_mut().and_then(|cargo| cargo.room.as_mut()) {
            room.shrink(converted.size() as u64);
        }
        self.attempt.converted(converted, self.wire.instant());
    }

    /// Hands the attempt the next piece of the body.
    async fn feed(&mut self, cargo: &mut Option<Cargo>) {
        let Some(Cargo { reader, piece, sent, .. }) = cargo else {
            return self.attempt.body_lost("there is no body", self.wire.instant());
        };
        if *sent == piece.len() {
            match reader.read_chunk().await {
                Ok(Some(next)) => (*piece, *sent) = (next, 0),
                Ok(None) => return self.attempt.body_end(self.wire.instant()),
                Err(problem) => {
                    let words = format!("the message cannot be read: {problem}");
                    return self.attempt.body_lost(&words, self.wire.instant());
                }
            }
        }
        let end = piece.len().min(*sent + self.wire.piece());
        self.attempt.body(&piece[*sent..end], self.wire.instant());
        *sent = end;
    }
}

#[cfg(test)]
mod tests;
