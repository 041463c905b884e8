//! One transaction: a sender, recipients, and what was promised about the body.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::mail::envelope::{Body, Envelope};
use crate::smtp::address::{Address, ReversePath};

/// What MAIL and RCPT have said so far.
#[derive(Debug)]
pub(super) struct Transaction {
    sender: ReversePath,
    body: Body,
    recipients: Vec<Address>,
}

/// Whom a transaction belongs to.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) login: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) source: IpAddr,
    pub(super) at: Timestamp,
}

impl Transaction {
    pub(super) const fn new(sender: ReversePath, body: Body) -> Self {
        Self { sender, body, recipients: Vec::new() }
    }

    /// Tells whether another recipient can be taken.
    pub(super) fn has_room_for(&self, recipient: &Address, limit: usize) -> bool {
        self.recipients.len() < limit || self.recipients.contains(recipient)
    }

    /// Adds a recipient; one that is there already is not added twice.
    pub(super) fn add(&mut self, recipient: Address) {
        if !self.recipients.contains(&recipient) {
            self.recipients.push(recipient);
        }
    }

    pub(super) fn into_envelope(self, origin: Origin) -> Envelope {
        Envelope {
            sender: self.sender,
            recipients: self.recipients,
            body: self.body,
            login: origin.login,
            tag: origin.tag,
            source: Some(origin.source),
            received_at: origin.at,
        }
    }
}
