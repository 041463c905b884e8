//! Different sources of refused frames, as [`super::distinct`] counts them.

use std::time::Duration;

use super::Sample;
use super::distinct::SOURCE_WINDOWS;
use super::lookout::{Lookout, Rules};
use super::pace::{Reading, WINDOWS};
use super::spike::Change;

/// How many times the floor it takes in the window of a second: the kernel counts one frame of sixteen, and a few
/// strangers who come at once are chance.
const CAUTION: f64 = 5.0;

/// A window is judged a dozen times in its length, as the rates of counters are.
const STEPS: u32 = 12;

/// The lookout for many sources.
#[derive(Debug)]
pub(super) struct Sources {
    pub lookout: Lookout,
    /// When each window was judged last.
    judged: [Option<Duration>; SOURCE_WINDOWS],
    /// When the last spike was over.
    over: Option<Duration>,
}

impl Sources {
    pub fn new() -> Self {
        Self { lookout: Lookout::cautious(CAUTION), judged: [None; SOURCE_WINDOWS], over: None }
    }

    /// Takes the numbers of different sources, if they were counted.
    ///
    /// A window is not judged while it reaches back before the end of the last spike, as those of counters begin
    /// anew: a longer one would tell the same scan again.
    pub fn take(&mut self, sample: &Sample, rules: Rules) -> Option<Change> {
        let mut change = None;
        for (window, (count, judged)) in (0..).zip(sample.sources.into_iter().zip(&mut self.judged))
        {
            let Some(count) = count else { continue };
            let step = WINDOWS[window] / STEPS;
            let told = |over| sample.at.saturating_sub(over) + step < WINDOWS[window];
            if self.over.is_some_and(told) {
                continue;
            }
            let since_last = judged.map_or(step, |judged| sample.at.saturating_sub(judged));
            if since_last < step {
                continue;
            }
            *judged = Some(sample.at);
            let per_second = super::rate_of(count) / WINDOWS[window].as_secs_f64();
            let reading = Reading {
                at: sample.at,
                count,
                count_before: 0,
                per_second,
                per_second_now: per_second,
                at_most: per_second,
                since_last,
                adds_up: false,
            };
            let was_open = self.lookout.spike.is_open();
            change = change.or(self.lookout.judge(window, &reading, sample.wall, rules));
            if was_open && !self.lookout.spike.is_open() {
                self.over = Some(sample.at);
            }
        }
        change
    }
}
