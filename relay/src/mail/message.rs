//! The name of a message in this relay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The digits of an id: Crockford's base 32, which has no I, L, O or U, so that an id survives
/// being read aloud.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The length of every written id: 13 digits of 5 bits hold 64 bits.
const LENGTH: usize = 13;

/// The id of one message, unique in one spool for ever, larger for later messages.
///
/// It is written as 13 characters of Crockford's base 32 and read without regard to case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..LENGTH).rev() {
            let digit = (self.0 >> (place * 5)) & 31;
            write!(f, "{}", char::from(DIGITS[usize::from(digit as u8)]))?;
        }
        Ok(())
    }
}

/// A text is not a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message id: 13 letters and digits are expected, as `queue list` shows them")]
pub struct NotAnId;

impl FromStr for MessageId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != LENGTH {
            return Err(NotAnId);
        }
        let mut id: u64 = 0;
        for byte in text.bytes() {
            let upper = byte.to_ascii_uppercase();
            let digit = DIGITS.iter().position(|d| *d == upper).ok_or(NotAnId)? as u64;
            // 13 digits hold 65 bits: a first digit above 15 would lose one.
            id = id.checked_mul(32).and_then(|id| id.checked_add(digit)).ok_or(NotAnId)?;
        }
        Ok(Self(id))
    }
}

impl Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_read_back_as_written_in_either_case() {
        for id in [0, 1, 31, 32, 0x0123_4567_89ab_cdef, u64::MAX] {
            let written = MessageId(id).to_string();
            assert_eq!(written.len(), LENGTH);
            assert_eq!(written.parse(), Ok(MessageId(id)));
            assert_eq!(written.to_lowercase().parse(), Ok(MessageId(id)));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "0", "000000000000U", "GZZZZZZZZZZZZ", "00000000000000", "ééééééé"]
        {
            assert_eq!(text.parse::<MessageId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn later_ids_sort_later_as_text() {
        assert!(MessageId(255).to_string() < MessageId(256).to_string());
    }
}
