//! How many frames were refused for which reason, second by second, and at the beginning of each open spike.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use relay_common::verdict::Reason;

use crate::event::spike::Class;

/// How often the counts are kept, and for how long: the longest window of the watch, and the second before it.
const STEP: Duration = Duration::from_secs(1);
const KEPT: usize = 15 * 60 + 1;

/// Counts since some fixed moment.
type Counts = BTreeMap<Reason, u64>;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The oldest first; one a second.
    seconds: VecDeque<(Duration, Counts)>,
    /// What was counted when the open spike of a class began.
    begun: BTreeMap<Class, Counts>,
}

impl Refusals {
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

    /// Returns what was refused since the spike of a class began, by reason; `now` is what is counted now.
    pub fn since(&self, class: Class, now: Counts) -> BTreeMap<&'static str, u64> {
        let before = self.begun.get(&class);
        let since = |(reason, count): (Reason, u64)| {
            let before = before.and_then(|before| before.get(&reason)).copied().unwrap_or(0);
            (reason.name(), count.saturating_sub(before))
        };
        let refused = now.into_iter().filter(|(reason, _)| reason.drops());
        refused.map(since).filter(|(_, count)| *count > 0).collect()
    }

    /// Returns how many frames were refused within a window.
    pub fn within(&self, window: Duration) -> u64 {
        let refused = |counts: &Counts| -> u64 {
            counts.iter().filter(|(reason, _)| reason.drops()).map(|(_, count)| count).sum()
        };
        let Some((now, counts)) = self.seconds.back() else { return 0 };
        let before = self.before(now.saturating_sub(window)).map_or(0, refused);
        refused(counts).saturating_sub(before)
    }

    /// Returns the newest counts that are not younger than a moment, else the oldest.
    fn before(&self, moment: Duration) -> Option<&Counts> {
        let known = self.seconds.iter().rev().find(|(at, _)| *at <= moment);
        known.or(self.seconds.front()).map(|(_, counts)| counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_flood_is_told_with_its_own_reasons_while_another_spike_is_open_for_hours() {
        let mut refusals = Refusals::default();
        let counts = |unlisted, banned| {
            BTreeMap::from([
                (Reason::UnlistedSyn, unlisted),
                (Reason::Banned, banned),
                (Reason::Admitted, 7),
            ])
        };
        // Ten a second of one reason, for hours; a spike of sources is open for all of them.
        for second in 0..7_200_u32 {
            refusals.take(SECOND * second, || counts(u64::from(second) * 10, 0));
            if second == 60 {
                refusals.begin(Class::Sources, SECOND * second, SECOND * 10);
            }
        }
        assert_eq!(refusals.within(SECOND * 60), 600);
        refusals.take(SECOND * 7_200, || counts(72_000, 5_000));
        refusals.begin(Class::Refused, SECOND * 7_200, SECOND);
        let now = || counts(72_000, 5_000);
        let told = refusals.since(Class::Refused, now());
        assert_eq!(
            told,
            BTreeMap::from([(Reason::Banned.name(), 5_000), (Reason::UnlistedSyn.name(), 10)])
        );
        assert_eq!(refusals.since(Class::Sources, now())[Reason::UnlistedSyn.name()], 71_500);
        refusals.end(Class::Refused);
        assert_eq!(refusals.begun.len(), 1);
        assert_eq!(refusals.seconds.len(), KEPT);
    }
}
