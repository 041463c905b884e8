//! Mailbox addresses and paths (RFC 5321, section 4.1.2), read strictly and kept as written.
//!
//! An address that was accepted here can be written back into a command without quoting: it holds
//! no space, angle bracket or control octet outside a quoted string, and no CR or LF anywhere.
//! Quoted local parts stay quoted, so that `"a>b"@example.net` never becomes `a>b@example.net`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest local part, octets (RFC 5321, section 4.5.3.1.1).
pub const LOCAL_MAX: usize = 64;
/// The longest domain, octets (RFC 5321, section 4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;
/// The longest path with its angle brackets, octets (RFC 5321, section 4.5.3.1.3).
pub const PATH_MAX: usize = 256;

/// A mailbox: a local part and a domain or address literal. US-ASCII, unless it was read as
/// [`Charset::Utf8`].
///
/// The local part keeps its case; the domain compares without regard to the case of US-ASCII.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    text: String,
    at: usize,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@` between a local part and a domain.
    #[error("an address is written local-part@domain")]
    NoAt,
    /// The local part is empty or holds an octet that must be quoted.
    #[error("the local part is malformed")]
    Local,
    /// The domain is neither a domain name nor an address literal.
    #[error("the domain is malformed")]
    Domain,
    /// A part is longer than RFC 5321, section 4.5.3.1, allows.
    #[error("the address is too long")]
    TooLong,
    /// An octet above 127 without SMTPUTF8.
    #[error("the address is not US-ASCII")]
    NotAscii,
}

/// What an address may be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// US-ASCII (RFC 5321, section 4.1.2).
    Ascii,
    /// UTF-8 (RFC 6531, section 3.3). Limits count octets all the same.
    Utf8,
}

impl Address {
    /// Returns the local part as written, with its quotes if it has any.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// Returns the domain or the address literal with its brackets.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// Returns the whole address, without angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns what the address is written in.
    #[must_use]
    pub fn charset(&self) -> Charset {
        if self.text.is_ascii() { Charset::Ascii } else { Charset::Utf8 }
    }

    /// Reads `local-part@domain` without angle brackets or source route.
    ///
    /// # Errors
    ///
    /// The text is no address, or not one in `charset`.
    pub fn read(text: &str, charset: Charset) -> Result<Self, AddressError> {
        if charset == Charset::Ascii && !text.is_ascii() {
            return Err(AddressError::NotAscii);
        }
        let at = local_length(text)?;
        if text.as_bytes().get(at) != Some(&b'@') {
            return Err(if text.contains('@') { AddressError::Local } else { AddressError::NoAt });
        }
        let domain = &text[at + 1..];
        if at > LOCAL_MAX || domain.len() > DOMAIN_MAX || text.len() + 2 > PATH_MAX {
            return Err(AddressError::TooLong);
        }
        if !is_domain(domain) && !is_literal(domain) && !is_international(domain) {
            return Err(AddressError::Domain);
        }
        Ok(Self { text: text.to_owned(), at })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads an address in US-ASCII, as [`Address::read`] does.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::read(text, Charset::Ascii)
    }
}

/// Returns how many octets of `text` the local part takes: a dot-string or a quoted string.
fn local_length(text: &str) -> Result<usize, AddressError> {
    if text.starts_with('"') {
        return quoted_length(text).ok_or(AddressError::Local);
    }
    let length = text.find(|c| !(is_atext(c) || c == '.')).unwrap_or(text.len());
    let local = &text[..length];
    let dots_stand_well = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    if local.is_empty() || !dots_stand_well {
        return Err(AddressError::Local);
    }
    Ok(length)
}

/// Returns the length of the quoted string that `text` begins with, both quotes included.
fn quoted_length(text: &str) -> Option<usize> {
    let mut letters = text.char_indices().skip(1);
    loop {
        match letters.next()? {
            (1, '"') => return None,
            (place, '"') => return Some(place + 1),
            (_, '\\') => {
                letters.next().filter(|(_, escaped)| matches!(escaped, ' '..='~'))?;
            }
            (_, ' '..='~') => {}
            (_, letter) if is_foreign(letter) => {}
            _ => return None,
        }
    }
}

/// Tells whether `letter` may stand in an atom (RFC 5322, section 3.2.3; RFC 6532, section 3.2).
fn is_atext(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '!' | '#'..='\'' | '*' | '+' | '-' | '/')
        || matches!(letter, '=' | '?' | '^'..='`' | '{'..='~')
        || is_foreign(letter)
}

/// Tells whether `letter` is one that US-ASCII lacks, and neither space nor control, nor one that
/// shows nothing or turns the letters after it around: an operator must see the address that it is.
fn is_foreign(letter: char) -> bool {
    let hidden = matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e007f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !letter.is_ascii() && !letter.is_whitespace() && !letter.is_control() && !hidden
}

/// Tells whether `text` is a domain name with labels in UTF-8 (RFC 6531, section 3.3). Whether a
/// label is one of IDNA shows where the name is looked up.
fn is_international(text: &str) -> bool {
    let stands = |label: &str| {
        label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || is_foreign(c))
            && (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !text.is_ascii() && text.len() <= DOMAIN_MAX && text.split('.').all(stands)
}

/// Tells whether `text` is a domain name of at most 255 octets: labels of letters, digits and
/// inner hyphens, at most 63 octets each (RFC 5321, section 4.1.2; RFC 1035, section 2.3.4).
///
/// A trailing dot is not allowed here (RFC 5321, section 2.3.5).
#[must_use]
pub fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= DOMAIN_MAX
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Tells whether `text` is an address literal: `[192.0.2.1]` or `[IPv6:2001:db8::1]`
/// (RFC 5321, section 4.1.3).
#[must_use]
pub fn is_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.local() == other.local() && self.domain().eq_ignore_ascii_case(other.domain())
    }
}

impl Eq for Address {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    /// Reads what was written from an address, whatever it was written in.
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::read(&text, Charset::Utf8)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.text
    }
}

/// The sender of an envelope (RFC 5321, section 4.1.2): a mailbox, or the null path of reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`: nobody is to be told of failures.
    Null,
    /// A mailbox.
    Mailbox(Address),
}

impl ReversePath {
    /// Returns the mailbox, if there is one.
    #[must_use]
    pub const fn mailbox(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Mailbox(address) => Some(address),
        }
    }
}

impl fmt::Display for ReversePath {
    /// Writes the path without angle brackets; the null path is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_the_rfc_allows_are_read_and_kept_as_written() {
        for text in [
            "a@example.net",
            "first.last+tag@sub.example.net",
            "\"a b\"@example.net",
            "\"a>b\\\"@c\"@example.net",
            "a@[192.0.2.1]",
            "a@[IPv6:2001:db8::1]",
            "!#$%&'*+-/=?^_`{|}~@x",
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        let long_local = format!("{}@example.net", "a".repeat(65));
        let rows: &[(&str, AddressError)] = &[
            ("", AddressError::Local),
            ("a", AddressError::NoAt),
            ("@example.net", AddressError::Local),
            (".a@example.net", AddressError::Local),
            ("a.@example.net", AddressError::Local),
            ("a..b@example.net", AddressError::Local),
            ("a b@example.net", AddressError::Local),
            ("\"a@example.net", AddressError::Local),
            ("\"\"@example.net", AddressError::Local),
            ("\"a\r\n\"@example.net", AddressError::Local),
            ("a@", AddressError::Domain),
            ("a@example..net", AddressError::Domain),
            ("a@example.net.", AddressError::Domain),
            ("a@-x.net", AddressError::Domain),
            ("a@x_y.net", AddressError::Domain),
            ("a@b@example.net", AddressError::Domain),
            ("a@[192.0.2]", AddressError::Domain),
            ("a@[2001:db8::1]", AddressError::Domain),
            ("a@example.net>", AddressError::Domain),
            (&long_local, AddressError::TooLong),
            ("ü@example.net", AddressError::NotAscii),
        ];
        for (text, reason) in rows {
            assert_eq!(text.parse::<Address>().unwrap_err(), *reason, "{text}");
        }
    }

    #[test]
    fn addresses_in_utf8_are_read_where_they_may_be_and_count_octets() {
        let read = |text: &str| Address::read(text, Charset::Utf8);
        for text in ["ü@example.net", "\"ü a\"@example.net", "a@bücher.example", "用户@例子.广告"]
        {
            let address = read(text).expect(text);
            assert_eq!((address.as_str(), address.charset()), (text, Charset::Utf8));
            assert_eq!(Address::try_from(text.to_owned()), Ok(address));
            assert_eq!(text.parse::<Address>(), Err(AddressError::NotAscii));
        }
        assert_eq!(read("a@example.net").expect("an address").charset(), Charset::Ascii);
        let long = format!("{}@example.net", "ü".repeat(33));
        for (text, reason) in [
            (long.as_str(), AddressError::TooLong),
            ("\u{a0}@example.net", AddressError::Local),
            ("\u{85}@example.net", AddressError::Local),
            ("a\u{202e}b@example.net", AddressError::Local),
            ("\"a\u{202e}b\"@example.net", AddressError::Local),
            ("\"a\u{9f}\"@example.net", AddressError::Local),
            ("a@bü..example", AddressError::Domain),
            ("a@-ü.example", AddressError::Domain),
            ("a@ü_.example", AddressError::Domain),
        ] {
            assert_eq!(read(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn domains_compare_without_case_and_local_parts_with_it() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(address("a@Example.NET"), address("a@example.net"));
        assert_ne!(address("A@example.net"), address("a@example.net"));
    }
}
