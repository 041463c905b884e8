//! Whether clients can come by the guarded interfaces, and what people are told if they cannot.
//!
//! `status` and the metrics have it at once. People are told of what lasts: a cable is put in again, and at a boot the
//! gate stands before the network does.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::keeper::{Keeper, Pending};
use super::standing;
use super::telling::guarded_ports;
use crate::appliance::lasting::{Lasting, Looks};
use crate::bound::has_address;
use crate::event::Event;
use crate::event::alert::Severity;
use crate::gate::approach::{Approach, Approaches};
use crate::gate::clocks::Moment;
use crate::gate::{Health, InterfaceState, local_ports};

/// How long nobody can come by an interface before people are told.
pub(super) const LASTS: Duration = Duration::from_secs(60);

/// The same of one by which nobody could come yet since the gate started: a boot waits for the network, by default up
/// to two minutes.
pub(super) const NEVER: Duration = Duration::from_secs(180);

/// What was seen of the guarded interfaces so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What was seen last.
    pub seen: Approaches,
    looks: Looks,
    interfaces: BTreeMap<String, Lasting>,
}

impl Watch {
    /// Takes a look `at` this moment of the boot clock: the interfaces as they are configured, whether clients can come by
    /// one, and why not. Returns what is to be told now. One of which nobody knows stays as it was.
    fn look(&mut self, seen: Vec<(String, Approach, Option<String>)>, at: Duration) -> Vec<Event> {
        let passed = self.looks.begin(at);
        let is_open = seen.iter().any(|(_, by, _)| *by == Approach::Open);
        let severity = if is_open { Severity::Warning } else { Severity::Critical };
        let mut told = Vec::new();
        for (interface, _, problem) in
            seen.into_iter().filter(|(_, by, _)| *by != Approach::Unknown)
        {
            let watched = self.interfaces.entry(interface.clone()).or_default();
            let Some(problem) = problem else {
                told.extend(watched.note_well().then_some(Event::InterfaceUp { interface }));
                continue;
            };
            let patience = if watched.was_well() { LASTS } else { NEVER };
            if let Some(down_for) = watched.note_wrong(passed, at, patience) {
                told.push(Event::InterfaceDown { interface, severity, problem, down_for });
            }
        }
        told
    }
}

impl Keeper {
    /// Looks whether clients can come, and tells what lasts. Called each second, and when an interface changes.
    pub(super) fn look_at_approaches(&mut self, now: Moment) {
        self.approaches.seen = self.seen_approaches();
        let of = |(one, by): (&Health, &Approach)| {
            (one.interface.clone(), *by, by.problem(current_name(one)))
        };
        let seen = self.health.iter().zip(&self.approaches.seen.guarded).map(of).collect();
        for event in self.approaches.look(seen, Duration::from_nanos(now.boot_ns)) {
            self.journal.write(event);
        }
    }

    /// Asks the kernel whether clients can come.
    pub(super) fn seen_approaches(&self) -> Approaches {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).addresses();
        self.gate.approaches().with(&listeners, has_address)
    }

    /// Returns what is wrong besides interfaces and spikes.
    pub(super) fn problems(&self) -> Vec<String> {
        let Pending { allow_file, bans_file, tables, counters, restart, audit } = &self.pending;
        let pending = [allow_file, bans_file, tables, counters, restart, audit];
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problems = self.lists.damages.clone();
        problems.extend(pending.into_iter().flatten().cloned());
        problems.extend(standing::problems(&listeners));
        problems.extend(self.gate.pins_problem());
        problems.extend(local_ports::problem(&guarded_ports(&self.config)));
        problems
    }
}

/// Returns the name that an interface has now.
pub(super) fn current_name(health: &Health) -> &str {
    match &health.state {
        InterfaceState::Guarded { renamed: Some(name), .. } => name,
        InterfaceState::Guarded { renamed: None, .. }
        | InterfaceState::Missing
        | InterfaceState::Foreign { .. }
        | InterfaceState::NoInterface
        | InterfaceState::Unknown { .. }
        | InterfaceState::Off => &health.interface,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each second of a range; returns when something is told, and what.
    fn told(
        watch: &mut Watch,
        seconds: std::ops::Range<u64>,
        seen: &[(&str, Approach)],
    ) -> Vec<(u64, Event)> {
        let of =
            |(name, state): &(&str, Approach)| ((*name).to_owned(), *state, state.problem(name));
        let seen = || seen.iter().map(of);
        let at = |second| (second, Duration::from_secs(second));
        let looks = seconds.map(at).map(|(second, at)| (second, watch.look(seen().collect(), at)));
        looks
            .flat_map(|(second, told)| told.into_iter().map(move |event| (second, event)))
            .collect()
    }

    fn down(interface: &str, severity: Severity, approach: Approach, seconds: u64) -> Event {
        let (interface, problem) = (interface.to_owned(), approach.problem(interface).unwrap());
        let down_for = Duration::from_secs(seconds);
        Event::InterfaceDown { interface, severity, problem, down_for }
    }

    #[test]
    fn a_link_that_stays_down_is_told_once_and_so_is_its_end() {
        let (open, off) = (Approach::Open, Approach::Off);
        let mut watch = Watch::default();
        assert_eq!(told(&mut watch, 0..9, &[("eth0", open), ("eth1", open)]), []);
        assert_eq!(told(&mut watch, 9..40, &[("eth0", off), ("eth1", open)]), []);
        assert_eq!(told(&mut watch, 40..41, &[("eth0", open), ("eth1", open)]), [], "it came back");
        let lasting = told(&mut watch, 41..200, &[("eth0", off), ("eth1", open)]);
        assert_eq!(lasting, [(100, down("eth0", Severity::Warning, off, 59))]);
        let both = told(&mut watch, 200..300, &[("eth0", off), ("eth1", Approach::NoAddress)]);
        assert_eq!(both, [(259, down("eth1", Severity::Critical, Approach::NoAddress, 59))]);
        let over = told(&mut watch, 300..310, &[("eth0", open), ("eth1", Approach::NoCarrier)]);
        assert_eq!(over, [(300, Event::InterfaceUp { interface: "eth0".into() })]);
    }

    #[test]
    fn what_nobody_knows_ends_nothing_and_is_no_way_in() {
        let (open, off, unknown) = (Approach::Open, Approach::Off, Approach::Unknown);
        let mut watch = Watch::default();
        told(&mut watch, 0..1, &[("eth0", open), ("eth1", unknown)]);
        let lasting = told(&mut watch, 1..100, &[("eth0", off), ("eth1", unknown)]);
        assert_eq!(lasting, [(60, down("eth0", Severity::Critical, off, 59))]);
        assert_eq!(told(&mut watch, 100..400, &[("eth0", unknown), ("eth1", unknown)]), []);
        let over = told(&mut watch, 400..401, &[("eth0", open), ("eth1", unknown)]);
        assert_eq!(over, [(400, Event::InterfaceUp { interface: "eth0".into() })]);
        let mut watch = Watch::default();
        told(&mut watch, 0..1, &[("eth0", open)]);
        assert_eq!(told(&mut watch, 1..40, &[("eth0", off)]), []);
        assert_eq!(told(&mut watch, 40..100, &[("eth0", unknown)]), [], "it does not count");
        let lasting = told(&mut watch, 100..130, &[("eth0", off)]);
        assert_eq!(lasting, [(120, down("eth0", Severity::Critical, off, 119))]);
    }

    #[test]
    fn a_boot_and_a_host_that_slept_have_time_to_find_their_network() {
        let off = [("eth0", Approach::NoCarrier)];
        let mut watch = Watch::default();
        let booting = told(&mut watch, 0..400, &off);
        assert_eq!(booting, [(180, down("eth0", Severity::Critical, Approach::NoCarrier, 180))]);
        let mut watch = Watch::default();
        told(&mut watch, 0..2, &[("eth0", Approach::Open)]);
        assert_eq!(told(&mut watch, 2..3, &off), []);
        assert_eq!(told(&mut watch, 9_000..9_030, &off), [], "it slept meanwhile");
    }
}
