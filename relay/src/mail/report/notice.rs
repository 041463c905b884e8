//! What there is to tell of one recipient.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::smtp::address::Address;
use crate::smtp::reply::Enhanced;

/// Whose words explain an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnostic {
    /// A reply of the next hop, as one line of printable US-ASCII.
    Smtp(String),
    /// Our own.
    Own(String),
}

impl Diagnostic {
    /// Returns the words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Smtp(text) | Self::Own(text) => text,
        }
    }
}

/// What a report is about. One report tells one thing, so that its subject can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Recipients were given up.
    Failed,
    /// Recipients have to wait.
    Delayed,
    /// The message was passed on to a next hop that sends no reports of its own.
    Relayed,
}

impl Kind {
    /// Every kind, in the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Failed, Self::Delayed, Self::Relayed];

    /// Returns the word of the field Action (RFC 3464, section 2.3.3).
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
        }
    }
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    /// Given up: the message was refused for good.
    Refused,
    /// Given up: it was put off until it expired.
    Expired,
    /// Given up: the sender had set a time (RFC 2852), and it is over.
    Overdue,
    /// Put off, and tried again until this time; none: until somebody has mended what is wrong.
    Late(Option<Timestamp>),
    /// Passed on.
    Relayed,
}

impl News {
    /// Returns which report tells it.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Refused | Self::Expired | Self::Overdue => Kind::Failed,
            Self::Late(_) => Kind::Delayed,
            Self::Relayed => Kind::Relayed,
        }
    }
}

/// A recipient, and what is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Whom it is about.
    pub recipient: Address,
    /// What became of it.
    pub news: News,
    /// Why, for machines (RFC 3464, section 2.3.4): of class 5 if it was given up, 4 if it waits,
    /// 2 if it was passed on.
    pub status: Enhanced,
    /// The name of the next hop that decided it; none if it was ourselves.
    pub remote: Option<String>,
    /// Why, for people.
    pub diagnostic: Diagnostic,
}
