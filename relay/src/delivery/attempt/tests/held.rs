//! Messages that are looked at before they go, and what the hop's limits and extensions change.

use super::driven::{Driven, parcel, ready};
use crate::delivery::action::End;
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::Ruling;
use crate::mail::envelope::Body;
use crate::mail::outcome::Relayed;
use crate::smtp::address::{Address, Charset, ReversePath};
use crate::smtp::parameter::Utf8;
use crate::smtp::reply::Enhanced;

/// Begins with `message` at a hop that offers `keywords`, up to the first command.
fn begin(keywords: &str, message: &[u8], adjust: impl FnOnce(&mut Parcel)) -> Driven {
    let mut driven = ready(keywords);
    let mut parcel = parcel("a b", Body::EightBit);
    parcel.size_bytes = message.len() as u64;
    adjust(&mut parcel);
    driven.begin(parcel);
    if driven.read_body == 1 {
        driven.body(message);
    }
    driven
}

const TEXT: &[u8] = "MIME-Version: 1.0\r\n\r\n\u{fc}\r\n".as_bytes();
const ENCODED: &str =
    "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n";

#[test]
fn eight_bit_mail_goes_to_a_seven_bit_hop_converted() {
    for (keywords, start) in
        [("PIPELINING,SIZE", "DATA\r\n"), ("PIPELINING,SIZE,CHUNKING", "BDAT 74 LAST\r\n")]
    {
        let mut driven = begin(keywords, TEXT, |_| {});
        assert_eq!(
            driven.take_sent(),
            "MAIL FROM:<s@example.net> SIZE=74\r\n\
             RCPT TO:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
        );
        driven.hop("250 ok\r\n250 ok\r\n250 ok\r\n");
        if keywords.ends_with("SIZE") {
            driven.hop("354 go\r\n");
        }
        let end = if keywords.ends_with("SIZE") { ".\r\n" } else { "" };
        assert_eq!(driven.take_sent(), format!("{start}{ENCODED}{end}"));
        driven.hop("250 ok\r\n");
        assert_eq!((driven.rulings().as_str(), driven.ready), ("dd", 1));
    }
}

#[test]
fn a_large_message_leaves_memory_whole() {
    let mut message = TEXT.to_vec();
    message.resize(200_000, b'a');
    for place in (100..message.len()).step_by(70) {
        message[place..place + 2].copy_from_slice(b"\r\n");
    }
    let mut driven = begin("PIPELINING", &message, |_| {});
    driven.hop("250 ok\r\n250 ok\r\n250 ok\r\n");
    driven.take_sent();
    driven.hop("354 go\r\n");
    let sent = driven.take_sent();
    let body = sent.strip_suffix(".\r\n").unwrap().replace("=\r\n", "").replace("=C3=BC", "\u{fc}");
    let coding = "Content-Transfer-Encoding: quoted-printable\r\n";
    assert_eq!(body.replace(coding, "").as_bytes(), message);
}

/// A message, what the hop offers, what the client asked for, and the status of the failure.
type Row = (&'static str, &'static [u8], &'static str, fn(&mut Parcel), Enhanced);

#[test]
fn what_cannot_be_converted_fails_without_a_word_and_the_connection_stays() {
    let utf8 = |parcel: &mut Parcel| parcel.terms.utf8 = Some(Utf8);
    let rows: [Row; 4] = [
        ("signed", b"DKIM-Signature: x\r\n\r\n\xfc\r\n", "SIZE", |_| {}, Enhanced(5, 6, 3)),
        ("headers", b"Subject: \xc3\xbc\r\n\r\na\r\n", "8BITMIME", utf8, Enhanced(5, 6, 9)),
        ("no structure", b"Content-Type: x\r\n\r\n\xfc\r\n", "SIZE", |_| {}, Enhanced(5, 6, 1)),
        ("grown above SIZE", TEXT, "SIZE 50", |_| {}, Enhanced(5, 3, 4)),
    ];
    for (name, message, keywords, adjust, status) in rows {
        let mut driven = begin(keywords, message, adjust);
        assert_eq!((driven.rulings().as_str(), driven.take_sent().as_str()), ("ff", ""), "{name}");
        assert_eq!(driven.judged[0][1].status, Some(status), "{name}");
        assert_eq!(driven.ready, 1, "{name}");
    }
}

#[test]
fn headers_of_us_ascii_need_no_smtputf8_whatever_the_client_said() {
    let message = "Subject: a\r\n\r\n\u{fc}\r\n".as_bytes();
    let mut driven = begin("8BITMIME", message, |parcel| parcel.terms.utf8 = Some(Utf8));
    assert_eq!(driven.take_sent(), "MAIL FROM:<s@example.net> BODY=8BITMIME\r\n");
}

#[test]
fn a_message_that_the_spool_gives_cut_or_long_waits() {
    for size in [TEXT.len() as u64 - 1, TEXT.len() as u64 + 1] {
        let mut driven = begin("SIZE", TEXT, |parcel| parcel.size_bytes = size);
        assert_eq!((driven.rulings().as_str(), driven.take_sent().as_str()), ("ww", ""));
    }
    let mut driven = begin("CHUNKING,8BITMIME", TEXT, |parcel| parcel.size_bytes += 1);
    driven.hop("250 ok\r\n").hop("250 ok\r\n").hop("250 ok\r\n").body(TEXT);
    assert_eq!(driven.rulings(), "ww");
    assert!(matches!(driven.end, Some(End::Unfit(_))), "the hop waits for more");
}

#[test]
fn a_message_that_finds_no_room_in_memory_waits_its_turn_and_the_connection_stays() {
    let mut driven = ready("SIZE");
    driven.room = 31;
    driven.begin(parcel("a b", Body::EightBit));
    assert_eq!((driven.read_body, driven.take_sent().as_str(), driven.ready), (0, "", 1));
    assert!(driven.judged[0].iter().all(|judged| judged.ruling == Ruling::Postponed));
    driven.room = 32;
    assert_eq!(driven.begin(parcel("a b", Body::EightBit)).read_body, 1, "four times its octets");
}

#[test]
fn a_hop_that_speaks_while_the_message_is_gathered_is_left() {
    for words in ["421 bye\r\n", "250 ok\r\n", "550 no\r\n"] {
        let mut driven = ready("SIZE");
        driven.begin(parcel("a b", Body::EightBit)).hop(words);
        assert_eq!((driven.rulings().as_str(), driven.take_sent().as_str()), ("ee", ""), "{words}");
        assert!(matches!(driven.end, Some(End::Unfit(_))), "{words}");
    }
}

#[test]
fn recipients_in_utf8_fail_alone_at_a_hop_without_smtputf8() {
    let foreign = || Address::read("j\u{f6}@example.com", Charset::Utf8).unwrap();
    let adjust = |parcel: &mut Parcel| {
        parcel.terms.utf8 = Some(Utf8);
        parcel.recipients.insert(1, foreign());
    };
    let message = b"Subject: a\r\n\r\na\r\n";
    let mut driven = begin("8BITMIME,PIPELINING", message, adjust);
    assert!(!driven.take_sent().contains('\u{f6}'));
    driven.hop("250 ok\r\n250 ok\r\n250 ok\r\n").hop("354 go\r\n").hop("250 ok\r\n");
    let judged = &driven.judged[0];
    assert_eq!((&judged[0].recipient, judged[0].status), (&foreign(), Some(Enhanced(5, 6, 7))));
    assert_eq!(driven.rulings(), "fdd");

    let mut driven = begin("8BITMIME,SMTPUTF8,PIPELINING", message, adjust);
    let sent = driven.take_sent();
    assert!(sent.starts_with("MAIL FROM:<s@example.net> BODY=8BITMIME SMTPUTF8\r\n"), "{sent}");
    assert!(sent.contains("RCPT TO:<j\u{f6}@example.com>\r\n"));

    let only = |parcel: &mut Parcel| parcel.recipients = vec![foreign()];
    assert_eq!(begin("8BITMIME", message, only).rulings(), "f");
}

#[test]
fn a_domain_in_utf8_is_said_in_us_ascii_at_a_hop_without_smtputf8() {
    let read = |text| Address::read(text, Charset::Utf8).unwrap();
    let adjust = |parcel: &mut Parcel| {
        parcel.terms.utf8 = Some(Utf8);
        parcel.sender = ReversePath::Mailbox(read("s@b\u{fc}cher.example"));
        parcel.recipients = vec![read("jo@b\u{fc}cher.example")];
    };
    let message = b"Subject: a\r\n\r\na\r\n";
    let mut driven = begin("8BITMIME,PIPELINING", message, adjust);
    assert_eq!(
        driven.take_sent(),
        "MAIL FROM:<s@xn--bcher-kva.example> BODY=8BITMIME\r\n\
         RCPT TO:<jo@xn--bcher-kva.example>\r\n"
    );
    driven.hop("250 ok\r\n250 ok\r\n").hop("354 go\r\n").hop("250 ok\r\n");
    let judged = &driven.judged[0][0];
    assert_eq!(judged.recipient, read("jo@b\u{fc}cher.example"), "it is known as it was written");
    assert_eq!(driven.rulings(), "d");
    let mut driven = begin("8BITMIME,SMTPUTF8,PIPELINING", message, adjust);
    assert!(driven.take_sent().contains("RCPT TO:<jo@b\u{fc}cher.example>\r\n"));
}

#[test]
fn a_delivery_says_whether_the_hop_keeps_dsn() {
    for (keywords, relayed) in [("DSN", Relayed::WithDsn), ("SIZE", Relayed::WithoutDsn)] {
        let mut driven = ready(keywords);
        driven.begin(parcel("a", Body::SevenBit)).hop("250 a\r\n").hop("250 b\r\n");
        driven.hop("354 go\r\n").body(b"x\r\n").hop("250 ok\r\n");
        assert_eq!(driven.judged[0][0].relayed, relayed, "{keywords}");
    }
}

#[test]
fn the_limits_of_a_hop_are_kept() {
    let rows = [("SIZE", 100), ("LIMITS RCPTMAX=3", 3), ("LIMITS RCPTMAX=1000", 100)];
    for (keywords, room) in rows {
        assert_eq!(ready(keywords).attempt.room(), room, "{keywords}");
    }
    let mut driven = ready("LIMITS MAILMAX=1");
    driven.begin(parcel("a", Body::SevenBit)).hop("550 no\r\n").hop("250 reset\r\n");
    assert!(driven.take_sent().ends_with("RSET\r\nQUIT\r\n"), "one MAIL was all");
}

#[test]
fn a_parcel_is_split_by_room_and_loses_nobody() {
    let mut whole = parcel("a b c d e", Body::SevenBit);
    let mut sizes = Vec::new();
    let mut next = Some(whole.clone());
    while let Some(mut parcel) = next {
        next = parcel.split_off(2);
        sizes.push(parcel.recipients.len());
        assert_eq!(
            parcel.recipients,
            whole.recipients.drain(..parcel.recipients.len()).collect::<Vec<_>>()
        );
    }
    assert_eq!((sizes, whole.recipients.len()), (vec![2, 2, 1], 0));
}
