//! The parameters of MAIL (RFC 5321, section 4.1.1.11): SIZE, BODY, AUTH.

use serde::{Deserialize, Serialize};

use super::address::{Address, ReversePath};
use super::command::ArgumentError;

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
}

impl MailParameters {
    /// Returns whether any parameter was given.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.size_bytes.is_none() && self.body.is_none() && self.auth.is_none()
    }

    /// Reads parameters that are separated by single spaces.
    ///
    /// # Errors
    ///
    /// `Parameter` for an unknown one (555 5.5.4), `Value` for a bad value or a second one of the
    /// same name (501 5.5.4).
    pub fn read(text: &str) -> Result<Self, ArgumentError> {
        let mut parameters = Self::default();
        for parameter in text.split(' ') {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (parameter, None),
            };
            match name.to_ascii_uppercase().as_str() {
                "SIZE" => once(&mut parameters.size_bytes, value.and_then(size))?,
                "BODY" => once(&mut parameters.body, value.and_then(body))?,
                "AUTH" => once(&mut parameters.auth, value.and_then(auth))?,
                "" => return Err(ArgumentError::Syntax),
                _ => return Err(ArgumentError::Parameter),
            }
        }
        Ok(parameters)
    }
}

/// Fills a place that may be filled once.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), ArgumentError> {
    let value = value.ok_or(ArgumentError::Value)?;
    place.replace(value).map_or(Ok(()), |_| Err(ArgumentError::Value))
}

/// Reads 1 to 20 digits (RFC 1870, section 3).
fn size(value: &str) -> Option<u64> {
    let digits = (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Option<Body> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(Body::SevenBit),
        "8BITMIME" => Some(Body::EightBit),
        _ => None,
    }
}

/// Reads `<>` or a mailbox in xtext (RFC 4954, section 5; RFC 3461, section 4).
fn auth(value: &str) -> Option<ReversePath> {
    if value.len() > AUTH_VALUE_MAX {
        return None;
    }
    let text = xtext(value)?;
    if text == "<>" {
        return Some(ReversePath::Null);
    }
    text.parse::<Address>().ok().map(ReversePath::Mailbox)
}

/// Undoes xtext: `+` and two upper-case hexadecimal digits stand for one octet.
fn xtext(value: &str) -> Option<String> {
    let mut octets = value.bytes();
    let mut text = String::new();
    while let Some(octet) = octets.next() {
        match octet {
            b'+' => {
                let high = hex(octets.next()?)?;
                let low = hex(octets.next()?)?;
                text.push(char::from(high * 16 + low));
            }
            b'=' => return None,
            b'!'..=b'~' => text.push(char::from(octet)),
            _ => return None,
        }
    }
    Some(text)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_read_in_any_order_and_case() {
        let read =
            MailParameters::read("body=8bitmime SIZE=1000 AUTH=e+3Dmc2@example.com").unwrap();
        let auth = ReversePath::Mailbox("e=mc2@example.com".parse().unwrap());
        let expected =
            MailParameters { size_bytes: Some(1000), body: Some(Body::EightBit), auth: Some(auth) };
        assert_eq!(read, expected);
        let null = MailParameters::read("AUTH=<>").unwrap();
        assert_eq!(null.auth, Some(ReversePath::Null));
    }

    #[test]
    fn a_size_of_twenty_digits_counts_as_the_largest_number() {
        let read = MailParameters::read("SIZE=99999999999999999999").unwrap();
        assert_eq!(read.size_bytes, Some(u64::MAX));
    }

    #[test]
    fn bad_values_doubles_and_unknown_names_are_told_apart() {
        use ArgumentError::{Parameter, Syntax, Value};
        let long = format!("AUTH={}@example.net", "a".repeat(500));
        for (text, error) in [
            ("SIZE=abc", Value),
            ("SIZE=", Value),
            ("SIZE", Value),
            ("SIZE=-1", Value),
            ("SIZE=100000000000000000000", Value),
            ("SIZE=1 SIZE=1", Value),
            ("BODY=BINARYMIME", Value),
            ("AUTH=a+3db@example.net", Value),
            ("AUTH=a+3", Value),
            ("AUTH=", Value),
            ("AUTH=nobody", Value),
            (&long, Value),
            ("SMTPUTF8", Parameter),
            ("RET=FULL", Parameter),
            ("SIZE=1  BODY=7BIT", Syntax),
            ("", Syntax),
        ] {
            assert_eq!(MailParameters::read(text), Err(error), "{text}");
        }
    }
}
