//! Events as log lines: one line an event, on standard error, on standard output or to journald.
//!
//! ```text
//! line     the text of one line           native  journald's own protocol
//! writer   a thread that writes lines
//! ```
//!
//! Nothing else writes log lines. A log that cannot be written, or that nobody reads, never stops the mail: see
//! [`Journal::unhurried`].

mod line;
mod native;
mod writer;

use std::backtrace::BacktraceStatus;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::config::{Log, LogFormat};
use crate::event::{Event, Level};
use crate::history::History;
use crate::meter::Meter;
use line::Form;
use native::Journald;
use writer::Writer;

/// Where events go, the history for what the journal does not say, and the meter that counts both what it
/// says and what it leaves out. Clones write to the same place.
#[derive(Clone, Debug)]
pub struct Journal {
    to: Sink,
    history: History,
    meter: Arc<Meter>,
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
    Lines { to: Lines, by: Arc<OnceLock<Writer>>, quietest: Level },
    Memory(Arc<std::sync::Mutex<Vec<Event>>>),
}

/// How lines are written.
#[derive(Clone, Debug)]
enum Lines {
    /// Words, with the time, on standard error.
    Text,
    /// Objects on standard output.
    Json,
    /// To journald; what it does not take, as words with their priority, on standard error.
    Journald(Arc<Journald>),
}

impl Journal {
    /// Returns a journal that writes as the configuration says.
    #[must_use]
    pub fn of(config: &Log) -> Self {
        let to = match config.format {
            LogFormat::Auto if native::takes_standard_error() => Lines::Journald(Arc::default()),
            LogFormat::Auto | LogFormat::Text => Lines::Text,
            LogFormat::Json => Lines::Json,
            LogFormat::Journald => Lines::Journald(Arc::default()),
        };
        let quietest = if config.steps { Level::Debug } else { Level::Info };
        Self::to(Sink::Lines { to, by: Arc::default(), quietest })
    }

    /// Has the lines of this journal and its clones wait for [`Journal::unhurried`], or for [`Journal::settle`], from
    /// now on: a start must not wait for the reader of the log either.
    pub fn hold(&self) {
        if let Sink::Lines { by, .. } = &self.to {
            by.get_or_init(Writer::new);
        }
    }

    /// Has a thread write the lines of this journal and its clones from now on, so that whoever says something
    /// never waits for the reader of the log: up to 1 MiB wait for it, then lines are counted, and lost. The
    /// thread has the rights that the caller has now: a process that drops rights does that before. Call
    /// [`Journal::settle`] before the process ends.
    ///
    /// # Errors
    ///
    /// If the system makes no thread.
    pub fn unhurried(&self) -> std::io::Result<()> {
        let Sink::Lines { to, by, .. } = &self.to else { return Ok(()) };
        let form = to.form();
        let tell = move |lost| {
            let problem = format!("{lost} lines of the log are lost: whoever reads it is too slow");
            line::render(&Event::Trouble { room: "journal", problem }, form, Timestamp::now())
        };
        let writer = by.get_or_init(Writer::new);
        match to {
            Lines::Json => writer.start(std::io::stdout(), tell),
            Lines::Text | Lines::Journald(_) => writer.start(std::io::stderr(), tell),
        }
    }

    /// Waits until every line is written, for a second at most.
    pub fn settle(&self) {
        // A process that ended before it had a thread has said why: without one that is lost.
        let _ = self.unhurried();
        if let Sink::Lines { by, .. } = &self.to
            && let Some(writer) = by.get()
        {
            writer.settle();
        }
    }

    /// Has what panics of any thread say written as a line of this journal, from now on. Whoever panics does not
    /// wait for the reader of the log if the journal is [unhurried](Self::unhurried). It is a line only: a panic
    /// may come from where events are heard.
    pub fn hear_panics(&self) {
        let Sink::Lines { to, by, .. } = self.to.clone() else { return };
        std::panic::set_hook(Box::new(move |panic| {
            let current = std::thread::current();
            let thread = current.name().unwrap_or("without a name");
            let trace = match std::backtrace::Backtrace::capture() {
                trace if trace.status() == BacktraceStatus::Captured => format!("\n{trace}"),
                _ => String::new(),
            };
            let problem = format!("the thread {thread} {panic}{trace}");
            to.write(&Event::Trouble { room: "panic", problem }, by.get());
        }));
    }

    /// Returns a journal that keeps events for [`Journal::take`], for tests.
    #[must_use]
    pub fn memory() -> Self {
        Self::to(Sink::Memory(Arc::default()))
    }

    fn to(to: Sink) -> Self {
        Self { to, history: History::off(), meter: Arc::default(), ears: Vec::new() }
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

    /// Returns what counts the events, and what a peer can cause at will.
    #[must_use]
    pub const fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Writes one event. A log that cannot be written must not stop the mail: errors are ignored.
    pub fn write(&self, event: Event) {
        self.meter.hear(&event, Timestamp::now());
        for Ear(hear) in &self.ears {
            hear(&event);
        }
        match &self.to {
            Sink::Lines { to, by, quietest } if event.level() <= *quietest => {
                to.write(&event, by.get());
            }
            Sink::Lines { .. } => {}
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
            Sink::Lines { .. } => Vec::new(),
            Sink::Memory(events) => {
                events.lock().map(|mut events| std::mem::take(&mut *events)).unwrap_or_default()
            }
        }
    }
}

impl Lines {
    /// Returns the form of a line that a stream gets.
    const fn form(&self) -> Form {
        match self {
            Self::Text => Form::Text,
            Self::Json => Form::Json,
            Self::Journald(_) => Form::Prefixed,
        }
    }

    fn write(&self, event: &Event, by: Option<&Writer>) {
        if let Self::Journald(journald) = self
            && journald.send(event).is_ok()
        {
            return;
        }
        let line = line::render(event, self.form(), Timestamp::now());
        match (by, self) {
            (Some(writer), _) => writer.write(&line),
            (None, Self::Json) => write_to(std::io::stdout().lock(), &line),
            (None, Self::Text | Self::Journald(_)) => write_to(std::io::stderr().lock(), &line),
        }
    }
}

fn write_to(mut out: impl std::io::Write, line: &str) {
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}
