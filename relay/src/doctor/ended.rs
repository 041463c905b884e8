//! An entry that admitted a client and is gone, found in the audit log, and its way back.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::{SignedDuration, Timestamp};

use super::{Case, Cause, Finding, Process, aside};
use crate::control::client::ask_soon;
use crate::control::wire::GateRequest;
use crate::gate::audit::{Audit, Change, Page};

/// How far back the audit log is searched for an entry that ended.
const SEARCHED: SignedDuration = SignedDuration::from_hours(24 * 90);
/// The most changes of it that are looked at.
const CHANGES_MAX: usize = 20_000;
/// How long the gate may take to read it, and then this process.
const PATIENCE: Duration = Duration::from_secs(3);

/// An entry that there was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub network: IpNetwork,
    pub at: Timestamp,
    pub how: How,
}

/// By what an entry went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// By its own end.
    Expired,
    /// An operator removed it.
    Removed,
    /// A list that was applied did not have it.
    Replaced,
    /// A configuration declares it no more.
    Undeclared,
}

/// Looks in the audit log for an entry that admitted the client and is gone.
///
/// # Errors
///
/// Why that cannot be told.
pub(super) fn ended(case: &Case, client: IpAddr) -> Result<Option<Ended>, String> {
    let since = Timestamp::now().checked_sub(SEARCHED).unwrap_or(Timestamp::UNIX_EPOCH);
    let asked = match &case.gate {
        Process::Says(_) => {
            let question = GateRequest::Audit { since, limit: CHANGES_MAX };
            ask_soon::<_, Page>(PATIENCE, &case.config.gate.socket, "gate", &question).ok()
        }
        Process::Dead | Process::Silent(_) | Process::Unasked(_) => None,
    };
    let page = if let Some(page) = asked {
        page
    } else {
        let audit = Audit::within(&case.config.gate.state);
        let read = aside(move || audit.read(since, CHANGES_MAX)).recv_timeout(PATIENCE);
        let late = |_| format!("the audit log was not read within {} s", PATIENCE.as_secs());
        read.map_err(late)?.map_err(|error| format!("the audit log: {error}"))?
    };
    Ok(last_ended(&page.changes, client))
}

fn last_ended(changes: &[Change], client: IpAddr) -> Option<Ended> {
    changes.iter().rev().find_map(|change| {
        // A change of many names those that went by themselves.
        let (how, gone) = match change.verb.as_str() {
            "allow expired" => (How::Expired, &change.networks),
            "allow remove" => (How::Removed, &change.networks),
            "reload" => (How::Undeclared, &change.removed),
            _ => (How::Replaced, &change.removed),
        };
        let mut networks = gone.iter().filter_map(|text| text.parse::<IpNetwork>().ok());
        let network = networks.find(|network| network.contains(client))?;
        Some(Ended { network, at: change.at, how })
    })
}

/// Says how the client's entry went, and how it comes back: each way has its own.
pub(super) fn gone(client: IpAddr, ended: &Ended, admit: &str) -> Finding {
    let Ended { network, at, how } = ended;
    let since = format!("{client} is not on the allowlist any more: its entry {network}");
    let (cause, went, remedy) = match how {
        How::Expired => (
            Cause::EntryExpired,
            "ended by itself",
            format!(
                "{admit}  # for good; with --ttl DURATION for so long; sallyport audit says who had it added"
            ),
        ),
        How::Removed => (
            Cause::EntryRemoved,
            "was removed by an operator",
            format!("sallyport audit says by whom; if it was not meant: {admit}"),
        ),
        How::Replaced => (
            Cause::EntryRemoved,
            "is not in the list that was applied",
            format!(
                "put it into that list's file and apply it again (sallyport audit says who did); until then: {admit}"
            ),
        ),
        How::Undeclared => (
            Cause::EntryRemoved,
            "is declared no more by the configuration that was loaded",
            format!(
                "put it back under [[gate.allow]] and run sallyport reload; until then: {admit}"
            ),
        ),
    };
    Finding::new(cause, format!("{since} {went} at {at:.0}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_end_of_an_entry_that_held_the_client_counts() {
        let change = |second, verb: &str, network: &str| Change {
            at: Timestamp::from_second(second).unwrap(),
            uid: None,
            verb: verb.into(),
            networks: vec![network.into()],
            removed: Vec::new(),
            detail: None,
        };
        let log = [
            change(1, "allow expired", "192.0.2.0/24"),
            change(2, "allow add", "192.0.2.7/32"),
            change(3, "allow expired", "198.51.100.0/24"),
        ];
        let client = "192.0.2.7".parse().unwrap();
        let ended = last_ended(&log, client).unwrap();
        assert_eq!((ended.at.as_second(), ended.how), (1, How::Expired));
        let removed = [log.as_slice(), &[change(4, "allow remove", "192.0.2.7/32")]].concat();
        assert_eq!(last_ended(&removed, client).unwrap().how, How::Removed);
        assert_eq!(last_ended(&log, "203.0.113.1".parse().unwrap()), None);
        let applied = Change {
            networks: vec!["203.0.113.0/24".into()],
            removed: vec!["192.0.2.0/28".into()],
            ..change(5, "allow apply", "")
        };
        let log = [removed.as_slice(), std::slice::from_ref(&applied)].concat();
        let ended = last_ended(&log, client).unwrap();
        assert_eq!((ended.at.as_second(), ended.how), (5, How::Replaced));
        assert_eq!(ended.network.to_string(), "192.0.2.0/28");
        assert_eq!(last_ended(&log, "203.0.113.1".parse().unwrap()), None, "it was added");
        let log = [Change { verb: "reload".into(), ..applied }];
        assert_eq!(last_ended(&log, client).unwrap().how, How::Undeclared);
    }

    #[test]
    fn each_way_in_which_an_entry_went_has_its_own_way_back() {
        let network = "192.0.2.0/24".parse().unwrap();
        let client = "192.0.2.7".parse().unwrap();
        for (how, has, has_not) in [
            (How::Expired, "--ttl", "[[gate.allow]]"),
            (How::Removed, "by whom", "--ttl"),
            (How::Replaced, "that list's file", "--ttl"),
            (How::Undeclared, "[[gate.allow]] and run sallyport reload", "--ttl"),
        ] {
            let ended = Ended { network, at: Timestamp::UNIX_EPOCH, how };
            let remedy = gone(client, &ended, "sallyport allow add 192.0.2.7/32").remedy;
            assert!(remedy.contains(has) && !remedy.contains(has_not), "{how:?}: {remedy}");
            assert!(remedy.contains("sallyport allow add"), "{how:?}: {remedy}");
            let command = remedy.split_once("  # ").map_or(remedy.as_str(), |(command, _)| command);
            assert!(!command.contains("--ttl"), "{how:?}: {remedy}");
        }
    }
}
