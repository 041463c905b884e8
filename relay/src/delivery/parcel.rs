//! What is to be carried along one route.

use crate::mail::envelope::{Body, Envelope, Terms, Wish};
use crate::smtp::address::{Address, Charset, ReversePath};

/// What is to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// MAIL FROM.
    pub sender: ReversePath,
    /// RCPT TO: at least one, at most [`super::sorting::RECIPIENTS_MAX`].
    pub recipients: Vec<Address>,
    /// The kind of body.
    pub body: Body,
    /// Its length before dot-stuffing (RFC 1870, section 6.1).
    pub size_bytes: u64,
    /// What the client asked for besides.
    pub terms: Terms,
}

impl Parcel {
    /// Returns the message of `envelope`, which has `size_bytes`, for some of its recipients.
    #[must_use]
    pub fn new(envelope: &Envelope, recipients: Vec<Address>, size_bytes: u64) -> Self {
        let Envelope { sender, body, terms, .. } = envelope.clone();
        Self { sender, recipients, body, size_bytes, terms }
    }

    /// Returns what was asked for `recipient`.
    #[must_use]
    pub fn wish(&self, recipient: &Address) -> Option<&Wish> {
        self.terms.wishes.iter().find(|wish| wish.recipient == *recipient)
    }

    /// Takes off the recipients after the first `room`, which go in another transaction.
    #[must_use]
    pub fn split_off(&mut self, room: usize) -> Option<Self> {
        let rest = self.recipients.split_off(room.max(1).min(self.recipients.len()));
        (!rest.is_empty()).then(|| Self { recipients: rest, ..self.clone() })
    }

    /// Tells whether the sender is written in UTF-8.
    pub(super) fn has_foreign_sender(&self) -> bool {
        self.sender.mailbox().is_some_and(|sender| sender.charset() == Charset::Utf8)
    }
}
