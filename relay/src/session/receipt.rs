//! Whether a client has heard that its message is ours (RFC 5321, section 4.5.1 names the commands;
//! RFC 2920, section 3.1 lets a client send some of them ahead).
//!
//! A command that came after the 250 was said confirms it, QUIT too, and so does a body that came
//! after our 354: on the wire that comes after the 250. The end of the connection does not, nor does
//! a command that was sent ahead, before there was anything to hear.

use crate::mail::message::MessageId;

use super::Ahead;

/// Counts what a client sends, and knows what it has not confirmed.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// Octets received so far.
    received: u64,
    /// The message that was answered last, and how much had been received before the answer.
    owed: Option<(MessageId, u64)>,
    ahead: Ahead,
}

impl Receipts {
    /// Counts octets that were received. What had arrived before a 250 comes in pieces, and the last
    /// may hold more than that: none of them counts as heard.
    pub(super) const fn receive(&mut self, octets: usize) {
        self.received += octets as u64;
        if let (Some((_, before)), Ahead::Something) = (&mut self.owed, self.ahead) {
            *before = self.received;
        }
    }

    /// Notes whether octets have arrived that were not received yet.
    pub(super) const fn set_ahead(&mut self, ahead: Ahead) {
        self.ahead = ahead;
    }

    /// Returns whether octets that were sent before the last 250 may still be unread.
    pub(super) const fn is_behind(&self) -> bool {
        matches!((self.owed, self.ahead), (Some(_), Ahead::Something))
    }

    /// Notes that a 250 for this message is being said.
    pub(super) const fn owe(&mut self, id: MessageId) {
        self.owed = Some((id, self.received));
    }

    /// A whole command was read, or octets of a body that our 354 asked for, and `unread` octets are
    /// left; returns the message that this confirms.
    pub(super) fn heard(&mut self, unread: usize) -> Option<MessageId> {
        let (id, before) = self.owed?;
        if self.received.saturating_sub(unread as u64) <= before {
            return None;
        }
        self.owed = None;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to a session, in turn.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Receive(usize),
        Ahead,
        CaughtUp,
        Owe(u64),
        Command(usize),
    }

    #[test]
    fn a_command_that_came_after_the_250_confirms_it_once() {
        use Step::{Ahead as Sent, CaughtUp, Command, Owe, Receive};
        for (row, steps, confirmed) in [
            ("a command after it", &[Receive(9), Owe(1), Receive(6), Command(0)][..], &[1][..]),
            ("and another", &[Owe(1), Receive(12), Command(6), Command(0)], &[1]),
            ("none", &[Receive(9), Owe(1)], &[]),
            ("one that was read with the message", &[Receive(15), Owe(1), Command(0)], &[]),
            ("one of two", &[Receive(15), Owe(1), Receive(6), Command(6), Command(0)], &[1]),
            ("one whose end came later", &[Receive(12), Owe(1), Receive(3), Command(0)], &[1]),
            ("one that lay unread", &[Sent, Owe(1), Receive(6), Command(0)], &[]),
            (
                "two pieces that lay unread",
                &[Sent, Owe(1), Receive(6), Command(0), Receive(6), Command(0)],
                &[],
            ),
            (
                "one behind them",
                &[
                    Sent,
                    Owe(1),
                    Receive(6),
                    Command(0),
                    Receive(6),
                    CaughtUp,
                    Command(0),
                    Receive(6),
                    Command(0),
                ],
                &[1],
            ),
            (
                "a body after a group that was read with the message",
                &[
                    Receive(30),
                    Owe(1),
                    Command(20),
                    Command(10),
                    Command(0),
                    Receive(9),
                    Command(0),
                ],
                &[1],
            ),
            (
                "two messages",
                &[Owe(1), Receive(6), Command(0), Owe(2), Receive(6), Command(0)],
                &[1, 2],
            ),
        ] {
            let (mut receipts, mut found) = (Receipts::default(), Vec::new());
            for step in steps {
                match step {
                    Receive(octets) => receipts.receive(*octets),
                    Sent => receipts.set_ahead(Ahead::Something),
                    CaughtUp => receipts.set_ahead(Ahead::Nothing),
                    Owe(id) => receipts.owe(MessageId(*id)),
                    Command(unread) => found.extend(receipts.heard(*unread).map(|id| id.0)),
                }
            }
            assert_eq!(found, confirmed, "{row}");
        }
    }
}
