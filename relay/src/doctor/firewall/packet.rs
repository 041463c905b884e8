//! A connection attempt, and what the tests of rules make of it.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// A connection attempt.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub is_v4: bool,
    /// Who sends it; none: somebody.
    pub source: Option<IpAddr>,
    /// To one of these, whichever; empty: any address of the other end.
    pub destinations: Vec<IpAddr>,
    /// Whether that is an address of this host; none: it cannot be told.
    pub is_for_us: Option<bool>,
    pub port: u16,
    /// The interfaces on its way, one over the other: each may have an ingress of its own.
    pub devices: Vec<String>,
    /// Those that may hand it to the host; empty: it begins here.
    pub comes_by: Vec<String>,
    /// Whether answers to it are taken to leave by where it comes by.
    pub finds_back: bool,
}

/// What a rule asks of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Port(Vec<RangeInclusive<u16>>, Sense),
    Source(Vec<RangeInclusive<IpAddr>>, Sense),
    Destination(Vec<RangeInclusive<IpAddr>>, Sense),
    /// Whether it is for an address of this host.
    ForUs(Sense),
    /// Names of interfaces; one may end in `*`.
    ComesBy(Vec<String>, Sense),
    /// Whether answers leave by where it comes by: what a filter of reverse paths asks.
    FindsBack(Sense),
    /// Answered already, since every connection attempt is alike in it.
    Always(bool),
    /// Only IPv4, or only IPv6.
    IsV4(bool),
    /// It cannot be told from here.
    Unknown,
}

/// Whether one of the values is wanted, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    OneOf,
    NoneOf,
}

/// What a test makes of a packet; of several the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    Yes,
    Perhaps,
    No,
}

impl Test {
    pub(super) fn of(&self, packet: &Packet) -> Truth {
        match self {
            Self::Always(truth) => Truth::from(*truth),
            Self::IsV4(is_v4) => Truth::from(*is_v4 == packet.is_v4),
            Self::Unknown => Truth::Perhaps,
            Self::Port(ports, sense) => {
                sense.of(Truth::from(ports.iter().any(|some| some.contains(&packet.port))))
            }
            Self::Source(of, sense) => address(of, *sense, packet.source.as_slice(), packet.is_v4),
            Self::Destination(of, sense) => address(of, *sense, &packet.destinations, packet.is_v4),
            Self::ForUs(sense) => sense.of(packet.is_for_us.map_or(Truth::Perhaps, Truth::from)),
            Self::ComesBy(names, sense) => {
                let is = |by: &String| names.iter().any(|name| is_named(name, by));
                sense.of(Truth::of_all(packet.comes_by.iter().map(is)))
            }
            Self::FindsBack(sense) => {
                sense.of(if packet.finds_back { Truth::Yes } else { Truth::Perhaps })
            }
        }
    }
}

fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(['*', '+']) {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// A test of addresses is one of their family, too. `who` is one of these, whichever; empty: anybody.
fn address(of: &[RangeInclusive<IpAddr>], sense: Sense, who: &[IpAddr], is_v4: bool) -> Truth {
    let of: Vec<_> = of.iter().filter(|range| range.start().is_ipv4() == is_v4).collect();
    let all =
        |range: &&&RangeInclusive<IpAddr>| range.start().is_unspecified() && is_last(*range.end());
    if of.is_empty() {
        return Truth::No;
    }
    if of.iter().any(|range| all(&range)) {
        return sense.of(Truth::Yes);
    }
    if who.is_empty() {
        return Truth::Perhaps;
    }
    sense.of(Truth::of_all(who.iter().map(|who| of.iter().any(|range| range.contains(who)))))
}

const fn is_last(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.to_bits() == u32::MAX,
        IpAddr::V6(ip) => ip.to_bits() == u128::MAX,
    }
}

impl Sense {
    const fn of(self, truth: Truth) -> Truth {
        match (self, truth) {
            (Self::OneOf, truth) => truth,
            (Self::NoneOf, Truth::Yes) => Truth::No,
            (Self::NoneOf, Truth::No) => Truth::Yes,
            (Self::NoneOf, Truth::Perhaps) => Truth::Perhaps,
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::OneOf => Self::NoneOf,
            Self::NoneOf => Self::OneOf,
        }
    }
}

impl Truth {
    /// Returns what is so of one of several, whichever it is; of none it is not.
    fn of_all(several: impl Iterator<Item = bool>) -> Self {
        let (mut are, mut are_not) = (false, false);
        several.for_each(|one| if one { are = true } else { are_not = true });
        match (are, are_not) {
            (true, false) => Self::Yes,
            (true, true) => Self::Perhaps,
            (false, _) => Self::No,
        }
    }
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Self::Yes } else { Self::No }
    }
}
