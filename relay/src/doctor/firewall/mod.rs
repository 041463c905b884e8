//! The host's own packet filter: whether a rule stands between a client and a listener, or us and a next hop, on the
//! way there or on the way back.
//!
//! The gate comes before it, so what the gate admits may still be dropped here. Rules of nftables are read
//! with `nft`, those of the elder iptables with its `iptables-save`. The newer iptables writes rules of nftables;
//! what `nft` does not show of them is read with the newer `iptables-save`.

mod clients;
mod entrance;
mod expression;
mod iptables;
mod nft;
mod owner;
mod packet;
mod reading;
mod remedy;
mod ruleset;
mod spans;
#[cfg(test)]
mod tests;
mod truth;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;

use super::links::Links;
use super::way::{Way, way_back, way_out};
use super::{Case, Looked};
use crate::config::Listener;
use crate::control::wire::GateStatus;
use clients::{Clients, Does, Meeting, judge, meetings};
use entrance::Entrance;
pub(super) use owner::Owner;
use packet::{CLIENT_PORTS, Packet, Part};
pub(super) use reading::Reading;
use remedy::remedy;
use ruleset::{Fate, Ruleset};

/// The hooks that a packet passes which comes in, and one that leaves.
const IN: [&str; 3] = ["ingress", "prerouting", "input"];
const OUT: [&str; 3] = ["output", "postrouting", "egress"];
/// Those of a connection of this host to itself, and the interface of it.
const OUT_AND_IN: [&str; 4] = ["output", "postrouting", "prerouting", "input"];
const LOOPBACK: &str = "lo";
/// How long entries are held against the rules, and how long it may take besides to find out whether rules ask who
/// connects: there may be hundreds of entries and a hundred thousand rules.
const JUDGING: Duration = Duration::from_secs(2);
const ASKING: Duration = Duration::from_secs(1);

pub(super) fn look(case: &Case) -> Looked {
    let Some(read) = case.rules.wait() else {
        return Looked::left_out("firewall: its rules were not read in time");
    };
    let guarded = case.is_guarded().then_some(case.config.gate.interfaces.as_slice());
    let entrance = Entrance::of(&case.links, guarded);
    let listeners: Vec<SocketAddr> = case.config.listeners.iter().map(|one| one.address).collect();
    let from = case.asked.from.map(|from| from.to_canonical());
    // Where nobody in particular is meant it is one whom answers reach.
    let finds_back = from.is_none_or(|from| {
        match way_back(from, &case.config.listeners, &entrance.devices, &case.links) {
            Ok(Way::By(name)) => entrance.devices.contains(&name),
            Ok(Way::Here) => true,
            Ok(Way::Nowhere(_)) | Err(_) => false,
        }
    });
    let mut packets = packets(&listeners, from, &entrance, finds_back);
    packets.retain(|packet| from.is_some() || may_come(case, packet.is_v4));
    let now = Instant::now();
    let times = (now + JUDGING, now + JUDGING + ASKING);
    let mut looked = judge(&read.rules, &packets, who_comes(case, from), times);
    looked.left_out.splice(0..0, read.left_out.iter().cloned());
    looked
}

/// Returns who connects: the one who is asked for, or those who are listed.
fn who_comes(case: &Case, from: Option<IpAddr>) -> Clients<'_> {
    if let Some(from) = from {
        return Clients::One(from);
    }
    // Behind a proxy it is the proxy that connects.
    let is_behind = case.config.listeners.iter().any(|listener| !listener.proxy.is_empty());
    if is_behind || !case.is_guarded() {
        return Clients::Anybody;
    }
    let entries = case.entries();
    Clients::Listed { entries: entries.networks(), are_all: keeps_out(case) && entries.is_whole() }
}

/// Tells whether somebody may come over a family: only those who are listed do, where a list keeps others out.
fn may_come(case: &Case, is_v4: bool) -> bool {
    !keeps_out(case) || case.entries().may_have(is_v4)
}

/// Tells whether the gate keeps everybody out who is not listed.
fn keeps_out(case: &Case) -> bool {
    let keeps_out = case.gate.says().is_some_and(GateStatus::keeps_out);
    let is_judged = |listener: &Listener| listener.gate && listener.proxy.is_empty();
    case.is_guarded() && keeps_out && case.config.listeners.iter().all(is_judged)
}

/// Why a connection from here is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StopsOut {
    /// What the firewall does: which rule drops what.
    pub says: String,
    pub remedy: String,
    /// Whether that is the answer, so that nothing is heard of the other end.
    pub drops_answers: bool,
}

/// Looks for a rule that surely stops connections of `owner` from here to `target`, or the answer to them. Blocks until
/// the rules are read, and the kernel has said which way leads there.
pub(super) fn stops_out(
    rules: &Reading,
    target: SocketAddr,
    links: &Links,
    owner: Owner,
) -> Option<StopsOut> {
    let read = rules.wait()?;
    let by = match way_out(target.ip(), links) {
        Ok(Way::By(name)) => vec![name],
        Ok(Way::Here) => vec![LOOPBACK.to_owned()],
        Ok(Way::Nowhere(_)) | Err(_) => Vec::new(),
    };
    judge_out(&read.rules, &of_ours(target, by, local_ports(), owner))
}

/// Returns the ports that the system gives to connections of its own (ip_local_port_range of ip-sysctl).
fn local_ports() -> RangeInclusive<u16> {
    let written = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = written.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => CLIENT_PORTS,
    }
}

/// Returns the attempt of a user of ours to connect to a next hop, which leaves by one of these.
fn of_ours(
    target: SocketAddr,
    by: Vec<String>,
    ports: RangeInclusive<u16>,
    owner: Owner,
) -> Packet {
    let ip = target.ip().to_canonical();
    Packet {
        part: Part::Attempt,
        is_v4: ip.is_ipv4(),
        source: None,
        destinations: vec![ip..=ip],
        is_for_us: ip.is_loopback().then_some(true),
        port: target.port(),
        other_ports: ports,
        devices: by.clone(),
        comes_by: Vec::new(),
        leaves_by: by,
        finds_back: true,
        is_tracked: true,
        owner,
    }
}

fn judge_out(rules: &Ruleset, attempt: &Packet) -> Option<StopsOut> {
    let hop: Vec<_> =
        attempt.destinations.first().map(|hop| IpNetwork::from(*hop.start())).into_iter().collect();
    let told = |what: &str, rule: &str, packet: &Packet| StopsOut {
        says: format!("{what}: {rule}"),
        remedy: remedy(rules, rule, packet, &hop),
        drops_answers: packet.part == Part::Answer,
    };
    let sent = rules.follow(attempt, &OUT);
    if let Some(rule) = sent.stopped {
        return Some(told("drops what we send there", &rule, attempt));
    }
    let answer = attempt.answer();
    // Of one that is sent elsewhere, another answers. Where it comes by must be known.
    if sent.redirected.is_some() || answer.comes_by.is_empty() {
        return None;
    }
    let rule = rules.follow(&answer, &IN).stopped?;
    Some(told("drops what it answers", &rule, &answer))
}

/// What the rules make of this host's own attempt to connect to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Nothing, as far as it is known.
    Free,
    /// A rule that is in the way of clients, or may be, and that the firewall's check names: it surely stops this host as
    /// well.
    Told,
    /// This rule may be in its way, which cannot be told from here.
    Perhaps(String),
    /// This rule stops it, and nobody else's.
    Dropped(String),
}

/// Looks which rule stands in the way of this host's own attempt to connect to a listener. Blocks until the rules are
/// read.
pub(super) fn own_attempt(case: &Case, listener: SocketAddr) -> Own {
    let Some(read) = case.rules.wait() else { return Own::Free };
    let guarded = case.is_guarded().then_some(case.config.gate.interfaces.as_slice());
    let entrance = Entrance::of(&case.links, guarded);
    let from = case.asked.from.map(|from| from.to_canonical());
    // A rule for other clients than the one who is asked for may well be for this host.
    let asked = BTreeSet::from([from, None]);
    let (rules, until) = (&read.rules, Instant::now() + JUDGING);
    let met = asked.into_iter().flat_map(|from| {
        let mut packets = packets(&[listener], from, &entrance, true);
        packets.retain(|packet| from.is_some() || may_come(case, packet.is_v4));
        let clients = who_comes(case, from);
        packets
            .into_iter()
            .flat_map(move |packet| meetings(rules, &packet, clients, until).meetings)
    });
    judge_own(rules, listener, &met.collect::<Vec<_>>(), Owner::this_process())
}

/// Judges by which rules clients meet.
fn judge_own(rules: &Ruleset, listener: SocketAddr, met: &[Meeting], owner: Owner) -> Own {
    let stops_all = |one: &Meeting| one.entries.is_empty() && matches!(one.does, Does::Stops(_));
    let are_stopped = met.iter().any(stops_all);
    let told: BTreeSet<&String> = met.iter().map(|one| &one.rule).collect();
    // Of a listener for all, loopback is connected to.
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let tried = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![v4],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![Ipv6Addr::LOCALHOST.into(), v4],
        ip => vec![ip],
    };
    let parts =
        |ip| [Part::Attempt, Part::Answer].map(|part| of_own(ip, listener.port(), part, owner));
    let own = tried.into_iter().flat_map(parts).map(|one| rules.follow(&one, &OUT_AND_IN));
    let (mut dropped, mut unsure) = (None, None);
    for Fate { stopped, perhaps, .. } in own {
        if stopped.as_ref().is_some_and(|rule| are_stopped || told.contains(rule)) {
            return Own::Told;
        }
        dropped = dropped.or(stopped);
        unsure = unsure.or_else(|| perhaps.into_iter().next());
    }
    match (dropped, unsure) {
        (Some(rule), _) => Own::Dropped(rule),
        (None, Some(rule)) => Own::Perhaps(rule),
        (None, None) => Own::Free,
    }
}

/// Returns the attempt of a user of this host to connect to an address of its own, or the answer.
fn of_own(ip: IpAddr, port: u16, part: Part, owner: Owner) -> Packet {
    Packet {
        part,
        is_v4: ip.is_ipv4(),
        source: Some(ip..=ip),
        destinations: vec![ip..=ip],
        is_for_us: Some(true),
        port,
        other_ports: CLIENT_PORTS,
        devices: vec![LOOPBACK.to_owned()],
        comes_by: vec![LOOPBACK.to_owned()],
        leaves_by: vec![LOOPBACK.to_owned()],
        finds_back: true,
        is_tracked: true,
        owner: match part {
            Part::Attempt => owner,
            Part::Answer => Owner::Unknown,
        },
    }
}

/// Returns a connection attempt for each listener and family that it serves. One for all serves those of which an
/// address is there to connect to, and that of the client who is asked for.
fn packets(
    listeners: &[SocketAddr],
    from: Option<IpAddr>,
    entrance: &Entrance,
    finds_back: bool,
) -> Vec<Packet> {
    let mut packets = Vec::new();
    for listener in listeners.iter().filter(|one| !one.ip().is_loopback()) {
        let is_any = listener.ip().is_unspecified();
        for is_v4 in [true, false] {
            let is_served = listener.is_ipv4() == is_v4 || (is_any && listener.is_ipv6());
            let is_meant = match from {
                Some(from) => from.is_ipv4() == is_v4,
                None => !is_any || entrance.has(is_v4),
            };
            if !is_served || !is_meant {
                continue;
            }
            let destinations = if is_any { entrance.addresses(is_v4) } else { vec![listener.ip()] };
            packets.push(Packet {
                part: Part::Attempt,
                is_v4,
                source: from.map(|from| from..=from),
                destinations: destinations.into_iter().map(|ip| ip..=ip).collect(),
                is_for_us: Some(true),
                port: listener.port(),
                other_ports: CLIENT_PORTS,
                devices: entrance.devices.clone(),
                comes_by: entrance.comes_by.clone(),
                leaves_by: Vec::new(),
                finds_back,
                is_tracked: true,
                owner: Owner::Nobody,
            });
        }
    }
    packets
}
