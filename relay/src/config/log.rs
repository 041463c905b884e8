//! `[log]` and `[traces]`: what the processes say of themselves, and to whom.

use std::path::PathBuf;

/// `[log]`: how events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// How a line looks and where it goes.
    pub format: LogFormat,
    /// Whether the steps of each message are written too, and not only the line at its end.
    pub steps: bool,
}

/// How a log line looks and where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// To journald where standard error leads there, else as text.
    #[default]
    Auto,
    /// Words on standard error.
    Text,
    /// One JSON object a line, on standard output.
    Json,
    /// journald's own protocol, with a field for everything that is known.
    Journald,
}

/// `[traces]`: who gets the spans of messages that belong to a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// Where they are posted: the address of an OTLP/HTTP collector, with its path.
    pub endpoint: String,
    /// The authorities that may sign the collector's certificate; none: the public ones.
    pub ca_file: Option<PathBuf>,
    /// The file of what goes with each request as its field Authorization.
    pub authorization_file: Option<PathBuf>,
}
