//! What follows misconduct.
//!
//! ```text
//! waits      a login that fails too often from an address has to wait
//! lines      which of those waits have a line in the journal
//! offenders  a source that goes on is slowed down, then deserves a ban
//! source     whom misconduct counts against
//! auto_ban   for whom the relay may ask for bans: what the configuration says
//! memory     a map that forgets
//! ```
//!
//! Every client is listed, and many may share one address. So a failed login makes nobody wait but
//! its own pair of address and login, and who logged in from a source within a day speaks for all of
//! that source: it is neither slowed down nor banned. What a client does wrong after its login
//! therefore needs no counting here; the session's own limits are for that.
//!
//! Not here: the ban. The gate imposes it, ends it, and makes it longer for who comes back.

mod auto_ban;
mod lines;
mod memory;
mod offenders;
mod source;
mod waits;

pub use auto_ban::{AutoBan, AutoBans};
pub use lines::{FailureLines, LeftOut};
pub use offenders::{Grounds, Offence, Offenders};
pub use source::Source;
pub use waits::{FailedLogins, MustWait};

/// How a client stands: whom its misconduct counts against, and what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whom it counts against.
    pub source: Source,
    /// Whether the relay may ask for a ban.
    pub auto_ban: AutoBan,
}
