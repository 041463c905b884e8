//! What a session is told by whoever drives it, and what it shows of itself.

use std::fmt;

use std::time::Instant;

use super::Session;

impl Session {
    /// Returns when the last MAIL that was taken came in.
    #[must_use]
    pub const fn mail_at(&self) -> Option<Instant> {
        self.mail_at
    }

    /// Tells, before [`Action::Commit`](super::Action::Commit) is answered, whether the client sends
    /// ahead.
    pub const fn set_ahead(&mut self, ahead: Ahead) {
        self.receipts.set_ahead(ahead);
    }

    /// Returns whether the driver is to look, after each piece of input, if more lies unread, and to
    /// say so by [`Session::set_ahead`] once nothing does.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.receipts.is_behind()
    }
}

impl fmt::Debug for Session {
    /// Shows nothing that the client has said: a line of AUTH holds its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("source", &self.facts.source)
            .field("stage", &self.stage)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// How TLS begins in this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsStart {
    /// By STARTTLS.
    Starttls,
    /// With the first octet.
    Implicit,
    /// By STARTTLS, but there is no usable certificate now: 454 4.7.0.
    Unavailable,
}

/// What the two ends of a TLS connection know of it and of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Version and cipher suite, as trace headers show them.
    pub description: String,
    /// The name that the client asked for (RFC 6066, section 3); none if it named none.
    pub server_name: Option<String>,
    /// The value that both ends share and nobody else knows (RFC 9266); none where the connection
    /// cannot give one.
    pub exporter: Option<[u8; 32]>,
    /// The names in the client's verified certificate, the one it is known by first; empty if it
    /// has shown none.
    pub names: Vec<String>,
}

/// What the check of a proof found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is right; this is the login's name in the configuration.
    Granted(String),
    /// It is wrong: 535 5.7.8.
    Denied,
    /// It could not be checked now: 454 4.7.0.
    Later,
    /// It is right, but the login has as many sessions as it may: 421 4.7.0.
    Crowded,
}

impl Verdict {
    /// Returns the word that metrics have for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::Denied => "denied",
            Self::Later => "later",
            Self::Crowded => "crowded",
        }
    }
}

/// Why a message was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// There is no room: 452 4.3.1.
    Full,
    /// Anything else: 451 4.3.0.
    Failed,
}

/// Whether the spool takes new messages of this client. If not, MAIL gets 452 4.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Enough,
    /// It is below its reserve, for everybody.
    Short,
    /// The messages of this login take the share of one login already.
    ShareUsed,
}

/// Whether a client had sent more already when its message was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ahead {
    /// It waits for the answer.
    #[default]
    Nothing,
    /// Octets of it have arrived that nobody has read yet.
    Something,
}
