//! Whether clients can connect to each listener, and what people are told if they cannot.
//!
//! `status` has it at once. People are told of what lasts: a relay needs a moment to show its sockets to a gate that comes
//! back, and an address is given to an interface again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use super::approaches::{LASTS, NEVER};
use super::keeper::Keeper;
use super::lasting::{Lasting, Looks};
use super::listeners::Listeners;
use crate::bound::{NOT_HERE, has_address};
use crate::event::Event;
use crate::event::alert::Severity;
use crate::gate::approach::Approach;
use crate::gate::clocks::Moment;

/// How long a relay that serves may take to show its sockets to a gate that comes back: it tries four times a
/// second.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// Whether clients can connect to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    /// They can, as far as this host goes.
    Well,
    /// There is no socket: why.
    NoSocket(String),
    /// This host lost its address. The socket goes on listening: with the address its clients come back.
    NoAddress,
    /// It lost its address with an interface that is down, of which people are told.
    NoInterface,
}

impl Stand {
    /// Says what is wrong; none if nothing is that is not said of an interface.
    fn problem(&self) -> Option<String> {
        match self {
            Self::Well | Self::NoInterface => None,
            Self::NoSocket(problem) => Some(problem.clone()),
            // Of IPv6 also one that is not used yet, or since another host has it too (RFC 4862, section 5.4).
            Self::NoAddress => Some(format!(
                "{NOT_HERE} any more (or it is a duplicate: dadfailed); see `ip address`"
            )),
        }
    }
}

/// What was seen of the listeners so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looks: Looks,
    listeners: BTreeMap<SocketAddr, Lasting>,
}

impl Watch {
    /// Takes a look `at` this moment of the boot clock. Returns what is to be told now.
    fn look(&mut self, seen: Vec<(SocketAddr, Stand)>, at: Duration) -> Vec<Event> {
        let passed = self.looks.begin(at);
        let is_any_well = seen.iter().any(|(_, stand)| *stand == Stand::Well);
        let severity = if is_any_well { Severity::Warning } else { Severity::Critical };
        let mut told = Vec::new();
        for (listener, stand) in seen {
            let watched = self.listeners.entry(listener).or_default();
            let patience = match stand {
                Stand::Well => {
                    told.extend(watched.is_well().then_some(Event::ListenerUp { listener }));
                    continue;
                }
                Stand::NoInterface => continue,
                Stand::NoSocket(_) => SHOWN_WITHIN,
                Stand::NoAddress if watched.was_well() => LASTS,
                Stand::NoAddress => NEVER,
            };
            if let (Some(problem), Some(down_for)) =
                (stand.problem(), watched.is_wrong(passed, at, patience))
            {
                told.push(Event::ListenerDown { listener, severity, problem, down_for });
            }
        }
        told
    }
}

impl Keeper {
    /// Looks whether clients can connect to the listeners, and tells what lasts. Called each second, after the look at
    /// the interfaces.
    pub(super) fn look_at_listeners(&mut self, now: Moment) {
        let is_shut = |by: &Approach| by.words().is_some();
        let is_any_shut = self.approaches.seen.guarded.iter().any(is_shut);
        let seen = stands(&self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        let with_interface = |(listener, stand)| match stand {
            Stand::NoAddress if is_any_shut => (listener, Stand::NoInterface),
            stand => (listener, stand),
        };
        let seen = seen.into_iter().map(with_interface).collect();
        for event in self.standing.look(seen, Duration::from_nanos(now.boot_ns)) {
            self.journal.write(event);
        }
    }
}

/// Returns what is wrong with the listeners, a sentence each.
pub(super) fn problems(listeners: &Listeners) -> Vec<String> {
    let problem = |(address, stand): (SocketAddr, Stand)| {
        stand.problem().map(|problem| format!("listener {address}: {problem}"))
    };
    stands(listeners).into_iter().filter_map(problem).collect()
}

fn stands(listeners: &Listeners) -> Vec<(SocketAddr, Stand)> {
    let stand = |(address, problem): (SocketAddr, Option<&str>)| match problem {
        Some(problem) => (address, Stand::NoSocket(problem.to_owned())),
        None if address.ip().is_unspecified() || has_address(address) => (address, Stand::Well),
        None => (address, Stand::NoAddress),
    };
    listeners.each().map(stand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 254], port).into()
    }

    /// Looks each second of a range; returns when something is told, and what.
    fn told(
        watch: &mut Watch,
        seconds: std::ops::Range<u64>,
        seen: &[(u16, Stand)],
    ) -> Vec<(u64, Event)> {
        let seen = || seen.iter().map(|(port, stand)| (address(*port), stand.clone())).collect();
        let look = |second| watch.look(seen(), Duration::from_secs(second));
        let looks: Vec<_> = seconds.clone().map(look).collect();
        let with_time =
            |(second, told): (u64, Vec<Event>)| told.into_iter().map(move |event| (second, event));
        seconds.zip(looks).flat_map(with_time).collect()
    }

    fn down(port: u16, severity: Severity, stand: &Stand, seconds: u64) -> Event {
        let (listener, problem) = (address(port), stand.problem().unwrap());
        let down_for = Duration::from_secs(seconds);
        Event::ListenerDown { listener, severity, problem, down_for }
    }

    #[test]
    fn a_socket_that_nobody_shows_in_time_is_told_once_and_so_is_its_end() {
        let (well, taken) = (Stand::Well, Stand::NoSocket("it is taken".into()));
        let mut watch = Watch::default();
        assert_eq!(told(&mut watch, 0..4, &[(25, taken.clone()), (26, well.clone())]), []);
        assert_eq!(told(&mut watch, 4..9, &[(25, well.clone()), (26, well.clone())]), [], "shown");
        let lasting = told(&mut watch, 9..90, &[(25, taken.clone()), (26, well.clone())]);
        assert_eq!(lasting, [(13, down(25, Severity::Warning, &taken, 4))]);
        let both = told(&mut watch, 90..190, &[(25, taken.clone()), (26, taken.clone())]);
        assert_eq!(both, [(94, down(26, Severity::Critical, &taken, 4))]);
        let over = told(&mut watch, 190..200, &[(25, taken), (26, well)]);
        assert_eq!(over, [(190, Event::ListenerUp { listener: address(26) })]);
    }

    #[test]
    fn an_address_that_is_gone_is_told_when_that_lasts_and_not_beside_its_interface() {
        let (gone, down_too) = (Stand::NoAddress, Stand::NoInterface);
        let mut watch = Watch::default();
        let booting = told(&mut watch, 0..400, &[(25, gone.clone())]);
        assert_eq!(booting, [(180, down(25, Severity::Critical, &gone, 180))]);
        assert_eq!(told(&mut watch, 400..500, &[(25, down_too.clone())]), [], "no end of it");
        let over = told(&mut watch, 500..510, &[(25, Stand::Well)]);
        assert_eq!(over, [(500, Event::ListenerUp { listener: address(25) })]);
        assert_eq!(told(&mut watch, 510..700, &[(25, down_too)]), []);
        let lasting = told(&mut watch, 700..800, &[(25, gone.clone())]);
        assert_eq!(lasting, [(759, down(25, Severity::Critical, &gone, 59))]);
    }

    #[test]
    fn a_listener_whose_address_is_gone_is_told_with_what_may_be_the_cause() {
        let problem = Stand::NoAddress.problem().unwrap();
        assert!(problem.starts_with(NOT_HERE) && problem.contains("dadfailed"), "{problem}");
    }
}
