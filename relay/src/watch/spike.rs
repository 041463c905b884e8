//! The life of one spike: it opens, it may grow, it closes.

use std::time::Duration;

use super::Stage;
use super::pace::{Reading, WINDOWS};
use super::usual::Bounds;

/// The part of the way from what is usual now to the spike's level, or to what would be a spike now, below which it
/// counts as quiet.
const QUIET_PART: f64 = 0.6;

/// The growths that are told, each once a spike.
const GROWTHS: [u32; 2] = [2, 10];

/// What became of a spike with one reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub stage: Stage,
    pub since: Duration,
    /// The window, by its place in [`WINDOWS`].
    pub window: usize,
    pub per_second: f64,
    pub usual: f64,
    pub total: u64,
    pub lasted: Duration,
}

/// No spike, or the one that is open.
#[derive(Debug, PartialEq)]
pub(super) enum Spike {
    /// None is open; what the last rates of each window were.
    Calm([Lately; WINDOWS.len()]),
    /// One is open.
    Open(Open),
}

/// Whether the last two rates of a window stood above the threshold, and the count before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lately {
    above: [bool; 2],
    count_before: u64,
}

/// An open spike.
#[derive(Debug, PartialEq)]
pub(super) struct Open {
    since: Duration,
    /// The count when it began.
    count_before: u64,
    /// The window that it shows in.
    window: usize,
    /// The usual rate when it opened, to be told.
    usual: f64,
    /// The highest rate while it settled.
    level: f64,
    /// The most that it may have been while it settled: from there on it grows.
    at_most: f64,
    peak: f64,
    /// The next of [`GROWTHS`] to tell.
    growth: usize,
    /// The last time that the rate was not quiet, and the count then.
    loud: (Duration, u64),
    /// Since when it is looked at without a pause: what nobody saw was not quiet.
    seen: Duration,
}

/// A window holds a step more than its name says, and a rate is told to be loud up to its end.
const SLACK: Duration = Duration::from_secs(2);

impl Default for Spike {
    fn default() -> Self {
        Self::Calm(<[Lately; WINDOWS.len()]>::default())
    }
}

impl Spike {
    /// Returns whether a spike is open.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Takes a reading of a window and returns what it changed.
    ///
    /// A spike opens when two of the last three rates of one window stand above the threshold, and closes when
    /// the rate of that window was quiet for `quiet`. What is quiet goes by what is usual at the time: a scan of the
    /// night is over when the day is busier.
    pub fn take(
        &mut self,
        window: usize,
        reading: &Reading,
        bounds: Bounds,
        quiet: Duration,
    ) -> Option<Change> {
        match self {
            Self::Calm(lately) => {
                let Lately { above, count_before } = &mut lately[window];
                let now_above = reading.per_second > bounds.threshold;
                let begun = above.contains(&true);
                if !(now_above && begun) {
                    if now_above {
                        *count_before = reading.count_before;
                    }
                    *above = [above[1], now_above];
                    return None;
                }
                let open = Open::new(window, reading, bounds.usual, *count_before);
                // A longer window is told by all of it: a tick of it says nothing of how many there were.
                let now = if window == 0 { reading.per_second_now } else { reading.per_second };
                let change = open.change(Stage::Opened, reading, now);
                *self = Self::Open(open);
                Some(change)
            }
            Self::Open(open) => {
                let change = open.take(window, reading, bounds, quiet)?;
                if change.stage == Stage::Closed {
                    *self = Self::default();
                }
                Some(change)
            }
        }
    }

    /// Notes that an open spike is looked at again after a pause.
    pub fn seen_again(&mut self, at: Duration) {
        if let Self::Open(open) = self {
            open.seen = at;
        }
    }

    /// Lets an open spike go on in a longer window, if it stands above the `threshold` there and was quiet in its own
    /// for all of that time: then this is no rest of what is over, and its end would be told while it lasts.
    pub fn go_on(&mut self, window: usize, reading: &Reading, threshold: f64) {
        let Self::Open(open) = self else { return };
        let rate = reading.per_second;
        let is_over = open.quiet_for(reading.at) >= WINDOWS[window] + SLACK;
        if window > open.window && is_over && rate > threshold {
            (open.window, open.level, open.peak) = (window, rate, rate);
            open.loud = (reading.at, reading.count);
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
            window: self.window,
            per_second: self.peak,
            usual: self.usual,
            total: count.saturating_sub(self.count_before),
            lasted: until.saturating_sub(self.since),
        }
    }

    fn new(window: usize, reading: &Reading, usual: f64, count_before: u64) -> Self {
        Self {
            since: reading.at,
            count_before,
            window,
            usual,
            level: reading.per_second,
            at_most: reading.at_most,
            peak: reading.per_second,
            growth: 0,
            loud: (reading.at, reading.count),
            seen: reading.at,
        }
    }

    /// Returns for how long it was seen to be quiet.
    fn quiet_for(&self, at: Duration) -> Duration {
        at.saturating_sub(self.loud.0.max(self.seen))
    }

    fn take(
        &mut self,
        window: usize,
        reading: &Reading,
        bounds: Bounds,
        quiet: Duration,
    ) -> Option<Change> {
        let rate = reading.per_second;
        if window != self.window {
            // What rose slowly rises fast now; what longer windows say of it was said.
            let faster = window < self.window && rate > bounds.threshold;
            return if faster { self.grown(window, reading) } else { None };
        }
        self.peak = self.peak.max(rate);
        // A flood fills its window only bit by bit; that is no growth.
        if reading.at.saturating_sub(self.since) <= WINDOWS[window] {
            self.level = self.level.max(rate);
            self.at_most = self.at_most.max(reading.at_most);
        }
        let from = self.level.max(bounds.threshold);
        if rate >= bounds.usual + QUIET_PART * (from - bounds.usual).max(0.0) {
            self.loud = (reading.at, reading.count);
        } else if self.quiet_for(reading.at) >= quiet {
            return Some(self.change(Stage::Closed, reading, self.peak));
        }
        // What is usual by now is no growth, however little it was when the spike opened.
        if rate > bounds.threshold { self.grown(window, reading) } else { None }
    }

    fn grown(&mut self, window: usize, reading: &Reading) -> Option<Change> {
        let rate = reading.per_second;
        // A shorter window has what the longer one had, if it is the same in each part of it.
        let shorter = WINDOWS[self.window].as_secs_f64() / WINDOWS[window].as_secs_f64();
        let at_most = self.at_most * if reading.adds_up { 1.0 } else { shorter };
        let grown = GROWTHS.iter().rposition(|times| rate >= at_most * f64::from(*times))?;
        if grown < self.growth {
            return None;
        }
        self.growth = grown + 1;
        if window != self.window {
            (self.window, self.peak, self.at_most) = (window, rate, at_most);
        }
        self.loud = (reading.at, reading.count);
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
            window: self.window,
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
