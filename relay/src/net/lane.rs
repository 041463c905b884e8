//! One route at work: its connections, used again and again, over the hosts that
//! `delivery::traffic` chooses.

mod listing;
mod opening;
mod refusal;
mod room;
mod slot;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout_at;

use super::connection::{Carried, Connection, Ended, Left};
use super::register::Register;
use super::reporting::random;
use super::route_login::Login;
use super::tls_client::Trust;
use crate::config::{Config, NextHop, Route};
use crate::delivery::action::End;
use crate::delivery::addresses::Addresses;
use crate::delivery::health::{Health, Use};
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::{Judged, Ruling};
use crate::delivery::settlement::Leg;
use crate::delivery::traffic::{Choice, Errand, Kept, Outcome, Traffic};
use crate::delivery::trip::{Trip, name};
use crate::history::Fact;
use crate::journal::Journal;
use crate::smtp::address::Address;
use crate::spool::{Claim, Way};

pub use listing::{HostState, RouteState, Standing};
#[cfg(test)]
pub(super) use opening::{CONNECT, FINAL_DOT, IDLE, MESSAGES, QUIT};
use slot::Slot;

/// Messages in memory for each connection of a route: one on its way, one ready to follow. More would
/// wait here in the order of their coming, and not in the spool, where logins take turns.
pub(super) const TICKETS: usize = 2;

/// One route at work.
pub(super) struct Lane {
    route: Route,
    hostname: String,
    journal: Journal,
    register: Arc<Register>,
    tickets: Arc<Semaphore>,
    /// One message may come in although nothing would leave soon.
    may_look: AtomicBool,
    is_closed: AtomicBool,
    /// Tells all who wait for a place that something has moved. One alone might not be the one whom it
    /// concerns, and the word would be lost on it.
    moved: Notify,
    /// Tells all who sleep that the lane was closed, or its operator said something.
    stirred: Notify,
    traffic: Mutex<Traffic>,
    /// Connections that wait for a message, the oldest first, each with its host.
    idle: Mutex<Vec<(usize, Connection)>>,
    /// What is known of the addresses of every host.
    addresses: Mutex<Vec<Addresses>>,
    health: Mutex<Health>,
    /// Set when a login works again that was refused, until somebody asks.
    has_recovered: AtomicBool,
    trust: Arc<Trust>,
    /// None: the route has no login.
    login: Option<Arc<Login>>,
}

/// What a message does next.
enum Turn {
    /// It goes to a host.
    Go(Slot),
    /// It comes back after this time, for this reason.
    Later(Duration, &'static str),
    /// It waits this long, however old it is: the login is refused, for this reason.
    Held(Duration, String),
    /// No host is left; these are down.
    Nobody(Vec<(usize, String)>),
    /// The route is suspended by its operator, or the lane is closed.
    Stopped,
}

/// A message under way along the lane.
struct Passage<'a> {
    claim: &'a Claim,
    trip: Trip,
    errand: Errand,
    /// Whether a waiting connection may carry it: not after one was closed under it.
    kept: Kept,
    /// How long the last host that asked for less is left alone.
    pause: Option<Duration>,
    is_begun: bool,
    /// Whether something of ours is in the way, at every host.
    is_blocked: bool,
}

impl Lane {
    pub(super) fn new(
        route: Route,
        config: &Config,
        journal: Journal,
        register: Arc<Register>,
    ) -> Arc<Self> {
        let trust = Trust::of(&route, &journal);
        let login = Login::of(&route, &journal, register.issuers());
        let hosts = route.hosts.iter().map(|host| (host.order, host.weight));
        let most = u32::try_from(route.connections).unwrap_or(u32::MAX);
        let traffic = Traffic::new(hosts, most, route.rate, Instant::now());
        Arc::new(Self {
            tickets: Arc::new(Semaphore::new(route.connections.saturating_mul(TICKETS))),
            traffic: Mutex::new(traffic),
            addresses: Mutex::new(vec![Addresses::default(); route.hosts.len()]),
            route,
            hostname: config.hostname.clone(),
            journal,
            register,
            may_look: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            moved: Notify::new(),
            stirred: Notify::new(),
            idle: Mutex::default(),
            health: Mutex::default(),
            has_recovered: AtomicBool::new(false),
            trust,
            login,
        })
    }

    /// Returns the mark of its messages.
    pub(super) fn way(&self) -> Way {
        Way::of(&self.route.name)
    }

    /// Takes no more messages; those under way go on.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.tickets.close();
        self.wake();
    }

    /// Lets messages that wait look again: the operator said something.
    pub(super) fn wake(&self) {
        self.moved.notify_waiters();
        self.stirred.notify_waiters();
    }

    /// Has everything tried again that is left alone: a refused login, hosts that are down.
    pub(super) fn hurry(&self) {
        *lock(&self.health) = Health::Up;
        lock(&self.traffic).hurry(Instant::now());
        self.wake();
    }

    /// Ends connections that have been idle for too long.
    pub(super) fn reap(&self, now: Instant) {
        let is_stale = |(_, connection): &mut (usize, Connection)| connection.is_stale(now);
        let stale: Vec<_> = lock(&self.idle).extract_if(.., is_stale).collect();
        for (_, connection) in stale {
            tokio::spawn(connection.quit());
        }
    }

    /// Carries a message to `recipients` over the first host that takes it. Returns what every
    /// host that was asked decided; nothing when the lane is closed or suspended before.
    pub(super) async fn carry(
        self: &Arc<Self>,
        claim: &Claim,
        recipients: Vec<Address>,
    ) -> Vec<Leg> {
        let parcel = Parcel::new(claim.envelope(), recipients, claim.size_bytes());
        let mut passage = Passage {
            claim,
            trip: Trip::new(&self.route.name, parcel),
            errand: Errand::default(),
            kept: Kept::Again,
            pause: None,
            is_begun: false,
            is_blocked: false,
        };
        loop {
            match self.turn(&mut passage.errand).await {
                Turn::Held(wait, reason) => {
                    self.register.hold(&self.route.name, claim.id());
                    return passage.trip.end_with(Ruling::Held, Some(wait), &reason);
                }
                Turn::Go(slot) => {
                    passage.is_begun = true;
                    self.visit(slot, &mut passage).await;
                    if passage.trip.is_over() || passage.is_blocked {
                        return passage.trip.end();
                    }
                }
                Turn::Later(wait, reason) => {
                    return passage.trip.end_with(Ruling::Postponed, Some(wait), reason);
                }
                Turn::Nobody(down) => {
                    for (host, words) in down {
                        passage.trip.blame(self.hop(host), &words);
                    }
                    let reason = passage.trip.reason();
                    return passage.trip.end_with(Ruling::Deferred, passage.pause, &reason);
                }
                Turn::Stopped if passage.is_begun => return passage.trip.end(),
                Turn::Stopped => {
                    if self.register.is_suspended(&self.route.name) {
                        self.register.hold(&self.route.name, claim.id());
                    }
                    return Vec::new();
                }
            }
        }
    }

    /// Waits for what a message does next.
    async fn turn(self: &Arc<Self>, errand: &mut Errand) -> Turn {
        if let Use::Hold(wait, reason) = self.usable().await {
            return Turn::Held(wait, reason);
        }
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            // Before the look, so that nothing is missed that happens after it.
            moved.as_mut().enable();
            if self.is_stopped() {
                return Turn::Stopped;
            }
            let choice = lock(&self.traffic).choose(Instant::now(), random(), errand);
            match choice {
                Choice::Go(place) => {
                    let begun = place.begun();
                    let slot = Slot::new(Arc::clone(self), place);
                    if !self.sleep_until(begun).await {
                        return Turn::Stopped;
                    }
                    if slot.is_good() {
                        return self.go(slot).await;
                    }
                }
                Choice::Wait(until) => {
                    let _ = timeout_at(until.into(), moved).await;
                }
                Choice::Later(wait, reason) => return Turn::Later(wait, reason),
                Choice::Nobody(down) => return Turn::Nobody(down),
            }
        }
    }

    /// Sleeps; tells whether messages may still leave.
    async fn sleep_until(&self, until: Instant) -> bool {
        loop {
            let mut stirred = std::pin::pin!(self.stirred.notified());
            stirred.as_mut().enable();
            if self.is_stopped() {
                return false;
            }
            if Instant::now() >= until || timeout_at(until.into(), stirred).await.is_err() {
                return !self.is_stopped();
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_closed.load(Ordering::Acquire) || self.register.is_suspended(&self.route.name)
    }

    /// Carries what is left of a message to one host.
    async fn visit(self: &Arc<Self>, mut slot: Slot, passage: &mut Passage<'_>) {
        let host = slot.host();
        let waiting = match passage.kept {
            Kept::Again => self.take_idle(host),
            Kept::New => None,
        };
        let (connection, kept) = match waiting {
            Some(connection) => (connection, Kept::Again),
            None => match self.open(host).await {
                Ok(connection) => (connection, Kept::New),
                Err(ended) => return self.missed(slot, ended, passage).await,
            },
        };
        self.tell_carried(host, &connection, passage.claim);
        let Carried { judged, left, demand } =
            connection.carry(passage.trip.parcel(), passage.claim.body()).await;
        let outcome = Outcome::of(&judged, left.end(), demand, kept);
        let pause = slot.learn(&outcome);
        passage.pause = pause.or(passage.pause);
        match outcome {
            Outcome::Stale => passage.kept = Kept::New,
            // Who has no ruling yet found no room on this connection: another one may have it.
            Outcome::Carried | Outcome::PutOff if !is_sent_on(&judged) => {}
            Outcome::Carried
            | Outcome::PutOff
            | Outcome::Throttled
            | Outcome::Failed(_)
            | Outcome::Lost(_)
            | Outcome::Nothing => slot.give_up(&mut passage.errand),
        }
        let hold = match left {
            Left::Ready(connection) => {
                lock(&self.idle).push((host, connection));
                pause
            }
            Left::Busy(connection) => {
                park(connection, slot);
                pause
            }
            Left::Closed(End::LoginRefused(words)) => {
                self.register.hold(&self.route.name, passage.claim.id());
                Some(self.suspend(self.hop(host), &words).await.0)
            }
            Left::Closed(End::Finished | End::Unfit(_) | End::Unproved(_) | End::Ours(_)) => pause,
        };
        passage.trip.enter(self.hop(host), judged, hold);
    }

    /// Tells the history over which connection a message goes.
    fn tell_carried(&self, host: usize, connection: &Connection, claim: &Claim) {
        let history = self.journal.history();
        if history.is_kept() {
            let (route, next_hop) = (self.route.name.clone(), name(self.hop(host)));
            let (tls, began_at) = (connection.tls_words(), Timestamp::now());
            history.enter(claim.id(), Fact::Carried { route, next_hop, tls, began_at });
        }
    }

    /// Enters that no connection could be made.
    async fn missed(&self, mut slot: Slot, ended: Ended, passage: &mut Passage<'_>) {
        let hop = self.hop(slot.host());
        let outcome = Outcome::of(&[], Some(&ended.end), ended.demand, Kept::New);
        passage.pause = slot.learn(&outcome).or(passage.pause);
        slot.give_up(&mut passage.errand);
        match &ended.end {
            // The loop ends with it: the route is suspended now.
            End::LoginRefused(words) => {
                self.suspend(hop, words).await;
            }
            End::Unfit(words) => passage.trip.blame(hop, words),
            End::Ours(words) => {
                passage.trip.blame_ourselves(words);
                passage.is_blocked = true;
            }
            End::Unproved(words) => {
                if let Some(login) = &self.login {
                    login.tell_unproved(&name(hop), words);
                }
                passage.trip.blame(hop, words);
            }
            End::Finished => passage.trip.blame(hop, "closed before the first message"),
        }
    }

    fn take_idle(&self, host: usize) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        while let Some(place) = idle.iter().rposition(|(of, _)| *of == host) {
            let (_, mut connection) = idle.remove(place);
            if !connection.is_stale(now) && connection.is_alive() {
                return Some(connection);
            }
        }
        None
    }

    fn hop(&self, host: usize) -> &NextHop {
        &self.route.hosts[host].hop
    }
}

/// Tells whether a host sent a recipient elsewhere.
pub(super) fn is_sent_on(judged: &[Judged]) -> bool {
    judged.iter().any(|judged| judged.ruling == Ruling::Elsewhere)
}

/// Leads a connection to its next message while the last one is settled already.
fn park(connection: Connection, slot: Slot) {
    tokio::spawn(async move {
        if let Ok(connection) = connection.rest().await {
            lock(&slot.lane().idle).push((slot.host(), connection));
        }
        drop(slot);
    });
}

/// A lock that is never held across an await and protects no invariant between two fields.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
