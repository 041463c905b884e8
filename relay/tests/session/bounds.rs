//! What holds for every reply of every dialogue, and for every session however busy it is.

use std::time::Duration;

use crate::desk::{Desk, JOE};
use crate::dialogues;
use relay::session::TlsStart;

/// The longest reply line with its CRLF, octets (RFC 5321, section 4.5.3.1.5).
const REPLY_LINE_MAX: usize = 512;

/// How often a busy client sends something.
const STEP: Duration = Duration::from_secs(120);

/// Tells whether a line is right behind its code: greetings, answers to EHLO and HELO and 3xx have
/// no enhanced code, all others have one of their class (RFC 2034, section 4).
fn is_well_formed(line: &str) -> bool {
    let (code, text) = line.split_at(3);
    let text = &text[1..];
    let class = text.split('.').next().unwrap_or_default();
    let has_code = text.split(' ').next().is_some_and(|word| word.split('.').count() == 3)
        && class.len() == 1
        && class.bytes().all(|byte| byte.is_ascii_digit());
    match &code[..1] {
        "3" => !has_code,
        // What EHLO, HELO and a greeting say begins with our name or with a keyword.
        "2" if text.starts_with(|letter: char| letter.is_ascii_uppercase() || letter == 'r')
            || text.starts_with("8BITMIME") =>
        {
            !has_code
        }
        "4" | "5" if text.starts_with("relay.example.net ") => !has_code,
        digit => has_code && class == digit,
    }
}

#[test]
fn every_reply_of_every_dialogue_is_short_ascii_and_carries_a_code_of_its_class() {
    let mut lines = 0;
    for (name, text) in dialogues::all() {
        let said = dialogues::run(&text, usize::MAX).unwrap_or_else(|error| panic!("{error}"));
        assert!(said.is_empty() || said.ends_with("\r\n"), "{name}");
        for line in said.split_terminator("\r\n") {
            lines += 1;
            assert!(line.len() + 2 <= REPLY_LINE_MAX, "{name}: {line}");
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {line}");
            let head = line.as_bytes();
            assert!(head.len() > 3 && matches!(head[3], b' ' | b'-'), "{name}: {line}");
            assert!(head[..3].iter().all(u8::is_ascii_digit), "{name}: {line}");
            assert!(is_well_formed(line), "{name}: {line}");
        }
    }
    assert!(lines > 400, "only {lines} lines were said");
}

#[test]
fn a_reply_without_its_enhanced_code_is_found() {
    for line in ["250 2.0.0 OK", "250-relay.example.net", "250 8BITMIME", "334 ", "354 Go on"] {
        assert!(is_well_formed(line), "{line}");
    }
    for line in ["550 no", "550 4.7.1 no", "550 5.7 no", "354 2.0.0 Go on", "451 later"] {
        assert!(!is_well_formed(line), "{line}");
    }
}

/// Sends `octets` every two minutes until the session is closed; returns how long that took.
fn last(desk: &mut Desk, octets: &[u8]) -> Duration {
    let began = desk.now;
    for _ in 0..10_000 {
        desk.now += STEP;
        desk.session.expire(desk.now);
        desk.obey();
        if desk.closed {
            break;
        }
        desk.session.receive(octets, desk.now);
        desk.obey();
    }
    assert!(
        desk.closed && desk.sent.ends_with("421 4.4.2 Timed out, closing\r\n"),
        "{}",
        desk.sent
    );
    desk.now - began
}

#[test]
fn a_busy_session_ends_after_its_lifetime_all_the_same() {
    let config = crate::desk::config("");
    let lifetime = config.limits.session;
    let mut desk = Desk::new(config, TlsStart::Implicit);
    desk.obey();
    desk.secured();
    desk.send(b"EHLO client.example.net\r\n", usize::MAX);
    desk.send(format!("AUTH PLAIN {JOE}\r\n").as_bytes(), usize::MAX);
    desk.send(b"MAIL FROM:<joe@example.net>\r\n", usize::MAX);
    // What policy refuses is no error, and could go on for ever.
    let lasted = last(&mut desk, b"RCPT TO:<a@relay.invalid>\r\n");
    assert!(lasted >= lifetime && lasted <= lifetime + STEP, "{lasted:?}");
}

#[test]
fn a_command_that_drips_is_not_waited_for_longer_than_an_idle_client() {
    let config = crate::desk::config("");
    let idle = config.limits.idle;
    let mut desk = Desk::new(config, TlsStart::Starttls);
    desk.obey();
    let lasted = last(&mut desk, b"N");
    assert!(lasted >= idle && lasted <= idle + STEP, "{lasted:?}");
}

#[test]
fn a_silent_client_has_five_minutes() {
    let mut desk = Desk::new(crate::desk::config(""), TlsStart::Starttls);
    desk.obey();
    let wait = desk.session.deadline().saturating_duration_since(desk.now);
    assert!(wait >= Duration::from_secs(300), "{wait:?}");
}
