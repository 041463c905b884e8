//! Where the parts of a multipart begin and end (RFC 2046, section 5.1.1).

/// A multipart, cut; put together in order it is what it was.
pub(super) struct Cut<'a> {
    /// What stands before the first delimiter.
    pub(super) preamble: &'a [u8],
    /// Each delimiter, its line ends included, and the part that follows it.
    pub(super) parts: Vec<(&'a [u8], &'a [u8])>,
    /// The last delimiter; empty if there is none.
    pub(super) end: &'a [u8],
    /// What stands after it.
    pub(super) epilogue: &'a [u8],
}

/// A line that is a delimiter.
struct Delimiter {
    /// Where it begins: the line end before it is its own.
    start: usize,
    /// Where the line after it begins.
    end: usize,
    kind: Delimits,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delimits {
    Part,
    All,
}

/// Cuts `body` at the lines that are `boundary`. Without a last delimiter the last part goes on to
/// the end. No more than `most` parts are looked for; then the cut is not whole.
pub(super) fn split<'a>(body: &'a [u8], boundary: &[u8], most: usize) -> Cut<'a> {
    let mut found = Cut { preamble: body, parts: Vec::new(), end: b"", epilogue: b"" };
    let mut open: Option<(&[u8], usize)> = None;
    let mut at = 0;
    while found.parts.len() < most
        && let Some(next) = find(body, at, boundary)
    {
        match open.take() {
            None => found.preamble = &body[..next.start],
            Some((delimiter, from)) => found.parts.push((delimiter, &body[from..next.start])),
        }
        let line = &body[next.start..next.end];
        if next.kind == Delimits::All {
            (found.end, found.epilogue) = (line, &body[next.end..]);
            return found;
        }
        open = Some((line, next.end));
        at = next.end;
    }
    if let Some((delimiter, from)) = open
        && found.parts.len() < most
    {
        found.parts.push((delimiter, &body[from..]));
    }
    found
}

/// Finds the next delimiter; `from` is where a line begins.
fn find(body: &[u8], from: usize, boundary: &[u8]) -> Option<Delimiter> {
    let mut at = from;
    loop {
        let length = memchr::memmem::find(&body[at..], b"\r\n");
        let line = &body[at..length.map_or(body.len(), |length| at + length)];
        if let Some(kind) = delimits(line, boundary) {
            let start = if at >= from + 2 { at - 2 } else { at };
            // The end of the last line is kept with what follows it, as a part's is.
            let end = match kind {
                Delimits::Part => length.map_or(body.len(), |length| at + length + 2),
                Delimits::All => at + line.len(),
            };
            return Some(Delimiter { start, end, kind });
        }
        at += length? + 2;
    }
}

/// Tells what a line delimits: two hyphens, the boundary, two more at the last, and padding. A line
/// that goes on otherwise is another's, whose boundary begins alike.
fn delimits(line: &[u8], boundary: &[u8]) -> Option<Delimits> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, kind) = match rest.strip_prefix(b"--") {
        Some(rest) => (rest, Delimits::All),
        None => (rest, Delimits::Part),
    };
    rest.iter().all(|byte| matches!(byte, b' ' | b'\t')).then_some(kind)
}
