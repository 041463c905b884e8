//! How many recipients the clients of a policy may name in a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::permit::Client;
use crate::config::{Config, Policy, Rate, Who};

/// How much of a rate may be used at once.
const BURST: Duration = Duration::from_secs(10);

/// The rates and quotas of all policies of a configuration. Each is shared by all sessions of the
/// clients that its policy speaks of.
#[derive(Debug, Default)]
pub struct Rates {
    by_tag: HashMap<String, Allowance>,
    by_login: HashMap<String, Allowance>,
}

/// What one policy allows; each is none where the policy says nothing.
#[derive(Clone, Debug, Default)]
struct Allowance {
    rate: Option<Shared>,
    quota: Option<Shared>,
}

/// A bucket that the sessions of before and after a reload have in common.
type Shared = Arc<Mutex<Bucket>>;

/// Tokens that come back with time; at least one fits.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    written: Rate,
    most: f64,
    tokens: f64,
    at: Instant,
}

/// Everything that a client may name for now has been named: 450 4.7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Of the rate, with its burst of ten seconds.
    #[error("the recipient rate is used up")]
    Rate,
    /// Of the quota of an hour or a day.
    #[error("the recipient quota is used up")]
    Quota,
}

impl Rates {
    /// Returns full buckets for the policies of `config`.
    #[must_use]
    pub fn new(config: &Config, now: Instant) -> Self {
        Self::default().renewed(config, now)
    }

    /// Returns the buckets for another configuration. A rate or quota that stays as it was written
    /// keeps its bucket, which sessions of both configurations draw from: nobody gets a new burst
    /// by a reload. A restart begins with full ones.
    #[must_use]
    pub fn renewed(&self, config: &Config, now: Instant) -> Self {
        let mut renewed = Self::default();
        for policy in &config.policies {
            let (before, after, name) = match &policy.who {
                Who::Tag(tag) => (&self.by_tag, &mut renewed.by_tag, tag),
                Who::Login(login) => (&self.by_login, &mut renewed.by_login, login),
            };
            after.insert(name.clone(), Allowance::of(policy, before.get(name), now));
        }
        renewed
    }

    /// Takes one recipient from every policy that speaks of `client`, or from none.
    ///
    /// # Errors
    ///
    /// One of them has none left.
    pub fn take(&self, client: Client<'_>, now: Instant) -> Result<(), Exceeded> {
        let of_login = client.login.and_then(|login| self.by_login.get(login));
        let of_tag = client.tag.and_then(|tag| self.by_tag.get(tag));
        let allowances = || of_login.into_iter().chain(of_tag);
        let rates = allowances().filter_map(|a| Some((a.rate.as_ref()?, Exceeded::Rate)));
        let quotas = allowances().filter_map(|a| Some((a.quota.as_ref()?, Exceeded::Quota)));
        let mut taken: Vec<&Shared> = Vec::new();
        for (bucket, exceeded) in rates.chain(quotas) {
            if !with(bucket, |bucket| bucket.take(now)) {
                // For the moment in between others saw one less than there is: never one more.
                for bucket in taken {
                    with(bucket, Bucket::give_back);
                }
                return Err(exceeded);
            }
            taken.push(bucket);
        }
        Ok(())
    }
}

impl Allowance {
    fn of(policy: &Policy, before: Option<&Self>, now: Instant) -> Self {
        let renew = |written: Option<Rate>, old: Option<&Shared>, burst: fn(Rate) -> f64| {
            written.map(|written| {
                let kept = old.filter(|old| with(old, |bucket| bucket.written == written));
                let full = || Arc::new(Mutex::new(Bucket::full(written, burst(written), now)));
                kept.map_or_else(full, Arc::clone)
            })
        };
        let (rate, quota) = before.map_or((None, None), |b| (b.rate.as_ref(), b.quota.as_ref()));
        Self {
            rate: renew(policy.rate, rate, |rate| per_second(rate) * BURST.as_secs_f64()),
            quota: renew(policy.quota, quota, |quota| f64::from(quota.count)),
        }
    }
}

fn with<T>(bucket: &Mutex<Bucket>, work: impl FnOnce(&mut Bucket) -> T) -> T {
    work(&mut bucket.lock().unwrap_or_else(PoisonError::into_inner))
}

fn per_second(rate: Rate) -> f64 {
    f64::from(rate.count) / rate.per.as_secs_f64()
}

impl Bucket {
    fn full(written: Rate, burst: f64, now: Instant) -> Self {
        let most = burst.max(1.0);
        Self { written, most, tokens: most, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + waited * per_second(self.written)).min(self.most);
        self.at = self.at.max(now);
        let is_left = self.tokens >= 1.0;
        if is_left {
            self.tokens -= 1.0;
        }
        is_left
    }

    fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::samples;

    const APP: Client<'_> = Client { login: Some("app"), tag: None };
    const APP_ON_WEB: Client<'_> = Client { login: Some("app"), tag: Some("web") };
    const HOUR: Duration = Duration::from_secs(3600);

    /// Returns how many of at most 1,000 recipients are taken, and what then is used up.
    fn drain(rates: &Rates, client: Client<'_>, now: Instant) -> (usize, Option<Exceeded>) {
        let mut taken = 0;
        while taken < 1000 {
            if let Err(exceeded) = rates.take(client, now) {
                return (taken, Some(exceeded));
            }
            taken += 1;
        }
        (taken, None)
    }

    fn rates(tag: &str, login: &str, now: Instant) -> Rates {
        let config = samples::config(&[("tag", "web", tag), ("login", "app", login)]);
        Rates::new(&config, now)
    }

    #[test]
    fn a_rate_gives_ten_seconds_at_once_and_a_quota_all_of_it() {
        use Exceeded::{Quota, Rate};
        let start = Instant::now();
        let rows = [
            ("a rate", "", "rate = \"60/min\"", (10, Some(Rate)), (10, Some(Rate))),
            (
                "a small rate lets one through",
                "",
                "rate = \"1/d\"",
                (1, Some(Rate)),
                (0, Some(Rate)),
            ),
            ("a quota", "", "quota = \"48/d\"", (48, Some(Quota)), (2, Some(Quota))),
            ("an hour's", "", "quota = \"48/h\"", (48, Some(Quota)), (48, Some(Quota))),
            (
                "the tag's is lower",
                "rate = \"6/min\"",
                "rate = \"60/min\"",
                (1, Some(Rate)),
                (1, Some(Rate)),
            ),
            (
                "the login's is lower",
                "quota = \"9/h\"",
                "quota = \"5/h\"",
                (5, Some(Quota)),
                (5, Some(Quota)),
            ),
            (
                "rate and quota",
                "quota = \"4/h\"",
                "rate = \"60/min\"",
                (4, Some(Quota)),
                (4, Some(Quota)),
            ),
            ("neither", "", "", (1000, None), (1000, None)),
        ];
        for (row, tag, login, at_once, after_an_hour) in rows {
            let rates = rates(tag, login, start);
            assert_eq!(drain(&rates, APP_ON_WEB, start), at_once, "{row}");
            assert_eq!(drain(&rates, APP_ON_WEB, start + HOUR), after_an_hour, "{row}, later");
        }
    }

    #[test]
    fn what_one_policy_refuses_is_taken_from_no_other() {
        let start = Instant::now();
        let rates = rates("quota = \"1/h\"", "rate = \"60/min\"\nquota = \"9/h\"", start);
        assert_eq!(drain(&rates, APP_ON_WEB, start), (1, Some(Exceeded::Quota)));
        for _ in 0..100 {
            assert_eq!(rates.take(APP_ON_WEB, start), Err(Exceeded::Quota));
        }
        assert_eq!(drain(&rates, APP, start), (8, Some(Exceeded::Quota)), "one was taken before");
    }

    #[test]
    fn a_reload_gives_nobody_a_new_burst() {
        let start = Instant::now();
        let lines = "rate = \"60/min\"\nquota = \"15/h\"";
        let old = rates("", lines, start);
        assert_eq!(drain(&old, APP, start).0, 10);
        let config = |tag: &str, login: &str| {
            samples::config(&[("login", "app", login), ("tag", "web", tag)])
        };
        let new = old.renewed(&config("rate = \"1/s\"", lines), start);
        assert_eq!(drain(&new, APP, start), (0, Some(Exceeded::Rate)), "the order is nothing");
        let second = start + Duration::from_secs(1);
        assert_eq!(drain(&old, APP, second).0, 1, "sessions of before draw from the same bucket");
        assert_eq!(drain(&new, APP, second).0, 0);
        let other = new.renewed(&config("", "rate = \"120/min\"\nquota = \"15/h\""), second);
        assert_eq!(
            drain(&other, APP, second),
            (4, Some(Exceeded::Quota)),
            "a new rate, an old quota"
        );
        let unlimited = other.renewed(&config("", ""), second);
        assert_eq!(drain(&unlimited, APP, second), (1000, None));
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing_back() {
        let start = Instant::now();
        let rates = rates("", "rate = \"6/min\"", start + HOUR);
        assert_eq!(drain(&rates, APP, start + HOUR).0, 1);
        assert_eq!(drain(&rates, APP, start).0, 0);
        assert_eq!(drain(&rates, APP, start + HOUR).0, 0);
    }
}
