//! Claims about every input, not about one: a session never panics, never waits for ever, and never
//! says or holds more than its bounds.

use crate::desk::{Desk, JOE, plain};
use proptest::prelude::*;
use relay::event::Event;
use relay::mail::envelope::Body;
use relay::session::{TlsStart, Xclient};
use relay::smtp::address::ReversePath;
use relay::smtp::extension::Extensions;

/// The most that one line, or one piece of a message, can make a session say: an answer to EHLO.
const SAID_PER_LINE: usize = 300;

fn ready() -> Desk {
    ready_as("joe")
}

fn ready_as(login: &str) -> Desk {
    let config = crate::desk::config("");
    let mut desk = Desk::with(config, TlsStart::Starttls, |facts| {
        if login == "few" {
            facts.extensions = Extensions::ALL;
        }
    });
    desk.send(b"EHLO client.example.net\r\n", usize::MAX);
    desk.send(b"STARTTLS\r\n", usize::MAX);
    desk.secured();
    desk.send(b"EHLO client.example.net\r\n", usize::MAX);
    desk.send(format!("AUTH PLAIN {}\r\n", plain(login)).as_bytes(), usize::MAX);
    assert!(desk.sent.ends_with("235 2.7.0 Authentication succeeded\r\n"), "{}", desk.sent);
    desk.sent.clear();
    desk
}

fn deliver(message: &str, step: usize) -> Desk {
    deliver_as("", message, step)
}

fn deliver_as(parameters: &str, message: &str, step: usize) -> Desk {
    let mut desk = ready();
    let group =
        format!("MAIL FROM:<joe@example.net>{parameters}\r\nRCPT TO:<a@example.com>\r\nDATA\r\n");
    desk.send(group.as_bytes(), usize::MAX);
    desk.send(format!("{message}\r\n.\r\n").as_bytes(), step);
    desk
}

#[test]
fn what_is_stored_is_what_was_sent_behind_our_trace() {
    for step in [1, 3, usize::MAX] {
        let desk = deliver("From: joe@example.net\r\nBcc: x@example.net\r\n\r\n..\r\nhi", step);
        let (envelope, stored) = &desk.stored[0];
        assert_eq!(
            std::str::from_utf8(stored).unwrap(),
            "Received: from client.example.net ([192.0.2.7])\r\n\
             \t(using TLSv1.3, TLS13_AES_256_GCM_SHA384)\r\n\
             \tby relay.example.net with ESMTPSA id 0000000000001;\r\n\
             \tMon, 24 Nov 2025 00:00:00 +0000\r\n\
             Date: Mon, 24 Nov 2025 00:00:00 +0000\r\n\
             Message-ID: <0000000000001@relay.example.net>\r\n\
             From: joe@example.net\r\n\r\n.\r\nhi\r\n"
        );
        assert_eq!(envelope.sender, ReversePath::Mailbox("joe@example.net".parse().unwrap()));
        assert_eq!(envelope.recipients, ["a@example.com".parse().unwrap()]);
        assert_eq!(envelope.login.as_deref(), Some("joe"));
        assert_eq!(envelope.body, Body::SevenBit);
        assert_eq!(desk.events.len(), 1, "{:?}", desk.events);
    }
}

#[test]
fn the_envelope_says_what_the_body_is_whatever_was_declared() {
    for (parameters, text, body) in [
        ("", "grün", Body::EightBit),
        (" BODY=7BIT", "grün", Body::EightBit),
        (" BODY=8BITMIME", "grün", Body::EightBit),
        (" BODY=8BITMIME", "green", Body::SevenBit),
        ("", "green", Body::SevenBit),
    ] {
        for step in [1, usize::MAX] {
            let message = format!("From: joe@example.net\r\n\r\n{text}");
            let desk = deliver_as(parameters, &message, step);
            assert_eq!(desk.stored[0].0.body, body, "{text} {parameters}");
        }
    }
}

#[test]
fn mail_in_utf8_is_traced_as_such_and_kept_to_the_octet() {
    let mut desk = ready_as("few");
    let group = "MAIL FROM:<joe@example.net> SMTPUTF8\r\n\
                 RCPT TO:<d\u{fc}@example.com>\r\nDATA\r\n";
    desk.send(group.as_bytes(), usize::MAX);
    desk.send("From: J\u{f6} <joe@example.net>\r\n\r\nhi\r\n.\r\n".as_bytes(), 3);
    let (envelope, stored) = &desk.stored[0];
    let stored = std::str::from_utf8(stored).unwrap();
    assert!(stored.contains("\r\n\tby relay.example.net with UTF8SMTPSA id "), "{stored}");
    assert!(stored.ends_with("From: J\u{f6} <joe@example.net>\r\n\r\nhi\r\n"), "{stored}");
    assert_eq!((envelope.body, envelope.recipients[0].local()), (Body::EightBit, "d\u{fc}"));
}

#[test]
fn the_envelope_has_the_priority_that_the_policy_grants() {
    for (login, parameters, priority) in [
        ("few", "", Some(2)),
        ("few", " MT-PRIORITY=9", Some(2)),
        ("few", " MT-PRIORITY=-4", Some(-4)),
        ("joe", "", None),
    ] {
        let mut desk = ready_as(login);
        let group = format!(
            "MAIL FROM:<joe@example.net>{parameters}\r\nRCPT TO:<a@example.com>\r\nDATA\r\n"
        );
        desk.send(group.as_bytes(), usize::MAX);
        desk.send(b"From: joe@example.net\r\n\r\nhi\r\n.\r\n", usize::MAX);
        let given = desk.stored[0].0.terms.priority.map(i8::from);
        assert_eq!(given, priority, "{login} {parameters}");
    }
}

#[test]
fn a_client_that_talks_before_the_greeting_is_sent_away() {
    let mut desk = Desk::new(crate::desk::config(""), TlsStart::Starttls);
    desk.session.receive(b"EHLO client.example.net\r\n", desk.now);
    desk.obey();
    assert!(desk.closed);
    assert!(desk.sent.starts_with("554 relay.example.net "), "{}", desk.sent);
}

#[test]
fn the_client_that_a_filter_speaks_for_stands_in_trace_envelope_and_event_and_cannot_speak_itself()
{
    for step in [1, usize::MAX] {
        let mut desk = Desk::with(crate::desk::config(""), TlsStart::Implicit, |facts| {
            facts.xclient = Xclient::Offered;
            facts.tag = Some("filters".to_owned());
        });
        desk.obey();
        desk.secured();
        desk.send(b"EHLO filter.example.net\r\n", step);
        assert!(desk.sent.contains("XCLIENT NAME ADDR PORT PROTO HELO\r\n"), "{}", desk.sent);
        desk.send(b"XCLIENT NAME=host.example.org HELO=spike\r\n", step);
        desk.send(b"EHLO filter.example.net\r\n", step);
        desk.send(b"XCLIENT ADDR=203.0.113.7 PORT=56324\r\n", step);
        desk.sent.clear();
        desk.send(b"EHLO filter.example.net\r\n", step);
        assert!(!desk.sent.contains("XCLIENT"), "{}", desk.sent);
        desk.send(format!("AUTH PLAIN {JOE}\r\n").as_bytes(), step);
        desk.send(
            b"MAIL FROM:<joe@example.net>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n",
            usize::MAX,
        );
        desk.send(b"From: joe@example.net\r\n\r\nhi\r\n.\r\n", step);
        let client: std::net::IpAddr = "203.0.113.7".parse().unwrap();
        let (envelope, stored) = &desk.stored[0];
        let stored = std::str::from_utf8(stored).unwrap();
        let received = "Received: from spike (host.example.org [203.0.113.7])\r\n";
        assert!(stored.starts_with(received), "{stored}");
        assert_eq!(desk.source, Some(client));
        assert_eq!((envelope.source, envelope.tag.as_deref()), (Some(client), Some("filters")));
        assert!(
            matches!(&desk.events[..], [Event::Accepted { source, .. }] if *source == client),
            "{:?}",
            desk.events,
        );
        desk.session.cut(desk.now);
        desk.obey();
        let filter = "192.0.2.7".parse().unwrap();
        assert_eq!(desk.events.last(), Some(&Event::SessionCut { source: filter }));
    }
}

#[test]
fn a_filter_that_only_announces_is_sent_away() {
    let mut desk = Desk::with(crate::desk::config(""), TlsStart::Implicit, |facts| {
        facts.xclient = Xclient::Offered;
    });
    desk.obey();
    desk.secured();
    for _ in 0..51 {
        desk.send(b"EHLO filter.example.net\r\nXCLIENT PROTO=SMTP\r\n", usize::MAX);
    }
    assert!(desk.closed);
    assert!(desk.sent.ends_with("421 4.7.0 Too many commands without a message, closing\r\n"));
}

#[test]
fn the_password_shows_in_no_debug_output() {
    let mut desk = Desk::new(crate::desk::config(""), TlsStart::Implicit);
    desk.obey();
    desk.secured();
    desk.send(b"EHLO client.example.net\r\n", usize::MAX);
    desk.session.receive(format!("AUTH PLAIN {JOE}\r\n").as_bytes(), desk.now);
    let unread = format!("{:?}", desk.session);
    assert!(!unread.contains("AUTH") && unread.contains("192.0.2.7"), "{unread}");
    let action = desk.session.next_action().unwrap();
    let shown = format!("{action:?}");
    assert!(shown.contains("joe") && !shown.contains("secret"), "{shown}");
}

/// Words that a session knows, so that random input gets somewhere.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"EHLO x\r\n",
        b"HELO x\r\n",
        b"STARTTLS\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n",
        b"MAIL FROM:<joe@example.net>\r\n",
        b"RCPT TO:<a@example.com>\r\n",
        b"DATA\r\n",
        b"From: joe@example.net\r\n\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"RSET\r\n",
        b"XCLIENT ADDR=203.0.113.7 HELO=x\r\n",
        b"QUIT\r\n",
        b"\r",
        b"\n",
        b"\0",
    ];
    prop_oneof![
        4 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_makes_a_session_panic_wait_for_ever_or_talk_without_end(
        pieces in proptest::collection::vec(word(), 0..60),
        begin_ready in any::<bool>(),
        step in 1_usize..30,
    ) {
        let mut desk = if begin_ready {
            ready()
        } else {
            Desk::with(crate::desk::config(""), TlsStart::Starttls, |facts| {
                facts.xclient = Xclient::Offered;
            })
        };
        let mut lines = 1;
        for piece in pieces {
            if desk.closed {
                break;
            }
            desk.send(&piece, step);
            lines += 1 + piece.split(|byte| *byte == b'\n').count();
            prop_assert!(desk.sent.len() <= lines * SAID_PER_LINE);
            prop_assert!(desk.sent.is_empty() || desk.sent.ends_with("\r\n"));
            if !desk.closed {
                let limit = desk.now + std::time::Duration::from_secs(12 * 3_600);
                prop_assert!(desk.session.deadline() <= limit);
            }
            if desk.secure_asked {
                desk.secured();
            }
        }
        // However it stands, its deadlines bring it to an end.
        for _ in 0..10 {
            desk.pass_time();
            if desk.secure_asked && !desk.closed {
                desk.secured();
            }
        }
        prop_assert!(desk.closed);
    }
}
