//! Messages that come twice, since their clients do not know whether they were accepted.

use relay::event::Event;
use relay::mail::message::MessageId;
use relay::session::TlsStart;
use relay::spool::Repeats;

use crate::desk::{Desk, Store, config, plain};

const MAIL: &str = "MAIL FROM:<joe@example.net>\r\n";
const RCPT: &str = "RCPT TO:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n";
const TEXT: &str = "From: joe@example.net\r\nSubject: x\r\n\r\ny\r\n";

/// What a client says, from MAIL to the end of the message.
#[derive(Clone, Copy)]
struct Submission {
    login: &'static str,
    mail: &'static str,
    rcpt: &'static str,
    text: &'static str,
}

const FIRST: Submission = Submission { login: "joe", mail: MAIL, rcpt: RCPT, text: TEXT };

/// Returns a client that has logged in, at the store that remembers `repeats`.
fn connect(login: &str, repeats: Repeats, next_id: u64) -> Desk {
    let mut desk = Desk::new(config(""), TlsStart::Implicit);
    (desk.repeats, desk.next_id) = (Some(repeats), next_id);
    desk.obey();
    desk.secured();
    desk.send(b"EHLO client.example.net\r\n", usize::MAX);
    desk.send(format!("AUTH PLAIN {}\r\n", plain(login)).as_bytes(), usize::MAX);
    desk.sent.clear();
    desk
}

/// Submits a message and says nothing after its end; returns what was said to that.
fn submit(desk: &mut Desk, submission: Submission) -> String {
    desk.send(submission.mail.as_bytes(), usize::MAX);
    desk.send(submission.rcpt.as_bytes(), usize::MAX);
    desk.send(b"DATA\r\n", usize::MAX);
    desk.sent.clear();
    desk.send(format!("{}.\r\n", submission.text).as_bytes(), usize::MAX);
    std::mem::take(&mut desk.sent)
}

/// Loses the connection; returns what the store remembers, and the next id.
fn lose(mut desk: Desk) -> (Repeats, u64) {
    (desk.repeats.take().unwrap(), desk.next_id)
}

fn queued(id: u64) -> String {
    format!("250 2.0.0 OK, queued as {}\r\n", MessageId(id))
}

#[test]
fn the_same_submission_gets_the_first_id_if_nothing_was_said_after_it() {
    for (row, second, is_repeat) in [
        ("the same", FIRST, true),
        (
            "recipients turned round",
            Submission { rcpt: "RCPT TO:<b@example.com>\r\nRCPT TO:<a@example.com>\r\n", ..FIRST },
            true,
        ),
        (
            "another login",
            Submission { login: "few", mail: "MAIL FROM:<few@example.net>\r\n", ..FIRST },
            false,
        ),
        (
            "a parameter of MAIL",
            Submission { mail: "MAIL FROM:<joe@example.net> SIZE=100\r\n", ..FIRST },
            false,
        ),
        ("a recipient less", Submission { rcpt: "RCPT TO:<a@example.com>\r\n", ..FIRST }, false),
        (
            "another recipient",
            Submission { rcpt: "RCPT TO:<a@example.com>\r\nRCPT TO:<c@example.com>\r\n", ..FIRST },
            false,
        ),
        (
            "another text",
            Submission { text: "From: joe@example.net\r\nSubject: x\r\n\r\nz\r\n", ..FIRST },
            false,
        ),
        (
            "a field in another case",
            Submission { text: "from: joe@example.net\r\nSubject: x\r\n\r\ny\r\n", ..FIRST },
            false,
        ),
    ] {
        let mut desk = connect("joe", Repeats::default(), 7);
        assert_eq!(submit(&mut desk, FIRST), queued(7), "{row}");
        let (repeats, next_id) = lose(desk);
        let mut desk = connect(second.login, repeats, next_id);
        let said = submit(&mut desk, second);
        assert_eq!(said, queued(if is_repeat { 7 } else { 8 }), "{row}");
        assert_eq!(desk.stored.len(), usize::from(!is_repeat), "{row}");
        let is_told = matches!(desk.events[..], [Event::Repeated { id: MessageId(7), .. }]);
        assert_eq!(is_told, is_repeat, "{row}: {:?}", desk.events);
    }
}

#[test]
fn what_is_said_after_the_250_confirms_it() {
    for (row, said, confirmed) in [
        ("nothing: the connection ends", "", false),
        ("half a command", "NOO", false),
        ("NOOP", "NOOP\r\n", true),
        ("QUIT", "QUIT\r\n", true),
        ("RSET", "RSET\r\n", true),
        ("the next MAIL", MAIL, true),
        ("a command that is none", "XYZZY\r\n", true),
    ] {
        let mut desk = connect("joe", Repeats::default(), 7);
        assert_eq!(submit(&mut desk, FIRST), queued(7));
        desk.send(said.as_bytes(), 1);
        assert_eq!(desk.confirmed, if confirmed { &[MessageId(7)][..] } else { &[] }, "{row}");
        let (repeats, next_id) = lose(desk);
        let mut desk = connect("joe", repeats, next_id);
        let id = if confirmed { 8 } else { 7 };
        assert_eq!(submit(&mut desk, FIRST), queued(id), "{row}");
    }
}

#[test]
fn a_command_that_was_sent_ahead_of_the_250_does_not_confirm_it() {
    let mut desk = connect("joe", Repeats::default(), 7);
    for line in [MAIL, RCPT, "DATA\r\n"] {
        desk.send(line.as_bytes(), usize::MAX);
    }
    desk.send(format!("{TEXT}.\r\nNOOP\r\nRSET\r\n").as_bytes(), usize::MAX);
    assert_eq!(desk.confirmed, []);
    desk.send(b"NOOP\r\n", usize::MAX);
    assert_eq!(desk.confirmed, [MessageId(7)]);
}

/// A 354 comes after the 250 on the wire: who waits for it has seen both.
#[test]
fn a_body_that_came_after_the_354_confirms_the_250_before_it() {
    let mut desk = connect("joe", Repeats::default(), 7);
    for line in [MAIL, RCPT, "DATA\r\n"] {
        desk.send(line.as_bytes(), usize::MAX);
    }
    desk.send(format!("{TEXT}.\r\n{MAIL}{RCPT}DATA\r\n").as_bytes(), usize::MAX);
    assert_eq!(desk.confirmed, [], "all of this was sent before there was a 250");
    desk.sent.clear();
    desk.send(format!("{TEXT}.\r\n").as_bytes(), usize::MAX);
    assert_eq!(desk.confirmed, [MessageId(7)]);
    assert_eq!(desk.sent, queued(8));
    assert_eq!(desk.stored.len(), 2);
}

#[test]
fn the_answer_to_a_repeat_is_confirmed_as_the_first_would_have_been() {
    let mut desk = connect("joe", Repeats::default(), 7);
    assert_eq!(submit(&mut desk, FIRST), queued(7));
    let (repeats, next_id) = lose(desk);
    let mut desk = connect("joe", repeats, next_id);
    assert_eq!(submit(&mut desk, FIRST), queued(7));
    let (repeats, next_id) = lose(desk);
    let mut desk = connect("joe", repeats, next_id);
    assert_eq!(submit(&mut desk, FIRST), queued(7), "nothing was said after the second either");
    desk.send(b"NOOP\r\n", usize::MAX);
    assert_eq!(desk.confirmed, [MessageId(7)]);
    desk.sent.clear();
    assert_eq!(submit(&mut desk, FIRST), queued(desk.next_id - 1));
    assert_eq!(desk.stored.len(), 1);
}

#[test]
fn a_message_that_was_refused_is_new_when_it_comes_again() {
    let mut desk = connect("joe", Repeats::default(), 7);
    desk.store = Store::Fails;
    assert_eq!(&submit(&mut desk, FIRST)[..4], "451 ");
    let (repeats, next_id) = lose(desk);
    let mut desk = connect("joe", repeats, next_id);
    assert_eq!(submit(&mut desk, FIRST), queued(8));
    assert_eq!(desk.confirmed, []);
}

#[test]
fn a_message_by_bdat_comes_again_chunk_by_chunk() {
    let send = |desk: &mut Desk, cuts: &[usize]| {
        desk.send(MAIL.as_bytes(), usize::MAX);
        desk.send(RCPT.as_bytes(), usize::MAX);
        let mut rest = TEXT;
        for cut in cuts {
            let (now, later) = rest.split_at(*cut);
            desk.send(format!("BDAT {cut}\r\n{now}").as_bytes(), usize::MAX);
            rest = later;
        }
        desk.sent.clear();
        desk.send(format!("BDAT {} LAST\r\n{rest}", rest.len()).as_bytes(), usize::MAX);
        std::mem::take(&mut desk.sent)
    };
    let mut desk = connect("joe", Repeats::default(), 7);
    assert_eq!(send(&mut desk, &[10, 5]), queued(7));
    let (repeats, next_id) = lose(desk);
    let mut desk = connect("joe", repeats, next_id);
    assert_eq!(send(&mut desk, &[20]), queued(7), "where the chunks are cut makes no difference");
    assert_eq!(desk.stored.len(), 0);
}

/// By BDAT a client may send one transaction behind the other (RFC 3030, section 4.2).
fn group(texts: &[&str]) -> String {
    let one = |text: &&str| format!("{MAIL}{RCPT}BDAT {} LAST\r\n{text}", text.len());
    texts.iter().map(one).collect()
}

#[test]
fn a_text_sent_twice_in_one_session_is_two_messages() {
    for step in [usize::MAX, 100, 1] {
        let mut desk = connect("joe", Repeats::default(), 7);
        desk.send(group(&[TEXT; 3]).as_bytes(), step);
        assert_eq!(desk.confirmed.len(), if step == usize::MAX { 0 } else { 2 }, "by {step}");
        for id in 7..10 {
            assert!(desk.sent.contains(&queued(id)), "by {step}: {}", desk.sent);
        }
        assert_eq!(desk.stored.len(), 3, "by {step}");
    }
}

#[test]
fn a_group_that_comes_again_gets_the_ids_of_the_first() {
    let other = &TEXT.replace('y', "z");
    let mut desk = connect("joe", Repeats::default(), 7);
    desk.send(group(&[TEXT, other, TEXT]).as_bytes(), usize::MAX);
    let (repeats, next_id) = lose(desk);
    let mut desk = connect("joe", repeats, next_id);
    desk.send(group(&[TEXT, other, TEXT, TEXT]).as_bytes(), usize::MAX);
    let told: Vec<&str> = desk.sent.lines().filter(|line| line.contains("queued")).collect();
    let last = desk.next_id - 1;
    assert_eq!(told, [7, 8, 9, last].map(queued).each_ref().map(|line| line.trim_end()));
    assert_eq!(desk.stored.len(), 1, "only the fourth is new");
}

#[test]
fn a_command_after_a_group_confirms_all_of_it() {
    let other = &TEXT.replace('y', "z");
    let mut desk = connect("joe", Repeats::default(), 7);
    desk.send(group(&[TEXT, other]).as_bytes(), usize::MAX);
    assert_eq!(desk.confirmed, []);
    desk.send(b"QUIT\r\n", usize::MAX);
    assert_eq!(desk.confirmed, [MessageId(7), MessageId(8)]);
    let (repeats, next_id) = lose(desk);
    let mut desk = connect("joe", repeats, next_id);
    assert_eq!(submit(&mut desk, FIRST), queued(9), "the first of a group is no repeat either");
}
