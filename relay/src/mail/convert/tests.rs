//! Messages before and after, and an independent reader that must see no difference.

use mail_parser::MessageParser;
use proptest::prelude::*;

use super::leaves::leaves;
use super::*;

/// Converts text, `|` standing for a line end, and shows the result alike.
fn converted(message: &[u8], headers: Charset) -> Result<String, Unconvertible> {
    let out = to_seven_bit(&lines(message), headers)?;
    Ok(String::from_utf8(out).unwrap().replace("\r\n", "|"))
}

fn lines(message: &[u8]) -> Vec<u8> {
    message.split(|byte| *byte == b'|').collect::<Vec<_>>().join(&b"\r\n"[..])
}

#[test]
fn what_needs_it_is_encoded_and_everything_else_stays() {
    let rows: &[(&str, &[u8], &str)] = &[
        (
            "text becomes quoted-printable",
            b"MIME-Version: 1.0|Content-Type: text/plain; charset=utf-8|\
              Content-Transfer-Encoding: 8bit|X: y||gr\xc3\xbc\xc3\x9fe = 1 |",
            "MIME-Version: 1.0|Content-Type: text/plain; charset=utf-8|\
             Content-Transfer-Encoding: quoted-printable|X: y||gr=C3=BC=C3=9Fe =3D 1=20|",
        ),
        (
            "a text without end gets none that counts",
            b"MIME-Version: 1.0||\xe9",
            "MIME-Version: 1.0|Content-Transfer-Encoding: quoted-printable||=E9=|",
        ),
        (
            "a message that knows no MIME is text of UTF-8",
            b"Subject: a||\xc3\xbc|",
            "Subject: a|Content-Transfer-Encoding: quoted-printable|MIME-Version: 1.0|\
             Content-Type: text/plain; charset=utf-8||=C3=BC|",
        ),
        (
            "or of who knows what (RFC 1428)",
            b"Subject: a||\xfc|",
            "Subject: a|Content-Transfer-Encoding: quoted-printable|MIME-Version: 1.0|\
             Content-Type: text/plain; charset=unknown-8bit||=FC|",
        ),
        (
            "only the part that needs it, and the labels above it",
            b"MIME-Version: 1.0|Content-Type: Multipart/Mixed; boundary=\"a b\"|\
              Content-Transfer-Encoding: binary||--a b||seven|--a b |\
              Content-Type: image/png|Content-Transfer-Encoding: binary||\xff\r\0|--a b--|",
            "MIME-Version: 1.0|Content-Type: Multipart/Mixed; boundary=\"a b\"|\
             Content-Transfer-Encoding: 7bit||--a b||seven|--a b |\
             Content-Type: image/png|Content-Transfer-Encoding: base64||/w0A||--a b--|",
        ),
        (
            "a message in a message",
            b"MIME-Version: 1.0|Content-Type: message/rfc822 (what else)|\
              Content-Transfer-Encoding: 8bit||Subject: inner|MIME-Version: 1.0||\xe9|",
            "MIME-Version: 1.0|Content-Type: message/rfc822 (what else)|\
             Content-Transfer-Encoding: 7bit||Subject: inner|MIME-Version: 1.0|\
             Content-Transfer-Encoding: quoted-printable||=E9|",
        ),
        (
            "parts of a digest are messages",
            b"MIME-Version: 1.0|Content-Type: multipart/digest; boundary=b||--b||Subject: i||\xe9|--b--|",
            "MIME-Version: 1.0|Content-Type: multipart/digest; boundary=b||--b||Subject: i|\
             Content-Transfer-Encoding: quoted-printable|MIME-Version: 1.0|\
             Content-Type: text/plain; charset=unknown-8bit||=E9|--b--|",
        ),
        (
            "a preamble that nobody reads goes",
            b"MIME-Version: 1.0|Content-Type: multipart/x; boundary=b||\xe9|--b||a|--b--|\xe9",
            "MIME-Version: 1.0|Content-Type: multipart/x; boundary=b|||--b||a|--b--",
        ),
        (
            "7-bit parts labelled 8-bit are relabelled",
            b"MIME-Version: 1.0|Content-Transfer-Encoding: 8BIT||a|",
            "MIME-Version: 1.0|Content-Transfer-Encoding: 7bit||a|",
        ),
        ("7-bit mail stays, signed or not", b"DKIM-Signature: x||a|", "DKIM-Signature: x||a|"),
        (
            "a signed part that fits stays in a message that does not",
            b"MIME-Version: 1.0|Content-Type: multipart/x; boundary=b||--b|\
              Content-Type: multipart/signed; boundary=c|Content-Transfer-Encoding: 8bit||--c||s|--c--\
              |--b||\xe9|--b--|",
            "MIME-Version: 1.0|Content-Type: multipart/x; boundary=b||--b|\
             Content-Type: multipart/signed; boundary=c|Content-Transfer-Encoding: 8bit||--c||s|--c--\
             |--b|Content-Transfer-Encoding: quoted-printable||=E9|--b--|",
        ),
    ];
    for (name, message, expected) in rows {
        let found = converted(message, Charset::Ascii);
        assert_eq!(found.as_deref(), Ok(*expected), "{name}");
    }
}

#[test]
fn what_must_not_or_cannot_be_converted_is_refused() {
    let deep = format!(
        "MIME-Version: 1.0|{}|\u{fc}|",
        "Content-Type: message/rfc822||MIME-Version: 1.0|".repeat(DEPTH_MAX + 1)
    );
    let rows: &[(&str, &[u8], Unconvertible)] = &[
        ("DKIM", b"dkim-signature: x||\xe9|", Unconvertible::Signed),
        ("ARC", b"ARC-Message-Signature: x||\xe9|", Unconvertible::Signed),
        ("OpenPGP", b"Content-Type: multipart/signed; boundary=b||\xe9|", Unconvertible::Signed),
        ("sealed", b"Content-Type: multipart/encrypted; boundary=b||\xe9|", Unconvertible::Signed),
        ("S/MIME", b"Content-Type: application/pkcs7-mime||\xe9|", Unconvertible::Signed),
        (
            "a signed message inside",
            b"Content-Type: message/rfc822||DKIM-Signature: x||\xe9|",
            Unconvertible::Signed,
        ),
        ("a header in UTF-8", b"Subject: \xc3\xbc||a|", Unconvertible::Header),
        (
            "a header of a part",
            b"Content-Type: multipart/x; boundary=b||--b|X: \xc3\xbc||a|--b--|",
            Unconvertible::Header,
        ),
        ("no boundary", b"Content-Type: multipart/x||\xe9|", malformed("clear boundary")),
        (
            "two boundaries",
            b"Content-Type: multipart/x; boundary=a; boundary=b||--a||\xe9|--a--|",
            malformed("clear boundary"),
        ),
        ("no part", b"Content-Type: multipart/x; boundary=b||\xe9|", malformed("no part")),
        ("no type", b"Content-Type: text||\xe9|", malformed("names no type")),
        (
            "two types",
            b"Content-Type: a/b|Content-Type: a/c||\xe9|",
            malformed("Type stands twice"),
        ),
        (
            "two codings",
            b"Content-Transfer-Encoding: 8bit|Content-Transfer-Encoding: 8bit||\xe9|",
            malformed("Encoding stands twice"),
        ),
        (
            "8-bit octets in base64",
            b"Content-Transfer-Encoding: base64||\xe9|",
            malformed("its encoding lacks"),
        ),
        (
            "a coding that nobody knows",
            b"Content-Transfer-Encoding: x-mine||\xe9|",
            malformed("its encoding lacks"),
        ),
        ("a partial message", b"Content-Type: message/partial||\xe9|", malformed("to be 7-bit")),
        ("no field", b"two words", malformed("no field")),
        ("parts in parts without end", deep.as_bytes(), malformed("too deep")),
    ];
    for (name, message, expected) in rows {
        let found = converted(&[message, &b"|"[..]].concat(), Charset::Ascii);
        match (found, expected) {
            (Err(Unconvertible::Malformed(words)), Unconvertible::Malformed(part)) => {
                assert!(words.contains(part), "{name}: {words}");
            }
            (found, expected) => assert_eq!(found, Err(*expected), "{name}"),
        }
    }
}

/// A fault whose words have `part` in them.
const fn malformed(part: &'static str) -> Unconvertible {
    Unconvertible::Malformed(part)
}

#[test]
fn headers_in_utf8_stay_where_they_may() {
    let message = b"Subject: \xc3\xbc|MIME-Version: 1.0||\xc3\xbc|";
    let expected = "Subject: \u{fc}|MIME-Version: 1.0|\
                    Content-Transfer-Encoding: quoted-printable||=C3=BC|";
    assert_eq!(converted(message, Charset::Utf8).as_deref(), Ok(expected));
}

#[test]
fn headers_are_looked_at_wherever_they_stand() {
    let rows: &[(&str, &[u8], bool)] = &[
        ("8-bit text", b"Subject: a||\xc3\xbc|", true),
        ("the message's own", b"Subject: \xc3\xbc||a|", false),
        ("a part's", b"Content-Type: multipart/x; boundary=b||--b|X: \xc3\xbc||a|--b--|", false),
        ("a message's inside", b"Content-Type: message/rfc822||Subject: \xc3\xbc||a|", false),
        ("its text", b"Content-Type: message/global||Subject: a||\xc3\xbc|", true),
    ];
    for (name, message, expected) in rows {
        assert_eq!(headers_are_ascii(&lines(message)), Ok(*expected), "{name}");
    }
}

#[test]
fn no_break_of_a_long_line_makes_a_delimiter() {
    let text = format!("{}--b\r\n", "x".repeat(75));
    let message = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/x; boundary=b\r\n\r\n--b\r\n\r\n\u{fc}\r\n{text}\r\n--b--\r\n"
    );
    let out = to_seven_bit(message.as_bytes(), Charset::Ascii).unwrap();
    let parsed = MessageParser::default().parse(&out).unwrap();
    assert_eq!(parsed.parts.len(), 2, "{}", String::from_utf8_lossy(&out));
}

/// Content that is lines of any octets, or any octets at all.
fn content() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let octet = prop_oneof![
        3 => prop::sample::select(b"a-=. \t".to_vec()),
        1 => 128u8..=255,
    ];
    let line = prop::collection::vec(octet, 0..160);
    let text = prop::collection::vec(line, 1..6).prop_map(|lines| lines.join(&b"\r\n"[..]));
    let any = prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(b"\r\n\0-b".to_vec())],
        1..200,
    );
    prop_oneof![
        text.prop_map(|text| ("text/plain; charset=iso-8859-1", text)),
        any.prop_map(|any| ("application/octet-stream", any)),
    ]
}

/// A part: its header, its empty line, its body.
fn part(depth: u32) -> impl Strategy<Value = Vec<u8>> {
    let leaf = content().prop_map(|(kind, content)| {
        let mut part = format!("Content-Type: {kind}\r\n").into_bytes();
        part.extend_from_slice(b"Content-Transfer-Encoding: binary\r\n\r\n");
        part.extend_from_slice(&content);
        part
    });
    leaf.prop_recursive(depth, 12, 4, move |inner| {
        (prop::collection::vec(inner, 1..4), 0u32..1000).prop_map(|(parts, number)| {
            // No part has this boundary in it: every level has a number of its own, and contents
            // have no capital letters that stand so.
            let boundary = format!("BOUNDARY-{number}-{}", parts.concat().len());
            let mut all = format!(
                "Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\
                 Content-Transfer-Encoding: binary\r\n\r\n"
            )
            .into_bytes();
            for part in parts {
                all.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
                all.extend_from_slice(&part);
                all.extend_from_slice(b"\r\n");
            }
            all.extend_from_slice(format!("--{boundary}--").as_bytes());
            all
        })
    })
}

#[test]
fn a_message_of_too_many_parts_is_left_as_it_is() {
    let head = b"Content-Type: multipart/mixed; boundary=b|Content-Transfer-Encoding: 8bit||--b";
    let message = |parts: usize, last: &[u8]| {
        let mut message = head.to_vec();
        message.extend(b"||a|--b".repeat(parts - 1));
        message.extend_from_slice(b"|Content-Transfer-Encoding: 8bit|");
        message.extend_from_slice(last);
        lines(&[&message, &b"|\xe9|--b--|"[..]].concat())
    };
    let inner = b"Content-Type: message/rfc822||Subject: i|";
    for (row, message, is_too_many) in [
        ("as many as may be", message(PARTS_MAX, b""), false),
        ("one more", message(PARTS_MAX + 1, b""), true),
        ("as many, the last in another", message(PARTS_MAX - 1, inner), false),
        ("one more, in another", message(PARTS_MAX, inner), true),
        ("very many", message(100 * PARTS_MAX, b""), true),
    ] {
        let fault = Unconvertible::Malformed("there are too many parts");
        let found = to_seven_bit(&message, Charset::Ascii).map(drop);
        assert_eq!(found.err(), is_too_many.then_some(fault), "{row}");
        let found = headers_are_ascii(&message);
        assert_eq!(found, if is_too_many { Err(fault) } else { Ok(true) }, "{row}");
    }
}

proptest! {
    #[test]
    fn another_reader_finds_the_same_in_seven_bits(part in part(3)) {
        let message = [b"MIME-Version: 1.0\r\n", &part[..], b"\r\n"].concat();
        let out = to_seven_bit(&message, Charset::Ascii).unwrap();
        prop_assert!(fits(&out), "{}", out.escape_ascii());
        prop_assert_eq!(leaves(&out), leaves(&message));
        prop_assert_eq!(to_seven_bit(&out, Charset::Ascii), Ok(out));
    }

    #[test]
    fn whatever_comes_what_is_made_of_it_fits(
        octets in prop::collection::vec(prop_oneof![
            prop::sample::select(b"\r\n:-b;/=\"( ".to_vec()), any::<u8>(),
        ], 0..200),
        start in prop::sample::select(vec![
            "", "Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n", "Content-Type:",
            "Content-Type: message/rfc822\r\n\r\n", "Content-Type: multipart/x; boundary=",
        ]),
    ) {
        let message = [start.as_bytes(), &octets].concat();
        if let Ok(out) = to_seven_bit(&message, Charset::Ascii) {
            prop_assert!(fits(&out), "{}", out.escape_ascii());
        }
        let _ = headers_are_ascii(&message);
    }
}
