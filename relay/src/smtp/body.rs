//! The octets of a message up to its end (RFC 5321, sections 4.1.1.4 and 4.5.2).
//!
//! The end is `CRLF . CRLF` and nothing else. Whatever else a body holds, it is read to that end,
//! and only then refused: the octets after a fault would otherwise be taken for commands, which is
//! how mail is smuggled through relays.

use memchr::memchr3;

/// The longest line of a message without its CRLF, octets (RFC 5321, section 4.5.3.1.6; RFC 5322,
/// section 2.1.1). A dot that was doubled on the way counts once.
pub const TEXT_LINE_MAX: usize = 998;

/// Where in a line the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    /// After a dot that began the line.
    Dot,
    /// After a dot that began the line, and a CR.
    DotCr,
    Text,
    Cr,
}

/// What becomes of one octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It belongs to the message.
    Keep,
    /// It belongs to the transport: a doubled dot, or the end.
    Skip,
    /// It must not be in a message.
    Refuse(BodyFault),
    /// The message ends with it.
    End,
}

impl Place {
    /// Only CRLF ends a line (RFC 5321, section 2.3.8). A lone dot ends the body, and a dot in
    /// front of a line is taken away (section 4.5.2).
    const fn step(self, byte: u8) -> (Self, Step) {
        use BodyFault::{BareCr, BareLf, Nul};
        match (self, byte) {
            (Self::LineStart, b'.') => (Self::Dot, Step::Skip),
            (Self::Dot, b'\r') => (Self::DotCr, Step::Skip),
            (Self::DotCr, b'\n') => (Self::LineStart, Step::End),
            (Self::Cr, b'\n') => (Self::LineStart, Step::Keep),
            (Self::DotCr | Self::Cr, b'\r') => (Self::Cr, Step::Refuse(BareCr)),
            (Self::DotCr | Self::Cr, _) => (Self::Text, Step::Refuse(BareCr)),
            (_, b'\n') => (Self::Text, Step::Refuse(BareLf)),
            (_, 0) => (Self::Text, Step::Refuse(Nul)),
            (_, b'\r') => (Self::Cr, Step::Keep),
            (_, _) => (Self::Text, Step::Keep),
        }
    }
}

/// Why a body is refused at its end: the first reason that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// A carriage return without its line feed (RFC 5321, section 2.3.8).
    #[error("a bare carriage return is in the message")]
    BareCr,
    /// A line feed without its carriage return (RFC 5321, section 2.3.8).
    #[error("a bare line feed is in the message")]
    BareLf,
    /// A NUL octet (RFC 5321, section 4.5.2; RFC 6152, section 3).
    #[error("a NUL octet is in the message")]
    Nul,
    /// A line longer than [`TEXT_LINE_MAX`].
    #[error("a line is longer than 998 octets")]
    LongLine,
}

/// Whether octets above 127 were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Octets {
    /// US-ASCII only.
    #[default]
    SevenBit,
    /// At least one octet above 127.
    EightBit,
}

/// Reads one body. Holds no octet of it.
#[derive(Debug)]
pub struct BodyReader {
    place: Place,
    line_octets: usize,
    octets: Octets,
    fault: Option<BodyFault>,
    size_bytes: u64,
}

/// A body that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Octets of the message after dot-unstuffing, without the end mark.
    pub size_bytes: u64,
    /// Whether it is more than US-ASCII.
    pub octets: Octets,
}

impl Default for BodyReader {
    /// Stands at the start of a line: a message may be empty.
    fn default() -> Self {
        Self {
            place: Place::LineStart,
            line_octets: 0,
            octets: Octets::SevenBit,
            fault: None,
            size_bytes: 0,
        }
    }
}

impl BodyReader {
    /// Takes octets off the front of `input` and appends those of the message to `message`, until
    /// the end of the body or of `input`. Returns the verdict if the body has ended; nothing is
    /// taken after its end. After a fault nothing more is appended.
    ///
    /// # Errors
    ///
    /// The body has ended and is to be refused with `554 5.6.0`.
    pub fn read(
        &mut self,
        input: &mut &[u8],
        message: &mut Vec<u8>,
    ) -> Option<Result<Ended, BodyFault>> {
        while let Some((byte, rest)) = input.split_first() {
            if self.place == Place::Text {
                let plain = memchr3(b'\r', b'\n', 0, input).unwrap_or(input.len());
                if plain > 0 {
                    let (text, rest) = input.split_at(plain);
                    self.keep(text, message);
                    *input = rest;
                    continue;
                }
            }
            *input = rest;
            let (place, step) = self.place.step(*byte);
            self.place = place;
            match step {
                Step::Keep => self.keep(std::slice::from_ref(byte), message),
                Step::Skip => {}
                Step::Refuse(fault) => self.refuse(fault),
                Step::End => return Some(self.verdict()),
            }
        }
        None
    }

    /// Returns the octets of the message read so far, those after a fault included.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn verdict(&self) -> Result<Ended, BodyFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(Ended { size_bytes: self.size_bytes, octets: self.octets }),
        }
    }

    fn refuse(&mut self, fault: BodyFault) {
        self.size_bytes += 1;
        self.fault.get_or_insert(fault);
    }

    fn keep(&mut self, text: &[u8], message: &mut Vec<u8>) {
        self.size_bytes += text.len() as u64;
        match self.place {
            Place::LineStart => self.line_octets = 0,
            Place::Cr => {}
            Place::Text | Place::Dot | Place::DotCr => self.line_octets += text.len(),
        }
        if self.line_octets > TEXT_LINE_MAX {
            self.fault.get_or_insert(BodyFault::LongLine);
        }
        if !text.is_ascii() {
            self.octets = Octets::EightBit;
        }
        if self.fault.is_none() {
            message.extend_from_slice(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The octets after 354; the message or the fault at its true end, or neither.
    type Row<'a> = (&'a [u8], Option<Result<&'a [u8], BodyFault>>);

    #[derive(Debug, PartialEq)]
    struct Read {
        message: Vec<u8>,
        verdict: Option<Result<Ended, BodyFault>>,
        left: usize,
    }

    fn read(input: &[u8], step: usize) -> Read {
        let mut reader = BodyReader::default();
        let mut message = Vec::new();
        let mut taken = 0;
        for piece in input.chunks(step) {
            let mut rest = piece;
            let verdict = reader.read(&mut rest, &mut message);
            taken += piece.len() - rest.len();
            if verdict.is_some() {
                return Read { message, verdict, left: input.len() - taken };
            }
            assert!(rest.is_empty(), "without an end all is taken");
        }
        Read { message, verdict: None, left: 0 }
    }

    /// The slow and obvious reading: find `CRLF . CRLF` in the input with a CRLF before it, and
    /// look at each line before it.
    fn reference(input: &[u8]) -> Option<(usize, Option<Vec<u8>>)> {
        let mut framed = b"\r\n".to_vec();
        framed.extend_from_slice(input);
        let end = framed.windows(5).position(|window| window == b"\r\n.\r\n")?;
        let body = &framed[2..(end + 2).max(2)];
        let mut message = Vec::new();
        let mut clean = true;
        let mut rest = body;
        while !rest.is_empty() {
            let length = rest.windows(2).position(|two| two == b"\r\n").map_or(rest.len(), |p| p);
            let line = &rest[..length];
            let line = line.strip_prefix(b".").unwrap_or(line);
            clean &= !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
            clean &= line.len() <= TEXT_LINE_MAX;
            message.extend_from_slice(line);
            message.extend_from_slice(b"\r\n");
            rest = rest.get(length + 2..).unwrap_or_default();
        }
        Some((end + 5 - 2, clean.then_some(message)))
    }

    #[test]
    fn reads_every_case_whole_and_byte_by_byte() {
        use BodyFault::{BareCr, BareLf, LongLine, Nul};
        let long = format!("{}\r\n.\r\n", "x".repeat(999));
        let stuffed = format!("..{}\r\n.\r\n", "x".repeat(997));
        let stuffed_message = format!(".{}\r\n", "x".repeat(997));
        let rows: &[Row<'_>] = &[
            (b".\r\n", Some(Ok(b""))),
            (b"\r\n.\r\n", Some(Ok(b"\r\n"))),
            (b"a\r\n.\r\n", Some(Ok(b"a\r\n"))),
            (b"..\r\n.\r\n", Some(Ok(b".\r\n"))),
            (b".a\r\n.\r\n", Some(Ok(b"a\r\n"))),
            (b"...\r\n.\r\n", Some(Ok(b"..\r\n"))),
            (b"a\r\n..b\r\n.\r\n", Some(Ok(b"a\r\n.b\r\n"))),
            (b"a.\r\nb.\r\n.\r\n", Some(Ok(b"a.\r\nb.\r\n"))),
            (stuffed.as_bytes(), Some(Ok(stuffed_message.as_bytes()))),
            // The twelve that must not end it (CONFORMANCE 34) ...
            (b"a\n.\n", None),
            (b"a\n.\r\n", None),
            (b"a\r.\r", None),
            (b"a\r.\n", None),
            (b"a\n.\r", None),
            (b"a\r.\r\n", None),
            (b"a\r\n.\n", None),
            (b"a\r\n.\r", None),
            (b"a\r\n.\r\r\n", None),
            (b"a\r\r\n.\r\r\n", None),
            (b"a\r\n\0.\r\n", None),
            (b"a\r\n.\0\r\n", None),
            // ... which are refused at the true end that follows,
            (b"a\n.\n\r\n.\r\n", Some(Err(BareLf))),
            (b"a\n.\r\n\r\n.\r\n", Some(Err(BareLf))),
            (b"a\r.\r\r\n.\r\n", Some(Err(BareCr))),
            (b"a\r.\n\r\n.\r\n", Some(Err(BareCr))),
            (b"a\n.\r\r\n.\r\n", Some(Err(BareLf))),
            (b"a\r.\r\n.\r\n", Some(Err(BareCr))),
            (b"a\r\n.\n\r\n.\r\n", Some(Err(BareLf))),
            (b"a\r\n.\rb\r\n.\r\n", Some(Err(BareCr))),
            (b"a\r\n\0.\r\n.\r\n", Some(Err(Nul))),
            (b"a\r\n.\0\r\n.\r\n", Some(Err(Nul))),
            // and the two that end it and are refused.
            (b"a\r\r\n.\r\n", Some(Err(BareCr))),
            (b"a\r\n.\r\r\n.\r\n", Some(Err(BareCr))),
            (b"a\n..\r\n.\r\n", Some(Err(BareLf))),
            (long.as_bytes(), Some(Err(LongLine))),
        ];
        for (input, expected) in rows {
            for step in [1, 2, 3, 5, input.len()] {
                let mut followed = input.to_vec();
                if expected.is_some() {
                    followed.extend_from_slice(b"QUIT\r\n");
                }
                let read = read(&followed, step);
                let left = if expected.is_some() { 6 } else { 0 };
                assert_eq!(read.left, left, "{input:?} by {step}");
                match expected {
                    None => assert_eq!(read.verdict, None, "{input:?} by {step}"),
                    Some(Err(fault)) => {
                        assert_eq!(read.verdict, Some(Err(*fault)), "{input:?} by {step}");
                    }
                    Some(Ok(message)) => {
                        let size_bytes = message.len() as u64;
                        let ended = Ended { size_bytes, octets: Octets::SevenBit };
                        assert_eq!(read.verdict, Some(Ok(ended)), "{input:?} by {step}");
                        assert_eq!(read.message, *message, "{input:?} by {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn octets_above_127_are_kept_and_noted() {
        let read = read("grün\r\n.\r\n".as_bytes(), 1);
        assert_eq!(read.message, "grün\r\n".as_bytes());
        assert_eq!(read.verdict, Some(Ok(Ended { size_bytes: 7, octets: Octets::EightBit })));
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_reading_of_the_rule(
            input in proptest::collection::vec(
                prop_oneof![
                    4 => Just(b'\r'), 4 => Just(b'\n'), 4 => Just(b'.'), 1 => Just(0), 2 => any::<u8>()
                ],
                0..60,
            ),
            step in 1_usize..9,
        ) {
            let read = read(&input, step);
            match reference(&input) {
                None => prop_assert_eq!(read.verdict, None),
                Some((end, message)) => {
                    prop_assert_eq!(read.left, input.len() - end);
                    prop_assert_eq!(read.verdict.map(|v| v.is_ok()), Some(message.is_some()));
                    if let Some(message) = message {
                        prop_assert_eq!(read.message, message);
                    }
                }
            }
        }
    }
}
