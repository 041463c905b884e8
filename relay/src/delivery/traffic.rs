//! The traffic of one route: which host the next message goes to, when, and what is learnt from
//! what came of it.
//!
//! Here the health of the hosts ([`super::pool`]), their pace ([`super::pace`]) and the rate of the
//! route ([`super::flow`]) come together. The driver asks [`Traffic::choose`], opens connections,
//! and says what happened; it decides nothing.

use std::time::{Duration, Instant};

use super::action::End;
use super::flow::Flow;
use super::pace::Pace;
use super::pool::{Change, Condition, Entry, Pool};
use super::ruling::{Judged, Ruling};
use super::throttle::Demand;
use crate::config::Rate;
use crate::smtp::reply::Enhanced;

/// How long a message waits in memory for its turn; when that takes longer it goes back into the
/// spool.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The traffic of one route.
#[derive(Clone, Debug)]
pub struct Traffic {
    most: u32,
    in_use: u32,
    pool: Pool,
    hosts: Vec<Load>,
    flow: Option<Flow>,
}

/// What one host has to carry.
#[derive(Clone, Debug)]
struct Load {
    pace: Pace,
    in_use: u32,
    counts: Counts,
}

/// What became of the transactions with one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// It took the message for somebody.
    pub carried: u64,
    /// It answered and took it for nobody.
    pub put_off: u64,
    /// It asked for less.
    pub throttled: u64,
    /// The connection failed, or could not be made.
    pub failed: u64,
}

/// One message on its way through the hosts.
#[derive(Debug, Default)]
pub struct Errand {
    tried: Vec<usize>,
    /// Since when it waits for a place at a host that is full; none: it does not.
    waits_since: Option<Instant>,
    /// When its turn came by the rate; none: not yet.
    turn: Option<Instant>,
}

/// A message's place at a host, to be given back by [`Traffic::release`].
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    host: usize,
    is_probe: bool,
    begun: Instant,
}

/// What a message is to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// Go to this host, at [`Place::begun`].
    Go(Place),
    /// Ask again when a place was given back, and at this time.
    Wait(Instant),
    /// Come back after this time, for this reason.
    Later(Duration, &'static str),
    /// No host is left to be asked; these are down, for these reasons.
    Nobody(Vec<(usize, String)>),
}

/// What came of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host took the message for somebody.
    Carried,
    /// It answered, and took it for nobody.
    PutOff,
    /// It asked for less.
    Throttled,
    /// It is of no use, for this reason.
    Failed(String),
    /// The connection was lost with the message under way.
    Lost(String),
    /// A connection that had carried mail before was closed under the message: that may only mean that
    /// it waited too long, or has carried enough.
    Stale,
    /// Nothing that concerns the host.
    Nothing,
}

/// Whether a connection had carried a message before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is new.
    New,
    /// It is used again.
    Again,
}

/// What follows from an outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How the health of the host changed.
    pub change: Option<Change>,
    /// How long the host is to be left alone.
    pub pause: Option<Duration>,
}

/// How one host stands.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Its health.
    pub condition: &'a Condition,
    /// Messages that it has now.
    pub in_use: u32,
    /// Messages that it may have.
    pub limit: u32,
    /// When its pause ends; none if it has none.
    pub paused_until: Option<Instant>,
    /// What it has done.
    pub counts: Counts,
}

impl Traffic {
    /// Returns the traffic over hosts of these orders and weights, with at most `most` messages at
    /// a time.
    #[must_use]
    pub fn new(
        hosts: impl IntoIterator<Item = (u32, u32)>,
        most: u32,
        rate: Option<Rate>,
        now: Instant,
    ) -> Self {
        let pool = Pool::new(hosts);
        let load = || Load { pace: Pace::new(most), in_use: 0, counts: Counts::default() };
        let hosts = std::iter::repeat_with(load).take(pool.len()).collect();
        let flow = rate.map(|rate| Flow::new(rate, now));
        Self { most: most.max(1), in_use: 0, pool, hosts, flow }
    }

    /// Returns the traffic of the same route with nothing under way: health, pace, pauses and rate go on.
    #[must_use]
    pub fn inherited(&self, now: Instant) -> Self {
        let idle = |load: &Load| Load { in_use: 0, ..load.clone() };
        let (most, flow) = (self.most, self.flow.clone());
        let hosts = self.hosts.iter().map(idle).collect();
        Self { most, in_use: 0, pool: self.pool.inherited(now), hosts, flow }
    }

    /// Tells whether one more message would leave within [`PATIENCE`] when this many are in memory, as
    /// far as rate and rests decide it. Hosts that are down are no reason to wait here: what cannot
    /// be carried is put off on its own schedule.
    #[must_use]
    pub fn has_turn(&self, now: Instant, in_memory: u32) -> bool {
        let ahead = in_memory.saturating_sub(self.in_use);
        let is_soon = |until: Instant| until.saturating_duration_since(now) <= PATIENCE;
        let open = self.pool.choose(now, 0);
        let rests = |host: &usize| {
            let until = self.hosts[*host].pace.paused_until(now);
            until.is_some_and(|until| !is_soon(until))
        };
        self.flow.as_ref().is_none_or(|flow| is_soon(flow.next_behind(now, ahead)))
            && (open.is_empty() || !open.iter().all(rests))
    }

    /// Decides where a message goes. Equal dice fall equally.
    ///
    /// A better host whose places are all taken is waited for, as long as [`PATIENCE`] lasts: it may
    /// hang. One that asked for less, or is down, is not.
    pub fn choose(&mut self, now: Instant, dice: u64, errand: &mut Errand) -> Choice {
        let (mut full, mut paused): (Option<u32>, Option<Instant>) = (None, None);
        let patient_until = errand.waits_since.unwrap_or(now) + PATIENCE;
        for host in self.pool.choose(now, dice) {
            if errand.tried.contains(&host) {
                continue;
            }
            let (order, load) = (self.pool.order(host), &self.hosts[host]);
            if now < patient_until && full.is_some_and(|full| full < order) {
                break;
            }
            if let Some(until) = load.pace.paused_until(now) {
                paused = Some(paused.map_or(until, |earlier| earlier.min(until)));
            } else if load.in_use >= load.pace.limit() || self.in_use >= self.most {
                full = Some(order);
            } else {
                return self.go(host, now, errand);
            }
        }
        match (full, paused) {
            (Some(_), _) => {
                errand.waits_since.get_or_insert(now);
                let patience = if now < patient_until { patient_until } else { now + PATIENCE };
                let sooner = [paused, self.pool.next_try(now)].into_iter().flatten().min();
                Choice::Wait(sooner.map_or(patience, |sooner| sooner.min(patience)))
            }
            (None, Some(until)) => wait(now, until, "the next hop asked us to send less"),
            (None, None) => self.nobody(errand),
        }
    }

    fn go(&mut self, host: usize, now: Instant, errand: &mut Errand) -> Choice {
        let begun = match (errand.turn, &mut self.flow) {
            (Some(turn), _) => turn.max(now),
            (None, None) => now,
            (None, Some(flow)) => {
                let next = flow.next(now);
                if next.saturating_duration_since(now) > PATIENCE {
                    return wait(now, next, "the rate of the route is used up");
                }
                flow.take(now)
            }
        };
        (errand.turn, errand.waits_since) = (Some(begun), None);
        let is_probe = self.pool.enter(host, now) == Entry::Probe;
        self.hosts[host].in_use += 1;
        self.in_use += 1;
        Choice::Go(Place { host, is_probe, begun })
    }

    /// Decides for a message that may use no host: a try that is under way may open one.
    fn nobody(&self, errand: &Errand) -> Choice {
        let mut down = Vec::new();
        for host in (0..self.pool.len()).filter(|host| !errand.tried.contains(host)) {
            match self.pool.condition(host) {
                Condition::Up { .. } => {}
                Condition::Probed { until, .. } => return Choice::Wait(*until),
                Condition::Down { reason, .. } => down.push((host, reason.clone())),
            }
        }
        Choice::Nobody(down)
    }

    /// Learns what came of a place, which is kept until it is released.
    pub fn learn(&mut self, place: &mut Place, outcome: &Outcome, now: Instant) -> Verdict {
        let Place { host, begun, .. } = *place;
        let Load { pace, counts, .. } = &mut self.hosts[host];
        let mut pause = None;
        match outcome {
            Outcome::Carried => {
                counts.carried += 1;
                pace.succeeded();
                self.flow.iter_mut().for_each(Flow::quicken);
            }
            Outcome::PutOff => counts.put_off += 1,
            Outcome::Throttled => {
                counts.throttled += 1;
                let before = pace.paused_until(now);
                pause = Some(pace.throttled(begun, now));
                if before != pace.paused_until(now) {
                    self.flow.iter_mut().for_each(Flow::slow);
                }
            }
            Outcome::Failed(_) | Outcome::Lost(_) => {
                counts.failed += 1;
                pace.failed(begun, now);
            }
            Outcome::Stale | Outcome::Nothing => {}
        }
        let change = match outcome {
            Outcome::Carried | Outcome::PutOff | Outcome::Throttled => self.pool.worked(host, now),
            Outcome::Failed(reason) => self.pool.failed(host, now, reason),
            Outcome::Lost(reason) => self.pool.lost(host, now, reason),
            Outcome::Stale | Outcome::Nothing => return Verdict { change: None, pause },
        };
        place.is_probe = false;
        Verdict { change, pause }
    }

    /// Tells whether a place is of use still: its host may have failed, or asked for less, since it
    /// was given.
    #[must_use]
    pub fn is_good(&self, place: &Place, now: Instant) -> bool {
        let is_up = matches!(self.pool.condition(place.host), Condition::Up { .. });
        (place.is_probe || is_up) && self.hosts[place.host].pace.paused_until(now).is_none()
    }

    /// Takes a place back.
    pub fn release(&mut self, place: &Place, now: Instant) {
        if place.is_probe {
            self.pool.abandoned(place.host, now);
        }
        let load = &mut self.hosts[place.host];
        load.in_use = load.in_use.saturating_sub(1);
        self.in_use = self.in_use.saturating_sub(1);
    }

    /// Learns that a host was down before the process began, as [`Pool::was_down`].
    pub fn was_down(&mut self, host: usize, now: Instant, since: Instant, reason: &str) {
        self.pool.was_down(host, now, since, reason);
    }

    /// Has every host tried again that is down or has a pause.
    pub fn hurry(&mut self, now: Instant) {
        self.pool.hurry(now);
        self.hosts.iter_mut().for_each(|load| load.pace.hurry());
    }

    /// Returns how every host stands, in the order of the configuration.
    pub fn views(&self, now: Instant) -> impl Iterator<Item = View<'_>> {
        self.hosts.iter().enumerate().map(move |(host, load)| View {
            condition: self.pool.condition(host),
            in_use: load.in_use,
            limit: load.pace.limit(),
            paused_until: load.pace.paused_until(now),
            counts: load.counts,
        })
    }

    /// Returns the rate as it is now, messages a second; none without a limit.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        self.flow.as_ref().map(Flow::per_second)
    }
}

/// Has a message wait until a time, in memory if that is soon.
fn wait(now: Instant, until: Instant, reason: &'static str) -> Choice {
    let wait = until.saturating_duration_since(now);
    if wait > PATIENCE { Choice::Later(wait, reason) } else { Choice::Wait(until) }
}

impl Errand {
    /// Asks a host no more.
    pub fn gave_up(&mut self, place: &Place) {
        self.tried.push(place.host);
    }
}

impl Place {
    /// Returns the host, by its place in the configuration.
    #[must_use]
    pub const fn host(&self) -> usize {
        self.host
    }

    /// Returns when the message may go.
    #[must_use]
    pub const fn begun(&self) -> Instant {
        self.begun
    }
}

impl Outcome {
    /// Returns what a transaction tells of its host: `end` is how the connection ended, if it did.
    #[must_use]
    pub fn of(judged: &[Judged], end: Option<&End>, demand: Demand, kept: Kept) -> Self {
        match (demand, kept) {
            (Demand::Goodbye, Kept::Again) => return Self::Stale,
            (Demand::Goodbye, Kept::New) | (Demand::Less, _) => return Self::Throttled,
            (Demand::AsBefore, _) => {}
        }
        // Nobody's fault but the connection's: the rulings that `Transaction::broken` makes.
        let is_broken = judged.iter().any(|judged| {
            judged.ruling == Ruling::Elsewhere
                || (judged.ruling == Ruling::Deferred && judged.status == Some(Enhanced(4, 4, 2)))
        });
        match end {
            Some(End::LoginRefused(_) | End::Ours(_)) => Self::Nothing,
            Some(End::Unfit(words) | End::Unproved(words)) if judged.is_empty() => {
                Self::Failed(words.clone())
            }
            Some(End::Finished) if judged.is_empty() => {
                Self::Failed("closed before the first message".to_owned())
            }
            Some(End::Unfit(_) | End::Unproved(_) | End::Finished)
                if is_broken && kept == Kept::Again =>
            {
                Self::Stale
            }
            Some(End::Unfit(words) | End::Unproved(words)) if is_broken => {
                Self::Lost(words.clone())
            }
            Some(End::Unfit(_) | End::Unproved(_) | End::Finished) | None => {
                let is_taken = judged.iter().any(|judged| judged.ruling == Ruling::Delivered);
                if is_taken { Self::Carried } else { Self::PutOff }
            }
        }
    }
}

#[cfg(test)]
mod tests;
