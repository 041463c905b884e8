//! Where clients come in: the interfaces on their way, and the addresses that they may connect to.

use std::net::IpAddr;

use crate::doctor::links::{Link, Links};

/// The most addresses by which rules for one address are judged. Where there are more, such a rule may be in the way.
const ADDRESSES_MAX: usize = 16;

/// Where clients come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entrance {
    /// The interfaces on their way: a guarded one, the bond that it is a port of, a VLAN over that.
    pub devices: Vec<String>,
    /// Those of them that hand over to the host, as far as that can be told: they have the addresses.
    pub comes_by: Vec<String>,
    /// The addresses that clients may connect to; none if they are not known.
    own: Option<Vec<IpAddr>>,
}

impl Entrance {
    /// Returns that by the guarded interfaces; where there is no gate, by all.
    pub(super) fn of(links: &Links, guarded: Option<&[String]>) -> Self {
        let devices = guarded.map_or_else(
            || {
                let open = links.all.iter().filter(|link| !link.is_loopback && link.is_up);
                open.map(|link| link.name.clone()).collect()
            },
            |guarded| links.with_upper(guarded),
        );
        let on_way = || devices.iter().filter_map(|name| links.named(name));
        // A domain of routing stands for its interfaces, and may have no address.
        let hands_over = |link: &&Link| link.is_addressed() || link.kind.as_deref() == Some("vrf");
        let comes_by: Vec<_> = on_way().filter(hands_over).map(|link| link.name.clone()).collect();
        // A balancer's address is often one of loopback.
        let with_addresses = on_way().chain(links.all.iter().filter(|link| link.is_loopback));
        let own = with_addresses.flat_map(Link::reachable).filter(|ip| !ip.is_loopback()).collect();
        Self {
            comes_by: if comes_by.is_empty() { devices.clone() } else { comes_by },
            devices,
            own: links.problem.is_none().then_some(own),
        }
    }

    /// Tells whether clients may connect over a family; where that is not known, they may.
    pub(super) fn has(&self, is_v4: bool) -> bool {
        self.own.as_ref().is_none_or(|own| own.iter().any(|ip| ip.is_ipv4() == is_v4))
    }

    /// Returns the addresses of a family that clients may connect to; none if they are not known, or too many.
    pub(super) fn addresses(&self, is_v4: bool) -> Vec<IpAddr> {
        let own = self.own.iter().flatten().copied().filter(|ip| ip.is_ipv4() == is_v4);
        let own: Vec<_> = own.take(ADDRESSES_MAX + 1).collect();
        if own.len() > ADDRESSES_MAX { Vec::new() } else { own }
    }
}
