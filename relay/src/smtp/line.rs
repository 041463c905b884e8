//! Command lines, read with a bound (RFC 5321, sections 2.3.8 and 4.5.3.1.4).
//!
//! A password may stand in one: lines are wiped when they are dropped, refused ones too.
//!
//! Not here: the lines of a message, which `body` reads.

use zeroize::{Zeroize as _, Zeroizing};

/// The longest command line with its CRLF, octets. RFC 5321, section 4.5.3.1.4, asks for 512 and
/// every extension for some more; this holds all of them.
pub const COMMAND_MAX: usize = 4_096;

/// The longest line of an AUTH exchange with its CRLF, octets: RFC 4954, section 4, asks for 12,288
/// of base64; verb and mechanism name stand before them.
pub const AUTH_MAX: usize = 12_288 + 28;

/// Why a line is no command line. The reader is in step again after each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It was longer than its limit; it was read to its CRLF and forgotten.
    #[error("the line is too long")]
    TooLong,
    /// It was too long and began with AUTH: its initial response was (RFC 4954, section 4).
    #[error("the initial response is too long")]
    ResponseTooLong,
    /// A line feed came without a carriage return before it. What follows is not to be read: an
    /// attacker who can smuggle a line feed into an argument would choose our next command.
    #[error("a line ended in a bare line feed")]
    BareLineFeed,
    /// A carriage return without line feed, or a NUL, stood inside it.
    #[error("a control octet stands in the line")]
    Control,
    /// It was too long or held a control octet, and began with BDAT: octets follow, nobody knows how
    /// many, and they must not be taken for commands.
    #[error("the line that announces a chunk is malformed")]
    Announcement,
}

/// What is being waited for, which sets the limit of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A command: 4,096 octets, or 12,316 if it begins with `AUTH`.
    Command,
    /// The answer to a challenge (RFC 4954, section 4): 12,316 octets.
    Response,
}

/// Collects one line at a time out of input that may be cut anywhere.
///
/// Holds at most [`AUTH_MAX`] octets.
#[derive(Debug, Default)]
pub struct LineReader {
    line: Zeroizing<Vec<u8>>,
    /// The line has outgrown its limit: only its end is looked for.
    overflowed: bool,
    /// The last octet taken was a carriage return.
    after_cr: bool,
    opening: Opening,
}

/// What a line began with, remembered when the line itself is forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opening {
    #[default]
    Other,
    /// BDAT (RFC 3030, section 2).
    Announcement,
    /// AUTH and a space.
    Login,
}

impl Opening {
    fn of(line: &[u8]) -> Self {
        let begins_with = |word: &[u8]| {
            line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        if begins_with(b"BDAT") {
            Self::Announcement
        } else if begins_with(b"AUTH ") {
            Self::Login
        } else {
            Self::Other
        }
    }
}

impl LineReader {
    /// Takes octets off the front of `input` until a line ends, and returns that line without its
    /// CRLF; none if `input` ran out first.
    ///
    /// # Errors
    ///
    /// The line has ended, but must not be read as a command.
    pub fn read(
        &mut self,
        input: &mut &[u8],
        awaited: Awaited,
    ) -> Option<Result<Zeroizing<Vec<u8>>, LineError>> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let (text, rest) = input.split_at(end.unwrap_or(input.len()));
        self.keep(text, awaited);
        *input = rest;
        end?;
        *input = &rest[1..];
        Some(self.finish())
    }

    /// Appends octets of the line, but never more than its limit.
    fn keep(&mut self, text: &[u8], awaited: Awaited) {
        if let Some(last) = text.last() {
            self.after_cr = *last == b'\r';
        }
        if self.overflowed {
            return;
        }
        let room = AUTH_MAX - self.line.len();
        let mut start = [0; b"AUTH ".len()];
        start.iter_mut().zip(self.line.iter().chain(text)).for_each(|(to, octet)| *to = *octet);
        if awaited == Awaited::Response || Opening::of(&start) == Opening::Login {
            // One allocation: a line that grows would leave copies of a password behind.
            self.line.reserve(room);
        }
        self.line.extend_from_slice(&text[..text.len().min(room)]);
        self.opening = Opening::of(&self.line);
        // The line feed is still to come, so a line of the limit's length is one too long.
        self.overflowed = text.len() > room || self.line.len() >= limit(self.opening, awaited);
        if self.overflowed {
            self.line.zeroize();
        }
    }

    /// Judges the line that has just ended, and starts over.
    fn finish(&mut self) -> Result<Zeroizing<Vec<u8>>, LineError> {
        let Self { mut line, overflowed, after_cr, opening } = std::mem::take(self);
        if !after_cr {
            return Err(LineError::BareLineFeed);
        }
        if overflowed {
            return Err(match opening {
                Opening::Announcement => LineError::Announcement,
                Opening::Login => LineError::ResponseTooLong,
                Opening::Other => LineError::TooLong,
            });
        }
        line.pop();
        if line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
            return Err(match opening {
                Opening::Announcement => LineError::Announcement,
                Opening::Login | Opening::Other => LineError::Control,
            });
        }
        Ok(line)
    }
}

/// Returns how long a line may be with its CRLF, octets.
const fn limit(opening: Opening, awaited: Awaited) -> usize {
    match (awaited, opening) {
        (Awaited::Response, _) | (Awaited::Command, Opening::Login) => AUTH_MAX,
        (Awaited::Command, Opening::Announcement | Opening::Other) => COMMAND_MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Input, and the lines in it.
    type Row<'a> = (&'a [u8], &'a [Result<&'a [u8], LineError>]);

    /// Reads all lines of `input`, handed over in pieces of `step` octets.
    fn read_all(input: &[u8], step: usize, awaited: Awaited) -> Vec<Result<Vec<u8>, LineError>> {
        let mut reader = LineReader::default();
        let mut lines = Vec::new();
        for mut piece in input.chunks(step) {
            while let Some(line) = reader.read(&mut piece, awaited) {
                lines.push(line.map(|line| line.to_vec()));
            }
            assert!(piece.is_empty(), "a reader without a line has taken all");
            assert!(reader.line.len() <= AUTH_MAX);
        }
        lines
    }

    fn padded(start: &str, length: usize) -> Vec<u8> {
        let mut line = start.as_bytes().to_vec();
        line.resize(length - 2, b'x');
        line.extend_from_slice(b"\r\n");
        line
    }

    #[test]
    fn only_crlf_ends_a_line_however_the_input_is_cut() {
        use LineError::{BareLineFeed, Control};
        let rows: &[Row<'_>] = &[
            (b"NOOP\r\n", &[Ok(b"NOOP")]),
            (b"\r\n", &[Ok(b"")]),
            (b"a\r\nb\r\nc", &[Ok(b"a"), Ok(b"b")]),
            (b"a\nb\r\n", &[Err(BareLineFeed), Ok(b"b")]),
            (b"\n", &[Err(BareLineFeed)]),
            (b"a\rb\r\n", &[Err(Control)]),
            (b"a\r\r\n", &[Err(Control)]),
            (b"a\0\r\n", &[Err(Control)]),
            (b"a\r", &[]),
        ];
        for (input, lines) in rows {
            let lines: Vec<_> = lines.iter().map(|line| line.map(<[u8]>::to_vec)).collect();
            for step in 1..=input.len() {
                assert_eq!(read_all(input, step, Awaited::Command), lines, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn a_line_of_the_limit_is_read_and_a_longer_one_is_skipped_to_its_end() {
        use LineError::{Announcement, ResponseTooLong, TooLong};
        for (start, awaited, limit, fault) in [
            ("NOOP ", Awaited::Command, COMMAND_MAX, TooLong),
            ("auth PLAIN ", Awaited::Command, AUTH_MAX, ResponseTooLong),
            ("AUTHENTIC", Awaited::Command, COMMAND_MAX, TooLong),
            ("bdat ", Awaited::Command, COMMAND_MAX, Announcement),
            ("", Awaited::Response, AUTH_MAX, TooLong),
        ] {
            for (length, fits) in [(limit, true), (limit + 1, false), (limit + 40_000, false)] {
                let mut input = padded(start, length);
                input.extend_from_slice(b"QUIT\r\n");
                for step in [1, 7, 4_096, input.len()] {
                    let lines = read_all(&input, step, awaited);
                    assert_eq!(lines.len(), 2, "{start} {length} by {step}");
                    let expected = if fits { Ok(length - 2) } else { Err(fault) };
                    assert_eq!(lines[0].as_ref().map(Vec::len).map_err(|e| *e), expected);
                    assert_eq!(lines[1].as_deref(), Ok(&b"QUIT"[..]));
                }
            }
        }
    }

    #[test]
    fn what_was_too_long_is_forgotten_at_once_and_every_line_is_wiped() {
        const fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let mut reader = LineReader::default();
        let line = reader.read(&mut &b"AUTH PLAIN secret\r\n"[..], Awaited::Command);
        wiped(&line.unwrap().unwrap());
        let long = padded("AUTH PLAIN ", AUTH_MAX + 1);
        assert_eq!(reader.read(&mut &long[..AUTH_MAX], Awaited::Command), None);
        assert!(reader.overflowed && reader.line.is_empty());
        wiped(&reader.line);
    }

    proptest! {
        #[test]
        fn the_cut_of_the_input_never_changes_the_lines(
            input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 0..400),
            step in 1_usize..50,
        ) {
            let whole = read_all(&input, input.len().max(1), Awaited::Command);
            prop_assert_eq!(read_all(&input, step, Awaited::Command), whole);
        }
    }
}
