//! Which messages are taken apart: mail-parser sets no limit to messages within messages, and what it makes of them
//! is given back level by level on the stack, so half a million of them, which 16 MiB hold, end the process.

use memchr::memmem::{find, find_iter};

/// The most words that may begin a message within a message.
const INNER_MAX: usize = 200;
/// The most lines that may begin a part: each part takes memory, and none needs more than seven octets.
pub(super) const BOUNDARIES_MAX: usize = 20_000;

/// Names of types whose parts are messages (RFC 2046, sections 5.1.5 and 5.2.1; RFC 6532, section 3.7).
const INNER: [&[u8]; 3] = [b"rfc822", b"global", b"digest"];
/// Encodings that hide what is in a part; none of these types may have one, but mail-parser looks into them.
const HIDDEN: [&[u8]; 2] = [b"base64", b"quoted-printable"];

/// Tells whether a message may be taken apart: it has no more parts and inner messages than are taken, and none of
/// them are hidden by an encoding.
pub(super) fn is_tame(raw: &[u8]) -> bool {
    if find_iter(raw, b"\n--").take(BOUNDARIES_MAX + 1).count() > BOUNDARIES_MAX {
        return false;
    }
    let lower = raw.to_ascii_lowercase();
    let has = |text: &[u8], words: &[&[u8]]| words.iter().any(|word| find(text, word).is_some());
    let inner = |word: &&[u8]| find_iter(&lower, *word).take(INNER_MAX + 1).count();
    match INNER.iter().map(inner).sum::<usize>() {
        0 => return true,
        1..=INNER_MAX => {}
        _ => return false,
    }
    // In a digest a part is a message that says nothing of its type.
    let has_digest = has(&lower, &INNER[2..]);
    !paragraphs(&lower).any(|head| {
        let is_inner = has(head, &INNER) || has_digest && find(head, b"content-type").is_none();
        is_inner && has(head, &HIDDEN)
    })
}

/// Splits at empty lines: each header section lies within one piece.
fn paragraphs(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let ends = [&b"\n\n"[..], b"\n\r\n"].map(|end| find(text, end));
        let end = ends.into_iter().flatten().min().map_or(text.len(), |end| end + 1);
        let (head, rest) = text.split_at(end);
        text = rest;
        Some(head)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_within_messages_have_a_limit_and_are_never_hidden() {
        let digest = "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n";
        let forwarded = "Content-Type: message/RFC822\r\n\r\n";
        let text = "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ==\r\n";
        for (row, raw, expected) in [
            ("plain", format!("Subject: a\r\n\r\n{}", "--\r\n".repeat(9)), true),
            ("encoded text", text.to_owned(), true),
            ("forwarded, with text", format!("{forwarded}{text}"), true),
            ("as many as may be", forwarded.repeat(INNER_MAX), true),
            ("more", forwarded.repeat(INNER_MAX + 1), false),
            ("half a million", forwarded.repeat(500_000), false),
            (
                "hidden",
                "A: b\nContent-Type: message/(x)global\nContent-Transfer-Encoding:\n BASE64\n\nYQ=="
                    .to_owned(),
                false,
            ),
            (
                "hidden by an equals sign",
                format!("Content-Transfer-Encoding: quoted-printable\r\n{forwarded}"),
                false,
            ),
            ("a digest", format!("{digest}\r\nSubject: x\r\n\r\n"), true),
            ("a digest with text", format!("{digest}\r\n{text}"), true),
            (
                "hidden in a digest",
                format!("{digest}Content-Transfer-Encoding: base64\r\n\r\nYQ=="),
                false,
            ),
            ("many parts", "\n--".repeat(BOUNDARIES_MAX + 1), false),
        ] {
            assert_eq!(is_tame(raw.as_bytes()), expected, "{row}");
        }
    }

    proptest::proptest! {
        /// Whatever the text, no octet of it is left out.
        #[test]
        fn paragraphs_are_the_whole(text in "[a\r\n]{0,40}") {
            proptest::prop_assert_eq!(paragraphs(text.as_bytes()).collect::<Vec<_>>().concat(), text.as_bytes());
        }
    }
}
