//! Who has to wait after failed logins.
//!
//! Many clients may share one address, so it is the pair of address and login that waits, and
//! nobody else. Over IPv6 it is the /64: a host changes the rest of its address at will.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Source;

/// Failures in [`WINDOW`] after which a pair waits.
const FAILURES: u32 = 5;
/// How long a failure counts.
const WINDOW: Duration = Duration::from_secs(600);
/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(900);
/// Pairs remembered at a time; beyond that the one that failed longest ago is forgotten.
const PAIRS: usize = 10_000;

/// Failed logins by address and login. Bounded: 10,000 pairs.
#[derive(Debug, Default)]
pub struct FailedLogins {
    pairs: HashMap<(Source, String), Pair>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    failures: u32,
    /// Those that were counted since the last wait began.
    since_wait: u32,
    window_began: Instant,
    last: Instant,
    waits: u32,
    until: Option<Instant>,
}

/// The pair has to wait: 454 4.7.0, and its password is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins")]
pub struct MustWait;

impl FailedLogins {
    /// Tells whether `login` may be tried from `source` at `now`.
    ///
    /// # Errors
    ///
    /// The pair has failed five times in ten minutes, and its wait is not over.
    pub fn check(&self, source: IpAddr, login: &str, now: Instant) -> Result<(), MustWait> {
        let until = self.pairs.get(&pair_of(source, login)).and_then(|pair| pair.until);
        if until.is_some_and(|until| now < until) { Err(MustWait) } else { Ok(()) }
    }

    /// Returns the logins that wait when they come from `source`, in order, and how long from `now` on.
    #[must_use]
    pub fn waiting(&self, source: IpAddr, now: Instant) -> Vec<(&str, Duration)> {
        let place = Source::of(source, None);
        let waits = |pair: &Pair| pair.until?.checked_duration_since(now);
        let pairs = self.pairs.iter().filter(|((of, _), _)| *of == place);
        let mut waiting: Vec<_> =
            pairs.filter_map(|((_, login), pair)| Some((login.as_str(), waits(pair)?))).collect();
        waiting.retain(|(_, left)| !left.is_zero());
        waiting.sort_unstable();
        waiting
    }

    /// Notes a failure, and returns how many were counted if the pair waits from now on.
    pub fn failed(&mut self, source: IpAddr, login: &str, now: Instant) -> Option<u32> {
        let key = pair_of(source, login);
        if self.pairs.len() >= PAIRS && !self.pairs.contains_key(&key) {
            self.forget_one(now);
        }
        let fresh = Pair {
            failures: 0,
            since_wait: 0,
            window_began: now,
            last: now,
            waits: 0,
            until: None,
        };
        let pair = self.pairs.entry(key).or_insert(fresh);
        let calm_since = pair.until.unwrap_or(pair.last);
        if now.saturating_duration_since(calm_since) > LONGEST_WAIT {
            *pair = fresh;
        } else if now.saturating_duration_since(pair.window_began) > WINDOW {
            (pair.failures, pair.since_wait) = (0, 0);
            pair.window_began = now;
        }
        // Attempts that were under way when the wait began are no further ones.
        if pair.until.is_some_and(|until| now < until) {
            return None;
        }
        pair.last = now;
        pair.failures += 1;
        pair.since_wait += 1;
        if pair.failures < FAILURES {
            return None;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << pair.waits.min(4)).min(LONGEST_WAIT);
        pair.until = Some(now + wait);
        pair.window_began = now + wait;
        pair.waits += 1;
        // One more failure after the wait is over begins the next one.
        pair.failures = FAILURES - 1;
        Some(std::mem::take(&mut pair.since_wait))
    }

    /// Notes a success: the pair starts over.
    pub fn succeeded(&mut self, source: IpAddr, login: &str) {
        self.pairs.remove(&pair_of(source, login));
    }

    /// Makes room: what no longer counts goes, else the pair that failed longest ago.
    fn forget_one(&mut self, now: Instant) {
        self.pairs.retain(|_, pair| {
            now.saturating_duration_since(pair.until.unwrap_or(pair.last)) <= LONGEST_WAIT
        });
        if self.pairs.len() >= PAIRS {
            let oldest = self.pairs.iter().min_by_key(|(_, pair)| pair.last);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.pairs.remove(&key);
            }
        }
    }
}

fn pair_of(source: IpAddr, login: &str) -> (Source, String) {
    (Source::of(source, None), login.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn who_waits_is_named_with_the_time_that_is_left() {
        let mut logins = FailedLogins::default();
        let begun = Instant::now();
        for login in ["b", "a", "c"] {
            let failures = if login == "c" { FAILURES - 1 } else { FAILURES };
            for _ in 0..failures {
                logins.failed(SOURCE, login, begun);
            }
        }
        let later = begun + seconds(20);
        let left = FIRST_WAIT.saturating_sub(seconds(20));
        assert_eq!(logins.waiting(SOURCE, later), [("a", left), ("b", left)]);
        assert_eq!(logins.waiting(IpAddr::from([192, 0, 2, 2]), later), []);
        assert_eq!(logins.waiting(SOURCE, begun + FIRST_WAIT), []);
    }

    #[test]
    fn five_failures_make_a_pair_wait_and_each_further_wait_is_twice_as_long() {
        let start = Instant::now();
        let mut logins = FailedLogins::default();
        for _ in 0..4 {
            assert_eq!(logins.failed(SOURCE, "a", start), None);
        }
        assert_eq!(logins.check(SOURCE, "a", start), Ok(()));
        assert_eq!(logins.failed(SOURCE, "a", start), Some(5));
        let mut at = start;
        for wait in [60, 120, 240, 480, 900, 900] {
            assert_eq!(logins.check(SOURCE, "a", at + seconds(wait - 1)), Err(MustWait), "{wait}");
            assert_eq!(logins.check(SOURCE, "a", at + seconds(wait)), Ok(()), "{wait}");
            at += seconds(wait);
            assert_eq!(logins.failed(SOURCE, "a", at), Some(1), "since the last one");
        }
    }

    #[test]
    fn other_logins_and_other_addresses_do_not_wait() {
        let start = Instant::now();
        let mut logins = FailedLogins::default();
        for _ in 0..5 {
            logins.failed(SOURCE, "a", start);
        }
        assert_eq!(logins.check(SOURCE, "b", start), Ok(()));
        let other = "192.0.2.2".parse().unwrap();
        assert_eq!(logins.check(other, "a", start), Ok(()));
    }

    #[test]
    fn another_address_of_the_same_ipv6_host_waits_too() {
        let start = Instant::now();
        let mut logins = FailedLogins::default();
        for last in 1..=5 {
            logins.failed(format!("2001:db8::{last}").parse().unwrap(), "a", start);
        }
        let wait = |source: &str| logins.check(source.parse().unwrap(), "a", start);
        assert_eq!(wait("2001:db8::ffff"), Err(MustWait));
        assert_eq!(wait("2001:db8:0:1::1"), Ok(()));
    }

    #[test]
    fn a_success_and_time_make_a_pair_start_over() {
        let start = Instant::now();
        let mut logins = FailedLogins::default();
        for _ in 0..4 {
            logins.failed(SOURCE, "a", start);
        }
        logins.succeeded(SOURCE, "a");
        assert_eq!(logins.failed(SOURCE, "a", start), None);
        for _ in 0..3 {
            logins.failed(SOURCE, "a", start);
        }
        assert_eq!(logins.failed(SOURCE, "a", start + seconds(601)), None, "the window is over");
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_forgets_the_oldest_first() {
        let start = Instant::now();
        let mut logins = FailedLogins::default();
        for count in 0..PAIRS as u64 + 5 {
            logins.failed(SOURCE, &count.to_string(), start + Duration::from_micros(count));
        }
        assert_eq!(logins.pairs.len(), PAIRS);
        assert!(!logins.pairs.contains_key(&pair_of(SOURCE, "0")));
        assert!(logins.pairs.contains_key(&pair_of(SOURCE, &PAIRS.to_string())));
    }
}
