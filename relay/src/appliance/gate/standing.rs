//! Whether clients are served at each listener, and what people are told if they are not.
//!
//! `status` has it at once. People are told of what lasts: a relay needs a moment to show its sockets to a gate that comes
//! back, and an address is given to an interface again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use super::approaches::{LASTS, NEVER};
use super::keeper::Keeper;
use super::listeners::Listeners;
use crate::appliance::lasting::{Lasting, Looks};
use crate::bound::{NOT_HERE, has_address};
use crate::event::Event;
use crate::event::alert::Severity;
use crate::gate::approach::Approach;
use crate::gate::clocks::Moment;

/// How long a relay that serves may take to show its sockets to a gate that comes back: it tries four times a
/// second.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// Whether clients are served at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    /// They are, as far as this host's sockets go.
    Well,
    /// There is no socket: why.
    NoSocket(String),
    /// This host lost its address. The socket goes on listening: with the address its clients come back.
    NoAddress,
}

impl Stand {
    /// Says what is wrong; none if nothing is.
    fn problem(&self) -> Option<String> {
        match self {
            Self::Well => None,
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
    /// Takes a look `at` this moment of the boot clock. Returns what is to be told now. Where no guarded interface leads
    /// here, people are told of that, and not of the addresses that went with it.
    fn look(
        &mut self,
        seen: Vec<(SocketAddr, Stand)>,
        leads_here: bool,
        at: Duration,
    ) -> Vec<Event> {
        let passed = self.looks.begin(at);
        let severity = severity(&seen);
        let mut told = Vec::new();
        for (listener, stand) in seen {
            let watched = self.listeners.entry(listener).or_default();
            let patience = match stand {
                Stand::Well => {
                    told.extend(watched.note_well().then_some(Event::ListenerUp { listener }));
                    continue;
                }
                Stand::NoSocket(_) => SHOWN_WITHIN,
                Stand::NoAddress if !leads_here => continue,
                Stand::NoAddress if watched.was_well() => LASTS,
                Stand::NoAddress => NEVER,
            };
            if let (Some(problem), Some(down_for)) =
                (stand.problem(), watched.note_wrong(passed, at, patience))
            {
                told.push(Event::ListenerDown { listener, severity, problem, down_for });
            }
        }
        told
    }
}

/// Returns how bad it is that one of the listeners is lost: clients of other hosts come to none of loopback.
fn severity(seen: &[(SocketAddr, Stand)]) -> Severity {
    let is_own = |(address, _): &&(SocketAddr, Stand)| !address.ip().to_canonical().is_loopback();
    let has_own = seen.iter().any(|one| is_own(&one));
    let mut count = seen.iter().filter(|one| is_own(one) || !has_own);
    let serves = count.any(|(_, stand)| *stand == Stand::Well);
    if serves { Severity::Warning } else { Severity::Critical }
}

impl Keeper {
    /// Looks whether clients are served at the listeners, and tells what lasts. Called each second, after the look at
    /// the interfaces.
    pub(super) fn look_at_listeners(&mut self, now: Moment) {
        let seen =
            stands(&self.listeners.lock().unwrap_or_else(PoisonError::into_inner), has_address);
        let leads_here = leads_here(&self.approaches.seen.guarded);
        for event in self.standing.look(seen, leads_here, Duration::from_nanos(now.boot_ns)) {
            self.journal.write(event);
        }
    }
}

/// Tells whether clients may come by a guarded interface; where there is none, by whichever.
fn leads_here(guarded: &[Approach]) -> bool {
    guarded.is_empty() || guarded.iter().any(|by| by.words().is_none())
}

/// Returns what is wrong with the listeners, a sentence each.
pub(super) fn problems(listeners: &Listeners) -> Vec<String> {
    let problem = |(address, stand): (SocketAddr, Stand)| {
        stand.problem().map(|problem| format!("listener {address}: {problem}"))
    };
    stands(listeners, has_address).into_iter().filter_map(problem).collect()
}

/// Returns how each listener stands; `is_here` tells whether this host takes connections to an address.
fn stands(listeners: &Listeners, is_here: impl Fn(SocketAddr) -> bool) -> Vec<(SocketAddr, Stand)> {
    let stand = |(address, problem): (SocketAddr, Option<&str>)| match problem {
        Some(problem) => (address, Stand::NoSocket(problem.to_owned())),
        None if address.ip().is_unspecified() || is_here(address) => (address, Stand::Well),
        None => (address, Stand::NoAddress),
    };
    listeners.each().map(stand).collect()
}

#[cfg(test)]
mod tests {
    use super::super::listeners::Guarded;
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 254], port).into()
    }

    fn taken() -> Stand {
        Stand::NoSocket("it is taken".into())
    }

    /// Looks each second of a range; returns when something is told, and what.
    fn told(
        watch: &mut Watch,
        seconds: std::ops::Range<u64>,
        leads_here: bool,
        seen: &[(SocketAddr, Stand)],
    ) -> Vec<(u64, Event)> {
        let look =
            |second| (second, watch.look(seen.to_vec(), leads_here, Duration::from_secs(second)));
        let looks: Vec<_> = seconds.map(look).collect();
        let each =
            |(second, told): (u64, Vec<Event>)| told.into_iter().map(move |one| (second, one));
        looks.into_iter().flat_map(each).collect()
    }

    fn down(listener: SocketAddr, severity: Severity, stand: &Stand, seconds: u64) -> Event {
        let problem = stand.problem().unwrap();
        let down_for = Duration::from_secs(seconds);
        Event::ListenerDown { listener, severity, problem, down_for }
    }

    #[test]
    fn a_socket_that_nobody_shows_in_time_is_told_once_and_so_is_its_end() {
        let (one, other) = (address(25), address(26));
        let mut watch = Watch::default();
        let mut seen = |seconds, first: Stand, second: Stand| {
            told(&mut watch, seconds, true, &[(one, first), (other, second)])
        };
        assert_eq!(seen(0..5, taken(), Stand::Well), []);
        assert_eq!(seen(5..9, Stand::Well, Stand::Well), [], "it was shown in time");
        let first = down(one, Severity::Warning, &taken(), 4);
        assert_eq!(seen(9..90, taken(), Stand::Well), [(13, first)]);
        let last = down(other, Severity::Critical, &taken(), 4);
        assert_eq!(seen(90..190, taken(), taken()), [(94, last)]);
        let over = Event::ListenerUp { listener: other };
        assert_eq!(seen(190..200, taken(), Stand::Well), [(190, over)]);
    }

    #[test]
    fn an_address_that_is_gone_is_told_when_that_lasts_unless_no_interface_leads_here() {
        let one = address(25);
        let gone = [(one, Stand::NoAddress)];
        let lost = |seconds| down(one, Severity::Critical, &Stand::NoAddress, seconds);
        let mut watch = Watch::default();
        assert_eq!(
            told(&mut watch, 0..400, true, &gone),
            [(180, lost(180))],
            "a boot has its time"
        );
        assert_eq!(told(&mut watch, 400..500, false, &gone), [], "that is no end");
        let over = (500, Event::ListenerUp { listener: one });
        assert_eq!(told(&mut watch, 500..510, true, &[(one, Stand::Well)]), [over]);
        assert_eq!(told(&mut watch, 510..700, false, &gone), []);
        assert_eq!(told(&mut watch, 700..800, true, &gone), [(759, lost(59))]);
    }

    #[test]
    fn it_is_critical_where_clients_of_other_hosts_come_to_no_listener() {
        let loopback = |stand| (SocketAddr::from(([127, 0, 0, 1], 587)), stand);
        let own = |stand| (address(25), stand);
        for (row, seen, severity) in [
            ("another", vec![own(taken()), (address(26), Stand::Well)], Severity::Warning),
            ("none", vec![own(taken()), (address(26), Stand::NoAddress)], Severity::Critical),
            ("loopback is none", vec![own(taken()), loopback(Stand::Well)], Severity::Critical),
            ("of loopback", vec![own(Stand::Well), loopback(taken())], Severity::Warning),
            ("nothing but loopback", vec![loopback(taken())], Severity::Critical),
        ] {
            assert_eq!(super::severity(&seen), severity, "{row}");
        }
    }

    #[test]
    fn an_interface_by_which_nobody_comes_is_in_the_way_if_there_is_no_other() {
        let (open, off, unknown) = (Approach::Open, Approach::Off, Approach::Unknown);
        assert!(leads_here(&[]) && leads_here(&[off, open]) && leads_here(&[off, unknown]));
        assert!(!leads_here(&[off, Approach::NoAddress]));
    }

    #[test]
    fn a_listener_of_all_addresses_loses_none_and_one_of_its_own_says_what_may_be_the_cause() {
        let folder = tempfile::tempdir().unwrap();
        let places = ["127.0.0.1:0", "[::]:0"].map(|place| (place.parse().unwrap(), Guarded::No));
        let record = folder.path().join("listeners.json");
        let listeners = Listeners::open(&places, None, Vec::new(), record).unwrap();
        let seen = stands(&listeners, |_| false).into_iter().map(|(_, stand)| stand);
        assert_eq!(seen.collect::<Vec<_>>(), [Stand::NoAddress, Stand::Well]);
        assert_eq!(problems(&listeners), [""; 0], "loopback is here");
        let problem = Stand::NoAddress.problem().unwrap();
        assert!(problem.starts_with(NOT_HERE) && problem.contains("dadfailed"), "{problem}");
    }
}
