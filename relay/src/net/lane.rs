//! One route at work: its connections, used again and again, and what is known of its health.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::{Connection, Left};
use super::password;
use super::tls_client::TlsClient;
use crate::config::{NextHop, Route, RouteTls};
use crate::delivery::action::End;
use crate::delivery::health::{self, Health, Use};
use crate::delivery::login::Credentials;
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::Ruling;
use crate::delivery::settlement::Leg;
use crate::delivery::terms::{Terms, Timeouts};
use crate::delivery::trip::{Trip, name};
use crate::event::Event;
use crate::history::Fact;
use crate::journal::Journal;
use crate::smtp::address::Address;
use crate::spool::Claim;

/// How long an open connection waits for another message.
const IDLE: Duration = Duration::from_secs(5);
/// How many messages a connection carries: enough to make its handshake cheap, few enough to come
/// back to a better host soon.
const MESSAGES: u32 = 100;
/// For the answer to the final dot (RFC 5321, section 4.5.3.2.6).
const FINAL_DOT: Duration = Duration::from_secs(600);
/// For the answer to QUIT.
const QUIT: Duration = Duration::from_secs(5);
/// How long a connection to one address may take to be made, and a name to be looked up.
const CONNECT: Duration = Duration::from_secs(30);
/// The most addresses of one host that are tried.
const ADDRESSES_MAX: usize = 16;
/// Messages in memory for each connection of a route: one on its way, one ready to follow. More would
/// wait here in the order of their coming, and not in the spool, where logins take turns.
const TICKETS: usize = 2;

/// One route at work.
pub(super) struct Lane {
    route: Route,
    hostname: String,
    journal: Journal,
    permits: Arc<Semaphore>,
    tickets: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    health: Mutex<Health>,
    tls: Mutex<Option<TlsClient>>,
}

impl Lane {
    pub(super) fn new(route: Route, hostname: &str, journal: Journal) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(route.connections)),
            tickets: Arc::new(Semaphore::new(route.connections.saturating_mul(TICKETS))),
            route,
            hostname: hostname.to_owned(),
            journal,
            idle: Mutex::default(),
            health: Mutex::default(),
            tls: Mutex::default(),
        })
    }

    /// Tells whether there is room for one more message.
    pub(super) fn has_room(&self) -> bool {
        self.tickets.available_permits() > 0
    }

    /// Gives room for one more message, for as long as the ticket is kept; none if there is none.
    pub(super) fn try_admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.tickets).try_acquire_owned().ok()
    }

    /// Takes no more messages; those under way go on.
    pub(super) fn close(&self) {
        self.permits.close();
        self.tickets.close();
    }

    /// Ends connections that have been idle for too long.
    pub(super) fn reap(&self, now: Instant) {
        let stale: Vec<_> =
            lock(&self.idle).extract_if(.., |connection| connection.is_stale(now)).collect();
        for connection in stale {
            tokio::spawn(connection.quit());
        }
    }

    /// Carries a message to `recipients`: over a waiting connection, or over a new one to the first
    /// host that takes it. Returns what every host that was asked decided; nothing when the lane
    /// is closed.
    pub(super) async fn carry(
        self: &Arc<Self>,
        claim: &Claim,
        recipients: Vec<Address>,
    ) -> Vec<Leg> {
        let Ok(mut permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Vec::new();
        };
        let parcel = Parcel::new(claim.envelope(), recipients, claim.size_bytes());
        let mut trip = Trip::new(&self.route.name, parcel);
        match self.usable().await {
            Use::Try => {}
            Use::Defer(reason) => return trip.end_with(Ruling::Deferred, None, &reason),
            Use::Hold(wait, reason) => return trip.end_with(Ruling::Held, Some(wait), &reason),
        }
        while let Some(connection) = self.take_idle() {
            match self.carry_over(connection, &mut trip, claim, permit).await {
                Some(back) if !trip.is_over() => permit = back,
                Some(_) | None => return trip.end(),
            }
        }
        self.carry_anew(trip, claim, permit).await
    }

    /// Tries the hosts of the route in their order until every recipient has a ruling.
    async fn carry_anew(
        self: &Arc<Self>,
        mut trip: Trip,
        claim: &Claim,
        mut permit: OwnedSemaphorePermit,
    ) -> Vec<Leg> {
        let mut opened = 0;
        for host in &self.route.hosts {
            match self.open(host).await {
                Ok(connection) => {
                    opened += 1;
                    match self.carry_over(connection, &mut trip, claim, permit).await {
                        Some(back) if !trip.is_over() => permit = back,
                        Some(_) | None => return trip.end(),
                    }
                }
                Err(End::LoginRefused(words)) => {
                    let (wait, reason) = self.suspend(host, &words).await;
                    return trip.end_with(Ruling::Held, Some(wait), &reason);
                }
                Err(End::Unfit(words)) => trip.blame(host, &words),
                Err(End::Finished) => trip.blame(host, "closed before the first message"),
            }
        }
        if opened == 0 {
            let mut health = lock(&self.health);
            *health = std::mem::take(&mut *health).down(Instant::now(), &trip.reason());
        }
        trip.end()
    }

    /// Carries what is left of `trip` over one connection. Gives the permit back if the connection
    /// holds it no longer.
    async fn carry_over(
        self: &Arc<Self>,
        connection: Connection,
        trip: &mut Trip,
        claim: &Claim,
        permit: OwnedSemaphorePermit,
    ) -> Option<OwnedSemaphorePermit> {
        let host = connection.host().clone();
        self.tell_carried(&connection, claim);
        let (judged, left) = connection.carry(trip.parcel(), claim.body()).await;
        let (permit, hold) = match left {
            Left::Ready(connection) => {
                lock(&self.idle).push(connection);
                (Some(permit), None)
            }
            Left::Busy(connection) => {
                self.park(connection, permit);
                (None, None)
            }
            Left::Closed(End::LoginRefused(words)) => {
                (None, Some(self.suspend(&host, &words).await.0))
            }
            Left::Closed(End::Finished | End::Unfit(_)) => (Some(permit), None),
        };
        trip.enter(&host, judged, hold);
        permit
    }

    /// Tells the history over which connection a message goes.
    fn tell_carried(&self, connection: &Connection, claim: &Claim) {
        let history = self.journal.history();
        if history.is_kept() {
            let (route, next_hop) = (self.route.name.clone(), name(connection.host()));
            let (tls, began_at) = (connection.tls_words(), Timestamp::now());
            history.enter(claim.id(), Fact::Carried { route, next_hop, tls, began_at });
        }
    }

    /// Leads a connection to its next message while the last one is settled already.
    fn park(self: &Arc<Self>, connection: Connection, permit: OwnedSemaphorePermit) {
        let lane = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(connection) = connection.rest().await {
                lock(&lane.idle).push(connection);
            }
            drop(permit);
        });
    }

    fn take_idle(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        while let Some(mut connection) = idle.pop() {
            if !connection.is_stale(now) && connection.is_alive() {
                return Some(connection);
            }
        }
        None
    }

    /// Decides whether the route can be used now.
    async fn usable(&self) -> Use {
        let now = Instant::now();
        let health = lock(&self.health).clone();
        let password = match (&health, &self.route.login) {
            (Health::Suspended { .. }, Some(login)) => password::fingerprint_of_file(login).await,
            (Health::Suspended { .. }, None) | (Health::Up | Health::Down { .. }, _) => None,
        };
        health.check(now, password)
    }

    /// Remembers that `host` refused our login; returns how long the route is left alone, and why.
    async fn suspend(&self, host: &NextHop, words: &str) -> (Duration, String) {
        let refused = match &self.route.login {
            Some(login) => password::fingerprint_of_file(login).await,
            None => None,
        };
        let reason = format!("{} refused our login: {words}", name(host));
        let now = Instant::now();
        let mut health = lock(&self.health);
        let before = std::mem::take(&mut *health);
        *health = before.clone().suspended(now, &reason, refused.unwrap_or_default());
        if *health != before {
            let route = self.route.name.clone();
            self.journal.write(Event::RouteSuspended { route, reason: reason.clone() });
        }
        match health.check(now, refused) {
            Use::Hold(wait, _) => (wait, reason),
            Use::Try | Use::Defer(_) => (health::SUSPENDED, reason),
        }
    }

    /// Opens a connection to `host`, all of whose addresses are tried in order (RFC 5321, section
    /// 5.1).
    async fn open(&self, host: &NextHop) -> Result<Connection, End> {
        let credentials = match &self.route.login {
            Some(login) => Some(password::read(login).await.map_err(End::Unfit)?),
            None => None,
        };
        let tls = match self.route.tls {
            RouteTls::Required | RouteTls::Implicit => Some(self.tls().await?),
            RouteTls::None => None,
        };
        let mut problem = End::Unfit("the name has no address".to_owned());
        for address in look_up(host).await.map_err(End::Unfit)? {
            match self.open_at(address, host, tls.clone(), credentials.clone()).await {
                Ok(connection) => {
                    *lock(&self.health) = Health::Up;
                    return Ok(connection);
                }
                Err(End::LoginRefused(words)) => return Err(End::LoginRefused(words)),
                Err(end) => problem = end,
            }
        }
        Err(problem)
    }

    async fn open_at(
        &self,
        address: SocketAddr,
        host: &NextHop,
        tls: Option<TlsClient>,
        credentials: Option<Credentials>,
    ) -> Result<Connection, End> {
        if self.route.tls == RouteTls::None && !address.ip().to_canonical().is_loopback() {
            return Err(End::Unfit(format!(
                "{address} is not loopback, and the route has `tls = \"none\"`"
            )));
        }
        let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(stream) => stream.map_err(|error| End::Unfit(format!("{address}: {error}")))?,
            Err(_) => return Err(End::Unfit(format!("{address}: no connection in time"))),
        };
        // Commands are written whole: holding back a small one only makes it late.
        stream.set_nodelay(true).map_err(|error| End::Unfit(error.to_string()))?;
        let timeouts =
            Timeouts { reply: self.route.timeout, final_dot: FINAL_DOT, idle: IDLE, quit: QUIT };
        let terms = Terms {
            hostname: self.hostname.clone(),
            tls: self.route.tls,
            credentials,
            timeouts,
            messages: MESSAGES,
        };
        Connection::open(stream, host.clone(), tls, terms).await
    }

    /// Returns what the route trusts. It is read once: a failure is tried again.
    async fn tls(&self) -> Result<TlsClient, End> {
        if let Some(tls) = lock(&self.tls).clone() {
            return Ok(tls);
        }
        let route = self.route.clone();
        let read = tokio::task::spawn_blocking(move || TlsClient::for_route(&route)).await;
        let read = read.map_err(|error| End::Unfit(error.to_string()))?;
        let tls = read.map_err(|error| End::Unfit(error.to_string()))?;
        *lock(&self.tls) = Some(tls.clone());
        Ok(tls)
    }
}

/// Looks up the addresses of `host`, at most [`ADDRESSES_MAX`].
async fn look_up(host: &NextHop) -> Result<Vec<SocketAddr>, String> {
    match timeout(CONNECT, lookup_host((host.host.as_str(), host.port))).await {
        Ok(Ok(addresses)) => Ok(addresses.take(ADDRESSES_MAX).collect()),
        Ok(Err(error)) => Err(format!("the name cannot be looked up: {error}")),
        Err(_) => Err("the name cannot be looked up in time".to_owned()),
    }
}

/// A lock that is never held across an await and protects no invariant between two fields.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
