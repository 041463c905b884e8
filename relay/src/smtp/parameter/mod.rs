//! The parameters of MAIL and RCPT (RFC 5321, section 4.1.1.11), read strictly.
//!
//! ```text
//! mod       SIZE BODY AUTH SMTPUTF8 REQUIRETLS, and the table of names
//! report    RET ENVID NOTIFY ORCPT: when somebody wants to hear of a message
//! timing    HOLDFOR HOLDUNTIL BY MT-PRIORITY: when a message is to travel
//! ```

mod report;
mod timing;

use serde::{Deserialize, Serialize};

use super::address::{Address, ReversePath};
use super::command::ArgumentError;
use super::extension::{Extension, Extensions};
use super::xtext;

pub use report::{Notify, OriginalRecipient, Return};
pub use timing::{ByMode, DeliverBy, HOLD_MAX, Hold, Priority};

/// The longest AUTH= value, octets (RFC 4954, section 5).
const AUTH_VALUE_MAX: usize = 500;

/// What the octets of a body are: as the client promised in MAIL (RFC 6152, section 2), and once
/// the body was read, as they were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Lines of US-ASCII.
    #[default]
    SevenBit,
    /// Lines of any octets.
    EightBit,
    /// Any octets, lines or not (RFC 3030, section 3).
    Binary,
}

/// What MAIL says besides the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// The size the client declares, octets; more than 64 bits hold count as the largest number
    /// (RFC 1870, section 3: up to 20 digits).
    pub size_bytes: Option<u64>,
    /// The kind of body the client declares (RFC 6152, section 2).
    pub body: Option<Body>,
    /// Who submitted the message in the client's eyes (RFC 4954, section 5). Read for its syntax;
    /// we vouch for nobody, so it goes no further.
    pub auth: Option<ReversePath>,
    /// Addresses or headers may be UTF-8 (RFC 6531, section 3.4).
    pub utf8: Option<Utf8>,
    /// Every hop must be by TLS with a verified name (RFC 8689, section 2).
    pub require_tls: Option<RequireTls>,
    /// How much of the message goes back with a failure report (RFC 3461, section 4.3).
    pub report: Option<Return>,
    /// The sender's name for the transaction, xtext undone (RFC 3461, section 4.4): at most 100
    /// octets as written.
    pub envelope_id: Option<String>,
    /// When the message may travel (RFC 4865, section 5).
    pub hold: Option<Hold>,
    /// By when the message must arrive (RFC 2852, section 4).
    pub by: Option<DeliverBy>,
    /// Which mail goes first (RFC 6710, section 3).
    pub priority: Option<Priority>,
}

/// The parameter SMTPUTF8 was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Given", into = "Given")]
pub struct Utf8;

/// The parameter REQUIRETLS was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Given", into = "Given")]
pub struct RequireTls;

/// How a parameter without a value is stored. In JSON a unit would be `null`, as one that was not
/// given is, and a promise would be forgotten.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Given {
    Given,
}

impl From<Given> for Utf8 {
    fn from(Given::Given: Given) -> Self {
        Self
    }
}

impl From<Utf8> for Given {
    fn from(Utf8: Utf8) -> Self {
        Self::Given
    }
}

impl From<Given> for RequireTls {
    fn from(Given::Given: Given) -> Self {
        Self
    }
}

impl From<RequireTls> for Given {
    fn from(RequireTls: RequireTls) -> Self {
        Self::Given
    }
}

/// What RCPT says besides the recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParameters {
    /// Of what the sender wants to hear (RFC 3461, section 4.1).
    pub notify: Option<Notify>,
    /// Whom the sender had written to, before anybody forwarded it (RFC 3461, section 4.2).
    pub original: Option<OriginalRecipient>,
}

impl MailParameters {
    /// Returns whether any parameter was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads parameters that are separated by single spaces. Those of extensions that are not in
    /// `extensions` count as unknown.
    ///
    /// # Errors
    ///
    /// `Parameter` for an unknown one (555 5.5.4), `Value` for a bad value or a second one of the
    /// same name (501 5.5.4), `Priority` for a priority that is none (501 5.5.2).
    pub fn read(text: &str, extensions: Extensions) -> Result<Self, ArgumentError> {
        let mut read = Self::default();
        for (name, value) in parameters(text) {
            let name = name?;
            match name.as_str() {
                "SIZE" => once(&mut read.size_bytes, value.and_then(size))?,
                "BODY" => once(&mut read.body, value.and_then(|value| body(value, extensions)))?,
                "AUTH" => once(&mut read.auth, value.and_then(auth))?,
                "SMTPUTF8" if extensions.has(Extension::SmtpUtf8) => {
                    once(&mut read.utf8, value.is_none().then_some(Utf8))?;
                }
                "REQUIRETLS" if extensions.has(Extension::RequireTls) => {
                    once(&mut read.require_tls, value.is_none().then_some(RequireTls))?;
                }
                "RET" if extensions.has(Extension::Dsn) => {
                    once(&mut read.report, value.and_then(report::ret))?;
                }
                "ENVID" if extensions.has(Extension::Dsn) => {
                    once(&mut read.envelope_id, value.and_then(report::envelope_id))?;
                }
                "HOLDFOR" if extensions.has(Extension::FutureRelease) => {
                    once(&mut read.hold, value.and_then(timing::hold_for))?;
                }
                "HOLDUNTIL" if extensions.has(Extension::FutureRelease) => {
                    once(&mut read.hold, value.and_then(timing::hold_until))?;
                }
                "BY" if extensions.has(Extension::DeliverBy) => {
                    once(&mut read.by, value.and_then(timing::by))?;
                }
                "MT-PRIORITY" if extensions.has(Extension::MtPriority) => {
                    let priority = value.and_then(timing::priority);
                    once(&mut read.priority, Some(priority.ok_or(ArgumentError::Priority)?))?;
                }
                _ => return Err(ArgumentError::Parameter),
            }
        }
        Ok(read)
    }
}

impl RcptParameters {
    /// Returns whether any parameter was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads parameters as [`MailParameters::read`] does.
    ///
    /// # Errors
    ///
    /// `Parameter` or `Value`, as there.
    pub fn read(text: &str, extensions: Extensions) -> Result<Self, ArgumentError> {
        let mut read = Self::default();
        for (name, value) in parameters(text) {
            match name?.as_str() {
                "NOTIFY" if extensions.has(Extension::Dsn) => {
                    once(&mut read.notify, value.and_then(report::notify))?;
                }
                "ORCPT" if extensions.has(Extension::Dsn) => {
                    once(&mut read.original, value.and_then(report::original))?;
                }
                _ => return Err(ArgumentError::Parameter),
            }
        }
        Ok(read)
    }
}

/// Splits a parameter list into names in upper case and values.
fn parameters(text: &str) -> impl Iterator<Item = (Result<String, ArgumentError>, Option<&str>)> {
    text.split(' ').map(|parameter| {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (parameter, None),
        };
        if name.is_empty() {
            return (Err(ArgumentError::Syntax), value);
        }
        (Ok(name.to_ascii_uppercase()), value)
    })
}

/// Fills a place that may be filled once.
pub(super) fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), ArgumentError> {
    let value = value.ok_or(ArgumentError::Value)?;
    place.replace(value).map_or(Ok(()), |_| Err(ArgumentError::Value))
}

/// Reads 1 to 20 digits (RFC 1870, section 3).
fn size(value: &str) -> Option<u64> {
    digits(value, 20).then(|| value.parse().unwrap_or(u64::MAX))
}

/// Tells whether `value` is 1 to `most` digits.
fn digits(value: &str, most: usize) -> bool {
    (1..=most).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit())
}

fn body(value: &str, extensions: Extensions) -> Option<Body> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(Body::SevenBit),
        "8BITMIME" => Some(Body::EightBit),
        "BINARYMIME" if extensions.has(Extension::BinaryMime) => Some(Body::Binary),
        _ => None,
    }
}

/// Reads `<>` or a mailbox in xtext (RFC 4954, section 5; RFC 3461, section 4).
fn auth(value: &str) -> Option<ReversePath> {
    if value.len() > AUTH_VALUE_MAX {
        return None;
    }
    let text = xtext::decode(value)?;
    if text == "<>" {
        return Some(ReversePath::Null);
    }
    text.parse::<Address>().ok().map(ReversePath::Mailbox)
}

#[cfg(test)]
mod tests;
