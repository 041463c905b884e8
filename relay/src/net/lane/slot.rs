//! What a message holds while it is on its way to a host: a place there, which comes back by itself,
//! however its way ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Lane, lock, up};
use crate::delivery::pool::Change;
use crate::delivery::traffic::{Errand, Outcome, Place};
use crate::delivery::trip::name;
use crate::event::Event;

/// A message's place at one host.
pub(super) struct Slot {
    lane: Arc<Lane>,
    place: Place,
}

impl Slot {
    pub(super) const fn new(lane: Arc<Lane>, place: Place) -> Self {
        Self { lane, place }
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    pub(super) const fn host(&self) -> usize {
        self.place.host()
    }

    /// Tells whether the host still takes mail, after a sleep.
    pub(super) fn is_good(&self) -> bool {
        lock(&self.lane.traffic).is_good(&self.place, Instant::now())
    }

    /// Asks this host no more for the message of `errand`.
    pub(super) fn give_up(&self, errand: &mut Errand) {
        errand.gave_up(&self.place);
    }

    /// Enters what came of it; returns how long the host is to be left alone.
    pub(super) fn learn(&mut self, outcome: &Outcome) -> Option<Duration> {
        // What became of two hosts at once is told in its order.
        let telling = lock(&self.lane.telling);
        let (verdict, up) = {
            let mut traffic = lock(&self.lane.traffic);
            let verdict = traffic.learn(&mut self.place, outcome, Instant::now());
            (verdict, up(&traffic))
        };
        let route = self.lane.route.name.clone();
        let host = name(self.lane.hop(self.host()));
        // Of a lane that is closed nobody hears any more: its end was told.
        if let Some(change) =
            verdict.change.filter(|_| !self.lane.is_closed.load(Ordering::Acquire))
        {
            match change {
                Change::Down(reason) => self.lane.tell_down(host, reason, up),
                Change::Up(down_for) => {
                    self.lane.journal.write(Event::HostUp { route: route.clone(), host, down_for });
                    if up == 1 {
                        self.lane.journal.write(Event::RouteUp { route });
                    }
                }
            }
        }
        drop(telling);
        self.lane.moved.notify_waiters();
        verdict.pause
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.lane.traffic).release(&self.place, Instant::now());
        self.lane.moved.notify_waiters();
    }
}
