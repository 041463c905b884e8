//! Whether bans keep whole entries of the allowlist out. One of a part of an entry is what bans are for.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnetwork::IpNetwork;
use relay_common::addr::Net;

use super::entries::{NAMED_MAX, named, others};
use super::{Case, Cause, Finding, Looked};
use crate::control::client::ask_soon;
use crate::control::wire::{Ban, GateRequest};
use crate::gate;
use crate::gate::cidr::ancestry;

/// How long the gate may take to list its bans.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn look(case: &Case) -> Looked {
    if !case.is_guarded() {
        return Looked::default();
    }
    let Some(status) = case.gate.says() else {
        return Looked::left_out("bans: only the gate's process lists them");
    };
    // Where it keeps nobody out it keeps out no banned ones either.
    if status.bans == 0 || !status.keeps_out() {
        return Looked::default();
    }
    let socket = &case.config.gate.socket;
    match ask_soon::<_, Vec<Ban>>(PATIENCE, socket, "gate", &GateRequest::BanList) {
        Ok(bans) => {
            let entries = others(case, case.entries().networks());
            judge(&entries, &bans).into_iter().collect::<Vec<_>>().into()
        }
        Err(error) => Looked::left_out(format!("bans: the gate does not list them: {error}")),
    }
}

/// Names the entries that bans keep out, and these.
fn judge(entries: &[IpNetwork], bans: &[Ban]) -> Option<Finding> {
    let by_net: BTreeMap<Net, &Ban> =
        bans.iter().filter_map(|ban| Some((gate::net(ban.cidr).ok()?, ban))).collect();
    let mut held = Vec::new();
    let mut by = BTreeMap::new();
    for entry in entries {
        let around = gate::net(*entry).into_iter().flat_map(ancestry);
        let bans: Vec<&Ban> = around.filter_map(|net| by_net.get(&net).copied()).collect();
        if !bans.is_empty() {
            held.push(*entry);
            by.extend(bans.into_iter().map(|ban| (ban.cidr, ban.until)));
        }
    }
    let until = by.values().max()?;
    let first: Vec<_> = by.keys().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = match by.len() - first.len() {
        0 => String::new(),
        more => format!("and {more} more; "),
    };
    Some(Finding::new(
        Cause::Banned,
        format!("whoever is listed in {} is banned, until {until:.0} at the latest", named(&held)),
        format!(
            "sallyport ban remove {}  # {more}sallyport ban list says by whom and why",
            first.join(" ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_ban_of_a_whole_entry_is_a_fault_and_one_of_a_part_is_not() {
        let listed = ["192.0.2.0/28", "10.0.0.0/8", "2001:db8::/32"];
        let entries = listed.map(|net| net.parse().unwrap());
        let ban = |cidr: &str| Ban {
            cidr: cidr.parse().unwrap(),
            until: Timestamp::UNIX_EPOCH,
            note: None,
            by_uid: 0,
            repeats: 0,
        };
        let told = |bans: &[&str]| {
            let found = judge(&entries, &bans.iter().copied().map(ban).collect::<Vec<_>>());
            found.map(|found| (found.says, found.remedy))
        };
        let all = |whom: &str, lifted: &str| {
            let until = "until 1970-01-01T00:00:00Z at the latest";
            let says = format!("whoever is listed in {whom} is banned, {until}");
            let why = "sallyport ban list says by whom and why";
            Some((says, format!("sallyport ban remove {lifted}{why}")))
        };
        assert_eq!(told(&["10.0.0.0/8"]), all("10.0.0.0/8", "10.0.0.0/8  # "));
        assert_eq!(told(&["0.0.0.0/0"]), all("192.0.2.0/28, 10.0.0.0/8", "0.0.0.0/0  # "));
        assert_eq!(told(&["10.1.0.0/16", "192.0.2.1/32"]), None);
        assert_eq!(told(&["::/0", "10.1.0.0/16"]), all("2001:db8::/32", "::/0  # "));
        let four = ["10.0.0.0/7", "10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"];
        let lifted = "10.0.0.0/7 10.0.0.0/8 192.0.2.0/24  # and 1 more; ";
        assert_eq!(told(&four), all("192.0.2.0/28, 10.0.0.0/8, 2001:db8::/32", lifted));
    }
}
