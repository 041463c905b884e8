//! The last minutes as numbers a second, for sparklines. No clock: whoever adds a sample says when it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use relay_common::verdict::Reason;
use serde::Serialize;

use crate::control::wire::{GateStatus, RelayStatus};

/// How often a sample is taken.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// How many samples are kept: three minutes.
const KEPT: usize = 180;

/// What was counted up to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    /// At the doors; none while the gate does not say.
    doors: Option<Doors>,
    /// Messages committed.
    taken: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doors {
    admitted: u64,
    refused: u64,
}

impl Totals {
    /// Adds up what both processes say.
    pub(super) fn of(gate: Option<&GateStatus>, relay: &RelayStatus) -> Self {
        let doors = gate.map(|gate| {
            let count = |reason: Reason| gate.counters.get(reason.name()).copied().unwrap_or(0);
            let refused = Reason::ALL.into_iter().filter(|reason| reason.drops()).map(count).sum();
            Doors { admitted: count(Reason::Admitted), refused }
        });
        Self { doors, taken: relay.spool.as_ref().map(|spool| spool.commits) }
    }
}

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    admitted: Option<u64>,
    refused: Option<u64>,
    taken: Option<u64>,
    sessions: usize,
}

/// The last samples, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Series {
    last: Option<(Instant, Totals)>,
    samples: VecDeque<Sample>,
}

/// The samples as lines, the oldest first; none where nothing is known.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lines {
    every_ms: u64,
    admitted: Vec<Option<u64>>,
    refused: Vec<Option<u64>>,
    taken: Vec<Option<u64>>,
    sessions: Vec<usize>,
}

impl Series {
    /// Adds what was counted up to `now`. The first sample only begins the counting.
    pub(super) fn add(&mut self, now: Instant, totals: Totals, sessions: usize) {
        let before = self.last.replace((now, totals));
        let Some((at, before)) = before else { return };
        let millis =
            u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        // A counter that has fallen began anew with its process.
        let rate = |before: Option<u64>, after: Option<u64>| {
            let grown = after?.saturating_sub(before?);
            Some(grown.saturating_mul(1000).checked_div(millis).unwrap_or(0))
        };
        let doors = |of: fn(Doors) -> u64| rate(before.doors.map(of), totals.doors.map(of));
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            admitted: doors(|doors| doors.admitted),
            refused: doors(|doors| doors.refused),
            taken: rate(before.taken, totals.taken),
            sessions,
        });
    }

    /// Returns all of it.
    pub(super) fn lines(&self) -> Lines {
        Lines {
            every_ms: u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX),
            admitted: self.samples.iter().map(|sample| sample.admitted).collect(),
            refused: self.samples.iter().map(|sample| sample.refused).collect(),
            taken: self.samples.iter().map(|sample| sample.taken).collect(),
            sessions: self.samples.iter().map(|sample| sample.sessions).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(admitted: u64, refused: u64) -> Totals {
        Totals { doors: Some(Doors { admitted, refused }), taken: Some(admitted) }
    }

    #[test]
    fn totals_become_rates_and_what_is_not_known_is_a_gap() {
        let (mut series, start) = (Series::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        series.add(at(0), totals(5, 100), 1);
        assert_eq!(series.lines().refused, []);
        series.add(at(1000), totals(6, 300), 2);
        series.add(at(3000), totals(16, 300), 3);
        series.add(at(4000), Totals { doors: None, taken: None }, 3);
        series.add(at(5000), totals(2, 2), 0);
        series.add(at(6000), totals(1, 7), 0);
        series.add(at(6000), totals(9, 9), 0);
        let lines = series.lines();
        assert_eq!(lines.admitted, [Some(1), Some(5), None, None, Some(0), Some(0)]);
        assert_eq!(lines.refused, [Some(200), Some(0), None, None, Some(5), Some(0)]);
        assert_eq!(lines.taken, lines.admitted);
        assert_eq!(lines.sessions, [2, 3, 3, 0, 0, 0]);
    }

    #[test]
    fn three_minutes_are_kept() {
        let (mut series, start) = (Series::default(), Instant::now());
        for second in 0..1000 {
            series.add(start + EVERY * second, totals(u64::from(second), 0), second as usize);
        }
        let sessions = series.lines().sessions;
        assert_eq!((sessions.len(), sessions[0], sessions[KEPT - 1]), (KEPT, 820, 999));
    }
}
