//! The rules of iptables, as `iptables-save` and `ip6tables-save` print them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;

use super::owner::Number;
use super::packet::{Parts, Test};
use super::ruleset::{Act, Base, Chain, Families, Rule, Ruleset};
use super::spans::{Addresses, whole};
use super::truth::Sense;

/// The most rules that are read.
const RULES_MAX: usize = 100_000;

/// Reads what one of the programs printed, for its family. What is not understood is a test that cannot be
/// told.
pub(super) fn read(text: &str, families: Families) -> Ruleset {
    let program = match families {
        Families::V6 => "ip6tables",
        Families::V4 | Families::Both => "iptables",
    };
    let mut rules = Ruleset::default();
    let mut table = String::new();
    for line in text.lines().take(RULES_MAX) {
        if let Some(name) = line.strip_prefix('*') {
            table = format!("{program} {}", name.trim());
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let name = words.next().unwrap_or_default().to_owned();
            let base = base(&name, words.next(), &table);
            rules.chains.push(Chain {
                families,
                table: table.clone(),
                name,
                base,
                rules: Vec::new(),
            });
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (name, rest) = rule.split_once(' ').unwrap_or((rule, ""));
            let chain = rules.chains.iter_mut().find(|one| one.table == table && one.name == name);
            if let Some(chain) = chain {
                chain.rules.push(read_rule(rest, &format!("\"{line}\" of {table}")));
            }
        }
    }
    // A target that is neither a chain nor known is that of an extension, whatever it does.
    let chains: BTreeSet<_> =
        rules.chains.iter().map(|one| (one.table.clone(), one.name.clone())).collect();
    for chain in &mut rules.chains {
        for rule in &mut chain.rules {
            if let Act::Jump(to) | Act::Goto(to) = &rule.act
                && !chains.contains(&(chain.table.clone(), to.clone()))
            {
                rule.act = Act::Hand;
            }
        }
    }
    rules
}

fn base(name: &str, policy: Option<&str>, table: &str) -> Option<Base> {
    let hook = match name {
        "PREROUTING" => "prerouting",
        "INPUT" => "input",
        "OUTPUT" => "output",
        "POSTROUTING" => "postrouting",
        _ => return None,
    };
    let priority = match table.split_once(' ').map(|(_, table)| table) {
        Some("raw") => -300,
        Some("mangle") => -150,
        Some("nat") => -100,
        Some("security") => 50,
        _ => 0,
    };
    let is_nat = table.ends_with(" nat");
    let drops = policy == Some("DROP");
    Some(Base { hook: hook.to_owned(), priority, drops, is_nat, device: None })
}

fn read_rule(rest: &str, name: &str) -> Rule {
    let words = words(rest);
    let mut tests = Vec::new();
    let mut act = Act::Nothing;
    let mut sense = Sense::OneOf;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let value = words.get(at + 1).map_or("", String::as_str);
        at += 2;
        let this = std::mem::replace(&mut sense, Sense::OneOf);
        match word.as_str() {
            "!" => {
                sense = Sense::NoneOf;
                at -= 1;
            }
            "-p" => tests
                .push(Test::Always((value == "tcp" || value == "all") == (this == Sense::OneOf))),
            "-s" => {
                tests.push(network(value).map_or(Test::Unknown, |of| Test::Source(of, this)));
            }
            "-d" => {
                tests.push(network(value).map_or(Test::Unknown, |of| Test::Destination(of, this)));
            }
            "-i" => tests.push(Test::ComesBy(vec![value.to_owned()], this)),
            "-o" => tests.push(Test::LeavesBy(vec![value.to_owned()], this)),
            "--dport" | "--dports" => {
                let ports: Option<Vec<_>> = value.split(',').map(ports).collect();
                tests.push(ports.map_or(Test::Unknown, |ports| Test::Port(ports, this)));
            }
            "--sport" | "--sports" => {
                let ports: Option<Vec<_>> = value.split(',').map(ports).collect();
                tests.push(ports.map_or(Test::Unknown, |ports| Test::SourcePort(ports, this)));
            }
            "--ctstate" | "--state" => {
                let has = |one| value.split(',').any(|state| state == one);
                tests.push(Test::State(parts(has("NEW"), has("ESTABLISHED"), this)));
            }
            "--uid-owner" | "--gid-owner" => {
                let number = if word == "--uid-owner" { Number::User } else { Number::Group };
                let of = number.range(value);
                tests.push(of.map_or(Test::Unknown, |of| Test::Owner(number, vec![of], this)));
            }
            // The group before it may be any that the user is in.
            "--suppl-groups" => {
                tests.retain(|test| !matches!(test, Test::Owner(Number::Group, ..)));
                tests.push(Test::Unknown);
                at -= 1;
            }
            "--ctdir" => {
                let is_original = value == "ORIGINAL";
                tests.push(Test::IsPart(parts(is_original, !is_original, this)));
            }
            "--syn" => {
                tests.push(Test::IsPart(parts(true, false, this)));
                at -= 1;
            }
            "--notrack" => {
                act = Act::Untrack;
                at -= 1;
            }
            // They change which port or address it becomes, not whether; the others how a way back is looked up.
            "--random" | "--random-fully" | "--persistent" | "--loose" | "--validmark"
            | "--accept-local" => at -= 1,
            "--tcp-flags" => {
                let set = words.get(at).map_or("", String::as_str);
                let have = |flags: &[&str]| flags_are(value, set, flags);
                tests.push(Test::IsPart(parts(have(&["SYN"]), have(&["SYN", "ACK"]), this)));
                at += 1;
            }
            "--dst-type" => tests.push(destination_type(value, this)),
            "--pkt-type" => {
                tests.push(Test::Always((value == "unicast") == (this == Sense::OneOf)));
            }
            // No connection attempt has a routing header.
            "-m" if value == "rt" => tests.push(Test::Always(false)),
            "-m" if value == "rpfilter" => tests.push(Test::FindsBack(Sense::OneOf)),
            "--invert" if words.iter().any(|word| word == "rpfilter") => {
                for test in &mut tests {
                    if let Test::FindsBack(sense) = test {
                        *sense = sense.other();
                    }
                }
                at -= 1;
            }
            // Their options follow; a log says nothing of the packet's fate.
            "-m" | "--comment" | "--reject-with" | "--log-prefix" | "--log-level" => {}
            "-j" => act = target(value),
            "-g" => act = Act::Goto(value.to_owned()),
            "--to-ports" => {
                act = Act::Redirect { to: first_port(value), elsewhere: false };
            }
            "--to-destination" => {
                let port = value.rsplit_once(':').and_then(|(_, port)| first_port(port));
                act = Act::Redirect { to: port, elsewhere: true };
            }
            other => {
                if other.starts_with('-') {
                    tests.push(Test::Unknown);
                }
                at -= 1;
            }
        }
    }
    Rule { tests, act, handle: None, name: name.to_owned() }
}

/// Splits as a shell does, as far as iptables-save quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in text.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Returns what a target does of which only the name is known.
pub(super) fn bare_target(name: &str) -> Act {
    match target(name) {
        // It may be one that keeps the kernel from knowing the connection.
        Act::Nothing if name == "CT" => Act::Untrack,
        // Where to is not known; or it is that of an extension.
        Act::Redirect { .. } | Act::Jump(_) | Act::Goto(_) => Act::Hand,
        act @ (Act::Accept | Act::Drop | Act::Return | Act::Hand | Act::Untrack | Act::Nothing) => {
            act
        }
    }
}

fn target(name: &str) -> Act {
    match name {
        "ACCEPT" => Act::Accept,
        "DROP" | "REJECT" => Act::Drop,
        "RETURN" => Act::Return,
        "REDIRECT" => Act::Redirect { to: None, elsewhere: false },
        "DNAT" => Act::Redirect { to: None, elsewhere: true },
        "NOTRACK" => Act::Untrack,
        "NFQUEUE" | "QUEUE" | "SYNPROXY" | "TPROXY" => Act::Hand,
        // Targets that end nothing; a chain of one's own may not have such a name.
        "LOG" | "NFLOG" | "ULOG" | "AUDIT" | "TRACE" | "MARK" | "CONNMARK" | "SECMARK"
        | "CONNSECMARK" | "CLASSIFY" | "CT" | "SET" | "TCPMSS" | "TCPOPTSTRIP" | "DSCP" | "TOS"
        | "TTL" | "HL" | "ECN" | "CHECKSUM" | "TEE" | "LED" | "IDLETIMER" | "RATEEST" | "HMARK"
        | "SNAT" | "MASQUERADE" => Act::Nothing,
        chain => Act::Jump(chain.to_owned()),
    }
}

/// Tells whether a packet with these flags has, of some, just those that are asked for.
fn flags_are(of: &str, these: &str, flags: &[&str]) -> bool {
    const ALL: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    let list = |written: &str| -> BTreeSet<String> {
        match written {
            "ALL" => ALL.iter().map(|flag| (*flag).to_owned()).collect(),
            "NONE" => BTreeSet::new(),
            some => some.split(',').map(str::to_owned).collect(),
        }
    };
    let of = list(of);
    let shown: BTreeSet<_> =
        flags.iter().map(|flag| (*flag).to_owned()).filter(|flag| of.contains(flag)).collect();
    shown == list(these)
}

/// Returns what is so of each part of a handshake, if it is so, or is not.
fn parts(attempt: bool, answer: bool, sense: Sense) -> Parts {
    let is = |truth| truth == (sense == Sense::OneOf);
    Parts { attempt: is(attempt), answer: is(answer) }
}

/// Reads a type of destination: of an address of ours it is always LOCAL (iptables-extensions(8), addrtype).
fn destination_type(types: &str, sense: Sense) -> Test {
    let is_other = |kind: &str| {
        matches!(
            kind,
            "BROADCAST" | "MULTICAST" | "ANYCAST" | "BLACKHOLE" | "UNREACHABLE" | "PROHIBIT"
        )
    };
    if types == "LOCAL" {
        Test::ForUs(sense)
    } else if types.split(',').all(is_other) {
        Test::ForUs(sense.other())
    } else {
        Test::Unknown
    }
}

fn network(text: &str) -> Option<Addresses> {
    text.parse::<IpNetwork>().ok().map(|network| Addresses::from_iter([whole(network)]))
}

/// Returns the first port of a range.
fn first_port(text: &str) -> Option<u16> {
    text.split('-').next().and_then(|port| port.parse().ok())
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}
