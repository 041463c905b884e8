//! Interfaces and addresses, as the kernel has them (rtnetlink(7)).

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType};
use rtnetlink::{Handle, new_connection};

use crate::gate::{approach, netlink};

/// The most interfaces that are looked at.
const LINKS_MAX: usize = 4096;

/// Kinds that take frames from an interface below them or from their ports as they came: the gate there has judged what
/// they bring. All others unpack what it did not see: tunnels and macsec, also if they are bound to that interface, and
/// the ports of a switch, whose frames carry a tag of its own.
const HAND_ON: [&str; 9] =
    ["vlan", "bridge", "bond", "team", "vrf", "macvlan", "macvtap", "ipvlan", "ipvtap"];

/// Every interface of this network; none if the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    pub all: Vec<Link>,
    /// Why they are not known.
    pub problem: Option<String>,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// What the kernel calls its kind; none for hardware.
    pub kind: Option<String>,
    pub is_loopback: bool,
    pub is_ethernet: bool,
    /// Whether it was switched on.
    pub is_up: bool,
    /// Whether its other end is there, and it may be used: one that waits for a login (802.1X) may not. The gate takes the
    /// same flag.
    pub has_carrier: bool,
    /// The index of the bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// The index of the interface below it, for instance of a VLAN, or of the one that a tunnel is bound to.
    pub below: Option<u32>,
    pub addresses: Vec<Owned>,
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub ip: IpAddr,
    /// Whether another host has it too (RFC 4862, section 5.4): then the kernel does not use it.
    pub is_duplicate: bool,
}

impl Links {
    /// Asks the kernel.
    pub(super) fn read() -> Self {
        let read = talk(async |handle| all(&handle).await);
        match read {
            Ok(all) => Self { all, problem: None },
            Err(problem) => Self { all: Vec::new(), problem: Some(problem.to_string()) },
        }
    }

    pub(super) fn named(&self, name: &str) -> Option<&Link> {
        self.all.iter().find(|link| link.name == name)
    }

    /// Tells whether clients that come by an interface find an address, as the gate sees it.
    pub(super) fn has_address(&self, link: &Link) -> bool {
        let of = |link: &Link| netlink::Link {
            index: link.index,
            master: link.master,
            below: link.below,
            ethernet: link.is_ethernet,
            holds_only: link.is_loopback || link.kind.as_deref() == Some("dummy"),
            carries: link.is_up && link.has_carrier,
        };
        let links: Vec<netlink::Link> = self.all.iter().map(of).collect();
        let own = self.all.iter().flat_map(|link| {
            let used = link.addresses.iter().filter(|own| !own.is_duplicate);
            used.map(|own| netlink::Own { index: link.index, ip: own.ip })
        });
        approach::has_address(link.index, &links, &own.collect::<Vec<_>>())
    }

    /// Tells whether this host may connect to itself, by whatever address: loopback is switched on, or not known.
    pub(super) fn reaches_itself(&self) -> bool {
        let mut loopback = self.all.iter().filter(|link| link.is_loopback).peekable();
        loopback.peek().is_none() || loopback.any(|link| link.is_up)
    }

    /// Tells whether this host has an address.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.all.iter().flat_map(|link| &link.addresses).any(|own| own.ip == ip)
    }
}

impl Links {
    /// Tells whether an interface stands over one of these, on whatever layer: it gets what that one let pass, and nothing
    /// else. A tunnel that is bound to one does not.
    pub(super) fn is_over(&self, link: &Link, names: &[String]) -> bool {
        !names.contains(&link.name) && self.stack(names).contains(&link.index)
    }

    /// Returns the indices of these interfaces and of all that stand over them: a bond, a VLAN over that, its bridge.
    fn stack(&self, names: &[String]) -> BTreeSet<u32> {
        let named = self.all.iter().filter(|link| names.contains(&link.name));
        let mut stack: BTreeSet<u32> = named.map(|link| link.index).collect();
        // Each round climbs a layer. An interface is added once, so that it ends.
        loop {
            let above = self.all.iter().flat_map(|link| {
                let master = link.master.filter(|_| stack.contains(&link.index));
                let master = master.filter(|index| self.is_of_ports(*index));
                let upper = link.below.filter(|below| stack.contains(below) && link.hands_on());
                [master, upper.map(|_| link.index)].into_iter().flatten()
            });
            let above: Vec<u32> = above.filter(|index| !stack.contains(index)).collect();
            if above.is_empty() {
                return stack;
            }
            stack.extend(above);
        }
    }

    /// Tells whether an interface takes frames from its ports as they came. Drivers that make one of two cards (`netvsc`
    /// and the like) name no kind.
    fn is_of_ports(&self, index: u32) -> bool {
        let master = self.all.iter().find(|link| link.index == index);
        master.is_some_and(|master| master.kind.is_none() || master.hands_on())
    }

    /// Returns the domain of routing that an interface is in (`ip link … type vrf`), if it is in one.
    pub(super) fn domain_of(&self, link: &Link) -> Option<&Link> {
        let is_it = |other: &&Link| {
            link.master == Some(other.index) && other.kind.as_deref() == Some("vrf")
        };
        self.all.iter().find(is_it)
    }

    /// Returns these interfaces and those that stand over them: a VLAN, a bridge, a bond.
    pub(super) fn with_upper(&self, names: &[String]) -> Vec<String> {
        let stack = self.stack(names);
        let upper = self.all.iter().filter(|link| stack.contains(&link.index));
        let upper = upper.map(|link| link.name.clone()).filter(|name| !names.contains(name));
        names.iter().cloned().chain(upper).collect()
    }
}

impl Link {
    /// Tells whether it takes frames from below as they came.
    fn hands_on(&self) -> bool {
        self.kind.as_deref().is_some_and(|kind| HAND_ON.contains(&kind))
    }

    /// Returns whether it has an address that others can reach it by.
    pub(super) fn is_addressed(&self) -> bool {
        self.addresses.iter().any(|own| !is_link_local(own.ip))
    }

    /// Returns the addresses that others can reach it by, but for those that another host has too.
    pub(super) fn reachable(&self) -> impl Iterator<Item = IpAddr> {
        let own = self.addresses.iter().filter(|own| !own.is_duplicate).map(|own| own.ip);
        own.filter(|ip| !is_link_local(*ip))
    }
}

const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

async fn all(handle: &Handle) -> Result<Vec<Link>, rtnetlink::Error> {
    let mut links = Vec::new();
    let mut messages = handle.link().get().execute();
    while let Some(message) = messages.try_next().await? {
        if links.len() == LINKS_MAX {
            break;
        }
        let flags = message.header.flags;
        let mut link = Link {
            index: message.header.index,
            is_loopback: flags.contains(LinkFlags::Loopback),
            is_ethernet: matches!(
                message.header.link_layer_type,
                LinkLayerType::Ether | LinkLayerType::Loopback
            ),
            is_up: flags.contains(LinkFlags::Up),
            has_carrier: flags.contains(LinkFlags::Running),
            ..Link::default()
        };
        let mut is_elsewhere = false;
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Controller(index) => link.master = Some(index),
                LinkAttribute::Link(index) if index != link.index => link.below = Some(index),
                LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
                _ => {}
            }
        }
        link.kind = netlink::by_index(link.index).ok().flatten().and_then(|seen| seen.kind);
        // Of a pair it is the other end, which is not below it; of another network it is a number of that one's.
        if is_elsewhere || matches!(link.kind.as_deref(), Some("veth" | "netkit")) {
            link.below = None;
        }
        links.push(link);
    }
    let mut messages = handle.address().get().execute();
    while let Some(message) = messages.try_next().await? {
        let Some(link) = links.iter_mut().find(|link| link.index == message.header.index) else {
            continue;
        };
        let (mut ip, mut is_duplicate) = (None, false);
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(local) => ip = Some(local),
                AddressAttribute::Address(address) => ip = ip.or(Some(address)),
                AddressAttribute::Flags(flags) => {
                    is_duplicate = flags.contains(AddressFlags::Dadfailed);
                }
                _ => {}
            }
        }
        link.addresses.extend(ip.map(|ip| Owned { ip, is_duplicate }));
    }
    Ok(links)
}

/// Opens a netlink socket in this network for one conversation.
pub(super) fn talk<T>(
    work: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
) -> Result<T, rtnetlink::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| rtnetlink::Error::RequestFailed)?;
    runtime.block_on(async {
        let (connection, handle, _) =
            new_connection().map_err(|_| rtnetlink::Error::RequestFailed)?;
        let connection = tokio::spawn(connection);
        let result = work(handle).await;
        connection.abort();
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_over_an_interface_is_found_on_every_layer() {
        let of =
            |kind: Option<&str>, index, name: &str, master: Option<u32>, below: Option<u32>| Link {
                index,
                name: name.into(),
                kind: kind.map(str::to_owned),
                master,
                below,
                ..Link::default()
            };
        let link = |index, name: &str, master: Option<u32>, below: Option<u32>| {
            of(below.map(|_| "vlan"), index, name, master, below)
        };
        let over = |all: Vec<Link>| {
            let links = Links { all, problem: None };
            let mut found = links.with_upper(&["eth0".to_owned()]);
            found.retain(|name| name != "eth0");
            for link in &links.all {
                let is_over = found.contains(&link.name);
                assert_eq!(links.is_over(link, &["eth0".to_owned()]), is_over, "{}", link.name);
            }
            found
        };
        let eth0 = |master| link(2, "eth0", master, None);
        for (row, all, wanted) in [
            ("nothing", vec![eth0(None), link(3, "eth1", None, None)], vec![]),
            ("a VLAN", vec![link(3, "eth0.5", None, Some(2)), eth0(None)], vec!["eth0.5"]),
            (
                "a VLAN over a bond, which is listed first",
                vec![
                    link(5, "bond0.100", None, Some(4)),
                    link(4, "bond0", None, None),
                    eth0(Some(4)),
                ],
                vec!["bond0.100", "bond0"],
            ),
            (
                "a VLAN over a bridge over a VLAN",
                vec![
                    eth0(None),
                    link(3, "eth0.5", Some(4), Some(2)),
                    link(4, "br0", None, None),
                    link(5, "br0.10", None, Some(4)),
                    link(6, "br1.10", None, Some(7)),
                ],
                vec!["eth0.5", "br0", "br0.10"],
            ),
            (
                "a circle",
                vec![eth0(Some(3)), link(3, "a", Some(4), None), link(4, "b", Some(3), Some(2))],
                vec!["a", "b"],
            ),
            (
                "a bridge by its kind, and its macvlan",
                vec![
                    eth0(Some(3)),
                    of(Some("bridge"), 3, "br0", None, None),
                    of(Some("macvlan"), 4, "mac0", None, Some(3)),
                ],
                vec!["br0", "mac0"],
            ),
            (
                "a mesh that unpacks what its ports bring",
                vec![eth0(Some(3)), of(Some("batadv"), 3, "bat0", None, None)],
                vec![],
            ),
            (
                "a tunnel that is bound to it, and a VLAN over that",
                vec![
                    eth0(None),
                    of(Some("gretap"), 3, "tap0", None, Some(2)),
                    link(4, "tap0.5", None, Some(3)),
                ],
                vec![],
            ),
        ] {
            assert_eq!(over(all), wanted, "{row}");
        }
    }

    #[test]
    fn every_host_has_loopback() {
        let links = Links::read();
        assert_eq!(links.problem, None);
        let lo = links.named("lo").unwrap();
        assert!(lo.is_loopback && lo.is_ethernet);
        assert!(links.has("127.0.0.1".parse().unwrap()));
        assert!(!links.has("192.0.2.254".parse().unwrap()));
    }
}
