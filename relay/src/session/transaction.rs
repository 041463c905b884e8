//! One transaction: a sender, recipients, and what was promised about the body.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::mail::envelope::{Body, Deadline, Envelope, Terms, Wish};
use crate::mail::fingerprint::Arguments;
use crate::smtp::address::{Address, Charset, ReversePath};
use crate::smtp::parameter::{HOLD_MAX, Hold, MailParameters, RcptParameters};

/// What MAIL and RCPT have said so far.
#[derive(Debug)]
pub(super) struct Transaction {
    sender: ReversePath,
    body: Body,
    recipients: Vec<Address>,
    terms: Terms,
    arguments: Arguments,
}

/// The message would be held for longer than a message is held here: 501 5.5.4 (RFC 4865,
/// section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldTooLong;

/// Whom a transaction belongs to.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) login: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) source: IpAddr,
    pub(super) at: Timestamp,
}

impl Transaction {
    /// Begins a transaction at the wall clock's `now`, with what the `argument` of MAIL says.
    pub(super) fn new(
        sender: ReversePath,
        parameters: MailParameters,
        argument: &[u8],
        now: Timestamp,
    ) -> Result<Self, HeldTooLong> {
        let longest = now.saturating_add(HOLD_MAX).unwrap_or(Timestamp::MAX);
        let hold_until = match parameters.hold {
            None => None,
            Some(Hold::Until(at)) if at > longest => return Err(HeldTooLong),
            Some(Hold::Until(at)) => Some(at),
            Some(Hold::For(time)) => Some(now.saturating_add(time).unwrap_or(longest)),
        };
        let deadline = parameters.by.map(|by| {
            let after = jiff::SignedDuration::from_secs(by.seconds);
            let at = now.saturating_add(after).unwrap_or(now);
            Deadline { at, mode: by.mode, trace: by.trace }
        });
        let terms = Terms {
            utf8: parameters.utf8,
            require_tls: parameters.require_tls,
            report: parameters.report,
            envelope_id: parameters.envelope_id,
            hold_until,
            deadline,
            priority: parameters.priority,
            wishes: Vec::new(),
        };
        let body = parameters.body.unwrap_or_default();
        let arguments = Arguments::of_mail(argument);
        Ok(Self { sender, body, recipients: Vec::new(), terms, arguments })
    }

    /// Returns what the body was declared to be.
    pub(super) const fn body(&self) -> Body {
        self.body
    }

    /// Returns what addresses may be written in.
    pub(super) const fn charset(&self) -> Charset {
        self.terms.charset()
    }

    /// Tells whether another recipient can be taken.
    pub(super) fn has_room_for(&self, recipient: &Address, limit: usize) -> bool {
        self.recipients.len() < limit || self.recipients.contains(recipient)
    }

    /// Adds a recipient; one that is there already is not added twice, and keeps the wishes that
    /// it came with first. `argument` is that of RCPT.
    pub(super) fn add(&mut self, recipient: Address, parameters: RcptParameters, argument: &[u8]) {
        if self.recipients.contains(&recipient) {
            return;
        }
        if !parameters.is_empty() {
            let RcptParameters { notify, original } = parameters;
            self.terms.wishes.push(Wish { recipient: recipient.clone(), notify, original });
        }
        self.recipients.push(recipient);
        self.arguments.add(argument);
    }

    /// Returns the envelope, and what MAIL and RCPT said octet by octet.
    pub(super) fn into_envelope(self, origin: Origin) -> (Envelope, Arguments) {
        let envelope = Envelope {
            sender: self.sender,
            recipients: self.recipients,
            body: self.body,
            login: origin.login,
            tag: origin.tag,
            source: Some(origin.source),
            received_at: origin.at,
            terms: self.terms,
            came: None,
            trace: None,
        };
        (envelope, self.arguments)
    }
}
