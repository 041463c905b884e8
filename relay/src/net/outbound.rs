//! The loop that takes messages out of the spool and brings them to their next hops.
//!
//! It claims a message whose lane has room, hands it to the lanes of all its routes, and settles it.
//! What becomes of it is decided in `delivery` and `policy`; which message is next, in `spool`.

mod legs;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::capture;
use super::fault::Faults;
use super::lane::Lane;
use super::reporting;
use super::routes::Routes;
use super::settled::Leaving;
use super::signing::Unsigned;
use super::way;
use crate::config::Config;
use crate::delivery::settlement::{Facts, Leg, Settlement};
use crate::delivery::sorting::{self, Sorted};
use crate::event::Event;
use crate::history::{self, Fact};
use crate::journal::Journal;
use crate::mail::message::MessageId;
use crate::mail::outcome::{Fate, Outcome};
use crate::policy::permit::{Client, Permit};
use crate::policy::relaying::{Onward, onward};
use crate::smtp::address::Address;
use crate::spool::{Claim, Spool, Way};

pub(super) use legs::captured_leg;
use legs::{leg_without_route, leg_without_signature};

/// Messages in memory that need no lane: they are captured, or no route takes them. Enough that their
/// outcomes share a flush.
const WITHOUT_LANE: usize = 256;

/// What every task of the outbound side shares.
struct Outbound {
    spool: Arc<Spool>,
    config: Arc<Config>,
    journal: Journal,
    routes: Arc<Routes>,
    faults: Faults,
    /// Room for messages that need no lane.
    without_lane: Arc<Semaphore>,
    /// The lanes by their marks, which two may share.
    ways: HashMap<Way, Vec<Arc<Lane>>>,
}

/// Recipients of one message that go along one lane in one transaction.
struct Load {
    lane: Arc<Lane>,
    recipients: Vec<Address>,
    /// One for all loads of the message in this lane.
    berth: Arc<Berth>,
}

/// Room in a lane, for as long as a message is in memory.
struct Berth {
    ticket: Option<OwnedSemaphorePermit>,
    spool: Arc<Spool>,
}

impl Drop for Berth {
    fn drop(&mut self) {
        drop(self.ticket.take());
        self.spool.look_again();
    }
}

/// The loads of a message, as far as there is room for them.
struct Loads {
    loads: Vec<Load>,
    /// The way of recipients whose lane has no room.
    waits_for: Option<Way>,
}

/// Delivers mail along `routes`, which are those of `config`, until `stop` turns true or its sender
/// is gone; then lets what is under way come to its end, which deadlines of its own bring about.
///
/// Dropping the future is safe too: claims that are not settled become due again. What is cut off
/// then may arrive twice.
pub async fn run(
    spool: Arc<Spool>,
    config: Arc<Config>,
    routes: Arc<Routes>,
    journal: Journal,
    mut stop: watch::Receiver<bool>,
) {
    let mut ways: HashMap<Way, Vec<_>> = HashMap::new();
    for (name, lane) in routes.named() {
        ways.entry(Way::of(name)).or_default().push(Arc::clone(lane));
    }
    for problem in routes.keys().unsigned() {
        journal.write(Event::Trouble { room: "net", problem });
    }
    let of = Arc::clone(&config);
    spool.route_by(move |envelope, to| match onward(&of, Client::of(envelope), to)? {
        Onward::Sent(route) | Onward::Captured(route) => Some(route.name.clone()),
    });
    let without_lane = Arc::new(Semaphore::new(WITHOUT_LANE));
    let faults = Faults::default();
    let outbound = Outbound { spool, config, journal, routes, faults, without_lane, ways };
    let outbound = Arc::new(outbound);
    let mut carriers = JoinSet::new();
    tokio::select! {
        () = dispatch(&outbound, &mut carriers) => {}
        () = upkeep::reap(&outbound) => {}
        () = upkeep::renew(&outbound) => {}
        () = capture::retire(&outbound.spool, &outbound.config.capture, &outbound.journal) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    outbound.routes.lanes().for_each(Lane::close);
    while carriers.join_next().await.is_some() {}
}

/// Claims messages and starts a carrier for each, for ever.
async fn dispatch(outbound: &Arc<Outbound>, carriers: &mut JoinSet<()>) {
    loop {
        while carriers.try_join_next().is_some() {}
        let claim = outbound.spool.claim_for(|way| outbound.has_room(way)).await;
        let Sorted { loads, captured, stranded } = outbound.sort(&claim);
        let Loads { loads, waits_for } = outbound.admit(loads);
        let mut legs: Vec<_> = captured.into_iter().map(captured_leg).collect();
        if !stranded.is_empty() {
            legs.push(leg_without_route(stranded));
        }
        match waits_for {
            // Its record named another way, or none.
            Some(way) if loads.is_empty() && legs.is_empty() => {
                outbound.spool.put_back(claim, way);
                continue;
            }
            Some(way) => claim.steer(way),
            None => {}
        }
        // What is not sent needs no signature either.
        if loads.is_empty() {
            let room = Arc::clone(&outbound.without_lane).acquire_owned().await;
            let own = Arc::clone(outbound);
            outbound.carry(carriers, claim.id(), async move {
                own.settle(claim, legs, Timestamp::now()).await;
                drop(room);
            });
            continue;
        }
        let id = claim.id();
        outbound.carry(carriers, id, deliver(Arc::clone(outbound), claim, loads, legs));
    }
}

/// Brings one message to all its next hops, at least one, and settles it, with the `legs` that need
/// no lane.
/// Recipients without a leg, whose lane was closed or had no room, stay open; a message that was
/// asked of nobody goes back untouched.
async fn deliver(outbound: Arc<Outbound>, mut claim: Claim, loads: Vec<Load>, mut legs: Vec<Leg>) {
    let began_at = Timestamp::now();
    // Last to go: then the message is in nobody's hand.
    let underway = outbound.routes.recalls().enter(claim.id());
    let recall = underway.recall();
    let signed = tokio::select! {
        biased;
        () = recall.asked() => Err(Unsigned::Recalled),
        signed = outbound.routes.keys().sign(&mut claim, began_at) => signed,
    };
    let _room = match signed {
        Ok(room) => room,
        Err(why) => {
            let recipients = loads.iter().flat_map(|load| load.recipients.clone()).collect();
            legs.push(leg_without_signature(recipients, &why));
            return outbound.settle(claim, legs, began_at).await;
        }
    };
    let claim = Arc::new(claim);
    let mut trips = JoinSet::new();
    for Load { lane, recipients, berth } in loads {
        let (claim, recall) = (Arc::clone(&claim), underway.recall());
        trips.spawn(async move {
            let legs = lane.carry(&claim, recipients, recall).await;
            drop(claim);
            (legs, lane.way(), berth)
        });
    }
    // A lane has room again when its part is done; the last one only when the outcome is on disk. So
    // no message is in memory for which no lane has a berth.
    let (mut last, mut stopped, mut fault) = (None, None, None);
    while let Some(trip) = trips.join_next().await {
        match trip {
            Ok((more, way, berth)) => {
                stopped = if more.is_empty() { Some(way) } else { stopped };
                legs.extend(more);
                last = Some(berth);
            }
            Err(ended) => fault = ended.try_into_panic().ok().or(fault),
        }
    }
    match (Arc::into_inner(claim), stopped) {
        (Some(claim), Some(way)) if legs.is_empty() => outbound.spool.put_back(claim, way),
        (Some(claim), _) if !legs.is_empty() => outbound.settle(claim, legs, began_at).await,
        // A trip that failed with a fault of ours waits a while.
        (_, _) => {}
    }
    drop(last);
    // Only now: what the other trips came to is settled.
    if let Some(fault) = fault {
        std::panic::resume_unwind(fault);
    }
}

/// Returns what the line about a message tells, should it leave now.
fn leaving(claim: &Claim, now: Timestamp) -> Leaving<'_> {
    Leaving {
        id: claim.id(),
        envelope: claim.envelope(),
        progress: claim.progress(),
        size_bytes: claim.size_bytes(),
        attempts: claim.attempts(),
        accepted_at: claim.accepted_at(),
        now,
    }
}

/// Decides every recipient of a message.
pub(super) fn settlement(
    config: &Config,
    claim: &Claim,
    legs: Vec<Leg>,
    now: Timestamp,
    jitter: u32,
) -> Settlement {
    let envelope = claim.envelope();
    let told: Vec<_> = claim.progress().iter().map(|progress| progress.told).collect();
    let released_at = envelope.terms.hold_until.unwrap_or(Timestamp::MIN);
    let facts = Facts {
        id: claim.id(),
        envelope,
        told: &told,
        retry: &Permit::of(config, Client::of(envelope)).retry(),
        attempts: claim.attempts(),
        since: claim.accepted_at().max(released_at),
        now,
        jitter,
    };
    let owed = claim.progress().iter().filter_map(|progress| progress.owed.clone());
    Settlement::of(facts, legs).owing(owed.collect())
}

impl Outbound {
    /// Starts a carrier of a message.
    fn carry(
        self: &Arc<Self>,
        carriers: &mut JoinSet<()>,
        id: MessageId,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let own = Arc::clone(self);
        carriers.spawn(async move {
            own.faults.watch((&own.spool, &own.journal), id, work).await;
        });
    }

    /// Tells whether all lanes with the mark `way` have room. Where none has it, the message is looked
    /// at: its route is another since it was accepted, or none.
    fn has_room(&self, way: Way) -> bool {
        self.ways.get(&way).is_none_or(|lanes| lanes.iter().all(|lane| lane.has_room()))
    }

    /// Finds room for the loads of one message.
    fn admit(&self, sorted: Vec<sorting::Load<'_>>) -> Loads {
        let mut berths: HashMap<&str, Option<Arc<Berth>>> = HashMap::new();
        let (mut loads, mut waits_for) = (Vec::new(), None);
        for sorting::Load { route, recipients } in sorted {
            let Some(lane) = self.routes.lane(&route.name) else { continue };
            let berth = berths.entry(&route.name).or_insert_with(|| {
                let (ticket, spool) = (lane.try_admit()?, Arc::clone(&self.spool));
                Some(Arc::new(Berth { ticket: Some(ticket), spool }))
            });
            match berth {
                Some(berth) => {
                    let (lane, berth) = (Arc::clone(lane), Arc::clone(berth));
                    loads.push(Load { lane, recipients, berth });
                }
                None => waits_for = Some(Way::of(&route.name)),
            }
        }
        Loads { loads, waits_for }
    }

    fn sort(&self, claim: &Claim) -> Sorted<'_> {
        let client = Client::of(claim.envelope());
        sorting::sort(claim.pending(), |to| onward(&self.config, client, to))
    }

    /// Writes down what became of a message; first the reports about it, if there are any to write.
    /// A crash in between repeats a report; the other order could lose it.
    async fn settle(&self, mut claim: Claim, legs: Vec<Leg>, began_at: Timestamp) {
        let now = Timestamp::now();
        let jitter = reporting::random() as u32;
        let settlement = settlement(&self.config, &claim, legs, now, jitter);
        let (settlement, reported) =
            reporting::write(&self.spool, &self.config, &claim, settlement, now).await;
        for event in &reported {
            self.remember(event);
        }
        claim.told(&settlement.told(), now);
        claim.owe(settlement.owed());
        way::steer(&claim, &settlement);
        let id = claim.id();
        let events = settlement.events();
        let settled = leaving(&claim, now).settled(settlement.results());
        let settled = settled.map(|line| Event::Settled(Box::new(line)));
        let attempted = self.attempted(&claim, &settlement, began_at);
        match self.spool.settle(claim, settlement.into_outcomes()).await {
            Ok(()) => {
                if let Some(attempted) = attempted {
                    self.journal.history().enter(id, attempted);
                }
                let events = events.into_iter().chain(reported).chain(settled);
                events.for_each(|event| self.journal.write(event));
            }
            Err(problem) => {
                let problem = format!("the outcome of {id} was not written: {problem}");
                self.journal.write(Event::Trouble { room: "net", problem });
            }
        }
    }

    /// Returns what the history is told of an attempt, if one is kept and one was made.
    fn attempted(
        &self,
        claim: &Claim,
        settlement: &Settlement,
        began_at: Timestamp,
    ) -> Option<Fact> {
        let is_tried = |(_, outcome): (&str, &Outcome)| !matches!(outcome.fate, Fate::Postponed(_));
        let is_told = self.journal.history().is_wanted() && settlement.results().any(is_tried);
        is_told.then(|| {
            let done = settlement.results().filter(|(_, outcome)| outcome.fate.is_done()).count();
            let counted = settlement.results().any(|(_, outcome)| outcome.fate.is_attempt());
            Fact::Attempted {
                number: claim.attempts() + 1,
                counted,
                began_at,
                results: history::told(settlement.results()),
                open: claim.pending().len().saturating_sub(done),
                trace: claim.envelope().trace,
            }
        })
    }

    /// Enters a report into the history of the message that it is about, and begins its own.
    fn remember(&self, reported: &Event) {
        if let Event::Bounced { id, about } | Event::Notified { id, about, .. } = *reported {
            self.journal.history().enter(about, Fact::Reported { report: id });
            self.journal.history().enter(id, Fact::Report { about });
        }
    }
}
