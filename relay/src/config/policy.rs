//! What clients of a tag or a login may do.

use std::fmt;
use std::time::Duration;

use super::Rate;
use crate::smtp::address::Address;
use crate::smtp::parameter::Priority;

/// `[[policy]]`: what clients of a tag or a login may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Whose policy it is.
    pub who: Who,
    /// Senders that may be used in the envelope, From and Sender.
    pub senders: Vec<SenderPattern>,
    /// Recipients that may be named; none: everybody.
    pub recipients: Option<Vec<AddressPattern>>,
    /// Recipients its clients may name in a time, with a burst of ten seconds; none: no limit.
    pub rate: Option<Rate>,
    /// Recipients its clients may name in an hour or a day, all at once if they like; none: no limit.
    pub quota: Option<Rate>,
    /// The largest message, octets; the lower one of this and [`Limits`](super::Limits) counts.
    pub message_size_bytes: Option<u64>,
    /// Recipients in one transaction; the lower one of this and [`Limits`](super::Limits) counts.
    pub recipients_per_message: Option<usize>,
    /// Sessions at a time of all its clients.
    pub sessions: Option<usize>,
    /// The waits after the first attempts, the last of which repeats; none: those of
    /// [`Retry`](super::Retry). At least one. The login's come before the tag's.
    pub retry_after: Option<Vec<Duration>>,
    /// When mail is given up; the lower one of this and [`Retry`](super::Retry) counts.
    pub expire: Option<Duration>,
    /// When the sender is told that his mail is late; the lower one of this and
    /// [`Retry`](super::Retry) counts.
    pub delay_report: Option<Duration>,
    /// The name of the route; none: by recipient domain, then the default.
    pub route: Option<String>,
    /// How urgent its mail is, and the most that a client may ask for (RFC 6710); none: as it asks.
    pub priority: Option<Priority>,
    /// Whether its mail is kept instead of sent; none: as the route says.
    pub capture: Option<bool>,
    /// Whether the relay may ban clients of the tag by itself; none: where the entry is a single
    /// address. A login's policy says nothing about it.
    pub auto_ban: Option<bool>,
}

/// Whom a policy speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Clients admitted by entries with this tag.
    Tag(String),
    /// Sessions authenticated as this login.
    Login(String),
}

/// A sender that a policy permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderPattern {
    /// `"<>"`: the null sender.
    Null,
    /// Mailboxes.
    Address(AddressPattern),
}

/// Mailboxes that a policy permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPattern {
    /// `"*"`: every mailbox.
    Any,
    /// `"@example.net"`: every mailbox of exactly this domain; lower case.
    Domain(String),
    /// `"news@example.net"`: one mailbox.
    Mailbox(Address),
}

impl fmt::Display for SenderPattern {
    /// Writes it as the configuration does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Address(pattern) => pattern.fmt(f),
        }
    }
}

impl fmt::Display for AddressPattern {
    /// Writes it as the configuration does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Domain(domain) => write!(f, "@{domain}"),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}
