//! The life of a message in one line, written as it leaves the queue for good.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::Serialize;

use super::seconds;
use crate::mail::context::TraceId;
use crate::mail::message::MessageId;

/// What became of a message and how it had come. What is not known is none: a report of the relay itself came
/// by no connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settled {
    /// The message's id.
    pub id: MessageId,
    /// What became of it.
    pub end: End,
    /// The client's address.
    pub source: Option<IpAddr>,
    /// The proxy that spoke for the client.
    pub proxy: Option<IpAddr>,
    /// The entry of the allowlist that admitted the connection.
    pub entry: Option<IpNetwork>,
    /// Connection attempts of the entry that the kernel had passed by then.
    pub entry_passed: Option<u64>,
    /// Connection attempts of the entry that the kernel had dropped by then, since a rate was exceeded.
    pub entry_over_rate: Option<u64>,
    /// The entry's tag.
    pub tag: Option<String>,
    /// Where the client connected to.
    pub listener: Option<SocketAddr>,
    /// Version and cipher suite.
    pub tls: Option<String>,
    /// The name that the client asked for in the TLS handshake.
    pub server_name: Option<String>,
    /// The mechanism by which the login was proved.
    pub mechanism: Option<String>,
    /// The login.
    pub login: Option<String>,
    /// The domains of the recipients, at most four, and how many more there are.
    pub domains: String,
    /// The length of the body, octets.
    pub size_bytes: u64,
    /// How many recipients it had.
    pub recipients: usize,
    /// How many of them a next hop took.
    pub delivered: usize,
    /// How many were given up.
    pub failed: usize,
    /// How many were captured.
    pub captured: usize,
    /// How many were still open when an operator removed it.
    pub open: usize,
    /// Attempts made.
    pub attempts: u32,
    /// The route of the last word about a recipient, one that was given up before others.
    pub route: Option<String>,
    /// The next hop that said it.
    pub next_hop: Option<String>,
    /// The last word itself: a reply, or our own.
    pub reply: Option<String>,
    /// When it became ours, UTC.
    pub accepted_at: Timestamp,
    /// How long it was ours.
    #[serde(rename = "took-seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// The trace that it belongs to.
    pub trace: Option<TraceId>,
    /// Who removed it.
    pub uid: Option<u32>,
}

/// What became of a message as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Next hops took it for every recipient.
    Delivered,
    /// It was given up for every recipient.
    Failed,
    /// It is kept for every recipient instead of sent.
    Captured,
    /// Its recipients fared differently.
    Mixed,
    /// An operator removed it before that.
    Dropped,
}
