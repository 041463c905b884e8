//! How a lane stands, for operators and programs.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Lane, lock};
use crate::delivery::health::Health;
use crate::delivery::pool::Condition;
use crate::delivery::traffic::View;
use crate::delivery::trip::name;
use crate::event::Event;

/// For how long it is told that something of ours was in the way of a route: waiting mail tries it again
/// before that, and if there is none nobody knows.
const BLOCKED: Duration = Duration::from_secs(2 * 3600);

/// Whether mail leaves by a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It does, by all its hosts as far as we know.
    Up,
    /// It does, but a host is down.
    Degraded,
    /// It does not: every host is down, or something of ours that it needs cannot be used.
    Down,
    /// It does not: our login was refused.
    LoginRefused,
    /// It does not: an operator suspended it.
    Suspended,
}

impl Standing {
    /// Returns the words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::LoginRefused => "login refused",
            Self::Suspended => "suspended",
        }
    }

    /// Returns its place where not all routes can be shown: those whose mail waits come first.
    #[must_use]
    pub const fn urgency(self) -> u8 {
        match self {
            Self::Down | Self::LoginRefused => 0,
            Self::Suspended => 1,
            Self::Degraded => 2,
            Self::Up => 3,
        }
    }
}

/// How a route stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteState {
    /// Its name.
    pub name: String,
    /// Whether mail leaves.
    pub standing: Standing,
    /// Why not, if it does not.
    pub reason: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When a login that was refused is tried again; a changed password is tried at once.
    pub until: Option<Timestamp>,
    /// Its hosts, in the order of the configuration.
    pub hosts: Vec<HostState>,
    /// Messages that are under way to a host.
    pub in_use: u32,
    /// Connections that wait for a message.
    pub idle: usize,
    /// Connections that it may have.
    pub connections: usize,
    /// Messages that it holds in memory, those under way included.
    pub in_memory: usize,
    /// Messages of the spool that go by it next, those in memory included; none: they were not counted.
    #[serde(default)]
    pub waiting: Option<usize>,
    /// The rate as configured; none without a limit.
    pub rate: Option<String>,
    /// The rate as it is now, messages a second: less than configured after a hop asked for less.
    pub rate_per_second: Option<f64>,
}

/// How a host of a route stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// The host and its port.
    pub host: String,
    /// Its place in the order of preference.
    pub order: u32,
    /// Its weight within its group.
    pub weight: u32,
    /// `up`, `down`, or `probed`: it was down and one message tries it.
    pub health: String,
    /// What was wrong, if it is not up.
    pub reason: Option<String>,
    /// Since when it is down, or up again.
    pub since: Option<Timestamp>,
    /// When it is tried again.
    pub next_probe: Option<Timestamp>,
    /// Until when it has a rest because it asked for less.
    pub paused_until: Option<Timestamp>,
    /// Messages that are under way to it.
    pub in_use: u32,
    /// Messages that it may have now: this adapts.
    pub limit: u32,
    /// Transactions since the relay began or the route was changed: taken for somebody.
    pub carried: u64,
    /// Answered, and taken for nobody.
    pub put_off: u64,
    /// Asked for less.
    pub throttled: u64,
    /// Failed, with the connection.
    pub failed: u64,
}

/// A moment on both clocks.
#[derive(Clone, Copy)]
struct Clocks {
    now: Instant,
    time: Timestamp,
}

impl Clocks {
    /// Returns when `at` is or was by the wall clock.
    fn wall(self, at: Instant) -> Timestamp {
        let ahead = at.saturating_duration_since(self.now);
        let ago = self.now.saturating_duration_since(at);
        let ahead = SignedDuration::try_from(ahead).unwrap_or_default();
        let ago = SignedDuration::try_from(ago).unwrap_or_default();
        self.time
            .saturating_add(ahead)
            .and_then(|time| time.saturating_sub(ago))
            .unwrap_or(self.time)
    }
}

impl Lane {
    /// Returns how the route stands at a moment, given by both clocks.
    pub(in crate::net) fn state(&self, now: Instant, time: Timestamp) -> RouteState {
        let clocks = Clocks { now, time };
        let (hosts, rate_per_second): (Vec<_>, _) = {
            let traffic = lock(&self.traffic);
            let views = traffic.views(now).zip(&self.route.hosts);
            let hosts = views.map(|(view, host)| HostState {
                host: name(&host.hop),
                order: host.order,
                weight: host.weight,
                ..of(&view, clocks)
            });
            (hosts.collect(), traffic.per_second())
        };
        let mut state = RouteState {
            name: self.route.name.clone(),
            standing: Standing::Up,
            reason: None,
            since: None,
            until: None,
            in_use: hosts.iter().map(|host| host.in_use).sum(),
            idle: lock(&self.idle).len(),
            connections: self.route.connections,
            in_memory: self.in_memory(),
            waiting: None,
            rate: self.route.rate.map(|rate| rate.to_string()),
            rate_per_second,
            hosts,
        };
        self.judge(&mut state, clocks);
        state
    }

    /// Returns what people are told when `after` takes the place of this lane: that what was wrong here, and is
    /// not known there, says nothing any more. None if there is nothing of that kind.
    pub(in crate::net) fn renewed_by(&self, after: Option<&Self>) -> Option<Event> {
        let now = Instant::now();
        let down = |lane: &Self| -> Vec<String> {
            let hosts = lane.state(now, Timestamp::now()).hosts;
            hosts.into_iter().filter(|host| host.reason.is_some()).map(|host| host.host).collect()
        };
        let still = after.map(down).unwrap_or_default();
        let hosts: Vec<String> =
            down(self).into_iter().filter(|host| !still.contains(host)).collect();
        let is_refused = |lane: &Self| *lock(&lane.health) != Health::Up;
        let was_refused = is_refused(self) && !after.is_some_and(is_refused);
        let gone = after.is_none();
        let was_held = gone && self.register.is_suspended(&self.route.name);
        let route = self.route.name.clone();
        (was_refused || was_held || !hosts.is_empty()).then_some(Event::RouteRenewed {
            route,
            gone,
            hosts,
        })
    }

    /// Enters whether mail leaves, and why not.
    fn judge(&self, state: &mut RouteState, clocks: Clocks) {
        if let Some(suspension) = self.register.suspension(&self.route.name) {
            let note = suspension.note.map_or_else(String::new, |note| format!(": {note}"));
            state.standing = Standing::Suspended;
            state.reason = Some(format!("suspended by uid {}{note}", suspension.uid));
            state.since = Some(suspension.since);
            return;
        }
        if let Health::Suspended { since, until, reason, .. } = &*lock(&self.health) {
            state.standing = Standing::LoginRefused;
            state.reason = Some(self.with_file(reason));
            state.since = Some(clocks.wall(*since));
            state.until = Some(clocks.wall(*until));
            return;
        }
        if let Some((at, words)) = lock(&self.blocked).clone()
            && clocks.now.saturating_duration_since(at) < BLOCKED
        {
            state.standing = Standing::Down;
            state.reason = Some(words);
            state.since = Some(clocks.wall(at));
            return;
        }
        let down: Vec<_> = state.hosts.iter().filter(|host| host.reason.is_some()).collect();
        let Some(first) = down.first() else { return };
        let all = down.len() == state.hosts.len();
        state.standing = if all { Standing::Down } else { Standing::Degraded };
        state.reason =
            first.reason.as_ref().map(|reason| format!("{} is down: {reason}", first.host));
        state.since = down.iter().filter_map(|host| host.since).max();
    }
}

fn of(view: &View<'_>, clocks: Clocks) -> HostState {
    let wall = |at: &Instant| Some(clocks.wall(*at));
    let (health, reason, since, next_probe) = match view.condition {
        Condition::Up { since, .. } => ("up", None, since.as_ref().and_then(wall), None),
        Condition::Down { since, until, reason, .. } => {
            ("down", Some(reason.clone()), wall(since), wall(until))
        }
        Condition::Probed { since, reason, .. } => {
            ("probed", Some(reason.clone()), wall(since), None)
        }
    };
    HostState {
        host: String::new(),
        order: 0,
        weight: 0,
        health: health.to_owned(),
        reason,
        since,
        next_probe,
        paused_until: view.paused_until.as_ref().and_then(wall),
        in_use: view.in_use,
        limit: view.limit,
        carried: view.counts.carried,
        put_off: view.counts.put_off,
        throttled: view.counts.throttled,
        failed: view.counts.failed,
    }
}
