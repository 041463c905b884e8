//! How many messages one host may have at a time, and when it is given a rest.
//!
//! The number starts small, grows by one with every round of successes, and is halved when a
//! connection fails or the host asks for less (additive increase, multiplicative decrease). Asked
//! for less, we also pause: each time twice as long as before, until successes shorten it again.

use std::time::{Duration, Instant};

/// Messages at a time before anything is known.
const START: u32 = 2;

/// The first pause: hops that count by the second want no more.
pub const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The pace of one host.
#[derive(Clone, Debug)]
pub struct Pace {
    most: u32,
    limit: u32,
    /// Successes since the limit changed.
    round: u32,
    /// When the limit was cut last: what was begun before is no news.
    cut: Option<Instant>,
    pause: Duration,
    /// When its last pause ends or ended: what was begun before is no news either.
    paused_until: Option<Instant>,
}

impl Pace {
    /// Returns the pace of a host that is never given more than `most` messages at a time.
    #[must_use]
    pub fn new(most: u32) -> Self {
        let most = most.max(1);
        Self {
            most,
            limit: START.min(most),
            round: 0,
            cut: None,
            pause: Duration::ZERO,
            paused_until: None,
        }
    }

    /// Returns how many messages it may have at a time: 1 to the most.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns when its pause ends; none if it has none.
    #[must_use]
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| now < *until)
    }

    /// Learns that it took a message.
    pub fn succeeded(&mut self) {
        self.pause /= 2;
        if self.pause < PAUSE {
            self.pause = Duration::ZERO;
        }
        self.round += 1;
        if self.round >= self.limit {
            self.round = 0;
            self.limit = (self.limit + 1).min(self.most);
        }
    }

    /// Learns that a connection failed on which work was begun at `begun`.
    pub fn failed(&mut self, begun: Instant, now: Instant) {
        if self.is_news(begun) {
            self.cut(now);
        }
    }

    /// Learns that it asked for less in answer to work that was begun at `begun`; returns how long
    /// it is to be left alone.
    pub fn throttled(&mut self, begun: Instant, now: Instant) -> Duration {
        if self.is_news(begun) {
            self.cut(now);
            self.pause = (self.pause * 2).clamp(PAUSE, PAUSE_MAX);
            self.paused_until = Some(now + self.pause);
        }
        let until = self.paused_until(now);
        until.map_or(PAUSE, |until| until.saturating_duration_since(now))
    }

    /// Ends a pause.
    pub const fn hurry(&mut self) {
        self.paused_until = None;
    }

    /// Tells whether a failure says more than the last one did: ten connections that are cut at
    /// once are one failure.
    fn is_news(&self, begun: Instant) -> bool {
        self.cut.is_none_or(|cut| begun > cut)
            && self.paused_until.is_none_or(|until| begun >= until)
    }

    fn cut(&mut self, now: Instant) {
        self.limit = (self.limit / 2).max(1);
        self.round = 0;
        self.cut = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_grows_by_one_a_round_up_to_the_most() {
        let mut pace = Pace::new(5);
        let mut limits = Vec::new();
        for _ in 0..20 {
            limits.push(pace.limit());
            pace.succeeded();
        }
        assert_eq!(limits[..10], [2, 2, 3, 3, 3, 4, 4, 4, 4, 5]);
        assert_eq!(limits[19], 5);
        assert_eq!(Pace::new(1).limit(), 1, "the most counts from the start");
    }

    #[test]
    fn one_accident_halves_it_once_and_the_next_again() {
        let start = Instant::now();
        let mut pace = Pace::new(100);
        (0..10_000).for_each(|_| pace.succeeded());
        assert_eq!(pace.limit(), 100);
        for _ in 0..100 {
            pace.failed(start, start + SECOND);
        }
        assert_eq!(pace.limit(), 50);
        pace.failed(start + 2 * SECOND, start + 3 * SECOND);
        assert_eq!((pace.limit(), pace.paused_until(start)), (25, None));
    }

    #[test]
    fn pauses_double_up_to_their_limit_and_successes_shorten_them() {
        let mut now = Instant::now();
        let mut pace = Pace::new(10);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let pause = pace.throttled(now, now);
            assert_eq!(pause, seconds * SECOND);
            let half = pause / 2;
            assert_eq!(pace.throttled(now, now + half), half, "no news");
            assert_eq!(pace.paused_until(now), Some(now + pause));
            now += pause;
            assert_eq!((pace.paused_until(now), pace.limit()), (None, 1));
        }
        (0..3).for_each(|_| pace.succeeded());
        assert_eq!(pace.throttled(now, now), Duration::from_secs(75));
        (0..20).for_each(|_| pace.succeeded());
        let later = now + 75 * SECOND;
        assert_eq!(pace.throttled(later, later), PAUSE);
    }

    #[test]
    fn what_is_begun_during_a_pause_is_no_news() {
        let start = Instant::now();
        let mut pace = Pace::new(10);
        assert_eq!(pace.throttled(start, start), PAUSE);
        let half = start + PAUSE / 2;
        assert_eq!(pace.throttled(half, half), PAUSE / 2, "it was on its way already");
        pace.failed(half, half);
        assert_eq!((pace.paused_until(half), pace.limit()), (Some(start + PAUSE), 1));
        assert_eq!(pace.throttled(half, start + 2 * PAUSE), PAUSE, "heard late");
        assert_eq!(pace.paused_until(start + 2 * PAUSE), None);
        assert_eq!(pace.throttled(start + PAUSE, start + 2 * PAUSE), 2 * PAUSE);
    }

    proptest! {
        #[test]
        fn the_limit_and_the_pause_stay_within_their_bounds(
            most in 0..2000_u32,
            steps in prop::collection::vec((0..3_u8, 0..1000_u64, 0..1000_u64), 0..300),
        ) {
            let mut pace = Pace::new(most);
            let mut now = Instant::now();
            for (step, passed, ago) in steps {
                let begun = now;
                now += Duration::from_secs(passed);
                let begun = begun.checked_sub(Duration::from_secs(ago)).unwrap_or(begun);
                match step {
                    0 => pace.succeeded(),
                    1 => pace.failed(begun, now),
                    _ => {
                        let pause = pace.throttled(begun, now);
                        prop_assert!(pause > Duration::ZERO && pause <= PAUSE_MAX);
                    }
                }
                prop_assert!((1..=most.max(1)).contains(&pace.limit()));
                let until = pace.paused_until(now);
                prop_assert!(until.is_none_or(|until| until - now <= PAUSE_MAX));
            }
        }
    }
}
