//! When a message is to travel: not before a time (RFC 4865), by a time (RFC 2852), before others
//! (RFC 6710).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digits;

/// The longest time that a message is held: a week. EHLO says so (RFC 4865, section 4).
pub const HOLD_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The longest date and time, octets.
const DATE_MAX: usize = 35;

/// When a message may travel (RFC 4865, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// So long after its MAIL.
    For(Duration),
    /// At this instant.
    Until(Timestamp),
}

/// By when a message must arrive (RFC 2852, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds after its MAIL; with [`ByMode::Notify`] it may be past already.
    pub seconds: i64,
    /// What follows if it does not.
    pub mode: ByMode,
    /// Every hop is to report that it passed the message on.
    pub trace: bool,
}

/// What follows if a message does not arrive in time (RFC 2852, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ByMode {
    /// The sender is told, and the message goes on.
    Notify,
    /// The message is returned.
    Return,
}

/// Which mail goes first: -9 to 9, the highest first (RFC 6710, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i8", into = "i8")]
pub struct Priority(i8);

/// A number is no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a priority is within -9 to 9")]
pub struct NotAPriority;

impl TryFrom<i8> for Priority {
    type Error = NotAPriority;

    fn try_from(number: i8) -> Result<Self, NotAPriority> {
        if (-9..=9).contains(&number) { Ok(Self(number)) } else { Err(NotAPriority) }
    }
}

impl From<Priority> for i8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// Reads 1 to 9 digits: seconds, no more than [`HOLD_MAX`] (RFC 4865, section 5).
pub(super) fn hold_for(value: &str) -> Option<Hold> {
    let seconds = digits(value, 9).then(|| value.parse().ok()).flatten()?;
    let time = Duration::from_secs(seconds);
    (time <= HOLD_MAX).then_some(Hold::For(time))
}

/// Reads a date and time of RFC 3339. Whether it is too far away is for whoever knows the time.
pub(super) fn hold_until(value: &str) -> Option<Hold> {
    let written = value.len() <= DATE_MAX && value.contains('T');
    written.then(|| value.parse().ok()).flatten().map(Hold::Until)
}

/// Reads `seconds;mode`, a `T` after the mode (RFC 2852, section 4). A message that is to be
/// returned unless it arrives needs time to do so.
pub(super) fn by(value: &str) -> Option<DeliverBy> {
    let (time, mode) = value.split_once(';')?;
    let (sign, number) = match time.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, time.strip_prefix('+').unwrap_or(time)),
    };
    let seconds = digits(number, 9).then(|| number.parse::<i64>().ok()).flatten()? * sign;
    let (mode, trace) = match mode.to_ascii_uppercase().as_str() {
        "N" => (ByMode::Notify, false),
        "NT" => (ByMode::Notify, true),
        "R" => (ByMode::Return, false),
        "RT" => (ByMode::Return, true),
        _ => return None,
    };
    let in_time = mode == ByMode::Notify || seconds > 0;
    in_time.then_some(DeliverBy { seconds, mode, trace })
}

/// Reads `-9` to `9`, without sign if it is not negative and without leading zeros (RFC 6710,
/// section 3).
pub(super) fn priority(value: &str) -> Option<Priority> {
    let number = value.strip_prefix('-').unwrap_or(value);
    let written = digits(number, 1) && value != "-0";
    written.then(|| value.parse().ok()).flatten().map(Priority)
}
