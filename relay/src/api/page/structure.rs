//! The parts of a message, found by mail-parser's readers of fields and bodies in an order of our own: a message
//! within a message is one part, and nobody looks into it.
//!
//! The library's own order looks into them, level by level and also behind an encoding, and sets no limit: what it
//! makes of them is given back level by level on the stack, so half a million of them, which 16 MiB hold, end the
//! process. Here is no depth that a message could choose, so none is refused for what it forwards.

mod kind;

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;
use mail_parser::{
    ContentType, Encoding, GetHeader as _, Header, HeaderName, HeaderValue, Message, MessagePart,
    PartType,
};

use kind::Kind;

/// The most parts: each takes memory, and none needs more than seven octets.
pub(super) const PARTS_MAX: usize = 20_000;
/// The most header fields that are kept, those of all parts together.
const FIELDS_MAX: usize = 50_000;
/// The longest field that is read, octets; and the longest of those that tell of a part. Readers of fields compare
/// what they find with all that they found, so a field of megabytes would take them hours.
const FIELD_MAX: (usize, usize) = (64 << 10, 2 << 10);
/// The most octets that are gone through for boundaries that are not there: each such search goes to the end.
const VAIN_MAX: usize = 256 << 20;

/// There is more in a message than is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Takes a message apart. What stands in its parts is chosen as RFC 8621, section 4.1.4, does it.
///
/// # Errors
///
/// It has too many parts, fields or boundaries that are not there.
pub(super) fn read(raw: &[u8]) -> Result<Message<'_>, TooMuch> {
    let message = Message { raw_message: raw.into(), ..Message::default() };
    let stream = MessageStream::new(raw);
    let top = Level::default();
    Reading { raw, stream, message, top, open: Vec::new(), fields: 0, vain: 0 }.whole()
}

/// Where parts stand beside each other: a multipart, or the message itself.
struct Level {
    kind: Kind,
    /// Empty: nothing follows the part that is read.
    boundary: Vec<u8>,
    is_in_alternative: bool,
    wants_text: bool,
    wants_html: bool,
    /// How much text and HTML there was before it.
    before: (usize, usize),
    /// How many parts it has so far.
    parts: usize,
}

impl Default for Level {
    fn default() -> Self {
        Self {
            kind: Kind::default(),
            boundary: Vec::new(),
            is_in_alternative: false,
            wants_text: true,
            wants_html: true,
            before: (0, 0),
            parts: 0,
        }
    }
}

struct Reading<'a> {
    raw: &'a [u8],
    stream: MessageStream<'a>,
    message: Message<'a>,
    top: Level,
    /// The multiparts around the place that is read, the innermost last.
    open: Vec<Level>,
    fields: usize,
    vain: usize,
}

impl<'a> Reading<'a> {
    fn whole(mut self) -> Result<Message<'a>, TooMuch> {
        loop {
            let (part, has_body) = self.header()?;
            if !has_body {
                // Whoever shows a message asks its first part for the fields.
                if self.message.parts.is_empty() {
                    let body = PartType::Text("".into());
                    self.message.parts.push(MessagePart { body, ..part });
                }
                break;
            }
            if self.message.parts.len() == PARTS_MAX {
                return Err(TooMuch);
            }
            if !self.part(part)? && !self.goes_on() {
                break;
            }
        }
        let end = u32::try_from(self.raw.len()).map_err(|_| TooMuch)?;
        if let Some(whole) = self.message.parts.first_mut() {
            whole.offset_end = end;
        }
        Ok(self.message)
    }

    fn level(&mut self) -> &mut Level {
        self.open.last_mut().unwrap_or(&mut self.top)
    }

    fn offset(&self) -> u32 {
        // Whoever has messages of 4 GiB was refused by `whole`.
        u32::try_from(self.stream.offset()).unwrap_or(u32::MAX)
    }

    /// Reads a header section; tells whether something may follow it.
    fn header(&mut self) -> Result<(MessagePart<'a>, bool), TooMuch> {
        let is_top = self.message.parts.is_empty();
        let mut part = MessagePart { offset_header: self.offset(), ..MessagePart::default() };
        loop {
            match self.stream.peek() {
                None => return Ok((part, false)),
                Some(b'\n') => {
                    self.stream.next();
                    part.offset_body = self.offset();
                    return Ok((part, true));
                }
                Some(octet) if octet.is_ascii_whitespace() => {
                    self.stream.next();
                    continue;
                }
                Some(_) => {}
            }
            let offset_field = self.offset();
            let Some(name) = self.stream.parse_header_name() else { continue };
            let offset_start = self.offset();
            let value = match self.value(&name, is_top) {
                Some(value) => value,
                // All fields of the message are shown.
                None if is_top => HeaderValue::Empty,
                None => continue,
            };
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(TooMuch);
            }
            let offset_end = self.offset();
            part.headers.push(Header { name, value, offset_field, offset_start, offset_end });
        }
    }

    /// Reads the value of a field, if somebody asks for it.
    fn value(&mut self, name: &HeaderName<'_>, is_top: bool) -> Option<HeaderValue<'a>> {
        let rest = self.raw.get(self.stream.offset()..).unwrap_or_default();
        let is_end = |end: &usize| !matches!(rest.get(end + 1), Some(b' ' | b'\t'));
        let length = memchr::memchr_iter(b'\n', rest).find(is_end).unwrap_or(rest.len());
        Some(match name {
            HeaderName::ContentType | HeaderName::ContentDisposition if length <= FIELD_MAX.1 => {
                self.stream.parse_content_type()
            }
            HeaderName::ContentTransferEncoding if length <= FIELD_MAX.1 => {
                self.stream.parse_unstructured()
            }
            HeaderName::ContentId if length <= FIELD_MAX.1 => self.stream.parse_id(),
            HeaderName::Subject if is_top && length <= FIELD_MAX.0 => {
                self.stream.parse_unstructured()
            }
            HeaderName::From | HeaderName::To | HeaderName::Cc
                if is_top && length <= FIELD_MAX.0 =>
            {
                self.stream.parse_address()
            }
            HeaderName::Date if is_top && length <= FIELD_MAX.1 => self.stream.parse_date(),
            _ => {
                self.stream.parse_and_ignore();
                return None;
            }
        })
    }

    /// Reads what follows a header section. Tells whether it is a multipart, whose first part comes next.
    fn part(&mut self, mut part: MessagePart<'a>) -> Result<bool, TooMuch> {
        self.level().parts += 1;
        let content_type = content_type(&part.headers);
        let parent = self.level().kind;
        let mut kind = Kind::of(content_type, parent);
        let boundary = content_type.and_then(|content_type| content_type.attribute("boundary"));
        if let Some(boundary) = boundary.filter(|_| kind.is_multipart()) {
            let boundary = boundary.as_bytes().to_vec();
            if self.stream.seek_next_part(&boundary) {
                self.stream.skip_crlf();
                self.message.parts.push(part);
                self.enter(kind, boundary);
                return Ok(true);
            }
            self.vain += self.stream.remaining();
            if self.vain > VAIN_MAX {
                return Err(TooMuch);
            }
            kind = Kind::Text;
        }
        let (kind, octets) = self.body(kind, &mut part);
        self.place(kind, octets, part);
        Ok(false)
    }

    fn enter(&mut self, kind: Kind, boundary: Vec<u8>) {
        let before = (self.message.text_body.len(), self.message.html_body.len());
        let outer = self.level();
        let inner = Level {
            kind,
            boundary,
            is_in_alternative: outer.is_in_alternative || kind == Kind::Alternative,
            wants_text: outer.wants_text,
            wants_html: outer.wants_html,
            before,
            parts: 0,
        };
        self.open.push(inner);
    }

    /// Reads a body and takes its encoding away. One that is not encoded as it says, or does not end, is text.
    fn body(&mut self, kind: Kind, part: &mut MessagePart<'a>) -> (Kind, Cow<'a, [u8]>) {
        let encoding = part.headers.header_value(&HeaderName::ContentTransferEncoding);
        let encoding = encoding.and_then(HeaderValue::as_text).unwrap_or_default();
        let boundary = std::mem::take(&mut self.level().boundary);
        let stream = &mut self.stream;
        let (end, octets) = if encoding.eq_ignore_ascii_case("base64") {
            part.encoding = Encoding::Base64;
            stream.decode_base64_mime(&boundary)
        } else if encoding.eq_ignore_ascii_case("quoted-printable") {
            part.encoding = Encoding::QuotedPrintable;
            stream.decode_quoted_printable_mime(&boundary)
        } else {
            stream.mime_part(&boundary)
        };
        if end != usize::MAX {
            self.level().boundary = boundary;
            return (kind, octets);
        }
        part.encoding = Encoding::None;
        part.is_encoding_problem = true;
        let (end, is_found) =
            self.stream.seek_part_end(Some(boundary.as_slice()).filter(|name| !name.is_empty()));
        if is_found {
            self.level().boundary = boundary;
        }
        let octets = self.raw.get(part.offset_body as usize..end).unwrap_or_default();
        (if kind == Kind::Plain { kind } else { Kind::Text }, octets.into())
    }

    /// Keeps a part, and says whether it is read or saved.
    fn place(&mut self, kind: Kind, octets: Cow<'a, [u8]>, mut part: MessagePart<'a>) {
        let number = u32::try_from(self.message.parts.len()).expect("there are not so many parts");
        let is_inline = self.is_inline(kind, &part);
        let level = self.level();
        let (to_html, to_text) = if level.kind == Kind::Alternative {
            (kind == Kind::Html, kind == Kind::Plain)
        } else if is_inline {
            if level.is_in_alternative && (level.wants_text || level.wants_html) {
                level.wants_text &= kind != Kind::Html;
                level.wants_html &= kind != Kind::Plain;
            }
            (level.wants_html, level.wants_text)
        } else {
            (false, false)
        };
        if to_html {
            self.message.html_body.push(number);
        }
        if to_text {
            self.message.text_body.push(number);
        }
        let is_read = if kind == Kind::Html { to_html } else { to_text && kind.is_text() };
        if !is_read {
            self.message.attachments.push(number);
        }
        part.body = match kind {
            Kind::Html => PartType::Html(text(octets, content_type(&part.headers))),
            Kind::Plain | Kind::Text => PartType::Text(text(octets, content_type(&part.headers))),
            _ if is_inline => PartType::InlineBinary(octets),
            _ => PartType::Binary(octets),
        };
        part.offset_end = self.offset();
        self.message.parts.push(part);
    }

    fn is_inline(&mut self, kind: Kind, part: &MessagePart<'_>) -> bool {
        let level = self.open.last().unwrap_or(&self.top);
        if part.is_encoding_problem {
            // A message of one broken text is read all the same.
            return self.open.is_empty() && kind == Kind::Plain;
        }
        let disposition = part.headers.header_value(&HeaderName::ContentDisposition);
        let is_attachment = disposition
            .and_then(HeaderValue::as_content_type)
            .is_some_and(ContentType::is_attachment);
        let is_media = kind == Kind::Media;
        let has_name = content_type(&part.headers).is_some_and(|kind| kind.has_attribute("name"));
        (is_media || matches!(kind, Kind::Plain | Kind::Html))
            && !is_attachment
            && (level.parts == 1 || level.kind != Kind::Related && (is_media || !has_name))
    }

    /// Goes to where the next part begins; tells whether there is one.
    fn goes_on(&mut self) -> bool {
        while let Some(level) = self.open.last() {
            if level.boundary.is_empty() {
                return false;
            }
            if !self.stream.is_multipart_end() {
                return true;
            }
            self.leave();
            let Some(outer) = self.open.last() else { return false };
            if self.stream.seek_next_part_offset(&outer.boundary).is_none() {
                return false;
            }
        }
        false
    }

    /// Ends a multipart. What has only one way to be read is shown where the other is asked for, too.
    fn leave(&mut self) {
        let Some(level) = self.open.pop() else { return };
        if level.kind != Kind::Alternative || !level.wants_html || !level.wants_text {
            return;
        }
        let Message { text_body, html_body, .. } = &mut self.message;
        match (text_body.len() > level.before.0, html_body.len() > level.before.1) {
            (false, true) => text_body.extend_from_slice(&html_body[level.before.1..]),
            (true, false) => html_body.extend_from_slice(&text_body[level.before.0..]),
            (true, true) | (false, false) => {}
        }
    }
}

fn content_type<'h>(headers: &'h [Header<'_>]) -> Option<&'h ContentType<'h>> {
    let last = headers.iter().rev().find(|field| field.name == HeaderName::ContentType)?;
    last.value.as_content_type()
}

fn text<'a>(octets: Cow<'a, [u8]>, content_type: Option<&ContentType<'_>>) -> Cow<'a, str> {
    let charset = content_type.and_then(|content_type| content_type.attribute("charset"));
    if let Some(decode) = charset.and_then(|charset| charset_decoder(charset.as_bytes())) {
        return decode(&octets).into();
    }
    match octets {
        Cow::Borrowed(octets) => String::from_utf8_lossy(octets),
        Cow::Owned(octets) => String::from_utf8_lossy(&octets).into_owned().into(),
    }
}

#[cfg(test)]
mod tests;
