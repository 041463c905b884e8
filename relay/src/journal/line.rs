//! The text of one log line.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::event::Event;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `<6>settled id=… size-bytes=…`: the priority, which journald takes off, and no time, which it keeps
    /// itself.
    Prefixed,
    /// `2026-01-31T12:00:00.123Z INFO settled id=… size-bytes=…`.
    Text,
    /// One JSON object with `time` and `level`.
    Json,
}

/// Returns the line for `event` without its end. It holds no control octet: peers' text cannot
/// forge a second line.
pub(super) fn render(event: &Event, form: Form, time: Timestamp) -> String {
    let fields = fields(event);
    let level = event.level();
    match form {
        Form::Prefixed => format!("<{}>{}", level.priority(), words(&fields)),
        Form::Text => format!("{time:.3} {} {}", level.name(), words(&fields)),
        Form::Json => {
            let mut whole = Map::new();
            whole.insert("time".into(), format!("{time:.3}").into());
            whole.insert("level".into(), level.name().into());
            whole.extend(fields);
            Value::Object(whole).to_string()
        }
    }
}

/// Returns the event's name as `event`, and its fields; absent values are left out.
pub(super) fn fields(event: &Event) -> Map<String, Value> {
    let mut fields = match serde_json::to_value(event) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    fields.retain(|_, value| !value.is_null());
    fields
}

/// Returns the event's name and its fields as `key=value`.
pub(super) fn words(fields: &Map<String, Value>) -> String {
    let mut text = fields.get("event").and_then(Value::as_str).unwrap_or("event").to_owned();
    for (key, value) in fields {
        match value {
            Value::Null => {}
            Value::String(_) if key == "event" => {}
            Value::String(value) => {
                let _ = write!(text, " {key}={}", quoted(value));
            }
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                let _ = write!(text, " {key}={value}");
            }
        }
    }
    text
}

/// Returns `value` bare if that is unambiguous, else in quotes with escapes.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(is_plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::message::MessageId;

    fn failed(reason: &str) -> Event {
        Event::Failed {
            id: MessageId(1),
            domain: "example.net".into(),
            route: "smarthost".into(),
            reason: reason.into(),
        }
    }

    #[test]
    fn a_line_names_level_event_and_fields() {
        let time: Timestamp = "2026-01-31T12:00:00.1234Z".parse().unwrap();
        assert_eq!(
            render(&failed("550 no such user"), Form::Text, time),
            "2026-01-31T12:00:00.123Z DEBUG failed id=0000000000001 domain=example.net \
             route=smarthost reason=\"550 no such user\""
        );
        assert!(render(&failed("x"), Form::Prefixed, time).starts_with("<7>failed id="));
        let json: Value = serde_json::from_str(&render(&failed("x"), Form::Json, time)).unwrap();
        assert_eq!((&json["level"], &json["event"]), (&"DEBUG".into(), &"failed".into()));
    }

    #[test]
    fn a_peer_cannot_forge_a_second_line_or_a_field() {
        for form in [Form::Text, Form::Prefixed, Form::Json] {
            let line = render(&failed("a\nINFO x\u{1b}[0m level=\"b"), form, Timestamp::UNIX_EPOCH);
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        let line = render(&failed("x id=2"), Form::Text, Timestamp::UNIX_EPOCH);
        assert!(line.ends_with("reason=\"x id=2\""), "{line}");
    }
}
