//! The body on its way out: dots doubled, line ends proved (RFC 5321, section 4.5.2).

/// What a next hop may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Octets {
    /// US-ASCII only.
    SevenBit,
    /// Any octets: the hop offers 8BITMIME and was told BODY=8BITMIME (RFC 6152).
    EightBit,
    /// Any octets, lines or not: the hop offers BINARYMIME and was told BODY=BINARYMIME (RFC 3030,
    /// section 3). Never by DATA, which needs lines.
    Binary,
}

/// Why a body cannot be sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A CR or LF that is not part of a CRLF. Some servers end lines at such octets: what follows
    /// could be taken for commands (smuggling), so the message is not passed on.
    #[error("the message has a CR or LF that is not part of a line end")]
    BareLineEnd,
    /// A NUL (RFC 5321, section 2.3.7; RFC 5322, section 4).
    #[error("the message has a NUL octet")]
    Nul,
    /// An octet above 127, although 7-bit lines were promised.
    #[error("the message has 8-bit octets and was declared 7-bit")]
    EightBit,
    /// The body has more or fewer octets than it was said to have.
    #[error("the message has another length than the spool noted")]
    Length,
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    Text,
    AfterCr,
}

/// Finds what must not be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    place: Place,
    octets: Octets,
}

impl Guard {
    pub(super) const fn new(octets: Octets) -> Self {
        Self { place: Place::LineStart, octets }
    }

    /// Takes the next octet.
    pub(super) const fn pass(&mut self, byte: u8) -> Result<(), Unfit> {
        self.place = match (self.octets, self.place, byte) {
            (Octets::Binary, _, _) => Place::Text,
            (_, Place::AfterCr, b'\n') => Place::LineStart,
            (_, Place::AfterCr, _) | (_, _, b'\n') => return Err(Unfit::BareLineEnd),
            (_, _, b'\r') => Place::AfterCr,
            (_, _, 0) => return Err(Unfit::Nul),
            (Octets::SevenBit, _, 128..) => return Err(Unfit::EightBit),
            (_, _, _) => Place::Text,
        };
        Ok(())
    }

    /// Tells whether no line end is half done.
    pub(super) const fn is_between_line_ends(self) -> bool {
        !matches!(self.place, Place::AfterCr)
    }
}

/// Doubles the dots of a body, and finds what must not be sent.
#[derive(Clone, Copy, Debug)]
pub struct Stuffing {
    guard: Guard,
}

impl Stuffing {
    /// Returns a body that begins.
    #[must_use]
    pub const fn new(octets: Octets) -> Self {
        Self { guard: Guard::new(octets) }
    }

    /// Appends `input` to `wire` as it is sent: a dot at the start of a line is doubled.
    ///
    /// # Errors
    ///
    /// The body must not be sent; `wire` then holds a part of it. The transaction can only be left
    /// by closing the connection: any ending would deliver that part.
    pub fn push(&mut self, input: &[u8], wire: &mut Vec<u8>) -> Result<(), Unfit> {
        wire.reserve(input.len() + input.len() / 64);
        for &byte in input {
            if self.guard.place == Place::LineStart && byte == b'.' {
                wire.push(b'.');
            }
            self.guard.pass(byte)?;
            wire.push(byte);
        }
        Ok(())
    }

    /// Appends the final dot. A last line without an end gets one: it cannot be sent otherwise.
    ///
    /// # Errors
    ///
    /// As [`Stuffing::push`].
    pub fn finish(self, wire: &mut Vec<u8>) -> Result<(), Unfit> {
        match self.guard.place {
            Place::LineStart => {}
            Place::Text => wire.extend_from_slice(b"\r\n"),
            Place::AfterCr => return Err(Unfit::BareLineEnd),
        }
        wire.extend_from_slice(b".\r\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuff(input: &[u8], piece: usize) -> Result<Vec<u8>, Unfit> {
        let mut stuffing = Stuffing::new(Octets::SevenBit);
        let mut wire = Vec::new();
        for chunk in input.chunks(piece.max(1)) {
            stuffing.push(chunk, &mut wire)?;
        }
        stuffing.finish(&mut wire)?;
        Ok(wire)
    }

    /// Reads a body as a server does, independently of the code above: by lines.
    fn unstuff(wire: &str) -> String {
        let body = wire.strip_suffix("\r\n").unwrap();
        let mut lines: Vec<_> = body.split("\r\n").collect();
        assert_eq!(lines.pop(), Some("."), "the body ends in a dot alone");
        assert!(!lines.contains(&"."), "and no line before it is one");
        lines.iter().map(|l| l.strip_prefix('.').unwrap_or(l).to_owned() + "\r\n").collect()
    }

    #[test]
    fn bodies_are_stuffed_or_refused_whole_and_octet_by_octet() {
        type Row = (&'static [u8], Result<&'static [u8], Unfit>);
        let rows: &[Row] = &[
            (b"", Ok(b".\r\n")),
            (b"a\r\n", Ok(b"a\r\n.\r\n")),
            (b"a", Ok(b"a\r\n.\r\n")),
            (b".\r\n", Ok(b"..\r\n.\r\n")),
            (b"..a\r\n.b", Ok(b"...a\r\n..b\r\n.\r\n")),
            (b"a.b\r\n\r\n.\r\n", Ok(b"a.b\r\n\r\n..\r\n.\r\n")),
            (b"a\n.\r\n", Err(Unfit::BareLineEnd)),
            (b"a\r.\r\n", Err(Unfit::BareLineEnd)),
            (b"a\r\r\n", Err(Unfit::BareLineEnd)),
            (b"a\r", Err(Unfit::BareLineEnd)),
            (b"\n", Err(Unfit::BareLineEnd)),
            (b"a\0b\r\n", Err(Unfit::Nul)),
            (b"\r\0\r\n", Err(Unfit::BareLineEnd)),
            (b"\xfc\r\n", Err(Unfit::EightBit)),
        ];
        for (input, expected) in rows {
            for piece in [1, 2, input.len()] {
                let expected = expected.map(<[u8]>::to_vec);
                assert_eq!(stuff(input, piece), expected, "{}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn eight_bit_octets_pass_where_they_were_announced() {
        let mut wire = Vec::new();
        Stuffing::new(Octets::EightBit).push(b"\xfc\r\n", &mut wire).unwrap();
        assert_eq!(wire, b"\xfc\r\n");
    }

    proptest! {
        #[test]
        fn what_is_stuffed_is_read_back_as_it_was(
            lines in prop::collection::vec("[.a]{0,4}", 0..20),
            piece in 1usize..9,
        ) {
            let body = lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect::<String>();
            let wire = String::from_utf8(stuff(body.as_bytes(), piece).unwrap()).unwrap();
            prop_assert_eq!(unstuff(&wire), body);
        }

        #[test]
        fn nothing_that_is_sent_has_a_bare_line_end_a_nul_or_an_early_dot(
            input in prop::collection::vec(prop_oneof![
                Just(b'.'), Just(b'\r'), Just(b'\n'), Just(0), Just(b'a'), any::<u8>()
            ], 0..60),
            piece in 1usize..9,
        ) {
            let whole = stuff(&input, input.len());
            prop_assert_eq!(&whole, &stuff(&input, piece));
            if let Ok(wire) = whole {
                let text = String::from_utf8(wire).unwrap();
                let rest = text.replace("\r\n", "");
                prop_assert!(!rest.contains(['\r', '\n', '\0']));
                unstuff(&text);
            }
        }
    }
}
