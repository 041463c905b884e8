//! The envelope: everything about a message that is not its content (RFC 5321, section 2.3.1).

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::came::Came;
use super::context::TraceContext;
use crate::smtp::address::{Address, Charset, ReversePath};
pub use crate::smtp::parameter::Body;
use crate::smtp::parameter::{
    ByMode, Notify, OriginalRecipient, Priority, RequireTls, Return, Utf8,
};

/// Who sent a message to whom, and how it came to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// MAIL FROM; the null path for reports.
    pub sender: ReversePath,
    /// RCPT TO in the order given; at most `limits.recipients`, never empty.
    pub recipients: Vec<Address>,
    /// The kind of body: as declared until it was read, then as it is.
    pub body: Body,
    /// The authenticated login; none for reports that the relay itself writes.
    pub login: Option<String>,
    /// The tag of the allowlist entry that admitted the client.
    pub tag: Option<String>,
    /// The client's address; none for the relay's own reports.
    pub source: Option<IpAddr>,
    /// The instant the transaction began, UTC.
    pub received_at: Timestamp,
    /// What the client asked for besides.
    #[serde(default, skip_serializing_if = "Terms::are_usual")]
    pub terms: Terms,
    /// The connection that it came by; none for the relay's own reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<Box<Came>>,
    /// The trace that the message belongs to, as its header section says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// What a client asked for besides the delivery of a message. Each part is kept by an extension,
/// and there only where that was offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Addresses or headers may be UTF-8 (RFC 6531).
    pub utf8: Option<Utf8>,
    /// Every hop must be by TLS (RFC 8689).
    pub require_tls: Option<RequireTls>,
    /// How much of the message goes back with a failure report (RFC 3461, section 4.3).
    pub report: Option<Return>,
    /// The sender's name for the transaction (RFC 3461, section 4.4).
    pub envelope_id: Option<String>,
    /// Not before this instant (RFC 4865).
    pub hold_until: Option<Timestamp>,
    /// Before an instant (RFC 2852).
    pub deadline: Option<Deadline>,
    /// Before other mail or after it (RFC 6710).
    pub priority: Option<Priority>,
    /// What was asked for single recipients, in their order; at most one for each.
    pub wishes: Vec<Wish>,
}

/// By when a message must arrive, and what follows if it does not (RFC 2852).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The instant, UTC.
    pub at: Timestamp,
    /// What follows.
    pub mode: ByMode,
    /// Every hop is to report that it passed the message on.
    pub trace: bool,
}

/// What was asked for one recipient (RFC 3461, sections 4.1 and 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The recipient of the envelope.
    pub recipient: Address,
    /// Of what the sender wants to hear.
    pub notify: Option<Notify>,
    /// Whom the sender had written to.
    pub original: Option<OriginalRecipient>,
}

impl Terms {
    /// Returns what addresses may be written in.
    #[must_use]
    pub const fn charset(&self) -> Charset {
        if self.utf8.is_some() { Charset::Utf8 } else { Charset::Ascii }
    }

    /// Tells whether nothing was asked for.
    #[must_use]
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::parameter::{RequireTls, Utf8};

    /// In JSON a unit is `null`, as nothing is.
    #[test]
    fn what_was_given_is_still_given_when_the_envelope_is_read_again() {
        let terms = Terms { utf8: Some(Utf8), require_tls: Some(RequireTls), ..Terms::default() };
        let written = serde_json::to_string(&terms).unwrap();
        assert_eq!(serde_json::from_str::<Terms>(&written).unwrap(), terms, "{written}");
        let nothing = serde_json::to_string(&Terms::default()).unwrap();
        assert_eq!(serde_json::from_str::<Terms>(&nothing).unwrap(), Terms::default());
    }
}
