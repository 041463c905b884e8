//! Why no way leads to a client, or to a next hop: there is no route, or one that is there to throw away what is sent.

use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};

use super::way::{destination_of, every_route};

/// Why no way leads to a client, or to a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    kind: Kind,
    /// The route that throws away, as `ip route del` takes it; none: a rule of routing does, or that is not known.
    route: Option<String>,
}

/// What the kernel answers instead of a way (`fib_props` of its `fib_semantics.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    NoRoute,
    Blackhole,
    Unreachable,
    Prohibit,
    /// In its words.
    Other(String),
}

impl Lost {
    pub(super) const fn no_route() -> Self {
        Self { kind: Kind::NoRoute, route: None }
    }

    pub(super) fn other(words: &str) -> Self {
        Self { kind: Kind::Other(words.to_owned()), route: None }
    }

    /// Reads the kernel's error.
    pub(super) fn of(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NetworkUnreachable => Kind::NoRoute,
            io::ErrorKind::InvalidInput => Kind::Blackhole,
            io::ErrorKind::HostUnreachable => Kind::Unreachable,
            io::ErrorKind::PermissionDenied => Kind::Prohibit,
            _ => Kind::Other(error.to_string()),
        };
        Self { kind, route: None }
    }

    /// Tells whether no route leads there: one that did may have gone with its interface.
    pub(super) const fn is_for_want_of_route(&self) -> bool {
        matches!(self.kind, Kind::NoRoute)
    }

    /// Looks for the route that throws away what is sent to a client: of several the narrowest. One for everybody is meant:
    /// then it is another that is missing.
    pub(super) fn look_for_route(self, client: IpAddr) -> Self {
        let kind = match &self.kind {
            Kind::NoRoute | Kind::Other(_) => return self,
            Kind::Blackhole => RouteType::BlackHole,
            Kind::Unreachable => RouteType::Unreachable,
            Kind::Prohibit => RouteType::Prohibit,
        };
        let routes = every_route().ok().flatten().unwrap_or_default();
        Self { route: narrowest(&routes, kind, client), ..self }
    }

    /// Returns what to do, as a command where there is one.
    pub(super) fn remedy(&self, client: IpAddr) -> String {
        let name = match &self.kind {
            Kind::NoRoute | Kind::Other(_) => {
                return "ip route add … for its network, or the default route that the network set-up should have made"
                    .to_owned();
            }
            Kind::Blackhole => "blackhole",
            Kind::Unreachable => "unreachable",
            Kind::Prohibit => "prohibit",
        };
        match &self.route {
            Some(route) => format!(
                "ip route del {route}  # if it is not meant; and take it out where the network set-up or a program that bans \
                 makes it"
            ),
            None => format!(
                "ip route show table all type {name} and ip rule show what throws away what is sent to {client}; where that \
                 is the last resort for everybody the route before it is missing: ip route add …"
            ),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.kind {
            Kind::NoRoute => return write!(f, "no route"),
            Kind::Other(words) => return write!(f, "{words}"),
            Kind::Blackhole => "blackhole",
            Kind::Unreachable => "unreachable",
            Kind::Prohibit => "prohibit",
        };
        match &self.route {
            Some(route) => write!(f, "the route \"{route}\" throws it away"),
            None => write!(f, "a route or rule of the type {name} throws it away"),
        }
    }
}

/// Returns the narrowest route of a kind that holds an address, as `ip route del` takes it; none if it is for everybody,
/// or rules of routing may choose another table.
fn narrowest(routes: &[RouteMessage], kind: RouteType, client: IpAddr) -> Option<String> {
    let of_kind = routes.iter().filter(|route| route.header.kind == kind);
    let holds = of_kind.filter_map(|route| {
        let network = destination_of(route)?;
        (network.is_ipv4() == client.is_ipv4() && network.contains(client))
            .then_some((network, route))
    });
    let holds: Vec<_> = holds.collect();
    if holds.iter().any(|(_, route)| table_of(route) != u32::from(RouteHeader::RT_TABLE_MAIN)) {
        return None;
    }
    let narrowest = holds.into_iter().map(|(network, _)| network);
    let network = narrowest.max_by_key(IpNetwork::prefix).filter(|net| net.prefix() > 0)?;
    let name = match kind {
        RouteType::BlackHole => "blackhole",
        RouteType::Prohibit => "prohibit",
        _ => "unreachable",
    };
    Some(format!("{name} {network}"))
}

/// Returns the table of routing that a route stands in.
fn table_of(route: &RouteMessage) -> u32 {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    table.unwrap_or_else(|| route.header.table.into())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rtnetlink::RouteMessageBuilder;

    use super::*;

    fn route(kind: RouteType, net: [u8; 4], length: u8, table: u32) -> RouteMessage {
        let to = Ipv4Addr::from(net);
        let mut route =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, length).build();
        route.header.kind = kind;
        route.attributes.retain(|one| !matches!(one, RouteAttribute::Table(_)));
        route.attributes.push(RouteAttribute::Table(table));
        route
    }

    #[test]
    fn the_narrowest_route_that_throws_away_is_named() {
        let routes = [
            route(RouteType::Unicast, [203, 0, 113, 9], 32, 254),
            route(RouteType::BlackHole, [203, 0, 0, 0], 16, 254),
            route(RouteType::BlackHole, [203, 0, 113, 0], 24, 254),
            route(RouteType::BlackHole, [198, 51, 100, 0], 24, 254),
            route(RouteType::Prohibit, [203, 0, 113, 0], 28, 100),
            route(RouteType::Unreachable, [0, 0, 0, 0], 0, 254),
        ];
        let client = "203.0.113.9".parse().unwrap();
        let named = |kind| narrowest(&routes, kind, client);
        assert_eq!(named(RouteType::BlackHole).as_deref(), Some("blackhole 203.0.113.0/24"));
        assert_eq!(named(RouteType::Prohibit), None, "a rule leads there");
        assert_eq!(named(RouteType::Unreachable), None, "the last resort");
    }

    #[test]
    fn what_the_kernel_says_is_told_by_the_kind_of_route() {
        use io::ErrorKind as E;
        for (error, says, remedy) in [
            (E::NetworkUnreachable, "no route", "ip route add"),
            (E::InvalidInput, "type blackhole", "ip route show table all type blackhole"),
            (E::HostUnreachable, "type unreachable", "ip route show table all type unreachable"),
            (E::PermissionDenied, "type prohibit", "ip route show table all type prohibit"),
        ] {
            let lost = Lost::of(&io::Error::from(error));
            assert!(lost.to_string().contains(says), "{lost}");
            let told = lost.remedy("203.0.113.9".parse().unwrap());
            assert!(told.starts_with(remedy), "{told}");
        }
    }
}
