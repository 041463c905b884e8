//! The accept loop of one listener.

mod connection;
mod proxied;
mod stream;
mod tale;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Config, Listener, ListenerTls};
use crate::delivery;
use crate::event::Event;
use crate::journal::Journal;
use crate::mail::came::{Admission, Came};
use crate::net::conduct::Conduct;
use crate::net::login::Logins;
use crate::net::sessions::{Entrance, NoSession, Place, Sessions, Signal, Tagged};
use crate::net::tls::ServerTls;
use crate::policy::permit::{Client, Permit};
use crate::policy::rate::Rates;
use crate::session::{Facts, Session, TlsStart, Xclient};
use crate::smtp::proxy::Origin;
use crate::spool::Spool;

use connection::Connection;
use proxied::NoHeader;
use tale::Tale;

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
    /// What clients did wrong so far.
    pub conduct: Conduct,
    /// Where events go.
    pub journal: Journal,
    /// The live sessions.
    pub sessions: Sessions,
    /// The allowlist entry that admitted an address.
    pub entry_of: Box<dyn Fn(IpAddr) -> Admitted + Send + Sync>,
    /// Whether the gate admits an address; none: the gate does not guard this door.
    pub admits: Option<Box<dyn Fn(IpAddr) -> bool + Send + Sync>>,
}

/// What the allowlist says of an address; nothing where no gate stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The entry, and what was counted of it.
    pub entry: Option<Admission>,
    /// The entry's tag.
    pub tag: Option<String>,
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

/// What the tasks of one listener share.
struct Front {
    listener: Listener,
    door: Arc<Door>,
    /// When trouble was told.
    told: Mutex<Option<Instant>>,
}

impl Front {
    /// Tells trouble that may come again at once.
    fn complain(&self, problem: impl FnOnce() -> String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            self.door.journal.write(Event::Trouble { room: "net", problem: problem() });
        }
    }
}

/// Accepts clients on `socket` until [`Sessions::leave`], one task for each. `socket` is bound and
/// listening; `listener` says how it is served.
///
/// # Errors
///
/// The socket cannot be used at all.
pub async fn serve(
    socket: std::net::TcpListener,
    listener: Listener,
    door: Arc<Door>,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(socket)?;
    let front = Arc::new(Front { listener, door, told: Mutex::default() });
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = front.door.sessions.leaving() => return Ok(()),
        };
        match accepted {
            Ok((socket, peer)) => welcome(socket, peer.ip().to_canonical(), &front),
            Err(problem) if is_of_one_client(&problem) => {}
            Err(problem) => {
                front.complain(|| format!("no connection can be accepted: {problem}"));
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

/// Gives a connection a place, or turns it away without waiting for it.
fn welcome(socket: TcpStream, peer: IpAddr, front: &Arc<Front>) {
    let door = &front.door;
    door.conduct.tallies().completed(peer);
    let local = socket.local_addr().map(|local| local.ip().to_canonical());
    let entrance = match (&door.admits, local) {
        // The host itself: that never came over a guarded interface.
        (Some(_), Ok(local)) if local == peer => Entrance::Open,
        (Some(_), _) => Entrance::Guarded,
        (None, _) => Entrance::Open,
    };
    let admitted = (door.entry_of)(peer);
    let tagged = tagged(admitted.tag.as_deref(), &door.config);
    match door.sessions.enter(peer, entrance, tagged) {
        Ok(place) => {
            // It may have waited in the backlog since before it was shut out. Asked now, when it has its
            // place, no change falls between the answer and those that cut it.
            if entrance == Entrance::Guarded && !door.admits(peer) {
                return;
            }
            let front = Arc::clone(front);
            let caller = Caller { peer, admitted, accepted_at: Timestamp::now() };
            let listener = front.listener.address.to_string();
            front.door.journal.meter().sessions.count(&[&listener]);
            tokio::spawn(async move { attend(socket, caller, place, &front).await });
        }
        Err(why) => turn_away(&socket, why, front),
    }
}

/// Returns how many sessions the clients of a tag may have.
fn tagged(tag: Option<&str>, config: &Config) -> Option<Tagged> {
    let tag = tag?;
    let most = Permit::of(config, Client { login: None, tag: Some(tag) }).sessions_of_tag();
    Some(Tagged { tag: tag.to_owned(), most })
}

/// Who is at the other end of a connection, the entry that admitted it, and since when.
struct Caller {
    peer: IpAddr,
    admitted: Admitted,
    accepted_at: Timestamp,
}

impl Caller {
    fn came(&self, listener: &Listener) -> Came {
        Came {
            accepted_at: self.accepted_at,
            listener: listener.address,
            peer: self.peer,
            entry: self.admitted.entry,
            secured_at: None,
            tls: None,
            server_name: None,
            logged_in_at: None,
            mechanism: None,
            earlier: 0,
        }
    }
}

async fn attend(mut socket: TcpStream, caller: Caller, mut place: Place, front: &Front) {
    let peer = caller.peer;
    if names(&front.listener.proxy, peer) {
        let Some(origin) = introduced(&mut socket, peer, &place, front).await else { return };
        if let Origin::Client(client) = origin
            && let Err(why) = place.move_to(client.ip())
        {
            return turn_away(&socket, why, front);
        }
    }
    // A reply is one write: waiting for more of it would only cost a round trip.
    let _ = socket.set_nodelay(true);
    let tale = Tale::new(front.door.journal.history(), caller.came(&front.listener));
    let session = session(caller, place.source(), front);
    // An error is the client's going away, which is no event; its draft goes with it.
    let certificates = front.listener.client_certificates;
    let connection = Connection::new(socket, session, place, certificates, &front.door, tale);
    let _ = Box::new(connection).run().await;
}

/// Waits for a proxy to say who its client is. None: the connection is of no use.
async fn introduced(
    socket: &mut TcpStream,
    peer: IpAddr,
    place: &Place,
    front: &Front,
) -> Option<Origin> {
    let mut signal = place.signal();
    let origin = tokio::select! {
        origin = proxied::origin(socket, proxied::PATIENCE) => origin,
        _ = signal.wait_for(|signal| *signal != Signal::Serve) => return None,
    };
    match origin {
        Ok(origin) => Some(origin),
        Err(NoHeader::Gone) => None,
        Err(why @ (NoHeader::Bad(_) | NoHeader::Late)) => {
            let address = front.listener.address;
            front.complain(|| format!("listener {address}, proxy {peer}: {why}"));
            None
        }
    }
}

/// Tells whether one of `networks` holds the address.
fn names(networks: &[IpNetwork], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// Begins a session for the client at `source`.
fn session(Caller { peer, admitted, .. }: Caller, source: IpAddr, front: &Front) -> Session {
    let Front { listener, door, .. } = front;
    let tls = match (listener.tls, &door.tls) {
        (ListenerTls::Implicit, _) => TlsStart::Implicit,
        (ListenerTls::Starttls, Some(_)) => TlsStart::Starttls,
        (ListenerTls::Starttls, None) => TlsStart::Unavailable,
    };
    // By the client's address: a balancer that were named here would lend the right to all of its clients.
    let xclient =
        if names(&listener.xclient, source) { Xclient::Offered } else { Xclient::Refused };
    let facts = Facts {
        config: Arc::clone(&door.config),
        rates: Arc::clone(&door.rates),
        source,
        peer,
        tag: admitted.tag,
        tls,
        xclient,
        extensions: delivery::KEPT,
        tokens: door.logins.tokens(),
        connected_at: Timestamp::now(),
        greet_after: door.conduct.slow_down(source),
    };
    Session::new(facts, Instant::now())
}

/// A greeting has no enhanced code, not even a refusing one (RFC 2034, section 4). The socket's
/// buffer is empty, so the write never waits.
fn turn_away(socket: &TcpStream, why: NoSession, front: &Front) {
    front.door.journal.meter().turned_away.count(&[why.word()]);
    match front.listener.tls {
        ListenerTls::Starttls => {
            let line = format!("421 {} {why}, closing\r\n", front.door.config.hostname);
            // A client that is gone already needs no answer.
            let _ = rustix::net::send(socket, line.as_bytes(), SEND_FLAGS);
        }
        ListenerTls::Implicit => {}
    }
}

const SEND_FLAGS: rustix::net::SendFlags =
    rustix::net::SendFlags::DONTWAIT.union(rustix::net::SendFlags::NOSIGNAL);
