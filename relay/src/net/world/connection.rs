//! The loop around one [`Attempt`], reduced to what `net::connection` does.

use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout_at;

use super::clock;
use super::life::Life;
use crate::delivery::action::{Action, End};
use crate::delivery::attempt::Attempt;
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::Judged;
use crate::delivery::terms::Terms;
use crate::delivery::throttle::Demand;
use crate::spool::BodyReader;

/// A connection to a next hop that has said hello and waits for a message.
pub(super) struct Connection {
    life: Rc<Life>,
    attempt: Attempt,
    stream: DuplexStream,
}

/// What one message over a connection came to.
pub(super) struct Carried {
    pub(super) judged: Vec<Judged>,
    pub(super) left: Left,
    pub(super) demand: Demand,
}

/// How a connection ended, and what the next hop asked of our pace.
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) demand: Demand,
}

/// What is left of a connection when its message is settled.
pub(super) enum Left {
    Ready(Connection),
    Busy(Connection),
    Closed(End),
}

impl Left {
    /// Returns how it ended; none if it did not.
    pub(super) const fn end(&self) -> Option<&End> {
        match self {
            Self::Ready(_) | Self::Busy(_) => None,
            Self::Closed(end) => Some(end),
        }
    }
}

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
}

impl Connection {
    /// Leads a new connection up to its first message, or returns how it ended before.
    pub(super) async fn open(
        life: Rc<Life>,
        stream: DuplexStream,
        terms: Terms,
    ) -> Result<Self, Ended> {
        let attempt = Attempt::new(terms, clock::instant());
        Self { life, attempt, stream }.rest().await
    }

    /// Carries one message up to its rulings, in as many transactions as the next hop wants.
    pub(super) async fn carry(mut self, mut parcel: Parcel, body: BodyReader) -> Carried {
        let (mut all, mut most) = (Vec::new(), Demand::AsBefore);
        loop {
            let rest = parcel.split_off(self.attempt.room());
            let Carried { judged, left, demand } = self.transact(parcel, body.clone()).await;
            all.extend(judged);
            most = most.max(demand);
            match (rest, left) {
                (Some(rest), Left::Ready(connection)) => (self, parcel) = (connection, rest),
                (_, left) => return Carried { judged: all, left, demand: most },
            }
        }
    }

    async fn transact(mut self, parcel: Parcel, body: BodyReader) -> Carried {
        let mut cargo = Some(Cargo { reader: body, piece: Vec::new(), sent: 0 });
        self.attempt.begin(parcel, clock::now(), clock::instant());
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

    /// Leads the connection to where the next message can begin, or returns how it ended instead.
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

    /// Ends the connection in order.
    pub(super) async fn quit(mut self) {
        self.attempt.quit(clock::instant());
        while !matches!(self.turn(&mut None).await, Turn::Closed(_)) {}
    }

    /// Tells whether a waiting connection has been idle for too long.
    pub(super) fn is_stale(&self) -> bool {
        clock::instant() >= self.attempt.deadline()
    }

    async fn turn(&mut self, cargo: &mut Option<Cargo>) -> Turn {
        loop {
            match self.attempt.next_action() {
                Some(Action::Ready) => return Turn::Ready,
                Some(Action::Settle(judged)) => return Turn::Settled(judged),
                Some(Action::Close(end)) => return Turn::Closed(end),
                Some(action) => self.obey(action, cargo).await,
                None => self.listen().await,
            }
        }
    }

    async fn obey(&mut self, action: Action, cargo: &mut Option<Cargo>) {
        match action {
            Action::Send(octets) => self.send(&octets).await,
            Action::ReadBody => self.feed(cargo).await,
            Action::GoOn => self.attempt.go_on(clock::instant()),
            Action::SendSecret(_) | Action::Derive(_) | Action::Secure => {
                self.attempt.lost("this world has no secrets");
            }
            Action::Ready | Action::Settle(_) | Action::Close(_) => {}
        }
    }

    /// Sends octets, and reads meanwhile: a next hop may answer before it has heard all.
    async fn send(&mut self, mut octets: &[u8]) {
        self.life.powered().await;
        while !octets.is_empty() && !self.attempt.is_over() {
            let mut answer = [0; 512];
            let (mut reading, mut writing) = tokio::io::split(&mut self.stream);
            let moving = async {
                tokio::select! {
                    biased;
                    written = writing.write(octets) => written.map(Ok),
                    read = reading.read(&mut answer) => read.map(Err),
                }
            };
            let deadline = self.attempt.deadline();
            match timeout_at(deadline.into(), moving).await {
                Err(_) => self.attempt.expire(clock::instant()),
                Ok(Ok(Ok(count))) => octets = &octets[count..],
                Ok(Ok(Err(count))) if count > 0 => {
                    self.attempt.receive(&answer[..count], clock::instant());
                }
                // What the next hop said before it closed may still be there to read.
                Ok(Err(_) | Ok(Err(_))) => return,
            }
        }
        self.attempt.sent(clock::instant());
    }

    async fn listen(&mut self) {
        let mut octets = [0; 512];
        let room = 1 + self.life.world.below(octets.len());
        let deadline = self.attempt.deadline();
        let read = self.stream.read(&mut octets[..room]);
        match timeout_at(deadline.into(), read).await {
            Err(_) => self.attempt.expire(clock::instant()),
            Ok(Ok(0) | Err(_)) => self.attempt.lost("the next hop closed the connection"),
            Ok(Ok(count)) => self.attempt.receive(&octets[..count], clock::instant()),
        }
    }

    /// Hands the attempt the next piece of the body.
    async fn feed(&mut self, cargo: &mut Option<Cargo>) {
        let Some(Cargo { reader, piece, sent }) = cargo else {
            return self.attempt.body_lost("there is no body", clock::instant());
        };
        if *sent == piece.len() {
            match reader.read_chunk().await {
                Ok(Some(next)) => (*piece, *sent) = (next, 0),
                Ok(None) => return self.attempt.body_end(clock::instant()),
                Err(problem) => {
                    let words = format!("the message cannot be read: {problem}");
                    return self.attempt.body_lost(&words, clock::instant());
                }
            }
        }
        let end = piece.len().min(*sent + 1 + self.life.world.below(400));
        self.attempt.body(&piece[*sent..end], clock::instant());
        *sent = end;
    }
}
