//! What reading a log brings to light.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::mail::message::MessageId;
use crate::spool::index::Index;
use crate::spool::repeats::Repeats;
use crate::spool::segment::SegmentId;

/// What was found.
#[derive(Debug)]
pub struct Recovered {
    /// All messages and segments.
    pub index: Index,
    /// Submissions whose clients may not know that they were accepted.
    pub repeats: Repeats,
    /// The number of the next segment.
    pub next_segment: SegmentId,
    /// The segment written to last, and up to where it is sound.
    pub before: (SegmentId, u32),
    /// The highest id known.
    pub last_id: u64,
    /// What there is to say about damage and failures.
    pub events: Vec<Event>,
    /// What failed its check: at most 64 are named.
    pub faults: Vec<Fault>,
    /// How many faults there were beyond these.
    pub unnamed: usize,
    /// What lies in each segment.
    pub sums: BTreeMap<SegmentId, Sums>,
}

/// How closely the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// What is known to have been flushed is checked when it is used.
    Start,
    /// Every record is checked.
    All,
}

/// Something that failed its check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The file, or the message of which something is missing.
    pub place: String,
    /// What is wrong, and where.
    pub problem: String,
    /// The message, if one is known.
    pub message: Option<MessageId>,
}

/// What lies in a segment, octets behind its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Sound copies of its head, of two.
    pub heads: u8,
    /// Sound records.
    pub records: u64,
    /// Stretches that are none, and were flushed.
    pub damaged: u64,
    /// Of these, records of messages that are set aside.
    pub lost: u64,
}
