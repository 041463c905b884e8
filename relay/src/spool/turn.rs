//! Whose turn it is with a message, and whose it is next.

use jiff::Timestamp;

use crate::spool::label::Stay;

/// What tells one who has a message in hand from the next: no two are equal. Without it whoever is
/// late to let go would take the turn from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// Whose turn it is with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is on the agenda.
    Due(Timestamp),
    /// Whoever got this ticket has it: a [`Claim`](super::Claim), or an operator for a moment.
    Claimed(Ticket),
    /// So it is, and a part was found that fails its check: the message is set aside when the claim ends.
    Spoiled(Ticket),
    /// A part of it failed its check: it stays where it is until somebody decides.
    Damaged,
    /// An operator holds it; released, it is due then.
    Held(Timestamp),
    /// It is kept instead of sent, until its retention ends.
    Captured,
}

impl Turn {
    /// Returns whose turn it is with a message whose state record says this.
    pub const fn after(stay: Stay, due_at: Timestamp) -> Self {
        match stay {
            Stay::Waiting => Self::Due(due_at),
            Stay::Held => Self::Held(due_at),
            Stay::Captured => Self::Captured,
        }
    }

    /// Returns whose turn it is with a message that had this one when an attempt was written down
    /// and would be given `next`. An attempt mends nothing: what was set aside on the way stays so.
    pub const fn settled(self, next: Self) -> Self {
        match self {
            Self::Spoiled(_) | Self::Damaged => Self::Damaged,
            Self::Due(_) | Self::Claimed(_) | Self::Held(_) | Self::Captured => next,
        }
    }

    /// Returns whose turn it is with a message that had this one when a part of it failed its check.
    pub const fn spoiled(self) -> Self {
        match self {
            Self::Claimed(ticket) | Self::Spoiled(ticket) => Self::Spoiled(ticket),
            Self::Due(_) | Self::Damaged | Self::Held(_) | Self::Captured => Self::Damaged,
        }
    }
}
