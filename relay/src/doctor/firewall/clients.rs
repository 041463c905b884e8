//! What the host's firewall makes of those who may connect: of anybody, of one who is asked for, or of each entry of the
//! allowlist.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use super::packet::{Packet, Part};
use super::remedy::remedy;
use super::ruleset::Ruleset;
use super::spans::whole;
use super::{IN, OUT};
use crate::doctor::entries::named;
use crate::doctor::{Cause, Finding, Looked};

/// The most addresses by which it is tried whether a rule asks who connects.
const TRIED_MAX: usize = 64;

/// Who connects.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clients<'a> {
    /// One who is asked for.
    One(IpAddr),
    /// Nobody in particular.
    Anybody,
    /// Those who are listed, and others unless they are all.
    Listed { entries: &'a [IpNetwork], are_all: bool },
}

/// What a rule does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// It stops this part of the handshake.
    Stops(Part),
    /// It sends it elsewhere.
    SendsOn,
    /// It may do one of these.
    Perhaps,
}

/// A rule that connections to one port meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meeting {
    pub rule: String,
    pub does: Does,
    /// The entries whose clients it meets; none: whoever connects.
    pub entries: Vec<IpNetwork>,
}

/// The rules that a connection meets.
#[derive(Debug)]
pub(super) struct Met {
    pub meetings: Vec<Meeting>,
    /// How many entries were not judged, since the time was over.
    pub unjudged: usize,
}

/// Returns which rules an attempt or the answer to it meets. Entries that have no turn until then are not judged.
pub(super) fn meetings(
    rules: &Ruleset,
    attempt: &Packet,
    clients: Clients<'_>,
    until: Instant,
) -> Met {
    let of = |(does, rule)| Meeting { rule, does, entries: Vec::new() };
    let perhaps = match follow(rules, attempt) {
        Ok(perhaps) => perhaps,
        Err(ended) => return Met { meetings: vec![of(ended)], unjudged: 0 },
    };
    let is_of_family = |entry: &&IpNetwork| entry.is_ipv4() == attempt.is_v4;
    let (entries, are_all) = match clients {
        // What asks for nobody's address is the same for all.
        Clients::Listed { entries, are_all } if !perhaps.is_empty() => {
            (entries.iter().filter(is_of_family).copied().collect(), are_all)
        }
        Clients::Listed { .. } | Clients::One(_) | Clients::Anybody => (Vec::new(), false),
    };
    let mut met: Vec<Meeting> = Vec::new();
    let mut unjudged = 0;
    for (judged, entry) in entries.iter().enumerate() {
        if Instant::now() >= until {
            unjudged = entries.len() - judged;
            break;
        }
        let own = Packet { source: Some(whole(*entry)), ..attempt.clone() };
        let rules = match follow(rules, &own) {
            Ok(perhaps) if are_all => {
                perhaps.into_iter().map(|rule| (Does::Perhaps, rule)).collect()
            }
            Ok(_) => Vec::new(),
            Err(ended) => vec![ended],
        };
        for (does, rule) in rules {
            match met.iter_mut().find(|one| one.does == does && one.rule == rule) {
                Some(known) => known.entries.push(*entry),
                None => met.push(Meeting { rule, does, entries: vec![*entry] }),
            }
        }
    }
    for one in &mut met {
        // What may be in the way of each may test something else than who it is.
        if one.does == Does::Perhaps && one.entries.len() == entries.len() {
            one.entries.clear();
        }
    }
    if !are_all {
        let is_told = |rule: &String| met.iter().any(|one| one.rule == *rule);
        let others: Vec<_> = perhaps.into_iter().filter(|rule| !is_told(rule)).collect();
        met.extend(others.into_iter().map(|rule| of((Does::Perhaps, rule))));
    }
    Met { meetings: met, unjudged }
}

/// Follows an attempt in and the answer to it out. Returns the rules that may be in the way.
///
/// # Errors
///
/// What ends the way, and by which rule.
fn follow(rules: &Ruleset, attempt: &Packet) -> Result<Vec<String>, (Does, String)> {
    let sent = rules.follow(attempt, &IN);
    if let Some(rule) = sent.stopped {
        return Err((Does::Stops(Part::Attempt), rule));
    }
    if let Some(rule) = sent.redirected {
        return Err((Does::SendsOn, rule));
    }
    let back = rules.follow(&attempt.answer(), &OUT);
    if let Some(rule) = back.stopped {
        return Err((Does::Stops(Part::Answer), rule));
    }
    Ok(sent.perhaps.into_iter().chain(back.perhaps).collect())
}

/// Tells whether it hangs on who connects that a rule may be in the way: it surely is in that of somebody whom rules tell
/// from others. Where the time is over before that is known it is said to: whoever then asks for one client learns it.
fn asks_who(rules: &Ruleset, attempt: &Packet, rule: &str, until: Instant) -> bool {
    let place = rules.place_of(rule);
    let own = place.and_then(|(_, own)| own).into_iter();
    let beside = place.into_iter().flat_map(|(chain, _)| &chain.rules);
    let all = rules.chains.iter().flat_map(|chain| &chain.rules);
    let tests = own.chain(beside).chain(all).flat_map(|rule| &rule.tests);
    let clients = tests.flat_map(|test| test.some_of_both_sides(attempt.is_v4)).take(TRIED_MAX);
    let is_stopped = |client: IpAddr| {
        if Instant::now() >= until {
            return true;
        }
        let own = Packet { source: Some(client..=client), ..attempt.clone() };
        follow(rules, &own).is_err_and(|(_, stops)| stops == rule)
    };
    clients.into_iter().any(is_stopped)
}

/// Says what keeps attempts from the listeners, or may. Listeners of one port at several addresses are one. The entries
/// are judged until then, and whether rules ask who connects is looked for until `ask_until`.
pub(super) fn judge(
    rules: &Ruleset,
    packets: &[Packet],
    clients: Clients<'_>,
    (until, ask_until): (Instant, Instant),
) -> Looked {
    let (mut found, mut unjudged) = (Vec::new(), 0);
    let mut asked: BTreeMap<(String, bool), bool> = BTreeMap::new();
    for packet in packets {
        let met = meetings(rules, packet, clients, until);
        unjudged = unjudged.max(met.unjudged);
        for meeting in met.meetings {
            let asks = |rule: &str| {
                *asked
                    .entry((rule.to_owned(), packet.is_v4))
                    .or_insert_with(|| asks_who(rules, packet, rule, ask_until))
            };
            let finding = told(rules, packet, clients, &meeting, asks);
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    }
    let ports: BTreeSet<u16> = packets.iter().map(|packet| packet.port).collect();
    for port in ports {
        for rule in rules.redirections_to(port) {
            let says = format!(
                "another port is redirected to {port}: {rule}; the first door does not guard that port, the second judges alone"
            );
            let remedy = "add a [[listener]] on that port in place of the redirection, if the first door is to guard it";
            found.push(Finding::new(Cause::RedirectedHere, says, remedy));
        }
    }
    let left_out = (unjudged > 0).then(|| {
        format!(
            "firewall: {unjudged} entries of sallyport allow list were not judged in time, since rules and entries are \
             many: --from ADDRESS judges one client"
        )
    });
    Looked { findings: found, left_out: left_out.into_iter().collect() }
}

/// `asks_who` tells of a rule whether it hangs on who connects.
fn told(
    rules: &Ruleset,
    packet: &Packet,
    clients: Clients<'_>,
    meeting: &Meeting,
    mut asks_who: impl FnMut(&str) -> bool,
) -> Finding {
    let Meeting { rule, does, entries } = meeting;
    let (port, family) = (packet.port, if packet.is_v4 { "IPv4" } else { "IPv6" });
    let (who, send, are) = match clients {
        Clients::One(from) => (from.to_string(), "sends", "is"),
        Clients::Anybody | Clients::Listed { .. } if entries.is_empty() => {
            ("clients".to_owned(), "send", "are")
        }
        Clients::Anybody | Clients::Listed { .. } => {
            (format!("clients of {}", named(entries)), "send", "are")
        }
    };
    let peers = match clients {
        Clients::One(from) => vec![IpNetwork::from(from)],
        Clients::Anybody | Clients::Listed { .. } => entries.clone(),
    };
    match does {
        Does::Stops(Part::Attempt) => Finding::new(
            Cause::Firewall,
            format!(
                "the host's firewall stops what {who} {send} to port {port} over {family}: {rule}"
            ),
            remedy(rules, rule, packet, &peers),
        ),
        Does::Stops(Part::Answer) => Finding::new(
            Cause::Firewall,
            format!(
                "the host's firewall stops what {who} {are} answered from port {port} over {family}: {rule}"
            ),
            remedy(rules, rule, &packet.answer(), &peers),
        ),
        Does::SendsOn => Finding::new(
            Cause::RedirectedAway,
            format!("what {who} {send} to port {port} over {family} is sent elsewhere: {rule}"),
            "delete that rule, if it is not meant",
        ),
        Does::Perhaps => Finding::new(
            Cause::FirewallPerhaps,
            format!(
                "a rule of the host's firewall may be in the way of {who} to port {port}: {rule}"
            ),
            match clients {
                Clients::Anybody | Clients::Listed { .. } if asks_who(rule) => {
                    "sallyport doctor --from ADDRESS judges it for one client; look whether it means yours"
                }
                Clients::Anybody | Clients::Listed { .. } => {
                    "look whether it means your clients: it tests something that cannot be told from here"
                }
                Clients::One(_) => {
                    "look whether it means this client: it tests something that cannot be told from here"
                }
            },
        ),
    }
}
