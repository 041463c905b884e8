//! The loop around one [`Attempt`]: moves octets, does what the actions say.

mod stream;

use std::mem;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Instant;

use jiff::Timestamp;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use stream::{Direction, Moved, Outgoing, Stream};

use super::tls_client::{TlsClient, fresh};
use crate::config::NextHop;
use crate::delivery::action::{Action, End};
use crate::delivery::attempt::Attempt;
use crate::delivery::login::Secret;
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::Judged;
use crate::delivery::terms::Terms;
use crate::delivery::throttle::Demand;
use crate::spool::BodyReader;

/// The most octets of a body that are sent under one deadline.
const PIECE: usize = 32 * 1024;

/// A connection to a next hop that has said hello and waits for a message.
pub(super) struct Connection {
    attempt: Attempt,
    stream: Stream,
    host: NextHop,
    /// None for connections in the clear.
    tls: Option<TlsClient>,
    outgoing: Outgoing,
}

/// What one message over a connection came to.
pub(super) struct Carried {
    pub judged: Vec<Judged>,
    pub left: Left,
    /// What the next hop asked of our pace.
    pub demand: Demand,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub end: End,
    /// What the next hop asked of our pace.
    pub demand: Demand,
}

/// What is left of a connection when its message is settled.
pub(super) enum Left {
    /// The next message can begin.
    Ready(Connection),
    /// It has to be led to an end or to the next message first.
    Busy(Connection),
    /// It is closed.
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
}

impl Connection {
    /// Leads a new connection up to its first message.
    ///
    /// # Errors
    ///
    /// How it ended before.
    pub(super) async fn open(
        stream: TcpStream,
        host: NextHop,
        tls: Option<TlsClient>,
        terms: Terms,
    ) -> Result<Self, Ended> {
        let attempt = Attempt::new(terms, Instant::now());
        let stream = Stream::Clear(stream);
        let new = Self { attempt, stream, host, tls, outgoing: Outgoing::Nothing };
        new.rest().await
    }

    /// Returns version and cipher suite of its TLS, and whether nobody was proved by it; none in the
    /// clear.
    pub(super) fn tls_words(&self) -> Option<String> {
        match (&self.stream, &self.tls) {
            (Stream::Tls(stream), Some(tls)) => Some(tls.describe(stream.get_ref().1)),
            (Stream::Tls(_) | Stream::Clear(_) | Stream::Gone, _) => None,
        }
    }

    /// Carries one message up to its rulings, in as many transactions as the next hop wants for its
    /// recipients. Those that there was no transaction for any more have no ruling.
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

    /// Carries one transaction up to its rulings.
    async fn transact(mut self, parcel: Parcel, body: BodyReader) -> Carried {
        let mut cargo = Some(Cargo { reader: body, piece: Vec::new(), sent: 0 });
        self.attempt.begin(parcel, Timestamp::now(), Instant::now());
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

    /// Leads the connection to where the next message can begin.
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

    /// Ends the connection in order.
    pub(super) async fn quit(mut self) {
        self.attempt.quit(Instant::now());
        while !matches!(self.turn(&mut None).await, Turn::Closed(_)) {}
    }

    /// Tells whether a waiting connection has been idle for too long.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now >= self.attempt.deadline()
    }

    /// Looks, without waiting, whether the next hop has ended a waiting connection.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut octets = [0; 512];
        let mut buffer = ReadBuf::new(&mut octets);
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer);
        // A next hop that speaks unasked says goodbye.
        read.is_pending()
    }

    async fn turn(&mut self, cargo: &mut Option<Cargo>) -> Turn {
        loop {
            let action = match self.outgoing {
                Outgoing::Nothing => self.attempt.next_action(),
                // After a failure the rest of a body would be read for nobody.
                Outgoing::Octets { .. } | Outgoing::Unflushed | Outgoing::Failed => None,
            };
            match action {
                Some(Action::Ready) => return Turn::Ready,
                Some(Action::Settle(judged)) => return Turn::Settled(judged),
                Some(Action::Close(end)) => {
                    self.stream = Stream::Gone;
                    return Turn::Closed(end);
                }
                Some(action) => self.obey(action, cargo).await,
                None => self.exchange().await,
            }
        }
    }

    async fn obey(&mut self, action: Action, cargo: &mut Option<Cargo>) {
        match action {
            Action::Send(octets) => self.send(Secret::new(octets)),
            Action::SendSecret(octets) => self.send(octets),
            Action::Derive(derivation) => {
                let salted = spawn_blocking(move || derivation.run()).await;
                match salted {
                    Ok(salted) => self.attempt.derived(&salted, Instant::now()),
                    Err(error) => self.lost(&error.to_string()),
                }
            }
            Action::Secure => self.secure().await,
            Action::ReadBody => self.feed(cargo).await,
            Action::GoOn => self.attempt.go_on(Instant::now()),
            Action::Ready | Action::Settle(_) | Action::Close(_) => {}
        }
    }

    fn send(&mut self, octets: Secret) {
        self.outgoing = Outgoing::Octets { octets, sent: 0 };
    }

    /// Hands the attempt the next piece of the body.
    async fn feed(&mut self, cargo: &mut Option<Cargo>) {
        let Some(Cargo { reader, piece, sent }) = cargo else {
            return self.attempt.body_lost("there is no body", Instant::now());
        };
        if *sent == piece.len() {
            match reader.read_chunk().await {
                Ok(Some(next)) => (*piece, *sent) = (next, 0),
                Ok(None) => return self.attempt.body_end(Instant::now()),
                Err(problem) => {
                    let words = format!("the message cannot be read: {problem}");
                    return self.attempt.body_lost(&words, Instant::now());
                }
            }
        }
        let end = piece.len().min(*sent + PIECE);
        self.attempt.body(&piece[*sent..end], Instant::now());
        *sent = end;
    }

    async fn secure(&mut self) {
        let stream = match (mem::replace(&mut self.stream, Stream::Gone), &self.tls) {
            (Stream::Clear(stream), Some(tls)) => {
                let handshake = tls.handshake(&self.host.host, stream);
                timeout_at(self.attempt.deadline().into(), handshake).await
            }
            (Stream::Clear(_), None) | (Stream::Tls(_) | Stream::Gone, _) => {
                return self.attempt.lost("the route has no TLS");
            }
        };
        match stream {
            Ok(Ok(stream)) => {
                self.attempt.arm(fresh(stream.get_ref().1));
                self.stream = Stream::Tls(Box::new(stream));
                self.attempt.secured(Instant::now());
            }
            Ok(Err(error)) => self.attempt.lost(&error.to_string()),
            Err(_) => self.attempt.expire(Instant::now()),
        }
    }

    /// Moves octets in the direction that is ready first, or lets the attempt expire.
    async fn exchange(&mut self) {
        let mut octets = [0; 4096];
        let deadline = self.attempt.deadline().into();
        let (stream, outgoing) = (&mut self.stream, &self.outgoing);
        let moving =
            std::future::poll_fn(|context| stream.poll_move(context, outgoing, &mut octets));
        let moved = timeout_at(deadline, moving).await;
        let now = Instant::now();
        match moved {
            Err(_) => self.attempt.expire(now),
            Ok(Ok(Moved::Wrote(count))) if count > 0 => self.outgoing.advance(count),
            Ok(Ok(Moved::Flushed)) => {
                self.outgoing = Outgoing::Nothing;
                self.attempt.sent(now);
            }
            Ok(Ok(Moved::Read(0))) => self.lost("the next hop closed the connection"),
            Ok(Ok(Moved::Read(count))) => self.attempt.receive(&octets[..count], now),
            Ok(Ok(Moved::Wrote(_)) | Err((Direction::Out, _))) => self.outgoing = Outgoing::Failed,
            Ok(Err((Direction::In, problem))) => self.lost(&problem.to_string()),
        }
        if self.attempt.is_over() {
            self.outgoing = Outgoing::Nothing;
        }
    }

    fn lost(&mut self, words: &str) {
        self.stream = Stream::Gone;
        self.attempt.lost(words);
    }
}
