//! What a client may do wrong, and how long it may take.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// Commands that move no mail before an accepted message: NOOP, RSET, EHLO, HELO, VRFY, HELP, XCLIENT, BDAT of
/// no octets, and AUTH that cannot be checked now.
const IDLE_COMMANDS: u32 = 100;
/// How long a client waits for the answer to an error, once it has made half of those it may.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest wait for the answer to a failed login.
const LOGIN_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long our own parts may take for anything but a commit.
pub(super) const OWN_WORK: Duration = Duration::from_secs(60);
/// How long a commit may take: clients wait this long (RFC 5321, section 4.5.3.2.6).
pub(super) const COMMIT: Duration = Duration::from_secs(600);
/// How long a body may be slower than the slowest acceptable one.
const BODY_GRACE: Duration = Duration::from_secs(60);

/// What a session has done wrong since its last accepted message.
#[derive(Debug, Default)]
pub(super) struct Misdeeds {
    errors: u32,
    idle_commands: u32,
    failed_logins: u32,
}

/// What follows a misdeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Answer at once.
    Now,
    /// Answer after this long.
    After(Duration),
    /// Say 421 and close.
    Close,
}

impl Misdeeds {
    pub(super) fn error(&mut self, limits: &Limits) -> Answer {
        self.errors += 1;
        match self.errors {
            errors if errors >= limits.errors => Answer::Close,
            errors if errors > limits.errors / 2 => Answer::After(PAUSE),
            _ => Answer::Now,
        }
    }

    pub(super) fn idle_command(&mut self) -> Answer {
        self.idle_commands += 1;
        if self.idle_commands > IDLE_COMMANDS { Answer::Close } else { Answer::Now }
    }

    pub(super) fn failed_login(&mut self, limits: &Limits) -> Answer {
        self.failed_logins += 1;
        match self.failed_logins {
            failed if failed >= limits.login_failures => Answer::Close,
            1 => Answer::Now,
            failed => Answer::After((PAUSE * (failed - 1)).min(LOGIN_PAUSE_MAX)),
        }
    }

    /// A message was accepted: errors and idle commands are forgiven.
    pub(super) fn forgive(&mut self) {
        self.errors = 0;
        self.idle_commands = 0;
    }
}

/// Returns when a body that began at `began` and has brought `octets` so far is too slow.
pub(super) fn body_deadline(limits: &Limits, began: Instant, octets: u64) -> Instant {
    let earned = octets.checked_div(limits.body_rate_bytes).unwrap_or(u64::MAX);
    // A day bounds the sum; no session lasts that long.
    began + BODY_GRACE + Duration::from_secs(earned.min(86_400))
}
