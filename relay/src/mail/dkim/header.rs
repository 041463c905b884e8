//! Which header fields a signature covers, and in which form (RFC 6376, sections 3.4.2 and 5.4).

/// Fields that are signed as often as they stand there, and once more: nobody can add another
/// without breaking the signature (RFC 6376, section 8.15).
const SEALED: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];

/// Fields that are signed as often as they stand there: mailing lists and those who send a message
/// again add their own in good faith. RFC 8058, section 4, asks for the last three.
const SIGNED: &[&str] = &[
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-message-id",
    "content-id",
    "content-description",
    "list-id",
    "list-help",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
    "list-unsubscribe",
    "list-unsubscribe-post",
];

/// Returns the names for the tag `h=`, and the fields that they stand for in relaxed form.
///
/// Of fields with one name the lowest is signed first (RFC 6376, section 5.4.2).
pub(super) fn signed(header: &[u8]) -> (Vec<&'static str>, Vec<u8>) {
    let fields = fields(header);
    let (mut names, mut input) = (Vec::new(), Vec::new());
    for (name, is_sealed) in
        SEALED.iter().map(|name| (name, true)).chain(SIGNED.iter().map(|name| (name, false)))
    {
        for field in fields.iter().rev().filter(|field| is_named(field, name)) {
            names.push(*name);
            input.extend_from_slice(&relaxed(field));
        }
        if is_sealed {
            names.push(*name);
        }
    }
    (names, input)
}

/// Splits a header section into its fields, line ends included. Lines that belong to no field are
/// left out.
fn fields(header: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut start = 0;
    for end in memchr::memmem::find_iter(header, b"\r\n").map(|place| place + 2) {
        let goes_on = matches!(header.get(end), Some(b' ' | b'\t'));
        if !goes_on {
            fields.push(&header[start..end]);
            start = end;
        }
    }
    fields
}

fn is_named(field: &[u8], name: &str) -> bool {
    let colon = memchr::memchr(b':', field).unwrap_or(0);
    field[..colon].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
}

/// Returns a field in relaxed form: its name in lower case, its lines joined, every run of space
/// one space, and none around the colon or at the end (RFC 6376, section 3.4.2).
pub(super) fn relaxed(field: &[u8]) -> Vec<u8> {
    let colon = memchr::memchr(b':', field).unwrap_or(field.len());
    let (name, value) = field.split_at(colon);
    let mut out = name.trim_ascii_end().to_ascii_lowercase();
    out.push(b':');
    let mut space = Some(());
    for &byte in value.get(1..).unwrap_or_default() {
        match byte {
            b'\r' | b'\n' => {}
            b' ' | b'\t' if space.is_some() => {}
            b' ' | b'\t' => {
                space = Some(());
                out.push(b' ');
            }
            byte => {
                space = None;
                out.push(byte);
            }
        }
    }
    if out.last() == Some(&b' ') {
        out.pop();
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_relaxed_as_rfc_6376_shows() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"A: X\r\n", b"a:X\r\n"),
            (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
            (b"Subject:a  b\r\n \r\n c\r\n", b"subject:a b c\r\n"),
            (b"Empty:\r\n", b"empty:\r\n"),
            (b"Space: \t \r\n", b"space:\r\n"),
            (b"X: a:b\r\n", b"x:a:b\r\n"),
        ];
        for (field, expected) in rows {
            assert_eq!(relaxed(field), *expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn the_lowest_field_of_a_name_comes_first_and_one_more_is_sealed() {
        let header = b"Received: x\r\nSubject: 1\r\nFrom: a\r\nsubject : 2\r\n 3\r\nList-Id: l\r\n";
        let (names, input) = signed(header);
        let text = "from:a\r\nsubject:2 3\r\nsubject:1\r\nlist-id:l\r\n";
        assert_eq!(String::from_utf8(input).unwrap(), text);
        let count = |name: &str| names.iter().filter(|other| **other == name).count();
        let counts = ["from", "subject", "list-id", "cc", "received", "list-post"].map(count);
        assert_eq!(counts, [2, 3, 1, 1, 0, 0]);
    }
}
