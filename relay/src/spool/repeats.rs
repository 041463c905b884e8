//! Submissions whose 250 may have been lost: pure, so that time is an argument.
//!
//! A client that did not see the 250 sends its message again, and must not be taken twice for it.
//! Once a command of it has come, it has seen the 250, and the same message again is another one.
//! What is remembered is written at the head of every segment, so that a crash loses nothing of it:
//! a crash can only hide that a 250 was confirmed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use crate::mail::fingerprint::Fingerprint;
use crate::mail::message::MessageId;
use crate::spool::record::u64_at;

/// The most submissions that are remembered; of more the oldest are forgotten.
pub const MOST: usize = 100_000;
/// For how long a submission is remembered.
pub const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// The length of one submission in a record, octets: id, time (microseconds, UTC), fingerprint.
const WRITTEN: usize = 48;

/// Accepted submissions of which nobody knows whether their client was told.
#[derive(Debug, Default)]
pub struct Repeats {
    firsts: HashMap<Fingerprint, MessageId>,
    /// By id, and so by age.
    unconfirmed: BTreeMap<MessageId, (Fingerprint, Timestamp)>,
    /// How many were forgotten.
    forgotten: u64,
}

impl Repeats {
    /// Returns the id under which the same submission was accepted, if its client may not know.
    #[must_use]
    pub fn first(&self, fingerprint: Fingerprint, now: Timestamp) -> Option<MessageId> {
        let id = *self.firsts.get(&fingerprint)?;
        let (_, at) = self.unconfirmed.get(&id)?;
        is_fresh(*at, now).then_some(id)
    }

    /// Remembers a submission that was accepted at `at`, until it is confirmed.
    pub fn remember(&mut self, id: MessageId, fingerprint: Fingerprint, at: Timestamp) {
        self.firsts.insert(fingerprint, id);
        if let Some((old, _)) = self.unconfirmed.insert(id, (fingerprint, at))
            && old != fingerprint
        {
            self.firsts.remove(&old);
        }
        while let Some((oldest, (_, then))) = self.unconfirmed.first_key_value()
            && (self.unconfirmed.len() > MOST || !is_fresh(*then, at))
        {
            self.forget(*oldest);
        }
    }

    /// Forgets a submission: its client knows that it was accepted.
    pub fn forget(&mut self, id: MessageId) {
        let Some((fingerprint, _)) = self.unconfirmed.remove(&id) else { return };
        self.forgotten += 1;
        if self.firsts.get(&fingerprint) == Some(&id) {
            self.firsts.remove(&fingerprint);
        }
    }

    /// Returns how many were forgotten so far: a list that was written when there were fewer is old.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Writes all of them down: 48 octets each.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.unconfirmed.len() * WRITTEN);
        for (id, (fingerprint, at)) in &self.unconfirmed {
            bytes.extend_from_slice(&id.0.to_le_bytes());
            bytes.extend_from_slice(&at.as_microsecond().to_le_bytes());
            bytes.extend_from_slice(&fingerprint.0);
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote; what is cut off or has no meaning is left out.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut repeats = Self::default();
        for written in bytes.as_chunks::<WRITTEN>().0 {
            let mut fingerprint = Fingerprint([0; 32]);
            fingerprint.0.copy_from_slice(&written[16..]);
            if let Ok(at) = Timestamp::from_microsecond(u64_at(written, 8).cast_signed()) {
                repeats.remember(MessageId(u64_at(written, 0)), fingerprint, at);
            }
        }
        repeats
    }

    /// Returns how many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.unconfirmed.len()
    }

    /// Tells whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unconfirmed.is_empty()
    }
}

/// A clock that was set back makes nothing older than it is.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) < jiff::SignedDuration::try_from(KEPT).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(number: u64) -> Fingerprint {
        let mut octets = [0; 32];
        octets[..8].copy_from_slice(&number.to_le_bytes());
        Fingerprint(octets)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_submission_is_known_until_it_is_confirmed_or_a_day_old() {
        const DAY: i64 = 24 * 3_600;
        for (row, confirmed, asked, second, known) in [
            ("at once", None, 1, 0, true),
            ("another", None, 2, 0, false),
            ("a second before the day is over", None, 1, DAY - 1, true),
            ("a day later", None, 1, DAY, false),
            ("the clock was set back", None, 1, -DAY, true),
            ("confirmed", Some(7), 1, 0, false),
            ("another was confirmed", Some(8), 1, 0, true),
        ] {
            let mut repeats = Repeats::default();
            repeats.remember(MessageId(7), print(1), at(0));
            if let Some(id) = confirmed {
                repeats.forget(MessageId(id));
            }
            let first = repeats.first(print(asked), at(second));
            assert_eq!(first, known.then_some(MessageId(7)), "{row}");
        }
    }

    #[test]
    fn the_same_submission_after_a_day_is_a_first_one_again() {
        let mut repeats = Repeats::default();
        repeats.remember(MessageId(1), print(1), at(0));
        repeats.remember(MessageId(2), print(1), at(100_000));
        assert_eq!(repeats.first(print(1), at(100_000)), Some(MessageId(2)));
        repeats.forget(MessageId(1));
        assert_eq!(repeats.first(print(1), at(100_000)), Some(MessageId(2)));
        assert_eq!(repeats.len(), 1, "what is too old is not kept");
    }

    #[test]
    fn no_more_than_the_most_are_remembered_and_the_oldest_go_first() {
        let mut repeats = Repeats::default();
        for number in 0..=MOST as u64 {
            repeats.remember(MessageId(number), print(number), at(0));
        }
        assert_eq!((repeats.len(), repeats.firsts.len()), (MOST, MOST));
        assert_eq!(repeats.first(print(0), at(0)), None);
        assert_eq!(repeats.first(print(1), at(0)), Some(MessageId(1)));
        assert!(repeats.encode().len() <= crate::spool::record::PAYLOAD_MAX as usize);
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_list_knows_and_is_read_back(
            steps in proptest::collection::vec((0_u64..12, 0_u64..6, any::<bool>()), 0..60),
        ) {
            let mut repeats = Repeats::default();
            let mut list: Vec<(u64, u64)> = Vec::new();
            let mut next = 0;
            for (number, text, is_new) in steps {
                // As the spool does: what is known is not remembered under a second id.
                if is_new && repeats.first(print(text), at(0)).is_none() {
                    repeats.remember(MessageId(next), print(text), at(0));
                    list.push((next, text));
                    next += 1;
                } else if !is_new {
                    repeats.forget(MessageId(number));
                    list.retain(|(id, _)| *id != number);
                }
            }
            let read = Repeats::decode(&repeats.encode());
            for text in 0..6 {
                let known = list.iter().find(|(_, known)| *known == text).map(|(id, _)| MessageId(*id));
                prop_assert_eq!(repeats.first(print(text), at(0)), known);
                prop_assert_eq!(read.first(print(text), at(0)), known);
            }
            prop_assert_eq!(repeats.firsts.len(), repeats.len());
        }

        #[test]
        fn arbitrary_octets_are_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            prop_assert!(Repeats::decode(&bytes).len() <= bytes.len() / WRITTEN);
        }
    }
}
