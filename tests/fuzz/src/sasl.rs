//! The responses of AUTH, mechanism by mechanism.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay::session::TlsStart;

use crate::cut::{lengths, pieces};
use crate::desk::{Desk, config};

/// The mechanisms that clients ask for; those that are not offered are refused.
const MECHANISMS: [&str; 8] = [
    "PLAIN",
    "LOGIN",
    "SCRAM-SHA-256",
    "SCRAM-SHA-256-PLUS",
    "EXTERNAL",
    "OAUTHBEARER",
    "XOAUTH2",
    "CRAM-MD5",
];

/// Separates responses. It stands in no UTF-8.
const NEXT: u8 = 0xf8;
/// Stands in a response for the nonce in the last challenge of SCRAM, which nobody can guess.
const NONCE: u8 = 0xf9;

fn greeted() -> Desk {
    let mut desk = Desk::new(config("errors = 1000"), TlsStart::Implicit);
    desk.channel.exporter = Some([7; 32]);
    desk.channel.names = vec!["joe".to_owned()];
    desk.obey();
    desk.secured();
    desk.send(b"EHLO client.example.net\r\n", usize::MAX);
    desk.sent.clear();
    desk
}

fn say(desk: &mut Desk, line: &str, lengths: Option<&[u8]>) {
    let line = format!("{line}\r\n");
    match lengths {
        None => desk.send(line.as_bytes(), usize::MAX),
        Some(lengths) => {
            for piece in pieces(line.as_bytes(), lengths) {
                desk.send(piece, usize::MAX);
            }
        }
    }
}

/// Returns the nonce in a challenge of SCRAM (RFC 5802, section 5.1).
fn nonce(said: &str) -> Option<String> {
    let text = STANDARD.decode(said.trim_end().strip_prefix("334 ")?).ok()?;
    let text = String::from_utf8(text).ok()?;
    text.split(',').next()?.strip_prefix("r=").map(str::to_owned)
}

/// Returns what was said, without what is drawn anew for each exchange: the nonces of SCRAM.
pub fn without_nonces(said: &str) -> String {
    let lines = said.split_inclusive('\n');
    lines.map(|line| if nonce(line).is_some() { "334 (nonce)\r\n" } else { line }).collect()
}

/// Returns a response with the nonce of `challenge` where it is asked for.
fn filled(response: &[u8], challenge: &str) -> Vec<u8> {
    let nonce = nonce(challenge).unwrap_or_default();
    let pieces: Vec<&[u8]> = response.split(|byte| *byte == NONCE).collect();
    pieces.join(nonce.as_bytes())
}

/// Returns everything that was said in an exchange with these responses.
fn run(mechanism: &str, responses: &[&[u8]], lengths: Option<&[u8]>) -> String {
    let mut desk = greeted();
    let mut responses = responses.iter();
    let mut all = String::new();
    let initial = responses.next().map(|response| STANDARD.encode(response));
    match initial.as_deref() {
        None | Some("") => say(&mut desk, &format!("AUTH {mechanism}"), lengths),
        Some(initial) => say(&mut desk, &format!("AUTH {mechanism} {initial}"), lengths),
    }
    while desk.sent.starts_with("334 ") {
        let challenge = std::mem::take(&mut desk.sent);
        all.push_str(&challenge);
        match responses.next() {
            Some(response) => {
                say(&mut desk, &STANDARD.encode(filled(response, &challenge)), lengths);
            }
            None => say(&mut desk, "*", lengths),
        }
        assert!(!desk.sent.is_empty(), "a response is answered");
    }
    all.push_str(&std::mem::take(&mut desk.sent));
    if !desk.closed {
        say(&mut desk, "NOOP", lengths);
        assert_eq!(desk.sent, "250 2.0.0 OK\r\n", "after {all:?}");
    }
    without_nonces(&all)
}

/// Whatever the responses are, the exchange ends, the session is in step behind it, and how its
/// lines were cut changes nothing.
pub fn ends_in_step(input: &[u8]) {
    let Some((lengths, rest)) = lengths(input) else { return };
    let Some((which, rest)) = rest.split_first() else { return };
    let mechanism = MECHANISMS[usize::from(*which) % MECHANISMS.len()];
    let responses: Vec<&[u8]> = rest.split(|byte| *byte == NEXT).collect();
    let whole = run(mechanism, &responses, None);
    assert_eq!(run(mechanism, &responses, Some(lengths)), whole, "{mechanism} by {lengths:?}");
}
