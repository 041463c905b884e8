//! Where mail goes next, and when it is tried again.

use std::path::PathBuf;
use std::time::Duration;

/// `[[route]]`: where mail goes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name; unique.
    pub name: String,
    /// Whether it takes what no other route takes.
    pub default: bool,
    /// Recipient domains it takes, lower case, exact.
    pub domains: Vec<String>,
    /// Whether its mail is kept instead of sent: then it has no next hop.
    pub capture: bool,
    /// Next hops in order of preference, each a host and a port; at least one.
    pub hosts: Vec<NextHop>,
    /// How the connection is secured.
    pub tls: RouteTls,
    /// PEM file of the authorities that may sign the next hop's certificate; none: the public ones.
    pub ca_file: Option<PathBuf>,
    /// The login at the next hop.
    pub login: Option<RouteLogin>,
    /// Connections at a time.
    pub connections: usize,
    /// How long the next hop may take for a reply, but for the reply to the final dot.
    pub timeout: Duration,
}

/// A host to hand mail to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// A domain name or an IP address; the certificate must be for it.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// How the connection to a next hop is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTls {
    /// STARTTLS with a verified certificate, or the mail waits.
    Required,
    /// TLS from the first octet, verified.
    Implicit,
    /// In the clear: only for next hops on loopback.
    None,
}

/// A login at a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLogin {
    /// The user name.
    pub user: String,
    /// The file that holds the password in its first line.
    pub password_file: PathBuf,
}

/// `[capture]`: for how long mail is kept that is not sent. The oldest goes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// For how long.
    pub keep: Duration,
    /// How much of it, octets of bodies.
    pub size_bytes: u64,
}

/// `[retry]`: when deferred mail is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The waits after the first attempts; the last repeats. At least one.
    pub after: Vec<Duration>,
    /// When the sender gets a failure report instead of another attempt.
    pub expire: Duration,
    /// When the sender is told that his message is late; from [`Retry::expire`] on: never.
    pub delay_report: Duration,
}
