//! The envelope: everything about a message that is not its content (RFC 5321, section 2.3.1).

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::smtp::address::{Address, ReversePath};
pub use crate::smtp::parameter::Body;

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
}
