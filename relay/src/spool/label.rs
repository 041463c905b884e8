//! What the header of a message says for its place in the queue: whose it is, which way it goes, and
//! before which others. Recovery reads no bodies, so all of it stands in the record.

use crate::spool::share::Owner;

/// The mark of a route on the messages that go by it first: 16 bits of its name, as an
/// [`Owner`] is of a login. Routes whose marks are equal wait for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way(pub u16);

impl Way {
    /// The mark of messages whose way is not known, or that need none.
    pub const NONE: Self = Self(0);

    /// Returns the mark of the route of this name.
    #[must_use]
    pub fn of(route: &str) -> Self {
        let sum = crc32c::crc32c(route.as_bytes());
        Self(((sum >> 16) as u16 ^ sum as u16).max(1))
    }
}

/// Where a message stands among others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Whose it is.
    pub owner: Owner,
    /// The way it goes next.
    pub way: Way,
    /// -9 to 9: the highest of one owner goes first (RFC 6710).
    pub priority: i8,
}

/// What a message is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Where it stands among others.
    pub label: Label,
    /// The octets of its body.
    pub size_bytes: u64,
}

/// What a message waits for between two attempts, as its state record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stay {
    /// Its time.
    #[default]
    Waiting,
    /// An operator.
    Held,
    /// The end of its retention: it is kept instead of sent.
    Captured,
}
