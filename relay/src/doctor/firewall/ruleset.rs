//! Rules of a packet filter, whatever tool wrote them, and what they make of a connection attempt or an answer.
//!
//! What a rule tests and cannot be told from here (limits, marks, sets of another kind, and who the client
//! is, if nobody said) is *perhaps*: a drop behind it is only named as one that may be in the way.

use super::IN;
use super::owner::Owner;
use super::packet::{Packet, Part, Test};
use super::truth::{Sense, Truth};

/// How deep rules may jump; deeper ones are not followed (the kernel allows 16).
const DEPTH_MAX: usize = 16;
/// At which priority connections are tracked.
const TRACKED_AT: i64 = -200;
/// The most rules that are named.
const NAMED_MAX: usize = 8;

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
    /// Its number in nftables, before which another may be put.
    pub handle: Option<u64>,
    /// As a person finds it again.
    pub name: String,
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
    /// The kernel does not follow its connection, so that nobody knows of what state it is.
    Untrack,
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

/// How a chain is left.
enum Left {
    /// At its end.
    Through,
    Accepted,
    Ended,
}

impl Ruleset {
    /// Returns what becomes of a packet at these hooks, in their order. Chains of translations are asked of attempts
    /// alone: an answer goes the way of its connection.
    pub(super) fn follow(&self, packet: &Packet, hooks: &[&str]) -> Fate {
        let packet = &Packet { is_tracked: !self.may_untrack(packet), ..packet.clone() };
        let mut fate = Fate::default();
        for hook in hooks {
            let mut bases: Vec<_> = self
                .chains
                .iter()
                .filter(|chain| chain.sees(packet))
                .filter_map(|chain| {
                    Some((chain, chain.base.as_ref().filter(|base| base.hook == **hook)?))
                })
                .filter(|(_, base)| !base.is_nat || packet.part == Part::Attempt)
                .filter(|(_, base)| {
                    base.device.as_ref().is_none_or(|device| packet.devices.contains(device))
                })
                .collect();
            bases.sort_by_key(|(_, base)| base.priority);
            for (chain, base) in bases {
                let is_tracked = packet.is_tracked && base.knows_states();
                let owner = if base.sees_incoming() {
                    Owner::of_incoming(packet.part)
                } else {
                    packet.owner
                };
                let packet = &Packet { is_tracked, owner, ..packet.clone() };
                // An ingress or egress sees the packets of its own device.
                let on_device = base.device.as_ref().map(|device| {
                    let by = vec![device.clone()];
                    if packet.leaves() {
                        Packet { leaves_by: by, ..packet.clone() }
                    } else {
                        Packet { comes_by: by, ..packet.clone() }
                    }
                });
                let mut walk = Walk {
                    rules: self,
                    packet: on_device.as_ref().unwrap_or(packet),
                    fate: &mut fate,
                    is_sure: true,
                    is_perhaps_gone: false,
                    is_nat: base.is_nat,
                };
                let left = walk.chain(chain, 0);
                if matches!(left, Left::Through) && base.drops {
                    // Who returned before the end gets the policy as well.
                    walk.is_sure = !walk.is_perhaps_gone;
                    walk.stop(chain.policy());
                }
                if fate.stopped.is_some() || fate.redirected.is_some() {
                    return fate;
                }
            }
        }
        fate
    }

    /// Tells whether a rule may keep the kernel from knowing the connection of a packet, by it or by one the other way.
    fn may_untrack(&self, packet: &Packet) -> bool {
        let meets = |rule: &Rule, part| {
            let packet = Packet { part, ..packet.clone() };
            rule.tests.iter().all(|test| test.may_be_of_either_way(&packet))
        };
        let chains = self.chains.iter().filter(|chain| chain.sees(packet));
        let mut rules =
            chains.flat_map(|chain| &chain.rules).filter(|rule| rule.act == Act::Untrack);
        rules.any(|rule| meets(rule, Part::Attempt) || meets(rule, Part::Answer))
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

    /// Returns the chain in which what has this name stands, and the rule; none: it is the chain's policy.
    pub(super) fn place_of(&self, name: &str) -> Option<(&Chain, Option<&Rule>)> {
        self.chains.iter().find_map(|chain| {
            let rule = chain.rules.iter().find(|rule| rule.name == name);
            (rule.is_some() || chain.policy() == name).then_some((chain, rule))
        })
    }

    fn chain(&self, beside: &Chain, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.table == beside.table && chain.name == name)
    }
}

impl Base {
    /// Whether it comes after connections are tracked (netfilter_ipv4.h: at priority -200 of prerouting and output).
    pub(super) fn knows_states(&self) -> bool {
        match self.hook.as_str() {
            "ingress" | "egress" => false,
            "prerouting" | "output" => self.priority > TRACKED_AT,
            _ => true,
        }
    }

    /// Whether what it sees comes in, or has come back by loopback.
    fn sees_incoming(&self) -> bool {
        IN.contains(&self.hook.as_str())
    }
}

impl Chain {
    /// Whether a rule may leave it before its end.
    pub(super) fn is_left_early(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.act, Act::Return | Act::Goto(_)))
    }

    /// Returns the name of its policy.
    fn policy(&self) -> String {
        format!("the policy of chain {} in table {}", self.name, self.table)
    }

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
    /// False behind a rule that may have let it go, or back to the chain that it came from.
    is_sure: bool,
    /// Whether a rule may have let it go for good, so that the rest of the chains does not see it.
    is_perhaps_gone: bool,
    is_nat: bool,
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain, depth: usize) -> Left {
        if depth > DEPTH_MAX {
            self.let_go();
            return Left::Through;
        }
        // Whether it may have gone back to the chain that it came from.
        let mut is_perhaps_back = false;
        for rule in &chain.rules {
            let truth = rule.tests.iter().map(|test| test.of(self.packet)).max();
            let truth = truth.unwrap_or(Truth::Yes);
            if truth == Truth::No {
                continue;
            }
            let left = match &rule.act {
                Act::Nothing | Act::Untrack => continue,
                Act::Accept => Left::Accepted,
                Act::Return => Left::Through,
                Act::Hand => {
                    self.name(rule.name.clone());
                    self.let_go();
                    continue;
                }
                Act::Drop => {
                    if self.stop_if(truth, rule.name.clone()) {
                        return Left::Ended;
                    }
                    continue;
                }
                Act::Redirect { to, elsewhere } => {
                    let stays = !*elsewhere && to.is_none_or(|to| to == self.packet.port);
                    if stays || !self.is_nat {
                        continue;
                    }
                    if truth == Truth::Yes && self.is_sure {
                        self.fate.redirected = Some(rule.name.clone());
                        return Left::Ended;
                    }
                    self.name(rule.name.clone());
                    self.let_go();
                    continue;
                }
                Act::Jump(to) | Act::Goto(to) => {
                    let Some(inner) = self.rules.chain(chain, to) else { continue };
                    let left = self.enter(inner, truth, depth);
                    if matches!((&left, &rule.act), (Left::Through, Act::Jump(_))) {
                        continue;
                    }
                    left
                }
            };
            match left {
                Left::Ended => return Left::Ended,
                Left::Accepted if truth == Truth::Yes && !is_perhaps_back => return left,
                Left::Accepted => {
                    self.let_go();
                    if truth == Truth::Yes {
                        return Left::Through;
                    }
                }
                Left::Through if truth == Truth::Yes => return left,
                Left::Through => (self.is_sure, is_perhaps_back) = (false, true),
            }
        }
        Left::Through
    }

    /// Goes through a chain that a rule leads to. Who comes back from there goes on as before, by whatever rule he
    /// came back, but for one that may have let him go.
    fn enter(&mut self, inner: &Chain, truth: Truth, depth: usize) -> Left {
        let before = self.is_sure;
        self.is_sure &= truth == Truth::Yes;
        let left = self.chain(inner, depth + 1);
        self.is_sure = before && !self.is_perhaps_gone;
        left
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
