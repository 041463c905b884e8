//! The open alerts, the worst first.

use jiff::Timestamp;
use serde::Serialize;

use crate::alert::troubles::Trouble;
use crate::event::alert::Severity;

/// The most that are shown; all are counted.
const SHOWN_MAX: usize = 100;

/// The open alerts, as the page shows them.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Alerts {
    /// How many of them somebody is to be woken for.
    critical: usize,
    /// How many others there are.
    warnings: usize,
    /// The worst, and of equals the latest, first; at most [`SHOWN_MAX`].
    shown: Vec<Shown>,
}

/// An open alert.
#[derive(Debug, PartialEq, Serialize)]
struct Shown {
    /// Class and subject.
    key: String,
    severity: Severity,
    since: Timestamp,
    /// What was said of it last.
    summary: String,
    /// What to run first.
    command: Option<String>,
    /// Whether people were told: not of what is silenced, or comes and goes too often.
    is_told: bool,
    /// Since when nobody has heard of it after a start of whoever said it: it may be over.
    unheard_since: Option<Timestamp>,
}

impl Alerts {
    /// Returns what is shown of the open troubles.
    pub(super) fn of(open: &[Trouble]) -> Self {
        let critical =
            open.iter().filter(|trouble| trouble.alert.severity == Severity::Critical).count();
        let mut worst: Vec<&Trouble> = open.iter().collect();
        worst.sort_by_key(|trouble| trouble.alert.urgency());
        let shown = worst.into_iter().take(SHOWN_MAX).map(Shown::of).collect();
        Self { critical, warnings: open.len() - critical, shown }
    }
}

impl Shown {
    fn of(Trouble { alert, told, unconfirmed, .. }: &Trouble) -> Self {
        Self {
            key: alert.key(),
            severity: alert.severity,
            since: alert.since,
            summary: alert.summary.clone(),
            command: alert.command.clone(),
            is_told: told.is_some(),
            unheard_since: *unconfirmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::troubles::Origin;
    use crate::event::wording::{Wording, opened};

    fn trouble(wording: Wording, second: i64) -> Trouble {
        let at = Timestamp::from_second(second).unwrap();
        Trouble {
            alert: wording.at(at),
            origin: Origin::Relay,
            told: (second != 3).then_some(at),
            known: Some(Severity::Critical),
            reminders: 0,
            unconfirmed: (second == 4).then_some(at),
        }
    }

    #[test]
    fn the_worst_come_first_and_of_many_some_are_shown_and_all_counted() {
        let mut open = vec![
            trouble(opened("gate-missing", "x").about("eth0").first("sallyport status"), 1),
            trouble(opened("mode-observe", "x").warns(), 4),
            trouble(opened("spool-full", "x"), 3),
        ];
        let alerts = Alerts::of(&open);
        let shown: Vec<_> = alerts.shown.iter().map(|one| (&*one.key, one.is_told)).collect();
        let expected = [("spool-full", false), ("gate-missing/eth0", true), ("mode-observe", true)];
        assert_eq!(shown, expected);
        let unheard: Vec<_> = alerts.shown.iter().map(|one| one.unheard_since.is_some()).collect();
        assert_eq!(unheard, [false, false, true]);
        assert_eq!(alerts.shown[1].command.as_deref(), Some("sallyport status"));
        let host =
            |number: usize| trouble(opened("host-down", "x").warns().about(number.to_string()), 9);
        open.extend((0..500).map(host));
        let alerts = Alerts::of(&open);
        assert_eq!((alerts.critical, alerts.warnings, alerts.shown.len()), (2, 501, SHOWN_MAX));
        assert_eq!(alerts.shown[0].key, "spool-full");
    }
}
