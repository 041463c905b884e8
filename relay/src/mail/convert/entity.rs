//! A header section, and what it says of its body (RFC 2045).

use super::Unconvertible;
use crate::smtp::body::TEXT_LINE_MAX;

/// The longest boundary, octets (RFC 2046, section 5.1.1).
const BOUNDARY_MAX: usize = 70;

/// A message, or a part of one.
pub(super) struct Entity<'a> {
    /// Its fields, without the empty line.
    pub(super) header: &'a [u8],
    /// The empty line, unless there is none.
    empty_line: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) kind: Kind<'a>,
    pub(super) coding: Coding,
    /// What Content-Type says after the type.
    parameters: &'a [u8],
    /// Where Content-Transfer-Encoding stands in the header.
    coding_field: Option<(usize, usize)>,
    has_type: bool,
    has_version: bool,
    is_signed: bool,
}

/// A media type. Compares without regard to case.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    main: &'a [u8],
    sub: &'a [u8],
}

/// What Content-Transfer-Encoding says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Nothing, or `7bit`.
    Seven,
    Eight,
    Binary,
    /// Quoted-printable or base64.
    Encoded,
    Unknown,
}

impl Kind<'static> {
    /// What a part is that does not say (RFC 2045, section 5.2).
    pub(super) const TEXT: Self = Self { main: b"text", sub: b"plain" };
    /// What a part of a digest is (RFC 2046, section 5.1.5).
    pub(super) const MESSAGE: Self = Self { main: b"message", sub: b"rfc822" };
}

impl Kind<'_> {
    pub(super) const fn is(self, main: &str, sub: &str) -> bool {
        self.type_is(main) && self.sub.eq_ignore_ascii_case(sub.as_bytes())
    }

    pub(super) const fn type_is(self, main: &str) -> bool {
        self.main.eq_ignore_ascii_case(main.as_bytes())
    }
}

impl Coding {
    /// Tells whether the label says what 7-bit content may say.
    pub(super) const fn is_for_seven_bits(self) -> bool {
        match self {
            Self::Seven | Self::Encoded | Self::Unknown => true,
            Self::Eight | Self::Binary => false,
        }
    }

    /// Returns the label of a container whose parts are 7-bit now; none if it needs no other.
    pub(super) const fn relabelled(self) -> Option<&'static str> {
        match self {
            Self::Eight | Self::Binary => Some("7bit"),
            Self::Seven | Self::Encoded | Self::Unknown => None,
        }
    }

    fn read(value: &[u8]) -> Self {
        let value = Words(value).next().unwrap_or_default();
        let rows: [(&str, Self); 5] = [
            ("7bit", Self::Seven),
            ("8bit", Self::Eight),
            ("binary", Self::Binary),
            ("quoted-printable", Self::Encoded),
            ("base64", Self::Encoded),
        ];
        let named = |(name, _): &&(&str, Self)| name.as_bytes().eq_ignore_ascii_case(value);
        rows.iter().find(named).map_or(Self::Unknown, |(_, coding)| *coding)
    }
}

impl<'a> Entity<'a> {
    /// Reads the header section that `input` begins with.
    ///
    /// # Errors
    ///
    /// Another reader could take it for something else.
    pub(super) fn read(input: &'a [u8], default: Kind<'static>) -> Result<Self, Unconvertible> {
        let (header, empty_line, body) = cut(input);
        let mut entity = Self {
            header,
            empty_line,
            body,
            kind: default,
            coding: Coding::Seven,
            parameters: b"",
            coding_field: None,
            has_type: false,
            has_version: false,
            is_signed: false,
        };
        let mut at = 0;
        while at < header.len() {
            let end = end_of_field(header, at)?;
            entity.field(at, end)?;
            at = end;
        }
        Ok(entity)
    }

    fn field(&mut self, start: usize, end: usize) -> Result<(), Unconvertible> {
        let header = self.header;
        let field = &header[start..end];
        let colon = memchr::memchr(b':', field);
        let colon = colon.ok_or(Unconvertible::Malformed("a line of a header is no field"))?;
        let (name, value) = (field[..colon].trim_ascii_end(), &field[colon + 1..]);
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("Content-Type") {
            if std::mem::replace(&mut self.has_type, true) {
                return Err(Unconvertible::Malformed("Content-Type stands twice"));
            }
            (self.kind, self.parameters) = media_type(value)?;
        } else if is("Content-Transfer-Encoding") {
            if self.coding_field.replace((start, end)).is_some() {
                return Err(Unconvertible::Malformed("Content-Transfer-Encoding stands twice"));
            }
            self.coding = Coding::read(value);
        } else if is("MIME-Version") {
            self.has_version = true;
        } else if is("DKIM-Signature") || is("DomainKey-Signature") || is("ARC-Message-Signature") {
            self.is_signed = true;
        }
        Ok(())
    }

    /// Tells whether somebody has signed or encrypted it: by mail domain (RFC 6376, RFC 8617), by
    /// OpenPGP or S/MIME (RFC 1847, RFC 8551).
    pub(super) fn is_signed(&self) -> bool {
        self.is_signed
            || self.kind.is("multipart", "signed")
            || self.kind.is("multipart", "encrypted")
            || self.kind.is("application", "pkcs7-mime")
            || self.kind.is("application", "x-pkcs7-mime")
    }

    /// Returns the boundary of a multipart.
    ///
    /// # Errors
    ///
    /// There is none, more than one, or one that RFC 2046, section 5.1.1, does not allow.
    pub(super) fn boundary(&self) -> Result<Vec<u8>, Unconvertible> {
        let mut words = Words(self.parameters);
        let mut boundary = None;
        while let Some(word) = words.next() {
            if !word.eq_ignore_ascii_case(b"boundary") || words.next() != Some(b"=") {
                continue;
            }
            let value = words.next().map(unquoted);
            if boundary.is_some() || value.is_none() {
                return Err(Unconvertible::Malformed("a multipart has no clear boundary"));
            }
            boundary = value;
        }
        let stands = |text: &Vec<u8>| {
            (1..=BOUNDARY_MAX).contains(&text.len())
                && text.iter().all(|byte| matches!(byte, b' '..=b'~'))
                && !text.ends_with(b" ")
        };
        let malformed = Unconvertible::Malformed("a multipart has no clear boundary");
        boundary.filter(stands).ok_or(malformed)
    }

    /// Appends the header section with another label, and the empty line. A message that says
    /// nothing of MIME becomes one that does (RFC 1428).
    pub(super) fn write_header(&self, label: Option<&str>, is_message: bool, out: &mut Vec<u8>) {
        let written = |label| format!("Content-Transfer-Encoding: {label}\r\n").into_bytes();
        match (label, self.coding_field) {
            (None, _) => out.extend_from_slice(self.header),
            (Some(label), Some((start, end))) => {
                out.extend_from_slice(&self.header[..start]);
                out.extend_from_slice(&written(label));
                out.extend_from_slice(&self.header[end..]);
            }
            (Some(label), None) => {
                out.extend_from_slice(self.header);
                out.extend_from_slice(&written(label));
            }
        }
        if !self.header.is_empty() && !out.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        if is_message && !self.has_version {
            out.extend_from_slice(b"MIME-Version: 1.0\r\n");
            if !self.has_type {
                let is_utf8 = std::str::from_utf8(self.body).is_ok();
                let charset = if is_utf8 { "utf-8" } else { "unknown-8bit" };
                let line = format!("Content-Type: text/plain; charset={charset}\r\n");
                out.extend_from_slice(line.as_bytes());
            }
        }
        out.extend_from_slice(self.empty_line);
    }
}

/// Cuts an entity into its header section, the empty line, and its body.
fn cut(input: &[u8]) -> (&[u8], &[u8], &[u8]) {
    if input.starts_with(b"\r\n") {
        return (b"", &input[..2], &input[2..]);
    }
    match memchr::memmem::find(input, b"\r\n\r\n") {
        Some(end) => (&input[..end + 2], &input[end + 2..end + 4], &input[end + 4..]),
        None => (input, b"", b""),
    }
}

/// Returns where the field ends that begins at `start`, its continuations included.
fn end_of_field(header: &[u8], start: usize) -> Result<usize, Unconvertible> {
    let mut at = start;
    loop {
        let length = memchr::memmem::find(&header[at..], b"\r\n");
        let line = &header[at..length.map_or(header.len(), |length| at + length)];
        if line.len() > TEXT_LINE_MAX || line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(Unconvertible::Malformed("a line of a header is too long or unclean"));
        }
        at = length.map_or(header.len(), |length| at + length + 2);
        if !matches!(header.get(at), Some(b' ' | b'\t')) {
            return Ok(at);
        }
    }
}

/// Reads `type/subtype`; what follows are parameters.
fn media_type(value: &[u8]) -> Result<(Kind<'_>, &[u8]), Unconvertible> {
    let mut words = Words(value);
    match (words.next(), words.next(), words.next()) {
        (Some(main), Some(b"/"), Some(sub)) if is_token(main) && is_token(sub) => {
            Ok((Kind { main, sub }, words.0))
        }
        _ => Err(Unconvertible::Malformed("Content-Type names no type")),
    }
}

fn is_token(word: &[u8]) -> bool {
    word.iter().all(|byte| byte.is_ascii_graphic() && !is_special(*byte))
}

/// Tells whether an octet stands for itself between words (RFC 2045, section 5.1).
fn is_special(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'\\' | b'"')
        || matches!(byte, b'/' | b'[' | b']' | b'?' | b'=')
}

/// The words of a structured field: tokens, quoted strings with their quotes, and specials.
/// White space and comments between them are passed over.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            self.0 = self.0.trim_ascii_start();
            match self.0.first()? {
                b'(' => self.0 = after_comment(self.0),
                _ => break,
            }
        }
        let length = match self.0[0] {
            b'"' => quoted_length(self.0),
            byte if is_special(byte) => 1,
            _ => {
                let ends = |byte: &u8| is_special(*byte) || byte.is_ascii_whitespace();
                self.0.iter().position(ends).unwrap_or(self.0.len())
            }
        };
        let (word, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(word)
    }
}

/// Returns what follows a comment; nothing if it does not end (RFC 5322, section 3.2.2).
fn after_comment(text: &[u8]) -> &[u8] {
    let mut depth = 0_usize;
    let mut place = 0;
    while let Some(byte) = text.get(place) {
        match byte {
            b'\\' => place += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        place += 1;
        if depth == 0 {
            return text.get(place..).unwrap_or_default();
        }
    }
    b""
}

/// Returns the length of a quoted string with its quotes; all of `text` if it does not end.
fn quoted_length(text: &[u8]) -> usize {
    let mut place = 1;
    while let Some(byte) = text.get(place) {
        match byte {
            b'\\' => place += 2,
            b'"' => return place + 1,
            _ => place += 1,
        }
    }
    text.len()
}

/// Returns a word without quotes, escapes undone.
fn unquoted(word: &[u8]) -> Vec<u8> {
    let Some(inner) = word.strip_prefix(b"\"") else { return word.to_vec() };
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    let mut escaped = false;
    let keeps = |byte: &u8| {
        escaped = *byte == b'\\' && !escaped;
        !escaped
    };
    inner.iter().copied().filter(keeps).collect()
}
