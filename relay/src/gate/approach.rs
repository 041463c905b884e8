//! Whether clients can come by an interface: it is on, something is at its other end, and it has an address.

use std::io;
use std::net::IpAddr;

use super::netlink::{Carries, Interface, Link, Own, addresses, links};

/// Whether clients can come by an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approach {
    /// They can, or nobody knows.
    Open,
    /// It is switched off.
    Off,
    /// It is on, and nothing is at its other end.
    NoCarrier,
    /// Neither it nor what stands over it has an address that a client could connect to.
    NoAddress,
}

impl Approach {
    /// Returns the words for it; none if clients can come.
    #[must_use]
    pub const fn words(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Off => Some("down"),
            Self::NoCarrier => Some("no carrier"),
            Self::NoAddress => Some("no address"),
        }
    }

    /// Says what is wrong with the interface of this name, and what to do; none if clients can come.
    #[must_use]
    pub fn problem(self, name: &str) -> Option<String> {
        match self {
            Self::Open => None,
            Self::Off => Some(format!(
                "it is switched off, so no client comes by it; `ip link set dev {name} up`"
            )),
            Self::NoCarrier => Some(format!(
                "it has no carrier, so no client comes by it: no cable, or its other end is off; see `ip -d link show \
                 dev {name}`"
            )),
            Self::NoAddress => Some(format!(
                "it has no address that a client could connect to; `ip address add ADDRESS/PREFIX dev {name}`, and see \
                 why the network set-up gave it none"
            )),
        }
    }
}

/// How clients can come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approaches {
    /// By each guarded interface, in their order.
    pub guarded: Vec<Approach>,
    /// Whether none can from another host: neither by a guarded interface nor by any other.
    pub cut_off: bool,
}

/// Looks at the guarded interfaces, and if clients cannot come by one of them, at all others. One that is not there is
/// taken for open, as is what the kernel does not tell: other words are said of that.
#[must_use]
pub fn look(guarded: &[Option<Interface>]) -> Approaches {
    let own = addresses();
    let has_own = |interface: &Interface| {
        own.as_ref()
            .is_ok_and(|all| all.iter().any(|own| own.index == interface.index && reached(own.ip)))
    };
    let is_plain =
        |interface: &Interface| interface.carries == Carries::Frames && has_own(interface);
    if guarded.iter().flatten().all(is_plain) {
        return Approaches { guarded: vec![Approach::Open; guarded.len()], cut_off: false };
    }
    let host: io::Result<_> = own.and_then(|own| Ok((links()?, own)));
    judge(guarded, host.as_ref().ok().map(|(links, own)| (links.as_slice(), own.as_slice())))
}

fn judge(guarded: &[Option<Interface>], host: Option<(&[Link], &[Own])>) -> Approaches {
    let of = |interface: &Option<Interface>| {
        let Some(interface) = interface else { return Approach::Open };
        match (interface.carries, host) {
            (Carries::Off, _) => Approach::Off,
            (Carries::NoCarrier, _) => Approach::NoCarrier,
            (Carries::Frames, Some((links, own))) if !has_address(interface.index, links, own) => {
                Approach::NoAddress
            }
            (Carries::Frames, _) => Approach::Open,
        }
    };
    let states: Vec<Approach> = guarded.iter().map(of).collect();
    let is_guarded =
        |index: u32| guarded.iter().flatten().any(|interface| interface.index == index);
    let leads_here = |link: &Link, own: &[Own]| {
        let has_own = own.iter().any(|own| own.index == link.index && reached(own.ip));
        !is_guarded(link.index) && !link.holds_only && link.carries && has_own
    };
    let others = host.is_none_or(|(links, own)| links.iter().any(|link| leads_here(link, own)));
    let cut_off = !states.is_empty() && !states.contains(&Approach::Open) && !others;
    Approaches { guarded: states, cut_off }
}

/// Tells whether clients that come by an interface find an address: its own, that of the bond or bridge that it is a
/// port of, that of a VLAN over it, or one that the host holds apart from its interfaces, on loopback.
fn has_address(index: u32, links: &[Link], own: &[Own]) -> bool {
    let is_held = |index: u32| links.iter().any(|link| link.index == index && link.holds_only);
    let is_port = links.iter().any(|link| link.index == index && link.master.is_some());
    let is_below = links.iter().any(|link| link.below == Some(index) && link.ethernet);
    let mut reached = own.iter().filter(|own| reached(own.ip));
    is_port || is_below || reached.any(|own| own.index == index || is_held(own.index))
}

/// Tells whether other hosts can connect to an address, those behind a router included.
const fn reached(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(index: u32, carries: Carries) -> Interface {
        let name = format!("eth{index}");
        Interface { index, name, kind: None, ethernet: true, carries, program: None }
    }

    fn link(index: u32) -> Link {
        Link { index, ethernet: true, carries: true, ..Link::default() }
    }

    fn own(index: u32, ip: &str) -> Own {
        Own { index, ip: ip.parse().unwrap() }
    }

    #[test]
    fn an_interface_without_a_way_in_is_told_from_one_whose_address_stands_elsewhere() {
        let lo = || Link { holds_only: true, ..link(1) };
        let over = |link: Link, below| Link { below: Some(below), ..link };
        let port = |link: Link, master| Link { master: Some(master), ..link };
        let tunnel = || Link { ethernet: false, ..over(link(9), 2) };
        let local = || vec![own(1, "127.0.0.1"), own(1, "::1"), own(2, "fe80::1")];
        let and = |ip: Own| [local(), vec![ip]].concat();
        let rows = [
            ("its own", vec![lo(), link(2)], and(own(2, "192.0.2.1")), Approach::Open),
            ("of IPv6", vec![lo(), link(2)], and(own(2, "2001:db8::1")), Approach::Open),
            ("none", vec![lo(), link(2)], local(), Approach::NoAddress),
            ("by no DHCP", vec![lo(), link(2)], and(own(2, "169.254.1.1")), Approach::NoAddress),
            ("on loopback", vec![lo(), link(2)], and(own(1, "192.0.2.1")), Approach::Open),
            (
                "on another",
                vec![lo(), link(2), link(3)],
                and(own(3, "192.0.2.1")),
                Approach::NoAddress,
            ),
            (
                "of a VLAN",
                vec![lo(), link(2), over(link(3), 2)],
                and(own(3, "192.0.2.1")),
                Approach::Open,
            ),
            (
                "of a bond",
                vec![lo(), port(link(2), 3), link(3)],
                and(own(3, "192.0.2.1")),
                Approach::Open,
            ),
            (
                "in a tunnel",
                vec![lo(), link(2), tunnel()],
                and(own(9, "192.0.2.1")),
                Approach::NoAddress,
            ),
        ];
        for (row, links, own, wanted) in rows {
            let found = judge(&[Some(seen(2, Carries::Frames))], Some((&links, &own)));
            assert_eq!(found.guarded, [wanted], "{row}");
        }
        let unknown = judge(&[Some(seen(2, Carries::Frames)), None], None);
        assert_eq!(unknown.guarded, [Approach::Open; 2]);
    }

    #[test]
    fn a_host_is_cut_off_only_if_no_interface_at_all_leads_to_it() {
        let links = [Link { holds_only: true, ..link(1) }, link(2), link(3), link(4)];
        let lo = own(1, "192.0.2.9");
        let (off, open) = (Carries::Off, Carries::Frames);
        for (row, guarded, own, cut_off) in [
            (
                "one of two",
                vec![Some(seen(2, off)), Some(seen(3, open))],
                vec![own(3, "192.0.2.1")],
                false,
            ),
            ("both", vec![Some(seen(2, off)), Some(seen(3, Carries::NoCarrier))], vec![lo], true),
            ("and another is there", vec![Some(seen(2, off))], vec![own(4, "192.0.2.1")], false),
            ("no gate", vec![], vec![lo], false),
        ] {
            let found = judge(&guarded, Some((&links, &own)));
            assert_eq!(found.cut_off, cut_off, "{row}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        for (approach, words, command) in [
            (Approach::Off, "down", "`ip link set dev eth0 up`"),
            (Approach::NoCarrier, "no carrier", "`ip -d link show dev eth0`"),
            (Approach::NoAddress, "no address", "`ip address add ADDRESS/PREFIX dev eth0`"),
        ] {
            assert_eq!(approach.words(), Some(words));
            assert!(approach.problem("eth0").unwrap().contains(command), "{words}");
        }
        assert_eq!((Approach::Open.words(), Approach::Open.problem("eth0")), (None, None));
    }
}
