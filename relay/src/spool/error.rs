//! Why the spool did not do what it was asked.

use std::io;

use super::record::VERSION;
use crate::mail::message::MessageId;

/// Why the spool did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no room, or there are too many messages: 452 4.3.1.
    #[error("the spool is full")]
    Full,
    /// The messages of this login take the share of one login already: 452 4.3.1, for it alone.
    #[error("the login's share of the spool is used up")]
    ShareUsed,
    /// The disk failed: 451 4.3.0.
    #[error("the spool's disk failed: {0}")]
    Failed(String),
    /// What was written is not what is read.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The same submission was accepted before, under this id, and its client may not know.
    #[error("the same submission was accepted as {0}")]
    Repeat(MessageId),
    /// There is no such message.
    #[error("no such message")]
    Gone,
    /// An attempt is being made right now.
    #[error("the message is being delivered right now")]
    Claimed,
    /// An operator holds it.
    #[error("the message is held: release it first")]
    Held,
    /// It is kept instead of sent.
    #[error("the message is captured: it is kept until its retention ends, or dropped")]
    Captured,
    /// The envelope is longer than a record may be.
    #[error("the envelope is too large")]
    TooLarge,
    /// A newer program wrote the spool. Nothing was changed.
    #[error(
        "{file}: written in format {found}, this program reads up to {VERSION}; use the program that wrote it, or \
         let that deliver first what it has"
    )]
    Newer {
        /// The segment.
        file: String,
        /// The format found.
        found: u32,
    },
    /// Another process has the spool open.
    #[error("another process has the spool open")]
    Locked,
    /// The spool is being closed.
    #[error("the spool is being closed")]
    Closed,
}

impl StoreError {
    /// Says what a write or flush failed with.
    pub(super) fn writing(problem: &io::Error) -> Self {
        match problem.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Failed(problem.to_string()),
        }
    }

    /// A bad sector and a short file are damage; lack of memory or descriptors passes.
    pub(super) fn reading(problem: io::Error) -> Self {
        let is_bad = problem.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        if is_bad || problem.kind() == io::ErrorKind::UnexpectedEof {
            Self::Damaged(problem.to_string())
        } else {
            Self::Failed(problem.to_string())
        }
    }
}
