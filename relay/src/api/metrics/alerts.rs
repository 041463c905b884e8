//! The metrics of alerts: those that are open, and how the channels fare that tell them.

use std::collections::BTreeMap;

use crate::alert::listing::Fare;
use crate::alert::troubles::Trouble;
use crate::event::alert::Severity;
use crate::meter::OTHER;
use crate::meter::catalogue::{ALERT_CHANNEL_UP, ALERTS_OPEN};
use crate::meter::text::Text;

/// The most classes that are told apart; a gate of another version may know some that this relay does not.
const CLASSES: usize = 64;

/// Writes how many troubles are open, by class and severity.
pub(super) fn write_open(text: &mut Text, open: &[Trouble]) {
    let mut rows = text.rows(&ALERTS_OPEN);
    for ((class, severity), count) in by_class(open) {
        rows.row(&[class, severity], count);
    }
}

/// Writes of each channel whether it takes what it is told.
pub(super) fn write_channels(text: &mut Text, fares: &[Fare]) {
    let mut rows = text.rows(&ALERT_CHANNEL_UP);
    for Fare { channel, failing_since } in fares {
        rows.row(&[channel], u8::from(failing_since.is_none()));
    }
}

fn by_class(open: &[Trouble]) -> BTreeMap<(&str, &'static str), u64> {
    let mut counts = BTreeMap::new();
    for Trouble { alert, .. } in open {
        let severity = match alert.severity {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        let is_known = counts.contains_key(&(alert.class.as_str(), severity));
        let class = if is_known || counts.len() < CLASSES { &alert.class } else { OTHER };
        *counts.entry((class, severity)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::alert::troubles::Origin;
    use crate::event::wording::{Wording, opened};

    fn trouble(wording: Wording) -> Trouble {
        Trouble {
            alert: wording.at(Timestamp::UNIX_EPOCH),
            origin: Origin::Gate,
            told: None,
            known: None,
            reminders: 0,
            unconfirmed: None,
        }
    }

    #[test]
    fn open_troubles_are_counted_by_class_and_severity_and_not_by_subject() {
        let missing = |interface: &str| trouble(opened("gate-missing", "x").about(interface));
        let open = [missing("eth0"), missing("eth1"), trouble(opened("host-down", "x").warns())];
        let mut text = Text::default();
        write_open(&mut text, &open);
        let text = text.into_string();
        let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"sallyport_alerts_open{class="gate-missing",severity="critical"} 2"#,
            r#"sallyport_alerts_open{class="host-down",severity="warning"} 1"#,
        ];
        assert_eq!(rows, expected);
        let mut none = Text::default();
        write_open(&mut none, &[]);
        assert_eq!(none.into_string(), "");
    }

    #[test]
    fn a_channel_that_fails_is_told_apart() {
        let fare =
            |channel: &str, failing_since| Fare { channel: channel.to_owned(), failing_since };
        let mut text = Text::default();
        write_channels(&mut text, &[fare("ops", None), fare("pager", Some(Timestamp::UNIX_EPOCH))]);
        let text = text.into_string();
        let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"sallyport_alert_channel_up{channel="ops"} 1"#,
            r#"sallyport_alert_channel_up{channel="pager"} 0"#,
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn classes_beyond_the_limit_are_counted_together() {
        let named = |number: usize| {
            let mut trouble = trouble(opened("x", "x"));
            trouble.alert.class = format!("class-{number:03}");
            trouble
        };
        let open: Vec<_> = (0..CLASSES + 9).chain([0]).map(named).collect();
        let counts = by_class(&open);
        assert_eq!(counts.len(), CLASSES + 1);
        assert_eq!(counts[&(OTHER, "critical")], 9);
        assert_eq!(counts[&("class-000", "critical")], 2);
    }
}
