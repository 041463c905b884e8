//! Messages that are kept instead of sent, oldest first, until their retention ends.

use std::collections::BTreeSet;

use crate::mail::message::MessageId;

/// The captured messages and what they take.
#[derive(Debug, Default)]
pub struct Captured {
    /// Ids rise with the time: the first is the oldest.
    ids: BTreeSet<MessageId>,
    body_bytes: u64,
}

impl Captured {
    /// Counts a message in.
    pub fn add(&mut self, id: MessageId, size_bytes: u64) {
        self.ids.insert(id);
        self.body_bytes += size_bytes;
    }

    /// Counts a message out that was counted in with the same size.
    pub fn remove(&mut self, id: MessageId, size_bytes: u64) {
        if self.ids.remove(&id) {
            self.body_bytes -= size_bytes;
        }
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// Returns the octets of their bodies.
    pub const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }
}
