//! Spans for OpenTelemetry: what the history hears of messages whose sender records a trace, told to a
//! collector.
//!
//! ```text
//! span      from a fact to spans          otlp     how they are written
//! exporter  the queue and the thread      post     one request
//! ```
//!
//! The names of spans are derived from the message's id, so that they join over restarts with nothing kept for
//! them. Spans are no promise: nobody waits for the collector, and what finds no room or is not taken is
//! counted and said. Not here: the context's way through header section and spool (`mail::context`).

mod exporter;
mod otlp;
mod post;
mod span;

use std::io;
use std::sync::Arc;

use crate::config;
use crate::event::Event;
use crate::history::Line;
use exporter::Exporter;
use post::Collector;

/// Where spans go. Clones tell the same collector; the last one that is dropped sends what waits, for a moment.
#[derive(Clone, Debug)]
pub struct Traces {
    hostname: Arc<str>,
    exporter: Arc<Exporter>,
}

impl Traces {
    /// Starts to tell the collector of the configuration what happens at the relay of this name.
    ///
    /// `report` is told why spans are not taken, once for each reason.
    ///
    /// # Errors
    ///
    /// If the system makes no thread.
    pub fn start(
        config: &config::Traces,
        hostname: &str,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let collector = Collector::new(config);
        let exporter = Arc::new(Exporter::start(collector, hostname, report)?);
        Ok(Self { hostname: hostname.into(), exporter })
    }

    /// Hears a line of the history. It never waits for the collector.
    pub fn hear(&self, line: &Line) {
        self.exporter.enter(span::of(&self.hostname, line));
    }
}

#[cfg(test)]
mod tests;
