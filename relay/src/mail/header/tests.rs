use proptest::prelude::*;

use super::*;

const LIMITS: HeaderLimits = HeaderLimits { size_bytes: 2_000, fields: 20, received: 3 };

fn trace() -> Trace<'static> {
    Trace {
        host_name: None,
        client_name: "client.example.net",
        source: "192.0.2.1".parse().unwrap(),
        hostname: "relay.example.net",
        protocol: "ESMTPSA",
        tls: Some("TLSv1.3, TLS13_AES_256_GCM_SHA384"),
        id: MessageId(1),
        at: Timestamp::from_second(1_763_942_400).unwrap(),
    }
}

fn read(section: &str) -> Result<HeaderSection, HeaderFault> {
    HeaderSection::read(section.as_bytes().to_vec(), LIMITS, Charset::Ascii)
}

fn travels_as(section: &str) -> String {
    String::from_utf8(read(section).unwrap().write(trace())).unwrap()
}

#[test]
fn a_submission_gets_what_it_lacks_and_loses_what_must_not_travel() {
    let out = travels_as(
        "Return-Path: <x@example.net>\r\nFrom: a@example.net\r\nBcc: b@example.net,\r\n c@example.net\r\n\
         Subject: hi\r\n there\r\nbcc : d@example.net\r\n",
    );
    assert_eq!(
        out,
        "Received: from client.example.net ([192.0.2.1])\r\n\
         \t(using TLSv1.3, TLS13_AES_256_GCM_SHA384)\r\n\
         \tby relay.example.net with ESMTPSA id 0000000000001;\r\n\
         \tMon, 24 Nov 2025 00:00:00 +0000\r\n\
         Date: Mon, 24 Nov 2025 00:00:00 +0000\r\n\
         Message-ID: <0000000000001@relay.example.net>\r\n\
         From: a@example.net\r\nSubject: hi\r\n there\r\n\r\n"
    );
}

#[test]
fn what_is_there_is_left_as_it_is() {
    let section = "date: whenever\r\nmessage-id: mine\r\nFrom: a@example.net\r\n";
    let out = travels_as(section);
    assert!(out.ends_with(&format!("+0000\r\n{section}\r\n")), "{out}");
    assert_eq!(out.matches("0000000000001").count(), 1, "the id stands in Received alone: {out}");
}

#[test]
fn the_authors_are_all_addresses_of_from_and_sender() {
    let rows: &[(&str, &[&str])] = &[
        ("From: a@example.net\r\n", &["a@example.net"]),
        ("From: \"x@y\" <a@example.net>\r\n", &["a@example.net"]),
        ("From: A <a@example.net>,\r\n B <b@example.net>\r\n", &["a@example.net", "b@example.net"]),
        ("From: team: a@example.net, b@example.net;\r\n", &["a@example.net", "b@example.net"]),
        ("From: (me@home) a@example.net\r\n", &["a@example.net"]),
        ("From: a@example.net\r\nSender: s@example.net\r\n", &["a@example.net", "s@example.net"]),
    ];
    for (section, authors) in rows {
        let section = read(section).unwrap();
        let found: Vec<String> = section.authors().map(ToString::to_string).collect();
        assert_eq!(found, *authors);
    }
}

#[test]
fn authors_are_read_in_utf8_where_they_may_be() {
    let section = "From: J\u{f6}rg <j\u{f6}@b\u{fc}cher.example>\r\n";
    let read = |charset| HeaderSection::read(section.as_bytes().to_vec(), LIMITS, charset);
    assert_eq!(read(Charset::Ascii).map(drop), Err(HeaderFault::From));
    let section = read(Charset::Utf8).unwrap();
    let found: Vec<_> = section.authors().map(ToString::to_string).collect();
    assert_eq!(found, ["j\u{f6}@b\u{fc}cher.example"]);
}

#[test]
fn what_breaks_a_rule_is_refused_with_its_reason() {
    use HeaderFault::{From, Loop, Malformed, Sender, TooManyFields};
    let many = "X: y\r\n".repeat(21);
    let looping = "Received: x\r\n".repeat(4);
    for (section, fault) in [
        ("", From),
        ("Subject: x\r\n", From),
        ("From: a@example.net\r\nfrom : b@example.net\r\n", From),
        ("From:\r\n", From),
        ("From: nobody\r\n", From),
        ("From: undisclosed:;\r\n", From),
        ("From: a@example.net <b@example.com>\r\n", From),
        ("From: <a@example.net> <b@example.com>\r\n", From),
        ("From: a@example.net, nobody\r\n", From),
        ("From: ü@example.net\r\n", From),
        ("From: a@example.net\r\nSender: b@example.net, c@example.net\r\n", Sender),
        ("From: a@example.net\r\nSender: b@example.net\r\nSender: b@example.net\r\n", Sender),
        ("From: a@example.net\r\nSender:\r\n", Sender),
        ("no field\r\nFrom: a@example.net\r\n", Malformed),
        (" continued\r\nFrom: a@example.net\r\n", Malformed),
        (": x\r\nFrom: a@example.net\r\n", Malformed),
        ("Sub ject: x\r\nFrom: a@example.net\r\n", Malformed),
        (&many, TooManyFields),
        (&looping, Loop),
    ] {
        assert_eq!(read(section).map(|_| ()), Err(fault), "{section}");
    }
}

#[test]
fn a_section_ends_at_its_empty_line_however_the_message_is_cut() {
    for (message, section, body) in [
        ("A: b\r\n\r\nbody\r\n", "A: b\r\n", "body\r\n"),
        ("\r\nbody\r\n", "", "body\r\n"),
        ("A: b\r\nC: d\r\n\r\n\r\n", "A: b\r\nC: d\r\n", "\r\n"),
    ] {
        for step in 1..=message.len() {
            let mut collector = HeaderCollector::new(LIMITS);
            let mut left = Vec::new();
            let mut complete = false;
            for piece in message.as_bytes().chunks(step) {
                if complete {
                    left.extend_from_slice(piece);
                } else if let Collected::Complete(place) = collector.push(piece) {
                    complete = true;
                    left.extend_from_slice(&piece[place..]);
                }
            }
            assert!(complete);
            assert_eq!((&collector.octets[..], &left[..]), (section.as_bytes(), body.as_bytes()));
        }
    }
}

#[test]
fn a_section_of_the_limit_is_taken_and_one_octet_more_is_not() {
    for (length, fits) in [(2_000, true), (2_001, false), (9_000, false)] {
        let message = format!("A: {}\r\n\r\n", "x".repeat(length - 5));
        for step in [1, 7, message.len()] {
            let mut collector = HeaderCollector::new(LIMITS);
            let last = message.as_bytes().chunks(step).map(|piece| collector.push(piece)).find(
                |collected| matches!(collected, Collected::Complete(_) | Collected::TooLarge),
            );
            assert_eq!(matches!(last, Some(Collected::Complete(_))), fits, "{length} by {step}");
            assert!(collector.octets.capacity() <= 8_192);
        }
    }
}

proptest! {
    #[test]
    fn no_section_panics_and_none_that_is_taken_carries_a_bcc(
        section in "((From|Bcc|X|bcc |Sender|Traceparent):? ?[ -~]{0,30}(\r\n ?)?){0,6}",
    ) {
        if let Ok(section) = read(&section) {
            let out = section.write(trace());
            prop_assert_eq!(section.trace(), None, "30 octets are too few");
            let lower = out.to_ascii_lowercase();
            prop_assert!(!lower.windows(6).any(|six| six == b"\r\nbcc:"));
            prop_assert!(section.authors().count() >= 1);
        }
    }
}

#[test]
fn the_trace_is_taken_from_the_one_field_that_names_it_and_travels_as_it_came() {
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let field = format!("TraceParent:\r\n {GOOD} \r\n");
    for (row, fields, found) in [
        ("none", String::new(), None),
        ("one, folded", field.clone(), Some(GOOD)),
        ("two that agree", field.repeat(2), None),
        ("one that is no context", format!("Traceparent: {GOOD}x\r\n"), None),
    ] {
        let text = format!("From: a@example.net\r\n{fields}");
        let trace = read(&text).unwrap().trace().map(|trace| trace.to_string());
        assert_eq!(trace.as_deref(), found, "{row}");
        assert!(travels_as(&text).contains(&fields), "{row}");
    }
}
