//! One class under watch: its rates, what is usual of it, and its spike.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::high::High;
use super::pace::{Pace, Reading, WINDOWS};
use super::spike::{Change, Spike};
use super::usual::{Bounds, Levels, Usual};

/// The rates of a window that wait to be learned at most: more than a window of them.
const KEPT: usize = 16;

/// When a rate is called a spike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rules {
    /// The rate a second below which none is, in the window of one second.
    pub floor: f64,
    /// How many deviations above the usual rate make one.
    pub deviations: f64,
    /// How long it must be quiet until it is over.
    pub quiet: Duration,
}

impl Rules {
    /// Returns whether what comes every day is usual at last. Where one is enough it never is.
    fn may_become_usual(&self) -> bool {
        self.floor > 0.0
    }

    /// Returns the floor of a window. In a longer one chance evens out, by the root of its length: 50 a second
    /// are 158 in ten seconds, 387 in a minute and 1500 in a quarter of an hour.
    pub fn floor_of(&self, window: usize) -> f64 {
        self.floor / WINDOWS[window].as_secs_f64().sqrt()
    }
}

/// The rates, the usual and the spike of one class.
#[derive(Debug)]
pub(super) struct Lookout {
    paces: [Pace; WINDOWS.len()],
    /// How many times the floor it takes in the window of a second.
    caution: f64,
    usual: Usual,
    /// The rates of each window that were not learned yet.
    unlearned: [VecDeque<(Reading, Timestamp)>; WINDOWS.len()],
    pub spike: Spike,
}

impl Lookout {
    /// Returns the lookout of a class of which nothing is known.
    pub fn new() -> Self {
        Self {
            paces: [0, 1, 2, 3].map(Pace::new),
            caution: 1.0,
            usual: Usual::new(),
            unlearned: Default::default(),
            spike: Spike::default(),
        }
    }

    /// Returns one that takes so many times its floor in the window of a second, since there a rate above it may be
    /// chance. What is in between is no spike in that window, and is not learned either.
    pub fn cautious(times: f64) -> Self {
        Self { caution: times, ..Self::new() }
    }

    /// Takes a count and returns what it changed.
    pub fn take(
        &mut self,
        at: Duration,
        wall: Timestamp,
        count: u64,
        rules: Rules,
    ) -> Option<Change> {
        let mut change = None;
        for window in 0..WINDOWS.len() {
            let Some(reading) = self.paces[window].take(at, count) else { continue };
            change = change.or(self.judge(window, &reading, wall, rules));
        }
        change
    }

    /// Takes a reading of a window and returns what it changed.
    ///
    /// What is usual is frozen while a spike is open, and blind to what stands above the threshold: a flood does not
    /// teach the watch that floods are usual. It is noted by the day instead. When a spike is over the windows begin
    /// anew, or what it was would show again in longer ones.
    pub fn judge(
        &mut self,
        window: usize,
        reading: &Reading,
        wall: Timestamp,
        rules: Rules,
    ) -> Option<Change> {
        let bounds = self.bounds(window, wall, rules);
        let least = if window == 0 { rules.floor * self.caution } else { 0.0 };
        let opens = Bounds { threshold: bounds.threshold.max(least), ..bounds };
        let was_open = self.spike.is_open();
        let change = self.spike.take(window, reading, opens, rules.quiet);
        let is_open = self.spike.is_open();
        match (was_open, is_open) {
            (_, true) => self.unlearned.iter_mut().for_each(VecDeque::clear),
            (true, false) => self.restart(),
            (false, false) => self.learn(window, *reading, wall, bounds.threshold),
        }
        // Noted goes on when it is usual already, or it would be news again in three weeks.
        let rate = reading.per_second;
        let is_news = is_open || rate <= bounds.threshold;
        if rules.may_become_usual() && is_news && rate > bounds.learned {
            self.usual.note(window, wall, rate, reading.since_last);
        }
        change
    }

    /// Lets an open spike that a reading of a longer window still shows go on there: see [`Spike::go_on`].
    pub fn go_on(&mut self, window: usize, reading: &Reading, wall: Timestamp, rules: Rules) {
        let bounds = self.bounds(window, wall, rules);
        self.spike.go_on(window, reading, bounds.threshold);
    }

    fn bounds(&self, window: usize, wall: Timestamp, rules: Rules) -> Bounds {
        self.usual.bounds(window, wall, rules.floor_of(window), rules.deviations)
    }

    /// A rate is learned a window late, so that those by which a flood climbs over the threshold are not.
    fn learn(&mut self, window: usize, reading: Reading, wall: Timestamp, threshold: f64) {
        let unlearned = &mut self.unlearned[window];
        if reading.per_second <= threshold {
            unlearned.push_back((reading, wall));
        }
        while let Some((oldest, wall)) = unlearned.front()
            && (reading.at.saturating_sub(oldest.at) >= WINDOWS[window] || unlearned.len() > KEPT)
        {
            self.usual.learn(window, *wall, oldest.per_second, oldest.since_last);
            unlearned.pop_front();
        }
    }

    /// Forgets the rates, and nothing else.
    pub fn restart(&mut self) {
        self.paces.iter_mut().for_each(Pace::restart);
        self.unlearned.iter_mut().for_each(VecDeque::clear);
    }

    /// Returns the rate over the last second.
    pub fn per_second(&self) -> f64 {
        self.paces[0].last()
    }

    /// Returns what was learned.
    pub fn hours(&self) -> &[Levels] {
        self.usual.hours()
    }

    /// Returns what was noted by the day.
    pub const fn high(&self) -> &High {
        self.usual.high()
    }

    /// The same, to put back what was noted earlier.
    pub const fn high_mut(&mut self) -> &mut High {
        self.usual.high_mut()
    }

    /// Puts what was learned earlier in place.
    pub fn restore(&mut self, hour: usize, levels: Levels) {
        self.usual.restore(hour, levels);
    }
}
