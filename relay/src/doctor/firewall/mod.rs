//! The host's own packet filter: whether a rule stands between a client and a listener.
//!
//! The gate comes before it, so what the gate admits may still be dropped here. Rules of nftables are read
//! with `nft`, those of the elder iptables with its `iptables-save`. The newer iptables writes rules of nftables;
//! what `nft` does not show of them is read with the newer `iptables-save`.

mod entrance;
mod expression;
mod iptables;
mod nft;
mod packet;
mod reading;
mod remedy;
mod ruleset;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::way::{Way, way_back};
use super::{Case, Cause, Finding, Looked};
use entrance::Entrance;
use packet::Packet;
pub(super) use reading::Reading;
use remedy::remedy;
use ruleset::{Fate, Ruleset};

/// The hooks that a client's attempt passes, and those that ours pass.
const IN: [&str; 3] = ["ingress", "prerouting", "input"];
const OUT: [&str; 1] = ["output"];
/// Those of a connection of this host to itself, and the interface of it.
const OUT_AND_IN: [&str; 3] = ["output", "prerouting", "input"];
const LOOPBACK: &str = "lo";

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
    let packets = packets(&listeners, from, &entrance, finds_back);
    Looked { findings: judge(&read.rules, &packets, from), left_out: read.left_out.clone() }
}

/// Returns the rule that stops connections from here to `target`, if one surely does. Blocks until the rules are
/// read.
pub(super) fn stops_out(rules: &Reading, target: SocketAddr) -> Option<String> {
    let read = rules.wait()?;
    let packet = Packet {
        is_v4: target.is_ipv4(),
        source: None,
        destinations: vec![target.ip()],
        is_for_us: target.ip().to_canonical().is_loopback().then_some(true),
        port: target.port(),
        devices: Vec::new(),
        comes_by: Vec::new(),
        finds_back: true,
    };
    read.rules.follow(&packet, &OUT).stopped
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
    let asked = [from, None].map(|from| packets(&[listener], from, &entrance, true));
    judge_own(&read.rules, listener, &asked.concat())
}

fn judge_own(rules: &Ruleset, listener: SocketAddr, clients: &[Packet]) -> Own {
    let fates: Vec<Fate> = clients.iter().map(|packet| rules.follow(packet, &IN)).collect();
    let are_stopped = fates.iter().any(|fate| fate.stopped.is_some());
    let told: BTreeSet<&String> =
        fates.iter().flat_map(|fate| fate.stopped.iter().chain(&fate.perhaps)).collect();
    // Of a listener for all, loopback is connected to.
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let tried = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![v4],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![Ipv6Addr::LOCALHOST.into(), v4],
        ip => vec![ip],
    };
    let own = tried.into_iter().map(|ip| rules.follow(&of_own(ip, listener.port()), &OUT_AND_IN));
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

/// Returns the attempt of this host to connect to an address of its own.
fn of_own(ip: IpAddr, port: u16) -> Packet {
    Packet {
        is_v4: ip.is_ipv4(),
        source: Some(ip),
        destinations: vec![ip],
        is_for_us: Some(true),
        port,
        devices: vec![LOOPBACK.to_owned()],
        comes_by: vec![LOOPBACK.to_owned()],
        finds_back: true,
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
            packets.push(Packet {
                is_v4,
                source: from,
                destinations: if is_any { entrance.addresses(is_v4) } else { vec![listener.ip()] },
                is_for_us: Some(true),
                port: listener.port(),
                devices: entrance.devices.clone(),
                comes_by: entrance.comes_by.clone(),
                finds_back,
            });
        }
    }
    packets
}

fn judge(rules: &Ruleset, packets: &[Packet], from: Option<IpAddr>) -> Vec<Finding> {
    let who = from.map_or_else(|| "clients".to_owned(), |from| from.to_string());
    let sent = if from.is_some() { format!("{who} sends") } else { format!("{who} send") };
    let mut said = BTreeSet::new();
    let mut found = Vec::new();
    for packet in packets {
        let (port, family) = (packet.port, if packet.is_v4 { "IPv4" } else { "IPv6" });
        let Fate { stopped, perhaps, redirected } = rules.follow(packet, &IN);
        if let Some(rule) = stopped {
            let says = format!(
                "the host's firewall stops what {sent} to port {port} over {family}: {rule}"
            );
            let remedy = remedy(rules, &rule, packet);
            found.push(Finding::new(Cause::Firewall, says, remedy));
            continue;
        }
        if let Some(rule) = redirected {
            let says =
                format!("what {sent} to port {port} over {family} is sent elsewhere: {rule}");
            found.push(Finding::new(
                Cause::RedirectedAway,
                says,
                "delete that rule, if it is not meant",
            ));
            continue;
        }
        for rule in perhaps {
            if said.insert((port, rule.clone())) {
                let says = format!(
                    "a rule of the host's firewall may be in the way of {who} to port {port}: {rule}"
                );
                let remedy = match from {
                    None => "sallyport doctor --from ADDRESS judges it for one client; look whether it means yours".to_owned(),
                    Some(_) => "look whether it means this client: it tests something that cannot be told from here".to_owned(),
                };
                found.push(Finding::new(Cause::FirewallPerhaps, says, remedy));
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
    found
}
