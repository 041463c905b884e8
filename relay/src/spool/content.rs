//! What the payloads of records hold: an envelope before the end of a body; what became of each
//! recipient. JSON inside, so that fields can be added and a person can read them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::mail::envelope::Envelope;
use crate::mail::fingerprint::Fingerprint;
use crate::mail::outcome::{Fate, Outcome};
use crate::mail::report::Notice;
use crate::smtp::address::Address;
use crate::spool::StoreError;
use crate::spool::record::{PAYLOAD_MAX, u32_at};

/// The longest envelope, octets of JSON.
pub const ENVELOPE_MAX: usize = 1 << 20;
/// The longest reply and name of a next hop that are kept for a recipient, octets.
const REPLY_MAX: usize = 512;

/// Whether a recipient is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Another attempt will be made.
    Pending,
    /// A next hop took responsibility.
    Delivered,
    /// Given up.
    Failed,
    /// Kept instead of sent.
    Captured,
}

/// What was last heard about a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReply {
    /// When, UTC.
    pub at: Timestamp,
    /// The next hop's name and port, empty if none was reached.
    pub next_hop: String,
    /// The reply, or our own words.
    pub reply: String,
}

/// How far a message got with one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether the recipient is still open.
    pub standing: Standing,
    /// What was last heard; none before the first attempt.
    pub last: Option<LastReply>,
    /// When the sender was last told that the recipient waits, UTC; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Timestamp>,
    /// What the sender is still to be told of a recipient that was delivered, since the report could
    /// not be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<Notice>,
}

impl Progress {
    /// Returns where all recipients of `envelope` stand before the first attempt.
    pub fn start(envelope: &Envelope) -> Vec<Self> {
        vec![
            Self { standing: Standing::Pending, last: None, told: None, owed: None };
            envelope.recipients.len()
        ]
    }
}

/// Enters `outcomes` of an attempt that ended at `now`. Outcomes of strangers are ignored, and
/// whoever is no longer open stays as he is.
pub fn enter(
    progress: &mut [Progress],
    recipients: &[Address],
    outcomes: &[Outcome],
    now: Timestamp,
) {
    for (recipient, progress) in recipients.iter().zip(progress) {
        let found = outcomes.iter().find(|outcome| outcome.recipient == *recipient);
        let Some(outcome) = found.filter(|_| progress.standing == Standing::Pending) else {
            continue;
        };
        progress.standing = match outcome.fate {
            Fate::Delivered => Standing::Delivered,
            Fate::Deferred(_) | Fate::Postponed(_) | Fate::Paused(_) => Standing::Pending,
            Fate::Failed => Standing::Failed,
            Fate::Captured => Standing::Captured,
        };
        let (next_hop, reply) = (clip(&outcome.next_hop), clip(&outcome.reply));
        progress.last = Some(LastReply { at: now, next_hop, reply });
    }
}

/// Returns the first [`REPLY_MAX`] octets of `text`, whole characters.
fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(REPLY_MAX)].to_owned()
}

/// Writes where the recipients stand; what was heard is left out if it does not fit.
pub fn encode_progress(progress: &[Progress]) -> Result<Vec<u8>, StoreError> {
    let encode = |progress: &[Progress]| {
        serde_json::to_vec(progress).map_err(|problem| StoreError::Failed(problem.to_string()))
    };
    let bytes = encode(progress)?;
    if bytes.len() <= PAYLOAD_MAX as usize {
        return Ok(bytes);
    }
    let silent: Vec<_> =
        progress.iter().map(|progress| Progress { last: None, ..progress.clone() }).collect();
    encode(&silent)
}

/// Reads what [`encode_progress`] wrote for this `envelope`.
pub fn decode_progress(bytes: &[u8], envelope: &Envelope) -> Result<Vec<Progress>, StoreError> {
    let progress: Vec<Progress> = serde_json::from_slice(bytes)
        .map_err(|problem| StoreError::Damaged(format!("the state: {problem}")))?;
    if progress.len() != envelope.recipients.len() {
        return Err(StoreError::Damaged("the state is about other recipients".to_owned()));
    }
    Ok(progress)
}

/// Writes the envelope with the room for a body of `body` octets behind it.
///
/// # Errors
///
/// [`StoreError::TooLarge`] beyond [`ENVELOPE_MAX`].
pub fn encode_envelope(envelope: &Envelope) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, envelope)
        .map_err(|problem| StoreError::Failed(problem.to_string()))?;
    let length = bytes.len() - 4;
    if length > ENVELOPE_MAX {
        return Err(StoreError::TooLarge);
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// What comes before the fingerprint in the envelope of a submission: its first member.
const SIGNED: &[u8] = b"{\"fingerprint\":\"";
/// Stands there in copies, which are no submissions.
const NONE: [u8; Fingerprint::WRITTEN] = [b'-'; Fingerprint::WRITTEN];
/// How many octets of a payload hold the fingerprint, if there is one.
pub const SIGNATURE: usize = 4 + SIGNED.len() + Fingerprint::WRITTEN;

/// Puts the fingerprint into the payload of a message record, as the first member of its envelope.
pub fn sign(payload: &mut Vec<u8>, fingerprint: Fingerprint) {
    // Every envelope has members behind it.
    let signature = [SIGNED, fingerprint.to_string().as_bytes(), b"\","].concat();
    let length = u32_at(payload, 0) as usize - 1 + signature.len();
    payload[..4].copy_from_slice(&(length as u32).to_le_bytes());
    drop(payload.splice(4..5, signature));
}

/// Reads the fingerprint out of the first [`SIGNATURE`] octets of a payload; none if it has none.
pub fn signature(payload: &[u8]) -> Option<Fingerprint> {
    let signed = payload.get(4..SIGNATURE)?.strip_prefix(SIGNED)?;
    Fingerprint::read(signed).ok()
}

/// Takes the fingerprint out of the payload of a message record, whose length stays; returns whether
/// there was one.
pub fn blank(payload: &mut [u8]) -> bool {
    let is_signed = signature(payload).is_some();
    if is_signed {
        payload[4 + SIGNED.len()..SIGNATURE].copy_from_slice(&NONE);
    }
    is_signed
}

/// Reads the payload of a message record: the envelope, and where the end of the body begins.
pub fn decode_message(payload: &[u8]) -> Result<(Envelope, usize), StoreError> {
    let damaged = |problem: String| StoreError::Damaged(format!("the envelope: {problem}"));
    if payload.len() < 4 {
        return Err(damaged("cut off".to_owned()));
    }
    let body = 4 + u32_at(payload, 0) as usize;
    let envelope = payload.get(4..body).ok_or_else(|| damaged("cut off".to_owned()))?;
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|problem| damaged(problem.to_string()))?;
    Ok((envelope, body))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::RECIPIENTS_MAX;
    use crate::smtp::address::{PATH_MAX, ReversePath};
    use crate::spool::samples::envelope;

    proptest! {
        #[test]
        fn arbitrary_octets_are_no_message_and_no_panic(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(matches!(decode_message(&payload), Err(StoreError::Damaged(_))));
            prop_assert!(decode_progress(&payload, &envelope("a")).is_err());
        }
    }

    #[test]
    fn an_envelope_is_read_back_and_the_body_begins_behind_it() {
        let mut payload = encode_envelope(&envelope("a")).unwrap();
        payload.extend_from_slice(b"body");
        let (read, body) = decode_message(&payload).unwrap();
        assert_eq!(read, envelope("a"));
        assert_eq!(&payload[body..], b"body");
    }

    #[test]
    fn a_fingerprint_stands_in_the_envelope_and_is_taken_out_again() {
        let fingerprint = Fingerprint([0xa5; 32]);
        let mut payload = encode_envelope(&envelope("a")).unwrap();
        payload.extend_from_slice(b"body");
        assert_eq!(signature(&payload), None);
        assert!(!blank(&mut payload));
        sign(&mut payload, fingerprint);
        assert_eq!(signature(&payload[..SIGNATURE]), Some(fingerprint));
        let check = |payload: &[u8]| {
            let (read, body) = decode_message(payload).unwrap();
            assert_eq!((read, &payload[body..]), (envelope("a"), &b"body"[..]));
        };
        check(&payload);
        assert!(blank(&mut payload));
        check(&payload);
        assert_eq!(signature(&payload), None);
        assert!(!blank(&mut payload));
    }

    #[test]
    fn an_envelope_of_the_most_and_longest_recipients_fits() {
        let mut message = envelope("a");
        let domain = ["x".repeat(63), "y".repeat(63), "z".repeat(61)].join(".");
        let quoted = format!("\"{}\"", "\\\"".repeat(31));
        let longest = |place: usize| format!("{quoted}@{place:04}{}", &domain[4..]);
        let longest: Vec<Address> =
            (0..RECIPIENTS_MAX as usize).map(|place| longest(place).parse().unwrap()).collect();
        assert_eq!(longest[0].as_str().len() + 2, PATH_MAX);
        message.sender = ReversePath::Mailbox(longest[0].clone());
        message.recipients = longest;
        assert!(encode_envelope(&message).is_ok());
    }

    #[test]
    fn a_state_from_before_the_sender_could_be_told_is_read_as_untold() {
        let old = br#"[{"standing":"pending","last":null}]"#;
        assert_eq!(decode_progress(old, &envelope("a")).unwrap(), Progress::start(&envelope("a")));
        let told = Some(Timestamp::UNIX_EPOCH);
        let state = [Progress { standing: Standing::Pending, last: None, told, owed: None }];
        let written = encode_progress(&state).unwrap();
        assert_eq!(decode_progress(&written, &envelope("a")).unwrap(), state);
    }

    #[test]
    fn outcomes_change_open_recipients_only() {
        let recipients: Vec<Address> =
            ["a@example.net", "b@example.net", "c@example.net"].map(|a| a.parse().unwrap()).into();
        let mut message = envelope("a");
        message.recipients.clone_from(&recipients);
        let outcome = |recipient: &str, fate| Outcome {
            recipient: recipient.parse().unwrap(),
            fate,
            next_hop: "mx.example.com:25".to_owned(),
            reply: "ü".repeat(400),
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut progress = Progress::start(&message);
        let first = [
            outcome("a@example.net", Fate::Failed),
            outcome("b@example.net", Fate::Deferred(Duration::from_secs(60))),
            outcome("z@example.net", Fate::Failed),
        ];
        enter(&mut progress, &recipients, &first, now);
        enter(&mut progress, &recipients, &[outcome("a@example.net", Fate::Delivered)], now);
        let standings: Vec<_> = progress.iter().map(|p| p.standing).collect();
        assert_eq!(standings, [Standing::Failed, Standing::Pending, Standing::Pending]);
        assert_eq!(progress[0].last.as_ref().unwrap().reply.len(), REPLY_MAX);
        assert_eq!(progress[2].last, None);
        let bytes = encode_progress(&progress).unwrap();
        assert_eq!(decode_progress(&bytes, &message).unwrap(), progress);
        assert!(decode_progress(&bytes, &envelope("a")).is_err());
    }
}
