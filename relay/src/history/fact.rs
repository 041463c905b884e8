//! What can happen to a message, as it is written down.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::mail::came::Came;
use crate::mail::context::TraceContext;
use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;
use crate::mail::outcome::{Fate, Outcome};
use crate::smtp::address::Address;

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The message; none: the line is about the history itself.
    pub id: Option<MessageId>,
    /// When it was entered, UTC.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

/// Something that happened to a message. Its name and its fields stand in the line beside id and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[expect(missing_docs, reason = "the sentence of a variant speaks of its fields")]
pub enum Fact {
    /// A client's message is on disk; the 250 follows. `size_bytes` counts what is there: the body with our Received
    /// field, as the queue has it. How it came stands beside the envelope and not in it.
    Received { came: Came, envelope: Box<Envelope>, size_bytes: u64 },
    /// The relay wrote this message itself: a report about another.
    Report { about: MessageId },
    /// A report about this message went into the spool.
    Reported { report: MessageId },
    /// A next hop was spoken to, from `began_at` on; `tls` is version and cipher suite, none in the clear.
    Carried { route: String, next_hop: String, tls: Option<String>, began_at: Timestamp },
    /// An attempt ended that took the message up at `began_at`; `number` counts from 1. One that is not `counted` (its
    /// message was only captured, a hop asked for less, or refused our login) is none in the queue either: the next
    /// has the same number. `open` recipients are left; `trace` is the one that the message belongs to.
    Attempted {
        number: u32,
        #[serde(default = "yes", skip_serializing_if = "is_so")]
        counted: bool,
        began_at: Timestamp,
        results: Vec<Told>,
        open: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<TraceContext>,
    },
    /// An operator did something to the message.
    Operated { act: Act, uid: u32 },
    /// It is held, without an operator, until one releases it.
    SetAside { why: String },
    /// An operator looked at the text of the message.
    Read { uid: u32 },
    /// Somebody looked at the text of the message on the status page; no `login` where it asks for none.
    Viewed { login: Option<String>, source: IpAddr },
    /// It was captured and is dropped.
    CaptureEnded { why: Ended },
    /// So many lines before this one found no room.
    Missed { lines: u64 },
}

/// Earlier versions did not say which attempts count: most do.
const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
const fn is_so(value: &bool) -> bool {
    *value
}

/// What an operator does to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// It is tried again now.
    Retry,
    /// It is not tried until it is released.
    Hold,
    /// It goes on as if it had not been held.
    Release,
    /// It is removed for good, without a report to anybody.
    Drop,
}

impl Act {
    /// Returns what has become of a message that it was done to, for people.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::Retry => "due now",
            Self::Hold => "held",
            Self::Release => "released",
            Self::Drop => "dropped",
        }
    }
}

/// Why a captured message is kept no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Its time was over.
    Time,
    /// It was the oldest, and all that is captured took more than its size.
    Size,
    /// It was the oldest, and too many messages were captured.
    Number,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Time, Self::Size, Self::Number];

    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Size => "size",
            Self::Number => "number",
        }
    }
}

/// What became of recipients in an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// The name of the route; empty if there was none.
    pub route: String,
    /// The next hop's name and port; empty if none was reached.
    pub next_hop: String,
    /// What became of them.
    pub became: Became,
    /// How long those wait that are tried again, milliseconds.
    pub retry_in_ms: Option<u64>,
    /// The reply that decided it, or our own words.
    pub reply: String,
    /// Whom it is about, in the order of the envelope.
    pub recipients: Vec<Address>,
}

/// What becomes of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// The next hop took responsibility.
    Delivered,
    /// Another attempt will be made.
    Deferred,
    /// Given up.
    Failed,
    /// Kept instead of sent.
    Captured,
}

/// Returns what became of the recipients in `results`, each with the name of its route; those with the same
/// fate and reply are told together.
#[must_use]
pub fn told<'a>(results: impl Iterator<Item = (&'a str, &'a Outcome)>) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    for (route, Outcome { recipient, fate, next_hop, reply }) in results {
        let (became, retry_in_ms) = match fate {
            Fate::Delivered => (Became::Delivered, None),
            Fate::Deferred(wait) | Fate::Postponed(wait) | Fate::Paused(wait) => {
                (Became::Deferred, Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
            }
            Fate::Failed => (Became::Failed, None),
            Fate::Captured => (Became::Captured, None),
        };
        let is_same = |last: &&mut Told| {
            (last.route.as_str(), &last.next_hop, last.became) == (route, next_hop, became)
                && (last.retry_in_ms, &last.reply) == (retry_in_ms, reply)
        };
        if let Some(last) = all.last_mut().filter(is_same) {
            last.recipients.push(recipient.clone());
            continue;
        }
        let (route, next_hop, reply) = (route.to_owned(), next_hop.clone(), reply.clone());
        let recipients = vec![recipient.clone()];
        all.push(Told { route, next_hop, became, retry_in_ms, reply, recipients });
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(recipient: &str, fate: Fate, reply: &str) -> Outcome {
        let recipient = format!("{recipient}@example.com").parse().unwrap();
        Outcome { recipient, fate, next_hop: "mx:25".into(), reply: reply.into() }
    }

    #[test]
    fn recipients_with_one_fate_and_reply_are_told_together() {
        let wait = Fate::Deferred(Duration::from_secs(60));
        let outcomes = [
            outcome("a", Fate::Delivered, "250 ok"),
            outcome("b", Fate::Delivered, "250 ok"),
            outcome("c", Fate::Delivered, "250 OK"),
            outcome("d", wait, "450 later"),
            outcome("e", Fate::Failed, "550 no"),
        ];
        let told = told(outcomes.iter().map(|outcome| ("smarthost", outcome)));
        let shown: Vec<_> = told
            .iter()
            .map(|told| (told.became, told.recipients.len(), told.retry_in_ms))
            .collect();
        assert_eq!(
            shown,
            [
                (Became::Delivered, 2, None),
                (Became::Delivered, 1, None),
                (Became::Deferred, 1, Some(60_000)),
                (Became::Failed, 1, None),
            ]
        );
    }

    #[test]
    fn a_line_begins_with_its_id_and_is_read_back() {
        let fact = Fact::Operated { act: Act::Drop, uid: 0 };
        let line = Line { id: Some(MessageId(1)), at: Timestamp::UNIX_EPOCH, fact };
        let written = serde_json::to_string(&line).unwrap();
        assert_eq!(
            written,
            "{\"id\":\"0000000000001\",\"at\":\"1970-01-01T00:00:00Z\",\"fact\":\"operated\",\
             \"act\":\"drop\",\"uid\":0}"
        );
        assert_eq!(serde_json::from_str::<Line>(&written).unwrap(), line);
    }
}
