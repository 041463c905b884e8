//! The gate's alerts, kept until a relay takes them: it attaches, or attaches anew, and hears all that are
//! still there. The journal has every one of them anyway.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::control::wire::Passed;
use crate::event::Event;
use crate::event::alert::{Alert, Stage};

/// The alerts that are kept; the oldest leaves first. One that says again what an older one said takes its place, so
/// that nobody who causes the same again and again drives the others out.
const KEPT_MAX: usize = 256;

/// The last alerts of this process. A relay knows by series and number which of them it heard before.
#[derive(Debug)]
pub struct Ring {
    series: Timestamp,
    kept: Mutex<VecDeque<Passed>>,
    newest: watch::Sender<u64>,
}

impl Ring {
    /// Returns an empty ring whose series began at this moment.
    #[must_use]
    pub fn new(series: Timestamp) -> Self {
        Self { series, kept: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Keeps what a person is to be told of an event that happened `at`. Waits for nothing.
    pub fn hear(&self, event: &Event, at: Timestamp) {
        for alert in event.alerts(at) {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let number = *self.newest.borrow() + 1;
            let mut passed = Passed { series: self.series, number, replaced: 0, alert };
            let older = kept.iter().position(|older| says_the_same(&older.alert, &passed.alert));
            if let Some((place, older)) = older.and_then(|at| Some((at, kept.remove(at)?))) {
                // A relay that hears only the newer one is to know since when it lasts.
                if lasts(&older.alert, kept.range(place..)) {
                    passed.alert.since = older.alert.since;
                }
                // Its number is missing from now on, and nothing is lost with it.
                kept.get_mut(place).unwrap_or(&mut passed).replaced += older.replaced + 1;
            }
            if kept.len() == KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back(passed);
            self.newest.send_replace(number);
        }
    }

    /// Returns what tells that there are new ones: the number of the newest.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Returns those after a number, the oldest first.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<Passed> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|passed| passed.number > number).cloned().collect()
    }
}

/// Tells whether whoever hears the newer one need not hear the older one. What only happened is another thing if its
/// words are others.
fn says_the_same(older: &Alert, newer: &Alert) -> bool {
    let is_same =
        older.stage == newer.stage && older.class == newer.class && older.subject == newer.subject;
    is_same && (newer.stage != Stage::Noted || older.summary == newer.summary)
}

/// Tells whether a trouble that an alert opened lasts through those that came after it.
fn lasts<'a>(alert: &Alert, mut later: impl Iterator<Item = &'a Passed>) -> bool {
    let ends = |later: &Alert| {
        later.stage == Stage::Closed && later.class == alert.class && later.subject == alert.subject
    };
    alert.stage == Stage::Opened && !later.any(|passed| ends(&passed.alert))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(number: u64) -> Event {
        Event::Trouble { room: "gate", problem: number.to_string() }
    }

    #[test]
    fn a_busy_way_around_the_door_drives_no_other_alert_out_and_loses_none() {
        let ring = Ring::new(Timestamp::UNIX_EPOCH);
        let at = Timestamp::UNIX_EPOCH;
        let bypass = |attempts| Event::GateBypass {
            path: "eth1, which is not guarded".into(),
            vlan: None,
            source: [192, 0, 2, 1].into(),
            attempts,
        };
        ring.hear(&bypass(0), at);
        ring.hear(&Event::Detached { uid: 7 }, at);
        for attempts in 1..=1_000 {
            ring.hear(&bypass(attempts), at);
        }
        ring.hear(&trouble(1), at);
        ring.hear(&trouble(2), at);
        let kept = ring.after(0);
        let shown: Vec<_> = kept.iter().map(|one| (one.numbers(), &*one.alert.class)).collect();
        let wanted = [
            (1..=2, "gate-detached"),
            (3..=1_002, "gate-bypass"),
            (1_003..=1_003, "trouble"),
            (1_004..=1_004, "trouble"),
        ];
        assert_eq!(shown, wanted);
        assert_eq!(kept[1].alert.details["attempts"], "1000");
    }

    #[test]
    fn what_opens_again_while_it_is_open_lasts_since_it_opened_first() {
        let ring = Ring::new(Timestamp::UNIX_EPOCH);
        let at = |second| Timestamp::from_second(second).unwrap();
        let lost = || Event::GateLost { interface: "eth0".into(), problem: "x".into() };
        let shown = || -> Vec<_> {
            let kept = ring.after(0).into_iter();
            kept.map(|one| (one.alert.stage, one.alert.since, one.alert.at)).collect()
        };
        for second in [10, 20, 30] {
            ring.hear(&lost(), at(second));
        }
        assert_eq!(shown(), [(Stage::Opened, at(10), at(30))]);
        ring.hear(&Event::GateRestored { interface: "eth0".into() }, at(40));
        ring.hear(&lost(), at(50));
        ring.hear(&lost(), at(60));
        let again = (Stage::Opened, at(50), at(60));
        assert_eq!(shown(), [(Stage::Closed, at(40), at(40)), again]);
    }

    #[test]
    fn alerts_are_numbered_and_the_oldest_leaves() {
        let ring = Ring::new(Timestamp::UNIX_EPOCH);
        ring.hear(&Event::Stopped { process: "gate" }, Timestamp::UNIX_EPOCH);
        assert_eq!(ring.after(0), []);
        for number in 0..300 {
            ring.hear(&trouble(number), Timestamp::UNIX_EPOCH);
        }
        let kept = ring.after(0);
        assert_eq!((kept.len(), kept[0].number, kept[255].number), (256, 45, 300));
        assert_eq!(ring.after(298).iter().map(|one| one.number).collect::<Vec<_>>(), [299, 300]);
        assert_eq!(*ring.subscribe().borrow(), 300);
    }
}
