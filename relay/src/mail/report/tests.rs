use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::*;
use crate::mail::convert;
use crate::mail::envelope::Wish;
use crate::smtp::body::TEXT_LINE_MAX;
use crate::smtp::parameter::{OriginalRecipient, RequireTls, Return};
use crate::smtp::reply::Enhanced;

fn address(text: &str) -> Address {
    Address::read(text, Charset::Utf8).unwrap()
}

fn notice(recipient: &str) -> Notice {
    Notice {
        recipient: address(recipient),
        news: News::Refused,
        status: Enhanced(5, 1, 1),
        remote: Some("mx.example.com".into()),
        diagnostic: Diagnostic::Smtp("550 5.1.1 no such user".into()),
    }
}

/// The envelope of a client's message to a@example.com.
pub(super) fn envelope(sender: &str) -> Envelope {
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
        came: None,
        trace: None,
    }
}

fn headers(text: &[u8]) -> Original {
    Original::of(text.to_vec(), Extent::Header, None)
}

fn report<'a>(
    envelope: &'a Envelope,
    to: &'a Address,
    notices: &'a [Notice],
    original: &'a Original,
) -> Report<'a> {
    Report {
        hostname: "relay.example.net",
        to,
        about: MessageId(77),
        envelope,
        arrived_at: "2026-01-31T12:00:00Z".parse().unwrap(),
        now: "2026-02-05T12:00:00Z".parse().unwrap(),
        kind: notices[0].news.kind(),
        notices,
        original,
        nonce: 0x1234,
    }
}

/// The report about `notices` to s@example.net, in text.
fn written(envelope: &Envelope, notices: &[Notice], original: &Original) -> String {
    let to = address("s@example.net");
    String::from_utf8(report(envelope, &to, notices, original).text()).unwrap()
}

fn has_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}\n{text}");
    }
}

/// The content types and the octets of the parts, with their encodings undone.
fn parts(report: &[u8]) -> Vec<(String, Vec<u8>)> {
    let message = MessageParser::default().parse(report).unwrap();
    let children = message.parts[0].sub_parts().unwrap().to_vec();
    let show = |id: u32| {
        let part = message.part(id).unwrap();
        let kind = part.content_type().unwrap();
        (format!("{}/{}", kind.ctype(), kind.subtype().unwrap()), part.contents().to_vec())
    };
    children.into_iter().map(show).collect()
}

#[test]
fn a_report_has_the_three_parts_and_fields_of_rfc_3464() {
    let to = address("sender@example.net");
    let expired = Notice {
        news: News::Expired,
        status: Enhanced(5, 4, 7),
        remote: None,
        diagnostic: Diagnostic::Own("connection refused".into()),
        ..notice("\"b c\"@example.com")
    };
    let notices = [notice("a@example.com"), expired];
    let original = headers(b"Subject: hello\r\nMessage-ID: <1@example.net>\r\n");
    let envelope = envelope("sender@example.net");
    let text = report(&envelope, &to, &notices, &original).text();
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
    let kinds: Vec<_> = parts(&text).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    assert!(message.body_text(0).unwrap().contains("<a@example.com>"));

    let text = String::from_utf8(text).unwrap();
    has_lines(
        &text,
        &[
            "Reporting-MTA: dns; relay.example.net",
            "Arrival-Date: Sat, 31 Jan 2026 12:00:00 +0000",
            "Final-Recipient: rfc822; a@example.com",
            "Action: failed",
            "Status: 5.1.1",
            "Remote-MTA: dns; mx.example.com",
            "Diagnostic-Code: smtp; 550 5.1.1 no such user",
            "Last-Attempt-Date: Thu, 05 Feb 2026 12:00:00 +0000",
            "Final-Recipient: rfc822; \"b c\"@example.com",
            "Status: 5.4.7",
            "Diagnostic-Code: x-sallyport; connection refused",
            "Subject: hello",
        ],
    );
    assert_eq!(text.matches("Remote-MTA").count(), 1);
    assert_eq!(text.matches("Will-Retry-Until").count(), 0);
}

#[test]
fn each_kind_says_its_action_in_fields_and_words() {
    let until = "2026-02-05T12:00:00Z".parse().unwrap();
    let rows = [
        (News::Refused, Enhanced(5, 1, 1), "failed", "refused it with these words"),
        (News::Expired, Enhanced(5, 4, 7), "failed", "given up after many attempts"),
        (News::Overdue, Enhanced(5, 4, 7), "failed", "within the time that you had set"),
        (News::Late(Some(until)), Enhanced(4, 4, 1), "delayed", "need not send it a second time"),
        (News::Late(None), Enhanced(4, 7, 0), "delayed", "on our side is mended"),
        (News::Relayed, Enhanced(2, 0, 0), "relayed", "Passed on to mx.example.com"),
    ];
    for (news, status, action, words) in rows {
        let notices = [Notice { news, status, ..notice("a@example.com") }];
        let text = written(&envelope("s@example.net"), &notices, &headers(b"A: b\r\n"));
        let Enhanced(class, subject, detail) = status;
        has_lines(&text, &[&format!("Action: {action}")]);
        has_lines(&text, &[&format!("Status: {class}.{subject}.{detail}")]);
        let people = MessageParser::default().parse(text.as_bytes()).unwrap();
        let people = people.body_text(0).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(people.contains(words), "{news:?}: {people}");
        let retried = text.contains("\r\nWill-Retry-Until: Thu, 05 Feb 2026 12:00:00 +0000\r\n");
        assert_eq!(retried, news == News::Late(Some(until)), "{news:?}");
    }
}

#[test]
fn the_names_that_the_sender_gave_come_back() {
    let mut envelope = envelope("s@example.net");
    envelope.terms.envelope_id = Some("order 7+".into());
    let original = OriginalRecipient { kind: "rfc822".into(), address: "list@example.org".into() };
    let recipient = address("a@example.com");
    envelope.terms.wishes = vec![Wish { recipient, notify: None, original: Some(original) }];
    let notices = [notice("a@example.com"), notice("b@example.com")];
    let text = written(&envelope, &notices, &headers(b"A: b\r\n"));
    has_lines(
        &text,
        &["Original-Envelope-Id: order 7+", "Original-Recipient: rfc822;list@example.org"],
    );
    assert_eq!(text.matches("Original-Recipient").count(), 1, "the other had no ORCPT");
}

#[test]
fn the_whole_message_comes_back_octet_by_octet() {
    let whole = "Subject: hello\r\n\r\n.a dot\r\n--\r\nünder\r\n";
    let rows = [
        (whole.replace('ü', "u"), None, "message/rfc822", Body::SevenBit),
        (whole.to_owned(), None, "message/rfc822", Body::EightBit),
        (whole.replace("hello", "hellö"), Some(Utf8), "message/global", Body::SevenBit),
    ];
    for (whole, utf8, kind, body) in rows {
        let mut envelope = envelope("s@example.net");
        envelope.terms.report = Some(Return::Full);
        let original = Original::of(whole.clone().into_bytes(), Extent::Whole, utf8);
        let (to, notices) = (address("s@example.net"), [notice("a@example.com")]);
        let report = report(&envelope, &to, &notices, &original);
        assert_eq!(report.envelope().body, body, "{whole}");
        let text = report.text();
        let parts = parts(&text);
        let (name, octets) = &parts[2];
        assert_eq!(name, kind);
        // The CRLF before a boundary belongs to the boundary.
        let octets = String::from_utf8_lossy(octets);
        assert_eq!(octets.trim_end_matches("\r\n"), whole.trim_end_matches("\r\n"));
        assert_eq!(text.is_ascii(), body == Body::SevenBit, "{whole}");
    }
}

#[test]
fn a_report_can_be_made_7_bit_whatever_it_gives_back() {
    let nested = |depth| {
        let inside = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";
        inside.repeat(depth) + "Subject: x\r\n\r\nü\r\n"
    };
    let rows = [
        ("plain", nested(0), true),
        ("as deep as it may be in a report", nested(convert::DEPTH_MAX - 2), true),
        ("too deep in a report only", nested(convert::DEPTH_MAX), false),
        ("signed", "DKIM-Signature: a\r\n\r\nü\r\n".to_owned(), false),
        ("a boundary that is none", "Content-Type: multipart/mixed\r\n\r\nü\r\n".to_owned(), false),
    ];
    for (row, whole, is_whole) in rows {
        let original = Original::of(whole.into_bytes(), Extent::Whole, None);
        assert_eq!(matches!(original, Original::EightBit(_)), is_whole, "{row}");
        let (to, notices) = (address("s@example.net"), [notice("a@example.com")]);
        let envelope = envelope("s@example.net");
        let text = report(&envelope, &to, &notices, &original).text();
        assert!(convert::to_seven_bit(&text, Charset::Ascii).is_ok(), "{row}");
    }
}

#[test]
fn addresses_and_headers_in_utf_8_come_back_as_such_through_any_hop() {
    let mut envelope = envelope("s@example.net");
    envelope.terms.utf8 = Some(Utf8);
    let original = Original::of("Subject: grüße\r\n".into(), Extent::Header, Some(Utf8));
    let (to, notices) = (address("s@example.net"), [notice("jürgen@bücher.example")]);
    let to_ascii = report(&envelope, &to, &notices, &original);
    let text = to_ascii.text();
    assert!(text.is_ascii(), "{}", text.escape_ascii());
    let sent = to_ascii.envelope();
    assert_eq!((sent.terms.utf8, sent.body), (None, Body::SevenBit));
    let parts: Vec<_> = parts(&text)
        .into_iter()
        .map(|(kind, octets)| (kind, String::from_utf8(octets).unwrap()))
        .collect();
    let kinds: Vec<_> = parts.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["text/plain", "message/global-delivery-status", "message/global-headers"]);
    assert!(parts[0].1.contains("<jürgen@bücher.example>"));
    assert!(parts[1].1.contains("\r\nFinal-Recipient: utf-8; jürgen@bücher.example\r\n"));
    assert_eq!(parts[2].1.trim_end(), "Subject: grüße");

    let to = address("größe@example.net");
    let to_utf8 = report(&envelope, &to, &notices, &original);
    let sent = to_utf8.envelope();
    assert_eq!((sent.terms.utf8, sent.body), (Some(Utf8), Body::EightBit));
    let text = String::from_utf8(to_utf8.text()).unwrap();
    has_lines(&text, &["To: <größe@example.net>"]);
}

#[test]
fn a_report_travels_from_nobody_and_names_no_login() {
    let to = address("sender@example.net");
    let mut about = envelope("sender@example.net");
    about.terms.envelope_id = Some("x".into());
    let (notices, original) = ([notice("a@example.com")], headers(b""));
    let sent = report(&about, &to, &notices, &original).envelope();
    assert_eq!((sent.sender, sent.login), (ReversePath::Null, None));
    assert_eq!((sent.recipients, sent.terms), (vec![to], Terms::default()));
}

#[test]
fn a_report_about_mail_that_needs_tls_needs_tls() {
    let to = address("sender@example.net");
    let mut about = envelope("sender@example.net");
    about.terms.require_tls = Some(RequireTls);
    let (notices, original) = ([notice("a@example.com")], headers(b"A: b\r\n"));
    let sent = report(&about, &to, &notices, &original).envelope();
    assert_eq!(sent.terms.require_tls, Some(RequireTls));
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
        let addressee = addressee(&envelope(sender), &[notice(failed)], &postmaster);
        let expected = expected.map_or(Addressee::Nobody, |to| Addressee::Mailbox(address(to)));
        assert_eq!(addressee, expected, "{name}");
    }
}

#[test]
fn the_postmaster_is_told_why_he_is_told() {
    for (sender, expected) in [("s@example.net", "your message of"), ("", "as the postmaster")] {
        let text = written(&envelope(sender), &[notice("a@example.com")], &headers(b"A: b\r\n"));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_a_sender_can_do_follows_from_the_status() {
    let rows = [
        (Enhanced(5, 2, 3), "Make the message smaller"),
        (Enhanced(5, 3, 4), "Make the message smaller"),
        (Enhanced(5, 3, 3), "lacks something that your message asks for"),
        (Enhanced(5, 2, 4), "Ask the recipient"),
    ];
    for (status, words) in rows {
        let notices = [Notice { status, ..notice("a@example.com") }];
        let text = written(&envelope("s@example.net"), &notices, &headers(b""));
        assert!(text.contains(words), "{status:?}: {text}");
    }
}

#[test]
fn a_boundary_that_the_original_holds_is_not_used() {
    let taken = format!("=_{}.{:016x}.0", MessageId(77), 0x1234);
    let original = headers(format!("Subject: x\r\n--{taken}--\r\n").as_bytes());
    let text = written(&envelope("s@example.net"), &[notice("a@example.com")], &original);
    assert!(text.ends_with(&format!("{}1--\r\n", &taken[..taken.len() - 1])));
}

/// Octets as a hostile peer or sender would choose them: line ends, dashes and long runs.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'-'), Just(b':'), any::<u8>()];
    let runs = (octet, prop_oneof![4 => 0usize..4, 1 => 900usize..1100]);
    prop::collection::vec(runs, 0..40).prop_map(|runs| {
        runs.iter().flat_map(|(octet, times)| std::iter::repeat_n(*octet, *times)).collect()
    })
}

proptest! {
    #[test]
    fn whatever_the_original_and_the_next_hop_say_a_report_is_clean(
        original in octets(),
        words in "(\\PC|\r|\n|\t|Action: delivered){0,200}",
        remote in "[ -~\r\n]{0,40}",
        whole: bool,
        utf8: bool,
    ) {
        let extent = if whole { Extent::Whole } else { Extent::Header };
        let original = Original::of(original, extent, utf8.then_some(Utf8));
        let diagnostic = Diagnostic::Own(words);
        let notices =
            [Notice { diagnostic, remote: Some(remote), ..notice("a@example.com") }];
        let (to, envelope) = (address("s@example.net"), envelope("s@example.net"));
        let text = report(&envelope, &to, &notices, &original).text();
        let is_7_bit = !matches!(original, Original::EightBit(_));
        for line in text.strip_suffix(b"\r\n").unwrap().split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            prop_assert!(line.len() <= TEXT_LINE_MAX);
            prop_assert!(!line.contains(&b'\r') && !line.contains(&0), "{}", line.escape_ascii());
            prop_assert!(line.is_ascii() || !is_7_bit, "{}", line.escape_ascii());
        }
        // Else it would fail at a next hop as its original did, and nobody would hear.
        prop_assert!(convert::to_seven_bit(&text, Charset::Ascii).is_ok());
        let lone = text.windows(2).filter(|two| two[1] == b'\n' && two[0] != b'\r').count();
        prop_assert_eq!(lone, 0);

        // Three parts, and in the second the fields that were meant, each once.
        let parts = parts(&text);
        prop_assert_eq!(parts.len(), 3);
        let fields = String::from_utf8(parts[1].1.clone()).unwrap();
        let names: Vec<_> = fields
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| line.split_once(':').map_or(line, |(name, _)| name))
            .collect();
        prop_assert_eq!(names, [
            "Reporting-MTA", "Arrival-Date", "Final-Recipient", "Action", "Status", "Remote-MTA",
            "Diagnostic-Code", "Last-Attempt-Date", "Final-Log-ID",
        ]);
        prop_assert!(fields.contains("\r\nAction: failed\r\n"));
    }
}
