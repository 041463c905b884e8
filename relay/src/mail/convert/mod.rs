//! Mail for next hops that take no more than 7-bit lines: content of 8 bits or without lines
//! becomes quoted-printable or base64 (RFC 6152, section 3; RFC 3030, section 3; RFC 2045).
//!
//! Only what needs it is touched: a leaf whose octets do not fit, and the labels above it. Text
//! becomes quoted-printable, everything else base64; containers cannot be encoded (RFC 2046,
//! section 5), so their parts are.
//!
//! ```text
//! mod      the walk over a message and its parts
//! entity   a header section and what it says of its body
//! parts    where the parts of a multipart begin and end
//! encode   quoted-printable and base64
//! ```
//!
//! Not here: which next hop needs it (`delivery::carriage`). Signed mail is never touched: whoever
//! checked it would find a signature that does not fit.

mod encode;
mod entity;
mod parts;

use encode::{base64, quoted_printable};
use entity::{Coding, Entity, Kind};

use crate::smtp::address::Charset;
use crate::smtp::body::TEXT_LINE_MAX;

/// How deep parts may stand in parts: deeper ones are made to break readers.
pub const DEPTH_MAX: usize = 32;

/// How many parts and messages may stand in a message: more are made to cost memory.
pub const PARTS_MAX: usize = 10_000;

/// Why a message cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unconvertible {
    /// It is signed or encrypted, so a converted copy would look forged.
    #[error("the message is signed or encrypted, and converting it would break that")]
    Signed,
    /// A header section has octets above 127.
    #[error("a header of the message is not US-ASCII")]
    Header,
    /// Its structure is unclear: another reader could see other parts in it.
    #[error("the structure of the message cannot be read: {0}")]
    Malformed(&'static str),
}

/// Returns `message` with lines of at most [`TEXT_LINE_MAX`] octets and bodies of US-ASCII. Header
/// sections are kept as they are, but for labels of MIME; with [`Charset::Utf8`] they may be UTF-8.
///
/// The result has at most 3.2 times the octets, since an escape has three and a line of 25 of them a
/// break; and some 120 more for the labels of every part and message in it, of which there are at
/// most [`PARTS_MAX`].
///
/// # Errors
///
/// The message must not or cannot be converted.
pub fn to_seven_bit(message: &[u8], headers: Charset) -> Result<Vec<u8>, Unconvertible> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8);
    convert(message, headers, Place::TOP, &mut Allowance(PARTS_MAX), &mut out)?;
    Ok(out)
}

/// Tells whether every header section of `message` is US-ASCII, those of its parts included
/// (RFC 6532, section 3.1: each of them may be UTF-8).
///
/// # Errors
///
/// Its structure cannot be read.
pub fn headers_are_ascii(message: &[u8]) -> Result<bool, Unconvertible> {
    match ascii(message, Place::TOP, &mut Allowance(PARTS_MAX)) {
        Ok(()) => Ok(true),
        Err(Unconvertible::Header) => Ok(false),
        Err(fault @ (Unconvertible::Signed | Unconvertible::Malformed(_))) => Err(fault),
    }
}

/// Where an entity stands.
#[derive(Clone, Copy)]
struct Place {
    /// What it is if it does not say.
    default: Kind<'static>,
    depth: usize,
    /// It has the header of a message, not only that of a part.
    is_message: bool,
    ends: Ends,
}

/// What follows an entity.
#[derive(Clone, Copy)]
enum Ends {
    /// Nothing: its last line must be whole.
    Message,
    /// The line end that belongs to a delimiter.
    Delimiter,
}

impl Place {
    const TOP: Self = Self { default: Kind::TEXT, depth: 0, is_message: true, ends: Ends::Message };

    /// Returns the place of a part of a multipart.
    const fn part(self, of: Kind<'_>) -> Self {
        let default = if of.is("multipart", "digest") { Kind::MESSAGE } else { Kind::TEXT };
        Self { default, depth: self.depth + 1, is_message: false, ends: Ends::Delimiter }
    }

    /// Returns the place of a message that is the body of an entity.
    const fn inner(self) -> Self {
        Self { default: Kind::TEXT, depth: self.depth + 1, is_message: true, ends: self.ends }
    }
}

/// How many more parts and messages may be found.
struct Allowance(usize);

impl Allowance {
    fn spend(&mut self, count: usize) -> Result<(), Unconvertible> {
        let left = self.0.checked_sub(count);
        self.0 = left.ok_or(Unconvertible::Malformed("there are too many parts"))?;
        Ok(())
    }

    /// Cuts a multipart; the cut stops where there would be too many parts.
    fn split<'a>(
        &mut self,
        body: &'a [u8],
        boundary: &[u8],
    ) -> Result<parts::Cut<'a>, Unconvertible> {
        let found = parts::split(body, boundary, self.0 + 1);
        self.spend(found.parts.len())?;
        Ok(found)
    }
}

fn convert(
    input: &[u8],
    headers: Charset,
    place: Place,
    left: &mut Allowance,
    out: &mut Vec<u8>,
) -> Result<(), Unconvertible> {
    if place.depth > DEPTH_MAX {
        return Err(Unconvertible::Malformed("parts stand too deep in parts"));
    }
    let entity = Entity::read(input, place.default)?;
    if headers == Charset::Ascii && !entity.header.is_ascii() {
        return Err(Unconvertible::Header);
    }
    let fits = fits(entity.body);
    if fits && entity.coding.is_for_seven_bits() {
        out.extend_from_slice(input);
        return Ok(());
    }
    if entity.is_signed() {
        if !fits {
            return Err(Unconvertible::Signed);
        }
        // What fits stays, whatever its labels say: they are signed too.
        out.extend_from_slice(input);
        return Ok(());
    }
    match (entity.coding, entity.kind) {
        (Coding::Encoded | Coding::Unknown, _) => {
            Err(Unconvertible::Malformed("an encoded part has octets that its encoding lacks"))
        }
        (_, kind) if kind.type_is("multipart") => multipart(&entity, headers, place, left, out),
        (_, kind) if kind.is("message", "rfc822") => {
            entity.write_header(entity.coding.relabelled(), place.is_message, out);
            left.spend(1)?;
            convert(entity.body, headers, place.inner(), left, out)
        }
        (_, kind) if kind.type_is("message") && !kind.is("message", "global") && !fits => {
            Err(Unconvertible::Malformed("a part of a message type has to be 7-bit"))
        }
        (Coding::Seven | Coding::Eight | Coding::Binary, kind) => {
            leaf(&entity, kind, fits, place, out);
            Ok(())
        }
    }
}

/// Writes a leaf whose octets or whose label do not fit.
fn leaf(entity: &Entity<'_>, kind: Kind<'_>, fits: bool, place: Place, out: &mut Vec<u8>) {
    if fits {
        entity.write_header(Some("7bit"), place.is_message, out);
        out.extend_from_slice(entity.body);
    } else if kind.type_is("text") {
        entity.write_header(Some("quoted-printable"), place.is_message, out);
        quoted_printable(entity.body, out);
        if matches!(place.ends, Ends::Message) && !entity.body.ends_with(b"\r\n") {
            // A line has to end; this end is none of the text's.
            out.extend_from_slice(b"=\r\n");
        }
    } else {
        entity.write_header(Some("base64"), place.is_message, out);
        base64(entity.body, out);
    }
}

fn multipart(
    entity: &Entity<'_>,
    headers: Charset,
    place: Place,
    left: &mut Allowance,
    out: &mut Vec<u8>,
) -> Result<(), Unconvertible> {
    let found = left.split(entity.body, &entity.boundary()?)?;
    if found.parts.is_empty() {
        return Err(Unconvertible::Malformed("a multipart has no part"));
    }
    entity.write_header(entity.coding.relabelled(), place.is_message, out);
    // What stands around the parts is for nobody to read (RFC 2046, section 5.1.1).
    if fits(found.preamble) {
        out.extend_from_slice(found.preamble);
    }
    for (delimiter, part) in found.parts {
        out.extend_from_slice(delimiter);
        convert(part, headers, place.part(entity.kind), left, out)?;
    }
    out.extend_from_slice(found.end);
    if fits(found.epilogue) {
        out.extend_from_slice(found.epilogue);
    }
    Ok(())
}

/// Walks as [`convert`] does, and stops at the first header that is not US-ASCII.
fn ascii(input: &[u8], place: Place, left: &mut Allowance) -> Result<(), Unconvertible> {
    if place.depth > DEPTH_MAX {
        return Err(Unconvertible::Malformed("parts stand too deep in parts"));
    }
    if input.is_ascii() {
        return Ok(());
    }
    let entity = Entity::read(input, place.default)?;
    if !entity.header.is_ascii() {
        return Err(Unconvertible::Header);
    }
    if entity.kind.type_is("multipart") {
        let parts = left.split(entity.body, &entity.boundary()?)?.parts;
        let place = place.part(entity.kind);
        return parts.into_iter().try_for_each(|(_, part)| ascii(part, place, left));
    }
    if entity.kind.is("message", "rfc822") || entity.kind.is("message", "global") {
        left.spend(1)?;
        return ascii(entity.body, place.inner(), left);
    }
    Ok(())
}

/// Tells whether `octets` are lines of US-ASCII that every server takes.
fn fits(octets: &[u8]) -> bool {
    let mut rest = octets;
    loop {
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        if line.len() > TEXT_LINE_MAX || !line.is_ascii() || line.contains(&0) {
            return false;
        }
        match rest[end..] {
            [] => return true,
            [b'\r', b'\n', ..] => rest = &rest[end + 2..],
            [..] => return false,
        }
    }
}

#[cfg(test)]
mod leaves;
#[cfg(test)]
mod tests;
