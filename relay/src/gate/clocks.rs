//! Between the wall clock, in which people think, and the boot clock, which the kernel obeys.

use std::time::Duration;

use jiff::Timestamp;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// The boot clock, in nanoseconds.
    pub boot_ns: u64,
}

impl Moment {
    /// Returns a time of the wall clock on the boot clock; one that is over is now.
    #[must_use]
    pub fn boot_of(&self, at: Timestamp) -> u64 {
        let left = Duration::try_from(at.duration_since(self.wall)).unwrap_or_default();
        self.boot_ns.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns a time of the wall clock on the boot clock; negative before this boot.
    #[must_use]
    pub fn boot_of_past(&self, at: Timestamp) -> i64 {
        let since = i64::try_from(self.wall.duration_since(at).as_nanos()).unwrap_or(i64::MAX);
        i64::try_from(self.boot_ns).unwrap_or(i64::MAX).saturating_sub(since)
    }

    /// Returns a time of the boot clock on the wall clock.
    #[must_use]
    pub fn wall_of(&self, at_ns: u64) -> Timestamp {
        self.wall_of_past(i64::try_from(at_ns).unwrap_or(i64::MAX))
    }

    /// Returns a time of the boot clock, perhaps before this boot, on the wall clock.
    #[must_use]
    pub fn wall_of_past(&self, at_ns: i64) -> Timestamp {
        let now_ns = i64::try_from(self.boot_ns).unwrap_or(i64::MAX);
        let ahead = jiff::SignedDuration::from_nanos(at_ns.saturating_sub(now_ns));
        let limit = if ahead.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
        self.wall.checked_add(ahead).unwrap_or(limit)
    }

    /// Returns the moment that is `ttl` later, on the boot clock.
    #[must_use]
    pub fn after(&self, ttl: Duration) -> u64 {
        self.boot_ns.saturating_add(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_goes_to_the_other_clock_and_back() {
        let moment =
            Moment { wall: Timestamp::from_second(1_000_000).unwrap(), boot_ns: 50_000_000_000 };
        let later = Timestamp::from_second(1_000_060).unwrap();
        assert_eq!(moment.boot_of(later), 110_000_000_000);
        assert_eq!(moment.wall_of(110_000_000_000), later);
        let before_boot = Timestamp::from_second(999_900).unwrap();
        assert_eq!(moment.boot_of_past(before_boot), -50_000_000_000);
        assert_eq!(moment.wall_of_past(-50_000_000_000), before_boot);
        assert_eq!(moment.boot_of(before_boot), 50_000_000_000, "what is over is over now");
        assert_eq!(moment.wall_of(u64::MAX), moment.wall_of_past(i64::MAX));
    }
}
