//! Logins that have to wait, for those who ask why a client cannot log in.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Logins, lock};

/// The most logins that are named as waiting from one address: who guesses tries thousands.
const WAITING_MAX: usize = 16;

/// A login that failed too often from an address: until then any proof of it gets 454 there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Waiting {
    /// The login.
    pub login: String,
    /// Until when.
    pub until: Timestamp,
}

impl Logins {
    /// Returns the logins that have to wait when they come from this address, the first 16 by their names.
    #[must_use]
    pub fn waiting(&self, source: IpAddr) -> Vec<Waiting> {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let failed = lock(&self.shared.failed);
        let told = |(login, left): (&str, Duration)| {
            let until = wall.checked_add(left).ok()?;
            // What can be no login's name is counted under none.
            (!login.is_empty()).then(|| Waiting { login: login.to_owned(), until })
        };
        failed.waiting(source, now).into_iter().filter_map(told).take(WAITING_MAX).collect()
    }
}
