//! Whether a relay is heard, as the gate sees it: one that is attached tells a tally each tenth of a second.
//!
//! The relay tells people what is wrong, so nobody else tells them that it is away or hangs: the gate's journal does,
//! and the relay itself when it is back.

use std::time::Duration;

use super::keeper::Keeper;
use crate::event::Event;
use crate::gate::clocks::Moment;

/// How long a relay that is attached may tell nothing.
const HANGS: Duration = Duration::from_secs(10);

/// How long none may be attached: one that ends lets transactions come to their end for up to 25 s, then its alerts and
/// its tasks, and has to start. The unit gives it so long before it is killed (`TimeoutStopSec`).
const AWAY: Duration = Duration::from_secs(60);

/// How long none may be attached to a gate that never heard one: the gate stands before the network does, and the
/// relay waits for that at a boot, by default up to two minutes.
const NEVER: Duration = Duration::from_secs(180);

/// The most time that counts between two looks, which come each second: a gate that was stopped itself, or a host that
/// slept, heard nothing meanwhile.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Since when no relay is heard, in looks of this process.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    looked_at: Option<Duration>,
    /// For how long no tally came.
    unheard: Duration,
    /// For how long a relay has been attached.
    attached: Duration,
    was_heard: bool,
    is_told: bool,
}

impl Hearing {
    /// Takes a look `at` this moment of the boot clock, while a relay is attached or none is. Returns why nothing is
    /// heard, if that is to be told now.
    fn look(&mut self, at: Duration, is_attached: bool) -> Option<String> {
        let since =
            self.looked_at.replace(at).map_or(Duration::ZERO, |last| at.saturating_sub(last));
        let since = since.min(LOOK_MAX);
        self.unheard += since;
        self.attached = if is_attached { self.attached + since } else { Duration::ZERO };
        // One that has only just come has had no time to tell anything.
        let hangs = is_attached && self.unheard.min(self.attached) >= HANGS;
        let patience = if self.was_heard { AWAY } else { NEVER };
        let is_away = !is_attached && self.unheard >= patience;
        if self.is_told || !(hangs || is_away) {
            return None;
        }
        self.is_told = true;
        let after = self.unheard.as_secs();
        Some(if hangs {
            format!("it is attached and has told nothing for {after} s: it hangs, or was stopped")
        } else if self.was_heard {
            format!("none has been attached for {after} s: it ended and does not come back")
        } else {
            format!("none has attached in {after} s since the gate started: it does not start")
        })
    }

    /// Notes that a relay told something. Returns whether it was told to be silent.
    fn hear(&mut self) -> bool {
        (self.unheard, self.was_heard) = (Duration::ZERO, true);
        std::mem::take(&mut self.is_told)
    }
}

impl Keeper {
    /// Tells that no relay is heard, if so. Called each second.
    pub(super) fn listen_for_relay(&mut self, now: Moment) {
        // Each relay that is attached, and nobody else, reads the bulletin.
        let is_attached = self.bulletin.receiver_count() > 0;
        let at = Duration::from_nanos(now.boot_ns);
        if let Some(problem) = self.watching.hearing.look(at, is_attached) {
            self.journal.write(Event::RelaySilent { problem });
        }
    }

    /// Tells that a relay is heard again, if it was told that none is.
    pub(super) fn heard_relay(&mut self) {
        if self.watching.hearing.hear() {
            self.journal.write(Event::RelayHeard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each second from `from` to `until`, not included; returns when something is said, and what.
    fn said(
        hearing: &mut Hearing,
        seconds: std::ops::Range<u64>,
        is_attached: bool,
    ) -> Vec<(u64, String)> {
        seconds
            .filter_map(|second| {
                hearing.look(Duration::from_secs(second), is_attached).map(|why| (second, why))
            })
            .collect()
    }

    #[test]
    fn a_relay_that_hangs_one_that_is_gone_and_one_that_never_came_are_told_apart_and_once() {
        for (name, is_heard, is_attached, after, words) in [
            ("it hangs", true, true, 10, "told nothing for 10 s: it hangs"),
            ("it hangs from the start", false, true, 10, "told nothing for 10 s: it hangs"),
            ("it is gone", true, false, 60, "for 60 s: it ended and does not come back"),
            ("it never came", false, false, 180, "in 180 s since the gate started"),
        ] {
            let mut hearing = Hearing::default();
            assert_eq!(said(&mut hearing, 100..101, is_attached), []);
            if is_heard {
                assert!(!hearing.hear(), "{name}");
            }
            let told = said(&mut hearing, 101..600, is_attached);
            let [(second, why)] = &told[..] else { panic!("{name}: {told:?}") };
            assert_eq!(*second, 100 + after, "{name}");
            assert!(why.contains(words), "{name}: {why}");
            assert!(hearing.hear() && !hearing.hear(), "{name}: its end is told once");
        }
    }

    #[test]
    fn a_relay_that_comes_has_time_to_speak_and_a_gate_that_was_stopped_blames_nobody() {
        let mut hearing = Hearing::default();
        hearing.look(Duration::ZERO, true);
        hearing.hear();
        assert_eq!(said(&mut hearing, 1..59, false), [], "it ends in order and starts");
        assert_eq!(said(&mut hearing, 59..68, true), [], "it is back for nine seconds");
        hearing.hear();
        assert_eq!(hearing.look(Duration::from_secs(4_000), true), None, "the host slept");
        assert_eq!(hearing.look(Duration::from_secs(8_000), false), None, "and again");
    }
}
