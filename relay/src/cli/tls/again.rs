//! When the timer tries again after a renewal that failed.
//!
//! It looks every hour, for the sake of certificates that live for a day; an authority that refuses is not to be asked
//! as often. Who renews by hand waits for nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

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

/// A try that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Until when the timer waits.
    pub(super) until: Timestamp,
    /// Why it failed, in one line.
    pub(super) why: String,
}

impl Failed {
    /// Returns the try of the timer after which it is to wait still.
    pub(super) fn read(account: &Path, now: Timestamp) -> Option<Self> {
        let text = fs::read_to_string(file(account)).ok()?;
        let (until, why) = text.split_once('\n')?;
        let until = until.parse().ok()?;
        // A clock that was set back makes no wait longer.
        let is_ahead = now < until && until.duration_since(now) <= LONGEST;
        is_ahead.then(|| Self { until, why: why.trim_end().to_owned() })
    }

    /// Notes it beside the account.
    pub(super) fn note(&self, account: &Path) -> io::Result<()> {
        forget(account)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(file(account))?;
        writeln!(file, "{}\n{}", self.until, self.why.replace(char::is_control, " "))
    }
}

/// Forgets what failed.
pub(super) fn forget(account: &Path) -> io::Result<()> {
    match fs::remove_file(file(account)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Returns how long the timer waits after a failure, when so much is left of the certificate.
pub(super) fn wait(left: SignedDuration) -> SignedDuration {
    (left / TRIES).clamp(SHORTEST, LONGEST)
}

fn file(account: &Path) -> PathBuf {
    PathBuf::from(format!("{}.failed", account.display()))
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
    fn what_failed_is_known_until_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let account = folder.path().join("account.json");
        let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
        let failed = Failed { until: at(30), why: "a\u{1b}b".into() };
        assert_eq!(Failed::read(&account, at(20)), None, "nothing failed");
        failed.note(&account).unwrap();
        failed.note(&account).unwrap();
        let known = Some(Failed { why: "a b".into(), ..failed });
        for (row, now, wanted) in [
            ("before", 29, known.clone()),
            ("then", 30, None),
            ("as early as can be", 6, known),
            ("by a clock that was set back", 5, None),
        ] {
            assert_eq!(Failed::read(&account, at(now)), wanted, "{row}");
        }
        forget(&account).unwrap();
        forget(&account).unwrap();
        assert_eq!(Failed::read(&account, at(29)), None, "forgotten");
    }
}
