//! Finding out why a client cannot connect or mail does not leave, from the wire to the next hop.
//!
//! It reads the configuration, the kernel and files, and asks gate and relay if they run: it works with
//! both dead. Each check first observes, and what it saw is judged by a pure function. It changes nothing
//! on the host: no rule, no table, no file with a name. What it did not see it says.

mod cause;
pub mod certificates;
mod client;
pub mod files;
mod firewall;
mod flush;
mod gate;
mod greeting;
pub mod holders;
mod host;
mod interfaces;
mod links;
mod listeners;
mod logins;
mod next_hop;
mod routes;
mod spool;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::Config;
use crate::control::client::{AskError, ask};
use crate::control::wire::{GateRequest, GateStatus, RelayRequest, RelayStatus};

pub use cause::{Cause, Place, Severity, Stops};
use links::Links;

/// What nobody can see from inside the host.
pub const UNSEEN: [&str; 4] = [
    "filters before this host: security groups and firewalls of the provider, routers, load balancers; what they \
     drop never comes here",
    "the client's own side: its firewall, its DNS, the name or port that it uses, whom its TLS trusts",
    "whether the route to a client works in both directions: only the first step of the way back is looked up",
    "what the next hop does with mail after it took it",
];

/// What is looked for besides everything that can be wrong on the host alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// A client to follow in.
    pub from: Option<IpAddr>,
    /// A route by its name, or a recipient's domain, to follow mail out by.
    pub to: Option<String>,
}

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

/// What all checks are about.
struct Case {
    config: Config,
    asked: Asked,
    links: Links,
    gate: Process<GateStatus>,
    relay: Process<RelayStatus>,
}

/// What a process of ours says of itself.
#[derive(Debug)]
enum Process<T> {
    Says(Box<T>),
    /// Nobody serves its socket.
    Dead,
    /// It may run, and does not answer us: why.
    Unasked(String),
}

impl<T> Process<T> {
    const fn says(&self) -> Option<&T> {
        match self {
            Self::Says(status) => Some(status),
            Self::Dead | Self::Unasked(_) => None,
        }
    }
}

impl<T> From<Result<T, AskError>> for Process<T> {
    fn from(answer: Result<T, AskError>) -> Self {
        match answer {
            Ok(status) => Self::Says(Box::new(status)),
            Err(AskError::NotRunning { .. }) => Self::Dead,
            Err(error) => Self::Unasked(error.to_string()),
        }
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
const CHECKS: [Check; 14] = [
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
    check(Place::Allowlist, "allowlist", "it has entries", 5, client::look_at_list),
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
        Place::Tls,
        "certificates",
        "they are in force, for the hostname, and their keys fit",
        5,
        certificates::look,
    ),
    check(Place::Session, "logins and policies", "somebody may log in and send", 5, logins::look),
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

/// How long gate and relay may take to say how they are.
const PATIENCE: Duration = Duration::from_secs(4);

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walked {
    /// Where it looked.
    pub place: Place,
    /// At what.
    pub name: &'static str,
    /// What it saw, for people.
    pub result: String,
    /// How many faults it found.
    pub faults: usize,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Faults first: those that keep clients out, those that keep mail in, others; each in the order of
    /// the walk. So the most likely cause stands on top.
    pub findings: Vec<Finding>,
    /// Every check, from the wire to the next hop.
    pub walk: Vec<Walked>,
    /// What was not looked at, and why.
    pub left_out: Vec<String>,
}

impl Report {
    /// Returns the one of a configuration that cannot be read: everything else hangs on it.
    #[must_use]
    pub fn of_unreadable(problem: &str) -> Self {
        let findings = problem.lines().map(|line| {
            Finding::new(
                Cause::ConfigUnreadable,
                line,
                "sallyport config check FILE names every problem; --config names another file",
            )
        });
        Self { findings: findings.collect(), ..Self::default() }
    }

    /// Returns how many faults there are.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.findings.iter().filter(|found| found.cause.severity() == Severity::Fault).count()
    }

    fn take(&mut self, check: &Check, looked: Option<Looked>) {
        let Some(Looked { findings, left_out }) = looked else {
            let after = check.deadline.as_secs();
            let why = format!("{}: no answer within {after} s, so it was given up", check.name);
            return self.take(check, Some(Looked::left_out(why)));
        };
        let is_fault = |found: &&Finding| found.cause.severity() == Severity::Fault;
        let faults = findings.iter().filter(is_fault).count();
        let result = match (faults, findings.len() - faults, left_out.len()) {
            (0, 0, 0) => check.good.to_owned(),
            (0, 0, _) => "not looked at, or in part; see below".to_owned(),
            (0, _, _) => "nothing wrong; something worth knowing".to_owned(),
            (1, _, _) => "1 fault".to_owned(),
            (many, _, _) => format!("{many} faults"),
        };
        self.walk.push(Walked { place: check.place, name: check.name, result, faults });
        self.findings.extend(findings);
        self.left_out.extend(left_out);
    }

    fn sort(&mut self) {
        self.findings.sort_by_key(|found| {
            (found.cause.severity(), found.cause.stops(), found.cause as usize)
        });
        self.findings.dedup();
    }
}

/// Looks at everything. Takes at most twenty seconds: each check has a deadline, and one that does not
/// keep it is left out.
#[must_use]
pub fn examine(config: Config, asked: Asked) -> Report {
    let case = Arc::new(Case::open(config, asked));
    let begun = Instant::now();
    let waiting: Vec<_> = CHECKS
        .iter()
        .filter(|check| check.name != "the client" || case.asked.from.is_some())
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

impl Case {
    fn open(config: Config, asked: Asked) -> Self {
        let (gate, relay) = (config.gate.socket.clone(), config.relay.socket.clone());
        let gate = aside(move || ask(&gate, "gate", &GateRequest::Status));
        let relay = aside(move || ask(&relay, "relay", &RelayRequest::Status));
        let links = Links::read();
        let begun = Instant::now();
        let left = || PATIENCE.saturating_sub(begun.elapsed());
        let gate = answered("gate", gate.recv_timeout(left()));
        let relay = answered("relay", relay.recv_timeout(left()));
        Self { config, asked, links, gate, relay }
    }

    /// Returns whether a gate is meant to stand.
    const fn is_guarded(&self) -> bool {
        !self.config.gate.interfaces.is_empty()
    }
}

fn answered<T>(process: &str, answer: Result<Result<T, AskError>, RecvTimeoutError>) -> Process<T> {
    match answer {
        Ok(answer) => answer.into(),
        Err(_) => Process::Unasked(format!(
            "the {process} did not answer within {} s",
            PATIENCE.as_secs()
        )),
    }
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
    use super::*;

    fn found(cause: Cause) -> Finding {
        Finding::new(cause, "", "")
    }

    #[test]
    fn what_keeps_clients_out_stands_first_in_the_order_of_the_walk() {
        let mut report = Report::default();
        let some = [
            Cause::GateGeneric,
            Cause::HopSilent,
            Cause::NotFlushing,
            Cause::NotListening,
            Cause::InterfaceDown,
            Cause::InterfaceDown,
        ];
        report.findings = some.map(found).into();
        report.sort();
        let order: Vec<_> = report.findings.iter().map(|found| found.cause).collect();
        let wanted = [
            Cause::InterfaceDown,
            Cause::NotListening,
            Cause::HopSilent,
            Cause::NotFlushing,
            Cause::GateGeneric,
        ];
        assert_eq!(order, wanted);
        assert_eq!(report.faults(), 4);
    }

    #[test]
    fn a_check_that_hangs_is_left_out_by_name() {
        let mut report = Report::default();
        report.take(&CHECKS[0], None);
        assert_eq!(report.left_out, ["interfaces: no answer within 5 s, so it was given up"]);
        assert_eq!(report.walk[0].faults, 0);
    }

    #[test]
    fn no_check_takes_longer_than_the_whole_may() {
        let longest = CHECKS.iter().map(|check| check.deadline).max().unwrap();
        assert!(longest + PATIENCE < Duration::from_secs(20));
    }
}
