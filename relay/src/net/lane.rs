//! One route at work: its connections, used again and again, over the hosts that
//! `delivery::traffic` chooses.

mod listing;
mod opening;
mod refusal;
mod room;
mod slot;
mod visit;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout_at;

use super::connection::Connection;
use super::recall::{self, Recall};
use super::register::Register;
use super::reporting::random;
use super::route_login::Login;
use super::tls_client::Trust;
use crate::config::{Config, NextHop, Route};
use crate::delivery::addresses::Addresses;
use crate::delivery::health::{Fingerprint, Health, Use};
use crate::delivery::parcel::Parcel;
use crate::delivery::pool::Condition;
use crate::delivery::ruling::Ruling;
use crate::delivery::settlement::Leg;
use crate::delivery::traffic::{Choice, Errand, Kept, Traffic, View};
use crate::delivery::trip::{Trip, name};
use crate::event::Event;
use crate::journal::Journal;
use crate::smtp::address::Address;
use crate::spool::{Claim, Way};

pub use listing::{HostState, RouteState, Standing};
pub use opening::FINAL_DOT;
#[cfg(test)]
pub(super) use opening::{CONNECT, IDLE, MESSAGES, QUIT};
use slot::Slot;
#[cfg(test)]
pub(super) use visit::is_sent_on;

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
    /// Held while what became of a host is entered and told; before `traffic`.
    telling: Mutex<()>,
    /// Connections that wait for a message, the oldest first, each with its host.
    idle: Mutex<Vec<(usize, Connection)>>,
    /// What is known of the addresses of every host.
    addresses: Mutex<Vec<Addresses>>,
    health: Mutex<Health>,
    /// When something of ours was last in the way of every host, and what: a file, an issuer of tokens.
    blocked: Mutex<Option<(Instant, String)>>,
    /// Set when a login works again that was refused, until somebody asks.
    has_recovered: AtomicBool,
    /// The password that was put in place of a refused one, and when that was told.
    renewed: Mutex<Option<(Instant, Fingerprint)>>,
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
    /// An operator wants it back.
    Recalled,
}

/// A message under way along the lane.
struct Passage<'a> {
    claim: &'a Claim,
    recall: Recall,
    trip: Trip,
    errand: Errand,
    /// Whether a waiting connection may carry it: not after one was closed under it.
    kept: Kept,
    /// How long the last host that asked for less is left alone.
    pause: Option<Duration>,
    /// Whether a host was asked for it.
    is_begun: bool,
    /// Whether something of ours is in the way, at every host.
    is_blocked: bool,
}

impl Lane {
    /// Returns the lane of `route`. What `before` knows of its hosts and its login goes on, if it is the lane
    /// of the same route.
    pub(super) fn new(
        route: Route,
        config: &Config,
        journal: Journal,
        register: Arc<Register>,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let before = before.filter(|before| before.route == route);
        let trust = Trust::of(&route, &journal);
        let login = Login::of(&route, &journal, register.issuers());
        let hosts = route.hosts.iter().map(|host| (host.order, host.weight));
        let most = u32::try_from(route.connections).unwrap_or(u32::MAX);
        let now = Instant::now();
        let traffic = before.map_or_else(
            || Traffic::new(hosts, most, route.rate, now),
            |before| lock(&before.traffic).inherited(now),
        );
        let unknown = || vec![Addresses::default(); route.hosts.len()];
        let addresses = before.map_or_else(unknown, |before| lock(&before.addresses).clone());
        let health = before.map(Self::refusal).unwrap_or_default();
        let blocked = before.and_then(|before| lock(&before.blocked).clone());
        Arc::new(Self {
            tickets: Arc::new(Semaphore::new(route.connections.saturating_mul(TICKETS))),
            traffic: Mutex::new(traffic),
            telling: Mutex::default(),
            addresses: Mutex::new(addresses),
            route,
            hostname: config.hostname.clone(),
            journal,
            register,
            may_look: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            moved: Notify::new(),
            stirred: Notify::new(),
            idle: Mutex::default(),
            health: Mutex::new(health),
            blocked: Mutex::new(blocked),
            has_recovered: AtomicBool::new(false),
            renewed: Mutex::default(),
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

    /// Takes it that a host has been down for so long, for this reason, and says so; nothing if it is none of
    /// this route's.
    pub(super) fn was_down(&self, host: &str, down_for: Duration, reason: &str) {
        let hosts = self.route.hosts.iter();
        let Some(place) = hosts.map(|one| name(&one.hop)).position(|one| one == host) else {
            return;
        };
        let now = Instant::now();
        // A clock that starts with the host reaches no further back.
        let since = now.checked_sub(down_for).unwrap_or(now);
        let _telling = lock(&self.telling);
        let up = {
            let mut traffic = lock(&self.traffic);
            traffic.was_down(place, now, since, reason);
            up(&traffic)
        };
        self.tell_down(host.to_owned(), reason.to_owned(), up);
    }

    /// Says that a host is down, and that the route is if none is `up` now.
    fn tell_down(&self, host: String, reason: String, up: usize) {
        let route = self.route.name.clone();
        let last = (up == 0).then(|| format!("{host}: {reason}"));
        self.journal.write(Event::HostDown { route: route.clone(), host, reason });
        if let Some(reason) = last {
            self.journal.write(Event::RouteDown { route, reason });
        }
    }

    /// Ends connections that have been idle for too long.
    pub(super) fn reap(&self, now: Instant) {
        let is_stale = |(_, connection): &mut (usize, Connection)| connection.is_stale(now);
        let stale: Vec<_> = lock(&self.idle).extract_if(.., is_stale).collect();
        for (_, connection) in stale {
            tokio::spawn(connection.quit());
        }
    }

    /// Carries a message to `recipients` over the first host that takes it, unless it is asked back
    /// meanwhile. Returns what every host that was asked decided; nothing when the lane is closed or
    /// suspended before.
    pub(super) async fn carry(
        self: &Arc<Self>,
        claim: &Claim,
        recipients: Vec<Address>,
        recall: Recall,
    ) -> Vec<Leg> {
        let parcel = Parcel::new(claim.envelope(), recipients, claim.size_bytes());
        let mut passage = Passage {
            claim,
            recall,
            trip: Trip::new(&self.route.name, parcel),
            errand: Errand::default(),
            kept: Kept::Again,
            pause: None,
            is_begun: false,
            is_blocked: false,
        };
        loop {
            let turn = tokio::select! {
                biased;
                () = passage.recall.asked() => Turn::Recalled,
                turn = self.turn(&mut passage.errand) => turn,
            };
            match turn {
                Turn::Held(wait, reason) => {
                    self.register.hold(&self.route.name, claim.id());
                    return passage.trip.end_with(Ruling::Held, Some(wait), &reason);
                }
                Turn::Go(slot) => {
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
                Turn::Recalled => {
                    let wait = Some(recall::STAYS);
                    return passage.trip.end_with(Ruling::Postponed, wait, recall::WORDS);
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

    /// Waits until the lane is closed.
    async fn closed(&self) {
        loop {
            let mut stirred = std::pin::pin!(self.stirred.notified());
            stirred.as_mut().enable();
            if self.is_closed.load(Ordering::Acquire) {
                return;
            }
            stirred.await;
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_closed.load(Ordering::Acquire) || self.register.is_suspended(&self.route.name)
    }

    fn hop(&self, host: usize) -> &NextHop {
        &self.route.hosts[host].hop
    }
}

/// Returns how many hosts are up, as far as we know.
fn up(traffic: &Traffic) -> usize {
    let is_up = |view: &View<'_>| matches!(view.condition, Condition::Up { .. });
    traffic.views(Instant::now()).filter(is_up).count()
}

/// A lock that is never held across an await and protects no invariant between two fields.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
