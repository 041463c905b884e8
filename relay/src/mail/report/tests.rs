use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::*;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn failure(recipient: &str) -> Failure {
    Failure {
        recipient: address(recipient),
        status: Enhanced(5, 1, 1),
        remote: Some("mx.example.com".into()),
        diagnostic: Diagnostic::Smtp("550 5.1.1 no such user".into()),
        cause: Cause::Refused,
    }
}

fn envelope(sender: &str) -> Envelope {
    let sender = match sender {
        "" => ReversePath::Null,
        text => ReversePath::Mailbox(address(text)),
    };
    Envelope {
        sender,
        recipients: vec![address("a@example.com")],
        body: Body::SevenBit,
        login: Some("billing".into()),
        tag: None,
        source: None,
        received_at: Timestamp::UNIX_EPOCH,
        terms: Terms::default(),
    }
}

fn report<'a>(to: &'a Address, failures: &'a [Failure], header: &'a [u8]) -> Report<'a> {
    Report {
        hostname: "relay.example.net",
        to,
        about: MessageId(77),
        arrived_at: "2026-01-31T12:00:00Z".parse().unwrap(),
        now: "2026-02-05T12:00:00Z".parse().unwrap(),
        failures,
        header,
        nonce: 0x1234,
    }
}

#[test]
fn a_report_has_the_three_parts_and_fields_of_rfc_3464() {
    let to = address("sender@example.net");
    let expired = Failure {
        status: Enhanced(5, 4, 7),
        remote: None,
        diagnostic: Diagnostic::Own("connection refused".into()),
        cause: Cause::Expired,
        ..failure("\"b c\"@example.com")
    };
    let failures = [failure("a@example.com"), expired];
    let header = b"Subject: hello\r\nMessage-ID: <1@example.net>\r\n";
    let text = report(&to, &failures, header).text();
    let message = MessageParser::default().parse(&text).unwrap();

    let kind = message.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    assert_eq!(message.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
    assert_eq!(
        message.from().unwrap().first().unwrap().address(),
        Some("MAILER-DAEMON@relay.example.net")
    );
    assert_eq!(message.to().unwrap().first().unwrap().address(), Some("sender@example.net"));
    assert_eq!(message.date().unwrap().to_rfc3339(), "2026-02-05T12:00:00Z");
    let kinds: Vec<_> = message.parts[1..]
        .iter()
        .map(|part| part.content_type().map(|c| format!("{}/{}", c.ctype(), c.subtype().unwrap())))
        .map(Option::unwrap)
        .collect();
    assert_eq!(kinds, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    assert!(message.body_text(0).unwrap().contains("<a@example.com>"));

    let text = String::from_utf8(text).unwrap();
    for line in [
        "Reporting-MTA: dns; relay.example.net",
        "Arrival-Date: Sat, 31 Jan 2026 12:00:00 +0000",
        "Final-Recipient: rfc822; a@example.com",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.example.com",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user",
        "Final-Recipient: rfc822; \"b c\"@example.com",
        "Status: 5.4.7",
        "Diagnostic-Code: x-sallyport; connection refused",
        "Subject: hello",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}");
    }
    assert_eq!(text.matches("Remote-MTA").count(), 1);
}

#[test]
fn a_report_travels_from_nobody_and_names_no_login() {
    let to = address("sender@example.net");
    let envelope = report(&to, &[failure("a@example.com")], b"").envelope();
    assert_eq!((envelope.sender, envelope.login), (ReversePath::Null, None));
    assert_eq!(envelope.recipients, [to]);
}

#[test]
fn the_null_sender_is_never_answered_and_the_postmaster_is_told_once() {
    let postmaster = address("ops@example.net");
    let rows = [
        ("a mailbox is told", "s@example.net", "a@example.com", Some("s@example.net")),
        ("the postmaster stands in for nobody", "", "a@example.com", Some("ops@example.net")),
        ("nobody is left", "", "ops@example.net", None),
    ];
    for (name, sender, failed, expected) in rows {
        let addressee = addressee(&envelope(sender), &[failure(failed)], &postmaster);
        let expected = expected.map_or(Addressee::Nobody, |to| Addressee::Mailbox(address(to)));
        assert_eq!(addressee, expected, "{name}");
    }
}

#[test]
fn a_boundary_that_the_original_holds_is_not_used() {
    let to = address("sender@example.net");
    let taken = format!("=_{}.{:016x}.0", MessageId(77), 0x1234);
    let header = format!("Subject: x\r\n--{taken}--\r\n");
    let text =
        String::from_utf8(report(&to, &[failure("a@example.com")], header.as_bytes()).text());
    assert!(text.unwrap().ends_with(&format!("{}1--\r\n", &taken[..taken.len() - 1])));
}

#[test]
fn a_header_section_ends_at_the_empty_line_or_at_the_limit() {
    let long = b"X: y\r\n".repeat(HEADER_MAX);
    let rows: &[(&[u8], &[u8])] = &[
        (b"A: b\r\n\r\nbody\r\n", b"A: b\r\n"),
        (b"\r\nbody\r\n", b""),
        (b"A: b\r\nC: cut", b"A: b\r\n"),
        (b"A: b\nC: d\r\n", b""),
        (b"", b""),
        (&long, &long[..HEADER_MAX - HEADER_MAX % 6]),
    ];
    for (start, expected) in rows {
        assert_eq!(header_section(start), *expected);
    }
}

proptest! {
    #[test]
    fn whatever_the_original_and_the_next_hop_say_a_report_is_clean(
        runs in prop::collection::vec(
            (prop_oneof![Just(b'\n'), Just(b'-'), any::<u8>()], prop_oneof![0usize..4, 900usize..1100]),
            0..30,
        ),
        words in "\\PC{0,40}",
    ) {
        let header: Vec<u8> =
            runs.iter().flat_map(|(octet, times)| std::iter::repeat_n(*octet, *times)).collect();
        let words = words.repeat(40);
        let to = address("sender@example.net");
        let failures = [Failure { diagnostic: Diagnostic::Own(words), ..failure("a@example.com") }];
        let text = String::from_utf8(report(&to, &failures, &header).text()).unwrap();
        for line in text.strip_suffix("\r\n").unwrap().split("\r\n") {
            prop_assert!(line.len() <= LINE_MAX);
            prop_assert!(line.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')), "{line:?}");
        }
    }
}
