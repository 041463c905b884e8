//! The way out, reduced to what `net::outbound` and `net::lane` do: claims, lanes, settlements.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::clock;
use super::connection::{Connection, Left};
use super::life::Life;
use crate::config::{NextHop, Route};
use crate::delivery::action::End;
use crate::delivery::health::{Health, Use};
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::{Judged, Ruling};
use crate::delivery::settlement::{Facts, Leg, Settlement};
use crate::delivery::sorting::{self, Sorted};
use crate::delivery::terms::{Terms, Timeouts};
use crate::delivery::trip::Trip;
use crate::net::reporting;
use crate::policy::permit::{Client, Permit};
use crate::policy::relaying::onward;
use crate::smtp::address::Address;
use crate::smtp::reply::Enhanced;
use crate::spool::{Claim, Way};

/// As in `net::lane`.
const IDLE: Duration = Duration::from_secs(5);
const MESSAGES: u32 = 100;
/// Longer than any next hop of the world that is not slow beyond all measure.
pub(super) const FINAL_DOT: Duration = Duration::from_secs(600);
const QUIT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(30);
const TICKETS: usize = 2;

/// One route at work.
pub(super) struct Lane {
    route: Route,
    permits: std::sync::Arc<Semaphore>,
    tickets: Cell<usize>,
    idle: RefCell<Vec<Connection>>,
    health: RefCell<Health>,
}

impl Lane {
    pub(super) fn new(route: Route) -> Rc<Self> {
        Rc::new(Self {
            permits: std::sync::Arc::new(Semaphore::new(route.connections)),
            tickets: Cell::new(route.connections * TICKETS),
            route,
            idle: RefCell::default(),
            health: RefCell::default(),
        })
    }

    async fn carry(self: &Rc<Self>, life: &Rc<Life>, claim: &Claim, to: Vec<Address>) -> Vec<Leg> {
        let mut permit = self.permits.clone().acquire_owned().await.unwrap();
        let parcel = Parcel::new(claim.envelope(), to, claim.size_bytes());
        let mut trip = Trip::new(&self.route.name, parcel);
        let usable = self.health.borrow().check(clock::instant(), None);
        match usable {
            Use::Try => {}
            Use::Defer(reason) => return trip.end_with(Ruling::Deferred, None, &reason),
            Use::Hold(wait, reason) => return trip.end_with(Ruling::Held, Some(wait), &reason),
        }
        while let Some(connection) = self.take_idle() {
            match self.carry_over(life, connection, &mut trip, claim, permit).await {
                Some(back) if !trip.is_over() => permit = back,
                Some(_) | None => return trip.end(),
            }
        }
        let mut opened = 0;
        for host in &self.route.hosts {
            match self.open(life, host).await {
                Ok(connection) => {
                    opened += 1;
                    match self.carry_over(life, connection, &mut trip, claim, permit).await {
                        Some(back) if !trip.is_over() => permit = back,
                        Some(_) | None => return trip.end(),
                    }
                }
                Err(End::Finished) => trip.blame(host, "closed before the first message"),
                Err(End::Unfit(words) | End::Unproved(words) | End::LoginRefused(words)) => {
                    trip.blame(host, &words);
                }
            }
        }
        if opened == 0 {
            let health = self.health.take();
            self.health.replace(health.down(clock::instant(), &trip.reason()));
        }
        trip.end()
    }

    async fn carry_over(
        self: &Rc<Self>,
        life: &Rc<Life>,
        connection: Connection,
        trip: &mut Trip,
        claim: &Claim,
        permit: OwnedSemaphorePermit,
    ) -> Option<OwnedSemaphorePermit> {
        let host = connection.host.clone();
        let (judged, left) = connection.carry(trip.parcel(), claim.body()).await;
        trip.enter(&host, judged, None);
        match left {
            Left::Ready(connection) => {
                self.keep(life, connection);
                Some(permit)
            }
            Left::Busy(connection) => {
                let (lane, parked) = (Rc::clone(self), Rc::clone(life));
                life.spawn(async move {
                    if let Ok(connection) = connection.rest().await {
                        lane.keep(&parked, connection);
                    }
                    drop(permit);
                });
                None
            }
            Left::Closed => Some(permit),
        }
    }

    /// Keeps a connection for the next message, and ends it in order if none comes.
    fn keep(self: &Rc<Self>, life: &Rc<Life>, connection: Connection) {
        self.idle.borrow_mut().push(connection);
        let lane = Rc::clone(self);
        life.spawn(async move {
            sleep(IDLE + Duration::from_secs(1)).await;
            let stale: Vec<_> = lane.idle.borrow_mut().extract_if(.., |c| c.is_stale()).collect();
            for connection in stale {
                connection.quit().await;
            }
        });
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            if !connection.is_stale() {
                return Some(connection);
            }
        }
        None
    }

    async fn open(&self, life: &Rc<Life>, host: &NextHop) -> Result<Connection, End> {
        life.powered().await;
        let stream = timeout(CONNECT, life.world.connect(host.port)).await;
        let refused = || End::Unfit("no connection".to_owned());
        let stream = stream.ok().flatten().ok_or_else(refused)?;
        let timeouts =
            Timeouts { reply: self.route.timeout, final_dot: FINAL_DOT, idle: IDLE, quit: QUIT };
        let terms = Terms {
            hostname: life.world.config.hostname.clone(),
            tls: self.route.tls,
            credentials: None,
            timeouts,
            messages: MESSAGES,
        };
        let connection = Connection::open(Rc::clone(life), stream, host.clone(), terms).await?;
        self.health.replace(Health::Up);
        Ok(connection)
    }
}

/// Room in a lane, for as long as a message is in memory.
struct Berth(Rc<Lane>, Rc<Life>);

impl Drop for Berth {
    fn drop(&mut self) {
        self.0.tickets.set(self.0.tickets.get() + 1);
        self.1.spool.look_again();
    }
}

/// Claims messages and starts a carrier for each, for ever.
pub(super) async fn dispatch(life: &Rc<Life>) {
    let has_room = |way: Way| life.ways.get(&way).is_none_or(|lane| lane.tickets.get() > 0);
    loop {
        let claim = life.spool.claim_for(has_room).await;
        let passed_over = life.spool.passed_over(&claim);
        let octets = text(life, &claim).await;
        life.world.ledger().claimed(&claim, &octets, passed_over);
        let config = &life.world.config;
        let sorted = sorting::sort(claim.pending(), |to| onward(config, client(&claim), to));
        let Sorted { loads, captured, stranded } = sorted;
        assert!(stranded.is_empty(), "the routes never change");
        let mut legs: Vec<_> = captured.into_iter().map(captured_leg).collect();
        let (mut berths, mut admitted, mut waits_for) = (Vec::<Berth>::new(), Vec::new(), None);
        for load in loads {
            let lane = &life.lanes[&load.route.name];
            if !berths.iter().any(|berth| Rc::ptr_eq(&berth.0, lane)) {
                if lane.tickets.get() == 0 {
                    waits_for = Some(Way::of(&load.route.name));
                    continue;
                }
                lane.tickets.set(lane.tickets.get() - 1);
                berths.push(Berth(Rc::clone(lane), Rc::clone(life)));
            }
            admitted.push((Rc::clone(lane), load.recipients));
        }
        match waits_for {
            Some(way) if admitted.is_empty() && legs.is_empty() => {
                life.world.ledger().settled(claim.id());
                life.spool.put_back(claim, way);
                continue;
            }
            Some(way) => claim.steer(way),
            None => {}
        }
        let own = Rc::clone(life);
        life.spawn(async move {
            let is_done = claim.pending().is_empty();
            let trips = admitted.into_iter().map(|(lane, to)| {
                let (own, claim) = (&own, &claim);
                async move { lane.carry(own, claim, to).await }
            });
            for carried in futures_util::future::join_all(trips).await {
                legs.extend(carried);
            }
            drop(berths);
            if is_done || !legs.is_empty() {
                settle(&own, claim, legs).await;
            }
        });
    }
}

/// Reads the whole message for the ledger, which the relay itself does not do; again and again if the
/// disk fails.
async fn text(life: &Life, claim: &Claim) -> Vec<u8> {
    for _ in 0..1000 {
        let (mut body, mut octets) = (claim.body(), Vec::new());
        let read = loop {
            match body.read_chunk().await {
                Ok(Some(piece)) => octets.extend(piece),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if read {
            return octets;
        }
        life.powered().await;
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{} cannot be read", claim.id());
}

/// Writes down what became of a message; first the reports about it.
async fn settle(life: &Rc<Life>, mut claim: Claim, legs: Vec<Leg>) {
    let (now, config) = (clock::now(), &life.world.config);
    let retry = Permit::of(config, client(&claim)).retry();
    let told: Vec<_> = claim.progress().iter().map(|progress| progress.told).collect();
    let released_at = claim.envelope().terms.hold_until.unwrap_or(Timestamp::MIN);
    let facts = Facts {
        id: claim.id(),
        envelope: claim.envelope(),
        told: &told,
        retry: &retry,
        attempts: claim.attempts(),
        since: claim.accepted_at().max(released_at),
        now,
        jitter: life.world.roll(1 << 32) as u32,
    };
    let settlement = Settlement::of(facts, legs);
    let (settlement, reported) =
        reporting::write(&life.spool, config, &claim, settlement, now).await;
    life.world.ledger().reported(&reported);
    claim.told(&settlement.told(), now);
    let (id, outcomes) = (claim.id(), settlement.into_outcomes());
    life.world.ledger().given_up(&claim, &outcomes);
    match life.spool.settle(claim, outcomes).await {
        Ok(()) => life.world.ledger().settled(id),
        Err(_) => life.world.ledger().unsettled(id),
    }
}

fn captured_leg(load: sorting::Load<'_>) -> Leg {
    let keep = |to| Judged::by_us(to, Ruling::Captured, Enhanced(2, 0, 0), "captured");
    Leg {
        route: load.route.name.clone(),
        remote: None,
        next_hop: String::new(),
        judged: load.recipients.into_iter().map(keep).collect(),
        hold: None,
    }
}

fn client(claim: &Claim) -> Client<'_> {
    let envelope = claim.envelope();
    Client { login: envelope.login.as_deref(), tag: envelope.tag.as_deref() }
}
