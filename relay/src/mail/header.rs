//! The header section of a message on its way in (RFC 5322, section 2.2; RFC 6409, section 8).
//!
//! Pure: octets and limits in, octets and facts out. It adds what a submission must have, takes
//! away what must not travel, and counts what shows a loop. Who may stand in From is for `policy`
//! to say.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_parser::MessageParser;

use super::context::TraceContext;
use super::message::MessageId;
use crate::smtp::address::{Address, Charset};

/// What a header section may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Octets in all, line ends included.
    pub size_bytes: usize,
    /// Fields.
    pub fields: usize,
    /// Received fields (RFC 5321, section 6.3).
    pub received: usize,
}

/// Why a message is refused for its header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// More octets than the limit: 552 5.3.4.
    #[error("the header section is too large")]
    TooLarge,
    /// More fields than the limit: 554 5.6.0.
    #[error("the header section has too many fields")]
    TooManyFields,
    /// As many Received fields as only a loop makes: 554 5.4.6.
    #[error("the message has been received too often: a mail loop")]
    Loop,
    /// A line is neither a field nor the continuation of one: 550 5.6.0.
    #[error("the header section holds a line that is no field")]
    Malformed,
    /// There is no From, or more than one, or it names no address: 550 5.6.0.
    #[error("exactly one From field with an address is needed")]
    From,
    /// There is more than one Sender, or it does not name exactly one address: 550 5.6.0.
    #[error("at most one Sender field with one address may be given")]
    Sender,
}

/// Collects the header section out of a body that comes in pieces. Holds at most its limit.
#[derive(Debug)]
pub struct HeaderCollector {
    octets: Vec<u8>,
    limits: HeaderLimits,
}

/// What a piece of the body did to the header section.
#[derive(Debug, PartialEq, Eq)]
pub enum Collected {
    /// It goes on.
    More,
    /// It has ended; the body is what follows in the piece from this place on. The empty line
    /// between them is taken and belongs to neither.
    Complete(usize),
    /// It is longer than its limit; nothing more is to be collected.
    TooLarge,
}

impl HeaderCollector {
    /// Returns an empty collector.
    #[must_use]
    pub const fn new(limits: HeaderLimits) -> Self {
        Self { octets: Vec::new(), limits }
    }

    /// Takes the next piece of the message, which has CRLF line ends only.
    pub fn push(&mut self, piece: &[u8]) -> Collected {
        let before = self.octets.len();
        let room = (self.limits.size_bytes + 2).saturating_sub(before);
        self.octets.extend_from_slice(&piece[..piece.len().min(room)]);
        if let Some(end) = end_of_section(&self.octets, before.saturating_sub(3)) {
            self.octets.truncate(end);
            return Collected::Complete(end + 2 - before);
        }
        // The empty line may still be on its way after a section of the limit's length.
        if self.octets.len() >= self.limits.size_bytes + 2 {
            self.octets = Vec::new();
            return Collected::TooLarge;
        }
        Collected::More
    }

    /// Reads what was collected. Its authors may have addresses in `charset`.
    ///
    /// # Errors
    ///
    /// The message is to be refused.
    pub fn read(self, charset: Charset) -> Result<HeaderSection, HeaderFault> {
        if self.octets.len() > self.limits.size_bytes {
            return Err(HeaderFault::TooLarge);
        }
        HeaderSection::read(self.octets, self.limits, charset)
    }
}

/// Returns where the empty line begins that ends the section, looking from `from` on.
fn end_of_section(octets: &[u8], from: usize) -> Option<usize> {
    if octets.starts_with(b"\r\n") {
        return Some(0);
    }
    let found = octets[from..].windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(from + found + 2)
}

/// A header section that follows its grammar.
#[derive(Debug)]
pub struct HeaderSection {
    octets: Vec<u8>,
    fields: Vec<Field>,
    from: Vec<Address>,
    sender: Option<Address>,
}

/// Where a field stands in the section, its line end included, and which one it is.
#[derive(Debug)]
struct Field {
    name: FieldName,
    start: usize,
    value: usize,
    end: usize,
}

/// The fields that mean something to a submission server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldName {
    From,
    Sender,
    Date,
    MessageId,
    Received,
    /// Names recipients that the others are not to see (RFC 5322, section 3.6.3).
    Bcc,
    /// Only the last server may write it (RFC 5321, section 4.4).
    ReturnPath,
    /// The trace that the message belongs to (W3C Trace Context, section 3.2).
    Traceparent,
    Other,
}

/// Field names in lower case.
const FIELD_NAMES: &[(&[u8], FieldName)] = &[
    (b"from", FieldName::From),
    (b"sender", FieldName::Sender),
    (b"date", FieldName::Date),
    (b"message-id", FieldName::MessageId),
    (b"received", FieldName::Received),
    (b"bcc", FieldName::Bcc),
    (b"resent-bcc", FieldName::Bcc),
    (b"return-path", FieldName::ReturnPath),
    (b"traceparent", FieldName::Traceparent),
];

/// Everything that the Received field says of a transaction (RFC 5321, section 4.4). It names no
/// login, no password and no other recipient.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The name in EHLO or HELO.
    pub client_name: &'a str,
    /// The name of the client's host, if it was told to us.
    pub host_name: Option<&'a str>,
    /// The client's address.
    pub source: IpAddr,
    /// Our name.
    pub hostname: &'a str,
    /// The keyword of RFC 3848 or RFC 6531, as `ESMTPSA`.
    pub protocol: &'a str,
    /// Version and cipher suite of the TLS connection.
    pub tls: Option<&'a str>,
    /// The id of the message in this relay.
    pub id: MessageId,
    /// When the transaction began.
    pub at: Timestamp,
}

impl HeaderSection {
    fn read(octets: Vec<u8>, limits: HeaderLimits, charset: Charset) -> Result<Self, HeaderFault> {
        let fields = fields(&octets, limits.fields)?;
        let count = |name| fields.iter().filter(|field| field.name == name).count();
        if count(FieldName::Received) > limits.received {
            return Err(HeaderFault::Loop);
        }
        if count(FieldName::From) != 1 {
            return Err(HeaderFault::From);
        }
        if count(FieldName::Sender) > 1 {
            return Err(HeaderFault::Sender);
        }
        let of = |name| fields.iter().find(|field| field.name == name);
        let addresses = |field: &Field| addresses(&octets[field.value..field.end], charset);
        let from = of(FieldName::From).and_then(addresses).ok_or(HeaderFault::From)?;
        let sender = match of(FieldName::Sender) {
            None => None,
            Some(field) => {
                let mut named = addresses(field).ok_or(HeaderFault::Sender)?;
                let sender = named.pop();
                if !named.is_empty() {
                    return Err(HeaderFault::Sender);
                }
                sender
            }
        };
        Ok(Self { octets, fields, from, sender })
    }

    /// Returns the addresses in From and Sender: whom the message claims to be from. Not empty.
    pub fn authors(&self) -> impl Iterator<Item = &Address> {
        self.from.iter().chain(self.sender.iter())
    }

    /// Returns the addresses in From. Not empty.
    #[must_use]
    pub fn from(&self) -> &[Address] {
        &self.from
    }

    /// Returns the trace that the message belongs to; none unless exactly one field names it well.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        let mut named = self.fields.iter().filter(|field| field.name == FieldName::Traceparent);
        let (Some(field), None) = (named.next(), named.next()) else { return None };
        let value = self.octets[field.value..field.end].trim_ascii();
        str::from_utf8(value).ok()?.parse().ok()
    }

    /// Returns the section as it was read.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Returns the section as it travels on, with the empty line that ends it: Received on top,
    /// Date and Message-ID if they were missing (RFC 6409, sections 8.2 and 8.3), no Bcc and no
    /// Return-Path. The other fields keep their octets and their order.
    #[must_use]
    pub fn write(&self, trace: Trace<'_>) -> Vec<u8> {
        let lacks = |name| !self.fields.iter().any(|field| field.name == name);
        let mut out = received(trace);
        if lacks(FieldName::Date) {
            out.extend(["Date: ", &date(trace.at), "\r\n"]);
        }
        if lacks(FieldName::MessageId) {
            out.extend(["Message-ID: <", &trace.id.to_string(), "@", trace.hostname, ">\r\n"]);
        }
        let mut out = out.into_bytes();
        for field in &self.fields {
            if !matches!(field.name, FieldName::Bcc | FieldName::ReturnPath) {
                out.extend_from_slice(&self.octets[field.start..field.end]);
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Splits the section into fields. A line that begins with space or tab continues the one before.
fn fields(octets: &[u8], limit: usize) -> Result<Vec<Field>, HeaderFault> {
    let mut fields: Vec<Field> = Vec::new();
    let mut start = 0;
    while start < octets.len() {
        let length = octets[start..].windows(2).position(|two| two == b"\r\n");
        let end = length.map_or(octets.len(), |length| start + length + 2);
        if matches!(octets[start], b' ' | b'\t') {
            fields.last_mut().ok_or(HeaderFault::Malformed)?.end = end;
        } else if fields.len() == limit {
            return Err(HeaderFault::TooManyFields);
        } else {
            fields.push(field(&octets[start..end], start, end)?);
        }
        start = end;
    }
    Ok(fields)
}

/// Reads `name ":"`. Space before the colon is old grammar (RFC 5322, section 4.5) and must not
/// hide a field from us.
fn field(line: &[u8], start: usize, end: usize) -> Result<Field, HeaderFault> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(HeaderFault::Malformed)?;
    let written = line[..colon].trim_ascii_end();
    if written.is_empty() || !written.iter().all(u8::is_ascii_graphic) {
        return Err(HeaderFault::Malformed);
    }
    let name = FIELD_NAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(written))
        .map_or(FieldName::Other, |(_, name)| *name);
    Ok(Field { name, start, value: start + colon + 1, end })
}

/// Returns the addresses of an address list, at least one; none if any part of it is unclear.
///
/// The list must not read differently to somebody else: outside quotes and comments there stands
/// one `@` for each address found, so that `a@example.net <b@example.com>` is refused.
fn addresses(value: &[u8], charset: Charset) -> Option<Vec<Address>> {
    let mut message = b"From:".to_vec();
    message.extend_from_slice(value);
    message.extend_from_slice(b"\r\n");
    let parsed = MessageParser::default().parse_headers(message.as_slice())?;
    let read = |text: &str| Address::read(text, charset).ok();
    let found: Option<Vec<Address>> =
        parsed.from()?.iter().map(|one| one.address.as_deref().and_then(read)).collect();
    let found = found?;
    (!found.is_empty() && found.len() == signs(value)).then_some(found)
}

/// Counts `@` outside quoted strings and comments (RFC 5322, section 3.2).
fn signs(value: &[u8]) -> usize {
    let mut quoted = false;
    let mut depth = 0_usize;
    let mut escaped = false;
    let mut count = 0;
    for byte in value {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match byte {
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            b'@' if !quoted && depth == 0 => count += 1,
            _ => {}
        }
    }
    count
}

fn received(trace: Trace<'_>) -> String {
    let source = match trace.source.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    };
    let host = trace.host_name.map(|name| format!("{name} ")).unwrap_or_default();
    let tls = trace.tls.map(|tls| format!("\r\n\t(using {tls})")).unwrap_or_default();
    format!(
        "Received: from {} ({host}{source}){tls}\r\n\tby {} with {} id {};\r\n\t{}\r\n",
        trace.client_name,
        trace.hostname,
        trace.protocol,
        trace.id,
        date(trace.at),
    )
}

/// Returns a date-time of RFC 5322, section 3.3, in UTC.
#[must_use]
pub fn date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests;
