//! A connection attempt and the answer to it, and what the tests of rules make of them.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::owner::{Number, Owner};
use super::spans::{Addresses, Span};
use super::truth::{Sense, Truth};

/// The ports of clients: those below are nobody's but a root's of old.
pub(super) const CLIENT_PORTS: RangeInclusive<u16> = 1024..=u16::MAX;

/// One of the first two packets of a connection. Both ends are those of the attempt: an answer goes the other way.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub part: Part,
    pub is_v4: bool,
    /// One of these connects, whichever; none: somebody.
    pub source: Option<Span>,
    /// To one of these, whichever; empty: any address of the other end.
    pub destinations: Vec<Span>,
    /// Whether the packet goes to an address of this host; none: it cannot be told.
    pub is_for_us: Option<bool>,
    /// The port that is connected to.
    pub port: u16,
    /// One of these is the port of who connects.
    pub other_ports: RangeInclusive<u16>,
    /// The interfaces on its way, one over the other: each may have an ingress of its own.
    pub devices: Vec<String>,
    /// Those that may hand it to the host; empty: it begins here.
    pub comes_by: Vec<String>,
    /// Those by which it may leave; empty: that cannot be told.
    pub leaves_by: Vec<String>,
    /// Whether answers to it are taken to leave by where it comes by.
    pub finds_back: bool,
    /// False: a rule may keep the kernel from knowing its connection.
    pub is_tracked: bool,
    pub owner: Owner,
}

/// Which packet of a handshake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// SYN alone, of a new connection.
    Attempt,
    /// SYN and ACK, of one that is established, since both sides were heard.
    Answer,
}

/// What is so of each part of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub attempt: bool,
    pub answer: bool,
}

impl Parts {
    const fn of(self, part: Part) -> bool {
        match part {
            Part::Attempt => self.attempt,
            Part::Answer => self.answer,
        }
    }
}

impl Packet {
    /// Returns the answer to an attempt, which leaves by where that came from, and comes from where that left to.
    pub(super) fn answer(&self) -> Self {
        let is_begun_here = self.comes_by.is_empty();
        Self {
            part: Part::Answer,
            is_for_us: Some(is_begun_here),
            comes_by: if is_begun_here { self.leaves_by.clone() } else { Vec::new() },
            leaves_by: match (is_begun_here, self.finds_back) {
                (false, true) => self.comes_by.clone(),
                (true, _) | (false, false) => Vec::new(),
            },
            owner: Owner::Unknown,
            ..self.clone()
        }
    }

    /// Tells whether it begins here.
    pub(super) const fn leaves(&self) -> bool {
        self.comes_by.is_empty()
    }

    fn from(&self) -> &[Span] {
        match self.part {
            Part::Attempt => self.source.as_slice(),
            Part::Answer => &self.destinations,
        }
    }

    fn to(&self) -> &[Span] {
        match self.part {
            Part::Attempt => &self.destinations,
            Part::Answer => self.source.as_slice(),
        }
    }

    /// Tells whether the port that is connected to is one of these.
    fn is_at(&self, ports: &[RangeInclusive<u16>]) -> Truth {
        Truth::from(ports.iter().any(|some| some.contains(&self.port)))
    }

    /// Tells whether the port of who connects is one of these.
    fn is_by(&self, ports: &[RangeInclusive<u16>]) -> Truth {
        let (first, last) = self.other_ports.clone().into_inner();
        let mut next = first;
        while let Some(some) = ports.iter().find(|some| some.contains(&next)) {
            if *some.end() >= last {
                return Truth::Yes;
            }
            next = some.end() + 1;
        }
        let met = |some: &RangeInclusive<u16>| {
            let (from, to) = (first.max(*some.start()), last.min(*some.end()));
            to.checked_sub(from).map_or(0, |more| u32::from(more) + 1)
        };
        // Who may pass by one port in a hundred does not pass.
        let met: u32 = ports.iter().map(met).sum();
        let few = u32::from(last.saturating_sub(first)) / 100;
        if met > few { Truth::Perhaps } else { Truth::No }
    }
}

/// What a rule asks of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// The port that the packet goes to.
    Port(Vec<RangeInclusive<u16>>, Sense),
    /// The port that it comes from.
    SourcePort(Vec<RangeInclusive<u16>>, Sense),
    Source(Addresses, Sense),
    Destination(Addresses, Sense),
    /// Whether it is for an address of this host.
    ForUs(Sense),
    /// Names of interfaces; one may end in `*`.
    ComesBy(Vec<String>, Sense),
    /// The same for where it leaves.
    LeavesBy(Vec<String>, Sense),
    /// Whether answers leave by where it comes by: what a filter of reverse paths asks.
    FindsBack(Sense),
    /// Whose it is.
    Owner(Number, Vec<RangeInclusive<u32>>, Sense),
    /// Answered already, since every packet of the kind is alike in it.
    Always(bool),
    /// Answered already for each part of a handshake, by flags or the direction.
    IsPart(Parts),
    /// The same by what the kernel knows of the connection.
    State(Parts),
    /// Only IPv4, or only IPv6.
    IsV4(bool),
    /// It cannot be told from here.
    Unknown,
}

impl Test {
    pub(super) fn of(&self, packet: &Packet) -> Truth {
        match self {
            Self::Always(truth) => Truth::from(*truth),
            Self::IsV4(is_v4) => Truth::from(*is_v4 == packet.is_v4),
            Self::IsPart(parts) => Truth::from(parts.of(packet.part)),
            Self::State(parts) if packet.is_tracked => Truth::from(parts.of(packet.part)),
            Self::State(_) | Self::Unknown => Truth::Perhaps,
            Self::Owner(number, of, sense) => packet.owner.is(*number, of, *sense),
            Self::Port(ports, sense) => sense.of(match packet.part {
                Part::Attempt => packet.is_at(ports),
                Part::Answer => packet.is_by(ports),
            }),
            Self::SourcePort(ports, sense) => sense.of(match packet.part {
                Part::Attempt => packet.is_by(ports),
                Part::Answer => packet.is_at(ports),
            }),
            Self::Source(of, sense) => address(of, *sense, packet.from(), packet.is_v4),
            Self::Destination(of, sense) => address(of, *sense, packet.to(), packet.is_v4),
            Self::ForUs(sense) => sense.of(packet.is_for_us.map_or(Truth::Perhaps, Truth::from)),
            Self::ComesBy(names, sense) => {
                let is = |by: &String| names.iter().any(|name| is_named(name, by));
                sense.of(Truth::of_all(packet.comes_by.iter().map(is)))
            }
            Self::LeavesBy(_, _) if packet.leaves_by.is_empty() => Truth::Perhaps,
            Self::LeavesBy(names, sense) => {
                let is = |by: &String| names.iter().any(|name| is_named(name, by));
                sense.of(Truth::of_all(packet.leaves_by.iter().map(is)))
            }
            Self::FindsBack(sense) => {
                sense.of(if packet.finds_back { Truth::Yes } else { Truth::Perhaps })
            }
        }
    }
}

impl Test {
    /// Returns an address that it names, and one that it does not, if it is about addresses.
    pub(super) fn some_of_both_sides(&self, is_v4: bool) -> Vec<IpAddr> {
        match self {
            Self::Source(of, _) | Self::Destination(of, _) => of.one_and_another(is_v4).collect(),
            Self::Port(..)
            | Self::SourcePort(..)
            | Self::ForUs(_)
            | Self::ComesBy(..)
            | Self::LeavesBy(..)
            | Self::FindsBack(_)
            | Self::Owner(..)
            | Self::Always(_)
            | Self::IsPart(_)
            | Self::State(_)
            | Self::IsV4(_)
            | Self::Unknown => Vec::new(),
        }
    }

    /// Tells whether a packet may pass it that is of the same part, and goes this way or the other.
    pub(super) fn may_be_of_either_way(&self, packet: &Packet) -> bool {
        match self {
            // What comes by an interface one way leaves by it the other.
            Self::ComesBy(names, Sense::OneOf) | Self::LeavesBy(names, Sense::OneOf) => {
                let is = |by: &String| names.iter().any(|name| is_named(name, by));
                packet.devices.is_empty() || packet.devices.iter().any(is)
            }
            Self::ComesBy(_, Sense::NoneOf)
            | Self::LeavesBy(_, Sense::NoneOf)
            | Self::ForUs(_)
            | Self::FindsBack(_)
            | Self::State(_)
            | Self::Owner(..)
            | Self::Unknown => true,
            Self::Port(..)
            | Self::SourcePort(..)
            | Self::Source(..)
            | Self::Destination(..)
            | Self::Always(_)
            | Self::IsPart(_)
            | Self::IsV4(_) => self.of(packet) != Truth::No,
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
fn address(of: &Addresses, sense: Sense, who: &[Span], is_v4: bool) -> Truth {
    if !of.has(is_v4) {
        return Truth::No;
    }
    if of.are_all(is_v4) {
        return sense.of(Truth::Yes);
    }
    let are = who.iter().map(|span| of.hold(span));
    sense.of(are.reduce(Truth::whichever).unwrap_or(Truth::Perhaps))
}
