//! Rules of a packet filter, whatever tool wrote them, and what they make of a connection attempt.
//!
//! What a rule tests and cannot be told from here (limits, marks, sets of another kind, and who the client
//! is, if nobody said) is *perhaps*: a drop behind it is only named as one that may be in the way.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// How deep rules may jump; deeper ones are not followed (the kernel allows 16).
const DEPTH_MAX: usize = 16;
/// The most rules that are named.
const NAMED_MAX: usize = 8;

/// A connection attempt.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    /// One address of the family, to tell the family; known as such only in `source`, `destination`.
    pub is_v4: bool,
    /// Who sends it; none: somebody.
    pub source: Option<IpAddr>,
    /// To whom; none: any address of the other end.
    pub destination: Option<IpAddr>,
    pub port: u16,
    /// The interfaces that it may come by; empty: it begins here.
    pub comes_by: Vec<String>,
}

/// Everything that a host's filters say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub chains: Vec<Chain>,
}

/// A list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub families: Families,
    /// The table, with its family: names of chains are its own.
    pub table: String,
    pub name: String,
    /// Where it hangs; none: others jump to it.
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Families {
    V4,
    V6,
    Both,
}

/// Where a chain hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// `ingress`, `prerouting`, `input`, `output`, …
    pub hook: String,
    pub priority: i64,
    pub drops: bool,
    /// Whether its redirections count: only those of the type `nat`.
    pub is_nat: bool,
    /// The interface of an ingress.
    pub device: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub tests: Vec<Test>,
    pub act: Act,
    /// As a person finds it again.
    pub name: String,
}

/// What a rule asks of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Port(Vec<RangeInclusive<u16>>, Sense),
    Source(Vec<RangeInclusive<IpAddr>>, Sense),
    Destination(Vec<RangeInclusive<IpAddr>>, Sense),
    /// Names of interfaces; one may end in `*`.
    ComesBy(Vec<String>, Sense),
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

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// To another port or host.
    Redirect {
        to: Option<u16>,
        elsewhere: bool,
    },
    /// Another decides: a program that reads a queue, or a proxy.
    Hand,
    /// Counters, logs, marks.
    Nothing,
}

/// What the rules make of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// The rule that stops it.
    pub stopped: Option<String>,
    /// Rules that may stop it.
    pub perhaps: Vec<String>,
    /// The rule that sends it elsewhere.
    pub redirected: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Yes,
    Perhaps,
    No,
}

/// How a chain is left.
enum Left {
    /// At its end.
    Through,
    Accepted,
    Ended,
}

impl Ruleset {
    /// Returns what becomes of a connection attempt at these hooks, in their order.
    pub(super) fn follow(&self, packet: &Packet, hooks: &[&str]) -> Fate {
        let mut fate = Fate::default();
        for hook in hooks {
            let mut bases: Vec<_> = self
                .chains
                .iter()
                .filter(|chain| chain.sees(packet))
                .filter_map(|chain| {
                    Some((chain, chain.base.as_ref().filter(|base| base.hook == **hook)?))
                })
                .filter(|(_, base)| {
                    base.device.as_ref().is_none_or(|device| packet.comes_by.contains(device))
                })
                .collect();
            bases.sort_by_key(|(_, base)| base.priority);
            for (chain, base) in bases {
                let mut walk = Walk {
                    rules: self,
                    packet,
                    fate: &mut fate,
                    is_sure: true,
                    is_perhaps_gone: false,
                    is_nat: base.is_nat,
                };
                let left = walk.chain(chain, 0);
                if matches!(left, Left::Through) && base.drops {
                    let name =
                        format!("the policy of chain {} in table {}", chain.name, chain.table);
                    walk.stop(name);
                }
                if fate.stopped.is_some() || fate.redirected.is_some() {
                    return fate;
                }
            }
        }
        fate
    }

    /// Returns the rules that send other ports to `port` of this host.
    pub(super) fn redirections_to(&self, port: u16) -> Vec<String> {
        let is_nat = |chain: &&Chain| {
            let base = chain.base.as_ref();
            base.is_none_or(|base| base.is_nat && base.hook == "prerouting")
        };
        let rules = self.chains.iter().filter(is_nat).flat_map(|chain| &chain.rules);
        let here = rules.filter(|rule| {
            matches!(rule.act, Act::Redirect { to: Some(to), .. } if to == port)
                && !rule.tests.iter().any(|test| matches!(test, Test::Port(ports, Sense::OneOf) if ports.iter().any(|some| some.contains(&port))))
        });
        here.map(|rule| rule.name.clone()).take(NAMED_MAX).collect()
    }

    fn chain(&self, beside: &Chain, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.table == beside.table && chain.name == name)
    }
}

impl Chain {
    fn sees(&self, packet: &Packet) -> bool {
        match self.families {
            Families::V4 => packet.is_v4,
            Families::V6 => !packet.is_v4,
            Families::Both => true,
        }
    }
}

/// A packet on its way through one base chain and those that it jumps to.
struct Walk<'a> {
    rules: &'a Ruleset,
    packet: &'a Packet,
    fate: &'a mut Fate,
    /// False behind a rule that may have let it go.
    is_sure: bool,
    /// Whether a rule may have let it go for good, so that the rest of the chains does not see it.
    is_perhaps_gone: bool,
    is_nat: bool,
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain, depth: usize) -> Left {
        if depth > DEPTH_MAX {
            self.is_sure = false;
            return Left::Through;
        }
        for rule in &chain.rules {
            let truth =
                rule.tests.iter().map(|test| test.of(self.packet)).max_by_key(|truth| *truth as u8);
            let truth = truth.unwrap_or(Truth::Yes);
            if truth == Truth::No {
                continue;
            }
            match &rule.act {
                Act::Nothing => {}
                Act::Accept if truth == Truth::Yes => return Left::Accepted,
                Act::Return if truth == Truth::Yes => return Left::Through,
                Act::Accept => self.let_go(),
                Act::Return => self.is_sure = false,
                Act::Hand => {
                    self.name(rule.name.clone());
                    self.let_go();
                }
                Act::Drop => {
                    if self.stop_if(truth, rule.name.clone()) {
                        return Left::Ended;
                    }
                }
                Act::Redirect { to, elsewhere } => {
                    let stays = !*elsewhere && to.is_none_or(|to| to == self.packet.port);
                    if self.is_nat && !stays {
                        if truth == Truth::Yes && self.is_sure {
                            self.fate.redirected = Some(rule.name.clone());
                            return Left::Ended;
                        }
                        self.name(rule.name.clone());
                        self.let_go();
                    }
                }
                Act::Jump(to) | Act::Goto(to) => {
                    let Some(inner) = self.rules.chain(chain, to) else { continue };
                    let before = self.is_sure;
                    self.is_sure &= truth == Truth::Yes;
                    match self.chain(inner, depth + 1) {
                        Left::Ended => return Left::Ended,
                        Left::Accepted if truth == Truth::Yes => return Left::Accepted,
                        Left::Accepted => self.let_go(),
                        // Who perhaps never went there goes on as before, but for what let him go in there.
                        Left::Through if truth == Truth::Perhaps => {
                            self.is_sure = before && !self.is_perhaps_gone;
                        }
                        Left::Through if matches!(rule.act, Act::Goto(_)) => return Left::Through,
                        Left::Through => {}
                    }
                }
            }
        }
        Left::Through
    }

    fn stop_if(&mut self, truth: Truth, name: String) -> bool {
        let before = self.is_sure;
        self.is_sure &= truth == Truth::Yes;
        let is_stopped = self.stop(name);
        self.is_sure = before;
        is_stopped
    }

    fn stop(&mut self, name: String) -> bool {
        if self.is_sure {
            self.fate.stopped = Some(name);
        } else {
            self.name(name);
        }
        self.is_sure
    }

    /// Notes a rule that may stop it.
    fn name(&mut self, name: String) {
        if self.fate.perhaps.len() < NAMED_MAX && !self.fate.perhaps.contains(&name) {
            self.fate.perhaps.push(name);
        }
    }

    fn let_go(&mut self) {
        (self.is_sure, self.is_perhaps_gone) = (false, true);
    }
}

impl Test {
    fn of(&self, packet: &Packet) -> Truth {
        match self {
            Self::Always(truth) => Truth::from(*truth),
            Self::IsV4(is_v4) => Truth::from(*is_v4 == packet.is_v4),
            Self::Unknown => Truth::Perhaps,
            Self::Port(ports, sense) => {
                sense.of(Truth::from(ports.iter().any(|some| some.contains(&packet.port))))
            }
            Self::Source(of, sense) => address(of, *sense, packet.source, packet.is_v4),
            Self::Destination(of, sense) => address(of, *sense, packet.destination, packet.is_v4),
            Self::ComesBy(names, sense) => {
                let is = |by: &String| names.iter().any(|name| is_named(name, by));
                let count = packet.comes_by.iter().filter(|by| is(by)).count();
                sense.of(match count {
                    0 => Truth::No,
                    all if all == packet.comes_by.len() => Truth::Yes,
                    _ => Truth::Perhaps,
                })
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

/// A test of addresses is one of their family, too.
fn address(of: &[RangeInclusive<IpAddr>], sense: Sense, who: Option<IpAddr>, is_v4: bool) -> Truth {
    let of: Vec<_> = of.iter().filter(|range| range.start().is_ipv4() == is_v4).collect();
    let all =
        |range: &&&RangeInclusive<IpAddr>| range.start().is_unspecified() && is_last(*range.end());
    match who {
        _ if of.is_empty() => Truth::No,
        Some(who) => sense.of(Truth::from(of.iter().any(|range| range.contains(&who)))),
        None if of.iter().any(|range| all(&range)) => sense.of(Truth::Yes),
        None => Truth::Perhaps,
    }
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
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Self::Yes } else { Self::No }
    }
}
