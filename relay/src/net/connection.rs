//! A connection to a next hop: moves the octets of a conversation, in the clear or under TLS.

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

use super::conversation::{Conversation, Wire};
use super::memory::{Budget, CARRIED};
use super::tls_client::{TlsClient, fresh};
use crate::config::NextHop;
use crate::delivery::action::Action;
use crate::delivery::attempt::Attempt;
use crate::delivery::login::Secret;
use crate::delivery::terms::Terms;

pub(super) use super::conversation::{Carried, Ended, Left};

/// The most octets of a body that are sent under one deadline.
const PIECE: usize = 32 * 1024;

/// A connection to a next hop that has said hello and waits for a message.
pub(super) type Connection = Conversation<Link>;

/// The stream to a next hop.
pub(super) struct Link {
    stream: Stream,
    host: NextHop,
    /// None for connections in the clear.
    tls: Option<TlsClient>,
    outgoing: Outgoing,
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
        Self::begin(Link::new(stream, host, tls), terms).await
    }

    /// Returns version and cipher suite of its TLS, and whether nobody was proved by it; none in the
    /// clear.
    pub(super) fn tls_words(&self) -> Option<String> {
        self.wire.tls_words()
    }

    /// Looks, without waiting, whether the next hop has ended a waiting connection.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut octets = [0; 512];
        let mut buffer = ReadBuf::new(&mut octets);
        let read = Pin::new(&mut self.wire.stream).poll_read(&mut context, &mut buffer);
        // A next hop that speaks unasked says goodbye.
        read.is_pending()
    }
}

impl Wire for Link {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn piece(&self) -> usize {
        PIECE
    }

    fn memory(&self) -> &'static Budget {
        &CARRIED
    }

    fn is_busy(&self) -> bool {
        match self.outgoing {
            Outgoing::Nothing => false,
            // After a failure the rest of a body would be read for nobody.
            Outgoing::Octets { .. } | Outgoing::Unflushed | Outgoing::Failed => true,
        }
    }

    async fn obey(&mut self, attempt: &mut Attempt, action: Action) {
        match action {
            Action::Send(octets) => self.send(Secret::new(octets)),
            Action::SendSecret(octets) => self.send(octets),
            Action::Derive(derivation) => {
                let salted = spawn_blocking(move || derivation.run()).await;
                match salted {
                    Ok(salted) => attempt.derived(&salted, Instant::now()),
                    Err(error) => self.lost(attempt, &error.to_string()),
                }
            }
            Action::Secure => self.secure(attempt).await,
            Action::Ready
            | Action::MakeRoom(_)
            | Action::ReadBody
            | Action::GoOn
            | Action::Convert(_)
            | Action::Settle(_)
            | Action::Close(_) => {}
        }
    }

    /// Moves octets in the direction that is ready first, or lets the attempt expire.
    async fn exchange(&mut self, attempt: &mut Attempt) {
        let mut octets = [0; 4096];
        let deadline = attempt.deadline().into();
        let (stream, outgoing) = (&mut self.stream, &self.outgoing);
        let moving =
            std::future::poll_fn(|context| stream.poll_move(context, outgoing, &mut octets));
        let moved = timeout_at(deadline, moving).await;
        let now = Instant::now();
        match moved {
            Err(_) => attempt.expire(now),
            Ok(Ok(Moved::Wrote(count))) if count > 0 => self.outgoing.advance(count),
            Ok(Ok(Moved::Flushed)) => {
                self.outgoing = Outgoing::Nothing;
                attempt.sent(now);
            }
            Ok(Ok(Moved::Read(0))) => self.lost(attempt, "the next hop closed the connection"),
            Ok(Ok(Moved::Read(count))) => attempt.receive(&octets[..count], now),
            Ok(Ok(Moved::Wrote(_)) | Err((Direction::Out, _))) => self.outgoing = Outgoing::Failed,
            Ok(Err((Direction::In, problem))) => self.lost(attempt, &problem.to_string()),
        }
        if attempt.is_over() {
            self.outgoing = Outgoing::Nothing;
        }
    }

    fn close(&mut self) {
        self.stream = Stream::Gone;
    }
}

impl Link {
    /// Returns the link over a new connection, in the clear until the attempt wants TLS.
    pub(super) const fn new(stream: TcpStream, host: NextHop, tls: Option<TlsClient>) -> Self {
        Self { stream: Stream::Clear(stream), host, tls, outgoing: Outgoing::Nothing }
    }

    /// Returns version and cipher suite of its TLS, and whether nobody was proved by it; none in the
    /// clear.
    pub(super) fn tls_words(&self) -> Option<String> {
        match (&self.stream, &self.tls) {
            (Stream::Tls(stream), Some(tls)) => Some(tls.describe(stream.get_ref().1)),
            (Stream::Tls(_) | Stream::Clear(_) | Stream::Gone, _) => None,
        }
    }

    fn send(&mut self, octets: Secret) {
        self.outgoing = Outgoing::Octets { octets, sent: 0 };
    }

    async fn secure(&mut self, attempt: &mut Attempt) {
        let stream = match (mem::replace(&mut self.stream, Stream::Gone), &self.tls) {
            (Stream::Clear(stream), Some(tls)) => {
                let handshake = tls.handshake(&self.host.host, stream);
                timeout_at(attempt.deadline().into(), handshake).await
            }
            (Stream::Clear(_), None) | (Stream::Tls(_) | Stream::Gone, _) => {
                return attempt.lost("the route has no TLS");
            }
        };
        match stream {
            Ok(Ok(stream)) => {
                attempt.arm(fresh(stream.get_ref().1));
                self.stream = Stream::Tls(Box::new(stream));
                attempt.secured(Instant::now());
            }
            Ok(Err(error)) => attempt.lost(&error.to_string()),
            Err(_) => attempt.expire(Instant::now()),
        }
    }

    fn lost(&mut self, attempt: &mut Attempt, words: &str) {
        self.stream = Stream::Gone;
        attempt.lost(words);
    }
}
