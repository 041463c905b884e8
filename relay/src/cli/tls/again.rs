//! When the timer tries again after a renewal that failed.
//!
//! It looks every hour, for the sake of certificates that live for a day; an authority that refuses is not to be asked
//! as often. Who renews by hand waits for nothing.

use jiff::{SignedDuration, Timestamp};

use crate::acme::failed::Failed;

/// The shortest wait: the next look of the timer is a try, whatever time the last one took.
const SHORTEST: SignedDuration = SignedDuration::from_mins(45);
/// The longest wait. So long it is, too, after something was signed in vain: an authority signs few for the same names.
pub(super) const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// How many tries fit into what is left of a certificate, at least.
const TRIES: i32 = 8;

/// Who has a certificate renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who knows why.
    Operator,
    /// The timer, which waits after a try that failed.
    Timer,
}

impl Caller {
    /// Returns what the flag says.
    #[must_use]
    pub const fn of(by_timer: bool) -> Self {
        if by_timer { Self::Timer } else { Self::Operator }
    }
}

/// Tells whether the timer is to wait still after a try that failed.
pub(super) fn waits(failed: &Failed, now: Timestamp) -> bool {
    // A clock that was set back makes no wait longer.
    now < failed.until && failed.until.duration_since(now) <= LONGEST
}

/// Returns how long the timer waits after a failure, when so much is left of the certificate.
pub(super) fn wait(left: SignedDuration) -> SignedDuration {
    (left / TRIES).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_waits_an_eighth_of_what_is_left_an_hour_or_a_day() {
        for (row, left, wanted) in [
            ("a third of 90 days", SignedDuration::from_hours(30 * 24), LONGEST),
            ("a third of six days", SignedDuration::from_hours(48), SignedDuration::from_hours(6)),
            ("a third of a day", SignedDuration::from_hours(8), SignedDuration::from_hours(1)),
            ("nearly over", SignedDuration::from_mins(9), SHORTEST),
            ("over", SignedDuration::from_hours(-9), SHORTEST),
        ] {
            assert_eq!(wait(left), wanted, "{row}");
        }
    }

    #[test]
    fn the_timer_looks_as_often_as_a_certificate_of_a_day_needs() {
        let timer = include_str!("../../../../config/sallyport-certificate.timer");
        // The delay is the same each time: from one look to the next it is an hour, not up to two.
        for line in ["OnCalendar=hourly", "RandomizedDelaySec=1h", "FixedRandomDelay=yes"] {
            assert!(timer.lines().any(|one| one == line), "{line}");
        }
        let service = include_str!("../../../../config/sallyport-certificate.service");
        assert!(service.contains("tls renew --by-timer "));
    }

    #[test]
    fn the_timer_waits_until_its_time_is_over() {
        let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
        let failed = Failed { since: at(0), until: at(30), why: String::new() };
        for (row, now, wanted) in [
            ("before", 29, true),
            ("then", 30, false),
            ("as early as can be", 6, true),
            ("by a clock that was set back", 5, false),
        ] {
            assert_eq!(waits(&failed, at(now)), wanted, "{row}");
        }
    }
}
