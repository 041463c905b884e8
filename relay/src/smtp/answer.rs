//! Answers: the replies of a next hop (RFC 5321, section 4.2), read within limits.
//!
//! Replies that we send are [`super::reply::Reply`]. What comes from a next hop is as foreign as
//! what comes from a client: its text is made printable here, once, before anybody can log it or
//! put it into a report.

use crate::smtp::reply::Enhanced;

/// The longest line that is read, octets with its end. RFC 5321, section 4.5.3.1.5, allows 512;
/// servers that explain themselves at length are common, so twice as much is borne.
pub const ANSWER_LINE_MAX: usize = 1024;

/// The most lines of one answer.
pub const ANSWER_LINES_MAX: usize = 100;

/// The most octets of an answer that are kept for logs, the spool and reports.
pub const ANSWER_TEXT_MAX: usize = 512;

/// A whole reply of a next hop: a code from 200 to 599 and at least one line of printable US-ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    code: u16,
    lines: Vec<String>,
}

/// What the first digit says (RFC 5321, section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 2yz: done.
    Done,
    /// 3yz: go on.
    Continue,
    /// 4yz: not now.
    Temporary,
    /// 5yz: not like this.
    Permanent,
}

/// Octets that are no answer. The connection they came on cannot be trusted any more: nobody knows
/// which command the next line would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A line does not begin with three digits, then a space, a hyphen or its end.
    #[error("a line of the reply has no code")]
    NoCode,
    /// The lines of one reply differ in their codes (RFC 5321, section 4.2.1, forbids it).
    #[error("the lines of the reply differ in their codes")]
    MixedCodes,
    /// A line has more than [`ANSWER_LINE_MAX`] octets.
    #[error("a line of the reply is too long")]
    LineTooLong,
    /// The answer has more than [`ANSWER_LINES_MAX`] lines.
    #[error("the reply has too many lines")]
    TooManyLines,
}

impl Answer {
    /// Returns the three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// Returns what the first digit says.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self.code / 100 {
            2 => Class::Done,
            3 => Class::Continue,
            4 => Class::Temporary,
            _ => Class::Permanent,
        }
    }

    /// Returns the text of every line after its code, at least one, printable US-ASCII.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Returns the enhanced code of the first line, if it has one whose class agrees with the
    /// first digit (RFC 2034, section 4).
    #[must_use]
    pub fn enhanced(&self) -> Option<Enhanced> {
        let (code, _) = split_enhanced(&self.lines[0])?;
        (u16::from(code.0) == self.code / 100).then_some(code)
    }

    /// Returns the whole answer as one line of at most [`ANSWER_TEXT_MAX`] octets of printable
    /// US-ASCII. An enhanced code that every line repeats is given once.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!("{} {}", self.code, self.lines[0]);
        for line in &self.lines[1..] {
            let rest = match split_enhanced(line) {
                Some((code, rest)) if Some(code) == self.enhanced() => rest,
                Some(_) | None => line,
            };
            text.push(' ');
            text.push_str(rest);
            if text.len() > ANSWER_TEXT_MAX {
                break;
            }
        }
        text.truncate(ANSWER_TEXT_MAX);
        text.truncate(text.trim_end().len());
        text
    }
}

/// Splits `class.subject.detail` from the text after it (RFC 3463, section 2).
fn split_enhanced(line: &str) -> Option<(Enhanced, &str)> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut parts = word.split('.').map(|part| {
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| part.parse::<u16>().ok()).flatten()
    });
    let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
    let is_class = matches!(class, 2 | 4 | 5) && parts.next().is_none();
    is_class.then_some((Enhanced(u8::try_from(class).ok()?, subject, detail), rest))
}

/// Returns at most `limit` characters of `octets` with everything that is not printable US-ASCII
/// written as `?`, so that foreign octets can neither forge a line nor move a terminal's cursor.
#[must_use]
pub fn printable(octets: &[u8], limit: usize) -> String {
    let shown = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        b'\t' => ' ',
        _ => '?',
    };
    octets.iter().take(limit).map(shown).collect()
}

/// Reads answers out of octets as they come. Holds at most [`ANSWER_LINES_MAX`] lines of
/// [`ANSWER_LINE_MAX`] octets.
#[derive(Debug, Default)]
pub struct AnswerReader {
    line: Vec<u8>,
    code: Option<u16>,
    lines: Vec<String>,
    failed: Option<AnswerError>,
}

impl AnswerReader {
    /// Takes octets off the front of `input` up to the end of one answer, and gives that answer;
    /// none if `input` ended first. What stays in `input` came after the answer.
    ///
    /// # Errors
    ///
    /// The first error is given again at every later call.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Answer>, AnswerError> {
        loop {
            if let Some(error) = self.failed {
                return Err(error);
            }
            let end = input.iter().position(|b| *b == b'\n');
            let taken = end.map_or(input.len(), |end| end + 1);
            if self.line.len() + taken > ANSWER_LINE_MAX {
                self.failed = Some(AnswerError::LineTooLong);
                continue;
            }
            self.line.extend_from_slice(&input[..taken]);
            *input = &input[taken..];
            if end.is_none() {
                return Ok(None);
            }
            match self.end_line() {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => {}
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// Reads the line that has just ended; gives the answer if it was its last.
    ///
    /// A line that ends in a lone LF is read too: unlike in a message, nothing can be smuggled
    /// here, since no third party writes a next hop's replies.
    fn end_line(&mut self) -> Result<Option<Answer>, AnswerError> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (digits, rest) = line.split_at_checked(3).ok_or(AnswerError::NoCode)?;
        let code = read_code(digits).ok_or(AnswerError::NoCode)?;
        if self.code.is_some_and(|first| first != code) {
            return Err(AnswerError::MixedCodes);
        }
        if self.lines.len() == ANSWER_LINES_MAX {
            return Err(AnswerError::TooManyLines);
        }
        let (mark, text) = rest.split_at_checked(1).unwrap_or((b" ", b""));
        self.code = Some(code);
        self.lines.push(printable(text, ANSWER_LINE_MAX));
        match mark {
            b"-" => Ok(None),
            b" " => {
                self.code = None;
                Ok(Some(Answer { code, lines: std::mem::take(&mut self.lines) }))
            }
            _ => Err(AnswerError::NoCode),
        }
    }
}

/// Reads a code from 200 to 599.
fn read_code(digits: &[u8]) -> Option<u16> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
    (all_digits && (200..=599).contains(&code)).then_some(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads all answers of `input`, handed over in pieces of `piece` octets.
    fn read_all(input: &[u8], piece: usize) -> (Vec<Answer>, Option<AnswerError>) {
        let mut reader = AnswerReader::default();
        let mut answers = Vec::new();
        for mut chunk in input.chunks(piece.max(1)) {
            loop {
                match reader.read(&mut chunk) {
                    Ok(Some(answer)) => answers.push(answer),
                    Ok(None) => break,
                    Err(error) => return (answers, Some(error)),
                }
            }
        }
        (answers, None)
    }

    #[test]
    fn every_good_answer_is_read_whole_and_octet_by_octet() {
        let rows: &[(&[u8], u16, &str, Option<Enhanced>)] = &[
            (b"220 mx.example.net ESMTP\r\n", 220, "220 mx.example.net ESMTP", None),
            (b"250\r\n", 250, "250", None),
            (b"354 \r\n", 354, "354", None),
            (b"250-one\r\n250-two\r\n250 three\r\n", 250, "250 one two three", None),
            (b"250 2.1.5 ok\n", 250, "250 2.1.5 ok", Some(Enhanced(2, 1, 5))),
            (
                b"550-5.1.1 no such\r\n550 5.1.1 user\r\n",
                550,
                "550 5.1.1 no such user",
                Some(Enhanced(5, 1, 1)),
            ),
            (b"550 4.1.1 two minds\r\n", 550, "550 4.1.1 two minds", None),
            (b"550 5.1.1.1 four\r\n", 550, "550 5.1.1.1 four", None),
            (b"451 tab\there\x1b[2J\xff\r\n", 451, "451 tab here?[2J?", None),
        ];
        for (octets, code, summary, enhanced) in rows {
            for piece in [1, 2, 3, octets.len()] {
                let (answers, error) = read_all(octets, piece);
                assert_eq!((answers.len(), error), (1, None), "{summary}");
                assert_eq!(answers[0].code(), *code);
                assert_eq!(answers[0].summary(), *summary);
                assert_eq!(answers[0].enhanced(), *enhanced, "{summary}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_stays() {
        let long = format!("250 {}\r\n", "x".repeat(ANSWER_LINE_MAX));
        let endless = "x".repeat(ANSWER_LINE_MAX + 1);
        let many = "250-x\r\n".repeat(ANSWER_LINES_MAX + 1);
        let rows: &[(&str, AnswerError)] = &[
            ("250-a\r\n550 b\r\n", AnswerError::MixedCodes),
            ("hello\r\n", AnswerError::NoCode),
            ("\r\n", AnswerError::NoCode),
            ("25\r\n", AnswerError::NoCode),
            ("25x ok\r\n", AnswerError::NoCode),
            ("2500 ok\r\n", AnswerError::NoCode),
            ("099 ok\r\n", AnswerError::NoCode),
            ("199 ok\r\n", AnswerError::NoCode),
            ("600 ok\r\n", AnswerError::NoCode),
            (&long, AnswerError::LineTooLong),
            (&endless, AnswerError::LineTooLong),
            (&many, AnswerError::TooManyLines),
        ];
        for (octets, error) in rows {
            for piece in [1, 7, octets.len()] {
                assert_eq!(read_all(octets.as_bytes(), piece).1, Some(*error), "{octets:.20}");
            }
        }
        let mut reader = AnswerReader::default();
        assert_eq!(reader.read(&mut b"x\r\n".as_slice()), Err(AnswerError::NoCode));
        assert_eq!(reader.read(&mut b"250 ok\r\n".as_slice()), Err(AnswerError::NoCode));
    }

    #[test]
    fn octets_after_an_answer_are_left_in_the_input() {
        let mut input: &[u8] = b"220 go\r\n250 injected\r\n";
        let answer = AnswerReader::default().read(&mut input).unwrap().unwrap();
        assert_eq!((answer.code(), input), (220, b"250 injected\r\n".as_slice()));
    }

    #[test]
    fn a_summary_is_bounded() {
        let text = "250-".to_owned() + &"y".repeat(900) + "\r\n";
        let (answers, _) = read_all(format!("{}250 z\r\n", text.repeat(90)).as_bytes(), 4096);
        assert_eq!(answers[0].summary().len(), ANSWER_TEXT_MAX);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic_and_read_alike_however_they_are_split(
            input in prop::collection::vec(prop_oneof![
                Just(b'2'), Just(b'5'), Just(b'0'), Just(b'-'), Just(b' '), Just(b'\r'),
                Just(b'\n'), any::<u8>()
            ], 0..400),
            piece in 1usize..50,
        ) {
            let whole = read_all(&input, input.len());
            prop_assert_eq!(read_all(&input, piece), whole);
        }
    }
}
