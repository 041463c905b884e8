//! What a client has sent and nobody has read yet.
//!
//! A password may stand there. So what was read is wiped, and so is what is left at the end; and octets never move by
//! a reallocation, which would leave a copy behind.

use std::fmt;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// Octets in the order in which they came. Holds what it was given and not more: the driver hands over one piece at
/// a time.
#[derive(Default)]
pub(super) struct Input {
    octets: Vec<u8>,
    /// How many of them were read: zeros, since then.
    read: usize,
}

impl Input {
    /// Returns how many octets wait.
    pub(super) const fn len(&self) -> usize {
        self.octets.len() - self.read
    }

    /// Tells whether none wait.
    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the octets that wait.
    pub(super) fn rest(&self) -> &[u8] {
        &self.octets[self.read..]
    }

    /// Puts octets behind those that wait.
    pub(super) fn extend(&mut self, octets: &[u8]) {
        if self.octets.capacity() - self.octets.len() < octets.len() {
            let mut roomier = Vec::with_capacity(self.len() + octets.len());
            roomier.extend_from_slice(self.rest());
            // The one before is wiped.
            *self = Self { octets: roomier, read: 0 };
        }
        self.octets.extend_from_slice(octets);
    }

    /// Wipes the first octets of those that wait: they were read. `most` is not more than wait.
    pub(super) fn forget(&mut self, most: usize) {
        self.octets[self.read..][..most].zeroize();
        self.read += most;
        if self.is_empty() {
            self.octets.clear();
            self.read = 0;
        }
    }

    /// Takes the first octets of those that wait, which are a message's. `most` is not more than wait.
    pub(super) fn take(&mut self, most: usize) -> Vec<u8> {
        let taken = self.rest()[..most].to_vec();
        self.forget(most);
        taken
    }

    /// Wipes all that waits.
    pub(super) fn clear(&mut self) {
        self.forget(self.len());
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.octets.as_mut_slice().zeroize();
    }
}

impl ZeroizeOnDrop for Input {}

impl fmt::Debug for Input {
    /// Shows nothing that was sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({} octets)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_wiped_and_the_rest_stays_in_order() {
        let mut input = Input::default();
        input.extend(b"AUTH PLAIN secret\r\nNOOP\r\n");
        input.forget(19);
        assert_eq!((input.rest(), input.len()), (&b"NOOP\r\n"[..], 6));
        assert_eq!(input.octets[..19], [0; 19], "a password is left");
        // More than there is room for.
        let more = vec![b'x'; 2 * input.octets.capacity()];
        input.extend(&more);
        assert_eq!(input.take(6), b"NOOP\r\n");
        assert_eq!(input.octets[..6], [0; 6]);
        assert_eq!(input.rest(), more);
        input.clear();
        assert!(input.is_empty() && input.octets.is_empty());
    }

    #[test]
    fn nobody_sees_in_a_dump_what_was_sent() {
        let mut input = Input::default();
        input.extend(b"secret");
        assert_eq!(format!("{input:?}"), "Input(6 octets)");
    }
}
