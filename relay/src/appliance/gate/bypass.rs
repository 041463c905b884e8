//! Ways around the first door, as the second door sees them.
//!
//! What the second door refuses although the first let it through is a *gate bypass*. It is one only if it is a
//! connection attempt that was really refused, that came from the network, while the first door stood, and not
//! so soon after a change of the list that the first door may have judged by the former one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use relay_common::addr::{Addr, Net};
use relay_common::state::Mode;
use relay_common::table::{SECOND_DOOR, Sample};
use relay_common::verdict::Reason;

use super::keeper::Keeper;
use super::telling::stands;
use super::unanswered::passed;
use crate::control::wire::Bypass;
use crate::event::Event;
use crate::event::wording::way_of;
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
    /// Those that made room since [`Bypasses::ended`] was asked last.
    displaced: Vec<String>,
    attempts: u64,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    first_ns: u64,
    last_ns: u64,
    told_ns: u64,
    attempts: u64,
    /// Those of the last attempt.
    vlan: u16,
    source: IpAddr,
}

/// One attempt by a way around the first door.
#[derive(Clone, Copy, Debug)]
struct Attempt<'a> {
    /// The way's name. Nobody who sends chooses a part of it: each new one is told, as often as there are interfaces.
    way: &'a str,
    /// The VLAN tag that it came with; 0 is none.
    vlan: u16,
    source: IpAddr,
    at_ns: u64,
}

impl Bypasses {
    /// Notes an attempt; returns how many there were by that way, if that is worth telling now.
    fn note(&mut self, attempt: Attempt<'_>) -> Option<u64> {
        let Attempt { way, vlan, source, at_ns } = attempt;
        self.attempts += 1;
        if !self.paths.contains_key(way) && self.paths.len() == PATHS_MAX {
            // One that is in use makes no room: else ways that come and go would be told at each attempt.
            let oldest = self.paths.iter().min_by_key(|(_, path)| path.last_ns);
            let idle = |path: &Path| at_ns.saturating_sub(path.last_ns) >= TELL_AGAIN_NS;
            let oldest = oldest.filter(|(_, path)| idle(path)).map(|(name, _)| name.clone())?;
            self.paths.remove(&oldest);
            self.displaced.push(oldest);
        }
        let new = Path { first_ns: at_ns, last_ns: at_ns, told_ns: 0, attempts: 0, vlan, source };
        let path = self.paths.entry(way.to_owned()).or_insert(new);
        path.attempts += 1;
        (path.last_ns, path.vlan, path.source) = (at_ns, vlan, source);
        let due = path.attempts == 1 || at_ns.saturating_sub(path.told_ns) >= TELL_AGAIN_NS;
        if due {
            path.told_ns = at_ns;
        }
        due.then_some(path.attempts)
    }

    /// Forgets the ways that nobody used for an hour, and returns the names of those that are told no more: one that
    /// goes by the same name as a way in use is still told.
    fn ended(&mut self, now_ns: u64) -> Vec<String> {
        let mut ended = std::mem::take(&mut self.displaced);
        self.paths.retain(|name, path| {
            let is_used = path.is_used(now_ns);
            if !is_used {
                ended.push(name.clone());
            }
            is_used
        });
        ended.retain(|way| self.paths.keys().all(|used| way_of(used) != way_of(way)));
        ended
    }

    /// Returns how many attempts there were by any way since the process began.
    pub const fn total(&self) -> u64 {
        self.attempts
    }

    /// Returns the ways for people.
    pub fn list(&self, now: Moment) -> Vec<Bypass> {
        let bypass = |(way, seen): (&String, &Path)| Bypass {
            path: tagged(way, seen.vlan),
            since: now.wall_of(seen.first_ns),
            last: now.wall_of(seen.last_ns),
            attempts: seen.attempts,
            source: seen.source,
        };
        self.paths.iter().filter(|(_, path)| path.is_used(now.boot_ns)).map(bypass).collect()
    }
}

/// Says for people by which way an attempt came.
fn tagged(way: &str, vlan: u16) -> String {
    if vlan == 0 { way.to_owned() } else { format!("{way}, VLAN {vlan}") }
}

impl Path {
    const fn is_used(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) < OVER_NS
    }
}

fn is_admitted(sample: &Sample) -> bool {
    Reason::from_index(sample.reason.into()).is_some_and(|reason| !reason.drops())
}

impl Keeper {
    /// Takes the samples of the last tick: who is refused, in whose name attempts come, and what went around the first
    /// door. A way that nobody used for an hour is over.
    pub(super) fn take_samples(&mut self, now: Moment) {
        for path in self.bypasses.ended(now.boot_ns) {
            self.journal.write(Event::GateBypassOver { path });
        }
        let samples = self.gate.samples();
        let second = samples.iter().any(|sample| sample.door == SECOND_DOOR);
        // Asked now: what the last look saw may be a second old.
        let first_stands = second && self.gate.health().iter().all(|one| stands(&one.state));
        for sample in samples {
            let Some(source) = source(sample.family, sample.source) else { continue };
            if is_admitted(&sample) {
                self.note_admitted(source, sample);
            } else if sample.door != SECOND_DOOR {
                self.watching.talkers.note(source, sample.reason);
                self.watching.refused_frames.note(sample);
            } else if first_stands && self.is_bypass(&sample) {
                let (way, vlan, at_ns) = (self.way(sample.interface), sample.vlan, now.boot_ns);
                let source = IpAddr::from(source);
                let attempt = Attempt { way: &way, vlan, source, at_ns };
                if let Some(attempts) = self.bypasses.note(attempt) {
                    let vlan = Some(vlan).filter(|vlan| *vlan > 0);
                    self.journal.write(Event::GateBypass { path: way, vlan, source, attempts });
                }
            }
        }
    }

    /// Keeps a frame in the name of a listed source.
    fn note_admitted(&mut self, source: Addr, sample: Sample) {
        // The entry may be gone since.
        let Some(entry) = self.lists.allow.admitting(Net::from(IpAddr::from(source))) else {
            return;
        };
        let gate = self.gate.as_ref();
        self.watching.unanswered.see(entry.net, || passed(gate, &entry.net));
        self.watching.admitted_frames.note(sample);
    }

    fn is_bypass(&self, sample: &Sample) -> bool {
        let reason = Reason::from_index(sample.reason.into());
        let for_its_source =
            matches!(reason, Some(Reason::UnlistedSyn | Reason::Banned | Reason::MappedSource));
        let settled = sample.at_ns.saturating_sub(self.changed_ns) > SETTLED_NS;
        let enforced = self.gate.switched().mode == Mode::Enforce;
        for_its_source && settled && enforced
    }

    /// Names the way through an interface.
    fn way(&self, number: u32) -> String {
        let Ok(Some(interface)) = netlink::by_index(number) else {
            return format!("interface number {number}, which is gone");
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
        format!("{name}, {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(way: &str, at_ns: u64) -> Attempt<'_> {
        Attempt { way, vlan: 0, source: IpAddr::from([192, 0, 2, 1]), at_ns }
    }

    #[test]
    fn a_way_is_told_first_and_then_once_a_minute_and_ways_are_bounded() {
        let mut bypasses = Bypasses::default();
        let second = 1_000_000_000;
        assert_eq!(bypasses.note(by("a", second)), Some(1));
        let told = (2..=61).filter_map(|n| bypasses.note(by("a", n * second))).count();
        assert_eq!(told, 1, "after a minute");
        for n in 0..200 {
            bypasses.note(by(&format!("path {n}"), second));
        }
        let at = |seconds| Moment { wall: jiff::Timestamp::UNIX_EPOCH, boot_ns: seconds * second };
        let list = bypasses.list(at(61));
        assert_eq!(list.len(), PATHS_MAX);
        assert_eq!((list[0].path.as_str(), list[0].attempts), ("a", 61));
        assert_eq!(bypasses.ended(62 * second), [""; 0]);
        assert_eq!(bypasses.note(by("new", 62 * second)), Some(1), "the oldest made way");
        assert_eq!(bypasses.ended(62 * second), ["path 0"]);
        assert_eq!(bypasses.list(at(62)).len(), PATHS_MAX);
        assert_eq!(bypasses.total(), 262);
    }

    #[test]
    fn ways_that_come_and_go_are_told_as_often_as_they_are_remembered() {
        let mut bypasses = Bypasses::default();
        let told =
            (0..4096).filter_map(|n| bypasses.note(by(&format!("interface number {n}"), n + 1)));
        assert_eq!(told.count(), PATHS_MAX);
        assert_eq!(bypasses.total(), 4096);
    }

    #[test]
    fn whoever_sends_another_tag_each_time_comes_by_one_way() {
        let mut bypasses = Bypasses::default();
        let attempt = |vlan| Attempt { vlan, ..by("eth1, which is not guarded", 5) };
        assert_eq!((0..4095).filter_map(|vlan| bypasses.note(attempt(vlan))).count(), 1);
        let list = bypasses.list(Moment { wall: jiff::Timestamp::UNIX_EPOCH, boot_ns: 6 });
        let [way] = &list[..] else { panic!("{list:?}") };
        assert_eq!(
            (way.path.as_str(), way.attempts),
            ("eth1, which is not guarded, VLAN 4094", 4095)
        );
    }

    #[test]
    fn a_way_that_nobody_uses_any_more_is_over_after_an_hour_and_what_was_counted_stays() {
        let mut bypasses = Bypasses::default();
        let at = |boot_ns| Moment { wall: jiff::Timestamp::UNIX_EPOCH, boot_ns };
        assert_eq!(bypasses.note(by("a", 5)), Some(1));
        assert_eq!(bypasses.list(at(OVER_NS)).len(), 1);
        assert_eq!(bypasses.list(at(OVER_NS + 5)), []);
        assert_eq!(bypasses.ended(OVER_NS), [""; 0], "it was used within the hour");
        assert_eq!(bypasses.ended(OVER_NS + 5), ["a"]);
        assert_eq!(bypasses.ended(OVER_NS + 5), [""; 0], "that is said once");
        assert_eq!(bypasses.note(by("a", OVER_NS + 5)), Some(1), "it is told anew");
        assert_eq!(bypasses.total(), 2);
    }

    #[test]
    fn a_way_goes_on_under_its_name_after_the_reason_for_it_changed() {
        let mut bypasses = Bypasses::default();
        bypasses.note(by("eth1, which is not guarded", 5));
        bypasses.note(by("eth1, which is guarded", 9));
        assert_eq!(bypasses.ended(OVER_NS + 5), [""; 0]);
        assert_eq!(bypasses.ended(OVER_NS + 9), ["eth1, which is guarded"]);
    }
}
