//! Where a connection stands, and how long it may stand there.

use std::time::Duration;

use crate::delivery::login::Exchange;
use crate::delivery::ruling::Asked;
use crate::delivery::terms::Timeouts;
use crate::delivery::transaction::Transaction;

/// Whether all that we said has left us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Pending,
    Sent,
}

#[derive(Debug)]
pub(super) enum Stage {
    Banner,
    /// EHLO is sent.
    Hello(Channel),
    Starttls,
    /// The handshake is under way; then this follows.
    Securing(Then),
    Auth(Exchange),
    Ready,
    Transaction(Box<Transaction>),
    Reset,
    Quit,
    Closed,
}

/// What the connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Clear,
    Tls,
}

/// What follows a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Implicit TLS: the next hop speaks first.
    Banner,
    /// STARTTLS: all that was learnt before is forgotten (RFC 3207, section 4.2).
    Hello,
}

impl Stage {
    /// Returns how long the stage may last without a word from the next hop.
    pub(super) const fn patience(&self, timeouts: Timeouts) -> Duration {
        match self {
            Self::Ready => timeouts.idle,
            Self::Quit => timeouts.quit,
            Self::Transaction(transaction) if transaction.is_ended() => timeouts.final_dot,
            Self::Banner
            | Self::Hello(_)
            | Self::Starttls
            | Self::Securing(_)
            | Self::Auth(_)
            | Self::Transaction(_)
            | Self::Reset
            | Self::Closed => timeouts.reply,
        }
    }

    /// Returns what is asked here, whose answer can ask for less; none if nothing is.
    pub(super) const fn asked(&self) -> Option<Asked> {
        match self {
            Self::Banner => Some(Asked::Banner),
            Self::Hello(_) => Some(Asked::Hello),
            Self::Starttls => Some(Asked::Starttls),
            Self::Auth(_) => Some(Asked::Auth),
            Self::Transaction(transaction) => Some(transaction.asked()),
            Self::Securing(_) | Self::Ready | Self::Reset | Self::Quit | Self::Closed => None,
        }
    }

    /// Returns the words for people: what was waited for in vain.
    pub(super) const fn awaited(&self) -> &'static str {
        match self {
            Self::Banner => "no greeting",
            Self::Hello(_) => "no answer to EHLO",
            Self::Starttls => "no answer to STARTTLS",
            Self::Securing(_) => "no end of the TLS handshake",
            Self::Auth(_) => "no answer to AUTH",
            Self::Transaction(transaction) => match transaction.asked() {
                Asked::Mail => "no answer to MAIL",
                Asked::Rcpt => "no answer to RCPT",
                Asked::Data => "no answer to DATA",
                Asked::Dot | Asked::Chunk => "no end of the message",
                Asked::Banner | Asked::Hello | Asked::Starttls | Asked::Auth => "no answer",
            },
            Self::Reset => "no answer to RSET",
            Self::Ready | Self::Quit | Self::Closed => "no answer",
        }
    }
}
