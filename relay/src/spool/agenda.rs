//! What is due when: pure, so that time is an argument.
//!
//! Fairness between logins will live here; for now the message that is due the longest is first.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::mail::message::MessageId;

/// The messages that wait, by the time at which they are due.
#[derive(Debug, Default)]
pub struct Agenda {
    waiting: BTreeSet<(Timestamp, MessageId)>,
}

impl Agenda {
    /// Puts `id` on the agenda for `due_at`. A message stands there once: cancel it first.
    pub fn schedule(&mut self, id: MessageId, due_at: Timestamp) {
        self.waiting.insert((due_at, id));
    }

    /// Takes `id` off, which was scheduled for `due_at`.
    pub fn cancel(&mut self, id: MessageId, due_at: Timestamp) {
        self.waiting.remove(&(due_at, id));
    }

    /// Takes off the message that is due the longest at `now`; none if none is due.
    pub fn take_due(&mut self, now: Timestamp) -> Option<MessageId> {
        let (due_at, id) = *self.waiting.first()?;
        if due_at > now {
            return None;
        }
        self.waiting.remove(&(due_at, id));
        Some(id)
    }

    /// Returns when the next message is due; it may be past.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(due_at, _)| *due_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_due_comes_once_oldest_first_and_never_early(
            dues in proptest::collection::vec(0_i64..100, 0..60), now in 0_i64..100,
        ) {
            let mut agenda = Agenda::default();
            for (id, due) in dues.iter().enumerate() {
                agenda.schedule(MessageId(id as u64), at(*due));
            }
            let mut expected: Vec<_> = dues.iter().zip(0..).filter(|(due, _)| **due <= now).collect();
            expected.sort();
            let taken: Vec<_> = std::iter::from_fn(|| agenda.take_due(at(now))).collect();
            prop_assert_eq!(taken, expected.iter().map(|(_, id)| MessageId(*id)).collect::<Vec<_>>());
            let next = dues.iter().filter(|due| **due > now).min().map(|due| at(*due));
            prop_assert_eq!(agenda.next_due(), next);
        }
    }

    #[test]
    fn what_was_cancelled_does_not_come() {
        let mut agenda = Agenda::default();
        agenda.schedule(MessageId(1), at(5));
        agenda.schedule(MessageId(2), at(6));
        agenda.cancel(MessageId(1), at(5));
        assert_eq!(agenda.take_due(at(9)), Some(MessageId(2)));
        assert_eq!(agenda.take_due(at(9)), None);
    }
}
