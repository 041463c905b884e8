//! The hosts of a route: which of them a message tries, in which order, and what is known of their
//! health.
//!
//! A host that fails is left alone for a while that doubles with every failure; then one message
//! tries it while all others go past it. Not here: how many messages a host may have at a time
//! ([`super::pace`]).

use std::time::{Duration, Instant};

/// How long a host is left alone after its first failure.
pub const DOWN: Duration = Duration::from_secs(10);

/// The longest time between two tries of a host that fails: within it a better host that is well
/// again has mail again.
pub const DOWN_MAX: Duration = Duration::from_secs(300);

/// Connections that are lost one after the other, each with its message, until the host is down: one
/// loss may be the network's doing, or the message's.
const LOST_MAX: u32 = 3;

/// How long a try may take until another message may make one. It is longer than a transaction
/// whose next hop takes all the time that it has for a final dot.
const PROBE_MAX: Duration = Duration::from_secs(900);

/// The hosts of a route, named by their places in the configuration.
#[derive(Clone, Debug)]
pub struct Pool {
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    order: u32,
    weight: u32,
    condition: Condition,
    /// Connections lost since it last did its work.
    lost: u32,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It can be used, as far as we know.
    Up {
        /// Since when; none: it was never down.
        since: Option<Instant>,
        /// How long it was left alone the last time.
        after: Duration,
    },
    /// It failed.
    Down {
        /// Since when.
        since: Instant,
        /// When one message may try it.
        until: Instant,
        /// How long it is left alone.
        wait: Duration,
        /// What was wrong.
        reason: String,
    },
    /// It failed, and one message tries it (half open).
    Probed {
        /// Since when it is down.
        since: Instant,
        /// When the try is given up for lost.
        until: Instant,
        /// How long it was left alone before.
        wait: Duration,
        /// What was wrong.
        reason: String,
    },
}

/// How a host may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// By anybody.
    Open,
    /// By this message alone, which must say what came of it.
    Probe,
    /// Not now.
    Shut,
}

/// A change of a host's health that is worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It cannot be used any more, for this reason.
    Down(String),
    /// It can be used again, after so long.
    Up(Duration),
}

impl Pool {
    /// Returns a pool of healthy hosts, each with its order (lower is better, equal is a group) and
    /// its weight within its group.
    #[must_use]
    pub fn new(hosts: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let up = || Condition::Up { since: None, after: Duration::ZERO };
        let member = |(order, weight)| Member { order, weight, condition: up(), lost: 0 };
        Self { members: hosts.into_iter().map(member).collect() }
    }

    /// Returns what is known of the hosts, for others who begin with it: a try that is under way tells them
    /// nothing, so they make one of their own.
    #[must_use]
    pub fn inherited(&self, now: Instant) -> Self {
        let mut own = self.clone();
        (0..own.len()).for_each(|place| own.abandoned(place, now));
        own
    }

    /// Returns the hosts that may be tried now, the best first. Within a group those that are due
    /// for a try come first, so that they are back soon; the others by lot, each as often as its
    /// weight says. Equal dice fall equally.
    #[must_use]
    pub fn choose(&self, now: Instant, dice: u64) -> Vec<usize> {
        let mut left: Vec<usize> = (0..self.members.len())
            .filter(|place| self.entry(*place, now) != Entry::Shut)
            .collect();
        left.sort_by_key(|place| self.members[*place].order);
        let mut chosen = Vec::with_capacity(left.len());
        let mut dice = Dice(dice);
        while let Some(first) = left.first() {
            let order = self.members[*first].order;
            let group = left.iter().take_while(|place| self.members[**place].order == order);
            let group: Vec<usize> = group.copied().collect();
            let due = group.iter().position(|place| self.entry(*place, now) == Entry::Probe);
            let next = due.unwrap_or_else(|| self.draw(&group, &mut dice));
            chosen.push(left.remove(next));
        }
        chosen
    }

    /// Draws one of a group by weight; returns its place in `group`.
    fn draw(&self, group: &[usize], dice: &mut Dice) -> usize {
        let weight = |place: &usize| u64::from(self.members[*place].weight);
        let total: u64 = group.iter().map(weight).sum();
        if group.len() < 2 || total == 0 {
            return 0;
        }
        let mut drawn = dice.throw() % total;
        for (index, place) in group.iter().enumerate() {
            match drawn.checked_sub(weight(place)) {
                Some(rest) => drawn = rest,
                None => return index,
            }
        }
        0
    }

    fn entry(&self, place: usize, now: Instant) -> Entry {
        match &self.members[place].condition {
            Condition::Up { .. } => Entry::Open,
            Condition::Down { until, .. } | Condition::Probed { until, .. } if now >= *until => {
                Entry::Probe
            }
            Condition::Down { .. } | Condition::Probed { .. } => Entry::Shut,
        }
    }

    /// Lets a message use a host. After [`Entry::Probe`] nobody else may until [`Pool::worked`],
    /// [`Pool::failed`] or [`Pool::abandoned`].
    pub fn enter(&mut self, place: usize, now: Instant) -> Entry {
        let entry = self.entry(place, now);
        let condition = &mut self.members[place].condition;
        match (entry, &*condition) {
            (
                Entry::Probe,
                Condition::Down { since, wait, reason, .. }
                | Condition::Probed { since, wait, reason, .. },
            ) => {
                let (since, wait, reason) = (*since, *wait, reason.clone());
                *condition = Condition::Probed { since, until: now + PROBE_MAX, wait, reason };
            }
            (Entry::Open | Entry::Probe | Entry::Shut, _) => {}
        }
        entry
    }

    /// Learns that a host did its work.
    pub fn worked(&mut self, place: usize, now: Instant) -> Option<Change> {
        self.members[place].lost = 0;
        let condition = &mut self.members[place].condition;
        match &*condition {
            Condition::Up { .. } => None,
            Condition::Down { since, wait, .. } | Condition::Probed { since, wait, .. } => {
                let change = Change::Up(now.saturating_duration_since(*since));
                *condition = Condition::Up { since: Some(now), after: *wait };
                Some(change)
            }
        }
    }

    /// Learns that a connection to a host was lost with its message under way.
    pub fn lost(&mut self, place: usize, now: Instant, reason: &str) -> Option<Change> {
        let member = &mut self.members[place];
        member.lost += 1;
        let is_patient = match member.condition {
            Condition::Up { .. } => member.lost < LOST_MAX,
            Condition::Down { .. } | Condition::Probed { .. } => false,
        };
        if is_patient { None } else { self.failed(place, now, reason) }
    }

    /// Learns that a host could not be used.
    ///
    /// What fails while it is down already was under way before and changes nothing. A host that
    /// fails again sooner than it was left alone before is left alone longer: one that comes and
    /// goes is no better than one that is away.
    pub fn failed(&mut self, place: usize, now: Instant, reason: &str) -> Option<Change> {
        self.members[place].lost = 0;
        let condition = &mut self.members[place].condition;
        let reason = reason.to_owned();
        match &*condition {
            Condition::Up { since, after } => {
                let is_soon =
                    since.is_some_and(|since| now.saturating_duration_since(since) < *after);
                let wait = if is_soon { longer(*after) } else { DOWN };
                let change = Change::Down(reason.clone());
                *condition = Condition::Down { since: now, until: now + wait, wait, reason };
                Some(change)
            }
            Condition::Probed { since, wait, .. } => {
                let (since, wait) = (*since, longer(*wait));
                *condition = Condition::Down { since, until: now + wait, wait, reason };
                None
            }
            Condition::Down { .. } => None,
        }
    }

    /// Learns that a host was down when an earlier process ended, `since` then: the next message tries it. What is
    /// known already stays.
    pub fn was_down(&mut self, place: usize, now: Instant, since: Instant, reason: &str) {
        let condition = &mut self.members[place].condition;
        match condition {
            Condition::Up { since: None, .. } => {
                let reason = reason.to_owned();
                *condition = Condition::Down { since, until: now, wait: DOWN, reason };
            }
            Condition::Up { since: Some(_), .. }
            | Condition::Down { .. }
            | Condition::Probed { .. } => {}
        }
    }

    /// Learns that a try came to nothing: the next message may make one.
    pub fn abandoned(&mut self, place: usize, now: Instant) {
        let condition = &mut self.members[place].condition;
        if let Condition::Probed { since, wait, reason, .. } = &*condition {
            let (since, wait, reason) = (*since, *wait, reason.clone());
            *condition = Condition::Down { since, until: now, wait, reason };
        }
    }

    /// Returns when the next of the hosts that may not be tried at `now` may be; none if there is none.
    #[must_use]
    pub fn next_try(&self, now: Instant) -> Option<Instant> {
        let due = self.members.iter().filter_map(|member| match &member.condition {
            Condition::Up { .. } => None,
            Condition::Down { until, .. } | Condition::Probed { until, .. } => Some(*until),
        });
        due.filter(|until| now < *until).min()
    }

    /// Makes every host that is down due for a try.
    pub fn hurry(&mut self, now: Instant) {
        for member in &mut self.members {
            if let Condition::Down { until, .. } = &mut member.condition {
                *until = now.min(*until);
            }
        }
    }

    /// Returns what is known of a host.
    #[must_use]
    pub fn condition(&self, place: usize) -> &Condition {
        &self.members[place].condition
    }

    /// Returns the order of a host.
    #[must_use]
    pub fn order(&self, place: usize) -> u32 {
        self.members[place].order
    }

    /// Returns the number of hosts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells whether there is no host.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

fn longer(wait: Duration) -> Duration {
    (wait * 2).min(DOWN_MAX)
}

/// Numbers from one that was drawn (`SplitMix64`).
struct Dice(u64);

impl Dice {
    const fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

#[cfg(test)]
mod tests;
