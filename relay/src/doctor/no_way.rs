//! What is said of a next hop that no way leads to: why the kernel sends nothing there, and which interfaces are off.

use std::net::IpAddr;

use super::links::{Link, Links};
use super::lost::Lost;
use super::way::{Way, way_out};
use super::{Cause, Finding};

/// An interface that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Off {
    name: String,
    /// Whether the gate guards it, so that it is to be on; others may be off on purpose.
    is_guarded: bool,
}

/// Asks the kernel why it sends nothing to an address, and which interfaces are off that may have led there. None if it
/// does send.
pub(super) fn why_lost(to: IpAddr, links: &Links, guarded: &[String]) -> Option<(Lost, Vec<Off>)> {
    let Ok(Way::Nowhere(lost)) = way_out(to, links) else { return None };
    let to = to.to_canonical();
    let off = if lost.is_for_want_of_route() { off(to, links, guarded) } else { Vec::new() };
    Some((lost.look_for_route(to), off))
}

/// Returns the interfaces that are off and may have led to an address. Addresses of IPv6 go when an interface goes down,
/// so that only of those which are to be on it may be said.
fn off(to: IpAddr, links: &Links, guarded: &[String]) -> Vec<Off> {
    let has_v4 = |link: &Link| link.addresses.iter().any(|own| own.ip.is_ipv4());
    let off = links.all.iter().filter(|link| !link.is_loopback && !link.is_up).map(|link| {
        let is_guarded = guarded.contains(&link.name);
        let may_lead = if to.is_ipv4() { has_v4(link) } else { is_guarded };
        may_lead.then(|| Off { name: link.name.clone(), is_guarded })
    });
    let mut off: Vec<Off> = off.flatten().collect();
    off.sort_by_key(|off| !off.is_guarded);
    off
}

/// No way leads there: this host has none, or another says so.
pub(super) fn unreachable(
    hop: &str,
    to: IpAddr,
    words: &str,
    lost: Option<&Lost>,
    off: &[Off],
) -> Finding {
    let (why, remedy) = match (lost, off) {
        (Some(lost), []) => (format!("this host has no way to {to} ({lost})"), lost.remedy(to)),
        (Some(lost), [first, ..]) => {
            let names: Vec<_> = off.iter().map(|off| off.name.as_str()).collect();
            let says =
                format!("this host has no way to {to} ({lost}), and {} is off", names.join(", "));
            let (on, else_) = (format!("ip link set {} up", first.name), lost.remedy(to));
            // Another may be off on purpose.
            let remedy = if first.is_guarded {
                format!("{on}  # if that led there: its routes went with it; else {else_}")
            } else {
                format!("{else_}; or {on}, if that is meant to be on and led there")
            };
            (says, remedy)
        }
        (None, _) => (
            words.to_owned(),
            format!(
                "ip route get {to}  # the way there; a host on it says that it leads no further, or {to} itself answers \
                 nothing there (ip neigh)"
            ),
        ),
    };
    Finding::new(Cause::HopUnreachable, format!("{hop} cannot be reached: {why}"), remedy)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::links::Owned;
    use super::*;

    #[test]
    fn where_no_way_leads_to_it_the_remedy_is_a_command() {
        let to = "192.0.2.1".parse().unwrap();
        let of = |error: io::ErrorKind| Lost::of(&error.into());
        let no_route = || Some(Lost::no_route());
        let off = |name: &str, is_guarded| Off { name: name.into(), is_guarded };
        for (lost, off, says, begins) in [
            (no_route(), vec![], "no way to 192.0.2.1 (no route)", "ip route add"),
            (no_route(), vec![off("eth1", true)], "and eth1 is off", "ip link set eth1 up  # "),
            (
                no_route(),
                vec![off("eth1", true), off("eth2", false)],
                "and eth1, eth2 is off",
                "ip link set eth1 up  # ",
            ),
            (no_route(), vec![off("eth2", false)], "and eth2 is off", "ip route add"),
            (
                Some(of(io::ErrorKind::InvalidInput)),
                vec![],
                "type blackhole throws it away",
                "ip route show table all type blackhole",
            ),
            (None, vec![], "cannot be reached: No route to host", "ip route get 192.0.2.1  # "),
        ] {
            let told = unreachable("hop:25", to, "No route to host", lost.as_ref(), &off);
            assert!(told.says.contains(says), "{}", told.says);
            assert!(told.remedy.starts_with(begins), "{}", told.remedy);
        }
    }

    #[test]
    fn an_interface_that_is_off_is_named_for_the_family_that_it_led_to() {
        let link = |name: &str, own: &[&str], is_up| {
            let own = own.iter().map(|ip| Owned { ip: ip.parse().unwrap(), is_duplicate: false });
            Link { name: name.into(), is_up, addresses: own.collect(), ..Link::default() }
        };
        let links = Links {
            all: vec![
                link("four", &["192.0.2.1"], false),
                link("six", &["2001:db8::1"], false),
                link("on", &["192.0.2.2", "2001:db8::2"], true),
                link("none", &[], false),
                link("gate", &[], false),
                link("gate4", &["192.0.2.3"], false),
            ],
            problem: None,
        };
        let guarded = ["gate".to_owned(), "gate4".to_owned(), "on".to_owned()];
        let told = |to: &str, guarded: &[String]| -> Vec<(String, bool)> {
            let off = off(to.parse().unwrap(), &links, guarded);
            off.into_iter().map(|off| (off.name, off.is_guarded)).collect()
        };
        let one = |name: &str, is_guarded| (name.to_owned(), is_guarded);
        assert_eq!(told("192.0.2.9", &guarded), [one("gate4", true), one("four", false)]);
        assert_eq!(told("2001:db8::9", &guarded), [one("gate", true), one("gate4", true)]);
        assert_eq!(told("2001:db8::9", &[]), []);
    }
}
