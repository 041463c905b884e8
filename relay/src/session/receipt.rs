//! Whether a client has heard that its message is ours (RFC 5321, section 4.5.1 names the commands;
//! RFC 2920, section 3.1 lets a client send some of them ahead).
//!
//! A command that came after the 250 was said confirms it, QUIT too, and so does a body that came
//! after our 354: on the wire that comes after the 250. The end of the connection does not, nor does
//! a command that was sent ahead, before there was anything to hear.

use std::collections::VecDeque;

use crate::mail::fingerprint::Fingerprint;
use crate::mail::message::MessageId;

use super::Ahead;

/// The most messages that may be unconfirmed in one session. Of more the oldest counts as heard of:
/// to take a message twice is better than to lose one.
const MOST: usize = 100;

/// A submission of this session. The same text sent twice in one session is meant twice: its turn
/// among those that are not confirmed makes each another one, and the same one after a reconnect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submission {
    first: Fingerprint,
    turn: u32,
}

impl Submission {
    /// Returns what the store knows it by.
    pub(super) fn fingerprint(self) -> Fingerprint {
        self.first.again(self.turn)
    }
}

/// A message whose 250 was said.
#[derive(Debug)]
struct Owed {
    id: MessageId,
    submission: Submission,
    /// How much had been received before the 250.
    before: u64,
}

/// Counts what a client sends, and knows what it has not confirmed.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// Octets received so far.
    received: u64,
    /// The oldest first, and so by what had been received.
    owed: VecDeque<Owed>,
    ahead: Ahead,
}

impl Receipts {
    /// Counts octets that were received. What had arrived before a 250 comes in pieces, and the last
    /// may hold more than that: none of them counts as heard.
    pub(super) fn receive(&mut self, octets: usize) {
        self.received += octets as u64;
        if self.ahead == Ahead::Something {
            for owed in &mut self.owed {
                owed.before = self.received;
            }
        }
    }

    /// Notes whether octets have arrived that were not received yet.
    pub(super) const fn set_ahead(&mut self, ahead: Ahead) {
        self.ahead = ahead;
    }

    /// Returns whether octets that were sent before the last 250 may still be unread.
    pub(super) fn is_behind(&self) -> bool {
        self.ahead == Ahead::Something && !self.owed.is_empty()
    }

    /// Returns what a submission is in this session.
    pub(super) fn submission(&self, first: Fingerprint) -> Submission {
        let equal = self.owed.iter().map(|owed| owed.submission).filter(|one| one.first == first);
        Submission { first, turn: equal.map(|one| one.turn + 1).max().unwrap_or(0) }
    }

    /// Notes that a 250 for this message is being said; returns the message that counts as heard of,
    /// since it is one too many.
    pub(super) fn owe(&mut self, id: MessageId, submission: Submission) -> Option<MessageId> {
        self.owed.push_back(Owed { id, submission, before: self.received });
        if self.owed.len() <= MOST {
            return None;
        }
        self.owed.pop_front().map(|owed| owed.id)
    }

    /// A whole command was read, or octets of a body that our 354 asked for, and `unread` octets are
    /// left; returns the messages that this confirms.
    pub(super) fn heard(&mut self, unread: usize) -> impl Iterator<Item = MessageId> + '_ {
        let read = self.received.saturating_sub(unread as u64);
        let count = self.owed.iter().take_while(|owed| owed.before < read).count();
        self.owed.drain(..count).map(|owed| owed.id)
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
            (
                "two that were sent ahead together",
                &[Receive(30), Owe(1), Command(20), Owe(2), Command(0), Receive(6), Command(0)],
                &[1, 2],
            ),
            (
                "the first of two, and half a command",
                &[Receive(9), Owe(1), Receive(12), Command(6), Owe(2), Command(0)],
                &[1],
            ),
        ] {
            let (mut receipts, mut found) = (Receipts::default(), Vec::new());
            for step in steps {
                match step {
                    Receive(octets) => receipts.receive(*octets),
                    Sent => receipts.set_ahead(Ahead::Something),
                    CaughtUp => receipts.set_ahead(Ahead::Nothing),
                    Owe(id) => {
                        let submission = receipts.submission(Fingerprint([0; 32]));
                        assert_eq!(receipts.owe(MessageId(*id), submission), None);
                    }
                    Command(unread) => found.extend(receipts.heard(*unread).map(|id| id.0)),
                }
            }
            assert_eq!(found, confirmed, "{row}");
        }
    }
    #[test]
    fn equal_submissions_differ_while_they_are_unconfirmed_and_no_more_than_the_most_are() {
        let (same, other) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
        let mut receipts = Receipts::default();
        let mut known = Vec::new();
        for number in 0..MOST as u64 {
            let submission = receipts.submission(same);
            assert!(!known.contains(&submission.fingerprint()), "{number}");
            known.push(submission.fingerprint());
            assert_eq!(receipts.owe(MessageId(number), submission), None);
        }
        assert_eq!(receipts.submission(other).fingerprint(), other);
        let one_more = receipts.submission(same);
        assert_eq!(receipts.owe(MessageId(1000), one_more), Some(MessageId(0)));
        receipts.receive(1);
        assert_eq!(receipts.heard(0).count(), MOST);
        assert_eq!(receipts.submission(same).fingerprint(), same);
    }
}
