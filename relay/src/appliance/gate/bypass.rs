//! Ways around the first door, as the second door sees them.
//!
//! What the second door refuses although the first let it through is a *gate bypass*. It is one only if it is a
//! connection attempt that was really refused, that came from the network, while the first door stood, and not
//! so soon after a change of the list that the first door may have judged by the former one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use relay_common::state::Mode;
use relay_common::table::{SECOND_DOOR, Sample};
use relay_common::verdict::Reason;

use super::keeper::Keeper;
use super::telling::stands;
use crate::control::wire::Bypass;
use crate::event::Event;
use crate::gate::clocks::Moment;
use crate::gate::netlink;
use crate::watch::talkers::source;

/// For how long after a change of the list a refusal at the second door means nothing.
const SETTLED_NS: u64 = 1_000_000_000;
/// The ways that are remembered.
const PATHS_MAX: usize = 64;
/// A way that was used by nobody for so long is over: it was mended, or who came by it went.
const OVER_NS: u64 = 3_600_000_000_000;
/// How often a way is told that is used again and again.
const TELL_AGAIN_NS: u64 = 60_000_000_000;

/// The ways that were used within the last hour, by their names.
#[derive(Debug, Default)]
pub(super) struct Bypasses {
    paths: BTreeMap<String, Path>,
    attempts: u64,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    first_ns: u64,
    last_ns: u64,
    told_ns: u64,
    attempts: u64,
    source: IpAddr,
}

impl Bypasses {
    /// Notes an attempt; returns how many there were by that way, if that is worth telling now.
    fn note(&mut self, path: &str, source: IpAddr, at_ns: u64) -> Option<u64> {
        self.attempts += 1;
        self.paths.retain(|_, path| path.is_used(at_ns));
        if !self.paths.contains_key(path) && self.paths.len() == PATHS_MAX {
            // A way is named by its tag, too, which whoever sends chooses: one that is in use makes no room, so
            // that a new way at each attempt is not told at each.
            let oldest = self.paths.iter().min_by_key(|(_, path)| path.last_ns);
            let idle = |path: &Path| at_ns.saturating_sub(path.last_ns) >= TELL_AGAIN_NS;
            let oldest = oldest.filter(|(_, path)| idle(path)).map(|(name, _)| name.clone())?;
            self.paths.remove(&oldest);
        }
        let new = Path { first_ns: at_ns, last_ns: at_ns, told_ns: 0, attempts: 0, source };
        let path = self.paths.entry(path.to_owned()).or_insert(new);
        path.attempts += 1;
        (path.last_ns, path.source) = (at_ns, source);
        let due = path.attempts == 1 || at_ns.saturating_sub(path.told_ns) >= TELL_AGAIN_NS;
        if due {
            path.told_ns = at_ns;
        }
        due.then_some(path.attempts)
    }

    /// Returns how many attempts there were by any way since the process began.
    pub const fn total(&self) -> u64 {
        self.attempts
    }

    /// Returns the ways for people.
    pub fn list(&self, now: Moment) -> Vec<Bypass> {
        let bypass = |(path, seen): (&String, &Path)| Bypass {
            path: path.clone(),
            since: now.wall_of(seen.first_ns),
            last: now.wall_of(seen.last_ns),
            attempts: seen.attempts,
            source: seen.source,
        };
        self.paths.iter().filter(|(_, path)| path.is_used(now.boot_ns)).map(bypass).collect()
    }
}

impl Path {
    const fn is_used(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) < OVER_NS
    }
}

impl Keeper {
    /// Takes the samples of the last tick: who is refused, and what went around the first door.
    pub(super) fn take_samples(&mut self, now: Moment) {
        let samples = self.gate.samples();
        let second = samples.iter().any(|sample| sample.door == SECOND_DOOR);
        // Asked now: what the last look saw may be a second old.
        let first_stands = second && self.gate.health().iter().all(|one| stands(&one.state));
        for sample in samples {
            let Some(source) = source(sample.family, sample.source) else { continue };
            if sample.door != SECOND_DOOR {
                self.watching.talkers.note(source, sample.reason);
                self.watching.note(sample);
            } else if first_stands && self.is_bypass(&sample) {
                let path = self.path(&sample);
                let source = IpAddr::from(source);
                if let Some(attempts) = self.bypasses.note(&path, source, now.boot_ns) {
                    self.journal.write(Event::GateBypass { path, source, attempts });
                }
            }
        }
    }

    fn is_bypass(&self, sample: &Sample) -> bool {
        let reason = Reason::from_index(sample.reason.into());
        let for_its_source =
            matches!(reason, Some(Reason::UnlistedSyn | Reason::Banned | Reason::MappedSource));
        let settled = sample.at_ns.saturating_sub(self.changed_ns) > SETTLED_NS;
        let enforced = self.gate.switched().mode == Mode::Enforce;
        for_its_source && settled && enforced
    }

    /// Says by which way a segment came.
    fn path(&self, sample: &Sample) -> String {
        let vlan = if sample.vlan == 0 { String::new() } else { format!(", VLAN {}", sample.vlan) };
        let Ok(Some(interface)) = netlink::by_index(sample.interface) else {
            return format!("interface number {}, which is gone{vlan}", sample.interface);
        };
        let name = match &interface.kind {
            Some(kind) => format!("{} ({kind})", interface.name),
            None => interface.name.clone(),
        };
        let is_guarded = self.config.gate.interfaces.contains(&interface.name);
        let why = if is_guarded {
            "which is guarded: a redirection to the port, or something that the first door cannot see \
             through, for instance a tunnel that ends on this host"
        } else if interface.ethernet {
            "which is not guarded: name it in gate.interfaces"
        } else {
            "on which no first door can stand, since its frames have no header of Ethernet: end it elsewhere, \
             or filter it there"
        };
        format!("{name}, {why}{vlan}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_told_first_and_then_once_a_minute_and_ways_are_bounded() {
        let mut bypasses = Bypasses::default();
        let source = IpAddr::from([192, 0, 2, 1]);
        let second = 1_000_000_000;
        assert_eq!(bypasses.note("a", source, second), Some(1));
        let told = (2..=61).filter_map(|n| bypasses.note("a", source, n * second)).count();
        assert_eq!(told, 1, "after a minute");
        for n in 0..200 {
            bypasses.note(&format!("path {n}"), source, second);
        }
        let at = |seconds| Moment { wall: jiff::Timestamp::UNIX_EPOCH, boot_ns: seconds * second };
        let list = bypasses.list(at(61));
        assert_eq!(list.len(), PATHS_MAX);
        assert_eq!((list[0].path.as_str(), list[0].attempts), ("a", 61));
        assert_eq!(bypasses.note("new", source, 62 * second), Some(1), "the oldest made way");
        assert_eq!(bypasses.list(at(62)).len(), PATHS_MAX);
        assert_eq!(bypasses.total(), 262);
    }

    #[test]
    fn whoever_takes_a_new_way_each_time_is_told_of_no_more_ways_than_are_remembered() {
        let mut bypasses = Bypasses::default();
        let source = IpAddr::from([192, 0, 2, 1]);
        let told = (0..4096).filter_map(|n| bypasses.note(&format!("VLAN {n}"), source, n + 1));
        assert_eq!(told.count(), PATHS_MAX);
        assert_eq!(bypasses.total(), 4096);
    }

    #[test]
    fn a_way_that_nobody_uses_any_more_is_over_after_an_hour_and_what_was_counted_stays() {
        let mut bypasses = Bypasses::default();
        let source = IpAddr::from([192, 0, 2, 1]);
        let at = |boot_ns| Moment { wall: jiff::Timestamp::UNIX_EPOCH, boot_ns };
        assert_eq!(bypasses.note("a", source, 5), Some(1));
        assert_eq!(bypasses.list(at(OVER_NS)).len(), 1);
        assert_eq!(bypasses.list(at(OVER_NS + 5)), []);
        assert_eq!(bypasses.note("a", source, OVER_NS + 5), Some(1), "it is told anew");
        assert_eq!(bypasses.total(), 2);
    }
}
