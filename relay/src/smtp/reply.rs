//! Replies (RFC 5321, section 4.2) with enhanced status codes (RFC 2034, RFC 3463).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The longest reply line with its CRLF, octets (RFC 5321, section 4.5.3.1.5).
pub const REPLY_LINE_MAX: usize = 512;

/// An enhanced status code: class, subject, detail (RFC 3463, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enhanced(pub u8, pub u16, pub u16);

/// A reply that we send.
///
/// Every line carries the enhanced code if there is one, and its class equals the first digit of
/// the code (RFC 2034, section 4). Text is printable US-ASCII: anything else is written as `?`, so
/// that a peer's octets can never start a line of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<Enhanced>,
    lines: Vec<String>,
}

impl Reply {
    /// Returns a reply of one line with an enhanced code.
    #[must_use]
    pub fn new(code: u16, enhanced: Enhanced, text: &str) -> Self {
        debug_assert_eq!(u16::from(enhanced.0), code / 100, "the class equals the first digit");
        Self { code, enhanced: Some(enhanced), lines: vec![text.to_owned()] }
    }

    /// Returns a reply without an enhanced code: greetings, the answers to HELO and EHLO, and 3xx
    /// (RFC 2034, section 4).
    #[must_use]
    pub fn plain(code: u16, text: &str) -> Self {
        Self { code, enhanced: None, lines: vec![text.to_owned()] }
    }

    /// Adds a line.
    #[must_use]
    pub fn line(mut self, text: &str) -> Self {
        self.lines.push(text.to_owned());
        self
    }

    /// Returns the three-digit code.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// Returns the octets to send: lines of at most [`REPLY_LINE_MAX`] octets that end in CRLF.
    #[must_use]
    pub fn to_wire(&self) -> String {
        let mut wire = String::new();
        for (place, text) in self.lines.iter().enumerate() {
            let start = wire.len();
            let mark = if place + 1 == self.lines.len() { ' ' } else { '-' };
            let _ = write!(wire, "{}{mark}", self.code);
            if let Some(Enhanced(class, subject, detail)) = self.enhanced {
                let _ = write!(wire, "{class}.{subject}.{detail} ");
            }
            let room = REPLY_LINE_MAX - 2 - (wire.len() - start);
            wire.extend(
                text.chars().take(room).map(|c| if matches!(c, ' '..='~') { c } else { '?' }),
            );
            wire.push_str("\r\n");
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_carries_code_and_enhanced_code() {
        let reply = Reply::new(550, Enhanced(5, 7, 1), "one").line("two");
        assert_eq!(reply.to_wire(), "550-5.7.1 one\r\n550 5.7.1 two\r\n");
        assert_eq!(Reply::plain(354, "go on").to_wire(), "354 go on\r\n");
    }

    #[test]
    fn foreign_octets_neither_break_a_line_nor_lengthen_it() {
        let reply = Reply::new(501, Enhanced(5, 5, 4), &format!("a\r\n250 ü{}", "x".repeat(900)));
        let wire = reply.to_wire();
        assert_eq!(wire.len(), REPLY_LINE_MAX);
        assert!(wire.starts_with("501 5.5.4 a??250 ?x"));
        assert_eq!(wire.matches("\r\n").count(), 1);
    }
}
