//! Finding out why a client cannot connect or mail does not leave, from the wire to the next hop.
//!
//! It reads the configuration, the kernel and files, and asks gate and relay if they run: it works with
//! both dead. Each check first observes, and what it saw is judged by a pure function. It changes nothing
//! on the host: no rule, no table, no file with a name. What it did not see it says.

mod access;
mod bans;
mod case;
mod cause;
pub mod certificates;
mod client;
mod ended;
mod entries;
pub mod files;
mod firewall;
mod flush;
mod gate;
mod greeting;
pub mod holders;
mod host;
mod interfaces;
mod life;
mod links;
mod listeners;
mod logins;
mod lost;
mod next_hop;
mod no_way;
mod reaching;
mod report;
mod routes;
mod saying;
mod spiking;
mod spool;
mod waiting;
mod way;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;

pub use case::Asked;
use case::{Case, Process};
pub use cause::{Cause, Place, Severity, Stops};
pub use report::{Report, Walked};

/// What is not looked at: most of it nobody can see from inside the host.
pub const UNSEEN: [&str; 5] = [
    "filters before this host: security groups and firewalls of the provider, routers, load balancers; what they \
     drop never comes here",
    "the client's own side: its firewall, its DNS, the name or port that it uses, whom its TLS trusts",
    "whether the route to a client works in both directions: only the first step of the way back is looked up",
    "IPsec by policy, without an interface of its own (ip xfrm policy shows it): what it unpacks comes around the first \
     door",
    "what the next hop does with mail after it took it",
];

/// Something that is wrong or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub cause: Cause,
    /// One sentence that names the place.
    pub says: String,
    /// A command, or what to edit.
    pub remedy: String,
}

impl Finding {
    fn new(cause: Cause, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause, says: says.into(), remedy: remedy.into() }
    }
}

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Looked {
    findings: Vec<Finding>,
    /// What could not be looked at, and why.
    left_out: Vec<String>,
}

impl Looked {
    fn left_out(why: impl Into<String>) -> Self {
        Self { left_out: vec![why.into()], ..Self::default() }
    }
}

impl From<Vec<Finding>> for Looked {
    fn from(findings: Vec<Finding>) -> Self {
        Self { findings, left_out: Vec::new() }
    }
}

/// Something that is looked at.
struct Check {
    name: &'static str,
    place: Place,
    /// What is so if nothing is found.
    good: &'static str,
    /// How long it may take.
    deadline: Duration,
    look: fn(&Case) -> Looked,
}

const fn check(
    place: Place,
    name: &'static str,
    good: &'static str,
    seconds: u64,
    look: fn(&Case) -> Looked,
) -> Check {
    Check { name, place, good, deadline: Duration::from_secs(seconds), look }
}

/// Every check, from the wire to the next hop. They run side by side, so the longest decides.
const CHECKS: [Check; 17] = [
    check(
        Place::Interface,
        "interfaces",
        "every guarded interface is there, up and has an address",
        5,
        interfaces::look,
    ),
    check(
        Place::Gate,
        "gate",
        "its program stands on every interface, and its process answers",
        10,
        gate::look,
    ),
    check(Place::Allowlist, "allowlist", "it has entries, and answers find back", 5, entries::look),
    check(Place::Allowlist, "bans", "none keeps a whole entry out", 10, bans::look),
    check(
        Place::Allowlist,
        "the client",
        "the gate admits it, and answers find back",
        10,
        client::look,
    ),
    check(
        Place::Firewall,
        "firewall",
        "no rule of nftables or iptables stands between clients and the listeners",
        10,
        firewall::look,
    ),
    check(
        Place::Listener,
        "listeners",
        "every configured address is listened on, and greets",
        10,
        listeners::look,
    ),
    check(
        Place::Listener,
        "the relay's words",
        "it has nothing to say that stands nowhere else",
        10,
        saying::look,
    ),
    check(
        Place::Tls,
        "certificates",
        "they are in force, for the hostname, and their keys fit",
        5,
        certificates::look,
    ),
    check(Place::Session, "logins and policies", "somebody may log in and send", 5, logins::look),
    check(
        Place::Session,
        "the client's logins",
        "none has to wait after failures",
        10,
        waiting::look,
    ),
    check(Place::Spool, "disk", "it has room, and flushes", 10, spool::look),
    check(Place::Spool, "spool", "it takes messages", 5, spool::look_inside),
    check(
        Place::Route,
        "routes",
        "each is at work, and so are the keys that sign",
        5,
        routes::look,
    ),
    check(Place::NextHop, "next hops", "each is reached, and proves itself", 14, next_hop::look),
    check(Place::Host, "host", "user, limits and clock are right", 5, host::look),
    check(Place::Host, "hostname", "it resolves to this host", 6, host::look_up_name),
];

/// Looks at everything. Takes at most twenty seconds: each check has a deadline, and one that does not
/// keep it is left out.
#[must_use]
pub fn examine(config: Config, asked: Asked) -> Report {
    let case = Arc::new(Case::open(config, asked));
    let begun = Instant::now();
    let waiting: Vec<_> = CHECKS
        .iter()
        .filter(|check| !check.name.starts_with("the client") || case.asked.from.is_some())
        .map(|check| {
            let case = Arc::clone(&case);
            (check, aside(move || (check.look)(&case)))
        })
        .collect();
    let mut report = Report::default();
    for (check, looked) in waiting {
        let left = check.deadline.saturating_sub(begun.elapsed());
        report.take(check, looked.recv_timeout(left).ok());
    }
    report.sort();
    report
}

/// Does some work on a thread of its own, which is left behind if nobody waits for it any more: a disk or
/// a name server may hang for ever.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (tell, told) = mpsc::sync_channel(1);
    thread::spawn(move || {
        // Whoever asked may have given up.
        let _ = tell.send(work());
    });
    told
}

#[cfg(test)]
mod tests {
    use super::case::PATIENCE;
    use super::*;

    #[test]
    fn no_check_takes_longer_than_the_whole_may() {
        let longest = CHECKS.iter().map(|check| check.deadline).max().unwrap();
        assert!(longest + PATIENCE < Duration::from_secs(20));
    }
}
