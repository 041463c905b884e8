//! An entry that admitted a client and is gone, found in the audit log.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::{SignedDuration, Timestamp};

use super::{Case, Process, aside};
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
    /// By its own end, or by an operator.
    pub is_expired: bool,
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
        Process::Dead | Process::Unasked(_) => None,
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
        let is_expired = change.verb == "allow expired";
        // A change of many names those that went by themselves.
        let gone = if is_expired || change.verb == "allow remove" {
            &change.networks
        } else {
            &change.removed
        };
        let mut networks = gone.iter().filter_map(|text| text.parse::<IpNetwork>().ok());
        let network = networks.find(|network| network.contains(client))?;
        Some(Ended { network, at: change.at, is_expired })
    })
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
        assert_eq!((ended.at.as_second(), ended.is_expired), (1, true));
        let removed = [log.as_slice(), &[change(4, "allow remove", "192.0.2.7/32")]].concat();
        assert!(!last_ended(&removed, client).unwrap().is_expired);
        assert_eq!(last_ended(&log, "203.0.113.1".parse().unwrap()), None);
        let applied = Change {
            networks: vec!["203.0.113.0/24".into()],
            removed: vec!["192.0.2.0/28".into()],
            ..change(5, "allow apply", "")
        };
        let log = [removed.as_slice(), &[applied]].concat();
        let ended = last_ended(&log, client).unwrap();
        assert_eq!((ended.at.as_second(), ended.is_expired), (5, false));
        assert_eq!(ended.network.to_string(), "192.0.2.0/28");
        assert_eq!(last_ended(&log, "203.0.113.1".parse().unwrap()), None, "it was added");
    }
}
