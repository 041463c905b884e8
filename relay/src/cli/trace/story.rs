//! The lines of a message as rows: when, how long after the row before, what.

use jiff::{SignedDuration, Timestamp};

use crate::cli::print;
use crate::cli::users::Users;
use crate::history::{Became, Ended, Fact, Line, Told};
use crate::mail::came::{Admission, Came};
use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;
use crate::smtp::address::Address;

/// The most addresses that a row names; `--json` has all.
const ADDRESSES_SHOWN: usize = 5;

/// Prints the story of a message.
pub(super) fn tell(id: MessageId, lines: &[Line]) {
    let rows = rows(lines);
    print::say(format!("message {id}"));
    print::table(["TIME", "AFTER", "WHAT"], &rows);
}

/// A row before its time is written.
struct Moment {
    at: Timestamp,
    what: String,
}

fn rows(lines: &[Line]) -> Vec<[String; 3]> {
    let ours = lines.iter().filter(|line| is_birth(line)).map(|line| line.at).min();
    // A message may be taken up before its connection, or who writes a report, looks at the clock: what becomes of it
    // stands after the line that says it is ours.
    let place = |line: &Line, at: Timestamp| {
        let is_fate = !is_birth(line) && line.id.is_some();
        (ours.filter(|_| is_fate).map_or(at, |ours| ours.max(at)), is_fate)
    };
    let mut users = Users::default();
    let placed = |line| {
        let moments = moments(line, lines, &mut users).into_iter();
        moments.map(move |moment| (place(line, moment.at), moment))
    };
    let mut placed: Vec<_> = lines.iter().flat_map(placed).collect();
    placed.sort_by_key(|(place, _)| *place);
    let mut before = None;
    let row = |Moment { at, what }| {
        let after = before.map_or_else(String::new, |before| difference(before, at));
        before = before.max(Some(at));
        [format!("{at:.3}"), after, what]
    };
    placed.into_iter().map(|(_, moment)| moment).map(row).collect()
}

/// Tells whether a line says how the message became ours.
const fn is_birth(line: &Line) -> bool {
    match line.fact {
        Fact::Received { .. } | Fact::Report { .. } => true,
        Fact::Reported { .. }
        | Fact::Carried { .. }
        | Fact::Attempted { .. }
        | Fact::Operated { .. }
        | Fact::SetAside { .. }
        | Fact::Read { .. }
        | Fact::Viewed { .. }
        | Fact::CaptureEnded { .. }
        | Fact::Missed { .. } => false,
    }
}

/// Returns the time between two moments: to the millisecond below a minute, else to the second; none if `at` was first.
fn difference(before: Timestamp, at: Timestamp) -> String {
    let passed = at.duration_since(before).max(SignedDuration::ZERO);
    let (seconds, millis) = (passed.as_secs(), passed.subsec_millis());
    match seconds {
        ..60 => format!("+{seconds}.{millis:03}s"),
        60..3600 => format!("+{}m{:02}s", seconds / 60, seconds % 60),
        3600.. => format!("+{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Tells one line of the life that `all` lines are.
fn moments(line: &Line, all: &[Line], users: &mut Users) -> Vec<Moment> {
    let now = |what: String| vec![Moment { at: line.at, what }];
    match &line.fact {
        Fact::Received { came, envelope, size_bytes } => {
            received(line.at, came, envelope, *size_bytes)
        }
        Fact::Report { about } => now(format!("written by the relay: a report about {about}")),
        Fact::Reported { report } => {
            now(format!("a report about it went into the spool: {report}"))
        }
        Fact::Carried { route, next_hop, tls, began_at } => {
            let tls = tls.as_deref().unwrap_or("in the clear");
            let what = format!("route {route}: spoken to {next_hop}, {tls}");
            vec![Moment { at: *began_at, what }]
        }
        Fact::Attempted { number, counted, began_at, results, open, trace: _ } => {
            let (began, ended) = if *counted {
                (format!("attempt {number} began"), format!("attempt {number} ended"))
            } else {
                ("taken up; this counts as no attempt".to_owned(), "put back".to_owned())
            };
            let mut moments = vec![Moment { at: *began_at, what: began }];
            moments.extend(results.iter().map(|told| Moment { at: line.at, what: result(told) }));
            let end = match open {
                0 if all.iter().any(is_captured) => {
                    "nobody is open any more: the message stays in the spool, captured".to_owned()
                }
                0 => "nobody is open any more: the message has left the spool".to_owned(),
                open => format!("{ended}, {} open", recipients(*open)),
            };
            moments.push(Moment { at: line.at, what: end });
            moments
        }
        Fact::Operated { act, uid } => now(format!("{} by {}", act.done(), users.name(*uid))),
        Fact::SetAside { why } => now(format!("held until it is released: {why}")),
        Fact::Read { uid } => now(format!("its text was read by {}", users.name(*uid))),
        Fact::Viewed { login, source } => {
            let who = login.as_ref().map_or_else(String::new, |login| format!(" by {login}"));
            now(format!("its text was seen on the status page{who} from {source}"))
        }
        Fact::CaptureEnded { why } => now(format!("captured, and dropped now: {}", ended(*why))),
        Fact::Missed { lines } => {
            now(format!("(before this {lines} lines about this or other messages found no room)"))
        }
    }
}

/// Tells whether a line says that somebody's copy was kept instead of sent.
fn is_captured(line: &Line) -> bool {
    let Fact::Attempted { results, .. } = &line.fact else { return false };
    results.iter().any(|told| told.became == Became::Captured)
}

fn received(at: Timestamp, came: &Came, envelope: &Envelope, size_bytes: u64) -> Vec<Moment> {
    let source = envelope.source.unwrap_or(came.peer);
    let through =
        if source == came.peer { String::new() } else { format!(" through {}", came.peer) };
    let tag = envelope.tag.as_ref().map(|tag| format!(", tag {tag}")).unwrap_or_default();
    let entry = came.entry.map(entry).unwrap_or_default();
    let mut moments = vec![Moment {
        at: came.accepted_at,
        what: format!(
            "{source}{through} connected to {}{entry}{tag} (its SYN passed the gate before that)",
            came.listener
        ),
    }];
    if let (Some(at), Some(tls)) = (came.secured_at, &came.tls) {
        let name =
            came.server_name.as_ref().map(|name| format!(", for {name}")).unwrap_or_default();
        moments.push(Moment { at, what: format!("TLS handshake done: {tls}{name}") });
    }
    if let (Some(at), Some(login)) = (came.logged_in_at, &envelope.login) {
        let by = came.mechanism.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        moments.push(Moment { at, what: format!("logged in as {login}{by}") });
    }
    let (sender, to) = (&envelope.sender, addresses(&envelope.recipients));
    let trace = envelope.trace.map(|of| format!(", in trace {}", of.trace)).unwrap_or_default();
    let what = format!("its message begins, from <{sender}> to {to}{trace}");
    moments.push(Moment { at: envelope.received_at, what });
    // Being on disk it may be taken up by an attempt before its client is answered.
    let what = format!("{size_bytes} octets are on disk, and the client is told 250");
    moments.push(Moment { at, what });
    moments
}

fn entry(Admission { network, passed, over_rate }: Admission) -> String {
    format!(", entry {network} ({passed} passed, {over_rate} over its rate)")
}

fn result(told: &Told) -> String {
    let Told { route, next_hop, became, retry_in_ms, reply, recipients } = told;
    let became = match became {
        Became::Delivered => "delivered",
        Became::Deferred => "deferred",
        Became::Failed => "failed",
        Became::Captured => "captured",
    };
    let again = retry_in_ms.map(|ms| format!(", again in {}s", ms / 1000)).unwrap_or_default();
    let by = match (next_hop.as_str(), route.as_str()) {
        ("", "") => String::new(),
        ("", route) => format!(" on route {route}"),
        (next_hop, route) => format!(" by {next_hop} on route {route}"),
    };
    format!("{} {became}{by}{again}: {reply}", addresses(recipients))
}

const fn ended(why: Ended) -> &'static str {
    match why {
        Ended::Time => "its time was over ([capture] keep)",
        Ended::Size => "it was the oldest, and all took more than [capture] size",
        Ended::Number => "it was the oldest, and all were more than a quarter of spool.messages",
    }
}

fn recipients(count: usize) -> String {
    if count == 1 { "1 recipient is".to_owned() } else { format!("{count} recipients are") }
}

fn addresses(all: &[Address]) -> String {
    let mut shown: Vec<String> =
        all.iter().take(ADDRESSES_SHOWN).map(|address| format!("<{address}>")).collect();
    if all.len() > ADDRESSES_SHOWN {
        shown.push(format!("{} more", all.len() - ADDRESSES_SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::envelope::{Body, Terms};
    use crate::smtp::address::ReversePath;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn at(text: &str) -> Timestamp {
        format!("2026-01-02T03:04:{text}Z").parse().unwrap()
    }

    fn line(text: &str, fact: Fact) -> Line {
        Line { id: Some(MessageId(1)), at: at(text), fact }
    }

    #[test]
    fn the_life_of_a_message_is_told_in_its_order_with_the_time_between() {
        let envelope = Envelope {
            sender: ReversePath::Null,
            recipients: (0..7).map(|n| format!("r{n}@example.com").parse().unwrap()).collect(),
            body: Body::SevenBit,
            login: Some("app".into()),
            tag: Some("billing".into()),
            source: Some("192.0.2.1".parse().unwrap()),
            received_at: at("05.3"),
            terms: Terms::default(),
            came: None,
            trace: Some(TRACEPARENT.parse().unwrap()),
        };
        let came = Came {
            accepted_at: at("05"),
            listener: "[::]:2525".parse().unwrap(),
            peer: "192.0.2.8".parse().unwrap(),
            entry: Some(Admission {
                network: "192.0.2.0/24".parse().unwrap(),
                passed: 7,
                over_rate: 1,
            }),
            secured_at: Some(at("05.1")),
            tls: Some("TLSv1.3".into()),
            server_name: Some("relay.example.net".into()),
            logged_in_at: Some(at("05.2")),
            mechanism: Some("PLAIN".into()),
            earlier: 0,
        };
        let told = Told {
            route: "smarthost".into(),
            next_hop: "mx:25".into(),
            became: Became::Deferred,
            retry_in_ms: Some(60_000),
            reply: "450 later".into(),
            recipients: envelope.recipients[..1].to_vec(),
        };
        let attempted = Fact::Attempted {
            number: 1,
            counted: true,
            began_at: at("06"),
            results: vec![told],
            open: 1,
            trace: None,
        };
        let lines = [
            line("05.4", Fact::Received { came, envelope: Box::new(envelope), size_bytes: 9 }),
            line("08", attempted),
            line(
                "09",
                Fact::Carried {
                    route: "smarthost".into(),
                    next_hop: "mx:25".into(),
                    tls: None,
                    began_at: at("07"),
                },
            ),
            line(
                "59.4",
                Fact::Viewed { login: Some("ops".into()), source: "192.0.2.3".parse().unwrap() },
            ),
            line("59.4", Fact::SetAside { why: "its carrier failed".into() }),
            line("59.5", Fact::Operated { act: crate::history::Act::Drop, uid: 0 }),
        ];
        let told: Vec<String> = rows(&lines).iter().map(|row| row[1..].join(" ")).collect();
        assert_eq!(
            told,
            [
                " 192.0.2.1 through 192.0.2.8 connected to [::]:2525, entry 192.0.2.0/24 (7 passed, \
                 1 over its rate), tag billing (its SYN passed the gate before that)",
                "+0.100s TLS handshake done: TLSv1.3, for relay.example.net",
                "+0.100s logged in as app by PLAIN",
                "+0.100s its message begins, from <> to <r0@example.com>, <r1@example.com>, \
                 <r2@example.com>, <r3@example.com>, <r4@example.com>, 2 more, in trace \
                 4bf92f3577b34da6a3ce929d0e0e4736",
                "+0.100s 9 octets are on disk, and the client is told 250",
                "+0.600s attempt 1 began",
                "+1.000s route smarthost: spoken to mx:25, in the clear",
                "+1.000s <r0@example.com> deferred by mx:25 on route smarthost, again in 60s: 450 \
                 later",
                "+0.000s attempt 1 ended, 1 recipient is open",
                "+51.400s its text was seen on the status page by ops from 192.0.2.3",
                "+0.000s held until it is released: its carrier failed",
                "+0.100s dropped by root",
            ]
        );
        assert_eq!(rows(&lines)[0][0], "2026-01-02T03:04:05.000Z");
    }

    #[test]
    fn captured_mail_is_not_said_to_have_left_the_spool() {
        let told = |became| Told {
            route: "staging".into(),
            next_hop: String::new(),
            became,
            retry_in_ms: None,
            reply: "kept".into(),
            recipients: vec!["a@example.com".parse().unwrap()],
        };
        for (became, end) in [
            (Became::Captured, "the message stays in the spool, captured"),
            (Became::Delivered, "the message has left the spool"),
        ] {
            let results = vec![told(became)];
            let (number, counted, open) = (1, became != Became::Captured, 0);
            let began_at = at("06");
            let fact = Fact::Attempted { number, counted, began_at, results, open, trace: None };
            let rows = rows(&[line("08", fact)]);
            assert!(rows.last().unwrap()[2].ends_with(end), "{rows:?}");
        }
    }

    #[test]
    fn an_attempt_stands_after_the_line_that_the_message_is_on_disk_whoever_looked_at_the_clock_first()
     {
        let fact = |began_at| Fact::Attempted {
            number: 1,
            counted: true,
            began_at,
            results: Vec::new(),
            open: 1,
            trace: None,
        };
        let report = || Fact::Report { about: MessageId(2) };
        for began in ["05.3998", "05.4"] {
            let rows = rows(&[line("05.3999", fact(at(began))), line("05.4", report())]);
            let told: Vec<_> = rows.iter().map(|[_, after, what]| (&**after, &what[..7])).collect();
            assert_eq!(told[..2], [("", "written"), ("+0.000s", "attempt")], "{began}");
            assert_eq!(told.len(), 3);
        }
    }

    #[test]
    fn a_long_time_is_told_in_minutes_or_hours() {
        let start = Timestamp::UNIX_EPOCH;
        for (seconds, shown) in [(59, "+59.000s"), (61, "+1m01s"), (7260, "+2h01m")] {
            let at = start.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
            assert_eq!(difference(start, at), shown);
        }
    }

    #[test]
    fn what_the_queue_does_not_count_is_called_no_attempt() {
        let told = Told {
            route: "smarthost".into(),
            next_hop: "mx:25".into(),
            became: Became::Deferred,
            retry_in_ms: Some(60_000),
            reply: "450 later".into(),
            recipients: vec!["a@example.com".parse().unwrap()],
        };
        let attempt = |second: &str, counted| {
            let (began_at, results) = (at(second), vec![told.clone()]);
            let fact =
                Fact::Attempted { number: 1, counted, began_at, results, open: 1, trace: None };
            line(second, fact)
        };
        let rows = rows(&[attempt("06", false), attempt("08", true)]);
        let what: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
        assert_eq!(what[0], "taken up; this counts as no attempt");
        assert_eq!(what[2], "put back, 1 recipient is open");
        assert_eq!((what[3], what[5]), ("attempt 1 began", "attempt 1 ended, 1 recipient is open"));
    }
}
