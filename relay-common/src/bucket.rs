//! Connect rates as a virtual clock.
//!
//! A bucket is one number: the time at which it is full again. Each token moves that time on by one
//! interval, and a token is refused if that would put it further ahead of now than the burst allows.
//! So there is no multiplication on the way, a bucket is eight bytes that one compare-and-swap
//! replaces, and no timer refills it. This is the generic cell rate algorithm (ITU-T I.371) in the
//! form of a virtual schedule.

use core::time::Duration;

/// How many tokens come back in which time, and how many may be taken at once.
///
/// All zero means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Rate {
    interval_ns: u64,
    ahead_ns: u64,
}

/// The longest time between two tokens, and the longest burst counted in time: a day.
const LONGEST_NS: u64 = 86_400_000_000_000;

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { interval_ns: 0, ahead_ns: 0 };

    /// Returns a rate of `tokens` in each `per`, of which `burst` may come at once.
    ///
    /// Returns `None` if `tokens` or `burst` is zero, if a token comes back less often than once a day or
    /// more often than once a nanosecond, or if the burst takes longer than a day to come back.
    pub fn new(tokens: u32, per: Duration, burst: u32) -> Option<Self> {
        let per_ns = u64::try_from(per.as_nanos()).ok()?;
        let interval_ns = per_ns.checked_div(u64::from(tokens))?;
        let ahead_ns = interval_ns.checked_mul(u64::from(burst.checked_sub(1)?))?;
        let fits = (1..=LONGEST_NS).contains(&interval_ns) && ahead_ns <= LONGEST_NS;
        fits.then_some(Self { interval_ns, ahead_ns })
    }

    /// Returns whether nothing is limited.
    #[inline(always)]
    pub const fn is_unlimited(&self) -> bool {
        self.interval_ns == 0
    }

    /// Returns the time in which one token comes back.
    pub const fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval_ns)
    }
}

/// What is left of a rate: the time, in nanoseconds of the boot clock, at which all tokens are back.
///
/// Zero is a full bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bucket {
    full_at_ns: u64,
}

impl Bucket {
    /// A bucket from which nothing was taken.
    pub const FULL: Self = Self { full_at_ns: 0 };

    /// Returns the bucket that is full again at `full_at_ns`.
    #[inline(always)]
    pub const fn from_ns(full_at_ns: u64) -> Self {
        Self { full_at_ns }
    }

    /// Returns the time at which the bucket is full again.
    #[inline(always)]
    pub const fn full_at_ns(self) -> u64 {
        self.full_at_ns
    }

    /// Returns the bucket after one token is taken at `now_ns`; `None` if `rate` has none left.
    ///
    /// A bucket that lies further ahead than `rate` could have put it was written under another rate: it
    /// starts full, so that a changed rate holds from its first connection on.
    #[inline(always)]
    pub const fn take(self, rate: &Rate, now_ns: u64) -> Option<Self> {
        let furthest_ns = now_ns + rate.ahead_ns + rate.interval_ns;
        let foreign = self.full_at_ns < now_ns || self.full_at_ns > furthest_ns;
        let from_ns = if foreign { now_ns } else { self.full_at_ns };
        if from_ns - now_ns > rate.ahead_ns {
            return None;
        }
        Some(Self { full_at_ns: from_ns + rate.interval_ns })
    }

    /// Returns the bucket after one token is taken at `now_ns` by one of several owners that share it;
    /// `None` if none is left.
    ///
    /// The owners may have different rates, so however far ahead the bucket lies, it is believed: that may
    /// refuse too early, never admit too much.
    #[inline(always)]
    pub const fn take_shared(self, rate: &Rate, now_ns: u64) -> Option<Self> {
        let from_ns = if self.full_at_ns < now_ns { now_ns } else { self.full_at_ns };
        if from_ns - now_ns > rate.ahead_ns {
            return None;
        }
        Some(Self { full_at_ns: from_ns + rate.interval_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(rate: &Rate, bucket: &mut Bucket, now_ns: u64) -> bool {
        bucket.take(rate, now_ns).inspect(|left| *bucket = *left).is_some()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_token_an_interval() {
        let rate = Rate::new(10, Duration::from_secs(1), 3).unwrap();
        let mut bucket = Bucket::FULL;
        let start = 7 * SECOND;
        let burst: Vec<bool> = (0..5).map(|_| taken(&rate, &mut bucket, start)).collect();
        assert_eq!(burst, [true, true, true, false, false]);
        assert!(!taken(&rate, &mut bucket, start + SECOND / 10 - 1));
        assert!(taken(&rate, &mut bucket, start + SECOND / 10));
        assert!(!taken(&rate, &mut bucket, start + SECOND / 10));
    }

    #[test]
    fn a_bucket_written_under_another_rate_starts_full() {
        let rate = Rate::new(1, Duration::from_secs(1), 2).unwrap();
        let mut bucket = Bucket::from_ns(1_000 * SECOND);
        let burst: Vec<bool> = (0..3).map(|_| taken(&rate, &mut bucket, SECOND)).collect();
        assert_eq!(burst, [true, true, false]);
        assert_eq!(bucket.full_at_ns(), 3 * SECOND, "a refusal writes nothing");
    }

    #[test]
    fn rates_that_cannot_be_kept_are_refused() {
        let second = Duration::from_secs(1);
        for (tokens, per, burst) in [
            (0, second, 1),
            (1, second, 0),
            (2, Duration::from_nanos(1), 1),
            (1, Duration::from_secs(86_401), 1),
            (1, Duration::from_secs(3_600), 26),
            (1, Duration::MAX, 1),
        ] {
            assert_eq!(Rate::new(tokens, per, burst), None, "{tokens} {per:?} {burst}");
        }
        assert!(Rate::UNLIMITED.is_unlimited());
    }

    proptest! {
        /// Over any series of attempts, no window holds more than the burst and what came back in it.
        #[test]
        fn never_more_than_burst_plus_rate(
            tokens in 1u32..1_000, burst in 1u32..50, steps in prop::collection::vec(0u64..50_000_000, 1..200)
        ) {
            let rate = Rate::new(tokens, Duration::from_secs(1), burst).unwrap();
            let (mut bucket, mut now, mut passed) = (Bucket::FULL, SECOND, 0u64);
            for step in steps {
                now += step;
                passed += u64::from(taken(&rate, &mut bucket, now));
                let back = (now - SECOND) / u64::try_from(rate.interval().as_nanos()).unwrap();
                prop_assert!(passed <= u64::from(burst) + back);
            }
        }
    }

    #[test]
    fn a_shared_bucket_that_lies_far_ahead_is_believed() {
        let rate = Rate::new(1, Duration::from_secs(1), 3).unwrap();
        let far = Bucket::from_ns(1_000 * SECOND);
        assert_eq!(far.take(&rate, SECOND), Some(Bucket::from_ns(2 * SECOND)));
        assert_eq!(far.take_shared(&rate, SECOND), None);
        let mut shared = Bucket::FULL;
        for _ in 0..3 {
            shared = shared.take_shared(&rate, SECOND).unwrap();
        }
        assert_eq!(shared.take_shared(&rate, SECOND), None);
        assert!(shared.take_shared(&rate, 2 * SECOND).is_some());
    }
}
