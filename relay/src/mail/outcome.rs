//! What became of one recipient in one attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::smtp::address::Address;

/// The fate of a recipient after an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// The next hop took responsibility (RFC 5321, section 4.2.5).
    Delivered,
    /// Try again after this long.
    Deferred(Duration),
    /// Not tried: its turn comes after this long. That is no attempt.
    Postponed(Duration),
    /// Tried, and put off by what concerns all mail of the way: the next hop asks for less, or our login
    /// or key is of no use. Try again after this long. That is no attempt either: it says nothing of this
    /// mail, whose schedule goes on where it stood.
    Paused(Duration),
    /// Given up: refused for good, or expired.
    Failed,
    /// Not sent: kept until its retention ends.
    Captured,
}

impl Fate {
    /// Tells whether it counts as an attempt. To keep a message, or to have it wait for its turn or for a hop that wants
    /// less, does not.
    #[must_use]
    pub const fn is_attempt(&self) -> bool {
        match self {
            Self::Delivered | Self::Deferred(_) | Self::Failed => true,
            Self::Postponed(_) | Self::Paused(_) | Self::Captured => false,
        }
    }

    /// Tells whether the recipient needs no other attempt.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        match self {
            Self::Delivered | Self::Failed | Self::Captured => true,
            Self::Deferred(_) | Self::Postponed(_) | Self::Paused(_) => false,
        }
    }
}

/// Whether a next hop that took a message goes on keeping what the sender asked of DSN (RFC 3461).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relayed {
    /// It offers DSN and was told all that was asked: it reports from here on (section 5.2.1).
    WithDsn,
    /// It knows nothing of DSN: who wanted to hear of a success is told that the message was
    /// relayed (section 5.2.2).
    #[default]
    WithoutDsn,
}

/// The outcome of an attempt for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The recipient it is about.
    pub recipient: Address,
    /// What became of it.
    pub fate: Fate,
    /// The next hop's name and port, empty if none was reached.
    pub next_hop: String,
    /// The reply that decided it as one line of printable ASCII of at most 512 octets, or our own
    /// words if there was none.
    pub reply: String,
}
