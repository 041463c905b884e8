//! What counts against a client's source, and the greeting of a source that is slowed down.

use std::time::Duration;

use crate::desk::{Desk, config};
use relay::policy::conduct::Offence;
use relay::session::TlsStart;

const SLOW: Duration = Duration::from_secs(2);

fn slow(tls: TlsStart) -> Desk {
    let mut desk = Desk::greeted_after(SLOW, config(""), tls);
    desk.obey();
    desk
}

#[test]
fn each_offence_ends_the_session_and_counts_once() {
    let nonsense = "NONSENSE\r\n".repeat(30);
    let idle = "NOOP\r\n".repeat(200);
    let rows: [(&str, &str, Option<Offence>, &str); 9] = [
        (
            "an HTTP request",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            Some(Offence::ForeignProtocol),
            "421 4.7.0",
        ),
        (
            "a proxy's request",
            "CONNECT a:25 HTTP/1.1\r\n",
            Some(Offence::ForeignProtocol),
            "421 4.7.0",
        ),
        ("errors", &nonsense, Some(Offence::TooManyErrors), "421 4.7.0"),
        ("commands without a message", &idle, Some(Offence::TooManyErrors), "421 4.7.0"),
        (
            "more behind STARTTLS",
            "EHLO c\r\nSTARTTLS\r\nNOOP\r\n",
            Some(Offence::Injection),
            "554 5.5.0",
        ),
        ("a bare LF", "EHLO c\nNOOP\r\n", Some(Offence::BareLineFeed), "500 5.5.2"),
        ("a goodbye", "EHLO c\r\nQUIT\r\n", None, "221 2.0.0"),
        ("one error", "NONSENSE\r\nQUIT\r\n", None, "221 2.0.0"),
        ("mail before TLS", "EHLO c\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n", None, "221 2.0.0"),
    ];
    for (what, octets, offence, last) in rows {
        let mut desk = Desk::new(config(""), TlsStart::Starttls);
        desk.obey();
        desk.send(octets.as_bytes(), usize::MAX);
        assert!(desk.closed, "{what}");
        assert_eq!(desk.offences, Vec::from_iter(offence), "{what}");
        assert!(desk.sent.lines().last().unwrap().starts_with(last), "{what}: {}", desk.sent);
    }
}

#[test]
fn octets_before_the_greeting_count_as_early_talk() {
    let mut desk = Desk::new(config(""), TlsStart::Starttls);
    desk.session.receive(b"EHLO c\r\n", desk.now);
    desk.obey();
    assert_eq!(desk.offences, [Offence::EarlyTalk]);
    assert!(desk.closed && desk.sent.starts_with("554 relay.example.net "), "{}", desk.sent);
}

#[test]
fn a_source_that_is_slowed_down_is_greeted_when_it_has_waited() {
    let mut desk = slow(TlsStart::Starttls);
    assert_eq!((desk.sent.as_str(), desk.session.deadline()), ("", desk.now + SLOW));
    assert!(desk.session.wants_input(), "it is listened to meanwhile");
    desk.session.expire(desk.now + SLOW / 2);
    desk.obey();
    assert_eq!(desk.sent, "", "not before its time");
    desk.pass_time();
    assert!(desk.sent.starts_with("220 relay.example.net "), "{}", desk.sent);
    assert!(!desk.closed && desk.session.wants_input());
}

#[test]
fn under_implicit_tls_the_wait_begins_after_the_handshake() {
    let mut desk = slow(TlsStart::Implicit);
    desk.secured();
    assert_eq!((desk.sent.as_str(), desk.session.deadline()), ("", desk.now + SLOW));
    desk.pass_time();
    assert!(desk.sent.starts_with("220 "), "{}", desk.sent);
}

#[test]
fn who_talks_while_he_is_slowed_down_is_refused_at_once() {
    let mut desk = slow(TlsStart::Starttls);
    desk.session.receive(b"EHLO c\r\n", desk.now + SLOW / 2);
    desk.obey();
    assert!(desk.closed && desk.sent.starts_with("554 "), "{}", desk.sent);
    assert_eq!(desk.offences, [Offence::EarlyTalk]);
}

#[test]
fn a_wait_for_the_greeting_ends_with_the_process_and_with_the_admission() {
    let mut desk = slow(TlsStart::Starttls);
    desk.session.shutdown(desk.now);
    desk.obey();
    assert!(desk.closed && desk.sent.starts_with("421 relay.example.net "), "{}", desk.sent);
    let mut desk = slow(TlsStart::Starttls);
    desk.session.cut(desk.now);
    desk.obey();
    assert!(desk.closed && desk.sent.is_empty(), "{}", desk.sent);
}
