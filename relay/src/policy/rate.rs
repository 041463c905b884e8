//! How many recipients the clients of a policy may name in a time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::relaying::{Client, policies_of};
use crate::config::{Config, Rate};

/// How much of the rate may be used at once.
const BURST: Duration = Duration::from_secs(10);

/// One bucket for each policy of a configuration, shared by all sessions.
#[derive(Debug)]
pub struct Rates {
    buckets: Mutex<Vec<Option<Bucket>>>,
}

/// Tokens that come back with time; at least one fits.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_second: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

/// Everything that a client may name for now has been named: 450 4.7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rate of the policy is used up")]
pub struct RateExceeded;

impl Rates {
    /// Returns full buckets for the policies of `config`.
    #[must_use]
    pub fn new(config: &Config, now: Instant) -> Self {
        let buckets = config.policies.iter().map(|policy| policy.rate.map(|r| Bucket::new(r, now)));
        Self { buckets: Mutex::new(buckets.collect()) }
    }

    /// Takes one recipient from every policy that speaks of `client`, or from none. `config` is the
    /// one given to [`Rates::new`].
    ///
    /// # Errors
    ///
    /// One of them has none left.
    pub fn take(
        &self,
        config: &Config,
        client: Client<'_>,
        now: Instant,
    ) -> Result<(), RateExceeded> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned: Vec<usize> = policies_of(config, client).map(|(place, _)| place).collect();
        for place in &concerned {
            if let Some(Some(bucket)) = buckets.get_mut(*place) {
                bucket.fill(now);
                if bucket.tokens < 1.0 {
                    return Err(RateExceeded);
                }
            }
        }
        for place in concerned {
            if let Some(Some(bucket)) = buckets.get_mut(place) {
                bucket.tokens -= 1.0;
            }
        }
        Ok(())
    }
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        let per_second = f64::from(rate.count) / rate.per.as_secs_f64();
        let most = (per_second * BURST.as_secs_f64()).max(1.0);
        Self { per_second, most, tokens: most, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let waited = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + waited * self.per_second).min(self.most);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_gives_its_burst_at_once_and_then_one_by_one() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { count: 60, per: Duration::from_secs(60) }, start);
        let mut take = |at: Duration| {
            bucket.fill(start + at);
            let left = bucket.tokens >= 1.0;
            bucket.tokens -= f64::from(u8::from(left));
            left
        };
        let at_once = (0..20).filter(|_| take(Duration::ZERO)).count();
        assert_eq!(at_once, 10);
        assert!(!take(Duration::from_millis(900)));
        assert!(take(Duration::from_millis(1_000)));
        assert!(!take(Duration::from_millis(1_500)));
        assert_eq!((0..20).filter(|_| take(Duration::from_secs(3_600))).count(), 10);
    }

    #[test]
    fn a_small_rate_still_lets_one_through() {
        let start = Instant::now();
        let day = Duration::from_secs(86_400);
        let bucket = Bucket::new(Rate { count: 1, per: day }, start);
        assert!(bucket.tokens >= 1.0);
    }
}
