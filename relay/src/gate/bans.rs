//! The bans as their owner sees them, and what the relay may ask for.
//!
//! The relay parses what strangers' machines send. Whoever takes it over may shut addresses out, few
//! and for a while; he must not shut out networks, keep anybody out for good, end a ban, or make the
//! host unreachable for itself. This file decides that; it reads no clock and writes no file.

use std::collections::BTreeMap;
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

/// A source that is dropped for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The banned network.
    pub net: Net,
    /// When the ban ends.
    pub until: Timestamp,
    /// A remark for people.
    pub note: Option<String>,
    /// The user who asked for it.
    pub uid: u32,
    /// When.
    pub at: Timestamp,
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
    #[error("{0} is protected: it is this host itself")]
    Protected(Net),
    /// The list is full.
    #[error("there is room for {BANS_MAX} bans in each family")]
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
    bans: BTreeMap<Net, Ban>,
}

impl Bans {
    /// Returns these bans without those that were over by `now`.
    #[must_use]
    pub fn new(kept: Vec<Ban>, now: Timestamp) -> Self {
        let alive = kept.into_iter().filter(|ban| ban.until > now);
        Self { bans: alive.map(|ban| (ban.net, ban)).collect() }
    }

    /// Returns every ban in the order of networks.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Ban> {
        self.bans.values()
    }

    /// Returns the ban that ends last of those that cover `net`.
    #[must_use]
    pub fn covering(&self, net: Net) -> Option<&Ban> {
        super::cidr::ancestry(net).filter_map(|net| self.bans.get(&net)).max_by_key(|ban| ban.until)
    }

    /// Checks a ban and returns what it will change.
    ///
    /// # Errors
    ///
    /// A [`Refusal`].
    pub fn weigh(&self, ban: &Ban, asker: Asker, protected: &[IpAddr]) -> Result<Did, Refusal> {
        let printable = |text: &str| !text.chars().any(char::is_control);
        if ban.note.as_ref().is_some_and(|note| note.len() > NOTE_MAX || !printable(note)) {
            return Err(Refusal::Note);
        }
        let former = self.bans.get(&ban.net);
        if asker == Asker::Relay {
            may_relay(ban, protected)?;
            // It may lengthen a ban, never shorten one.
            if former.is_some_and(|former| former.until >= ban.until) {
                return Ok(Did::Unchanged);
            }
            let theirs = self.bans.values().filter(|other| other.uid == ban.uid).count();
            if former.is_none_or(|former| former.uid != ban.uid) && theirs >= RELAY_ALIVE {
                return Err(Refusal::TooMany);
            }
        }
        let family = ban.net.family();
        match former {
            Some(_) => Ok(Did::Updated),
            None if self.count(family) >= BANS_MAX as usize => Err(Refusal::Full),
            None => Ok(Did::Added),
        }
    }

    fn count(&self, family: Family) -> usize {
        // Two families in one map, each contiguous: counting is only needed near the limit.
        if self.bans.len() < BANS_MAX as usize {
            return 0;
        }
        self.bans.keys().filter(|net| net.family() == family).count()
    }

    /// Puts a ban in place of the network's former one, which is returned.
    pub fn put(&mut self, ban: Ban) -> Option<Ban> {
        self.bans.insert(ban.net, ban)
    }

    /// Takes the ban of exactly this network away.
    pub fn take(&mut self, net: &Net) -> Option<Ban> {
        self.bans.remove(net)
    }

    /// Takes the bans away that are over by `now`.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Ban> {
        let over: Vec<Net> =
            self.bans.values().filter(|ban| ban.until <= now).map(|ban| ban.net).collect();
        over.iter().filter_map(|net| self.bans.remove(net)).collect()
    }
}

fn may_relay(ban: &Ban, protected: &[IpAddr]) -> Result<(), Refusal> {
    let narrow = match ban.net.family() {
        Family::V4 => ban.net.is_host(),
        Family::V6 => ban.net.prefix() >= RELAY_PREFIX_V6,
    };
    if !narrow {
        return Err(Refusal::TooWide(ban.net));
    }
    if ban.until.duration_since(ban.at).unsigned_abs() > RELAY_LONGEST {
        return Err(Refusal::TooLong);
    }
    let covers = |address: IpAddr| ban.net.contains(address.into());
    let own = IpAddr::from(ban.net.addr());
    if own.is_loopback() || own.is_unspecified() || protected.iter().copied().any(covers) {
        return Err(Refusal::Protected(ban.net));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(network: &str, seconds: i64, uid: u32) -> Ban {
        let net = super::super::net(network.parse().unwrap()).unwrap();
        let at = Timestamp::UNIX_EPOCH;
        let until = Timestamp::from_second(seconds).unwrap();
        Ban { net, until, note: None, uid, at }
    }

    #[test]
    fn what_the_relay_may_ban_and_an_operator_too() {
        let protected = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let day = 86_400;
        for (network, seconds, relay) in [
            ("198.51.100.7", 60, "added"),
            ("198.51.100.7/32", day, "added"),
            ("198.51.100.7", day + 1, "24 hours"),
            ("198.51.100.0/31", 60, "single addresses"),
            ("0.0.0.0/0", 60, "single addresses"),
            ("2001:db8:1::7", 60, "added"),
            ("2001:db8:1::/64", 60, "added"),
            ("2001:db8:1::/63", 60, "single addresses"),
            ("::/0", 60, "single addresses"),
            ("192.0.2.1", 60, "protected"),
            ("::ffff:192.0.2.1", 60, "protected"),
            ("2001:db8::/64", 60, "protected"),
            ("127.0.0.53", 60, "protected"),
            ("::1", 60, "protected"),
        ] {
            let bans = Bans::default();
            let word = |weighed: Result<Did, Refusal>| match weighed {
                Ok(did) => format!("{did:?}").to_lowercase(),
                Err(refusal) => refusal.to_string(),
            };
            let ban = ban(network, seconds, 990);
            let answer = word(bans.weigh(&ban, Asker::Relay, &protected));
            assert!(answer.contains(relay), "{network} for {seconds} s: {answer}");
            assert_eq!(bans.weigh(&ban, Asker::Operator, &protected), Ok(Did::Added), "{network}");
        }
    }

    #[test]
    fn the_relay_lengthens_bans_and_never_shortens_them() {
        let mut bans = Bans::default();
        bans.put(ban("198.51.100.7", 5_000, 0));
        let weigh = |seconds, asker| bans.weigh(&ban("198.51.100.7", seconds, 990), asker, &[]);
        assert_eq!(weigh(60, Asker::Relay), Ok(Did::Unchanged));
        assert_eq!(weigh(5_000, Asker::Relay), Ok(Did::Unchanged));
        assert_eq!(weigh(5_001, Asker::Relay), Ok(Did::Updated));
        assert_eq!(weigh(60, Asker::Operator), Ok(Did::Updated));
    }

    #[test]
    fn the_relay_has_ten_thousand_bans_at_most_and_operators_more() {
        let mut bans = Bans::default();
        for number in 0..RELAY_ALIVE as u32 {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
            bans.put(ban(&address.to_string(), 60, 990));
        }
        let next = ban("198.51.100.7", 60, 990);
        assert_eq!(bans.weigh(&next, Asker::Relay, &[]), Err(Refusal::TooMany));
        assert_eq!(bans.weigh(&Ban { uid: 0, ..next }, Asker::Operator, &[]), Ok(Did::Added));
        assert_eq!(bans.weigh(&ban("10.0.0.1", 61, 990), Asker::Relay, &[]), Ok(Did::Updated));
        assert_eq!(bans.expire(Timestamp::from_second(60).unwrap()).len(), RELAY_ALIVE);
        assert_eq!(bans.iter().len(), 0);
    }

    #[test]
    fn ten_a_second_and_ten_at_once() {
        let mut budget = Budget::default();
        let start = Duration::from_secs(100);
        assert_eq!((0..30).filter(|_| budget.take(1, start)).count(), 10);
        assert!(!budget.take(1, start + Duration::from_millis(99)));
        assert!(budget.take(1, start + Duration::from_millis(101)));
        let granted = (0..1_000u64)
            .filter(|tick| budget.take(1, start + Duration::from_millis(1_000 + tick * 10)))
            .count();
        assert!((105..=110).contains(&granted), "{granted} in ten seconds");
        assert!(
            !budget.take(11, start + Duration::from_secs(1_000)),
            "never more than ten at once"
        );
    }

    #[test]
    fn the_longest_of_the_covering_bans_counts() {
        let mut bans = Bans::default();
        bans.put(ban("198.51.100.0/24", 900, 0));
        bans.put(ban("198.51.100.7", 60, 990));
        let net = super::super::net("198.51.100.7".parse().unwrap()).unwrap();
        assert_eq!(bans.covering(net).map(|ban| ban.until.as_second()), Some(900));
        assert_eq!(bans.take(&net).map(|ban| ban.uid), Some(990));
        assert_eq!(bans.take(&net), None);
    }
}
