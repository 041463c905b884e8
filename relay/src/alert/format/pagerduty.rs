//! PagerDuty's events, version 2: <https://developer.pagerduty.com/docs/send-alert-event>.

use serde_json::{Value, json};

use super::{Message, cut};
use crate::event::alert::{Severity, Stage};

/// Returns the event: the end of a trouble resolves what its beginning triggered. What only happened triggers,
/// and a person resolves it.
pub(super) fn event(message: Message<'_>, routing_key: &str) -> Value {
    let Message { host, alert, .. } = message;
    let dedup_key = cut(&format!("{host}/{}", alert.key()), 255);
    if alert.stage == Stage::Closed {
        return json!({
            "routing_key": routing_key,
            "event_action": "resolve",
            "dedup_key": dedup_key,
        });
    }
    let severity = match alert.severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    let mut details = alert.details.clone();
    if let Some(command) = &alert.command {
        details.insert("first".to_owned(), command.clone());
    }
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "sallyport",
        "payload": {
            "summary": cut(&format!("{}: {}", alert.key(), alert.summary), 1024),
            "source": host,
            "severity": severity,
            "timestamp": alert.at,
            "component": "sallyport",
            "class": alert.class,
            "custom_details": details,
        },
    })
}
