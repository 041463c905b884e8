//! How often each reason was counted, second by second, and at the beginning of each open spike: reasons of the
//! gate's verdicts, and what the relay tells.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use relay_common::verdict::Reason;

use crate::event::spike::Class;
use crate::gate::Counters;
use crate::net::tally::Causes;

/// How often the counts are kept, and for how long: the longest window of the watch, and the second before it.
const STEP: Duration = Duration::from_secs(1);
const KEPT: usize = 15 * 60 + 1;

/// The reason under which completed handshakes are counted.
pub(super) const CONNECTED: &str = "connected";

/// Counts since some fixed moment, by the names of their reasons.
pub(super) type Counts = BTreeMap<&'static str, u64>;

/// Puts together what the gate counted, each frame once, and what the relay told.
pub(super) fn counts(gate: &Counters, completed: u64, causes: &Causes) -> Counts {
    let gate = Reason::ALL.into_iter().map(|reason| (reason.name(), gate.once(reason)));
    gate.chain([(CONNECTED, completed)]).chain(causes.named()).collect()
}

/// Returns whether a reason says something of a class that counts the whole host: why a frame was refused, what
/// became of an attempt, why a login failed.
fn is_about(class: Class, name: &str) -> bool {
    let of_gate = |wanted: fn(Reason) -> bool| {
        Reason::ALL.into_iter().any(|reason| reason.name() == name && wanted(reason))
    };
    match class {
        Class::Refused | Class::Sources => of_gate(Reason::drops),
        Class::Forged => {
            name == CONNECTED
                || of_gate(|reason| matches!(reason, Reason::Admitted | Reason::ListedUndecidable))
        }
        Class::Logins => Causes::default().named().iter().any(|(cause, _)| *cause == name),
        Class::Prefix | Class::Entry | Class::Bypass | Class::Missing => false,
    }
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    /// The oldest first; one a second.
    seconds: VecDeque<(Duration, Counts)>,
    /// What was counted when the open spike of a class began.
    begun: BTreeMap<Class, Counts>,
}

impl Reasons {
    /// Takes what is counted at `at`.
    pub fn take(&mut self, at: Duration, counts: impl FnOnce() -> Counts) {
        if self.seconds.back().is_some_and(|(last, _)| at.saturating_sub(*last) < STEP) {
            return;
        }
        if self.seconds.len() == KEPT {
            self.seconds.pop_front();
        }
        self.seconds.push_back((at, counts()));
    }

    /// Notes that a spike was noticed at `since` in a window: it began with it.
    pub fn begin(&mut self, class: Class, since: Duration, window: Duration) {
        let counts = self.before(since.saturating_sub(window)).cloned().unwrap_or_default();
        self.begun.insert(class, counts);
    }

    /// Notes that it is over.
    pub fn end(&mut self, class: Class) {
        self.begun.remove(&class);
    }

    /// Returns how often each reason that says something of a class was counted since its spike began; `now` is what
    /// is counted now.
    pub fn since(&self, class: Class, now: &Counts) -> BTreeMap<&'static str, u64> {
        let before = self.begun.get(&class);
        let since = |(name, count): (&&'static str, &u64)| {
            let before = before.and_then(|before| before.get(name)).copied().unwrap_or(0);
            (*name, count.saturating_sub(before))
        };
        let about = now.iter().filter(|(name, _)| is_about(class, name));
        about.map(since).filter(|(_, count)| *count > 0).collect()
    }

    /// Returns how many frames were refused since a moment, or up to a second longer; `now` is what is counted now.
    pub fn refused_since(&self, moment: Duration, now: &Counts) -> u64 {
        let refused = |counts: &Counts| -> u64 {
            let refusals = counts.iter().filter(|(name, _)| is_about(Class::Refused, name));
            refusals.map(|(_, count)| count).sum()
        };
        refused(now).saturating_sub(self.before(moment).map_or(0, refused))
    }

    /// Returns the newest counts that are not younger than a moment, else the oldest.
    fn before(&self, moment: Duration) -> Option<&Counts> {
        let known = self.seconds.iter().rev().find(|(at, _)| *at <= moment);
        known.or(self.seconds.front()).map(|(_, counts)| counts)
    }
}

#[cfg(test)]
mod tests {
    use relay_common::table;

    use super::*;
    use crate::gate::CountRow;

    const SECOND: Duration = Duration::from_secs(1);

    /// What both doors counted: the second sees what the first passed.
    fn gate(unlisted_syn: u64, banned: u64, admitted: u64) -> Counters {
        let first = table::Counts { unlisted_syn, admitted, ..table::Counts::default() };
        let second = table::Counts { banned, admitted, ..table::Counts::default() };
        let row = |interface, counts| CountRow { interface, port: Some(2525), counts };
        Counters { rows: vec![row(Some("eth0".to_owned()), first), row(None, second)] }
    }

    fn counted(unlisted: u64, banned: u64) -> Counts {
        counts(&gate(unlisted, banned, 7), 0, &Causes::default())
    }

    #[test]
    fn a_flood_is_told_with_its_own_reasons_while_another_spike_is_open_for_hours() {
        let mut reasons = Reasons::default();
        // Ten a second of one reason, for hours; a spike of sources is open for all of them.
        for second in 0..7_200_u32 {
            reasons.take(SECOND * second, || counted(u64::from(second) * 10, 0));
            if second == 60 {
                reasons.begin(Class::Sources, SECOND * second, SECOND * 10);
            }
        }
        let now = counted(72_000, 5);
        assert_eq!(reasons.refused_since(SECOND * 7_140, &now), 605);
        reasons.take(SECOND * 7_200, || counted(72_000, 5_000));
        reasons.begin(Class::Refused, SECOND * 7_200, SECOND);
        let now = counted(72_000, 5_000);
        let told = reasons.since(Class::Refused, &now);
        assert_eq!(
            told,
            BTreeMap::from([(Reason::Banned.name(), 5_000), (Reason::UnlistedSyn.name(), 10)])
        );
        assert_eq!(reasons.since(Class::Sources, &now)[Reason::UnlistedSyn.name()], 71_500);
        reasons.end(Class::Refused);
        assert_eq!(reasons.begun.len(), 1);
        assert_eq!(reasons.seconds.len(), KEPT);
    }

    #[test]
    fn each_class_is_told_the_reasons_that_say_something_of_it() {
        let causes = Causes { wrong_password: 5, unknown_login: 2, ..Causes::default() };
        let now = counts(&gate(9, 0, 400), 3, &causes);
        let reasons = Reasons::default();
        let told = |class| reasons.since(class, &now).into_iter().collect::<Vec<_>>();
        assert_eq!(told(Class::Refused), [("unlisted_syn", 9)]);
        assert_eq!(told(Class::Forged), [("admitted", 400), ("connected", 3)]);
        assert_eq!(told(Class::Logins), [("unknown_login", 2), ("wrong_password", 5)]);
    }
}
