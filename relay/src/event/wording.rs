//! How an alert is put together: its class and summary, then what else is known.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::alert::{Alert, DETAILS_MAX, Severity, Stage};

/// The longest subject, octets.
pub const SUBJECT_MAX: usize = 128;
/// The longest summary, detail and command, octets each.
pub const TEXT_MAX: usize = 500;

/// Returns what names a way around the first door: what follows the comma explains it.
#[must_use]
pub fn way_of(path: &str) -> &str {
    path.split(',').next().unwrap_or_default()
}

/// An alert without its time. Texts are cut at their limits, and lose control characters: peers chose parts of
/// them.
#[derive(Clone, Debug)]
pub struct Wording {
    class: &'static str,
    subject: String,
    stage: Stage,
    severity: Severity,
    lasted: Duration,
    summary: String,
    details: BTreeMap<String, String>,
    command: Option<String>,
}

/// Begins the alert that a trouble began: critical, about the only subject of its class.
#[must_use]
pub fn opened(class: &'static str, summary: impl Into<String>) -> Wording {
    Wording {
        class,
        subject: String::new(),
        stage: Stage::Opened,
        severity: Severity::Critical,
        lasted: Duration::ZERO,
        summary: short(&summary.into(), TEXT_MAX),
        details: BTreeMap::new(),
        command: None,
    }
}

/// Begins the alert that a trouble is over.
#[must_use]
pub fn closed(class: &'static str, summary: impl Into<String>) -> Wording {
    opened(class, summary).stands(Stage::Closed)
}

/// Begins the alert that something happened.
#[must_use]
pub fn noted(class: &'static str, summary: impl Into<String>) -> Wording {
    opened(class, summary).stands(Stage::Noted)
}

impl Wording {
    /// Has it say another stage.
    #[must_use]
    pub fn stands(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    /// Makes it a warning.
    #[must_use]
    pub fn warns(self) -> Self {
        self.of(Severity::Warning)
    }

    /// Says how bad it is.
    #[must_use]
    pub fn of(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// Says what it is about within its class.
    #[must_use]
    pub fn about(self, subject: impl AsRef<str>) -> Self {
        Self { subject: short(subject.as_ref(), SUBJECT_MAX), ..self }
    }

    /// Says which command to run first.
    #[must_use]
    pub fn first(self, command: impl AsRef<str>) -> Self {
        Self { command: Some(short(command.as_ref(), TEXT_MAX)), ..self }
    }

    /// Adds a detail, up to [`DETAILS_MAX`] of them.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        if self.details.len() < DETAILS_MAX {
            self.details.insert(name.to_owned(), short(&value.to_string(), TEXT_MAX));
        }
        self
    }

    /// Adds a detail if it is known.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Says that it began so long ago.
    #[must_use]
    pub fn lasted(self, lasted: Duration) -> Self {
        Self { lasted, ..self }
    }

    /// Returns the alert, said at this moment.
    #[must_use]
    pub fn at(self, at: Timestamp) -> Alert {
        Alert {
            class: self.class.to_owned(),
            subject: self.subject,
            stage: self.stage,
            severity: self.severity,
            former_severity: None,
            at,
            since: at.checked_sub(self.lasted).unwrap_or(at),
            summary: self.summary,
            details: self.details,
            command: self.command,
        }
    }
}

/// Returns an estimate, and how many there were at least where it may be too high by `error`.
#[must_use]
pub fn estimate(count: u64, error: u64) -> String {
    match error {
        0 => count.to_string(),
        error => format!("{count} (at least {})", count.saturating_sub(error)),
    }
}

/// Returns the time in which something was counted, in words: `a second`, `in 60 s`.
#[must_use]
pub fn within(seconds: u64) -> String {
    match seconds {
        0 | 1 => "a second".to_owned(),
        seconds => format!("in {seconds} s"),
    }
}

/// Returns a text as a shell takes it for one word: as it is, or in quotes. Whoever copies a command that is printed
/// must run that and nothing else, whatever is in a name.
#[must_use]
pub fn word(text: &str) -> String {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&octet);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Returns the beginning of a text, with spaces for control characters.
fn short(text: &str, most: usize) -> String {
    let mut short = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if short.len() + c.len_utf8() > most {
            break;
        }
        short.push(c);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_command_that_is_printed_stays_one_word_and_nothing_more() {
        for (text, printed) in [
            ("smarthost", "smarthost"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("app@example.net", "app@example.net"),
            ("host-down/*", "'host-down/*'"),
            ("two words", "'two words'"),
            ("it's", "'it'\\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("a;b", "'a;b'"),
            ("~root", "'~root'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), printed, "{text}");
        }
    }
}
