//! What a lane does about a login that was refused.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Lane, Slot, Turn, lock, up};
use crate::config::NextHop;
use crate::delivery::health::{self, Health, Use};
use crate::delivery::ruling::{Judged, Ruling};
use crate::delivery::trip::name;
use crate::event::Event;
use crate::mail::report::Diagnostic;

/// Tells whether a hop to which we had logged in answered for a recipient, and not that the login is of no use.
fn is_login_taken(judged: &[Judged]) -> bool {
    judged.iter().any(|judged| match judged.ruling {
        Ruling::Delivered | Ruling::Deferred | Ruling::Failed => {
            matches!(judged.why, Diagnostic::Smtp(_))
        }
        Ruling::Postponed | Ruling::Elsewhere | Ruling::Held | Ruling::Captured => false,
    })
}

/// The least time between two passwords of a route that mail is tried with at once.
const RENEWED: Duration = Duration::from_secs(60);

impl Lane {
    /// Tells once of each suspension that ended by itself.
    pub(in crate::net) fn has_recovered(&self) -> bool {
        self.has_recovered.swap(false, Ordering::AcqRel)
    }

    /// Tells once of each password that somebody put in place of a refused one: mail that waits need not wait any longer.
    /// Reads the file while the route is suspended. At most one is told of a minute: programs write such files too.
    pub(in crate::net) async fn has_new_password(&self) -> bool {
        let health = lock(&self.health).clone();
        let (Health::Suspended { refused, .. }, Some(login)) = (health, &self.login) else {
            return false;
        };
        let Some(password) = login.written().await else { return false };
        let now = Instant::now();
        let mut renewed = lock(&self.renewed);
        let may_tell = renewed.is_none_or(|(at, told)| {
            told != password && now.saturating_duration_since(at) >= RENEWED
        });
        if password == refused || !may_tell {
            return false;
        }
        *renewed = Some((now, password));
        true
    }

    /// Tells whether a host of it is left alone since it was down, or something of ours is in the way of all.
    pub(in crate::net) fn is_down(&self) -> bool {
        up(&lock(&self.traffic)) < self.route.hosts.len() || lock(&self.blocked).is_some()
    }

    /// Returns what the lane that follows this one begins with. A certificate is tried anew, since nobody sees
    /// whether it is another one.
    pub(super) fn refusal(&self) -> Health {
        match &self.route.certificate {
            Some(_) => Health::Up,
            None => lock(&self.health).clone(),
        }
    }

    /// Decides whether the route can be used now.
    pub(super) async fn usable(&self) -> Use {
        let now = Instant::now();
        let health = lock(&self.health).clone();
        let password = match (&health, &self.login) {
            (Health::Suspended { .. }, Some(login)) => login.fingerprint().await,
            (Health::Suspended { .. }, None) | (Health::Up, _) => None,
        };
        health.check(now, password)
    }

    /// Lets a message go that got a place, unless the route cannot be used by now: who had the place
    /// before may have been refused with the password that this one would send. A place is given back
    /// only after the refusal is remembered.
    pub(super) async fn go(&self, slot: Slot) -> Turn {
        match self.usable().await {
            Use::Try => Turn::Go(slot),
            Use::Hold(wait, reason) => Turn::Held(wait, reason),
        }
    }

    /// Returns why our login was refused with the file that it is proved by, for people of ours: who sent the mail that
    /// waits is told without it.
    pub(super) fn with_file(&self, reason: &str) -> String {
        match self.route.login_file() {
            Some(file) => format!("{reason} (its password or token is in {})", file.display()),
            None => reason.to_owned(),
        }
    }

    /// Remembers that a host refused our login; returns how long the route is left alone, and why.
    pub(super) async fn suspend(&self, hop: &NextHop, words: &str) -> (Duration, String) {
        let refused = match &self.login {
            Some(login) => login.fingerprint().await,
            None => None,
        };
        let reason = format!("the login at {} was refused: {words}", name(hop));
        let now = Instant::now();
        let mut health = lock(&self.health);
        let before = std::mem::take(&mut *health);
        *health = before.clone().suspended(now, &reason, refused.unwrap_or_default());
        if *health != before {
            let route = self.route.name.clone();
            let reason = self.with_file(&reason);
            self.journal.write(Event::RouteSuspended { route, reason });
        }
        match health.check(now, refused) {
            Use::Hold(wait, _) => (wait, reason),
            Use::Try => (health::SUSPENDED, reason),
        }
    }

    /// Ends a suspension if what a new connection came to shows that the login works. AUTH alone does not:
    /// some hops take any login there and refuse it at MAIL. `before` is how the route stood when the
    /// connection was opened: what was refused since was refused to others.
    pub(super) fn prove(&self, before: &Health, judged: &[Judged]) {
        if is_login_taken(judged) && *before != Health::Up {
            let mut health = lock(&self.health);
            if *health != *before {
                return;
            }
            *health = Health::Up;
            drop(health);
            self.has_recovered.store(true, Ordering::Release);
            let route = self.route.name.clone();
            self.journal.write(Event::RouteResumed { route, uid: None });
        }
    }
}
