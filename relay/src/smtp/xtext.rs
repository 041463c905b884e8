//! xtext: octets that may not stand in a parameter, written as `+` and two hexadecimal digits
//! (RFC 3461, section 4).

use std::fmt::Write as _;

/// Undoes xtext. Octets above 127 stand for themselves only in a value that was read as UTF-8;
/// escaped ones must be US-ASCII.
///
/// None if `value` is no xtext: an `=`, a space or a control octet stands in it, or a `+` without
/// two upper-case hexadecimal digits.
#[must_use]
pub fn decode(value: &str) -> Option<String> {
    let mut letters = value.chars();
    let mut text = String::with_capacity(value.len());
    while let Some(letter) = letters.next() {
        match letter {
            '+' => {
                let (high, low) = (hex(letters.next()?)?, hex(letters.next()?)?);
                let octet = high * 16 + low;
                text.push(char::from(octet).is_ascii().then_some(char::from(octet))?);
            }
            '=' => return None,
            '!'..='~' => text.push(letter),
            _ if letter.is_ascii() => return None,
            _ => text.push(letter),
        }
    }
    Some(text)
}

/// Writes `text` as xtext.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut xtext = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '+' | '=' | '\0'..=' ' | '\x7f' => {
                // Writing to a string cannot fail.
                let _ = write!(xtext, "+{:02X}", u32::from(letter));
            }
            _ => xtext.push(letter),
        }
    }
    xtext
}

const fn hex(digit: char) -> Option<u8> {
    match digit {
        '0'..='9' => Some(digit as u8 - b'0'),
        'A'..='F' => Some(digit as u8 - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_undone_and_nothing_else_is_taken() {
        for (value, text) in [
            ("e+3Dmc2@example.com", Some("e=mc2@example.com")),
            ("a+2Bb", Some("a+b")),
            ("+20", Some(" ")),
            ("", Some("")),
            ("a=b", None),
            ("a b", None),
            ("a+3d", None),
            ("a+3", None),
            ("a+", None),
            ("a+FF", None),
            ("a\x7f", None),
        ] {
            assert_eq!(decode(value).as_deref(), text, "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_to_the_same(text in "\\PC{0,40}|[ -~\\x00-\\x1f]{0,40}") {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }
    }
}
