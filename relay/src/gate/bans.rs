//! The bans as their owner sees them, and what the relay may ask for.
//!
//! The relay parses what strangers' machines send. Whoever takes it over may shut addresses out, few
//! and for a while; he must not shut out networks, keep anybody out for good, end a ban, or make the
//! host unreachable for itself. This file decides that; it reads no clock and writes no file. Ends are times
//! of the boot clock, in nanoseconds.
//!
//! A source that is banned again soon after a ban ended is banned for longer: each time twice as long as the
//! time before, unless whoever bans it names a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use relay_common::addr::{Family, Net};
use relay_common::table::BANS_MAX;

use super::allowlist::{Did, NOTE_MAX};

/// The longest ban, whoever asks: ten years.
pub const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
/// The longest ban that the relay may ask for.
pub const RELAY_LONGEST: Duration = Duration::from_secs(86_400);
/// The bans of the relay's that may be alive at a time.
pub const RELAY_ALIVE: usize = 10_000;
/// The bans a second that the relay may ask for; as many may come at once.
pub const RELAY_PER_SECOND: u32 = 10;
/// The shortest IPv6 prefix that the relay may ban: what one host has as a rule (RFC 7421).
const RELAY_PREFIX_V6: u8 = 64;
/// The first ban of a source for which no time is named; the next one is twice as long, and so on.
pub const FIRST: Duration = Duration::from_secs(15 * 60);
/// The longest ban that doubling leads to.
pub const DOUBLED_MOST: Duration = RELAY_LONGEST;
/// How long after its end a ban is remembered, so that the next one is longer.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// The ended bans that are remembered; those that ended first are forgotten first.
pub const REMEMBERED_MAX: usize = 100_000;

/// A source that is dropped for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The banned network.
    pub net: Net,
    /// When the ban ends, on the boot clock.
    pub until_ns: u64,
    /// A remark for people.
    pub note: Option<String>,
    /// The user who asked for it.
    pub uid: u32,
    /// When.
    pub at: Timestamp,
    /// How often this network was banned before, as far as that is remembered.
    pub repeats: u32,
}

/// A ban that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// The network.
    pub net: Net,
    /// When it ended, on the boot clock; negative for before this boot.
    pub ended_ns: i64,
    /// How often it was banned, that one included.
    pub times: u32,
}

/// Who asks for a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// An operator.
    Operator,
    /// The relay.
    Relay,
}

/// Why a ban is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The relay may not ban networks.
    #[error("the relay may ban single addresses and IPv6 networks of /64 only, not {0}")]
    TooWide(Net),
    /// The relay may not ban for so long.
    #[error("the relay may ban for at most 24 hours")]
    TooLong,
    /// The relay asks too fast.
    #[error("the relay may ask for {RELAY_PER_SECOND} bans a second")]
    TooFast,
    /// The relay has too many.
    #[error("the relay may have {RELAY_ALIVE} bans alive")]
    TooMany,
    /// An address that must stay reachable.
    #[error("{0} is protected: it is this host itself, or a proxy in front of it")]
    Protected(Net),
    /// The list is full.
    #[error("there is room for {BANS_MAX} bans")]
    Full,
    /// The note cannot be kept.
    #[error("note: at most {NOTE_MAX} octets, none of them a control character")]
    Note,
}

/// How fast the relay may still ask: a bucket of [`RELAY_PER_SECOND`] tokens.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    tokens: f64,
    at: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { tokens: f64::from(RELAY_PER_SECOND), at: Duration::ZERO }
    }
}

impl Budget {
    /// Takes `wanted` tokens at `now`, on a clock that never goes back; false leaves all of them.
    pub fn take(&mut self, wanted: usize, now: Duration) -> bool {
        let most = f64::from(RELAY_PER_SECOND);
        self.tokens = (self.tokens + now.saturating_sub(self.at).as_secs_f64() * most).min(most);
        self.at = now.max(self.at);
        let wanted = u32::try_from(wanted).map_or(f64::INFINITY, f64::from);
        let enough = self.tokens >= wanted;
        if enough {
            self.tokens -= wanted;
        }
        enough
    }
}

/// All bans.
#[derive(Debug, Default)]
pub struct Bans {
    all: BTreeMap<Net, Ban>,
    /// When each ends.
    ends: BTreeSet<(u64, Net)>,
    /// How many each user has.
    by_uid: BTreeMap<u32, usize>,
    past: BTreeMap<Net, Past>,
    /// When each of the past ended.
    past_ends: BTreeSet<(i64, Net)>,
}

impl Bans {
    /// Returns these bans; those that were over by `now_ns` are past ones.
    #[must_use]
    pub fn new(kept: Vec<Ban>, past: Vec<Past>, now_ns: u64) -> Self {
        let mut bans = Self::default();
        for past in past {
            bans.remember(past, now_ns);
        }
        for ban in kept {
            bans.put(ban);
        }
        bans.expire(now_ns);
        bans
    }

    /// Returns every ban in the order of networks.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Ban> {
        self.all.values()
    }

    /// Returns the past bans that are remembered.
    pub fn past(&self) -> impl ExactSizeIterator<Item = &Past> {
        self.past.values()
    }

    /// Returns the ban that ends last of those that cover `net`.
    #[must_use]
    pub fn covering(&self, net: Net) -> Option<&Ban> {
        let around = super::cidr::ancestry(net).filter_map(|net| self.all.get(&net));
        around.max_by_key(|ban| ban.until_ns)
    }

    /// Returns how many bans lie inside `net`, itself not counted.
    #[must_use]
    pub fn inside(&self, net: &Net) -> usize {
        let inner = self.all.range(net..).map(|(inner, _)| inner);
        inner.take_while(|inner| net.covers(inner)).filter(|inner| *inner != net).count()
    }

    /// Returns how often `net` was banned, this time not counted, and how long it is banned if nobody names
    /// a time.
    #[must_use]
    pub fn next_time(&self, net: &Net, now_ns: u64) -> (u32, Duration) {
        let remembered = |past: &&Past| !is_forgotten(past, now_ns);
        let past = self.past.get(net).filter(remembered).map_or(0, |past| past.times);
        let standing = self.all.get(net).map(|ban| ban.repeats + 1);
        let times = standing.unwrap_or(past);
        let doubled = FIRST.checked_mul(1u32.checked_shl(times).unwrap_or(u32::MAX));
        (times, doubled.unwrap_or(DOUBLED_MOST).min(DOUBLED_MOST))
    }

    /// Checks a ban, asked for at `now_ns`, and returns what it will change.
    ///
    /// # Errors
    ///
    /// A [`Refusal`].
    pub fn weigh(
        &self,
        ban: &Ban,
        asker: Asker,
        protected: &[Net],
        now_ns: u64,
    ) -> Result<Did, Refusal> {
        let printable = |text: &str| !text.chars().any(char::is_control);
        if ban.note.as_ref().is_some_and(|note| note.len() > NOTE_MAX || !printable(note)) {
            return Err(Refusal::Note);
        }
        let former = self.all.get(&ban.net);
        if asker == Asker::Relay {
            may_relay(ban, protected, now_ns)?;
            // It may lengthen a ban, never shorten one.
            if former.is_some_and(|former| former.until_ns >= ban.until_ns) {
                return Ok(Did::Unchanged);
            }
            let theirs = self.by_uid.get(&ban.uid).copied().unwrap_or(0);
            if former.is_none_or(|former| former.uid != ban.uid) && theirs >= RELAY_ALIVE {
                return Err(Refusal::TooMany);
            }
        }
        match former {
            Some(_) => Ok(Did::Updated),
            None if self.all.len() >= BANS_MAX as usize => Err(Refusal::Full),
            None => Ok(Did::Added),
        }
    }

    /// Puts a ban in place of the network's former one, which is returned.
    pub fn put(&mut self, ban: Ban) -> Option<Ban> {
        let former = self.pull(&ban.net);
        self.ends.insert((ban.until_ns, ban.net));
        *self.by_uid.entry(ban.uid).or_default() += 1;
        self.all.insert(ban.net, ban);
        former
    }

    /// Lifts the ban of exactly this network: it is not remembered.
    pub fn take(&mut self, net: &Net) -> Option<Ban> {
        self.pull(net)
    }

    fn pull(&mut self, net: &Net) -> Option<Ban> {
        let ban = self.all.remove(net)?;
        self.ends.remove(&(ban.until_ns, ban.net));
        if let Some(count) = self.by_uid.get_mut(&ban.uid) {
            *count -= 1;
            if *count == 0 {
                self.by_uid.remove(&ban.uid);
            }
        }
        Some(ban)
    }

    /// Takes the bans away that are over by `now_ns`, remembers them, and returns them.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Ban> {
        let over: Vec<Net> =
            self.ends.iter().take_while(|(end, _)| *end <= now_ns).map(|(_, net)| *net).collect();
        let over: Vec<Ban> = over.iter().filter_map(|net| self.pull(net)).collect();
        for ban in &over {
            let ended_ns = i64::try_from(ban.until_ns).unwrap_or(i64::MAX);
            self.remember(Past { net: ban.net, ended_ns, times: ban.repeats + 1 }, now_ns);
        }
        over
    }

    fn remember(&mut self, past: Past, now_ns: u64) {
        if let Some(former) = self.past.insert(past.net, past) {
            self.past_ends.remove(&(former.ended_ns, former.net));
        }
        self.past_ends.insert((past.ended_ns, past.net));
        while let Some((ended_ns, net)) = self.past_ends.first().copied()
            && (self.past.len() > REMEMBERED_MAX
                || self.past.get(&net).is_none_or(|past| is_forgotten(past, now_ns)))
        {
            self.past_ends.remove(&(ended_ns, net));
            self.past.remove(&net);
        }
    }
}

fn is_forgotten(past: &Past, now_ns: u64) -> bool {
    let now_ns = i64::try_from(now_ns).unwrap_or(i64::MAX);
    let since = now_ns.saturating_sub(past.ended_ns);
    since > i64::try_from(REMEMBERED.as_nanos()).unwrap_or(i64::MAX)
}

fn may_relay(ban: &Ban, protected: &[Net], now_ns: u64) -> Result<(), Refusal> {
    let narrow = match ban.net.family() {
        Family::V4 => ban.net.is_host(),
        Family::V6 => ban.net.prefix() >= RELAY_PREFIX_V6,
    };
    if !narrow {
        return Err(Refusal::TooWide(ban.net));
    }
    if Duration::from_nanos(ban.until_ns.saturating_sub(now_ns)) > RELAY_LONGEST {
        return Err(Refusal::TooLong);
    }
    let meets = |net: &Net| net.covers(&ban.net) || ban.net.covers(net);
    let own = IpAddr::from(ban.net.addr());
    if own.is_loopback() || own.is_unspecified() || protected.iter().any(meets) {
        return Err(Refusal::Protected(ban.net));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
