//! How a message came to us: what is known of its connection when it is accepted. It travels with the
//! envelope, so that the line about the message can still tell it days later.

use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a client and its message came to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Came {
    /// When the relay took the connection out of the listener's backlog. The gate had let its SYN in before
    /// that, by the time of the handshake and of the wait in the backlog.
    pub accepted_at: Timestamp,
    /// Where it connected to.
    pub listener: SocketAddr,
    /// The other end of the connection: the client, or a proxy that speaks for it.
    pub peer: IpAddr,
    /// The entry of the allowlist that admitted the connection; none where no gate stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Admission>,
    /// When the TLS handshake was done.
    pub secured_at: Option<Timestamp>,
    /// Version and cipher suite.
    pub tls: Option<String>,
    /// The name that the client asked for in the handshake (RFC 6066, section 3): at most 255 octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// When the login was granted.
    pub logged_in_at: Option<Timestamp>,
    /// The mechanism that it was proved by.
    pub mechanism: Option<String>,
    /// How many messages were accepted over the connection before.
    #[serde(default)]
    pub earlier: u32,
}

/// An entry of the allowlist, and what the kernel had counted of it when it admitted a connection. Its clients
/// share these counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Admission {
    /// The network.
    pub network: IpNetwork,
    /// Connection attempts that were passed.
    pub passed: u64,
    /// Connection attempts that were dropped because a rate was exceeded.
    pub over_rate: u64,
}
