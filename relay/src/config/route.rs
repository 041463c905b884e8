//! Where mail goes next, and when it is tried again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Rate, RouteLogin, RouteProof};

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
    /// Its next hops; 1 to 64, or none where its mail is kept.
    pub hosts: Vec<RouteHost>,
    /// How the connection is secured.
    pub tls: RouteTls,
    /// PEM file of the authorities that may sign the next hop's certificate; none: the public ones.
    pub ca_file: Option<PathBuf>,
    /// The name that the certificate must be for, if that is not the host's.
    pub server_name: Option<String>,
    /// The keys of which the next hop must have one; empty: any that the certificate is for.
    pub pins: Vec<Pin>,
    /// Our own certificate, for next hops that ask for one.
    pub certificate: Option<RouteCertificate>,
    /// The login at the next hop.
    pub login: Option<RouteLogin>,
    /// Connections at a time, over all hosts.
    pub connections: usize,
    /// Messages that are handed on per time, with a burst of a second's worth; none: no limit.
    pub rate: Option<Rate>,
    /// How long the next hop may take for a reply, but for the reply to the final dot.
    pub timeout: Duration,
}

impl Route {
    /// Returns the file of the password or token of its login, of one that an operator puts there.
    #[must_use]
    pub fn login_file(&self) -> Option<&Path> {
        match &self.login.as_ref()?.proof {
            RouteProof::Password(file) | RouteProof::Token(file) => Some(file),
            RouteProof::Issued(_) | RouteProof::Certificate => None,
        }
    }
}

/// One of the hosts of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteHost {
    /// Where it is.
    pub hop: NextHop,
    /// Its place in the order of preference: lower comes first, equal is a group.
    pub order: u32,
    /// Its share of the mail within its group: 1 to 1000.
    pub weight: u32,
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
    /// STARTTLS if it is offered, with any certificate; else in the clear (RFC 7435). Never with a
    /// login.
    Opportunistic,
    /// In the clear: only for next hops on loopback.
    None,
}

/// The SHA-256 digest of a public key with its parameters: the SubjectPublicKeyInfo of the
/// certificate, DER (RFC 7469, section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Reads a pin as it is written: `sha256:` and the digest in base64.
    #[must_use]
    pub fn read(written: &str) -> Option<Self> {
        let digest = STANDARD.decode(written.strip_prefix("sha256:")?).ok()?;
        digest.try_into().ok().map(Self)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", STANDARD.encode(self.0))
    }
}

/// Our own certificate towards a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCertificate {
    /// PEM file: the certificate, then those that lead from it to its authority.
    pub certificate: PathBuf,
    /// PEM file: its key.
    pub key: PathBuf,
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
