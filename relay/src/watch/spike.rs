//! The life of one spike: it opens, it may grow, it closes.

use std::time::Duration;

use super::Stage;
use super::pace::Reading;

/// How long after its opening a spike finds the level that its growth is measured by. A flood fills
/// the one-second window of the rate only bit by bit; that is no growth.
const SETTLING: Duration = Duration::from_secs(1);

/// The part of the way from the usual rate to the spike's level below which it counts as quiet.
const QUIET_PART: f64 = 0.6;

/// The growths that are told, each once a spike.
const GROWTHS: [u32; 2] = [2, 10];

/// What became of a spike with one reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub stage: Stage,
    pub since: Duration,
    pub per_second: f64,
    pub usual: f64,
    pub total: u64,
    pub lasted: Duration,
}

/// No spike, or the one that is open.
#[derive(Debug, PartialEq)]
pub(super) enum Spike {
    /// None is open; whether the last two rates stood above the threshold, and the count before.
    Calm { above: [bool; 2], count_before: u64 },
    /// One is open.
    Open(Open),
}

/// An open spike.
#[derive(Debug, PartialEq)]
pub(super) struct Open {
    since: Duration,
    /// The count when it began.
    count_before: u64,
    /// The usual rate, frozen.
    usual: f64,
    /// The highest rate while it settled.
    level: f64,
    peak: f64,
    /// The next of [`GROWTHS`] to tell.
    growth: usize,
    /// The last time that the rate was not quiet, and the count then.
    loud: (Duration, u64),
}

impl Default for Spike {
    fn default() -> Self {
        Self::Calm { above: [false; 2], count_before: 0 }
    }
}

impl Spike {
    /// Returns whether a spike is open.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Takes a reading and returns what it changed.
    ///
    /// A spike opens when two of the last three rates stand above `threshold`, and closes when the
    /// rate was quiet for `quiet`.
    pub fn take(
        &mut self,
        reading: &Reading,
        usual: f64,
        threshold: f64,
        quiet: Duration,
    ) -> Option<Change> {
        match self {
            Self::Calm { above, count_before } => {
                let now_above = reading.per_second > threshold;
                let begun = above.contains(&true);
                if !(now_above && begun) {
                    if now_above {
                        *count_before = reading.count_before;
                    }
                    *above = [above[1], now_above];
                    return None;
                }
                let open = Open::new(reading, usual, *count_before);
                let change = open.change(Stage::Opened, reading, reading.per_second_now);
                *self = Self::Open(open);
                Some(change)
            }
            Self::Open(open) => {
                let change = open.take(reading, quiet)?;
                if change.stage == Stage::Closed {
                    *self = Self::default();
                }
                Some(change)
            }
        }
    }
}

impl Open {
    /// Returns since when it is open and what it came to, up to the last loud rate.
    pub fn so_far(&self) -> Change {
        let (until, count) = self.loud;
        Change {
            stage: Stage::Opened,
            since: self.since,
            per_second: self.peak,
            usual: self.usual,
            total: count.saturating_sub(self.count_before),
            lasted: until.saturating_sub(self.since),
        }
    }

    fn new(reading: &Reading, usual: f64, count_before: u64) -> Self {
        Self {
            since: reading.at,
            count_before,
            usual,
            level: reading.per_second,
            peak: reading.per_second,
            growth: 0,
            loud: (reading.at, reading.count),
        }
    }

    fn take(&mut self, reading: &Reading, quiet: Duration) -> Option<Change> {
        let rate = reading.per_second;
        self.peak = self.peak.max(rate);
        if reading.at.saturating_sub(self.since) <= SETTLING {
            self.level = self.level.max(rate);
        }
        if rate >= self.usual + QUIET_PART * (self.level - self.usual).max(0.0) {
            self.loud = (reading.at, reading.count);
        } else if reading.at.saturating_sub(self.loud.0) >= quiet {
            return Some(self.change(Stage::Closed, reading, self.peak));
        }
        let grown = GROWTHS.iter().rposition(|times| rate >= self.level * f64::from(*times))?;
        if grown < self.growth {
            return None;
        }
        self.growth = grown + 1;
        Some(self.change(Stage::Grew(GROWTHS[grown]), reading, rate))
    }

    /// A closed spike ended when it was last loud: the quiet time that proved its end is no part of
    /// it.
    fn change(&self, stage: Stage, reading: &Reading, per_second: f64) -> Change {
        let (until, count) = match stage {
            Stage::Opened | Stage::Grew(_) => (reading.at, reading.count),
            Stage::Closed => self.loud,
        };
        Change {
            stage,
            since: self.since,
            per_second: per_second.max(if stage == Stage::Opened {
                reading.per_second
            } else {
                0.0
            }),
            usual: self.usual,
            // The counters may have begun anew meanwhile.
            total: count.saturating_sub(self.count_before),
            lasted: until.saturating_sub(self.since),
        }
    }
}
