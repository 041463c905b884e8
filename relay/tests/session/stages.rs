//! The state machine of a session as a table that people can read: `tests/rfc/stages.txt`. Each
//! cell is what a session really answered, and where that brought it.
//!
//! With `SALLYPORT_WRITE=1` the file is written anew; what changed is then for a review.

use std::fmt::Write as _;
use std::path::Path;

use crate::desk::{Desk, JOE};
use relay::session::TlsStart;

/// The stages, and the lines that lead to each from the one before.
const STAGES: [(&str, &str); 8] = [
    ("clear", ""),
    ("clear+", "EHLO client.example.net"),
    ("tls", "STARTTLS"),
    ("tls+", "EHLO client.example.net"),
    ("login", "AUTH"),
    ("sender", "MAIL FROM:<joe@example.net>"),
    ("rcpt", "RCPT TO:<a@example.com>"),
    ("chunks", "BDAT 0"),
];

/// Each verb with an argument that is good.
const VERBS: [&str; 18] = [
    "EHLO client.example.net",
    "HELO client.example.net",
    "STARTTLS",
    "AUTH",
    "MAIL FROM:<joe@example.net>",
    "RCPT TO:<a@example.com>",
    "DATA",
    "BDAT 0",
    "RSET",
    "NOOP",
    "VRFY joe",
    "HELP",
    "XCLIENT ADDR=192.0.2.1",
    "EXPN list",
    "ETRN example.net",
    "QUIT",
    "GET / HTTP/1.1",
    "FOO",
];

const HEAD: &str = "\
# What a session answers to each verb at each stage, and where that brings it: `250 sender` goes on to
# the stage called so, a code alone stays, `close` ends the session. The arguments are good ones.
#
#   clear    connected                        clear+   and named by EHLO
#   tls      under TLS; what came before is forgotten
#   tls+     and named by EHLO                login    and logged in, no transaction open
#   sender   MAIL was accepted                rcpt     and at least one RCPT
#   helo     named by HELO under TLS: as tls+, but AUTH wants EHLO
#   chunks   BDAT, and not yet its last
#   message  354: octets up to CRLF . CRLF are the message, whatever they look like
#
# relay/tests/session/stages.rs asks a session and compares. SALLYPORT_WRITE=1 writes this file anew.

";

/// Says one line and returns the code of the answer.
fn say(desk: &mut Desk, line: &str) -> String {
    desk.sent.clear();
    let line = if line == "AUTH" { format!("AUTH PLAIN {JOE}") } else { line.to_owned() };
    desk.send(format!("{line}\r\n").as_bytes(), usize::MAX);
    if desk.secure_asked {
        desk.secured();
    }
    desk.sent.lines().last().map_or("-", |last| &last[..3]).to_owned()
}

/// Brings a new session to a stage and says `lines`; returns the last code.
fn after(stage: usize, lines: &[&str]) -> (String, bool) {
    let mut desk = Desk::new(crate::desk::config(""), TlsStart::Starttls);
    desk.obey();
    for (_, line) in &STAGES[1..=stage] {
        say(&mut desk, line);
    }
    let code = lines.iter().map(|line| say(&mut desk, line)).last().unwrap_or_default();
    (code, desk.closed)
}

/// Tells stages apart by what they answer.
fn fingerprint(stage: usize, lines: &[&str]) -> Vec<String> {
    let probes = [
        "STARTTLS",
        "AUTH",
        "MAIL FROM:<joe@example.net>",
        "RCPT TO:<a@example.com>",
        "DATA",
        "BDAT 0",
    ];
    probes.iter().map(|probe| after(stage, &[lines, &[probe]].concat()).0).collect()
}

fn cell(stage: usize, verb: &str, known: &[Vec<String>]) -> String {
    let (code, closed) = after(stage, &[verb]);
    if closed {
        return format!("{code} close");
    }
    if code == "354" {
        return format!("{code} message");
    }
    let found = fingerprint(stage, &[verb]);
    match known.iter().position(|one| *one == found) {
        Some(next) if next == stage => code,
        Some(next) => format!("{code} {}", STAGES[next].0),
        None => format!("{code} helo"),
    }
}

fn table() -> String {
    let known: Vec<_> = (0..STAGES.len()).map(|stage| fingerprint(stage, &[])).collect();
    let mut text = HEAD.to_owned();
    let mut row = |name: &str, cells: &[String]| {
        let mut line = format!("{name:9}");
        for cell in cells {
            let _ = write!(line, "{cell:13}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    row("", &STAGES.map(|(name, _)| name.to_owned()));
    for verb in VERBS {
        let name = verb.split(' ').next().unwrap_or_default();
        let cells: Vec<_> = (0..STAGES.len()).map(|stage| cell(stage, verb, &known)).collect();
        row(name, &cells);
    }
    text
}

#[test]
fn the_state_machine_is_the_table_that_reviewers_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rfc/stages.txt");
    let found = table();
    if std::env::var_os("SALLYPORT_WRITE").is_some_and(|value| value == "1") {
        std::fs::write(&path, &found).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == found, "{} is not what a session does:\n{found}", path.display());
}
