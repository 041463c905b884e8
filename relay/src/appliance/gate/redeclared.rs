//! What a new configuration changed of the declared entries, as the audit log tells it.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;

use super::changes::audited;
use crate::config::Allow;
use crate::gate::allowlist::Allowlist;
use crate::gate::audit;
use crate::gate::cidr::network;
use crate::gate::clocks::Moment;

/// The entries of which is told what of them changed; the others are named only.
const TOLD_MAX: usize = 100;

/// Returns the line about a reload by which the declared entries became what they are. Its networks are those that
/// came and those of which something changed, and in the detail stands what; those that are declared no more went, if
/// they have no entry any more.
pub(super) fn redeclared(
    former: &[Allow],
    declared: &[Allow],
    list: &Allowlist,
    uid: Option<u32>,
    now: Moment,
) -> audit::Change {
    let (before, after) = (by_network(former), by_network(declared));
    let mut gone: BTreeSet<IpNetwork> =
        before.keys().filter(|cidr| !after.contains_key(*cidr)).copied().collect();
    if !gone.is_empty() {
        for entry in list.entries() {
            gone.remove(&network(entry.net));
        }
    }
    let mut networks = Vec::new();
    let noun = if declared.len() == 1 { "entry" } else { "entries" };
    let mut details = vec![format!("{} declared {noun}", declared.len())];
    for (cidr, allow) in after {
        let changes = before.get(&cidr).map(|before| changes(before, allow));
        match changes {
            Some(changes) if changes.is_empty() => continue,
            Some(changes) if details.len() <= TOLD_MAX => {
                details.push(format!("{cidr}: {changes}"));
            }
            Some(_) | None => {}
        }
        networks.push(cidr.to_string());
    }
    let change = audited(uid, "reload", networks, Some(details.join("; ")), now);
    audit::Change { removed: gone.iter().map(ToString::to_string).collect(), ..change }
}

fn by_network(all: &[Allow]) -> BTreeMap<IpNetwork, &Allow> {
    all.iter().map(|allow| (allow.cidr, allow)).collect()
}

/// Says what of an entry changed; nothing if only its line in the file did.
fn changes(before: &Allow, after: &Allow) -> String {
    let parts = |allow: &Allow| {
        let Allow { cidr: _, tag, note, connect_rate, source_rate, auto_ban, line: _ } = allow;
        [
            ("tag", tag.clone()),
            ("note", note.clone()),
            ("connect-rate", connect_rate.map(|rate| rate.to_string())),
            ("source-rate", source_rate.map(|rate| rate.to_string())),
            ("auto-ban", auto_ban.map(|is_on| is_on.to_string())),
        ]
    };
    let none = || "none".to_owned();
    let changed = parts(before).into_iter().zip(parts(after)).filter(|(old, new)| old != new);
    let said = changed.map(|((key, old), (_, new))| {
        format!("{key} {} (was {})", new.unwrap_or_else(none), old.unwrap_or_else(none))
    });
    said.collect::<Vec<_>>().join(", ")
}
