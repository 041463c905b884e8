//! The accept loop of one listener.

mod connection;
mod stream;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Config, Listener, ListenerTls};
use crate::delivery;
use crate::event::Event;
use crate::journal::Journal;
use crate::net::login::Logins;
use crate::net::sessions::{Entrance, NoSession, Place, Sessions};
use crate::net::tls::ServerTls;
use crate::policy::rate::Rates;
use crate::session::{Facts, Session, TlsStart};
use crate::spool::Spool;

use connection::Connection;

/// How long the loop waits when the process has no descriptor or memory for another connection.
const BREATHER: Duration = Duration::from_millis(100);
/// How often such trouble is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What all sessions of the process share.
pub struct Door {
    /// The configuration.
    pub config: Arc<Config>,
    /// The recipient rates of that configuration.
    pub rates: Arc<Rates>,
    /// Certificate and key; none: STARTTLS is answered with 454 and implicit listeners close.
    pub tls: Option<Arc<ServerTls>>,
    /// Where messages go.
    pub spool: Arc<Spool>,
    /// Who checks passwords.
    pub logins: Logins,
    /// Where events go.
    pub journal: Journal,
    /// The live sessions.
    pub sessions: Sessions,
    /// The tag of the allowlist entry that admitted an address.
    pub tag_of: Box<dyn Fn(IpAddr) -> Option<String> + Send + Sync>,
    /// Whether the gate admits an address; none: the gate does not guard this door.
    pub admits: Option<Box<dyn Fn(IpAddr) -> bool + Send + Sync>>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl Door {
    fn admits(&self, source: IpAddr) -> bool {
        self.admits.as_ref().is_none_or(|admits| admits(source))
    }
}

/// Accepts clients on `socket` until [`Sessions::leave`], one task for each, as `listener` says.
/// `socket` is bound and listening.
///
/// # Errors
///
/// The listener cannot be used at all.
pub async fn serve(
    socket: std::net::TcpListener,
    listener: Listener,
    door: Arc<Door>,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(socket)?;
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = door.sessions.leaving() => return Ok(()),
        };
        match accepted {
            Ok((client, peer)) => welcome(client, peer.ip().to_canonical(), listener, &door),
            Err(problem) if is_of_one_client(&problem) => {}
            Err(problem) => {
                if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                    told = Some(Instant::now());
                    let problem = format!("no connection can be accepted: {problem}");
                    door.journal.write(Event::Trouble { room: "net", problem });
                }
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// Tells whether only the connection at hand is broken (accept(2): treat like EAGAIN).
fn is_of_one_client(problem: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(problem.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

/// Gives a client a session, or turns it away without waiting for it.
fn welcome(socket: TcpStream, source: IpAddr, listener: Listener, door: &Arc<Door>) {
    let local = socket.local_addr().map(|local| local.ip().to_canonical());
    let entrance = match (&door.admits, local) {
        // The host itself: that never came over a guarded interface.
        (Some(_), Ok(local)) if local == source => Entrance::Open,
        (Some(_), _) => Entrance::Guarded,
        (None, _) => Entrance::Open,
    };
    match door.sessions.enter(source, entrance) {
        Ok(place) => {
            // It may have waited in the backlog since before it was shut out. Asked now, when it has its
            // place, no change falls between the answer and those that cut it.
            if entrance == Entrance::Guarded && !door.admits(source) {
                return;
            }
            let session = session(source, listener.tls, door);
            let door = Arc::clone(door);
            tokio::spawn(async move { attend(socket, session, place, listener, &door).await });
        }
        Err(why) => turn_away(&socket, why, listener.tls, &door.config.hostname),
    }
}

fn session(source: IpAddr, tls: ListenerTls, door: &Door) -> Session {
    let tls = match (tls, &door.tls) {
        (ListenerTls::Implicit, _) => TlsStart::Implicit,
        (ListenerTls::Starttls, Some(_)) => TlsStart::Starttls,
        (ListenerTls::Starttls, None) => TlsStart::Unavailable,
    };
    let facts = Facts {
        config: Arc::clone(&door.config),
        rates: Arc::clone(&door.rates),
        source,
        tag: (door.tag_of)(source),
        tls,
        extensions: delivery::KEPT,
        tokens: door.logins.tokens(),
        connected_at: Timestamp::now(),
    };
    Session::new(facts, Instant::now())
}

async fn attend(
    socket: TcpStream,
    session: Session,
    place: Place,
    listener: Listener,
    door: &Door,
) {
    // A reply is one write: waiting for more of it would only cost a round trip.
    let _ = socket.set_nodelay(true);
    let source = place.source();
    // An error is the client's going away, which is no event; its draft goes with it.
    let _ = Connection::new(socket, session, source, place.signal(), listener, door).run().await;
    drop(place);
}

/// A greeting has no enhanced code, not even a refusing one (RFC 2034, section 4). The socket's
/// buffer is empty, so the write never waits.
fn turn_away(socket: &TcpStream, why: NoSession, tls: ListenerTls, hostname: &str) {
    match tls {
        ListenerTls::Starttls => {
            let line = format!("421 {hostname} {why}, closing\r\n");
            // A client that is gone already needs no answer.
            let _ = rustix::net::send(socket, line.as_bytes(), SEND_FLAGS);
        }
        ListenerTls::Implicit => {}
    }
}

const SEND_FLAGS: rustix::net::SendFlags =
    rustix::net::SendFlags::DONTWAIT.union(rustix::net::SendFlags::NOSIGNAL);
