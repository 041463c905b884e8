//! When somebody wants to hear of a message (RFC 3461, section 4).

use serde::{Deserialize, Serialize};

use crate::smtp::xtext;

/// The longest ENVID value as written, octets (RFC 3461, section 4.4).
const ENVELOPE_ID_MAX: usize = 100;
/// The longest ORCPT value as written, octets (RFC 3461, section 4.2).
const ORIGINAL_MAX: usize = 500;
/// The longest name of an address type, octets: `rfc822`, `utf-8`, `x400` (RFC 3461, section 4.2).
const TYPE_MAX: usize = 32;

/// How much of a message goes back with a failure report (RFC 3461, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header section.
    Headers,
}

/// Of what a sender wants to hear about one recipient (RFC 3461, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notify {
    /// Of nothing at all.
    Never,
    /// Of these, at least one.
    On {
        /// The message was delivered.
        success: bool,
        /// It was given up.
        failure: bool,
        /// It is late.
        delay: bool,
    },
}

/// Whom a sender had written to: the type of the address and the address, xtext undone (RFC 3461,
/// section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalRecipient {
    /// The type, for instance `rfc822`: at most 32 octets.
    pub kind: String,
    /// The address: never empty, no longer than 500 octets as written with its type.
    pub address: String,
}

/// Reads `FULL` or `HDRS`.
pub(super) fn ret(value: &str) -> Option<Return> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Some(Return::Full),
        "HDRS" => Some(Return::Headers),
        _ => None,
    }
}

/// Reads 1 to 100 octets of xtext that stand for printable US-ASCII: the name is written into
/// reports (RFC 3464, section 2.2.1).
pub(super) fn envelope_id(value: &str) -> Option<String> {
    if !(1..=ENVELOPE_ID_MAX).contains(&value.len()) {
        return None;
    }
    xtext::decode(value).filter(|text| is_printable(text))
}

/// Reads `NEVER`, or a list without it. A word that stands there twice is a fault of the client.
pub(super) fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        let place = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut success,
            "FAILURE" => &mut failure,
            "DELAY" => &mut delay,
            _ => return None,
        };
        if std::mem::replace(place, true) {
            return None;
        }
    }
    Some(Notify::On { success, failure, delay })
}

/// Reads `type;address`.
pub(super) fn original(value: &str) -> Option<OriginalRecipient> {
    if value.len() > ORIGINAL_MAX {
        return None;
    }
    let (kind, address) = value.split_once(';')?;
    let named = (1..=TYPE_MAX).contains(&kind.len())
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let address = xtext::decode(address)?;
    if !named || address.is_empty() || address.chars().any(char::is_control) {
        return None;
    }
    Some(OriginalRecipient { kind: kind.to_owned(), address })
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
