//! The octets of a message that comes in chunks of announced length (RFC 3030, section 2).
//!
//! The count says where a chunk ends, so no octet in it can end the message. What is looked for is
//! what would be wrong once the message goes on by DATA: a bare CR or LF, a NUL, a long line.

use memchr::memchr3;

use super::body::{BodyFault, Ended, Octets, TEXT_LINE_MAX};

/// How the octets are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines that end in CRLF.
    Lines,
    /// Any octets: BODY=BINARYMIME (RFC 3030, section 3).
    Binary,
}

/// Reads the chunks of one message. Holds no octet of it.
#[derive(Debug)]
pub struct ChunkReader {
    form: Form,
    after_cr: bool,
    line_octets: usize,
    octets: Octets,
    fault: Option<BodyFault>,
    size_bytes: u64,
}

impl ChunkReader {
    /// Returns a reader that stands before the first octet.
    #[must_use]
    pub const fn new(form: Form) -> Self {
        Self {
            form,
            after_cr: false,
            line_octets: 0,
            octets: Octets::SevenBit,
            fault: None,
            size_bytes: 0,
        }
    }

    /// Takes octets of the message, cut anywhere, and appends them to `message`, up to a fault: however
    /// they are cut, the same octets are appended.
    pub fn read(&mut self, input: &[u8], message: &mut Vec<u8>) {
        self.size_bytes += input.len() as u64;
        if !input.is_ascii() {
            self.octets = Octets::EightBit;
        }
        match self.form {
            Form::Lines => self.read_lines(input, message),
            Form::Binary => message.extend_from_slice(input),
        }
    }

    /// Returns the verdict after the last chunk. A last line without an end is no fault: it gets
    /// one where the message goes on by DATA.
    ///
    /// # Errors
    ///
    /// The message is to be refused with `554 5.6.0`: the first reason that was found.
    pub fn finish(&mut self) -> Result<Ended, BodyFault> {
        if self.after_cr {
            self.refuse(BodyFault::BareCr);
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(Ended { size_bytes: self.size_bytes, octets: self.octets }),
        }
    }

    /// Returns the octets read so far, those after a fault included.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns what was found wrong so far.
    #[must_use]
    pub const fn fault(&self) -> Option<BodyFault> {
        self.fault
    }

    fn read_lines(&mut self, mut input: &[u8], message: &mut Vec<u8>) {
        while let Some(byte) = input.first() {
            // What stands between line ends needs counting only.
            let plain = memchr3(b'\r', b'\n', 0, input).unwrap_or(input.len());
            if plain == 0 || self.after_cr {
                self.look_at(*byte);
                self.keep(&input[..1], message);
                input = &input[1..];
                continue;
            }
            let (text, rest) = input.split_at(plain);
            let fits = text.len().min(TEXT_LINE_MAX - self.line_octets.min(TEXT_LINE_MAX));
            self.keep(&text[..fits], message);
            self.line_octets += text.len();
            if fits < text.len() {
                self.refuse(BodyFault::LongLine);
            }
            input = rest;
        }
    }

    fn keep(&self, text: &[u8], message: &mut Vec<u8>) {
        if self.fault.is_none() {
            message.extend_from_slice(text);
        }
    }

    fn look_at(&mut self, byte: u8) {
        match (std::mem::take(&mut self.after_cr), byte) {
            (true, b'\n') => self.line_octets = 0,
            (true, _) => self.refuse(BodyFault::BareCr),
            (false, b'\n') => self.refuse(BodyFault::BareLf),
            (false, 0) => self.refuse(BodyFault::Nul),
            (false, _) => {}
        }
        match byte {
            b'\r' => self.after_cr = true,
            b'\n' => {}
            _ => self.line_octets += 1,
        }
        if self.line_octets > TEXT_LINE_MAX {
            self.refuse(BodyFault::LongLine);
        }
    }

    fn refuse(&mut self, fault: BodyFault) {
        self.fault.get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(form: Form, input: &[u8], step: usize) -> (Vec<u8>, Result<Ended, BodyFault>) {
        let mut reader = ChunkReader::new(form);
        let mut message = Vec::new();
        input.chunks(step).for_each(|piece| reader.read(piece, &mut message));
        assert_eq!(reader.size_bytes(), input.len() as u64);
        (message, reader.finish())
    }

    #[test]
    fn lines_are_judged_alike_however_they_are_cut() {
        use BodyFault::{BareCr, BareLf, LongLine, Nul};
        let fits = format!("{}\r\n", "x".repeat(998));
        let long = format!("{}\r\n", "x".repeat(999));
        let rows: &[(&[u8], Option<BodyFault>)] = &[
            (b"", None),
            (b"a\r\n", None),
            (b"no end", None),
            (b".\r\n..\r\n.", None),
            (b"a\r\n.\r\nMAIL FROM:<x@example.net>\r\n", None),
            (b"a\nb", Some(BareLf)),
            (b"a\rb", Some(BareCr)),
            (b"a\r\r\n", Some(BareCr)),
            (b"a\r", Some(BareCr)),
            (b"a\0b", Some(Nul)),
            (b"a\r\0", Some(BareCr)),
            (fits.as_bytes(), None),
            (long.as_bytes(), Some(LongLine)),
        ];
        for (input, fault) in rows {
            for step in [1, 2, 7, input.len().max(1)] {
                let (message, verdict) = read(Form::Lines, input, step);
                assert_eq!(verdict.err(), *fault, "{input:?} by {step}");
                if fault.is_none() {
                    assert_eq!(message, *input);
                }
                assert_eq!(read(Form::Binary, input, step).1.err(), None, "{input:?}");
            }
        }
    }

    #[test]
    fn a_cut_inside_of_a_letter_is_harmless() {
        let (message, verdict) = read(Form::Lines, "grün\r\n".as_bytes(), 1);
        assert_eq!(message, "grün\r\n".as_bytes());
        assert_eq!(verdict, Ok(Ended { size_bytes: 7, octets: Octets::EightBit }));
    }

    proptest! {
        /// What is taken by chunks, and only that, is taken by DATA once it is stuffed.
        #[test]
        fn agrees_with_the_reader_of_data(
            input in proptest::collection::vec(
                prop_oneof![
                    3 => Just(b'\r'), 3 => Just(b'\n'), 1 => Just(b'.'), 1 => Just(0), 3 => any::<u8>()
                ],
                0..40,
            ),
            step in 1_usize..9,
        ) {
            let mut lines = input.clone();
            lines.extend_from_slice(b"\r\n");
            let mut stuffed = Vec::new();
            let mut at_start = true;
            for byte in &lines {
                if at_start && *byte == b'.' {
                    stuffed.push(b'.');
                }
                stuffed.push(*byte);
                at_start = stuffed.ends_with(b"\r\n");
            }
            stuffed.extend_from_slice(b".\r\n");
            let mut by_data = super::super::body::BodyReader::default();
            let mut message = Vec::new();
            let verdict = by_data.read(&mut stuffed.as_slice(), &mut message).expect("an end");
            let (chunked, found) = read(Form::Lines, &lines, step);
            prop_assert_eq!(found, verdict);
            if verdict.is_ok() {
                prop_assert_eq!(chunked, message);
            }
        }
    }
}
