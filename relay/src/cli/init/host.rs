//! What can be seen of the host before anything is written: the operator's own session, who listens, interfaces.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use ipnetwork::IpNetwork;
use nix::ifaddrs::getifaddrs;

use crate::doctor::holders::{Holder, holders};
use crate::gate::clients::listening;
use crate::gate::netlink::{Interface, interface};
use crate::gate::{InterfaceState, View};

/// The most ancestors of this process whose environment is looked at: shells, `sudo`, a screen.
const ANCESTORS_MAX: usize = 32;

/// The operator's own way in (ssh(1), `SSH_CONNECTION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where the operator sits.
    pub client: IpAddr,
    /// The port of this host that the session came in by.
    pub port: u16,
}

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address.
    pub address: SocketAddr,
    /// The programs that hold it; of other users' processes only root sees them.
    pub holders: Vec<Holder>,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The operator's own session; none if it is no session of ssh.
    pub session: Option<Session>,
    /// Who listens on the port that is to be guarded.
    pub listeners: Vec<Listener>,
    /// The interfaces that are to be guarded, by name; none: there is no such.
    pub interfaces: Vec<(String, Option<Interface>)>,
    /// Those of them on which our gate's program stands.
    pub guarded: Vec<String>,
    /// Why the address to listen on cannot be had; none: it can.
    pub address: Option<String>,
}

impl Seen {
    /// Looks at what concerns these interfaces and this address, and at the pins of a gate of ours.
    ///
    /// # Errors
    ///
    /// If the kernel does not say who listens, or which interfaces there are.
    pub fn look(interfaces: &[String], listen: SocketAddr, pins: &Path) -> io::Result<Self> {
        let on_port = listening()?.into_iter().filter(|one| one.address.port() == listen.port());
        let listeners = on_port.map(|one| Listener {
            address: one.address,
            holders: holders(&[one]).remove(&one.inode).unwrap_or_default(),
        });
        let found = interfaces.iter().map(|name| Ok((name.clone(), interface(name)?)));
        // Port 0 is any that is free: only the address is tried.
        let address = TcpListener::bind((listen.ip(), 0)).err().map(|error| error.to_string());
        Ok(Self {
            session: session(),
            listeners: listeners.collect(),
            interfaces: found.collect::<io::Result<_>>()?,
            guarded: guarded(interfaces, pins),
            address,
        })
    }
}

/// Returns those of these interfaces on which the program stands that is pinned here.
fn guarded(interfaces: &[String], pins: &Path) -> Vec<String> {
    // Without tables there is no gate of ours.
    let health = View::open(pins).map(|view| view.health(interfaces)).unwrap_or_default();
    let ours = health.into_iter().filter(|one| matches!(one.state, InterfaceState::Guarded { .. }));
    ours.map(|one| one.interface).collect()
}

/// Returns the operator's own session: by this process's environment, or by an ancestor's, since `sudo` takes it
/// away.
#[must_use]
pub fn session() -> Option<Session> {
    if let Ok(own) = std::env::var("SSH_CONNECTION") {
        return read_session(&own);
    }
    let mut process = "self".to_owned();
    for _ in 0..ANCESTORS_MAX {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let mut entries = environment.split(|octet| *octet == 0);
        let found = entries.find_map(|entry| entry.strip_prefix(b"SSH_CONNECTION="));
        if let Some(found) = found {
            return read_session(std::str::from_utf8(found).ok()?);
        }
        process = parent(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?;
    }
    None
}

/// Reads the parent's number from a process's state (proc(5)): the second word after its name, which is in round
/// brackets and may hold any.
fn parent(stat: &str) -> Option<String> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1).filter(|parent| *parent != "0").map(str::to_owned)
}

fn read_session(text: &str) -> Option<Session> {
    let mut words = text.split_whitespace();
    // A link-local address has its interface behind it.
    let client = words.next()?.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical();
    let port = words.nth(2)?.parse().ok()?;
    Some(Session { client, port })
}

/// Returns the network to offer for the operator's session: the one that both stand in, if they share one, else
/// the address alone, of IPv6 its /64. None for a session of the host with itself.
#[must_use]
pub fn network_of(session: Session) -> Option<IpNetwork> {
    let own = own_networks().into_iter().map(|(_, network)| network);
    // A point-to-point link has a network of a single address.
    let mut shared =
        own.filter(|network| network.prefix() < if network.is_ipv4() { 32 } else { 128 });
    let shared = shared.find(|network| network.contains(session.client));
    offered(session.client, shared)
}

fn offered(client: IpAddr, shared: Option<IpNetwork>) -> Option<IpNetwork> {
    if is_local(client) {
        return None;
    }
    let bits = if client.is_ipv4() { 32 } else { 64 };
    let network = shared.or_else(|| IpNetwork::new(client, bits).ok())?;
    IpNetwork::new(network.network(), network.prefix()).ok()
}

const fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Returns the addresses of this host with their networks, each after the name of its interface, in their order.
fn own_networks() -> Vec<(String, IpNetwork)> {
    let all = getifaddrs().into_iter().flatten();
    let networks = all.filter_map(|found| {
        let (address, mask) = (found.address?, found.netmask?);
        let network =
            if let (Some(ip), Some(mask)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
                IpNetwork::with_netmask(ip.ip().into(), mask.ip().into())
            } else {
                let (ip, mask) = (address.as_sockaddr_in6()?, mask.as_sockaddr_in6()?);
                IpNetwork::with_netmask(ip.ip().into(), mask.ip().into())
            };
        Some((found.interface_name, network.ok()?))
    });
    let mut networks: Vec<_> = networks.collect();
    networks.sort();
    networks
}

/// Returns the interfaces of the default routes; without one the only interface that others can reach.
#[must_use]
pub fn default_interfaces() -> Vec<String> {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
    let found = by_default(&read("route"), &read("ipv6_route"));
    if !found.is_empty() {
        return found;
    }
    let mut reached: Vec<String> = own_networks()
        .into_iter()
        .filter(|(_, network)| !is_local(network.ip()))
        .map(|(name, _)| name)
        .collect();
    reached.dedup();
    if reached.len() == 1 { reached } else { Vec::new() }
}

/// Reads the tables of routes (proc(5)): of IPv4 with the interface first, then destination, gateway, flags, three
/// counts and the mask; of IPv6 with the destination and its length first, and the interface last.
fn by_default(v4: &str, v6: &str) -> Vec<String> {
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_default = words.get(1)? == &"00000000" && words.get(7)? == &"00000000";
        // A route that refuses stands on no interface, which is written as a star.
        (is_default && words[0] != "*").then(|| words[0])
    });
    let v6 = v6.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_any = words.first()?.bytes().all(|digit| digit == b'0') && words.get(1)? == &"00";
        (is_any && words.len() == 10 && words[9] != "lo").then(|| words[9])
    });
    let mut names: Vec<String> = Vec::new();
    for name in v4.chain(v6) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Returns where to listen: on every address of the host.
#[must_use]
pub fn every_address() -> SocketAddr {
    // A host without IPv6 cannot listen on [::].
    let ip = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Err(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 2525)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_from_what_ssh_says_of_it() {
        let read =
            |text| read_session(text).map(|session| (session.client.to_string(), session.port));
        assert_eq!(read("203.0.113.7 50312 192.0.2.1 22"), Some(("203.0.113.7".into(), 22)));
        assert_eq!(read("::ffff:203.0.113.7 1 ::1 2222"), Some(("203.0.113.7".into(), 2222)));
        assert_eq!(read("fe80::1%eth0 1 fe80::2%eth0 22"), Some(("fe80::1".into(), 22)));
        for text in
            ["", "203.0.113.7", "203.0.113.7 1 192.0.2.1", "x 1 y 22", "203.0.113.7 1 y 70000"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_parent_is_found_whatever_the_process_is_called() {
        assert_eq!(parent("12 (a) b) S) S 7 1 1"), Some("7".into()));
        assert_eq!(parent("1 (init) S 0 1 1"), None);
        assert_eq!(parent(""), None);
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert_eq!(parent(&own), Some(std::os::unix::process::parent_id().to_string()));
    }

    #[test]
    fn what_is_offered_is_no_wider_than_the_operators_own_network() {
        let of = |client: &str, shared: Option<&str>| {
            let shared = shared.map(|network| network.parse().unwrap());
            offered(client.parse().unwrap(), shared).map(|network| network.to_string())
        };
        assert_eq!(of("203.0.113.7", None), Some("203.0.113.7/32".into()));
        assert_eq!(of("192.0.2.7", Some("192.0.2.1/24")), Some("192.0.2.0/24".into()));
        assert_eq!(of("2001:db8::7:1", None), Some("2001:db8::/64".into()));
        assert_eq!(of("127.0.0.1", Some("127.0.0.1/8")), None);
        assert_eq!(of("fe80::1", Some("fe80::2/64")), None);
    }

    #[test]
    fn default_routes_of_both_families_are_read() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  *\t00000000\t00000000\t0200\t0\t0\t4294967295\t00000000\t0\t0\t0\n\
                  eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                  tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
        let any = "0".repeat(32);
        let line = |to: &str, bits: &str, name: &str| {
            format!("{to} {bits} {any} 00 fe80{} 00000400 0 0 00000003 {name}\n", "0".repeat(28))
        };
        let v6 = [
            line(&any, "00", "eth0"),
            line(&any, "00", "eth2"),
            line(&any, "00", "lo"),
            line(&any, "03", "eth3"),
        ]
        .concat();
        assert_eq!(by_default(v4, &v6), ["eth0", "eth2"]);
        assert!(by_default("", "").is_empty());
    }
}
