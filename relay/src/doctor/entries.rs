//! The allowlist as a whole: whether it admits anybody, and whether answers find back to those whom it admits.

use std::time::Duration;

use ipnetwork::IpNetwork;

use super::client::is_served;
use super::links::Link;
use super::way::destinations;
use super::{Case, Cause, Finding, Looked, Process};
use crate::control::client::ask_soon;
use crate::control::wire::{AllowPage, GateRequest, GateStatus};
use crate::gate;

/// How long the gate may take to list its entries.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most entries that are looked at, which is as many as the gate lists at once.
const ENTRIES_MAX: usize = 500;
/// The most networks that are named.
pub(super) const NAMED_MAX: usize = 3;

/// The entries of the allowlist, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    networks: Vec<IpNetwork>,
    /// Whether there are no others.
    is_whole: bool,
    /// Why others, or all, are not known.
    left_out: Option<String>,
}

impl Entries {
    /// Asks the gate's process for them; where it is dead they are those that the configuration declares.
    pub(super) fn ask(case: &Case) -> Self {
        let unknown = |why: String| Self { left_out: Some(why), ..Self::default() };
        match &case.gate {
            Process::Says(_) => {
                let question = GateRequest::AllowPage { find: None, from: 0, limit: ENTRIES_MAX };
                let socket = &case.config.gate.socket;
                match ask_soon::<_, AllowPage>(PATIENCE, socket, "gate", &question) {
                    Ok(page) => Self::of(&page),
                    Err(error) => unknown(format!("allowlist: the gate does not list it: {error}")),
                }
            }
            Process::Dead if case.is_guarded() && case.config.gate.allow.is_empty() => unknown(
                "allowlist: the configuration declares no entry, and without the gate's process those of `allow \
                 add` are not listed"
                    .to_owned(),
            ),
            Process::Dead => {
                let networks = case.config.gate.allow.iter().map(|entry| entry.cidr).collect();
                Self { networks, ..Self::default() }
            }
            Process::Silent(_) | Process::Unasked(_) => {
                unknown("allowlist: how long it is says the gate's process only".to_owned())
            }
        }
    }

    fn of(page: &AllowPage) -> Self {
        let networks: Vec<_> = page.entries.iter().map(|entry| entry.cidr).collect();
        let is_whole = page.found <= networks.len();
        let left_out = (!is_whole).then(|| {
            format!(
                "allowlist: of more than its first {ENTRIES_MAX} entries whether answers find back to them, and whether \
                 bans or rules of the firewall are for them"
            )
        });
        Self { networks, is_whole, left_out }
    }

    /// Returns those that are known.
    pub(super) fn networks(&self) -> &[IpNetwork] {
        &self.networks
    }

    /// Tells whether there are no others.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Tells whether somebody of a family may be listed. Of an empty list, which others tell, it may be anybody.
    pub(super) fn may_have(&self, is_v4: bool) -> bool {
        let is_of = |network: &IpNetwork| network.is_ipv4() == is_v4;
        !self.is_whole || self.networks.is_empty() || self.networks.iter().any(is_of)
    }
}

pub(super) fn look(case: &Case) -> Looked {
    let has_none = |status: &GateStatus| status.entries == 0 && status.keeps_out();
    if case.gate.says().is_some_and(has_none) {
        return vec![list_empty()].into();
    }
    let Entries { networks, left_out, .. } = case.entries();
    let mut looked = look_for_ways(case, networks);
    looked.left_out.extend(left_out.clone());
    looked
}

/// Returns the entries besides that of a client who is asked for, of whom others tell more.
pub(super) fn others(case: &Case, entries: &[IpNetwork]) -> Vec<IpNetwork> {
    let is_asked =
        |net: &IpNetwork| case.asked.from.is_some_and(|from| net.contains(from.to_canonical()));
    entries.iter().copied().filter(|net| !is_asked(net)).collect()
}

fn list_empty() -> Finding {
    Finding::new(
        Cause::ListEmpty,
        "the allowlist has no entry, so it admits nobody",
        "sallyport allow add NETWORK, or [[gate.allow]] in the configuration and sallyport reload",
    )
}

/// Looks whether this host has a route into the network of each entry. Of an interface by which nobody comes, and of a
/// client who is asked for, others tell more.
fn look_for_ways(case: &Case, entries: &[IpNetwork]) -> Looked {
    let config = &case.config;
    let guarded = case.links.with_upper(&config.gate.interfaces);
    let on_way = || guarded.iter().filter_map(|name| case.links.named(name));
    let is_down = |link: &Link| !link.is_up || !link.has_carrier;
    let is_shut =
        !guarded.is_empty() && (on_way().any(is_down) || !on_way().any(Link::is_addressed));
    // Of clients behind a proxy nothing comes here.
    let is_behind = config.listeners.iter().any(|listener| !listener.proxy.is_empty());
    if is_shut || is_behind {
        return Looked::default();
    }
    let own = || case.links.all.iter().filter(|link| !link.is_loopback).flat_map(Link::reachable);
    let speaks = |is_v4| own().any(|ip| ip.is_ipv4() == is_v4) && is_served(config, is_v4);
    let (v4, v6) = (speaks(true), speaks(false));
    let mut entries = others(case, entries);
    entries.retain(|net| if net.is_ipv4() { v4 } else { v6 });
    if entries.is_empty() {
        return Looked::default();
    }
    match destinations() {
        Ok(Some(ways)) => judge(&entries, &ways).into_iter().collect::<Vec<_>>().into(),
        Ok(None) => Looked::left_out("allowlist: this host has too many routes to look through"),
        Err(error) => Looked::left_out(format!("allowlist: the ways back to its clients: {error}")),
    }
}

/// Names the entries of which no route leads to any client.
fn judge(entries: &[IpNetwork], ways: &[IpNetwork]) -> Option<Finding> {
    let meet = |one: &IpNetwork, other: &IpNetwork| {
        let (Ok(one), Ok(other)) = (gate::net(*one), gate::net(*other)) else { return false };
        one.covers(&other) || other.covers(&one)
    };
    let is_lost = |net: &&IpNetwork| !ways.iter().any(|way| meet(net, way));
    let lost: Vec<_> = entries.iter().filter(is_lost).copied().collect();
    let whom = named(&lost);
    let finding = || {
        Finding::new(
            Cause::NoRouteBack,
            format!("this host has no route to {whom}, so no answer reaches clients there"),
            "ip route shows which there are; those by way of a gateway are gone since an interface was down, until the \
             network set-up makes them anew (networkctl reconfigure, ifup, nmcli), or: ip route add …",
        )
    };
    (!lost.is_empty()).then(finding)
}

/// Names some entries of the allowlist, and how many more there are.
pub(super) fn named(entries: &[IpNetwork]) -> String {
    let named: Vec<_> = entries.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let named = named.join(", ");
    match entries.len().saturating_sub(NAMED_MAX) {
        0 => named,
        1 => format!("{named} and 1 more entry of the allowlist"),
        more => format!("{named} and {more} more entries of the allowlist"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(written: &[&str]) -> Vec<IpNetwork> {
        written.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn a_family_is_nobodys_only_where_every_entry_is_known() {
        let of = |networks: &[&str], is_whole| {
            let entries = Entries { networks: nets(networks), is_whole, left_out: None };
            [true, false].map(|is_v4| entries.may_have(is_v4))
        };
        assert_eq!(of(&["192.0.2.0/28", "10.0.0.0/8"], true), [true, false]);
        assert_eq!(of(&["2001:db8::/32"], true), [false, true]);
        assert_eq!(of(&["192.0.2.0/28"], false), [true, true]);
        assert_eq!(of(&[], true), [true, true]);
    }

    #[test]
    fn an_entry_is_lost_if_no_route_leads_to_a_part_of_it() {
        let entries = nets(&["192.0.2.0/28", "10.0.0.0/8", "203.0.113.9/32", "2001:db8::/32"]);
        for (ways, lost) in [
            (&["0.0.0.0/0", "::/0"][..], &[][..]),
            (&["192.0.2.0/24", "10.9.0.0/16", "2001:db8:1::/48"], &["203.0.113.9/32"]),
            (&["192.0.2.0/24", "0.0.0.0/0"], &["2001:db8::/32"]),
            (&[], &["192.0.2.0/28, 10.0.0.0/8, 203.0.113.9/32 and 1 more entry of"]),
        ] {
            let found = judge(&entries, &nets(ways));
            let says = found.map(|found| found.says).unwrap_or_default();
            assert_eq!(says.is_empty(), lost.is_empty(), "{ways:?}: {says}");
            assert!(
                lost.iter().all(|lost| says.contains(&format!("no route to {lost}"))),
                "{says}"
            );
        }
    }
}
