//! Whether a route can be used now: a refused login is remembered, so that a thousand messages do
//! not each find out for themselves. What concerns one host is in [`super::pool`].

use std::time::{Duration, Instant};

/// How long a route is left alone after its login was refused for the first time; every further
/// refusal doubles it, up to [`SUSPENDED_MAX`].
pub const SUSPENDED: Duration = Duration::from_secs(15 * 60);

/// The longest time between two tries of a login that is refused.
pub const SUSPENDED_MAX: Duration = Duration::from_secs(60 * 60);

/// A digest of a password, kept to see that it has been changed.
pub type Fingerprint = [u8; 32];

/// What is known about a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It can be used, as far as we know.
    #[default]
    Up,
    /// Its login was refused.
    Suspended {
        /// Since when.
        since: Instant,
        /// When the login is tried again.
        until: Instant,
        /// How long it was suspended for.
        wait: Duration,
        /// What the next hop said.
        reason: String,
        /// Of the password that was refused.
        refused: Fingerprint,
    },
}

/// What a message may do with a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// Go ahead.
    Try,
    /// Wait this long, however old it is, for this reason.
    Hold(Duration, String),
}

impl Health {
    /// Decides for one message. `password` is the fingerprint of the password as it is now: a
    /// suspension ends at once when it is not the refused one any more.
    #[must_use]
    pub fn check(&self, now: Instant, password: Option<Fingerprint>) -> Use {
        match self {
            Self::Suspended { until, reason, refused, .. }
                if now < *until && password.is_none_or(|now| now == *refused) =>
            {
                Use::Hold(*until - now, reason.clone())
            }
            Self::Up | Self::Suspended { .. } => Use::Try,
        }
    }

    /// Returns the state after the login with the password of fingerprint `refused` was refused.
    ///
    /// Refusals that come while the route is suspended already belong to connections that were
    /// under way; they change nothing.
    #[must_use]
    pub fn suspended(self, now: Instant, reason: &str, refused: Fingerprint) -> Self {
        let (since, wait) = match &self {
            Self::Suspended { until, refused: earlier, .. }
                if now < *until && *earlier == refused =>
            {
                return self;
            }
            Self::Suspended { since, wait, .. } => (*since, (*wait * 2).min(SUSPENDED_MAX)),
            Self::Up => (now, SUSPENDED),
        };
        Self::Suspended { since, until: now + wait, wait, reason: reason.to_owned(), refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Fingerprint = [1; 32];
    const NEW: Fingerprint = [2; 32];

    #[test]
    fn a_suspension_doubles_with_every_refused_try_and_not_with_the_connections_of_one_try() {
        let now = Instant::now();
        let health = Health::default().suspended(now, "535", OLD);
        assert_eq!(health.check(now, Some(OLD)), Use::Hold(SUSPENDED, "535".into()));
        assert_eq!(health.clone().suspended(now, "535", OLD), health);
        let later = now + SUSPENDED;
        assert_eq!(health.check(later, Some(OLD)), Use::Try);
        let mut health = health;
        let mut at = later;
        for minutes in [30, 60, 60] {
            health = health.suspended(at, "535", OLD);
            let wait = Duration::from_secs(minutes * 60);
            assert_eq!(health.check(at, Some(OLD)), Use::Hold(wait, "535".into()));
            at += wait;
        }
    }

    #[test]
    fn a_new_password_ends_a_suspension_at_once() {
        let now = Instant::now();
        let health = Health::default().suspended(now, "535", OLD);
        assert_eq!(health.check(now, Some(NEW)), Use::Try);
        assert_eq!(health.check(now, None), Use::Hold(SUSPENDED, "535".into()));
    }
}
