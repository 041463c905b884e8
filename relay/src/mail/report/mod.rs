//! Reports to the sender of a message: it failed, it is late, it was passed on (RFC 3461 to 3464,
//! 6522, 6533).
//!
//! ```text
//! notice    what there is to tell of one recipient
//! wishes    whether the sender wants to hear of it
//! original  what goes back of the message
//! words     the part for people
//! fields    the part for machines
//! mime      the parts in one message
//! ```
//!
//! Not here: when mail is late (`policy::retry`) and what became of it (`delivery::settlement`).

mod fields;
mod mime;
mod notice;
mod original;
mod wishes;
mod words;

use jiff::Timestamp;

use super::envelope::{Body, Envelope, Terms};
use super::header::date;
use super::message::MessageId;
use crate::smtp::address::{Address, Charset, ReversePath};
use crate::smtp::parameter::Utf8;

pub use notice::{Diagnostic, Kind, News, Notice};
pub use original::{Extent, FULL_MAX, HEADER_MAX, Original, extent};
pub use wishes::{Occasion, is_wanted};

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressee {
    /// The sender of the message, or the postmaster in place of the null sender.
    Mailbox(Address),
    /// Nobody is left to be told: the message is dropped.
    Nobody,
}

/// Returns who is told of `notices` about a message with this `envelope`.
///
/// Nobody answers the null sender (RFC 5321, section 4.5.5), so the `postmaster` of the
/// configuration is told in its place; and when even he could not be reached, there the chain ends.
#[must_use]
pub fn addressee(envelope: &Envelope, notices: &[Notice], postmaster: &Address) -> Addressee {
    match envelope.sender.mailbox() {
        Some(sender) => Addressee::Mailbox(sender.clone()),
        None if notices.iter().all(|notice| notice.recipient == *postmaster) => Addressee::Nobody,
        None => Addressee::Mailbox(postmaster.clone()),
    }
}

/// What a report tells.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// Who is told.
    pub to: &'a Address,
    /// The message that it is about.
    pub about: MessageId,
    /// Its envelope, with what its sender asked for.
    pub envelope: &'a Envelope,
    /// When it became ours, UTC.
    pub arrived_at: Timestamp,
    /// When the report is written, UTC.
    pub now: Timestamp,
    /// What is told of all its recipients.
    pub kind: Kind,
    /// The recipients: at least one.
    pub notices: &'a [Notice],
    /// What goes back of the message.
    pub original: &'a Original,
    /// A random number: the sender of the original must not know the boundary between the parts.
    pub nonce: u64,
}

impl Report<'_> {
    /// Returns the envelope that the report travels in: from nobody, so that no report is ever
    /// answered by another (RFC 3464, section 2). A report about mail that needed TLS on every hop
    /// needs it too, since it holds that mail's header (RFC 8689, section 5).
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        let utf8 = match self.to.charset() {
            Charset::Utf8 => Some(Utf8),
            Charset::Ascii => None,
        };
        let body = match (utf8, self.original) {
            (Some(Utf8), _) | (None, Original::EightBit(_)) => Body::EightBit,
            (
                None,
                Original::Headers(_)
                | Original::GlobalHeaders(_)
                | Original::SevenBit(_)
                | Original::Global(_),
            ) => Body::SevenBit,
        };
        let require_tls = self.envelope.terms.require_tls;
        Envelope {
            sender: ReversePath::Null,
            recipients: vec![self.to.clone()],
            body,
            login: None,
            tag: None,
            source: None,
            received_at: self.now,
            terms: Terms { utf8, require_tls, ..Terms::default() },
            came: None,
            trace: None,
        }
    }

    /// Returns the report: every line ends in CRLF and has at most 998 octets before it. US-ASCII,
    /// but for a UTF-8 address in To, and for the whole original where that has 8-bit octets.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let parts = [words::part(self), fields::part(self), self.original.part()];
        let boundary = self.boundary(&parts);
        let mut text = self.own_header(&boundary).into_bytes();
        mime::write(&mut text, &boundary, &parts);
        text
    }

    fn own_header(&self, boundary: &str) -> String {
        let Self { hostname, to, about, nonce, .. } = self;
        let (date, subject) = (date(self.now), words::subject(self.kind));
        format!(
            "Date: {date}\r\n\
             From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n\
             To: <{to}>\r\n\
             Subject: {subject}\r\n\
             Message-ID: <{about}.{nonce:016x}@{hostname}>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\
             \tboundary=\"{boundary}\"\r\n\
             {}\r\n\
             This is a report in three parts about a message of yours.\r\n\
             \r\n",
            match self.envelope().body {
                Body::SevenBit => "",
                Body::EightBit | Body::Binary => "Content-Transfer-Encoding: 8bit\r\n",
            }
        )
    }

    /// Finds a boundary that no part holds. The search ends: every candidate that is taken needs
    /// octets of its own in the parts.
    fn boundary(&self, parts: &[mime::Part]) -> String {
        let candidates = (0u32..).map(|n| format!("=_{}.{:016x}.{n}", self.about, self.nonce));
        let is_free = |boundary: &String| parts.iter().all(|part| !part.holds(boundary));
        candidates.into_iter().find(is_free).expect("invariant: the parts are finite")
    }
}

/// Makes foreign words fit for one line: what is not printable US-ASCII becomes `?`, and at most
/// 900 octets are kept.
fn clean_line(words: &str) -> String {
    let shown = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    words.chars().take(900).map(shown).collect()
}

#[cfg(test)]
mod tests;
