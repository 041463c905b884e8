//! The session as a whole.
//!
//! ```text
//! octet 0      where it begins: in the clear, under TLS, logged in, in a message
//! octet 1      bits 0 and 1: what the store does; bit 2: small limits; bit 3: every extension is
//!              offered
//! octets 2-5   the lengths of the pieces, in turn
//! the rest     what the client sends, group by group
//! ```
//!
//! A client may send a group of commands without waiting (RFC 2920, section 3.1). These octets,
//! which stand in no UTF-8, come between groups: F8 the next group, F9 the deadline passes,
//! FA the process ends, FB the spool is short of room.

use std::sync::LazyLock;
use std::time::Duration;

use relay::config::Config;
use relay::mail::envelope::Envelope;
use relay::session::{Room, TlsStart};
use relay::smtp::extension::Extensions;

use crate::cut::{lengths, pieces};
use crate::desk::{Desk, JOE, Store, config};
use crate::sasl::without_nonces;

/// The most that one line, or one piece of a message, makes a session say: the answer to EHLO.
const SAID_PER_LINE: usize = 1_024;
/// The longest that a session waits for anything.
const WAIT_MAX: Duration = Duration::from_secs(12 * 3_600);
/// How often a session may be late until it is over.
const ENDS_AFTER: usize = 10;
/// What a session says last if something came behind DATA or STARTTLS, before their turn.
const OUT_OF_STEP: &str = "554 5.5.0 ";

const SMALL: &str = "message_size_bytes = 300\nheader_size_bytes = 120\nheader_fields = 6\n\
                     received_fields = 2\nrecipients = 2\nerrors = 6";

/// Reading a configuration takes longer than most sessions.
static CONFIGS: LazyLock<[Config; 2]> = LazyLock::new(|| [config(""), config(SMALL)]);

/// What a session said and stored.
struct Ran {
    said: String,
    stored: Vec<(Envelope, Vec<u8>)>,
}

fn begin(start: u8, how: u8) -> Desk {
    let tls = if start.is_multiple_of(4) { TlsStart::Starttls } else { TlsStart::Implicit };
    let limits = CONFIGS[usize::from(how & 4 != 0)].clone();
    let extensions = if how & 8 == 0 { Extensions::NONE } else { Extensions::ALL };
    let mut desk = Desk::with(limits, tls, |facts| facts.extensions = extensions);
    desk.obey();
    if !start.is_multiple_of(4) {
        desk.secured();
    }
    if start % 4 > 1 {
        desk.send(b"EHLO client.example.net\r\n", usize::MAX);
        desk.send(format!("AUTH PLAIN {JOE}\r\n").as_bytes(), usize::MAX);
    }
    if start % 4 > 2 {
        let group = b"MAIL FROM:<joe@example.net>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n";
        desk.send(group, usize::MAX);
    }
    desk.store = match how & 3 {
        0 => Store::Works,
        1 => Store::Full,
        2 => Store::FillsUp,
        _ => Store::Fails,
    };
    desk
}

fn between(desk: &mut Desk, mark: Option<u8>) {
    if desk.secure_asked && !desk.closed {
        desk.secured();
    }
    match mark {
        _ if desk.closed => {}
        Some(0xf9) => desk.pass_time(),
        Some(0xfa) => {
            desk.session.shutdown(desk.now);
            desk.obey();
        }
        Some(0xfb) => desk.set_room(Room::Short),
        _ => {}
    }
}

fn check(desk: &Desk, lines: usize) {
    let said = desk.sent.len();
    assert!(said <= lines * SAID_PER_LINE, "{said} octets are said to {lines} lines");
    assert!(said == 0 || desk.sent.ends_with("\r\n"), "half a line: {:?}", desk.sent);
    let left = desk.session.deadline().saturating_duration_since(desk.now);
    assert!(desk.closed || left <= WAIT_MAX, "waits for {left:?}");
}

/// Runs groups of octets; `lengths` cuts each.
fn run(start: u8, how: u8, groups: &[u8], lengths: Option<&[u8]>) -> Ran {
    let mut desk = begin(start, how);
    let mut lines = 8;
    for group in groups.split_inclusive(|byte| (0xf8..=0xfb).contains(byte)) {
        let mark = group.last().copied().filter(|byte| (0xf8..=0xfb).contains(byte));
        let octets = &group[..group.len() - usize::from(mark.is_some())];
        let whole = [octets];
        let cut = lengths.map(|lengths| pieces(octets, lengths));
        for piece in cut.as_deref().unwrap_or(&whole) {
            if desk.closed {
                break;
            }
            desk.send(piece, usize::MAX);
        }
        lines += 1 + octets.split(|byte| *byte == b'\n').count();
        between(&mut desk, mark);
        check(&desk, lines);
    }
    let said = without_nonces(&desk.sent);
    for _ in 0..ENDS_AFTER {
        between(&mut desk, Some(0xf9));
    }
    assert!(desk.closed, "its deadlines bring a session to an end");
    Ran { said, stored: desk.stored }
}

/// However the input is cut, a session says and stores the same, if no group breaks its order. If
/// one does, and is seen to, the session ends there; up to there it went alike.
pub fn goes_alike_however_it_is_cut(input: &[u8]) {
    let Some(([start, how], rest)) = input.split_first_chunk::<2>() else { return };
    let Some((lengths, groups)) = lengths(rest) else { return };
    let whole = run(*start, *how, groups, None);
    let cut = run(*start, *how, groups, Some(lengths));
    let before_last = whole.said.trim_end().rfind("\r\n").map_or(0, |end| end + 2);
    let (common, last) = whole.said.split_at(before_last);
    if last.starts_with(OUT_OF_STEP) {
        assert!(cut.said.starts_with(common), "{:?}\n  by {lengths:?}: {:?}", whole.said, cut.said);
        assert!(cut.stored.starts_with(&whole.stored), "by {lengths:?}");
    } else {
        assert_eq!(cut.said, whole.said, "by {lengths:?}");
        assert!(cut.stored == whole.stored, "stored otherwise by {lengths:?}");
    }
}
