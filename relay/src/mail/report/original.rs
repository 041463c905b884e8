//! What goes back of the message that a report is about.

use super::mime::{Encoding, Part};
use super::notice::Kind;
use crate::mail::convert::to_seven_bit;
use crate::mail::envelope::{Body, Envelope};
use crate::smtp::address::Charset;
use crate::smtp::body::TEXT_LINE_MAX;
use crate::smtp::parameter::{Return, Utf8};

/// The most octets of the original's header section that a report gives back.
pub const HEADER_MAX: usize = 16 * 1024;

/// The largest message that goes back whole, octets: a report is written in memory.
pub const FULL_MAX: usize = 1024 * 1024;

/// How much of a message is to be read for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: at most [`FULL_MAX`] octets.
    Whole,
    /// Its first [`HEADER_MAX`] octets.
    Header,
}

/// Returns how much of a message with this `envelope` goes back.
///
/// The whole message only where its sender asked for it, and with a failure (RFC 3461, section
/// 4.3). Never of mail that needs TLS on every hop: RET=FULL is disregarded then (RFC 8689,
/// section 5). What is too large or has no lines goes back as its header.
#[must_use]
pub fn extent(kind: Kind, envelope: &Envelope, size_bytes: u64) -> Extent {
    let terms = &envelope.terms;
    match (kind, terms.report, terms.require_tls, envelope.body) {
        (Kind::Failed, Some(Return::Full), None, Body::SevenBit | Body::EightBit)
            if size_bytes <= FULL_MAX as u64 =>
        {
            Extent::Whole
        }
        (Kind::Failed | Kind::Delayed | Kind::Relayed, _, _, _) => Extent::Header,
    }
}

/// What goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Original {
    /// Header fields, as they are: made US-ASCII.
    Headers(Vec<u8>),
    /// Header fields in UTF-8, of a message that was sent as such (RFC 6533, section 4).
    GlobalHeaders(Vec<u8>),
    /// A message of US-ASCII.
    SevenBit(Vec<u8>),
    /// A message with 8-bit octets below its header.
    EightBit(Vec<u8>),
    /// A message whose header may be UTF-8 (RFC 6532, section 3.7).
    Global(Vec<u8>),
}

impl Original {
    /// Takes what was read of a message. Its header is taken alone if that is the `extent`, or if
    /// the message is not fit to be part of another: lines too long, other ends than CRLF, or 8-bit
    /// octets that a next hop without 8BITMIME could never be given, so that nobody would hear.
    #[must_use]
    pub fn of(read: Vec<u8>, extent: Extent, utf8: Option<Utf8>) -> Self {
        let is_fit = match extent {
            Extent::Whole => has_lines(&read),
            Extent::Header => false,
        };
        let header = header_section(&read);
        let is_global = utf8.is_some() && !header.is_ascii() && std::str::from_utf8(header).is_ok();
        match (is_fit, is_global) {
            (true, true) => Self::Global(read),
            (true, false) if read.is_ascii() => Self::SevenBit(read),
            (true, false) if header.is_ascii() && is_convertible(&read) => Self::EightBit(read),
            (false, true) if has_lines(header) => Self::GlobalHeaders(header.to_vec()),
            (true | false, _) => Self::Headers(clean(header)),
        }
    }

    pub(super) fn part(&self) -> Part {
        let (kind, encoding, octets) = match self {
            Self::Headers(octets) => ("text/rfc822-headers", Encoding::SevenBit, octets),
            Self::GlobalHeaders(octets) => ("message/global-headers", Encoding::Base64, octets),
            Self::SevenBit(octets) => ("message/rfc822", Encoding::SevenBit, octets),
            Self::EightBit(octets) => ("message/rfc822", Encoding::EightBit, octets),
            // RFC 2046, section 5.2.1, forbids base64 around message/rfc822; here it is allowed.
            Self::Global(octets) => ("message/global", Encoding::Base64, octets),
        };
        Part::new(kind, encoding, octets.clone())
    }
}

/// Returns the header section that a message starts with, without the empty line after it: whole
/// lines, at most [`HEADER_MAX`] octets.
fn header_section(start: &[u8]) -> &[u8] {
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

/// Tells whether a report with all of this message in it can be made 7-bit.
fn is_convertible(message: &[u8]) -> bool {
    // As deep as in a report, where it is the body of a part.
    let inside = b"Content-Type: message/rfc822\r\n\r\n".repeat(2);
    to_seven_bit(&[&inside, message].concat(), Charset::Ascii).is_ok()
}

/// Tells whether octets are lines that a message may have: ended by CRLF, not too long, and without
/// NUL or a lone CR.
fn has_lines(octets: &[u8]) -> bool {
    octets.split_inclusive(|byte| *byte == b'\n').all(|line| {
        line.strip_suffix(b"\r\n").is_some_and(|line| {
            line.len() <= TEXT_LINE_MAX && !line.iter().any(|byte| matches!(byte, b'\r' | 0))
        })
    })
}

/// Makes foreign lines fit for a 7-bit message: what is not printable US-ASCII becomes `?`, lines
/// are cut at 998 octets.
fn clean(octets: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(octets.len());
    for line in octets.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        text.extend(line.iter().take(TEXT_LINE_MAX).map(|byte| match byte {
            b'\t' | b' '..=b'~' => *byte,
            _ => b'?',
        }));
        text.extend_from_slice(b"\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::report::tests::envelope;
    use crate::smtp::parameter::RequireTls;

    #[test]
    fn the_whole_message_goes_back_with_a_failure_where_it_was_asked_for_and_may() {
        let full = FULL_MAX as u64;
        let rows = [
            ("asked for", Kind::Failed, Some(Return::Full), None, full, Extent::Whole),
            ("too large", Kind::Failed, Some(Return::Full), None, full + 1, Extent::Header),
            ("the header asked for", Kind::Failed, Some(Return::Headers), None, 1, Extent::Header),
            ("nothing asked for", Kind::Failed, None, None, 1, Extent::Header),
            ("a delay", Kind::Delayed, Some(Return::Full), None, 1, Extent::Header),
            ("passed on", Kind::Relayed, Some(Return::Full), None, 1, Extent::Header),
            (
                "mail that needs TLS",
                Kind::Failed,
                Some(Return::Full),
                Some(RequireTls),
                1,
                Extent::Header,
            ),
        ];
        for (row, kind, report, require_tls, size, expected) in rows {
            let mut envelope = envelope("s@example.net");
            (envelope.terms.report, envelope.terms.require_tls) = (report, require_tls);
            assert_eq!(extent(kind, &envelope, size), expected, "{row}");
        }
        let mut binary = envelope("s@example.net");
        (binary.terms.report, binary.body) = (Some(Return::Full), Body::Binary);
        assert_eq!(extent(Kind::Failed, &binary, 1), Extent::Header, "no lines");
    }

    #[test]
    fn what_goes_back_is_what_may_stand_in_a_report() {
        type Row = (&'static str, &'static str, Extent, Option<Utf8>, fn(Vec<u8>) -> Original);
        let headers: fn(Vec<u8>) -> Original = |_| Original::Headers(b"A: b\r\n".to_vec());
        let (whole, header) = (Extent::Whole, Extent::Header);
        let rows: &[Row] = &[
            ("7-bit", "A: b\r\n\r\nc\r\n", whole, None, Original::SevenBit),
            ("8-bit", "A: b\r\n\r\nü\r\n", whole, None, Original::EightBit),
            ("8-bit, sent as UTF-8", "A: b\r\n\r\nü\r\n", whole, Some(Utf8), Original::EightBit),
            ("UTF-8 above", "A: ü\r\n\r\nü\r\n", whole, Some(Utf8), Original::Global),
            ("its header", "A: ü\r\n", header, Some(Utf8), Original::GlobalHeaders),
            ("8-bit above, undeclared", "A: ü\r\n\r\nü\r\n", whole, None, |_| {
                Original::Headers(b"A: ??\r\n".to_vec())
            }),
            ("8-bit, signed", "DKIM-Signature: a\r\n\r\nü\r\n", whole, None, |_| {
                Original::Headers(b"DKIM-Signature: a\r\n".to_vec())
            }),
            ("the header alone", "A: b\r\n\r\nc\r\n", header, None, headers),
            ("a lone LF", "A: b\r\n\r\nc\nd\r\n", whole, None, headers),
            ("a lone CR", "A: b\r\n\r\nc\rd\r\n", whole, None, headers),
            ("a NUL", "A: b\r\n\r\nc\0\r\n", whole, None, headers),
            ("no end", "A: b\r\n\r\nc", whole, None, headers),
        ];
        for (row, read, extent, utf8, expected) in rows {
            let read = read.as_bytes().to_vec();
            assert_eq!(Original::of(read.clone(), *extent, *utf8), expected(read), "{row}");
        }
        let long = format!("A: b\r\n\r\n{}\r\n", "x".repeat(TEXT_LINE_MAX + 1));
        let original = Original::of(long.into_bytes(), whole, None);
        assert_eq!(original, Original::Headers(b"A: b\r\n".to_vec()), "a line too long");
    }

    #[test]
    fn a_header_section_ends_at_the_empty_line_or_at_the_limit() {
        let long = b"X: y\r\n".repeat(HEADER_MAX);
        let rows: &[(&[u8], &[u8])] = &[
            (b"A: b\r\n\r\nbody\r\n", b"A: b\r\n"),
            (b"\r\nbody\r\n", b""),
            (b"A: b\r\nC: cut", b"A: b\r\n"),
            (b"A: b\nC: d\r\n", b""),
            (b"", b""),
            (&long, &long[..HEADER_MAX - HEADER_MAX % 6]),
        ];
        for (start, expected) in rows {
            assert_eq!(header_section(start), *expected);
        }
    }
}
