//! The hash of a body in its relaxed form (RFC 6376, section 3.4.4).

use aws_lc_rs::digest;

/// Line ends that are hashed at a time.
const ENDS: [u8; 2 * 512] = {
    let mut ends = [b'\r'; 2 * 512];
    let mut place = 1;
    while place < ends.len() {
        ends[place] = b'\n';
        place += 2;
    }
    ends
};

/// The hash of a body that comes in pieces. Space before a line end goes, other space becomes one
/// space, empty lines at the end go; what is left ends in CRLF.
///
/// It holds at most twice the octets of a piece.
#[derive(Clone)]
pub struct BodyHash {
    hash: digest::Context,
    /// Empty lines that count only if text follows.
    empty_lines: u64,
    line: Line,
}

/// What is known of the line that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    has_text: Text,
    space: Space,
    cr: Cr,
}

/// Whether a line has anything but space so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    None,
    Some,
}

/// Whether space was read that counts only if text follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    None,
    Pending,
}

/// Whether the last octet was a CR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cr {
    None,
    Pending,
}

impl Line {
    const START: Self = Self { has_text: Text::None, space: Space::None, cr: Cr::None };
}

impl Default for BodyHash {
    fn default() -> Self {
        let hash = digest::Context::new(&digest::SHA256);
        Self { hash, empty_lines: 0, line: Line::START }
    }
}

impl BodyHash {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let mut out = Vec::with_capacity(piece.len() + 2);
        for &byte in piece {
            if self.line.cr == Cr::Pending {
                self.line.cr = Cr::None;
                if byte == b'\n' {
                    self.line_end(&mut out);
                    continue;
                }
                self.text(b'\r', &mut out);
            }
            match byte {
                b'\r' => self.line.cr = Cr::Pending,
                b' ' | b'\t' => self.line.space = Space::Pending,
                byte => self.text(byte, &mut out),
            }
        }
        self.hash.update(&out);
    }

    /// Returns the hash.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        let mut out = Vec::new();
        if self.line.cr == Cr::Pending {
            self.text(b'\r', &mut out);
        }
        // A last line without an end gets one on its way (`delivery::stuffing`).
        if self.line.has_text == Text::Some {
            out.extend_from_slice(b"\r\n");
        }
        self.hash.update(&out);
        let mut hash = [0; 32];
        hash.copy_from_slice(self.hash.finish().as_ref());
        hash
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        match self.line.has_text {
            Text::Some => out.extend_from_slice(b"\r\n"),
            Text::None => self.empty_lines += 1,
        }
        self.line = Line::START;
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.empty_lines > 0 {
            self.hash.update(out);
            out.clear();
            self.empty_lines_count();
        }
        if self.line.space == Space::Pending {
            out.push(b' ');
            self.line.space = Space::None;
        }
        out.push(byte);
        self.line.has_text = Text::Some;
    }

    /// Hashes the empty lines that text has followed.
    fn empty_lines_count(&mut self) {
        while self.empty_lines > 0 {
            let lines = self.empty_lines.min(ENDS.len() as u64 / 2);
            self.hash.update(&ENDS[..lines as usize * 2]);
            self.empty_lines -= lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The relaxed form by the words of the RFC, of a whole body.
    fn relaxed(body: &[u8]) -> Vec<u8> {
        let text: String = body.iter().copied().map(char::from).collect();
        let mut lines: Vec<String> = text
            .split("\r\n")
            .map(|line| {
                let mut words = String::new();
                for letter in line.chars() {
                    match letter {
                        ' ' | '\t' if words.ends_with(' ') => {}
                        '\t' => words.push(' '),
                        _ => words.push(letter),
                    }
                }
                words.trim_end_matches(' ').to_owned()
            })
            .collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.iter().flat_map(|line| line.chars().map(|c| c as u8).chain(*b"\r\n")).collect()
    }

    fn hashed(body: &[u8], piece: usize) -> [u8; 32] {
        let mut hash = BodyHash::default();
        body.chunks(piece).for_each(|piece| hash.push(piece));
        hash.finish()
    }

    #[test]
    fn the_example_of_rfc_6376_and_an_empty_body() {
        // Section 3.4.5.
        let body = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(relaxed(body), b" C\r\nD E\r\n");
        let known = |text: &[u8]| {
            let digest = digest::digest(&digest::SHA256, text);
            <[u8; 32]>::try_from(digest.as_ref()).unwrap()
        };
        assert_eq!(hashed(body, 99), known(b" C\r\nD E\r\n"));
        assert_eq!(
            BodyHash::default().finish(),
            known(b""),
            "section 3.4.4: nothing stays nothing"
        );
        assert_eq!(hashed(b"hello\r\n \r\n\t\r\n", 3), known(b"hello\r\n"), "lines of space go");
        let gap = [b"a\r\n".as_slice(), &b"\r\n".repeat(3000), b"b\r\n"].concat();
        assert_eq!(hashed(&gap, 7), known(&gap), "a long gap stays");
    }

    const PIECES: &[&[u8]] = &[b"\r\n", b" ", b"\t", b"a", b"\xfc", b".", b"\r"];

    proptest! {
        #[test]
        fn a_body_hashes_alike_however_it_is_cut(
            letters in prop::collection::vec(
                prop::sample::select(PIECES),
                0..60,
            ),
            piece in 1usize..20,
        ) {
            let body = letters.concat();
            let expected = digest::digest(&digest::SHA256, &relaxed(&body));
            prop_assert_eq!(&hashed(&body, piece)[..], expected.as_ref());
        }
    }
}
