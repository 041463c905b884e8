//! Whether clients can come by an interface: it is on, something is at its other end, and it has an address.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::netlink::{Carries, Interface, Link, Own, addresses, links};

/// Whether clients can come by an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approach {
    /// They can.
    Open,
    /// Nobody knows: it is not there, which other words are said of, or the kernel does not tell.
    Unknown,
    /// It is switched off.
    Off,
    /// It is on, and nothing is at its other end.
    NoCarrier,
    /// Neither it nor what stands over it has an address that a client could connect to.
    NoAddress,
}

impl Approach {
    /// Returns the words for it; none if clients can come, or nobody knows.
    #[must_use]
    pub const fn words(self) -> Option<&'static str> {
        match self {
            Self::Open | Self::Unknown => None,
            Self::Off => Some("down"),
            Self::NoCarrier => Some("no carrier"),
            Self::NoAddress => Some("no address"),
        }
    }

    /// Says what is wrong with the interface of this name, and what to do; none if clients can come, or nobody
    /// knows.
    #[must_use]
    pub fn problem(self, name: &str) -> Option<String> {
        match self {
            Self::Open | Self::Unknown => None,
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

impl Approaches {
    /// Takes into account where the listeners stand; `is_here` tells whether this host takes connections to an address.
    /// Clients find a listener's own address by whichever interface they come, wherever it stands; and where every
    /// listener has one of its own, and none of them is left, no interface leads here.
    pub fn with(mut self, listeners: &[SocketAddr], is_here: impl Fn(SocketAddr) -> bool) -> Self {
        let own: Vec<SocketAddr> = specific(listeners).collect();
        if own.iter().any(|address| is_here(*address)) {
            for by in self.guarded.iter_mut().filter(|by| **by == Approach::NoAddress) {
                (*by, self.cut_off) = (Approach::Open, false);
            }
        } else if !own.is_empty() && own.len() == listeners.len() {
            self.cut_off = true;
        }
        self
    }
}

/// Returns the listeners that stand on one address which other hosts may know: neither on all, nor on loopback.
pub fn specific(listeners: &[SocketAddr]) -> impl Iterator<Item = SocketAddr> {
    let is_specific = |ip: IpAddr| !ip.is_unspecified() && !ip.to_canonical().is_loopback();
    listeners.iter().copied().filter(move |address| is_specific(address.ip()))
}

/// What was seen of a guarded interface; `None` if it is not there.
pub type Seen = io::Result<Option<Interface>>;

/// Looks at the guarded interfaces, and if it is not plain that clients can come, at all others.
#[must_use]
pub fn look(guarded: &[Seen]) -> Approaches {
    let own = addresses();
    let has_own = |interface: &Interface| {
        own.as_ref()
            .is_ok_and(|all| all.iter().any(|own| own.index == interface.index && reached(own.ip)))
    };
    let plain = |seen: &Seen| match seen {
        Ok(Some(one)) if one.carries == Carries::Frames && has_own(one) => Some(Approach::Open),
        Ok(Some(_)) => None,
        Ok(None) | Err(_) => Some(Approach::Unknown),
    };
    let states: Option<Vec<Approach>> = guarded.iter().map(plain).collect();
    if let Some(guarded) = states
        && (guarded.is_empty() || guarded.contains(&Approach::Open))
    {
        return Approaches { guarded, cut_off: false };
    }
    let host: io::Result<_> = own.and_then(|own| Ok((links()?, own)));
    judge(guarded, host.as_ref().ok().map(|(links, own)| (links.as_slice(), own.as_slice())))
}

fn judge(guarded: &[Seen], host: Option<(&[Link], &[Own])>) -> Approaches {
    let of = |seen: &Seen| {
        let Ok(Some(interface)) = seen else { return Approach::Unknown };
        match (interface.carries, host) {
            (Carries::Off, _) => Approach::Off,
            (Carries::NoCarrier, _) => Approach::NoCarrier,
            (Carries::Frames, None) => Approach::Unknown,
            (Carries::Frames, Some((links, own))) if !has_address(interface.index, links, own) => {
                Approach::NoAddress
            }
            (Carries::Frames, Some(_)) => Approach::Open,
        }
    };
    let states: Vec<Approach> = guarded.iter().map(of).collect();
    let is_guarded = |index: u32| guarded.iter().flatten().flatten().any(|one| one.index == index);
    let leads_here = |link: &Link, own: &[Own]| {
        let has_own = own.iter().any(|own| own.index == link.index && reached(own.ip));
        !is_guarded(link.index) && !link.holds_only && link.carries && has_own
    };
    // What the kernel does not tell may be a way in.
    let is_known = guarded.iter().all(Result::is_ok);
    let others = host.is_none_or(|(links, own)| links.iter().any(|link| leads_here(link, own)));
    let cut_off = is_known && !states.is_empty() && !states.contains(&Approach::Open) && !others;
    Approaches { guarded: states, cut_off }
}

/// Tells whether clients that come by an interface find an address: its own, that of the bond or bridge that it is a
/// port of, that of a VLAN over it, or one that the host holds apart from its interfaces, on loopback. Clients that come by
/// loopback or the like are of this host.
#[must_use]
pub fn has_address(index: u32, links: &[Link], own: &[Own]) -> bool {
    let is_held = |index: u32| links.iter().any(|link| link.index == index && link.holds_only);
    let is_port = links.iter().any(|link| link.index == index && link.master.is_some());
    let is_below = links.iter().any(|link| link.below == Some(index) && link.ethernet);
    let mut reached = own.iter().filter(|own| reached(own.ip));
    is_held(index)
        || is_port
        || is_below
        || reached.any(|own| own.index == index || is_held(own.index))
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

    fn interface(index: u32, carries: Carries) -> Interface {
        let name = format!("eth{index}");
        Interface { index, name, kind: None, ethernet: true, carries, program: None }
    }

    fn failed() -> Seen {
        Err(io::ErrorKind::OutOfMemory.into())
    }

    fn link(index: u32) -> Link {
        Link { index, ethernet: true, carries: true, ..Link::default() }
    }

    fn own(index: u32, ip: &str) -> Own {
        Own { index, ip: ip.parse().unwrap() }
    }

    #[test]
    fn an_interface_without_a_way_in_is_told_from_one_whose_address_stands_elsewhere() {
        let seen = |index, carries| -> Seen { Ok(Some(interface(index, carries))) };
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
            let found = judge(&[seen(2, Carries::Frames)], Some((&links, &own)));
            assert_eq!(found.guarded, [wanted], "{row}");
        }
        let found = judge(&[seen(1, Carries::Frames)], Some((&[lo()], &local())));
        assert_eq!(found.guarded, [Approach::Open], "loopback itself");
        let unknown = judge(&[seen(2, Carries::Frames), Ok(None), failed()], None);
        assert_eq!(unknown.guarded, [Approach::Unknown; 3]);
        assert!(!unknown.cut_off);
    }

    #[test]
    fn a_host_is_cut_off_only_if_no_interface_at_all_leads_to_it() {
        let seen = |index, carries| -> Seen { Ok(Some(interface(index, carries))) };
        let links = [Link { holds_only: true, ..link(1) }, link(2), link(3), link(4)];
        let lo = own(1, "192.0.2.9");
        let (off, open) = (Carries::Off, Carries::Frames);
        for (row, guarded, own, cut_off) in [
            ("one of two", vec![seen(2, off), seen(3, open)], vec![own(3, "192.0.2.1")], false),
            ("both", vec![seen(2, off), seen(3, Carries::NoCarrier)], vec![lo], true),
            ("and another is there", vec![seen(2, off)], vec![own(4, "192.0.2.1")], false),
            ("one, and one is not there", vec![seen(2, off), Ok(None)], vec![lo], true),
            ("it is not there", vec![Ok(None)], vec![lo], true),
            ("one, and one is not known", vec![seen(2, off), failed()], vec![lo], false),
            ("no gate", vec![], vec![lo], false),
        ] {
            let found = judge(&guarded, Some((&links, &own)));
            assert_eq!(found.cut_off, cut_off, "{row}");
        }
    }

    #[test]
    fn a_listener_on_an_address_of_its_own_is_reached_by_any_interface_until_that_is_gone() {
        let at = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<_>>();
        let is_here = |address: SocketAddr| address.ip() != IpAddr::from([192, 0, 2, 9]);
        let (lost, here) = ("192.0.2.9:25", "192.0.2.1:25");
        let (without, open) = (Approach::NoAddress, Approach::Open);
        for (row, listeners, by, wanted, cut_off) in [
            ("elsewhere", at(&[here]), without, open, false),
            ("of the link", at(&["[fe80::1]:25"]), without, open, false),
            ("one of two", at(&[lost, here]), without, open, false),
            ("for all", at(&["[::]:25"]), without, without, true),
            ("loopback", at(&["127.0.0.1:25", "[::ffff:127.0.0.1]:26"]), without, without, true),
            ("off all the same", at(&[here]), Approach::Off, Approach::Off, true),
            ("gone", at(&[lost]), without, without, true),
            ("none", vec![], without, without, true),
        ] {
            let found = Approaches { guarded: vec![by], cut_off: true }.with(&listeners, is_here);
            assert_eq!(found, Approaches { guarded: vec![wanted], cut_off }, "{row}");
        }
        for (row, listeners, cut_off) in [
            ("each is gone", at(&[lost, "192.0.2.9:587"]), true),
            ("one is gone", at(&[lost, here]), false),
            ("one is for all", at(&[lost, "[::]:587"]), false),
            ("one is for this host", at(&[lost, "[::1]:587"]), false),
            ("none is there", vec![], false),
        ] {
            let found =
                Approaches { guarded: vec![open], cut_off: false }.with(&listeners, is_here);
            assert_eq!(found, Approaches { guarded: vec![open], cut_off }, "{row}");
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
        for well in [Approach::Open, Approach::Unknown] {
            assert_eq!((well.words(), well.problem("eth0")), (None, None));
        }
    }
}
