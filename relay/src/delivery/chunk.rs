//! The body on its way out in one chunk (RFC 3030, section 2): nothing is doubled, nothing added.

use super::stuffing::{Guard, Octets, Unfit};

/// A body that goes as one chunk, its last.
///
/// The last octet is kept back until the body has ended, so that a body that is longer than it was
/// said to be is never taken for whole.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    guard: Guard,
    size_bytes: u64,
    /// Octets taken so far.
    taken: u64,
    kept: Option<u8>,
}

impl Chunk {
    /// Returns a body of `size_bytes` that begins.
    #[must_use]
    pub const fn new(octets: Octets, size_bytes: u64) -> Self {
        Self { guard: Guard::new(octets), size_bytes, taken: 0, kept: None }
    }

    /// Appends `input` to `wire` as it is sent, the BDAT command before the first octet.
    ///
    /// # Errors
    ///
    /// The body must not be sent. The transaction can only be left by closing the connection: the
    /// next hop waits for the octets that were announced.
    pub fn push(&mut self, input: &[u8], wire: &mut Vec<u8>) -> Result<(), Unfit> {
        let Some((last, others)) = input.split_last() else { return Ok(()) };
        input.iter().try_for_each(|byte| self.guard.pass(*byte))?;
        if self.taken == 0 {
            wire.extend_from_slice(&self.command());
        }
        self.taken = self.taken.saturating_add(input.len() as u64);
        if self.taken > self.size_bytes {
            return Err(Unfit::Length);
        }
        wire.extend(self.kept.replace(*last));
        wire.extend_from_slice(others);
        Ok(())
    }

    /// Ends the body with its last octet.
    ///
    /// # Errors
    ///
    /// As [`Chunk::push`].
    pub fn finish(self, wire: &mut Vec<u8>) -> Result<(), Unfit> {
        if self.taken != self.size_bytes {
            return Err(Unfit::Length);
        }
        if !self.guard.is_between_line_ends() {
            return Err(Unfit::BareLineEnd);
        }
        if self.taken == 0 {
            wire.extend_from_slice(&self.command());
        }
        wire.extend(self.kept);
        Ok(())
    }

    fn command(self) -> Vec<u8> {
        format!("BDAT {} LAST\r\n", self.size_bytes).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(input: &[u8], size: u64, octets: Octets, piece: usize) -> Result<Vec<u8>, Unfit> {
        let mut chunk = Chunk::new(octets, size);
        let mut wire = Vec::new();
        for part in input.chunks(piece.max(1)) {
            chunk.push(part, &mut wire)?;
        }
        chunk.finish(&mut wire)?;
        Ok(wire)
    }

    #[test]
    fn a_body_goes_as_it_is_or_not_at_all() {
        type Row = (&'static [u8], u64, Octets, Result<&'static [u8], Unfit>);
        let rows: &[Row] = &[
            (b".\r\n..a", 6, Octets::SevenBit, Ok(b"BDAT 6 LAST\r\n.\r\n..a")),
            (b"", 0, Octets::SevenBit, Ok(b"BDAT 0 LAST\r\n")),
            (b"\0\r\xff", 3, Octets::Binary, Ok(b"BDAT 3 LAST\r\n\0\r\xff")),
            (b"\xff", 1, Octets::EightBit, Ok(b"BDAT 1 LAST\r\n\xff")),
            (b"\xff", 1, Octets::SevenBit, Err(Unfit::EightBit)),
            (b"a\nb", 3, Octets::EightBit, Err(Unfit::BareLineEnd)),
            (b"a\r", 2, Octets::EightBit, Err(Unfit::BareLineEnd)),
            (b"a\0", 2, Octets::EightBit, Err(Unfit::Nul)),
            (b"abc", 2, Octets::SevenBit, Err(Unfit::Length)),
            (b"abc", 4, Octets::SevenBit, Err(Unfit::Length)),
        ];
        for (input, size, octets, expected) in rows {
            for piece in [1, 2, input.len()] {
                let found = chunk(input, *size, *octets, piece);
                assert_eq!(found, expected.map(<[u8]>::to_vec), "{}", input.escape_ascii());
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_announced_is_sent_to_the_octet(
            input in prop::collection::vec(any::<u8>(), 0..60),
            piece in 1usize..9,
        ) {
            let wire = chunk(&input, input.len() as u64, Octets::Binary, piece).unwrap();
            let line = format!("BDAT {} LAST\r\n", input.len());
            prop_assert_eq!(wire, [line.as_bytes(), &input].concat());
        }

        #[test]
        fn the_end_of_a_body_never_leaves_before_it_is_known(
            input in prop::collection::vec(any::<u8>(), 1..60),
            piece in 1usize..9,
        ) {
            let mut chunk = Chunk::new(Octets::Binary, input.len() as u64);
            let mut wire = Vec::new();
            for part in input.chunks(piece) {
                chunk.push(part, &mut wire).unwrap();
            }
            let line = format!("BDAT {} LAST\r\n", input.len());
            prop_assert_eq!(wire.len(), line.len() + input.len() - 1);
        }
    }
}
