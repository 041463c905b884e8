//! Runs every file under `tests/dialogues` against a session.
//!
//! ```text
//! # what it shows, with the section that says so
//! @ from ready          clear | secured | ready | data | implicit: where it begins (default clear)
//! @ unlawful            the client breaks the order of a group: not run octet by octet
//! @ limits errors = 4   changes a limit
//! @ tag web             the tag of the client's entry; @ login few: who logs in (default joe)
//! @ extensions          those are offered too that the sending side would have to keep
//! @ xclient             the client may say for whom it speaks
//! C: MAIL FROM:<a@example.net>\r\n      what the client sends, with \r \n \0 \t \\ \xHH
//! S: 250 2.1.0          the next reply line begins with this
//! S: -                  the server says nothing
//! S+ 250 AUTH           a whole reply with this code, however many lines; one begins with this
//! @ certificate         the client shows one under TLS, for joe
//! @ secured             the handshake was made       @ time      the deadline passes
//! @ store full          works | full | fills up | fails | hangs   @ short   below the reserve
//! @ share used          the messages of this login take its share of the spool
//! @ shutdown  @ cut     the process says so          @ crowded    no place for another address
//! @ closed  @ open      the connection is closed, or is not
//! @ stored 1            so many messages were stored
//! ```
//!
//! Each file runs with every `C:` line in one piece and octet by octet; the replies must be equal.

use std::fs;
use std::path::{Path, PathBuf};

use crate::desk::{Desk, Store, plain};
use relay::session::{Room, TlsStart, Xclient};
use relay::smtp::extension::Extensions;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "smtp") {
            found.push(path);
        }
    }
}

/// Returns every dialogue by its name below `tests/dialogues`, in their order.
pub fn all() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dialogues");
    let mut found = Vec::new();
    files(&folder, &mut found);
    found.sort();
    let name = |path: &Path| path.strip_prefix(&folder).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            octets.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        octets.push(match letters.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).expect("two hexadecimal digits after \\x")
            }
            other => panic!("unknown escape {other:?} in {text}"),
        });
    }
    octets
}

/// Brings a desk to where the dialogue begins, and forgets what was said.
fn bring(desk: &mut Desk, from: &str, login: &str) {
    desk.obey();
    if from == "implicit" || from == "clear" {
        return;
    }
    desk.send(b"EHLO client.example.net\r\n", usize::MAX);
    desk.send(b"STARTTLS\r\n", usize::MAX);
    desk.secured();
    if from == "ready" || from == "data" {
        desk.send(b"EHLO client.example.net\r\n", usize::MAX);
        desk.send(format!("AUTH PLAIN {}\r\n", plain(login)).as_bytes(), usize::MAX);
        assert!(desk.sent.ends_with("235 2.7.0 Authentication succeeded\r\n"), "{}", desk.sent);
    }
    if from == "data" {
        desk.send(
            b"MAIL FROM:<joe@example.net>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n",
            usize::MAX,
        );
        assert!(desk.sent.lines().last().unwrap().starts_with("354 "), "{}", desk.sent);
    }
    desk.sent.clear();
}

fn desk(text: &str) -> Desk {
    let said = |key: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("@ "));
        lines.filter_map(|line| line.strip_prefix(key)).collect::<Vec<_>>()
    };
    let from = said("from ").first().copied().unwrap_or("clear");
    let limits = said("limits ").join("\n");
    let tls = match from {
        "implicit" => TlsStart::Implicit,
        _ if !said("no certificate").is_empty() => TlsStart::Unavailable,
        _ => TlsStart::Starttls,
    };
    let extensions =
        if text.contains("\n@ extensions\n") { Extensions::ALL } else { Extensions::NONE };
    let xclient = if text.contains("\n@ xclient\n") { Xclient::Offered } else { Xclient::Refused };
    let tag = said("tag ").first().copied();
    let login = said("login ").first().copied().unwrap_or("joe");
    let mut desk = Desk::with(crate::desk::config(&limits), tls, |facts| {
        (facts.extensions, facts.xclient) = (extensions, xclient);
        facts.tag = tag.map(ToOwned::to_owned);
    });
    if text.contains("\n@ certificate\n") {
        desk.channel.names = vec!["joe".to_owned(), "joe.example.net".to_owned()];
    }
    if said("early").is_empty() {
        bring(&mut desk, from, login);
    }
    desk
}

/// Runs a dialogue with input cut into pieces of `step` octets; returns all that was said.
pub fn run(text: &str, step: usize) -> Result<String, String> {
    let mut desk = desk(text);
    let mut all = String::new();
    for (number, line) in text.lines().enumerate() {
        let at = |problem: String| format!("line {}: {line}\n  {problem}", number + 1);
        if let Some(octets) = line.strip_prefix("C: ") {
            if !desk.sent.is_empty() {
                return Err(at(format!("not expected before: {:?}", desk.sent)));
            }
            desk.send(&unescape(octets), step);
            all.push_str(&desk.sent);
        } else if line == "S: -" {
            if !desk.sent.is_empty() {
                return Err(at(format!("said {:?}", desk.sent)));
            }
        } else if let Some(expected) = line.strip_prefix("S: ") {
            let Some((said, rest)) = desk.sent.split_once("\r\n") else {
                return Err(at(format!("said nothing more; {:?}", desk.sent)));
            };
            if !said.starts_with(expected) {
                return Err(at(format!("said {said:?}")));
            }
            desk.sent = rest.to_owned();
        } else if let Some(expected) = line.strip_prefix("S+ ") {
            whole_reply(&mut desk.sent, expected).map_err(at)?;
        } else if let Some(word) = line.strip_prefix("@ ") {
            let before = desk.sent.len();
            event(&mut desk, word).map_err(at)?;
            all.push_str(&desk.sent[before..]);
        } else if !line.is_empty() && !line.starts_with('#') {
            return Err(at("is no line of a dialogue".to_owned()));
        }
    }
    if desk.sent.is_empty() { Ok(all) } else { Err(format!("left over: {:?}", desk.sent)) }
}

/// Returns what was said without the nonces of SCRAM, which are another each time: `r=…` in base64.
fn without_nonces(said: &str) -> String {
    let blank = |line: &str| if line.starts_with("334 cj") { "334 r=" } else { line }.to_owned();
    said.split("\r\n").map(blank).collect::<Vec<_>>().join("\r\n")
}

/// Takes a reply off the front of what was said.
fn whole_reply(sent: &mut String, expected: &str) -> Result<(), String> {
    let (code, wanted) = expected.split_once(' ').unwrap_or((expected, ""));
    let mut found = false;
    loop {
        let (line, rest) = sent.split_once("\r\n").ok_or("the reply does not end")?;
        let text = line.strip_prefix(code).ok_or_else(|| format!("said {line:?}"))?;
        found |= text.get(1..).is_some_and(|text| text.starts_with(wanted));
        let goes_on = text.starts_with('-');
        *sent = rest.to_owned();
        if !goes_on {
            return if found { Ok(()) } else { Err(format!("no line begins with {wanted:?}")) };
        }
    }
}

fn event(desk: &mut Desk, word: &str) -> Result<(), String> {
    let expect = |holds: bool, problem: &str| if holds { Ok(()) } else { Err(problem.to_owned()) };
    match word.split_once(' ').unwrap_or((word, "")) {
        (
            "from" | "tag" | "login" | "limits" | "unlawful" | "no" | "early" | "extensions"
            | "certificate" | "xclient",
            _,
        ) => {}
        ("crowded", _) => desk.crowded = true,
        ("secured", _) => desk.secured(),
        ("time", _) => desk.pass_time(),
        ("short", _) => desk.set_room(Room::Short),
        ("share", _) => desk.set_room(Room::ShareUsed),
        ("shutdown", _) => {
            desk.session.shutdown(desk.now);
            desk.obey();
        }
        ("cut", _) => {
            desk.session.cut(desk.now);
            desk.obey();
        }
        ("store", how) => {
            desk.store = match how {
                "works" => Store::Works,
                "full" => Store::Full,
                "fills up" => Store::FillsUp,
                "fails" => Store::Fails,
                "hangs" => Store::Hangs,
                _ => return Err("unknown store".to_owned()),
            };
        }
        ("closed", _) => expect(desk.closed, "the connection is open")?,
        ("open", _) => expect(!desk.closed, "the connection is closed")?,
        ("stored", count) => {
            let stored = desk.stored.len().to_string();
            expect(stored == count, &format!("{stored} are stored"))?;
        }
        _ => return Err("unknown event".to_owned()),
    }
    Ok(())
}

#[test]
fn every_dialogue_goes_as_written_whole_and_octet_by_octet() {
    let found = all();
    assert!(found.len() >= 30, "the dialogues are missing: {}", found.len());
    let mut problems = Vec::new();
    for (name, text) in &found {
        match run(text, usize::MAX) {
            Err(problem) => problems.push(format!("{name}, whole: {problem}")),
            Ok(whole) if !text.contains("\n@ unlawful") => match run(text, 1) {
                Err(problem) => problems.push(format!("{name}, octet by octet: {problem}")),
                Ok(cut) => assert_eq!(
                    without_nonces(&cut),
                    without_nonces(&whole),
                    "{name}: cutting changes the replies"
                ),
            },
            Ok(_) => {}
        }
    }
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), found.len(), problems.join("\n"));
}
