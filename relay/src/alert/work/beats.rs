//! When a receiver is told that the relay lives.

use std::time::Duration;

use tokio::time::Instant;

/// When a heartbeat that was not taken is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// The heartbeats of a channel. How often one is told is asked at each look: a reload may change it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beats {
    /// When one was sent last.
    last: Option<Instant>,
    /// When one that was not taken is tried again.
    again: Option<Instant>,
}

impl Beats {
    /// Returns whether one is due, of those that are told so often.
    pub fn is_due(&self, every: Duration, now: Instant) -> bool {
        let is_turn = self.last.is_none_or(|last| now.saturating_duration_since(last) >= every);
        is_turn || self.again.is_some_and(|again| now >= again)
    }

    /// Notes that one is sent.
    pub fn sent(&mut self, now: Instant) {
        (self.last, self.again) = (Some(now), None);
    }

    /// Notes that one was not taken. One that is missing wakes somebody: a moment without a network is no reason to.
    pub fn missed(&mut self, now: Instant) {
        self.again = Some(now + AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_heartbeat_that_a_reload_makes_more_frequent_comes_by_its_new_turn() {
        let mut beats = Beats::default();
        let now = Instant::now();
        assert!(beats.is_due(DAY, now), "the first comes at once");
        beats.sent(now);
        let later = now + MINUTE * 5;
        assert!(!beats.is_due(DAY, later));
        assert!(beats.is_due(MINUTE * 5, later) && !beats.is_due(MINUTE * 6, later));
    }

    #[test]
    fn a_heartbeat_that_was_not_taken_is_tried_again_before_its_turn_and_never_after_it() {
        let mut beats = Beats::default();
        let now = Instant::now();
        beats.sent(now);
        beats.missed(now);
        assert!(!beats.is_due(MINUTE, now + AGAIN / 2));
        assert!(beats.is_due(MINUTE, now + AGAIN));
        assert!(beats.is_due(AGAIN / 2, now + AGAIN / 2));
        beats.sent(now + AGAIN);
        assert!(!beats.is_due(MINUTE, now + MINUTE), "it was sent, and its answer is waited for");
    }
}
