//! One route at work, reduced to what `net::lane` does: connections over the hosts that
//! `delivery::traffic` chooses.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use super::clock;
use super::connection::{Carried, Connection, Ended, Left, Line};
use super::life::Life;
use crate::config::{NextHop, Route};
use crate::delivery::action::End;
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::Ruling;
use crate::delivery::settlement::Leg;
use crate::delivery::terms::{Terms, Timeouts};
use crate::delivery::throttle::Demand;
use crate::delivery::traffic::{Choice, Errand, Kept, Outcome, Place, Traffic};
use crate::delivery::trip::Trip;
use crate::net::lane::{CONNECT, IDLE, MESSAGES, QUIT, TICKETS, is_sent_on};
use crate::net::recall::Recall;
use crate::smtp::address::Address;
use crate::spool::Claim;

pub(super) use crate::net::lane::FINAL_DOT;

/// One route at work.
pub(super) struct Lane {
    route: Route,
    pub(super) tickets: Cell<usize>,
    moved: Notify,
    traffic: RefCell<Traffic>,
    idle: RefCell<Vec<(usize, Connection)>>,
}

/// A place at one host.
struct Slot {
    lane: Rc<Lane>,
    place: Place,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.lane.traffic.borrow_mut().release(&self.place, clock::instant());
        self.lane.moved.notify_waiters();
    }
}

impl Slot {
    fn learn(&mut self, outcome: &Outcome) -> Option<Duration> {
        let now = clock::instant();
        let verdict = self.lane.traffic.borrow_mut().learn(&mut self.place, outcome, now);
        self.lane.moved.notify_waiters();
        verdict.pause
    }

    fn is_good(&self) -> bool {
        self.lane.traffic.borrow().is_good(&self.place, clock::instant())
    }
}

/// A message under way along the lane.
struct Passage<'a> {
    life: &'a Rc<Life>,
    claim: &'a Claim,
    trip: Trip,
    errand: Errand,
    kept: Kept,
    pause: Option<Duration>,
}

impl Lane {
    pub(super) fn new(route: Route) -> Rc<Self> {
        let hosts = route.hosts.iter().map(|host| (host.order, host.weight));
        let most = u32::try_from(route.connections).unwrap();
        let traffic = Traffic::new(hosts, most, route.rate, clock::instant());
        Rc::new(Self {
            tickets: Cell::new(route.connections * TICKETS),
            moved: Notify::new(),
            traffic: RefCell::new(traffic),
            idle: RefCell::default(),
            route,
        })
    }

    pub(super) async fn carry(
        self: &Rc<Self>,
        life: &Rc<Life>,
        claim: &Claim,
        to: Vec<Address>,
    ) -> Vec<Leg> {
        let parcel = Parcel::new(claim.envelope(), to, claim.size_bytes());
        let (trip, errand) = (Trip::new(&self.route.name, parcel), Errand::default());
        let mut passage = Passage { life, claim, trip, errand, kept: Kept::Again, pause: None };
        loop {
            let moved = self.moved.notified();
            let (now, dice) = (clock::instant(), life.world.roll(u64::MAX));
            let choice = self.traffic.borrow_mut().choose(now, dice, &mut passage.errand);
            match choice {
                Choice::Go(place) => {
                    let begun = place.begun();
                    let slot = Slot { lane: Rc::clone(self), place };
                    sleep_until(begun.into()).await;
                    if slot.is_good() {
                        self.visit(slot, &mut passage).await;
                    }
                    if passage.trip.is_over() {
                        return passage.trip.end();
                    }
                }
                Choice::Wait(until) => drop(timeout_at(until.into(), moved).await),
                Choice::Later(wait, reason) => {
                    return passage.trip.end_with(Ruling::Postponed, Some(wait), reason);
                }
                Choice::Nobody(down) => {
                    for (host, words) in down {
                        passage.trip.blame(self.hop(host), &words);
                    }
                    let reason = passage.trip.reason();
                    return passage.trip.end_with(Ruling::Deferred, passage.pause, &reason);
                }
            }
        }
    }

    /// Carries what is left of a message to one host.
    async fn visit(self: &Rc<Self>, mut slot: Slot, passage: &mut Passage<'_>) {
        let host = slot.place.host();
        let waiting = match passage.kept {
            Kept::Again => self.take_idle(host),
            Kept::New => None,
        };
        let (connection, kept) = match waiting {
            Some(connection) => (connection, Kept::Again),
            None => match self.open(passage.life, host).await {
                Ok(connection) => (connection, Kept::New),
                Err(Ended { end, demand }) => {
                    let outcome = Outcome::of(&[], Some(&end), demand, Kept::New);
                    passage.pause = slot.learn(&outcome).or(passage.pause);
                    passage.errand.gave_up(&slot.place);
                    return passage.trip.blame(self.hop(host), &format!("{end:?}"));
                }
            },
        };
        let Carried { judged, left, demand } =
            connection.carry(passage.trip.parcel(), passage.claim.body(), &Recall::default()).await;
        let outcome = Outcome::of(&judged, left.end(), demand, kept);
        let pause = slot.learn(&outcome);
        passage.pause = pause.or(passage.pause);
        match outcome {
            Outcome::Stale => passage.kept = Kept::New,
            Outcome::Carried | Outcome::PutOff if !is_sent_on(&judged) => {}
            Outcome::Carried
            | Outcome::PutOff
            | Outcome::Throttled
            | Outcome::Failed(_)
            | Outcome::Lost(_)
            | Outcome::Nothing => passage.errand.gave_up(&slot.place),
        }
        match left {
            Left::Ready(connection) => self.keep(passage.life, host, connection),
            Left::Busy(connection) => {
                let life = Rc::clone(passage.life);
                passage.life.spawn(async move {
                    if let Ok(connection) = connection.rest().await {
                        slot.lane.keep(&life, host, connection);
                    }
                    drop(slot);
                });
            }
            Left::Closed(_) => {}
        }
        passage.trip.enter(self.hop(host), judged, pause);
    }

    /// Keeps a connection for the next message, and ends it in order if none comes.
    fn keep(self: &Rc<Self>, life: &Life, host: usize, connection: Connection) {
        self.idle.borrow_mut().push((host, connection));
        let lane = Rc::clone(self);
        life.spawn(async move {
            sleep(IDLE + Duration::from_secs(1)).await;
            let now = clock::instant();
            let is_stale = |(_, connection): &mut (usize, Connection)| connection.is_stale(now);
            let stale: Vec<_> = lane.idle.borrow_mut().extract_if(.., is_stale).collect();
            for (_, connection) in stale {
                connection.quit().await;
            }
        });
    }

    fn take_idle(&self, host: usize) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(place) = idle.iter().rposition(|(of, _)| *of == host) {
            let (_, connection) = idle.remove(place);
            if !connection.is_stale(clock::instant()) {
                return Some(connection);
            }
        }
        None
    }

    async fn open(&self, life: &Rc<Life>, host: usize) -> Result<Connection, Ended> {
        life.powered().await;
        let stream = timeout(CONNECT, life.world.connect(self.hop(host).port)).await;
        let Some(stream) = stream.ok().flatten() else {
            let end = End::Unfit("no connection".to_owned());
            return Err(Ended { end, demand: Demand::AsBefore });
        };
        let timeouts =
            Timeouts { reply: self.route.timeout, final_dot: FINAL_DOT, idle: IDLE, quit: QUIT };
        let terms = Terms {
            hostname: life.world.config.hostname.clone(),
            tls: self.route.tls,
            credentials: None,
            timeouts,
            messages: MESSAGES,
        };
        Connection::begin(Line { life: Rc::clone(life), stream }, terms).await
    }

    fn hop(&self, host: usize) -> &NextHop {
        &self.route.hosts[host].hop
    }
}
