//! Events as log lines: one line an event, on standard error.
//!
//! Under systemd each line begins with its syslog priority, which journald takes off; elsewhere it
//! begins with the time. Nothing else writes log lines.

mod line;

use std::io::Write as _;
use std::sync::Arc;

use jiff::Timestamp;

use crate::event::Event;
use crate::history::History;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `<6>accepted id=… size-bytes=…`, for journald, which keeps the time itself.
    Journald,
    /// `2026-01-31T12:00:00.123Z INFO accepted id=… size-bytes=…`.
    Text,
    /// One JSON object with `time` and `level`.
    Json,
}

impl Format {
    /// Returns the format that suits where standard error goes: journald sets `JOURNAL_STREAM`
    /// (systemd.exec(5)).
    #[must_use]
    pub fn for_this_process() -> Self {
        if std::env::var_os("JOURNAL_STREAM").is_some() { Self::Journald } else { Self::Text }
    }
}

/// Where events go, and the history for what the journal does not say. Clones write to the same place.
#[derive(Clone, Debug)]
pub struct Journal {
    to: Sink,
    history: History,
    ears: Vec<Ear>,
}

/// Something that hears every event: counters, alerts.
#[derive(Clone)]
struct Ear(Arc<dyn Fn(&Event) + Send + Sync>);

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ear")
    }
}

#[derive(Clone, Debug)]
enum Sink {
    Stderr(Format),
    Memory(Arc<std::sync::Mutex<Vec<Event>>>),
}

impl Journal {
    /// Returns a journal that writes to standard error.
    #[must_use]
    pub const fn stderr(format: Format) -> Self {
        Self { to: Sink::Stderr(format), history: History::off(), ears: Vec::new() }
    }

    /// Returns a journal that keeps events for [`Journal::take`], for tests.
    #[must_use]
    pub fn memory() -> Self {
        let to = Sink::Memory(Arc::default());
        Self { to, history: History::off(), ears: Vec::new() }
    }

    /// Puts a history beside the journal; without one nothing is kept.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// Has every event heard by `hear` before it is written. Whoever writes an event waits for it, so it must
    /// neither block nor write to this journal.
    #[must_use]
    pub fn heard_by(mut self, hear: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.ears.push(Ear(Arc::new(hear)));
        self
    }

    /// Returns where the facts about single messages go.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Writes one event. A log that cannot be written must not stop the mail: errors are ignored.
    pub fn write(&self, event: Event) {
        for Ear(hear) in &self.ears {
            hear(&event);
        }
        match &self.to {
            Sink::Stderr(format) => {
                let mut text = line::render(&event, *format, Timestamp::now());
                text.push('\n');
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
            }
            Sink::Memory(events) => {
                if let Ok(mut events) = events.lock() {
                    events.push(event);
                }
            }
        }
    }

    /// Returns and forgets the events kept so far; none for a journal that keeps none.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        match &self.to {
            Sink::Stderr(_) => Vec::new(),
            Sink::Memory(events) => {
                events.lock().map(|mut events| std::mem::take(&mut *events)).unwrap_or_default()
            }
        }
    }
}
