//! One request to a collector (OTLP/HTTP). It blocks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::AUTHORIZATION;

use super::otlp;
use crate::config;
use crate::http::{self, Wire};

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);
/// The largest answer that is read, octets.
const ANSWER_MAX: u64 = 64 << 10;
/// The most octets of a collector's own words that are told.
const WORDS_MAX: usize = 200;

/// A collector.
#[derive(Debug)]
pub struct Collector {
    config: config::Traces,
    /// The client, with its connections; none before the first request, and after one that failed, so that
    /// another file of authorities counts.
    agent: Mutex<Option<Agent>>,
}

/// Why spans were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It may take them later: not before this time, if it says so.
    Now(Option<Duration>, String),
    /// It never will.
    Ever(String),
    /// It took the others and not so many.
    Some(u64, String),
}

impl Collector {
    /// Returns the collector of the configuration.
    pub fn new(config: &config::Traces) -> Self {
        Self { config: config.clone(), agent: Mutex::default() }
    }

    /// Returns its address.
    pub fn endpoint(&self) -> &str {
        &self.config.endpoint
    }

    /// Sends a request. Blocks for at most 5 s.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]. Which answers may be better the next time, the protocol says ("Failures").
    pub fn post(&self, request: &[u8]) -> Result<(), NotTaken> {
        let fault = |why| NotTaken::Now(None, why);
        let agent = self.agent().map_err(fault)?;
        let mut post = agent.post(&self.config.endpoint).content_type("application/json");
        if let Some(path) = &self.config.authorization_file {
            post = post.header(AUTHORIZATION, http::authorization(path).map_err(fault)?);
        }
        let mut answer = post.send(request).map_err(|error| {
            *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = None;
            fault(error.to_string())
        })?;
        let status = answer.status().as_u16();
        let wait = answer.headers().get("Retry-After").and_then(|value| {
            let seconds = value.to_str().ok()?.trim().parse().ok()?;
            Some(Duration::from_secs(seconds))
        });
        // What it says besides may be cut off; the status counts.
        let text = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let text = text.unwrap_or_default();
        match status {
            200..=299 => match otlp::rejected(&text) {
                None => Ok(()),
                Some((count, why)) => Err(NotTaken::Some(count, words(why.as_bytes()))),
            },
            429 | 502..=504 => Err(NotTaken::Now(wait, format!("HTTP {status} {}", words(&text)))),
            _ => Err(NotTaken::Ever(format!("HTTP {status} {}", words(&text)))),
        }
    }

    fn agent(&self) -> Result<Agent, String> {
        let mut kept = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = &*kept {
            return Ok(agent.clone());
        }
        let agent = http::agent(self.config.ca_file.as_deref(), Wire::AsAddressed, REQUEST)?;
        Ok(kept.insert(agent).clone())
    }
}

/// Returns the beginning of a stranger's words, in printable ASCII.
fn words(text: &[u8]) -> String {
    crate::smtp::answer::printable(text, WORDS_MAX)
}
