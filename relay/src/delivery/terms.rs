//! What an attempt needs to know before it begins.

use std::time::Duration;

use super::login::Credentials;
use crate::config::RouteTls;

/// How long a next hop may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For any answer but the one to the final dot, for the TLS handshake, and for the taking of
    /// one piece of the body. RFC 5321, section 4.5.3.2, asks for 5 minutes.
    pub reply: Duration,
    /// For the answer to the final dot (RFC 5321, section 4.5.3.2.6: 10 minutes).
    pub final_dot: Duration,
    /// How long an open connection waits for the next message.
    pub idle: Duration,
    /// For the answer to QUIT: nothing hangs on it.
    pub quit: Duration,
}

/// What an attempt needs to know.
#[derive(Debug)]
pub struct Terms {
    /// Our name, for EHLO.
    pub hostname: String,
    /// How the connection is secured.
    pub tls: RouteTls,
    /// Our login; none: no AUTH.
    pub credentials: Option<Credentials>,
    /// How long the next hop may take.
    pub timeouts: Timeouts,
    /// How many messages the connection may carry; at least one.
    pub messages: u32,
}
