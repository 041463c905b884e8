//! Interfaces: there, up, with an address; and those that nobody guards.

use std::net::SocketAddr;

use super::links::{Link, Links};
use super::{Case, Cause, Finding, Looked};
use crate::bound::has_address;
use crate::gate::approach::specific;
use crate::gate::{Offloads, offloads};

/// What the driver does to frames before anybody sees them, by interface.
type Driven = (String, Offloads);

pub(super) fn look(case: &Case) -> Looked {
    if let Some(problem) = &case.links.problem {
        return Looked::left_out(format!("interfaces: the kernel does not list them: {problem}"));
    }
    let guarded = &case.config.gate.interfaces;
    let driven = |name: &String| Some((name.clone(), offloads(name).ok().flatten()?));
    let driven: Vec<Driven> = guarded.iter().filter_map(driven).collect();
    let listeners: Vec<SocketAddr> = case.config.listeners.iter().map(|one| one.address).collect();
    let here: Vec<SocketAddr> =
        specific(&listeners).filter(|address| has_address(*address)).collect();
    judge(guarded, &case.links, &driven, &here).into()
}

/// `here` are the listeners that stand on an address of their own which this host has: clients find it by whichever
/// interface they come.
fn judge(
    guarded: &[String],
    links: &Links,
    driven: &[Driven],
    here: &[SocketAddr],
) -> Vec<Finding> {
    let of = |name: &String| of_guarded(name, links, here);
    let mut found: Vec<_> = guarded.iter().filter_map(of).collect();
    let is_off = |link: &&Link| link.is_loopback && !link.is_up && !guarded.contains(&link.name);
    found.extend(links.all.iter().filter(is_off).map(of_loopback));
    let duplicates = links.all.iter().flat_map(|link| {
        let twice = link.addresses.iter().filter(|own| own.is_duplicate);
        twice.map(move |own| {
            Finding::new(
                Cause::DuplicateAddress,
                format!("{}: another host on its network has {} too, so it is not used", link.name, own.ip),
                format!("give one of them another address, then: ip address del {} dev {} and add it anew", own.ip, link.name),
            )
        })
    });
    found.extend(duplicates);
    if !guarded.is_empty() {
        found.extend(links.all.iter().filter_map(|link| of_other(link, guarded, links)));
    }
    found.extend(driven.iter().flat_map(|(name, how)| of_driver(name, *how, links)));
    found
}

fn of_guarded(name: &str, links: &Links, here: &[SocketAddr]) -> Option<Finding> {
    let Some(link) = links.named(name) else {
        let there: Vec<&str> =
            links.all.iter().filter(|l| !l.is_loopback).map(|l| l.name.as_str()).collect();
        let there = if there.is_empty() { "only loopback".to_owned() } else { there.join(", ") };
        return Some(Finding::new(
            Cause::InterfaceMissing,
            format!(
                "gate.interfaces names {name}, and there is no such interface; there is {there}"
            ),
            "name the right one in gate.interfaces and restart the gate, or bring the device back",
        ));
    };
    let (cause, says, remedy) = if !link.is_ethernet {
        (
            Cause::NotEthernet,
            "has frames without a header of Ethernet, so the gate cannot stand on it",
            "leave it out of gate.interfaces: the second door judges what comes by it".to_owned(),
        )
    } else if !link.is_up {
        (Cause::InterfaceDown, "is switched off", format!("ip link set dev {name} up"))
    } else if !link.has_carrier {
        (
            Cause::NoCarrier,
            "is on and has no carrier: no cable, or its other end is off",
            "look at the cable, the switch's port, or the host's side of a virtual interface"
                .to_owned(),
        )
    } else if here.is_empty() && !links.has_address(link) && !is_duplicate(link) {
        (
            Cause::NoAddress,
            "has no address that a client could connect to",
            format!(
                "ip address add ADDRESS/PREFIX dev {name}, and see why the network set-up gave it none"
            ),
        )
    } else {
        return None;
    };
    Some(Finding::new(cause, format!("{name} {says}"), remedy))
}

/// Without it nothing on this host reaches anything on it, by whatever address.
fn of_loopback(link: &Link) -> Finding {
    let name = &link.name;
    Finding::new(
        Cause::InterfaceDown,
        format!(
            "{name} is switched off, so no program of this host reaches another on it: a name server, a proxy, a next hop"
        ),
        format!("ip link set dev {name} up"),
    )
}

/// Tells whether another host has an address of it, which is told with what to do.
fn is_duplicate(link: &Link) -> bool {
    link.addresses.iter().any(|own| own.is_duplicate)
}

fn of_other(link: &Link, guarded: &[String], links: &Links) -> Option<Finding> {
    let is_meant = || guarded.contains(&link.name) || links.is_over(link, guarded);
    if link.is_loopback || !link.is_up || !link.is_addressed() || is_meant() {
        return None;
    }
    let name = &link.name;
    let kind = link.kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
    Some(if link.is_ethernet {
        Finding::new(
            Cause::InterfaceUnguarded,
            format!(
                "{name}{kind} is up, has an address and is not guarded: only the second door judges clients that come by it"
            ),
            format!(
                "if clients come by it, add \"{name}\" to gate.interfaces and restart the gate"
            ),
        )
    } else {
        Finding::new(
            Cause::TunnelAround,
            format!(
                "{name}{kind} brings packets around the first door, which cannot stand on it: only the second door judges them"
            ),
            "nothing, if that is meant; else end the tunnel on another host, or filter it there",
        )
    })
}

fn of_driver(name: &str, how: Offloads, links: &Links) -> Vec<Finding> {
    let mut found = Vec::new();
    if how.lro {
        found.push(Finding::new(
            Cause::LroOn,
            format!("{name} merges segments before the gate sees them (LRO): most drivers then refuse XDP, or counts are wrong"),
            format!("ethtool -K {name} lro off"),
        ));
    }
    let index = links.named(name).map(|link| link.index);
    let is_vlan = |link: &&Link| link.kind.as_deref() == Some("vlan") && link.below == index;
    if how.strips_tags
        && index.is_some()
        && let Some(vlan) = links.all.iter().find(is_vlan)
    {
        found.push(Finding::new(
            Cause::TagsStripped,
            format!("{name} strips VLAN tags before the gate sees them, so frames for {} are judged as untagged ones, by the same list", vlan.name),
            format!("nothing, if one list is meant for all; else ethtool -K {name} rxvlan off"),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::links::Owned;
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        let own = Owned { ip: "192.0.2.1".parse().unwrap(), is_duplicate: false };
        Link {
            index,
            name: name.into(),
            is_ethernet: true,
            is_up: true,
            has_carrier: true,
            addresses: vec![own],
            ..Link::default()
        }
    }

    #[test]
    fn an_address_that_stands_elsewhere_is_one_as_the_gate_sees_it() {
        let bare = || Link { addresses: vec![], ..link(2, "eth0") };
        let lo = || Link { is_loopback: true, ..link(1, "lo") };
        let dummy = |name| Link { kind: Some("dummy".into()), ..link(3, name) };
        let here: SocketAddr = "192.0.2.1:2525".parse().unwrap();
        for (row, named, links, here, is_told) in [
            ("none", "eth0", vec![bare()], vec![], true),
            ("of loopback", "eth0", vec![lo(), bare()], vec![], false),
            ("of a dummy", "eth0", vec![dummy("any0"), bare()], vec![], false),
            ("loopback is guarded", "lo", vec![Link { addresses: vec![], ..lo() }], vec![], false),
            ("a listener has its own", "eth0", vec![bare()], vec![here], false),
        ] {
            let links = Links { all: links, problem: None };
            let found = judge(&[named.to_owned()], &links, &[], &here);
            let found = found.iter().any(|found| found.cause == Cause::NoAddress);
            assert_eq!(found, is_told, "{row}");
        }
    }

    fn causes(links: Vec<Link>, how: Offloads) -> Vec<&'static str> {
        let links = Links { all: links, problem: None };
        let guarded = ["eth0".to_owned()];
        let found = judge(&guarded, &links, &[("eth0".to_owned(), how)], &[]);
        found.iter().map(|found| found.cause.id()).collect()
    }

    #[test]
    fn each_state_of_an_interface_has_its_cause() {
        let off = Offloads { lro: false, strips_tags: false };
        let eth0 = || link(2, "eth0");
        let duplicate = Owned { ip: "2001:db8::1".parse().unwrap(), is_duplicate: true };
        let local = Owned { ip: "fe80::1".parse().unwrap(), is_duplicate: false };
        let tunnel = || Link { is_ethernet: false, kind: Some("ipip".into()), ..link(3, "tun0") };
        let vlan = || Link { kind: Some("vlan".into()), below: Some(2), ..link(3, "eth0.5") };
        let bound = |kind: &str| Link { kind: Some(kind.into()), below: Some(2), ..tunnel() };
        let over =
            |kind: &str| Link { kind: Some(kind.into()), below: Some(2), ..link(3, "over0") };
        let rows: [(&str, Vec<Link>, Offloads, &[&str]); 25] = [
            ("healthy", vec![eth0()], off, &[]),
            ("gone", vec![link(2, "eth1")], off, &["interface-missing", "interface-unguarded"]),
            (
                "off",
                vec![Link { is_up: false, has_carrier: false, ..eth0() }],
                off,
                &["interface-down"],
            ),
            ("no cable", vec![Link { has_carrier: false, ..eth0() }], off, &["no-carrier"]),
            ("no address", vec![Link { addresses: vec![], ..eth0() }], off, &["no-address"]),
            ("link-local", vec![Link { addresses: vec![local], ..eth0() }], off, &["no-address"]),
            (
                "a port of a bridge",
                vec![Link { addresses: vec![], master: Some(3), ..eth0() }, link(3, "br0")],
                off,
                &[],
            ),
            ("a tunnel named", vec![Link { is_ethernet: false, ..eth0() }], off, &["not-ethernet"]),
            (
                "twice",
                vec![Link { addresses: vec![duplicate], ..eth0() }],
                off,
                &["duplicate-address"],
            ),
            ("a second one", vec![eth0(), link(3, "eth1")], off, &["interface-unguarded"]),
            ("a second one off", vec![eth0(), Link { is_up: false, ..link(3, "eth1") }], off, &[]),
            ("a tunnel", vec![eth0(), tunnel()], off, &["tunnel-around"]),
            ("IP in IP, bound to it", vec![eth0(), bound("ipip")], off, &["tunnel-around"]),
            ("GRE, bound to it", vec![eth0(), bound("gre")], off, &["tunnel-around"]),
            ("IPsec, bound to it", vec![eth0(), bound("xfrm")], off, &["tunnel-around"]),
            (
                "GRE with Ethernet in it",
                vec![eth0(), over("gretap")],
                off,
                &["interface-unguarded"],
            ),
            ("encrypted frames", vec![eth0(), over("macsec")], off, &["interface-unguarded"]),
            ("a port of a switch", vec![eth0(), over("dsa")], off, &["interface-unguarded"]),
            ("a macvlan", vec![eth0(), over("macvlan")], off, &[]),
            (
                "no address but in a tunnel",
                vec![Link { addresses: vec![], ..eth0() }, bound("sit")],
                off,
                &["no-address", "tunnel-around"],
            ),
            ("a VLAN", vec![eth0(), vlan()], off, &[]),
            (
                "a VLAN has the addresses",
                vec![Link { addresses: vec![], ..eth0() }, vlan()],
                off,
                &[],
            ),
            ("LRO", vec![eth0()], Offloads { lro: true, ..off }, &["lro-on"]),
            ("tags without VLAN", vec![eth0()], Offloads { strips_tags: true, ..off }, &[]),
            (
                "tags",
                vec![eth0(), vlan()],
                Offloads { strips_tags: true, ..off },
                &["tags-stripped"],
            ),
        ];
        for (row, links, how, wanted) in rows {
            assert_eq!(causes(links, how), wanted, "{row}");
        }
    }

    #[test]
    fn loopback_that_is_off_is_told_once() {
        let lo = |is_up| Link { is_loopback: true, is_up, ..link(1, "lo") };
        let off = Offloads { lro: false, strips_tags: false };
        assert_eq!(causes(vec![lo(false), link(2, "eth0")], off), ["interface-down"]);
        assert_eq!(causes(vec![lo(true), link(2, "eth0")], off), [""; 0]);
    }

    #[test]
    fn without_a_gate_no_interface_is_called_unguarded() {
        let links = Links { all: vec![link(2, "eth0")], problem: None };
        assert_eq!(judge(&[], &links, &[], &[]), Vec::new());
    }
}
