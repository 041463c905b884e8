//! What is read the same however it is cut: lines and bodies. The input says how: its first octets
//! are the lengths of the pieces, in turn.

use relay::smtp::body::{BodyFault, BodyReader, Ended, TEXT_LINE_MAX};
use relay::smtp::line::{AUTH_MAX, Awaited, LineError, LineReader};

/// How many octets in front of an input say how it is cut.
const LENGTHS: usize = 4;

/// Splits an input into the lengths of its pieces and the rest.
pub fn lengths(input: &[u8]) -> Option<(&[u8], &[u8])> {
    input.split_at_checked(LENGTHS)
}

/// Returns `octets` in pieces of these lengths, in turn; a length of zero counts as one.
pub fn pieces<'a>(octets: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), octets);
    for length in lengths.iter().cycle() {
        if rest.is_empty() || lengths.is_empty() {
            break;
        }
        let (piece, left) = rest.split_at(rest.len().min(usize::from(*length).max(1)));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

fn read_lines(pieces: &[&[u8]], awaited: Awaited) -> Vec<Result<Vec<u8>, LineError>> {
    let mut reader = LineReader::default();
    let mut lines = Vec::new();
    for piece in pieces {
        let mut piece = *piece;
        while let Some(line) = reader.read(&mut piece, awaited) {
            lines.push(line.map(|line| line.to_vec()));
        }
        assert!(piece.is_empty(), "a reader without a line has taken all");
    }
    lines
}

/// The slow and obvious reading of one line, its line feed included.
fn slow_line(line: &[u8], limit: usize) -> Result<Vec<u8>, LineError> {
    let begins =
        |word: &[u8]| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let announces = begins(b"BDAT");
    match line {
        [text @ .., b'\r', b'\n']
            if announces
                && (line.len() > limit || text.iter().any(|byte| matches!(byte, b'\r' | 0))) =>
        {
            Err(LineError::Announcement)
        }
        [text @ .., b'\r', b'\n'] if line.len() <= limit => {
            if text.iter().any(|byte| matches!(byte, b'\r' | 0)) {
                return Err(LineError::Control);
            }
            Ok(text.to_vec())
        }
        [.., b'\r', b'\n'] if begins(b"AUTH ") => Err(LineError::ResponseTooLong),
        [.., b'\r', b'\n'] => Err(LineError::TooLong),
        _ => Err(LineError::BareLineFeed),
    }
}

/// Lines are read the same in pieces and at once, and as the slow reading does.
pub fn lines_are_those_of_the_slow_reading(input: &[u8]) {
    let Some((lengths, octets)) = lengths(input) else { return };
    let cut = read_lines(&pieces(octets, lengths), Awaited::Response);
    assert_eq!(cut, read_lines(&[octets], Awaited::Response), "by {lengths:?}");
    let ended = octets.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let slow: Vec<_> = ended.map(|line| slow_line(line, AUTH_MAX)).collect();
    assert_eq!(cut, slow);
    let commands = read_lines(&pieces(octets, lengths), Awaited::Command);
    assert_eq!(commands, read_lines(&[octets], Awaited::Command), "by {lengths:?}");
}

/// What a reader made of a body: the message, how it ended, and what it left of the input.
type Read = (Vec<u8>, Option<Result<Ended, BodyFault>>, Vec<u8>);

fn read_body(pieces: &[&[u8]]) -> Read {
    let mut reader = BodyReader::default();
    let (mut message, mut verdict, mut left) = (Vec::new(), None, Vec::new());
    for piece in pieces {
        let mut piece = *piece;
        if verdict.is_none() {
            verdict = reader.read(&mut piece, &mut message);
            assert!(verdict.is_some() || piece.is_empty(), "without an end all is taken");
        }
        left.extend_from_slice(piece);
    }
    (message, verdict, left)
}

/// Returns where a body ends, and the message, if it is clean: by its lines, between CRLF and CRLF.
fn slow_body(octets: &[u8]) -> Option<(usize, Option<Vec<u8>>)> {
    let (mut message, mut clean, mut at) = (Vec::new(), true, 0);
    loop {
        let length = octets[at..].windows(2).position(|two| two == b"\r\n")?;
        let line = &octets[at..at + length];
        at += length + 2;
        if line == b"." {
            return Some((at, clean.then_some(message)));
        }
        let line = line.strip_prefix(b".").unwrap_or(line);
        clean &= !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        clean &= line.len() <= TEXT_LINE_MAX;
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
}

/// A body ends at CRLF, dot, CRLF and nowhere else, and is refused or kept as the slow reading says.
pub fn a_body_is_that_of_the_slow_reading(input: &[u8]) {
    let Some((lengths, octets)) = lengths(input) else { return };
    let (message, verdict, left) = read_body(&pieces(octets, lengths));
    let whole = read_body(&[octets]);
    assert_eq!((verdict, &left), (whole.1, &whole.2), "by {lengths:?}");
    // How much was kept before a fault was found is for the cut to say: all of it is thrown away.
    if !matches!(verdict, Some(Err(_))) && slow_body(octets).is_some() {
        assert_eq!(message, whole.0, "by {lengths:?}");
    }
    match (slow_body(octets), verdict) {
        (None, None) => {}
        (Some((end, slow)), Some(verdict)) => {
            assert_eq!(left, &octets[end..]);
            assert_eq!(verdict.is_ok(), slow.is_some());
            if let (Some(slow), Ok(ended)) = (slow, verdict) {
                assert_eq!(message, slow);
                assert_eq!(ended.size_bytes, slow.len() as u64);
            }
        }
        (slow, verdict) => panic!("{slow:?} is due, and {verdict:?} was read"),
    }
}
