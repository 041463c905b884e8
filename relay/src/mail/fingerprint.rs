//! What a submission is known by when it comes again.
//!
//! A client that lost its connection before it saw the 250 sends its message once more. It is told
//! from a new one by everything that it said: login, arguments of MAIL and RCPT, and the text as it
//! came. Not here: which of them are remembered, and for how long (`spool::repeats`).

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};

/// The length of a SHA-256, octets.
const LENGTH: usize = 32;

/// One submission: equal for two of the same login with the same arguments and the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; LENGTH]);

/// A text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: 64 lower-case hexadecimal digits are expected")]
pub struct NotAFingerprint;

impl Fingerprint {
    /// The length of a written one, characters.
    pub const WRITTEN: usize = 2 * LENGTH;

    /// Reads what [`fmt::Display`] wrote.
    ///
    /// # Errors
    ///
    /// [`NotAFingerprint`].
    pub fn read(written: &[u8]) -> Result<Self, NotAFingerprint> {
        let digit = |letter: u8| match letter {
            b'0'..=b'9' => Ok(letter - b'0'),
            b'a'..=b'f' => Ok(letter - b'a' + 10),
            _ => Err(NotAFingerprint),
        };
        let (pairs, rest) = written.as_chunks::<2>();
        if pairs.len() != LENGTH || !rest.is_empty() {
            return Err(NotAFingerprint);
        }
        let mut octets = [0; LENGTH];
        for (octet, [high, low]) in octets.iter_mut().zip(pairs) {
            *octet = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(octets))
    }
}

impl Fingerprint {
    /// Returns what an equal submission is known by that came after `turn` others in one session: a
    /// client that sends a text twice there means it twice.
    #[must_use]
    pub fn again(self, turn: u32) -> Self {
        if turn == 0 { self } else { Self(sum(&[&self.0, &turn.to_le_bytes()])) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What MAIL and RCPT said, as digests: 32 octets a recipient, however long its command was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    mail: [u8; LENGTH],
    recipients: Vec<[u8; LENGTH]>,
}

impl Arguments {
    /// Begins with the argument of MAIL, octet by octet as it came.
    #[must_use]
    pub fn of_mail(argument: &[u8]) -> Self {
        Self { mail: sum(&[argument]), recipients: Vec::new() }
    }

    /// Adds the argument of a RCPT that was accepted.
    pub fn add(&mut self, argument: &[u8]) {
        self.recipients.push(sum(&[argument]));
    }
}

/// The text of a message while it comes, as the client sent it: before a field of ours is added.
#[derive(Clone)]
pub struct Text(digest::Context);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text")
    }
}

impl Default for Text {
    fn default() -> Self {
        Self(digest::Context::new(&SHA256))
    }
}

impl Text {
    /// Takes octets, cut anywhere.
    pub fn add(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// Returns what the whole submission is known by; the order of recipients does not count.
    #[must_use]
    pub fn finish(self, login: Option<&str>, arguments: Arguments) -> Fingerprint {
        let Arguments { mail, mut recipients } = arguments;
        recipients.sort_unstable();
        let login =
            login.map_or_else(|| sum(&[b"nobody"]), |name| sum(&[b"login ", name.as_bytes()]));
        let text = self.0.finish();
        // Every part has the same length, so that none can be taken for a piece of another.
        let mut parts: Vec<&[u8]> = vec![&login, text.as_ref(), &mail];
        parts.extend(recipients.iter().map(<[u8; LENGTH]>::as_slice));
        Fingerprint(sum(&parts))
    }
}

fn sum(parts: &[&[u8]]) -> [u8; LENGTH] {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut octets = [0; LENGTH];
    octets.copy_from_slice(context.finish().as_ref());
    octets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(login: Option<&str>, mail: &str, rcpts: &[&str], text: &str) -> Fingerprint {
        let mut arguments = Arguments::of_mail(mail.as_bytes());
        for argument in rcpts {
            arguments.add(argument.as_bytes());
        }
        let mut whole = Text::default();
        whole.add(text.as_bytes());
        whole.finish(login, arguments)
    }

    #[test]
    fn only_the_order_of_recipients_makes_no_difference() {
        let (mail, rcpts, text) =
            ("FROM:<a@x>", ["TO:<b@x>", "TO:<c@x>"], "Subject: y\r\n\r\nz\r\n");
        let first = print(Some("app"), mail, &rcpts, text);
        for (row, login, mail, rcpts, text, is_same) in [
            ("the same", Some("app"), mail, &rcpts[..], text, true),
            ("recipients turned round", Some("app"), mail, &["TO:<c@x>", "TO:<b@x>"], text, true),
            ("another login", Some("web"), mail, &rcpts, text, false),
            ("no login", None, mail, &rcpts, text, false),
            ("a login that reads like none", Some("nobody"), mail, &rcpts, text, false),
            ("another sender", Some("app"), "FROM:<b@x>", &rcpts, text, false),
            ("a parameter of MAIL", Some("app"), "FROM:<a@x> SIZE=9", &rcpts, text, false),
            ("a recipient less", Some("app"), mail, &rcpts[..1], text, false),
            (
                "a recipient twice",
                Some("app"),
                mail,
                &["TO:<b@x>", "TO:<c@x>", "TO:<c@x>"],
                text,
                false,
            ),
            ("another recipient", Some("app"), mail, &["TO:<b@x>", "TO:<d@x>"], text, false),
            (
                "a parameter of RCPT",
                Some("app"),
                mail,
                &["TO:<b@x>", "TO:<c@x> NOTIFY=NEVER"],
                text,
                false,
            ),
            ("an octet of the text", Some("app"), mail, &rcpts, "Subject: y\r\n\r\nZ\r\n", false),
            ("an octet less", Some("app"), mail, &rcpts, "Subject: y\r\n\r\n\r\n", false),
        ] {
            assert_eq!(print(login, mail, rcpts, text) == first, is_same, "{row}");
        }
    }

    proptest! {
        #[test]
        fn where_a_text_is_cut_makes_no_difference_and_it_is_read_back(
            text in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..40,
        ) {
            let arguments = Arguments::of_mail(b"FROM:<>");
            let (mut whole, mut cut) = (Text::default(), Text::default());
            whole.add(&text);
            for piece in text.chunks(step) {
                cut.add(piece);
            }
            let print = whole.finish(Some("app"), arguments.clone());
            prop_assert_eq!(cut.finish(Some("app"), arguments), print);
            let written = print.to_string();
            prop_assert_eq!(written.len(), Fingerprint::WRITTEN);
            prop_assert_eq!(Fingerprint::read(written.as_bytes()), Ok(print));
            let turns = [print.again(0), print.again(1), print.again(2), print.again(1).again(1)];
            prop_assert_eq!(turns[0], print);
            for (place, turn) in turns.iter().enumerate() {
                prop_assert!(!turns[..place].contains(turn), "{}", place);
            }
        }

        #[test]
        fn what_is_no_fingerprint_is_refused(text in "[0-9a-fA-Gx]{0,70}") {
            let lower = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            prop_assert_eq!(Fingerprint::read(text.as_bytes()).is_ok(), lower);
        }
    }
}
