//! What the tests of this room put into the spool.

use jiff::Timestamp;

use crate::mail::envelope::{Body, Envelope, Terms};
use crate::smtp::address::ReversePath;

/// An envelope of a client's message from `local`@example.com to one recipient.
pub fn envelope(local: &str) -> Envelope {
    let sender = format!("{local}@example.com").parse().unwrap();
    Envelope {
        sender: ReversePath::Mailbox(sender),
        recipients: vec!["b@example.net".parse().unwrap()],
        body: Body::SevenBit,
        login: Some("app".to_owned()),
        tag: None,
        source: Some("192.0.2.1".parse().unwrap()),
        received_at: Timestamp::UNIX_EPOCH,
        terms: Terms::default(),
        came: None,
        trace: None,
    }
}
