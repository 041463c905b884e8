//! What Alertmanager takes: the alerts of its API, version 2, as Prometheus sends them.
//!
//! It forgets an alert at its end, so an open one names an end not far off and is told again before that.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Message;
use crate::event::alert::{Alert, Severity, Stage};

/// How long an open trouble is taken for open after it was told; it is told again each minute.
const OPEN: Duration = Duration::from_secs(240);
/// How long something that only happened is shown.
const NOTED: Duration = Duration::from_secs(300);

/// Returns the alerts that are open, to be told again.
#[must_use]
pub fn open_troubles<'a>(
    host: &str,
    alerts: impl Iterator<Item = &'a Alert>,
    now: Timestamp,
) -> Value {
    let alert = |alert| self::alert(Message { id: "", host, alert }, now);
    Value::Array(alerts.map(alert).collect())
}

/// Returns an alert; one that is worse than was told comes with the end of what it was. Labels name an alert, and the
/// severity is one, since receivers are chosen by it: as another alert the warning would stand beside it, and then be
/// told to be over.
pub(super) fn alerts(message: Message<'_>, now: Timestamp) -> Value {
    let mut alerts = vec![alert(message, now)];
    if let Some(severity) = message.alert.former_severity {
        let before = Alert { stage: Stage::Closed, severity, ..message.alert.clone() };
        alerts.push(alert(Message { alert: &before, ..message }, now));
    }
    Value::Array(alerts)
}

fn alert(message: Message<'_>, now: Timestamp) -> Value {
    let Message { host, alert, .. } = message;
    let severity = match alert.severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    let ends = match alert.stage {
        Stage::Opened | Stage::Grew(_) => after(now, OPEN),
        Stage::Noted => after(now, NOTED),
        Stage::Closed => alert.at,
    };
    let mut annotations = Map::new();
    // Reminders and growth change these; labels name the alert.
    annotations.insert("summary".to_owned(), alert.summary.clone().into());
    for (name, value) in &alert.details {
        annotations.insert(name.replace('-', "_"), value.clone().into());
    }
    if let Some(command) = &alert.command {
        annotations.insert("first".to_owned(), command.clone().into());
    }
    json!({
        "labels": {
            "alertname": alert.class,
            "job": "sallyport",
            "instance": host,
            "subject": alert.subject,
            "severity": severity,
        },
        "annotations": annotations,
        "startsAt": alert.since,
        "endsAt": ends,
    })
}

/// Returns the alert that always stands, so that its absence can be told.
pub(super) fn heartbeat(host: &str, every: u64, now: Timestamp) -> Value {
    json!({
        "labels": {
            "alertname": "heartbeat",
            "job": "sallyport",
            "instance": host,
            "severity": "none",
        },
        "annotations": { "summary": "the relay lives" },
        "startsAt": now,
        "endsAt": after(now, Duration::from_secs(every.saturating_mul(3))),
    })
}

fn after(now: Timestamp, time: Duration) -> Timestamp {
    now.checked_add(time).unwrap_or(now)
}
