//! The sockets that clients connect to: there, at the right address, ours, and answering.

#[cfg(test)]
mod tests;

use std::fs;
use std::net::SocketAddr;

use super::firewall::{Own, own_attempt};
use super::greeting::{Greeting, PATIENCE, greet};
use super::holders::{Holder, holders};
use super::links::Links;
use super::{Case, Cause, Finding, Looked, Process, aside};
use crate::bound::{NOT_HERE, is_in_the_way};
use crate::config::{Listener, ListenerTls};
use crate::control::wire::{DEAF, RelayStatus};
use crate::gate::clients::{Listening, listening};

/// The name of our processes, as the kernel has it.
const OURS: &str = "sallyport";

/// What was seen of one listener.
#[derive(Clone, Debug)]
struct Seen {
    address: SocketAddr,
    has_address: bool,
    /// Sockets on its port.
    sockets: Vec<Listening>,
    /// The programs that hold those sockets, as far as that is known.
    holders: Vec<Holder>,
    greeting: Greeting,
    /// What the host's firewall makes of that attempt, if it failed.
    own: Own,
}

/// What was seen of the relay's process.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Relay {
    Dead,
    /// It serves its socket, and answers nothing.
    Hangs,
    Serves,
    /// It runs and takes nobody, for this reason.
    Waits(String),
    Unknown,
}

impl Relay {
    /// Returns what was seen of it, and what of that could not be looked at. One that greets clients does not hang, whatever
    /// keeps its socket from answering.
    fn of(process: &Process<RelayStatus>, seen: &[Seen]) -> (Self, Option<String>) {
        match process {
            Process::Says(status) if status.serving => (Self::Serves, None),
            Process::Says(status) => (Self::Waits(status.guard.clone()), None),
            Process::Dead => (Self::Dead, None),
            Process::Silent(why) if seen.iter().any(Seen::is_greeted_by_us) => {
                let why = format!(
                    "listeners: how the relay's process is: {why}, and clients are greeted"
                );
                (Self::Unknown, Some(why))
            }
            Process::Silent(_) => (Self::Hangs, None),
            Process::Unasked(why) => {
                let why = format!("listeners: the relay's process did not say how it is: {why}");
                (Self::Unknown, Some(why))
            }
        }
    }
}

impl Seen {
    /// Tells whether a process of ours greets here, as far as that is known.
    fn is_greeted_by_us(&self) -> bool {
        let is_ours = self.holders.is_empty() || self.holders.iter().any(|one| one.name == OURS);
        is_ours && matches!(self.greeting, Greeting::Said(_))
    }
}

pub(super) fn look(case: &Case) -> Looked {
    let mut left_out = Vec::new();
    let sockets = match listening() {
        Ok(sockets) => sockets,
        Err(error) => return Looked::left_out(format!("listeners: who listens: {error}")),
    };
    if case.is_guarded() && !case.config.gate.loopback {
        left_out.push("listeners: whether they greet: the gate does not admit this host (gate.loopback = false)".to_owned());
    }
    if !case.links.reaches_itself() {
        left_out.push("listeners: whether they greet: loopback is switched off".to_owned());
    }
    let seen = observe(case, &sockets);
    let (relay, why) = Relay::of(&case.relay, &seen);
    left_out.extend(why);
    left_out.extend(seen.iter().filter_map(|one| match &one.greeting {
        Greeting::Unable(why) => Some(format!(
            "listeners: whether {} greets: this host cannot connect to itself: {why}",
            one.address
        )),
        Greeting::Unanswered | Greeting::Refused(_) if one.own == Own::Told => Some(format!(
            "listeners: whether {} greets: the firewall stops the attempts of this host as well",
            one.address
        )),
        Greeting::Said(_)
        | Greeting::Silence
        | Greeting::Ended(_)
        | Greeting::Refused(_)
        | Greeting::Unanswered
        | Greeting::NotTried => None,
    }));
    if seen.iter().any(|one| !one.sockets.is_empty() && one.holders.is_empty()) {
        left_out.push("listeners: whose process holds their ports: root sees it".to_owned());
    }
    Looked { findings: judge(&seen, &relay, &case.links), left_out }
}

/// Looks at every listener; they are greeted side by side, so that one which hangs does not hide the others.
fn observe(case: &Case, sockets: &[Listening]) -> Vec<Seen> {
    let listeners = &case.config.listeners;
    let waiting: Vec<_> = listeners
        .iter()
        .map(|one| {
            let address = one.address;
            may_greet(one, case, sockets).then(|| aside(move || greet(address)))
        })
        .collect();
    let mut seen = on_sockets(case, sockets);
    for (one, waiting) in seen.iter_mut().zip(waiting) {
        // Whoever greets keeps to a time of his own.
        one.greeting = waiting.and_then(|told| told.recv().ok()).unwrap_or(Greeting::NotTried);
        one.own = match one.greeting {
            Greeting::Unanswered | Greeting::Refused(_) => own_attempt(case, one.address),
            // No rule is in the way of a connection that was made.
            Greeting::Said(_)
            | Greeting::Silence
            | Greeting::Ended(_)
            | Greeting::Unable(_)
            | Greeting::NotTried => Own::Free,
        };
    }
    seen
}

/// Looks at the sockets of every listener, and whose they are.
fn on_sockets(case: &Case, sockets: &[Listening]) -> Vec<Seen> {
    let listeners = &case.config.listeners;
    let ports: Vec<u16> = listeners.iter().map(|one| one.address.port()).collect();
    let on_ports = sockets.iter().filter(|one| ports.contains(&one.address.port()));
    let held = holders(&on_ports.copied().collect::<Vec<_>>());
    let seen = listeners.iter().map(|Listener { address, .. }| {
        let address = *address;
        let is_on_port = |one: &&Listening| one.address.port() == address.port();
        let on_port: Vec<_> = sockets.iter().filter(is_on_port).copied().collect();
        let mut holders: Vec<Holder> = Vec::new();
        for holder in on_port.iter().filter_map(|one| held.get(&one.inode)).flatten() {
            if holders.iter().all(|one| one.name != holder.name) {
                holders.push(holder.clone());
            }
        }
        let (has_address, greeting) = (has_address(case, address), Greeting::NotTried);
        Seen { address, has_address, holders, sockets: on_port, greeting, own: Own::Free }
    });
    seen.collect()
}

/// Returns the listeners of which it is told here why the gate has no socket for them.
pub(super) fn found_out(case: &Case) -> Vec<SocketAddr> {
    let seen = listening().map(|sockets| on_sockets(case, &sockets)).unwrap_or_default();
    let is_why = |found: &Finding| [Cause::AddressMissing, Cause::PortTaken].contains(&found.cause);
    let (relay, _) = Relay::of(&case.relay, &seen);
    let is_told = |one: &&Seen| of_listener(one, &relay, &case.links).iter().any(is_why);
    seen.iter().filter(is_told).map(|one| one.address).collect()
}

/// Tells whether this host has an address, as far as that is known. At another host's that would answer.
fn has_address(case: &Case, address: SocketAddr) -> bool {
    let (ip, links) = (address.ip(), &case.links);
    ip.is_unspecified() || links.problem.is_some() || links.has(ip)
}

fn may_greet(listener: &Listener, case: &Case, sockets: &[Listening]) -> bool {
    let is_admitted = case.config.gate.loopback || !case.is_guarded() || !listener.gate;
    let is_there = sockets.iter().any(|one| serves(one.address, listener.address));
    // Who only speaks TLS, or waits for a PROXY header of ours, greets nobody here.
    let greets = match listener.tls {
        ListenerTls::Starttls => listener.proxy.is_empty(),
        ListenerTls::Implicit => false,
    };
    let is_reached = has_address(case, listener.address) && case.links.reaches_itself();
    is_admitted && is_there && greets && is_reached
}

/// Tells whether a socket takes what is meant for a configured address.
fn serves(socket: SocketAddr, wanted: SocketAddr) -> bool {
    let is_any = socket.ip().is_unspecified() && (socket.is_ipv6() || wanted.is_ipv4());
    socket.port() == wanted.port()
        && (socket.ip().to_canonical() == wanted.ip().to_canonical() || is_any)
}

fn judge(seen: &[Seen], relay: &Relay, links: &Links) -> Vec<Finding> {
    let mut found = Vec::new();
    let each: Vec<_> = seen.iter().map(|one| of_listener(one, relay, links)).collect();
    match relay {
        Relay::Dead => found.push(Finding::new(
            Cause::RelayNotRunning,
            "the relay's process does not run: connections are made at best, and nobody answers",
            "systemctl start sallyport-relay, or sallyport run; its log says why it ended: journalctl -u sallyport-relay",
        )),
        Relay::Hangs => found.push(Finding::new(
            Cause::RelayHangs,
            "the relay's process hangs: it takes questions and answers none. Clients are connected by the kernel, and \
             most likely hear nothing",
            "ps -C sallyport -o pid,stat,wchan:20,args shows it: with T in STAT it was stopped, and kill -CONT PID lets \
             it go on; else systemctl restart sallyport-relay, or kill -9 PID under sallyport run, which starts it anew",
        )),
        // Where it has no socket at all that is why.
        Relay::Waits(why) if !seen.is_empty() && lack_sockets(seen, &each, why) => {}
        Relay::Waits(why) => found.push(Finding::new(
            Cause::RelayNotServing,
            format!("the relay runs and takes nobody: {why}"),
            "what is wrong with the gate or a listener says its own check; sallyport status shows both",
        )),
        Relay::Serves | Relay::Unknown => {}
    }
    if !seen.is_empty() && seen.iter().all(|one| one.address.ip().is_loopback()) {
        found.push(Finding::new(
            Cause::OnlyLoopback,
            "every listener has a loopback address: no other host can connect",
            "[[listener]] with address = \"[::]:2525\", and restart gate and relay",
        ));
    }
    found.extend(each.into_iter().flatten());
    found
}

/// Tells whether it was found of each listener that no socket of ours is there. One whose address went away stands on, so
/// that a missing address counts only where there is none, and the relay says that this is why it waits.
fn lack_sockets(seen: &[Seen], found: &[Vec<Finding>], why: &str) -> bool {
    let causes = [Cause::PortTaken, Cause::NotListening, Cause::ListensElsewhere];
    seen.iter().zip(found).all(|(seen, found)| {
        let is_there = seen.sockets.iter().any(|one| serves(one.address, seen.address));
        let never_was = !is_there && !seen.has_address && why == DEAF;
        never_was || found.iter().any(|found| causes.contains(&found.cause))
    })
}

fn of_listener(seen: &Seen, relay: &Relay, links: &Links) -> Vec<Finding> {
    let (address, port) = (seen.address, seen.address.port());
    let ours = seen.sockets.iter().find(|one| serves(one.address, address));
    let mut found = Vec::new();
    if !seen.has_address {
        let own: Vec<String> = links
            .all
            .iter()
            .filter(|link| !link.is_loopback)
            .flat_map(|link| &link.addresses)
            .map(|own| own.ip.to_string())
            .collect();
        found.push(Finding::new(
            Cause::AddressMissing,
            format!("listener {address}: {NOT_HERE}; there are {}", own.join(", ")),
            "write an address of this host in [[listener]], or [::] for all, and restart gate and relay",
        ));
    }
    // While the gate is started again systemd alone has its sockets, in the store of its unit.
    let is_kept = |holder: &Holder| holder.pid == 1 && *relay == Relay::Dead;
    let foreign = seen.holders.iter().filter(|holder| holder.name != OURS && !is_kept(holder));
    let foreign: Vec<String> = foreign.map(ToString::to_string).collect();
    // `[::]` and one of its addresses exclude one another.
    let is_there =
        ours.is_some() || seen.sockets.iter().any(|one| is_in_the_way(one.address, address));
    if is_there && !seen.holders.is_empty() && foreign.len() == seen.holders.len() {
        found.push(Finding::new(
            Cause::PortTaken,
            format!("listener {address}: another program listens there: {}", foreign.join(", ")),
            format!("ss -ltnp sport = :{port} names it; stop it, or choose another port"),
        ));
        return found;
    }
    match ours {
        // Connections that wait come of the relay's own trouble then.
        Some(socket)
            if i64::from(socket.waiting) > i64::from(backlog())
                && !matches!(relay, Relay::Dead | Relay::Hangs) =>
        {
            found.push(Finding::new(
                Cause::BacklogFull,
                format!("listener {address}: {} connections wait to be accepted, more than the kernel keeps: it drops new ones", socket.waiting),
                "sysctl net.core.somaxconn=4096 and restart; if it is that already, the relay is too slow: sallyport status",
            ));
        }
        Some(_) => {}
        None if !seen.has_address => {}
        None => match seen.sockets.first() {
            Some(other) => found.push(Finding::new(
                Cause::ListensElsewhere,
                format!("listener {address}: nobody listens there, but on {}", other.address),
                "the processes run by another configuration: restart gate and relay, or name that file with --config",
            )),
            None => found.push(Finding::new(
                Cause::NotListening,
                format!("listener {address}: nobody listens there"),
                "start the gate, which makes the sockets, and the relay; after a change of [[listener]] restart both",
            )),
        },
    }
    // A queue that is full answers nobody.
    let is_full = found.iter().any(|found| found.cause == Cause::BacklogFull);
    let greeting = of_greeting(seen, relay).filter(|_| seen.has_address);
    found.extend(greeting.filter(|found| !(is_full && found.cause == Cause::Unanswered)));
    found
}

fn of_greeting(seen: &Seen, relay: &Relay) -> Option<Finding> {
    let Seen { address, greeting, own, .. } = seen;
    // A relay that does not run, or takes nobody, was told already.
    if matches!(relay, Relay::Dead | Relay::Waits(_)) {
        return None;
    }
    match greeting {
        // So was that it hangs.
        Greeting::Silence | Greeting::Unanswered if *relay == Relay::Hangs => None,
        Greeting::NotTried | Greeting::Unable(_) => None,
        // The firewall's check says why.
        Greeting::Unanswered | Greeting::Refused(_) if *own == Own::Told => None,
        Greeting::Unanswered => {
            let seconds = PATIENCE.as_secs();
            let attempt = format!(
                "listener {address} does not answer an attempt of this host itself to connect within {seconds} s"
            );
            Some(of_own(*address, &attempt, Cause::Unanswered, own))
        }
        Greeting::Refused(why) => {
            let attempt = format!(
                "listener {address}: an attempt of this host itself to connect is refused ({why})"
            );
            Some(of_own(*address, &attempt, Cause::NoGreeting, own))
        }
        Greeting::Said(line) if line.starts_with("220") => None,
        Greeting::Said(line) => Some(Finding::new(
            Cause::GreetingRefuses,
            format!("listener {address} greets with {line:?}"),
            "421 names a limit: [limits] sessions, or the room in the spool; anything else is another program",
        )),
        Greeting::Silence => Some(Finding::new(
            Cause::NoGreeting,
            format!(
                "listener {address} takes a connection of this host and does not greet within {} s",
                PATIENCE.as_secs()
            ),
            "the relay hangs, or is stopped: journalctl -u sallyport-relay, then restart it",
        )),
        Greeting::Ended(why) => Some(Finding::new(
            Cause::NoGreeting,
            format!("listener {address} takes a connection of this host and ends it: {why}"),
            "journalctl -u sallyport-relay says why it ends connections",
        )),
    }
}

/// Says that this host's own attempt was not taken: the listener's process never heard of it.
fn of_own(address: SocketAddr, attempt: &str, cause: Cause, own: &Own) -> Finding {
    let look = format!(
        "nft list ruleset, iptables-save and bpftool net show what filters here; sallyport status whether the gate lost \
         its program; ss -ltn sport = :{} whether connections wait (Recv-Q)",
        address.port()
    );
    match own {
        Own::Dropped(rule) => Finding::new(
            Cause::OwnStopped,
            format!("{attempt}, since the host's firewall stops it: {rule}"),
            "nothing, if that is meant: the firewall's check found no rule against clients",
        ),
        Own::Perhaps(rule) => Finding::new(
            cause,
            format!("{attempt}; a rule of the host's firewall may be why: {rule}"),
            format!("look whether that rule means this host; else {look}"),
        ),
        Own::Told | Own::Free => Finding::new(
            cause,
            format!("{attempt}: something on this host stops it before the relay hears of it"),
            look,
        ),
    }
}

/// Returns how many connections the kernel lets wait at a socket of ours.
fn backlog() -> u32 {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().unwrap_or(4096).min(4096)
}
