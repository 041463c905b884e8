//! What a message does at one host: over a connection that waited, or a new one.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::slot::Slot;
use super::{Lane, Passage, lock};
use crate::delivery::action::End;
use crate::delivery::ruling::{Judged, Ruling};
use crate::delivery::traffic::{Kept, Outcome};
use crate::delivery::trip::name;
use crate::event::Event;
use crate::history::Fact;
use crate::net::connection::{Carried, Connection, Ended, Left};
use crate::spool::Claim;

impl Lane {
    /// Carries what is left of a message to one host.
    pub(super) async fn visit(self: &Arc<Self>, mut slot: Slot, passage: &mut Passage<'_>) {
        let host = slot.host();
        let waiting = match passage.kept {
            Kept::Again => self.take_idle(host),
            Kept::New => None,
        };
        let before = lock(&self.health).clone();
        let (connection, kept) = if let Some(connection) = waiting {
            passage.is_begun = true;
            (connection, Kept::Again)
        } else {
            let opened = tokio::select! {
                biased;
                () = passage.recall.asked() => return,
                // Nothing of the message was said yet, and a host that is slow to answer may take minutes.
                () = self.closed() => return,
                opened = self.open(host) => opened,
            };
            passage.is_begun = true;
            match opened {
                Ok(connection) => {
                    let was_blocked = lock(&self.blocked).take().is_some();
                    if was_blocked {
                        let route = self.route.name.clone();
                        self.journal.write(Event::RouteUp { route });
                    }
                    (connection, Kept::New)
                }
                Err(ended) => return self.missed(slot, ended, passage).await,
            }
        };
        self.tell_carried(host, &connection, passage.claim);
        let Carried { judged, left, demand } =
            connection.carry(passage.trip.parcel(), passage.claim.body(), &passage.recall).await;
        if kept == Kept::New && self.login.is_some() {
            self.prove(&before, &judged);
        }
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
        if history.is_wanted() {
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
                let before = lock(&self.blocked).replace((Instant::now(), words.clone()));
                if before.is_none() {
                    let (route, reason) = (self.route.name.clone(), words.clone());
                    self.journal.write(Event::RouteDown { route, reason });
                }
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
}

/// Tells whether a host sent a recipient elsewhere.
pub(in crate::net) fn is_sent_on(judged: &[Judged]) -> bool {
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
