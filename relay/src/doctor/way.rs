//! The way that packets take from here, and back to a client: the kernel is asked, nothing is sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;

use futures_util::TryStreamExt as _;
use ipnetwork::IpNetwork;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::links::{Link, Links, talk};
use super::lost::Lost;
use crate::config::Listener;

/// The most addresses of ours from which the way is asked.
const SOURCES_MAX: usize = 16;
/// The most routes that are looked through.
const ROUTES_MAX: usize = 100_000;

/// Where packets to an address go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the interface with this name.
    By(String),
    /// To this host itself.
    Here,
    /// Nowhere, and why.
    Nowhere(Lost),
}

/// Where answers to a client begin: rules of routing may choose by both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Source {
    /// The address that the client connected to; none: the kernel chooses one.
    address: Option<IpAddr>,
    /// The index of the domain of routing (VRF) that its interface is in.
    domain: Option<u32>,
}

/// Asks by which way answers go back to a client, from every address of ours that it may have connected to; the
/// best counts: one by a guarded interface, else any.
///
/// # Errors
///
/// What the kernel said, if it tells no way at all.
pub(super) fn way_back(
    client: IpAddr,
    listeners: &[Listener],
    guarded: &[String],
    links: &Links,
) -> io::Result<Way> {
    let client = client.to_canonical();
    let mut best: io::Result<Way> = Ok(Way::Nowhere(Lost::no_route()));
    let rank = |way: &io::Result<Way>| match way {
        Ok(Way::By(name)) if guarded.contains(name) => 0,
        Ok(Way::Here) => 1,
        Ok(Way::By(_)) => 2,
        Ok(Way::Nowhere(_)) => 3,
        Err(_) => 4,
    };
    for (at, source) in sources(client.is_ipv4(), listeners, guarded, links).into_iter().enumerate()
    {
        let way = way_to(client, source, links);
        if at == 0 || rank(&way) < rank(&best) {
            best = way;
        }
    }
    best.map(|way| match way {
        Way::Nowhere(lost) => Way::Nowhere(lost.look_for_route(client)),
        way @ (Way::By(_) | Way::Here) => way,
    })
}

/// Returns the addresses that a client of a family may have connected to; one that is nobody's if there are none.
fn sources(is_v4: bool, listeners: &[Listener], guarded: &[String], links: &Links) -> Vec<Source> {
    let is_at = |own: IpAddr, listens: IpAddr| {
        let is_for_all = listens.is_unspecified() && (listens.is_ipv6() || own.is_ipv4());
        is_for_all || listens.to_canonical() == own
    };
    let listens = |own: IpAddr| listeners.iter().any(|one| is_at(own, one.address.ip()));
    let by = links
        .all
        .iter()
        .filter(|link| !link.is_loopback && (guarded.is_empty() || guarded.contains(&link.name)));
    let of = |link: &Link| {
        let domain = links.domain_of(link).map(|domain| domain.index);
        let own = link.addresses.iter().filter(|own| !own.is_duplicate).map(|own| own.ip);
        let own: Vec<_> = own.filter(|ip| ip.is_ipv4() == is_v4 && listens(*ip)).collect();
        own.into_iter().map(move |ip| Source { address: Some(ip), domain })
    };
    let found: Vec<_> = by.flat_map(of).take(SOURCES_MAX).collect();
    if found.is_empty() { vec![Source::default()] } else { found }
}

/// Asks by which way a connection from here to an address begins.
///
/// # Errors
///
/// What the kernel said, if it tells no way at all.
pub(super) fn way_out(target: IpAddr, links: &Links) -> io::Result<Way> {
    way_to(target.to_canonical(), Source::default(), links)
}

fn way_to(target: IpAddr, source: Source, links: &Links) -> io::Result<Way> {
    let asked = question(target, source);
    let route = talk(async |handle| handle.route().get(asked).execute().try_next().await);
    let route = match route {
        Ok(Some(route)) => route,
        Ok(None) => return Ok(Way::Nowhere(Lost::no_route())),
        Err(rtnetlink::Error::NetlinkError(error)) => {
            return Ok(Way::Nowhere(Lost::of(&error.to_io())));
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    if route.header.kind == RouteType::Local {
        return Ok(Way::Here);
    }
    let by = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let name = by.and_then(|by| links.all.iter().find(|link| link.index == by));
    Ok(name.map_or_else(
        || Way::Nowhere(Lost::other("by no interface")),
        |link| Way::By(link.name.clone()),
    ))
}

/// Returns the networks to which this host has a route, in whatever table of routing; none if they are more than are
/// looked at. Blocks until the kernel has listed them.
///
/// # Errors
///
/// What the kernel said.
pub(super) fn destinations() -> io::Result<Option<Vec<IpNetwork>>> {
    Ok(every_route()?.map(|routes| routes.iter().filter_map(destination).collect()))
}

/// Returns every route of this network, in whatever table; none if they are more than are looked at. Blocks until the
/// kernel has listed them.
///
/// # Errors
///
/// What the kernel said.
pub(super) fn every_route() -> io::Result<Option<Vec<RouteMessage>>> {
    let listed = talk(async |handle| {
        let mut found = Vec::new();
        // One after the other: the kernel lists once at a time on a socket.
        for asked in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            let mut listed = pin!(handle.route().get(asked).execute());
            while let Some(route) = listed.try_next().await? {
                if found.len() == ROUTES_MAX {
                    return Ok(None);
                }
                found.push(route);
            }
        }
        Ok(Some(found))
    });
    listed.map_err(io::Error::other)
}

/// Returns where a route leads to; none of one by which nothing is sent to one host.
fn destination(route: &RouteMessage) -> Option<IpNetwork> {
    let leads = matches!(route.header.kind, RouteType::Unicast | RouteType::Local | RouteType::Nat);
    destination_of(route).filter(|_| leads)
}

/// Returns the network that a route is for, whatever it does.
pub(super) fn destination_of(route: &RouteMessage) -> Option<IpNetwork> {
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(IpAddr::from(*to)),
        RouteAttribute::Destination(RouteAddress::Inet6(to)) => Some(IpAddr::from(*to)),
        _ => None,
    });
    // The default route names none.
    let any = match route.header.address_family {
        AddressFamily::Inet => Some(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => Some(IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        _ => None,
    };
    IpNetwork::new(to.or(any)?, route.header.destination_prefix_length).ok()
}

/// Writes the question of RTM_GETROUTE (rtnetlink(7)).
fn question(target: IpAddr, Source { address, domain }: Source) -> RouteMessage {
    match target {
        IpAddr::V4(target) => {
            let mut asked = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(target, 32);
            if let Some(IpAddr::V4(address)) = address {
                asked = asked.source_prefix(address, 32);
            }
            match domain {
                Some(domain) => asked.output_interface(domain).build(),
                None => asked.build(),
            }
        }
        IpAddr::V6(target) => {
            let mut asked = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(target, 128);
            if let Some(IpAddr::V6(address)) = address {
                asked = asked.source_prefix(address, 128);
            }
            match domain {
                Some(domain) => asked.output_interface(domain).build(),
                None => asked.build(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::links::Owned;
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_host_has_a_way_to_itself() {
        let links = Links::read();
        let home = "127.0.0.1".parse().unwrap();
        assert_eq!(way_to(home, Source::default(), &links).unwrap(), Way::Here);
        let from_there = Source { address: Some(home), domain: None };
        assert_eq!(way_to(home, from_there, &links).unwrap(), Way::Here);
    }

    #[test]
    fn every_host_has_a_route_to_itself_and_none_that_leads_nowhere() {
        let found = destinations().unwrap().unwrap();
        assert!(found.iter().any(|net| net.contains([127, 0, 0, 1].into())), "{found:?}");
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new().build();
        assert_eq!(destination(&route).unwrap().to_string(), "0.0.0.0/0");
        route.header.kind = RouteType::Unreachable;
        assert_eq!(destination(&route), None);
    }

    #[test]
    fn answers_begin_at_what_clients_connect_to() {
        let own = |text: &str| Owned { ip: text.parse().unwrap(), is_duplicate: false };
        let link = |index, name: &str, addresses: &[&str]| Link {
            index,
            name: name.into(),
            addresses: addresses.iter().map(|text| own(text)).collect(),
            ..Link::default()
        };
        let domain = Link { kind: Some("vrf".into()), ..link(9, "red", &[]) };
        let eth0 = Link { master: Some(9), ..link(2, "eth0", &["192.0.2.1", "192.0.2.2"]) };
        let links = Links {
            all: vec![eth0, link(3, "eth1", &["198.51.100.1", "2001:db8::1"]), domain],
            problem: None,
        };
        let guarded =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (row, listener, guarded, is_v4, wanted) in [
            ("one address", "192.0.2.2:25", guarded(&["eth0"]), true, vec![("192.0.2.2", Some(9))]),
            (
                "all of the guarded interface",
                "[::]:25",
                guarded(&["eth0"]),
                true,
                vec![("192.0.2.1", Some(9)), ("192.0.2.2", Some(9))],
            ),
            ("the other family", "[::]:25", guarded(&["eth1"]), false, vec![("2001:db8::1", None)]),
            ("IPv4 alone", "0.0.0.0:25", guarded(&["eth1"]), false, vec![]),
            ("no gate", "198.51.100.1:25", guarded(&[]), true, vec![("198.51.100.1", None)]),
        ] {
            let text = format!(
                "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n[gate]\nrequired = false\n\
                 [[listener]]\naddress = '{listener}'\n"
            );
            let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
            let found = sources(is_v4, &config.listeners, &guarded, &links);
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(ip, domain)| Source { address: Some(ip.parse().unwrap()), domain })
                .collect();
            let wanted = if wanted.is_empty() { vec![Source::default()] } else { wanted };
            assert_eq!(found, wanted, "{row}");
        }
    }
}
