//! When deferred mail is tried again, and when it is given up.

use std::time::Duration;

use crate::config::Retry;

/// What follows an attempt that ended without a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this long.
    Wait(Duration),
    /// No other attempt: the sender gets a report.
    GiveUp,
}

/// Decides what follows the attempt after `attempts` earlier ones, for a message of this `age`.
///
/// The waits are those of `[retry] after`, the last one repeating. Each is lengthened or shortened
/// by up to a fifth, by where `jitter` stands between 0 and `u32::MAX`, so that what was deferred
/// together does not come back together. The last wait ends when the message expires: it gets one
/// more attempt then, and is given up if that fails too (RFC 5321, section 4.5.4.1). A wait also
/// ends when the sender is to hear of the delay, so that he hears in time and of the last attempt.
#[must_use]
pub fn next(retry: &Retry, attempts: u32, age: Duration, jitter: u32) -> Next {
    let Some(left) = retry.expire.checked_sub(age).filter(|left| !left.is_zero()) else {
        return Next::GiveUp;
    };
    let untold = retry.delay_report.checked_sub(age).filter(|untold| !untold.is_zero());
    Next::Wait(wait(retry, attempts, jitter).min(left).min(untold.unwrap_or(Duration::MAX)))
}

/// Returns the wait after the attempt that followed `attempts` earlier ones, jitter included,
/// however old the message is.
#[must_use]
pub fn wait(retry: &Retry, attempts: u32, jitter: u32) -> Duration {
    let place = usize::try_from(attempts).unwrap_or(usize::MAX).min(retry.after.len() - 1);
    retry.after[place].mul_f64(0.8 + 0.4 * f64::from(jitter) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIDDLE: u32 = u32::MAX / 2;

    fn retry() -> Retry {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Retry {
            after: [1, 5, 15].map(minutes).to_vec(),
            expire: minutes(60),
            delay_report: minutes(30),
        }
    }

    fn minutes(next: Next) -> f64 {
        match next {
            Next::Wait(wait) => (wait.as_secs_f64() / 6.0).round() / 10.0,
            Next::GiveUp => f64::INFINITY,
        }
    }

    #[test]
    fn the_waits_grow_and_the_last_repeats() {
        for (attempts, expected) in [(0, 1.0), (1, 5.0), (2, 15.0), (3, 15.0), (u32::MAX, 15.0)] {
            let next = next(&retry(), attempts, Duration::ZERO, MIDDLE);
            assert!((minutes(next) - expected).abs() < 0.01, "{attempts}: {next:?}");
        }
    }

    #[test]
    fn the_last_attempt_is_made_when_the_message_expires_and_not_after() {
        let age = |m: u64| Duration::from_secs(m * 60);
        assert_eq!(next(&retry(), 9, age(55), MIDDLE), Next::Wait(age(5)));
        assert_eq!(next(&retry(), 9, age(60), MIDDLE), Next::GiveUp);
        assert_eq!(next(&retry(), 0, age(61), MIDDLE), Next::GiveUp);
    }

    #[test]
    fn an_attempt_is_made_when_the_sender_is_to_hear_of_the_delay() {
        let age = |m: u64| Duration::from_secs(m * 60);
        assert_eq!(next(&retry(), 9, age(27), MIDDLE), Next::Wait(age(3)));
        assert!((minutes(next(&retry(), 9, age(30), MIDDLE)) - 15.0).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn jitter_is_at_most_a_fifth(attempts: u32, jitter: u32) {
            let middle = wait(&retry(), attempts, MIDDLE);
            let wait = wait(&retry(), attempts, jitter);
            prop_assert!(wait >= middle.mul_f64(0.799) && wait <= middle.mul_f64(1.201));
        }
    }
}
