//! Next hops that misbehave during a transaction, and bodies that must not be sent.

use super::driven::{Driven, SECOND, TIMEOUTS, parcel, ready, terms};
use crate::config::RouteTls;
use crate::delivery::action::End;
use crate::delivery::parcel::Parcel;
use crate::delivery::terms::Terms;
use crate::mail::envelope::Body;
use crate::smtp::answer::{ANSWER_LINE_MAX, ANSWER_LINES_MAX};
use crate::smtp::parameter::RequireTls;
use crate::smtp::reply::Enhanced;

/// Next hops that misbehave: the name | what EHLO offers | the lines they send, flight by flight |
/// what becomes of recipients a, b, c | whether we said DATA or BDAT | in what state that leaves the
/// connection. Rulings: delivered, waits, failed, elsewhere, held. The message is one line.
const MISBEHAVIOURS: &str = "
all is well               | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go > 250 ok    | ddd | data | usable
one recipient later       | PIPELINING | 250 ok, 250 ok, 451 no, 250 ok > 354 go > 250 ok    | dwd | data | usable
552 after RCPT            | PIPELINING | 250 ok, 250 ok, 552 no, 550 no > 354 go > 250 ok    | dwf | data | usable
all recipients refused    | PIPELINING | 250 ok, 550 no, 550 no, 451 no > 250 reset          | ffw | -    | usable
all refused, one by one   | SIZE       | 250 ok > 550 no > 550 no > 550 no > 250 reset       | fff | -    | usable
MAIL refused, pipelined   | PIPELINING | 550 no, 503 no, 503 no, 503 no > 250 reset          | fff | -    | usable
MAIL not now, alone       | SIZE       | 451 no > 250 reset                                  | www | -    | usable
RSET refused              | SIZE       | 451 no > 502 no                                     | www | -    | closed
421 at MAIL               | SIZE       | 421 bye                                             | eee | -    | closed
421 in the midst of RCPT  | PIPELINING | 250 ok, 550 no, 421 bye                             | fee | -    | closed
421 after MAIL refused    | PIPELINING | 550 no, 421 bye                                     | fff | -    | closed
DATA refused              | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 554 no > 250 reset | fff | data | usable
DATA not now              | PIPELINING | 250 ok, 250 ok, 550 no, 250 ok > 451 no > 250 reset | wfw | data | usable
421 at DATA               | PIPELINING | 250 ok, 250 ok, 451 no, 250 ok > 421 bye            | ewe | data | closed
DATA answered 250         | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 250 ok             | eee | data | closed
the message refused       | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go > 554 spam  | fff | data | usable
throttled at the end      | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go > 454 slow  | www | data | usable
421 at the end            | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go > 421 bye   | eee | data | closed
nonsense at the end       | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go > 354 go    | www | data | closed
lost at MAIL              | SIZE       | LOST                                                | eee | -    | closed
lost at DATA              | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > LOST               | eee | data | closed
lost after the final dot  | PIPELINING | 250 ok, 250 ok, 550 no, 250 ok > 354 go > LOST      | wfw | data | closed
silent after the dot      | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go > SILENT    | www | data | closed
silent at MAIL            | SIZE       | SILENT                                              | eee | -    | closed
a login wanted at MAIL    | PIPELINING | 530 login                                           | eee | -    | closed
a login wanted at RCPT    | SIZE       | 250 ok > 535 login > 250 ok > 451 no > 354 go > 250 ok | fdw | data | usable
a login wanted at DATA    | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 530 no > 250 reset | fff | data | usable
codes differ              | SIZE       | 250-ok, 550 no                                      | eee | -    | closed
codes differ at the end   | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go > 250-ok, 550 no | www | data | closed
not SMTP at all           | SIZE       | HTTP/1.1 400 Bad Request                            | eee | -    | closed
354 to MAIL               | SIZE       | 354 go                                              | eee | -    | closed
354 to RCPT               | SIZE       | 250 ok > 354 go                                     | eee | -    | closed
a code below 200          | SIZE       | 199 ok                                              | eee | -    | closed
a code above 599          | SIZE       | 600 ok                                              | eee | -    | closed
half a code               | SIZE       | 25                                                  | eee | -    | closed
554 to MAIL               | SIZE       | 554 no > 250 reset                                  | fff | -    | usable
421 at RSET               | SIZE       | 451 no > 421 bye                                    | www | -    | closed
lost at RCPT              | SIZE       | 250 ok > 550 no > LOST                              | fee | -    | closed
lost at RSET              | SIZE       | 451 no > LOST                                       | www | -    | closed
silent at RCPT            | PIPELINING | 250 ok, 250 ok > SILENT                             | eee | -    | closed
silent at DATA            | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > SILENT             | eee | data | closed
silent at RSET            | SIZE       | 451 no > SILENT                                     | www | -    | closed
one answer too many       | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok, 250 ok              | eee | -    | closed
354 before DATA and after | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok, 354 go, 354 go      | eee | -    | closed
answers of many lines     | SIZE       | 250-a, 250 ok > 251-a, 251 b > 250-a, 250-, 250 > 250 ok > 354-a, 354 go > 250-a, 250 b | ddd | data | usable
a code after a control    | SIZE       | \x07250 ok                                          | eee | -    | closed
8-bit and NUL in words    | PIPELINING | 250 \u{fc}, 250 \0, 250 \x1b[2J, 250 ok > 354 go > 250 \u{fc} | ddd | data | usable
too many recipients       | PIPELINING | 250 ok, 250 ok, 250 ok, 452 4.5.3 enough > 354 go > 250 ok | ddw | data | usable
a chunk taken             | PIPELINING,CHUNKING | 250 ok, 250 ok, 250 ok, 250 ok > 250 ok    | ddd | bdat | usable
a chunk for those left    | PIPELINING,CHUNKING | 250 ok, 250 ok, 550 no, 450 no > 250 ok    | dfw | bdat | usable
no chunk for nobody       | PIPELINING,CHUNKING | 250 ok, 550 no, 550 no, 450 no > 250 reset | ffw | -    | usable
a chunk, one by one       | CHUNKING   | 250 ok > 250 ok > 250 ok > 250 ok > 250 ok          | ddd | bdat | usable
a chunk refused           | PIPELINING,CHUNKING | 250 ok, 250 ok, 550 no, 250 ok > 554 no > 250 reset | fff | bdat | usable
a chunk not now           | PIPELINING,CHUNKING | 250 ok, 250 ok, 250 ok, 250 ok > 452 no > 250 reset | www | bdat | usable
BDAT hidden               | PIPELINING,CHUNKING | 250 ok, 250 ok, 250 ok, 250 ok > 500 what, 500 what | eee | bdat | closed
421 after the chunk       | PIPELINING,CHUNKING | 250 ok, 250 ok, 250 ok, 250 ok > 421 bye   | eee | bdat | closed
nonsense after the chunk  | PIPELINING,CHUNKING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go    | www | bdat | closed
lost after the chunk      | PIPELINING,CHUNKING | 250 ok, 250 ok, 550 no, 250 ok > LOST      | wfw | bdat | closed
silent after the chunk    | PIPELINING,CHUNKING | 250 ok, 250 ok, 250 ok, 250 ok > SILENT    | www | bdat | closed
taken before the chunk    | PIPELINING,CHUNKING | 250 ok, 250 ok, 250 ok, 250 ok, 250 ok     | eee | -    | closed
refused before the chunk  | PIPELINING,CHUNKING | 250 ok, 250 ok, 250 ok, 250 ok, 552 no     | fff | -    | closed
bye right after the 250   | PIPELINING | 250 ok, 250 ok, 250 ok, 250 ok > 354 go > 250 ok, 421 bye | ddd | data | closed
";

#[test]
fn every_misbehaviour_gets_its_ruling() {
    for row in MISBEHAVIOURS.trim().lines() {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [name, keywords, flights, rulings, data, left] = cells[..] else { panic!("{row}") };
        let mut driven = ready(keywords);
        driven.begin(Parcel { size_bytes: 3, ..parcel("a b c", Body::SevenBit) });
        for flight in flights.split(" > ") {
            match flight {
                "LOST" => driven.attempt.lost("connection reset"),
                "SILENT" => driven.attempt.expire(driven.attempt.deadline()),
                lines => {
                    let octets = format!("{}\r\n", lines.replace(", ", "\r\n"));
                    driven.attempt.receive(octets.as_bytes(), driven.now);
                }
            }
            driven.obey();
            if std::mem::take(&mut driven.read_body) == 1 {
                driven.body(b"x\r\n");
            }
        }
        let found = match &driven.end {
            None if driven.ready == 1 => "usable",
            Some(End::Unfit(_) | End::Unproved(_) | End::Finished) => "closed",
            Some(End::LoginRefused(_)) => "login",
            Some(End::Ours(words)) => panic!("{name}: no peer makes that: {words}"),
            None => panic!("{name}: neither ready nor closed"),
        };
        assert_eq!((driven.rulings().as_str(), found), (rulings, left), "{name}");
        assert_eq!(driven.judged.len(), 1, "{name}: settled once");
        let sent = driven.take_sent();
        assert_eq!(sent.contains("DATA\r\n"), data == "data", "{name}: {sent}");
        assert_eq!(sent.contains("BDAT 3 LAST\r\nx\r\n"), data == "bdat", "{name}: {sent}");
    }
}

#[test]
fn an_answer_without_end_ends_the_connection() {
    let line = "x".repeat(ANSWER_LINE_MAX + 1);
    let lines = "250-x\r\n".repeat(ANSWER_LINES_MAX + 1);
    for (name, octets) in [("one line", line), ("many lines", lines)] {
        let mut driven = ready("SIZE");
        driven.begin(parcel("a", Body::SevenBit)).hop(&octets);
        assert_eq!(driven.rulings(), "e", "{name}");
        assert!(matches!(driven.end, Some(End::Unfit(_))), "{name}");
    }
}

#[test]
fn what_the_offer_rules_out_fails_without_a_word() {
    let rows = [
        ("TLS in the clear", "REQUIRETLS", Enhanced(5, 7, 10)),
        ("a message above SIZE", "SIZE 7", Enhanced(5, 3, 4)),
    ];
    for (name, keywords, status) in rows {
        let mut driven = ready(keywords);
        let mut parcel = parcel("a b", Body::SevenBit);
        if keywords == "REQUIRETLS" {
            parcel.terms.require_tls = Some(RequireTls);
        }
        driven.begin(parcel);
        assert_eq!((driven.take_sent().as_str(), driven.rulings().as_str()), ("", "ff"), "{name}");
        assert_eq!(driven.judged[0][0].status, Some(status), "{name}");
        assert_eq!(driven.ready, 1, "{name}: the connection stays");
    }
}

#[test]
fn a_stored_message_that_must_not_be_passed_fails_and_is_never_ended() {
    let rows: [(&[u8], Enhanced); 4] = [
        (b"a\r\nb\n.\r\n", Enhanced(5, 6, 0)),
        (b"a\r\nb\r", Enhanced(5, 6, 0)),
        (b"a\0\r\n", Enhanced(5, 6, 0)),
        (b"\xc3\xbc\r\n", Enhanced(5, 6, 3)),
    ];
    for (body, status) in rows {
        let mut driven = ready("PIPELINING,8BITMIME");
        driven.begin(parcel("a", Body::SevenBit)).hop("250 a\r\n250 b\r\n").hop("354 go\r\n");
        driven.body(body);
        assert_eq!((driven.rulings().as_str(), driven.judged[0][0].status), ("f", Some(status)));
        assert!(matches!(driven.end, Some(End::Unfit(_))));
        assert!(!driven.take_sent().contains("\r\n.\r\n"), "{}", body.escape_ascii());
    }
}

#[test]
fn a_body_that_the_spool_cannot_give_waits_and_is_never_ended() {
    let mut driven = ready("PIPELINING");
    driven.begin(parcel("a", Body::SevenBit)).hop("250 a\r\n250 b\r\n").hop("354 go\r\n");
    driven.attempt.body(b"first\r\n", driven.now);
    driven.obey();
    driven.attempt.body_lost("the disk failed", driven.now);
    driven.obey();
    assert_eq!((driven.rulings().as_str(), driven.take_sent().contains("\r\n.\r\n")), ("w", false));
}

#[test]
fn an_answer_before_the_dot_has_left_us_never_counts_as_delivered() {
    for (answer, ruling) in [("250 ok\r\n", "e"), ("552 too large\r\n", "f"), ("451 no\r\n", "w")] {
        let mut driven = ready("PIPELINING");
        driven.begin(parcel("a", Body::SevenBit)).hop("250 a\r\n250 b\r\n").hop("354 go\r\n");
        driven.attempt.body(b"x\r\n", driven.now);
        driven.obey();
        driven.attempt.body_end(driven.now);
        // The driver has the dot in hand, and has not sent it.
        while driven.attempt.next_action().is_some() {}
        driven.attempt.receive(answer.as_bytes(), driven.now);
        driven.obey();
        assert_eq!(driven.rulings(), ruling, "{answer}");
        assert!(matches!(driven.end, Some(End::Unfit(_))), "{answer}");
    }
}

#[test]
fn a_message_whose_end_has_not_left_us_goes_elsewhere_when_the_connection_is_lost() {
    type Fault = fn(&mut Driven);
    let faults: [(&str, Fault); 2] = [
        ("lost", |driven| driven.attempt.lost("connection reset")),
        ("silent", |driven| driven.attempt.expire(driven.attempt.deadline())),
    ];
    let ends: [(&str, Fault); 3] = [
        ("in mid-body", |_| {}),
        ("the end read from the spool", |driven| driven.attempt.body_end(driven.now)),
        ("the end in the driver's hand", |driven| {
            driven.attempt.body_end(driven.now);
            while driven.attempt.next_action().is_some() {}
        }),
    ];
    for (keywords, go) in [("PIPELINING", "354 go\r\n"), ("PIPELINING,CHUNKING", "")] {
        for ((fault, fail), (end, reach)) in
            faults.iter().flat_map(|fault| ends.iter().map(move |end| (fault, end)))
        {
            let row = format!("{keywords}: {fault}, {end}");
            let mut driven = ready(keywords);
            driven.begin(Parcel { size_bytes: 3, ..parcel("a", Body::SevenBit) });
            driven.hop("250 a\r\n250 b\r\n").hop(go);
            driven.attempt.body(b"x\r\n", driven.now);
            driven.obey();
            reach(&mut driven);
            fail(&mut driven);
            driven.obey();
            assert_eq!(driven.rulings(), "e", "{row}");
            assert!(matches!(driven.end, Some(End::Unfit(_))), "{row}");
        }
    }
}

#[test]
fn every_stage_has_its_deadline() {
    let mut driven = ready("PIPELINING");
    let left = |driven: &Driven| driven.attempt.deadline() - driven.now;
    assert_eq!(left(&driven), TIMEOUTS.idle);
    assert_eq!(left(driven.begin(parcel("a", Body::SevenBit))), TIMEOUTS.reply);
    assert_eq!(left(driven.hop("250 a\r\n250 b\r\n")), TIMEOUTS.reply);
    driven.now += 100 * SECOND;
    assert_eq!(left(driven.hop("354 go\r\n")), TIMEOUTS.reply, "every piece gets its time");
    assert_eq!(left(driven.body(b"x\r\n")), TIMEOUTS.final_dot);
    driven.now += 100 * SECOND;
    assert_eq!(
        left(driven.hop("250-not yet\r\n")),
        TIMEOUTS.final_dot.saturating_sub(100 * SECOND)
    );
    assert_eq!(left(driven.hop("250 ok\r\n")), TIMEOUTS.idle);
    driven.attempt.expire(driven.now);
    assert_eq!(driven.end, None, "nothing expires early");
    driven.now = driven.attempt.deadline();
    driven.attempt.expire(driven.now);
    driven.obey();
    assert!(driven.take_sent().ends_with("QUIT\r\n"), "an idle connection is ended in order");
    assert_eq!(left(&driven), TIMEOUTS.quit);
    driven.attempt.expire(driven.attempt.deadline());
    driven.obey();
    assert_eq!(driven.end, Some(End::Finished));
}

#[test]
fn a_connection_carries_as_many_messages_as_it_may_and_no_more() {
    let mut driven = Driven::new(Terms { messages: 2, ..terms(RouteTls::None, None) });
    driven.hop("220 mx\r\n").hop("250 mx\r\n");
    for _ in 0..2 {
        driven
            .begin(parcel("a", Body::SevenBit))
            .hop("250 a\r\n")
            .hop("250 b\r\n")
            .hop("354 c\r\n");
        driven.body(b"x\r\n").hop("250 d\r\n");
        assert_eq!(driven.rulings(), "d");
    }
    assert_eq!(driven.ready, 0);
    assert!(driven.take_sent().ends_with(".\r\nQUIT\r\n"));
}

#[test]
fn a_message_that_begins_on_a_closed_connection_goes_elsewhere() {
    let mut driven = ready("SIZE");
    driven.hop("421 idle too long\r\n");
    assert_eq!(driven.end.take(), Some(End::Finished));
    driven.begin(parcel("a b", Body::SevenBit));
    assert_eq!(driven.rulings(), "ee");
}
