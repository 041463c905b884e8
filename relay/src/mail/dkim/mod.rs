//! DKIM signatures (RFC 6376, RFC 8463): which domain signs, what is signed, and the field.
//!
//! ```text
//! body      the hash of the body, as it streams by
//! header    which fields are signed, and in which form
//! ```
//!
//! Pure: whoever holds a key signs what [`Draft::input`] gives. A signature covers the whole body
//! (there is no `l=`: what somebody appends would count as signed) and does not expire.
//!
//! Not here: the keys (`net::signing`), and verifying the signatures of others.

mod body;
mod header;

use std::fmt::Write as _;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

pub use body::BodyHash;

use crate::smtp::address::Address;

/// The longest line of the field, octets, but for the domain and the selector, which stay whole.
const LINE_MAX: usize = 76;

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with SHA-256 (RFC 6376, section 3.3.1; RFC 8301).
    RsaSha256,
    /// Ed25519 over SHA-256 (RFC 8463, section 3).
    Ed25519Sha256,
}

impl Algorithm {
    /// Returns its name in the tag `a=`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// Whose signature it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer<'a> {
    /// The domain that answers for the message, lower case.
    pub domain: &'a str,
    /// Where in the domain its public key is found.
    pub selector: &'a str,
    /// How it signs.
    pub algorithm: Algorithm,
    /// When, UTC.
    pub at: Timestamp,
}

/// Returns which of `domains` signs a message of these authors: the longest that each of them is
/// in, so that nobody's domain is borrowed by another author; none if there is none.
///
/// That the login may use its authors was seen to when the message came (`policy::relaying`).
pub fn signing_domain<'a>(
    domains: impl Iterator<Item = &'a str>,
    authors: &[Address],
) -> Option<&'a str> {
    let covers = |domain: &&str| {
        !authors.is_empty() && authors.iter().all(|author| is_within(author.domain(), domain))
    };
    domains.filter(covers).max_by_key(|domain| domain.len())
}

/// Tells whether `name` is `domain` or a name below it.
fn is_within(name: &str, domain: &str) -> bool {
    let Some(above) = name.len().checked_sub(domain.len()) else { return false };
    let (front, tail) = name.as_bytes().split_at(above);
    tail.eq_ignore_ascii_case(domain.as_bytes()) && front.last().is_none_or(|last| *last == b'.')
}

/// A field that lacks its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    field: String,
    input: Vec<u8>,
}

impl Draft {
    /// Writes the field for a message with this header section and body.
    #[must_use]
    pub fn new(signer: Signer<'_>, header: &[u8], body_hash: [u8; 32]) -> Self {
        let Signer { domain, selector, algorithm, at } = signer;
        let (names, mut input) = header::signed(header);
        let mut field = format!(
            "DKIM-Signature: v=1; a={}; c=relaxed/relaxed;\r\n\td={domain}; s={selector};\r\n\tt={};",
            algorithm.name(),
            at.as_second(),
        );
        push_folded(&mut field, "h=", names.join(":").as_str(), ':');
        let body_hash = STANDARD.encode(body_hash);
        // Writing to a string cannot fail.
        let _ = write!(field, ";\r\n\tbh={body_hash};\r\n\tb=");
        // The field itself comes last, without the signature and without a line end (RFC 6376,
        // section 3.7).
        let own = header::relaxed(field.as_bytes());
        input.extend_from_slice(own.strip_suffix(b"\r\n").unwrap_or(&own));
        Self { field, input }
    }

    /// Returns what an RSA key signs with SHA-256 and PKCS #1 v1.5.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Returns what an Ed25519 key signs: the SHA-256 of the input (RFC 8463, section 3).
    #[must_use]
    pub fn digest(&self) -> digest::Digest {
        digest::digest(&digest::SHA256, &self.input)
    }

    /// Returns the field with its signature and line end.
    #[must_use]
    pub fn signed(self, signature: &[u8]) -> String {
        let mut field = self.field;
        for (place, line) in STANDARD.encode(signature).as_bytes().chunks(LINE_MAX - 4).enumerate()
        {
            if place > 0 {
                field.push_str("\r\n\t");
            }
            field.extend(line.iter().copied().map(char::from));
        }
        field.push_str("\r\n");
        field
    }
}

/// Appends a tag on a line of its own, folded after `mark`.
fn push_folded(field: &mut String, tag: &str, value: &str, mark: char) {
    field.push_str("\r\n\t");
    field.push_str(tag);
    let mut length = 8 + tag.len();
    for piece in value.split_inclusive(mark) {
        if length + piece.len() > LINE_MAX {
            field.push_str("\r\n\t ");
            length = 9;
        }
        field.push_str(piece);
        length += piece.len();
    }
}

#[cfg(test)]
mod tests;
