//! The way out, reduced to what `net::outbound` does: claims and settlements.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::clock;
use super::lane::Lane;
use super::life::Life;
use crate::delivery::settlement::Leg;
use crate::delivery::sorting::{self, Sorted};
use crate::net::outbound::{captured_leg, settlement};
use crate::net::{reporting, way};
use crate::policy::permit::Client;
use crate::policy::relaying::onward;
use crate::spool::{Claim, Way};

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
        let sorted =
            sorting::sort(claim.pending(), |to| onward(config, Client::of(claim.envelope()), to));
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
    let jitter = life.world.roll(1 << 32) as u32;
    let settlement = settlement(config, &claim, legs, now, jitter);
    let (settlement, reported) =
        reporting::write(&life.spool, config, &claim, settlement, now).await;
    life.world.ledger().reported(&reported);
    claim.told(&settlement.told(), now);
    claim.owe(settlement.owed());
    way::steer(&claim, &settlement);
    let (id, outcomes) = (claim.id(), settlement.into_outcomes());
    life.world.ledger().given_up(&claim, &outcomes);
    match life.spool.settle(claim, outcomes).await {
        Ok(()) => life.world.ledger().settled(id),
        Err(_) => life.world.ledger().unsettled(id),
    }
}
