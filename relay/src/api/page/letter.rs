//! A captured message taken apart for people: its words, its HTML made harmless, its parts.
//!
//! It was written by somebody whom nobody has to trust. What is told here is told to a browser under rules
//! that run nothing and load nothing ([`HTML_POLICY`]); the changes made to HTML close what those rules leave
//! open. Everything has a limit.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Address, Message, MessageParser, MimeHeaders as _, PartType};
use serde::Serialize;

use super::structure;

/// The rules for a browser that shows the HTML of a message: no script, no form, no frame, nothing from
/// elsewhere (Content Security Policy Level 3).
pub(super) const HTML_POLICY: &str = "sandbox; default-src 'none'; img-src data:; \
     style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// The largest message that is taken apart, octets.
pub(super) const LETTER_MAX: usize = 16 << 20;

/// The most header fields, and the most characters of one.
const FIELDS_MAX: (usize, usize) = (500, 2000);
/// The most addresses of a field.
const ADDRESSES_MAX: usize = 50;
/// The most octets of text.
const TEXT_MAX: usize = 256 << 10;
/// The most parts, and the most characters of a name.
const PARTS_MAX: (usize, usize) = (200, 200);
/// The most links, and the most characters of one.
const LINKS_MAX: (usize, usize) = (100, 2000);
/// The most octets of HTML with its pictures put in.
const HTML_MAX: usize = 24 << 20;
/// The longest Content-ID, octets.
const CONTENT_ID_MAX: usize = 255;
/// The most places of HTML in which a picture, or a link to the web, is looked for: each costs as much as the
/// longest of its kind, and 16 MiB have room for millions.
const PLACES_MAX: usize = 10_000;

/// What a line in a list of messages shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Heading {
    /// The subject, decoded.
    pub subject: String,
    /// The authors.
    pub from: String,
}

/// A message for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Letter {
    pub subject: String,
    pub from: String,
    pub to: String,
    pub cc: String,
    pub date: Option<String>,
    /// Every header field: its name, and its value as it was sent, on one line.
    pub fields: Vec<(String, String)>,
    pub text: Option<String>,
    /// Whether there is more text than is shown.
    pub text_is_cut: bool,
    /// Whether the text was made of the HTML.
    pub text_of_html: bool,
    pub has_html: bool,
    /// Where the links of the HTML lead, over HTTP; each once.
    pub links: Vec<String>,
    pub parts: Vec<Attached>,
}

/// A part that can be saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Attached {
    /// Its number, by which it is asked for.
    pub number: usize,
    pub name: String,
    /// The type that its sender gave to it.
    pub kind: String,
    pub size_bytes: usize,
}

/// Takes the beginning of a message apart; at most its first 64 KiB.
pub(super) fn heading(start: &[u8]) -> Heading {
    let start = &start[..start.len().min(64 << 10)];
    let Some(message) = MessageParser::default().parse_headers(start) else {
        return Heading::default();
    };
    Heading { subject: subject(&message), from: addresses(message.from()) }
}

/// Takes a message apart; none if it is too large or has too many parts.
pub(super) fn letter(raw: &[u8]) -> Option<Letter> {
    let message = parse(raw)?;
    let text_part = message.text_part(0).map(|part| &part.body);
    let text = message.body_text(0).map(Cow::into_owned);
    let (text, text_is_cut) = text.map_or((None, false), |text| {
        let cut = cut(&text, TEXT_MAX);
        (Some(cut.to_owned()), cut.len() < text.len())
    });
    Some(Letter {
        subject: subject(&message),
        from: addresses(message.from()),
        to: addresses(message.to()),
        cc: addresses(message.cc()),
        date: message.date().map(mail_parser::DateTime::to_rfc3339),
        fields: fields(&message),
        text,
        text_is_cut,
        text_of_html: matches!(text_part, Some(PartType::Html(_))),
        has_html: html_of(&message).is_some(),
        links: html_of(&message).map_or_else(Vec::new, links),
        parts: parts(&message),
    })
}

/// Returns the HTML of a message with its own pictures put in; none if it has none.
pub(super) fn html(raw: &[u8]) -> Option<String> {
    let message = parse(raw)?;
    let mut pictures = BTreeMap::new();
    for part in &message.parts {
        let (Some(id), Some(kind)) = (part.content_id(), picture(part)) else { continue };
        pictures.insert(bare(id).to_owned(), (kind, part.contents()));
    }
    Some(harmless(html_of(&message)?, &pictures) + LINKS_STYLE)
}

/// Returns the octets of a part and the name to save it under; none if there is no such part.
pub(super) fn part(raw: &[u8], number: usize) -> Option<(String, Vec<u8>)> {
    let message = parse(raw)?;
    let attached = parts(&message).into_iter().find(|part| part.number == number)?;
    Some((attached.name, message.parts.get(number)?.contents().to_vec()))
}

fn parse(raw: &[u8]) -> Option<Message<'_>> {
    (raw.len() <= LETTER_MAX).then(|| structure::read(raw).ok()).flatten()
}

fn subject(message: &Message<'_>) -> String {
    clean(message.subject().unwrap_or_default(), FIELDS_MAX.1)
}

fn addresses(address: Option<&Address<'_>>) -> String {
    let written = |one: &mail_parser::Addr<'_>| match (&one.name, &one.address) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (Some(name), None) => name.to_string(),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    };
    let all: Vec<_> =
        address.into_iter().flat_map(Address::iter).take(ADDRESSES_MAX).map(written).collect();
    clean(&all.join(", "), FIELDS_MAX.1)
}

fn fields(message: &Message<'_>) -> Vec<(String, String)> {
    let (most, longest) = FIELDS_MAX;
    let field = |(name, value): (&str, &str)| (clean(name, 80), clean(value.trim(), longest));
    message.headers_raw().take(most).map(field).collect()
}

/// Returns the HTML that a mail reader would show.
fn html_of<'a>(message: &'a Message<'_>) -> Option<&'a str> {
    message.html_bodies().find_map(|part| match &part.body {
        PartType::Html(html) => Some(html.as_ref()),
        PartType::Text(_)
        | PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Message(_)
        | PartType::Multipart(_) => None,
    })
}

fn parts(message: &Message<'_>) -> Vec<Attached> {
    let (most, longest) = PARTS_MAX;
    let numbers = message.attachments.iter().take(most).map(|number| *number as usize);
    let attached = numbers.filter_map(|number| {
        let part = message.parts.get(number)?;
        let kind = part.content_type().map_or_else(String::new, |kind| match &kind.c_subtype {
            Some(subtype) => format!("{}/{subtype}", kind.c_type),
            None => kind.c_type.to_string(),
        });
        let name = clean(part.attachment_name().unwrap_or_default(), longest);
        let name = if name.is_empty() { format!("part-{number}") } else { name };
        Some(Attached { number, name, kind: clean(&kind, 80), size_bytes: part.contents().len() })
    });
    attached.collect()
}

/// Returns the type of a part that may be put into HTML as a picture. SVG is a document, so it may not.
fn picture(part: &mail_parser::MessagePart<'_>) -> Option<&'static str> {
    ["png", "jpeg", "gif", "webp"].into_iter().find(|kind| part.is_content_type("image", kind))
}

fn bare(id: &str) -> &str {
    id.trim().trim_start_matches('<').trim_end_matches('>')
}

/// Makes one line of a text, without what could turn it around or hide in it, of at most so many characters.
fn clean(text: &str, most: usize) -> String {
    let is_fine = |c: &char| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut cleaned = String::new();
    for c in text.chars().filter(is_fine).take(most) {
        match c {
            '\r' => {}
            c if c.is_control() => cleaned.push(' '),
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// Cuts a text after at most so many octets, between two characters.
fn cut(text: &str, octets: usize) -> &str {
    &text[..text.floor_char_boundary(octets)]
}

/// Elements that a browser obeys outside of all policies, by the beginnings of their names: it looks up and
/// connects to the hosts of links and of frames before it asks whether it may load them, goes by what meta and
/// base say, and lets animations give a link the target that was taken from it (SVG 1.1, section 19.2).
const UNWANTED: [&str; 11] = [
    "link",
    "meta",
    "base",
    "iframe",
    "frame",
    "fencedframe",
    "portal",
    "object",
    "embed",
    "animate",
    "set",
];

/// Links that lead nowhere look like links all the same, unless the message says otherwise.
const LINKS_STYLE: &str =
    "<style>:where(a[x-href]){color:#1a5aa5;text-decoration:underline}</style>";

/// Puts pictures in the places that name them, and takes the power of unwanted elements and of links, by
/// giving them another name. A browser connects to where a link leads when somebody only touches it.
fn harmless(html: &str, pictures: &BTreeMap<String, (&'static str, &[u8])>) -> String {
    let mut harmless = String::with_capacity(html.len().min(HTML_MAX));
    let (mut rest, mut places) = (html, 0);
    while let Some(place) = rest.find(['<', ':', '=']) {
        let (before, after) = rest.split_at(place + 1);
        if harmless.len() + before.len() > HTML_MAX {
            return harmless;
        }
        harmless.push_str(before);
        rest = after;
        match before.as_bytes()[place] {
            b'<' if UNWANTED.iter().any(|name| begins(rest, name)) => harmless.push_str("x-"),
            b'=' => {
                if let Some(place) = link(&harmless) {
                    harmless.insert_str(place, "x-");
                }
            }
            b':' if places < PLACES_MAX && ends(before, "cid:") => {
                places += 1;
                rest = put_in(&mut harmless, rest, pictures);
            }
            _ => {}
        }
    }
    harmless.push_str(cut(rest, HTML_MAX.saturating_sub(harmless.len())));
    harmless
}

/// Puts the picture in whose name follows `cid:`, the end of `html`. Returns what follows the name.
fn put_in<'a>(
    html: &mut String,
    rest: &'a str,
    pictures: &BTreeMap<String, (&'static str, &[u8])>,
) -> &'a str {
    // First what may be a name, then its end: the other way round is work for all of the rest, each time.
    let named = cut(rest, CONTENT_ID_MAX);
    let end = named.find(|c: char| c.is_ascii_whitespace() || "\"'<>)&;".contains(c));
    let named = &named[..end.unwrap_or(named.len())];
    let Some((kind, octets)) = pictures.get(&unescaped(named)) else { return rest };
    if html.len() + octets.len().div_ceil(3) * 4 > HTML_MAX {
        return rest;
    }
    html.truncate(html.len() - "cid:".len());
    html.push_str("data:image/");
    html.push_str(kind);
    html.push_str(";base64,");
    STANDARD.encode_string(octets, html);
    &rest[named.len()..]
}

/// Returns where the name of an attribute stands that makes a link, if a text ends with it and its sign of
/// equality. No name is written otherwise: HTML takes no references in them.
fn link(text: &str) -> Option<usize> {
    let name = text.strip_suffix('=')?.trim_end_matches(|c: char| c.is_ascii_whitespace());
    ends(name, "href").then(|| name.len() - "href".len())
}

/// Returns where the links of HTML lead.
fn links(html: &str) -> Vec<String> {
    let (most, longest) = LINKS_MAX;
    let mut links = Vec::new();
    let after_names = memchr::memchr_iter(b'=', html.as_bytes()).filter_map(|place| {
        let (before, after) = html.split_at(place + 1);
        link(before).map(|_| after)
    });
    for value in after_names.filter_map(web).take(PLACES_MAX) {
        let link = clean(value.trim(), longest).replace("&amp;", "&");
        if !links.contains(&link) {
            links.push(link);
        }
        if links.len() == most {
            break;
        }
    }
    links
}

/// Returns the value of an attribute with which a text begins, if it leads to the web; as much of it as is told.
fn web(text: &str) -> Option<&str> {
    let value = text.trim_ascii_start();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let value = quote.map_or(value, |_| value[1..].trim_ascii_start());
    if !["http://", "https://"].into_iter().any(|scheme| begins(value, scheme)) {
        return None;
    }
    let value = cut(value, 4 * LINKS_MAX.1);
    let is_end = |c: char| match quote {
        Some(quote) => c == quote,
        None => c.is_ascii_whitespace() || c == '>',
    };
    value.split(is_end).next()
}

fn begins(text: &str, word: &str) -> bool {
    text.as_bytes()
        .get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

fn ends(text: &str, word: &str) -> bool {
    let start = text.len().saturating_sub(word.len());
    text.as_bytes()[start..].eq_ignore_ascii_case(word.as_bytes())
}

/// Takes percent-encoding away (RFC 2392, section 2).
fn unescaped(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        octets.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests;
