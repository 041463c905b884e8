//! Quoted-printable and base64 (RFC 2045, sections 6.7 and 6.8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest line of either, octets without its end.
const WIDTH: usize = 76;
/// The octets that a line of base64 stands for.
const GROUP: usize = WIDTH / 4 * 3;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `octets` as quoted-printable. A CRLF stays the end of a line; a CR or LF alone is
/// escaped, so it is read back as it was.
pub(super) fn quoted_printable(octets: &[u8], out: &mut Vec<u8>) {
    let mut rest = octets;
    loop {
        let end = memchr::memmem::find(rest, b"\r\n");
        line(&rest[..end.unwrap_or(rest.len())], out);
        let Some(end) = end else { return };
        out.extend_from_slice(b"\r\n");
        rest = &rest[end + 2..];
    }
}

/// Appends one line, broken where it is too wide. White space at its end is escaped, since servers
/// may take it away (RFC 2045, section 6.7, rule 3).
fn line(octets: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (place, byte) in octets.iter().enumerate() {
        let is_last = place + 1 == octets.len();
        let is_plain = match byte {
            b' ' | b'\t' => !is_last,
            // A line that a break begins must not look like a delimiter of the parts around it.
            b'-' => column > 0 || place == 0,
            b'=' => false,
            b'!'..=b'~' => true,
            _ => false,
        };
        let width = if is_plain { 1 } else { 3 };
        // One column is for the mark of a break.
        if column + width > WIDTH - 1 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if is_plain && !(column == 0 && place > 0 && *byte == b'-') {
            out.push(*byte);
            column += 1;
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'=', DIGITS[high], DIGITS[low]]);
            column += 3;
        }
    }
}

/// Appends `octets` as base64, in whole lines.
pub(super) fn base64(octets: &[u8], out: &mut Vec<u8>) {
    let mut text = String::with_capacity(WIDTH);
    for group in octets.chunks(GROUP) {
        text.clear();
        STANDARD.encode_string(group, &mut text);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
