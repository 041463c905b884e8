//! Failure reports: a message to the sender about recipients that were given up (RFC 3461 to 3464).
//!
//! Reports that come late ("delayed") are not written yet.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::mail::envelope::{Body, Envelope, Terms};
use crate::mail::message::MessageId;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::reply::Enhanced;

/// The most octets of the original's header section that a report gives back.
pub const HEADER_MAX: usize = 16 * 1024;

/// The longest line of a message without its CRLF, octets (RFC 5322, section 2.1.1).
const LINE_MAX: usize = 998;

/// Whose words explain an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diagnostic {
    /// A reply of the next hop, as one line of printable US-ASCII.
    Smtp(String),
    /// Our own.
    Own(String),
}

impl Diagnostic {
    /// Returns the words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Smtp(text) | Self::Own(text) => text,
        }
    }
}

/// Why a recipient was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The message was refused for good.
    Refused,
    /// It was put off until it expired.
    Expired,
}

/// A recipient that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whom the message did not reach.
    pub recipient: Address,
    /// Why, for machines; the class is 5 (RFC 3464, section 2.3.4).
    pub status: Enhanced,
    /// The name of the next hop that decided it; none if it was ourselves.
    pub remote: Option<String>,
    /// Why, for people.
    pub diagnostic: Diagnostic,
    /// Whether it was refused or took too long.
    pub cause: Cause,
}

/// Who is told of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressee {
    /// The sender of the message, or the postmaster in place of the null sender.
    Mailbox(Address),
    /// Nobody is left to be told: the message is dropped.
    Nobody,
}

/// Returns who is told of `failures` of a message with this `envelope`.
///
/// Nobody answers the null sender (RFC 5321, section 4.5.5), so the `postmaster` of the
/// configuration is told in its place; and when even he could not be reached, there the chain ends.
#[must_use]
pub fn addressee(envelope: &Envelope, failures: &[Failure], postmaster: &Address) -> Addressee {
    match envelope.sender.mailbox() {
        Some(sender) => Addressee::Mailbox(sender.clone()),
        None if failures.iter().all(|failure| failure.recipient == *postmaster) => {
            Addressee::Nobody
        }
        None => Addressee::Mailbox(postmaster.clone()),
    }
}

/// Returns the header section that a message starts with, without the empty line after it: whole
/// lines, at most [`HEADER_MAX`] octets.
#[must_use]
pub fn header_section(start: &[u8]) -> &[u8] {
    let mut end = 0;
    for line in start.split_inclusive(|byte| *byte == b'\n') {
        let is_whole = line.ends_with(b"\r\n");
        if !is_whole || line == b"\r\n" || end + line.len() > HEADER_MAX {
            break;
        }
        end += line.len();
    }
    &start[..end]
}

/// What a report tells.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// Who is told.
    pub to: &'a Address,
    /// The message that did not arrive.
    pub about: MessageId,
    /// When it became ours, UTC.
    pub arrived_at: Timestamp,
    /// When the report is written, UTC.
    pub now: Timestamp,
    /// Whom it did not reach: at least one.
    pub failures: &'a [Failure],
    /// Its header section, as from [`header_section`].
    pub header: &'a [u8],
    /// A random number: the sender of the original must not know the boundary between the parts.
    pub nonce: u64,
}

impl Report<'_> {
    /// Returns the envelope that the report travels in: from nobody, so that no report is ever
    /// answered by another (RFC 3464, section 2).
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        Envelope {
            sender: ReversePath::Null,
            recipients: vec![self.to.clone()],
            body: Body::SevenBit,
            login: None,
            tag: None,
            source: None,
            received_at: self.now,
            terms: Terms::default(),
        }
    }

    /// Returns the report: US-ASCII, every line ends in CRLF and has at most 998 octets before it.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let parts = [
            ("text/plain; charset=us-ascii", self.explanation()),
            ("message/delivery-status", self.status()),
            ("text/rfc822-headers", clean(self.header)),
        ];
        let boundary = self.boundary(&parts);
        let mut text = self.own_header(&boundary);
        for (kind, part) in &parts {
            let _ = write!(text, "--{boundary}\r\nContent-Type: {kind}\r\n\r\n{part}\r\n");
        }
        let _ = write!(text, "--{boundary}--\r\n");
        text.into_bytes()
    }

    fn own_header(&self, boundary: &str) -> String {
        let Self { hostname, to, about, nonce, .. } = self;
        let date = date(self.now);
        format!(
            "Date: {date}\r\n\
             From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n\
             To: <{to}>\r\n\
             Subject: Undelivered mail: your message did not reach everybody\r\n\
             Message-ID: <{about}.{nonce:016x}@{hostname}>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\
             \tboundary=\"{boundary}\"\r\n\
             \r\n\
             This is a report in three parts about a message that was not delivered.\r\n\
             \r\n"
        )
    }

    /// Writes the part for people.
    fn explanation(&self) -> String {
        let Self { hostname, about, .. } = self;
        let arrived = date(self.arrived_at);
        let mut text = format!(
            "This is the mail relay at {hostname}.\r\n\
             \r\n\
             Your message of {arrived}\r\n\
             could not be delivered to the recipients below. It will not be tried again\r\n\
             for them. Its number here is {about}.\r\n"
        );
        for failure in self.failures {
            let words = match (failure.cause, &failure.diagnostic) {
                (Cause::Refused, Diagnostic::Smtp(_)) => "refused by the next mail server",
                (Cause::Refused, Diagnostic::Own(_)) => "not accepted for delivery",
                (Cause::Expired, _) => "given up after many attempts; the last one ended with",
            };
            let shown = clean_line(failure.diagnostic.text());
            let _ = write!(text, "\r\n<{}>\r\n    {words}:\r\n    {shown}\r\n", failure.recipient);
        }
        text
    }

    /// Writes the part for machines (RFC 3464, section 2).
    fn status(&self) -> String {
        let mut text = format!(
            "Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n",
            self.hostname,
            date(self.arrived_at)
        );
        for failure in self.failures {
            let Enhanced(class, subject, detail) = failure.status;
            let _ = write!(
                text,
                "\r\nFinal-Recipient: rfc822; {}\r\nAction: failed\r\n\
                 Status: {class}.{subject}.{detail}\r\n",
                failure.recipient
            );
            if let Some(remote) = &failure.remote {
                let _ = write!(text, "Remote-MTA: dns; {}\r\n", clean_line(remote));
            }
            let (kind, words) = match &failure.diagnostic {
                Diagnostic::Smtp(words) => ("smtp", words),
                Diagnostic::Own(words) => ("x-sallyport", words),
            };
            let _ = write!(text, "Diagnostic-Code: {kind}; {}\r\n", clean_line(words));
            let _ = write!(text, "Last-Attempt-Date: {}\r\n", date(self.now));
            let _ = write!(text, "Final-Log-ID: {}\r\n", self.about);
        }
        text
    }

    /// Finds a boundary that no part holds. The search ends: every candidate that is taken needs
    /// octets of its own in the parts.
    fn boundary(&self, parts: &[(&str, String)]) -> String {
        let candidates = (0u32..).map(|n| format!("=_{}.{:016x}.{n}", self.about, self.nonce));
        let is_free = |boundary: &String| parts.iter().all(|(_, part)| !part.contains(boundary));
        candidates.into_iter().find(is_free).expect("invariant: the parts are finite")
    }
}

/// Returns `time` as RFC 5322, section 3.3, writes it, in UTC.
fn date(time: Timestamp) -> String {
    let zoned = time.to_zoned(TimeZone::UTC);
    // Only years outside 0 to 9999 cannot be written, and no clock of ours shows them.
    jiff::fmt::rfc2822::to_string(&zoned).unwrap_or_else(|_| time.to_string())
}

/// Makes foreign lines fit for a 7-bit message: what is not printable US-ASCII becomes `?`, lines
/// are cut at 998 octets.
fn clean(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for line in octets.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        text.extend(line.iter().take(LINE_MAX).map(|byte| match byte {
            b'\t' | b' '..=b'~' => char::from(*byte),
            _ => '?',
        }));
        text.push_str("\r\n");
    }
    text
}

/// Makes foreign words fit for one line: as [`clean`], and at most 900 octets.
fn clean_line(words: &str) -> String {
    let shown = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    words.chars().take(900).map(shown).collect()
}

#[cfg(test)]
mod tests;
