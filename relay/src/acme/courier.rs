//! Carries the requests of instant-acme by our own client of HTTP.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Body as _, Bytes};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::{SignedDuration, Timestamp};
use tokio::task::spawn_blocking;
use ureq::Agent;
use ureq::http::header::{RETRY_AFTER, USER_AGENT};
use ureq::http::request::Parts;
use ureq::http::{HeaderMap, HeaderValue, Request, Response};

use super::fault::plain;
use crate::http::{Wire, agent};

/// The longest that one request takes.
const WITHIN: Duration = Duration::from_secs(30);
/// The largest answer, octets: a chain of certificates, or a directory.
const ANSWER_MAX: u64 = 1 << 20;
/// The longest wait that an authority can ask for, seconds: more than an order may take. The library adds what stands
/// there to the time of now, and panics where no such time is.
const WAIT_MAX_S: u64 = 86_400;
/// Who asks (RFC 8555, section 6.1).
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sallyport/", env!("CARGO_PKG_VERSION"), " (instant-acme)"));

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A client that remembers when the authority wants to be asked again.
#[derive(Clone)]
pub(super) struct Courier {
    agent: Agent,
    later: Arc<Mutex<Option<String>>>,
}

impl Courier {
    /// Returns a client that verifies by a file of authorities, or by the public ones.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        Ok(Self { agent: agent(ca_file, Wire::Tls, WITHIN)?, later: Arc::default() })
    }

    /// Returns what stands at an address.
    pub(super) fn get(&self, address: &str) -> Result<Vec<u8>, String> {
        let said = |error: ureq::Error| error.to_string();
        let mut answer = self.agent.get(address).call().map_err(said)?;
        answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec().map_err(said)
    }

    /// Returns when the authority wants to be asked again, as it said with the last answer that was a failure.
    pub(super) fn later(&self) -> Option<String> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request and reads the answer whole. Blocks.
    fn send(&self, mut parts: Parts, octets: Vec<u8>) -> Result<Response<Bytes>, Failure> {
        parts.headers.insert(USER_AGENT, AGENT);
        let answer = if octets.is_empty() {
            self.agent.run(Request::from_parts(parts, ()))?
        } else {
            self.agent.run(Request::from_parts(parts, octets))?
        };
        let (mut parts, mut body) = answer.into_parts();
        clamp(&mut parts.headers);
        if !parts.status.is_success() {
            let later = later(&parts.headers, Timestamp::now());
            *self.later.lock().unwrap_or_else(PoisonError::into_inner) = later;
        }
        let octets = body.with_config().limit(ANSWER_MAX).read_to_vec()?;
        Ok(Response::from_parts(parts, Bytes::from(octets)))
    }
}

/// Shortens a wait that is longer than any that means something.
fn clamp(headers: &mut HeaderMap) {
    let written = headers.get(RETRY_AFTER).and_then(|written| written.to_str().ok());
    if written.and_then(|written| written.trim().parse().ok()) > Some(WAIT_MAX_S) {
        headers.insert(RETRY_AFTER, HeaderValue::from(WAIT_MAX_S));
    }
}

/// Reads when to ask again: a number of seconds, or a date (RFC 9110, section 10.2.3).
fn later(headers: &HeaderMap, now: Timestamp) -> Option<String> {
    let written = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = written.parse::<u32>() {
        let at = now.checked_add(SignedDuration::from_secs(seconds.into())).ok()?;
        return Some(format!("{at:.0}"));
    }
    (!written.is_empty()).then(|| plain(written))
}

impl HttpClient for Courier {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let courier = self.clone();
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            let mut octets = Vec::new();
            while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {
                let Ok(frame) = frame;
                octets.extend(frame.into_data().into_iter().flatten());
            }
            let sent = spawn_blocking(move || courier.send(parts, octets)).await;
            let answer = sent.map_err(|error| Error::Other(error.into()))?;
            let (parts, octets) = answer.map_err(Error::Other)?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(octets) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_ask_again_is_a_time_whatever_form_it_has() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (row, written, wanted) in [
            ("seconds", "3600", Some("2026-01-31T13:00:00Z")),
            ("a date", "Sat, 31 Jan 2026 13:00:00 GMT", Some("Sat, 31 Jan 2026 13:00:00 GMT")),
            ("nothing", "", None),
            ("too many seconds", "99999999999", Some("99999999999")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(written).unwrap());
            assert_eq!(later(&headers, now).as_deref(), wanted, "{row}");
        }
        assert_eq!(later(&HeaderMap::new(), now), None);
    }

    #[test]
    fn no_wait_that_an_authority_asks_for_is_longer_than_a_day() {
        for (written, wanted) in [
            ("5", "5"),
            ("86400", "86400"),
            (" 86401", "86400"),
            ("18446744073709551615", "86400"),
            // No number to the library either, which then waits by itself.
            ("18446744073709551616", "18446744073709551616"),
            ("Sat, 31 Jan 2026 13:00:00 GMT", "Sat, 31 Jan 2026 13:00:00 GMT"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(written).unwrap());
            headers.append(RETRY_AFTER, HeaderValue::from_static("18446744073709551615"));
            clamp(&mut headers);
            assert_eq!(headers.get(RETRY_AFTER).unwrap(), wanted, "{written}");
        }
    }
}
