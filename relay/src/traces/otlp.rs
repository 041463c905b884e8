//! How spans are written for a collector: OTLP in JSON (OpenTelemetry Protocol 1.x, "JSON Protobuf Encoding").
//! Pure.
//!
//! Names of traces and spans are digits of base 16, not base 64 as bytes are elsewhere in protobuf's JSON;
//! numbers of 64 bits are strings; enumerations are numbers.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::span::{Kind, Moment, Parent, Span, Value};

/// The flags of a span: the trace is sampled (bit 0), and whether its parent is of another process is known
/// (bit 8).
const FLAGS: u32 = 0x101;
/// The parent is of another process.
const REMOTE: u32 = 0x200;
/// A status: the span failed.
const ERROR: u32 = 2;

/// Returns the request that carries these spans of the relay of this name.
pub fn request(hostname: &str, spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let of = |name, value: &str| attribute(&(name, Value::Text(value.to_owned())));
    let request = json!({
        "resourceSpans": [{
            "resource": { "attributes": [
                of("service.name", "sallyport"),
                of("service.version", version),
                of("host.name", hostname),
            ]},
            "scopeSpans": [{
                "scope": { "name": "sallyport", "version": version },
                "spans": spans.iter().map(span).collect::<Vec<_>>(),
            }],
        }],
    });
    request.to_string().into_bytes()
}

/// Returns how many spans a collector says that it did not take, and why, in an answer of success.
pub fn rejected(answer: &[u8]) -> Option<(u64, String)> {
    let answer: Json = serde_json::from_slice(answer).ok()?;
    let partial = answer.get("partialSuccess")?;
    let count = partial.get("rejectedSpans")?;
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).filter(|n| *n > 0)?;
    let why = partial.get("errorMessage").and_then(Json::as_str).unwrap_or_default();
    Some((count, why.to_owned()))
}

fn span(span: &Span) -> Json {
    let Span { trace, id, parent, name, kind, began_at, ended_at, attributes, moments, fault } =
        span;
    let (parent, flags) = match parent {
        Parent::Sender(id) => (id, FLAGS | REMOTE),
        Parent::Ours(id) => (id, FLAGS),
    };
    let mut written = json!({
        "traceId": trace.to_string(),
        "spanId": id.to_string(),
        "parentSpanId": parent.to_string(),
        "flags": flags,
        "name": name,
        "kind": number(*kind),
        "startTimeUnixNano": nanos(*began_at),
        // The wall clock may have been set back meanwhile.
        "endTimeUnixNano": nanos((*ended_at).max(*began_at)),
        "attributes": attributes.iter().map(attribute).collect::<Vec<_>>(),
        "events": moments.iter().map(moment).collect::<Vec<_>>(),
    });
    if let Some(fault) = fault {
        written["status"] = json!({ "code": ERROR, "message": fault });
    }
    written
}

fn moment(Moment { name, at, attributes }: &Moment) -> Json {
    json!({
        "name": name,
        "timeUnixNano": nanos(*at),
        "attributes": attributes.iter().map(attribute).collect::<Vec<_>>(),
    })
}

fn attribute((name, value): &(&'static str, Value)) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}

const fn number(kind: Kind) -> u32 {
    match kind {
        Kind::Server => 2,
        Kind::Client => 3,
    }
}

/// Writes a time as nanoseconds; one before 1970 as none.
fn nanos(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}
