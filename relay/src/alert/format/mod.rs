//! What receivers on the web are told, as each of them takes it.

mod alertmanager;
mod chat;
mod pagerduty;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::alerts::WebhookFormat;
use crate::event::alert::{Alert, Severity, Stage};

pub use alertmanager::open_troubles;

/// An alert on its way to one receiver.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Names this telling; the same at every try, so that a receiver knows what it took already.
    pub id: &'a str,
    /// This host's name.
    pub host: &'a str,
    /// What is told.
    pub alert: &'a Alert,
}

/// Returns the body for an alert. `routing_key` is PagerDuty's, `now` the moment of the try.
#[must_use]
pub fn body(
    format: WebhookFormat,
    message: Message<'_>,
    routing_key: &str,
    now: Timestamp,
) -> Value {
    match format {
        WebhookFormat::Json => plain(message),
        WebhookFormat::Slack => chat::slack(message),
        WebhookFormat::Teams => chat::teams(message),
        WebhookFormat::PagerDuty => pagerduty::event(message, routing_key),
        WebhookFormat::Alertmanager => alertmanager::alerts(message, now),
    }
}

/// Returns the body of a heartbeat; it is repeated within `every` seconds.
#[must_use]
pub fn heartbeat(format: WebhookFormat, id: &str, host: &str, every: u64, now: Timestamp) -> Value {
    match format {
        WebhookFormat::Alertmanager => json!([alertmanager::heartbeat(host, every, now)]),
        WebhookFormat::Json
        | WebhookFormat::Slack
        | WebhookFormat::Teams
        | WebhookFormat::PagerDuty => {
            json!({ "id": id, "host": host, "heartbeat": true, "at": now, "every-seconds": every })
        }
    }
}

/// Returns an alert as it is, with its id, its host and its key beside its own members; programs that are run
/// for an alert get it too.
#[must_use]
pub fn plain(message: Message<'_>) -> Value {
    let mut whole = json!({ "id": message.id, "host": message.host, "key": message.alert.key() });
    if let (Some(whole), Ok(Value::Object(alert))) =
        (whole.as_object_mut(), serde_json::to_value(message.alert))
    {
        whole.extend(alert);
    }
    whole
}

/// Returns one line for people: how bad, what, where, and a sentence.
#[must_use]
pub fn headline(host: &str, alert: &Alert) -> String {
    format!("{} {} on {host}: {}", mark(alert), alert.key(), alert.summary)
}

/// Returns the word before everything else.
fn mark(alert: &Alert) -> &'static str {
    match (alert.stage, alert.severity) {
        (Stage::Closed, _) => "OVER",
        (Stage::Opened | Stage::Grew(_) | Stage::Noted, Severity::Critical) => "CRITICAL",
        (Stage::Opened | Stage::Grew(_) | Stage::Noted, Severity::Warning) => "WARNING",
    }
}

/// Returns names and values for people, the details first.
#[must_use]
pub fn facts(alert: &Alert) -> Vec<(String, String)> {
    let mut facts: Vec<(String, String)> =
        alert.details.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    facts.push(("since".to_owned(), format!("{:.0}", alert.since)));
    if alert.stage == Stage::Closed {
        facts.push(("until".to_owned(), format!("{:.0}", alert.at)));
    }
    facts
}

/// Returns at most so many characters.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::wording::opened;

    pub(super) fn sample(stage: Stage) -> Alert {
        let since: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let alert =
            opened("route-suspended", "the login at <smtp.example.net> was refused & so on")
                .about("smarthost")
                .with("reason", "535 5.7.8 *no* [link](https://evil.example)")
                .first("sallyport route list")
                .stands(stage)
                .at("2026-01-31T12:30:00Z".parse().unwrap());
        Alert { since, ..alert }
    }

    /// Compares with a stored file, which a person compared with the receiver's manual.
    fn same(format: WebhookFormat, stage: Stage, stored: &str) {
        same_of(format, &sample(stage), stored);
    }

    fn same_of(format: WebhookFormat, alert: &Alert, stored: &str) {
        let message = Message { id: "07-1", host: "relay.example.net", alert };
        let now = "2026-01-31T13:00:00Z".parse().unwrap();
        let body = body(format, message, "0123456789abcdef0123456789abcdef", now);
        let stored: Value = serde_json::from_str(stored).unwrap();
        assert_eq!(body, stored, "{}", serde_json::to_string_pretty(&body).unwrap());
    }

    #[test]
    fn each_receiver_is_told_as_its_manual_says() {
        same(WebhookFormat::Json, Stage::Opened, include_str!("samples/json.json"));
        same(WebhookFormat::Slack, Stage::Opened, include_str!("samples/slack.json"));
        same(WebhookFormat::Teams, Stage::Closed, include_str!("samples/teams.json"));
        same(WebhookFormat::PagerDuty, Stage::Opened, include_str!("samples/pagerduty.json"));
        same(WebhookFormat::PagerDuty, Stage::Closed, include_str!("samples/pagerduty-over.json"));
        same(WebhookFormat::Alertmanager, Stage::Opened, include_str!("samples/alertmanager.json"));
        let grew = include_str!("samples/alertmanager-grew.json");
        let worse = Alert { former_severity: Some(Severity::Warning), ..sample(Stage::Grew(10)) };
        same_of(WebhookFormat::Alertmanager, &worse, grew);
        let opened = include_str!("samples/alertmanager.json");
        same(WebhookFormat::Alertmanager, Stage::Grew(10), opened);
        let over = include_str!("samples/alertmanager-over.json");
        same(WebhookFormat::Alertmanager, Stage::Closed, over);
    }

    #[test]
    fn chats_are_told_all_that_a_spike_says() {
        let mut alert = sample(Stage::Opened);
        let names = ["now", "usual", "total", "top-1", "top-2", "top-3", "top-4", "top-5"];
        for name in names.into_iter().chain(["reasons", "sample", "remark"]) {
            alert.details.insert(name.to_owned(), format!("of {name}"));
        }
        let message = Message { id: "1", host: "relay.example.net", alert: &alert };
        for format in [WebhookFormat::Slack, WebhookFormat::Teams] {
            let text = body(format, message, "", Timestamp::UNIX_EPOCH).to_string();
            for (name, value) in facts(&alert) {
                assert!(text.contains(&format!("{name}: ")), "{format:?} lacks {name}: {value}");
            }
        }
    }

    #[test]
    fn the_longest_alert_fits_into_what_each_receiver_takes() {
        let mut alert = opened("c", "\u{1f600}".repeat(1000)).about("s".repeat(1000));
        for number in 0..40 {
            alert = alert.with(&format!("n{number}"), "<".repeat(2000));
        }
        let alert = alert.at(Timestamp::UNIX_EPOCH);
        let message = Message { id: "1", host: "relay.example.net", alert: &alert };
        let now = Timestamp::UNIX_EPOCH;
        let slack = body(WebhookFormat::Slack, message, "", now);
        let blocks = slack["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        assert!(blocks[0]["text"]["text"].as_str().unwrap().chars().count() <= 150);
        for block in blocks {
            let length = block["text"]["text"].as_str().map_or(0, |text| text.chars().count());
            assert!(length <= 3000);
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            assert!(fields.len() <= 10);
            for field in fields {
                assert!(field["text"].as_str().unwrap().chars().count() <= 2000);
            }
        }
        let event = body(WebhookFormat::PagerDuty, message, "", now);
        assert!(event["payload"]["summary"].as_str().unwrap().chars().count() <= 1024);
        assert!(event["dedup_key"].as_str().unwrap().chars().count() <= 255);
        assert!(serde_json::to_vec(&event).unwrap().len() < 512 << 10);
        let card = body(WebhookFormat::Teams, message, "", now);
        assert!(serde_json::to_vec(&card).unwrap().len() < 28 << 10, "what Teams takes");
    }
}
