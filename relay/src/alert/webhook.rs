//! Tells a receiver on the web. It blocks, and belongs on a thread that may.
//!
//! What the receiver says is believed in one thing only, its status: its body is read for the words of a
//! refusal, a little of it, and never followed anywhere.

use std::fmt::Write as _;
use std::io::Read as _;
use std::time::Duration;

use aws_lc_rs::hmac;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::AUTHORIZATION;
use zeroize::{Zeroize as _, Zeroizing};

use super::channel::Outcome;
use super::outbox::WAIT_MAX;
use crate::config::alerts::{Webhook, WebhookFormat};
use crate::file;
use crate::http::{self, Wire};
use crate::smtp::answer::printable;

/// The header with the time and the signature over time and body.
pub const SIGNATURE: &str = "Sallyport-Signature";
/// The header with the id of the telling.
pub const ID: &str = "Sallyport-Id";

/// How long a whole request may take.
pub(super) const REQUEST: Duration = Duration::from_secs(20);
/// The longest secret, octets.
const SECRET_MAX: u64 = 4096;
/// Room for a body, octets; few are longer.
const BODY_ROOM: usize = 16 << 10;
/// How much of a refusal is read and told, octets.
const WORDS_MAX: usize = 200;

/// Posts what `body` makes of PagerDuty's routing key, which is empty for others. Ends `within` a time.
pub(super) fn post(
    hook: &Webhook,
    id: &str,
    now: Timestamp,
    within: Duration,
    body: impl FnOnce(&str) -> Value,
) -> Outcome {
    match try_to_post(hook, id, now, within, body) {
        Ok(mut response) => judge(&mut response, now),
        Err(why) => Outcome::Later { why, after: None },
    }
}

fn try_to_post(
    hook: &Webhook,
    id: &str,
    now: Timestamp,
    within: Duration,
    body: impl FnOnce(&str) -> Value,
) -> Result<Response<Body>, String> {
    let secret = secret(hook)?;
    let is_pagerduty = hook.format == WebhookFormat::PagerDuty;
    let routing_key = if is_pagerduty { &*secret } else { "" };
    let mut telling = body(routing_key);
    // A text that grows would leave the routing key where it was.
    let mut body = Zeroizing::new(Vec::with_capacity(BODY_ROOM));
    let written = serde_json::to_writer(&mut *body, &telling);
    if let Some(Value::String(key)) = telling.get_mut("routing_key") {
        key.zeroize();
    }
    written.map_err(|error| error.to_string())?;
    let agent = http::agent(hook.ca_file.as_deref(), Wire::AsAddressed, within)?;
    let mut request = agent.post(&hook.url).content_type("application/json").header(ID, id);
    if hook.secret_file.is_some() && !is_pagerduty {
        request = request.header(SIGNATURE, signature(secret.as_bytes(), now, &body));
    }
    if let Some(path) = &hook.authorization_file {
        request = request.header(AUTHORIZATION, http::authorization(path)?);
    }
    request.send(&body[..]).map_err(|error| format!("cannot be reached: {error}"))
}

/// Reads the secret; empty if there is none. A line's end behind it is not part of it.
fn secret(hook: &Webhook) -> Result<Zeroizing<String>, String> {
    let Some(path) = &hook.secret_file else { return Ok(Zeroizing::default()) };
    let name = path.display();
    let octets = file::read(path, SECRET_MAX)
        .map_err(|error| format!("secret-file {name} cannot be read: {error}"))?;
    let text = std::str::from_utf8(&octets).map(str::trim_ascii_end);
    match text {
        Ok(text) if !text.is_empty() => Ok(Zeroizing::new(text.to_owned())),
        Ok(_) | Err(_) => Err(format!("secret-file {name} holds no secret: one line of text")),
    }
}

/// Returns the value of the header: the time, which a receiver compares with its own so that nobody plays an old
/// telling to it, and the signature over time, full stop and body.
fn signature(secret: &[u8], now: Timestamp, body: &[u8]) -> String {
    let time = now.as_second();
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{time}.").as_bytes());
    context.update(body);
    let tag = context.sign();
    let mut signature = format!("t={time},v1=");
    for octet in tag.as_ref() {
        let _ = write!(signature, "{octet:02x}");
    }
    signature
}

/// Says what a status means. What a receiver finds wrong with the telling itself stays wrong; everything else
/// may be mended by somebody.
fn judge(response: &mut Response<Body>, now: Timestamp) -> Outcome {
    let status = response.status().as_u16();
    match status {
        200..=299 => return Outcome::Taken(format!("HTTP status {status}")),
        300..=399 => {
            let to = response.headers().get("location");
            let to = to.map_or_else(String::new, |to| printable(to.as_bytes(), WORDS_MAX));
            let why = format!(
                "it points elsewhere (HTTP status {status} {to}): name the address it means"
            );
            return Outcome::Later { why, after: None };
        }
        _ => {}
    }
    let after = response.headers().get("retry-after");
    let after = after.and_then(|after| wait(after.to_str().ok()?, now));
    let mut words = Vec::new();
    let reader = response.body_mut().as_reader();
    // An answer that does not come whole has a status all the same.
    let _ = reader.take(WORDS_MAX as u64).read_to_end(&mut words);
    let words = printable(&words, WORDS_MAX);
    let why = format!("HTTP status {status} {words}").trim_end().to_owned();
    match status {
        400 | 413 | 422 => Outcome::Refused(why),
        _ => Outcome::Later { why, after },
    }
}

/// Reads Retry-After: seconds, or a date (RFC 9110, section 10.2.3).
fn wait(written: &str, now: Timestamp) -> Option<Duration> {
    let written = written.trim();
    let seconds = written.parse().ok().map(Duration::from_secs);
    let until = || {
        let date = rfc2822::DateTimeParser::new().parse_timestamp(written).ok()?;
        Duration::try_from(date.duration_since(now)).ok()
    };
    seconds.or_else(until).map(|wait| wait.min(WAIT_MAX))
}

#[cfg(test)]
mod tests;
