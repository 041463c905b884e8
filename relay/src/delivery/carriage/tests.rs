//! The table of the module, row by row.

use super::*;
use crate::mail::envelope::Terms;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::parameter::RequireTls;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A parcel from `sender`, with what stands in `asked`: UTF8, TLS, and BY in seconds.
fn parcel(sender: &str, body: Body, asked: &str) -> Parcel {
    let read = |text: &str| Address::read(text, Charset::Utf8).unwrap();
    let mut terms = Terms::default();
    for word in asked.split_whitespace() {
        match word.split_once('=') {
            None if word == "UTF8" => terms.utf8 = Some(Utf8),
            None if word == "TLS" => terms.require_tls = Some(RequireTls),
            Some((mode, seconds)) => {
                let at = Timestamp::from_second(seconds.parse().unwrap()).unwrap();
                let mode = if mode == "R" { ByMode::Return } else { ByMode::Notify };
                terms.deadline = Some(Deadline { at, mode, trace: false });
            }
            None => panic!("{word}"),
        }
    }
    Parcel {
        sender: ReversePath::Mailbox(read(sender)),
        recipients: vec![read("r@example.com")],
        body,
        size_bytes: 100,
        terms,
    }
}

/// A hop that offers what stands in `offered`, behind a name that was proved unless it says CLEAR.
fn hop(offered: &str) -> Hop {
    let mut offer = Offer::default();
    let mut protection = Protection::Proved;
    for word in offered.split_whitespace() {
        match word {
            "8BIT" => offer.eight_bit = true,
            "BDAT" => offer.chunking = true,
            "BINARY" => offer.binary = true,
            "UTF8" => offer.utf8 = true,
            "TLS" => offer.require_tls = true,
            "CLEAR" => protection = Protection::Unproved,
            "BY" => offer.deliver_by = Some(0),
            "BY60" => offer.deliver_by = Some(60),
            "SMALL" => offer.size = Size::Limit(99),
            "ENOUGH" => offer.size = Size::Limit(100),
            _ => panic!("{word}"),
        }
    }
    Hop { offer, protection, logged_in: LoggedIn::No }
}

fn shown(plan: &Plan) -> String {
    let how = |carriage: &Carriage| {
        let by = match carriage.by {
            By::Data => "DATA",
            By::Chunk => "BDAT",
        };
        let utf8 = if carriage.utf8.is_some() { " UTF8" } else { "" };
        format!("{by} {:?}{utf8}", carriage.octets)
    };
    match plan {
        Plan::Go(carriage) => how(carriage),
        Plan::Hold(carriage, look) => format!("{} once {look:?}", how(carriage)),
        Plan::Refuse(Refusal { status: Enhanced(a, b, c), .. }) => format!("{a}.{b}.{c}"),
    }
}

#[test]
fn every_lack_of_a_hop_has_its_consequence() {
    use Body::{Binary, EightBit, SevenBit};
    let rows: &[(Body, &str, &str, &str)] = &[
        (SevenBit, "", "", "DATA SevenBit"),
        (SevenBit, "", "BDAT BINARY 8BIT", "BDAT SevenBit"),
        (EightBit, "", "8BIT", "DATA EightBit"),
        (EightBit, "", "8BIT BDAT", "BDAT EightBit"),
        (EightBit, "", "", "DATA SevenBit once Convert(Ascii)"),
        (EightBit, "", "BDAT BINARY", "BDAT SevenBit once Convert(Ascii)"),
        (Binary, "", "BDAT BINARY 8BIT", "BDAT Binary"),
        (Binary, "", "BDAT 8BIT", "BDAT SevenBit once Convert(Ascii)"),
        (Binary, "", "BINARY 8BIT", "DATA SevenBit once Convert(Ascii)"),
        (SevenBit, "UTF8", "", "DATA SevenBit"),
        (SevenBit, "UTF8", "UTF8 8BIT", "DATA SevenBit"),
        (EightBit, "UTF8", "UTF8 8BIT", "DATA EightBit UTF8"),
        (EightBit, "UTF8", "8BIT", "DATA EightBit once Headers"),
        (EightBit, "UTF8", "UTF8", "DATA SevenBit once Convert(Ascii)"),
        (EightBit, "UTF8", "", "DATA SevenBit once Convert(Ascii)"),
        (Binary, "UTF8", "UTF8 8BIT", "DATA EightBit UTF8 once Convert(Utf8)"),
        (EightBit, "", "UTF8 8BIT", "DATA EightBit"),
        (SevenBit, "TLS", "TLS", "DATA SevenBit"),
        (SevenBit, "TLS", "", "5.7.30"),
        (SevenBit, "TLS", "CLEAR TLS", "5.7.10"),
        (SevenBit, "R=60", "BY", "DATA SevenBit"),
        (SevenBit, "R=60", "BY60", "DATA SevenBit"),
        (SevenBit, "R=59", "BY60", "5.3.3"),
        (SevenBit, "R=60", "", "5.3.3"),
        (SevenBit, "R=0", "BY", "5.4.7"),
        (SevenBit, "R=-5", "", "5.4.7"),
        (SevenBit, "N=-5", "", "DATA SevenBit"),
        (SevenBit, "N=5", "BY60", "DATA SevenBit"),
        (SevenBit, "", "ENOUGH", "DATA SevenBit"),
        (SevenBit, "", "SMALL", "5.3.4"),
        (EightBit, "TLS R=0", "SMALL", "5.7.30"),
    ];
    for (body, asked, offered, expected) in rows {
        let found = plan(&parcel("s@example.net", *body, asked), hop(offered), NOW);
        assert_eq!(shown(&found), *expected, "{body:?}, asked {asked}, offered {offered}");
    }
    let foreign = parcel("j\u{f6}@example.net", SevenBit, "UTF8");
    assert_eq!(shown(&plan(&foreign, hop("8BIT"), NOW)), "5.6.7");
    assert_eq!(shown(&plan(&foreign, hop("8BIT UTF8"), NOW)), "DATA SevenBit UTF8");
}

#[test]
fn what_is_too_large_to_be_held_is_refused_with_the_limit() {
    let mut parcel = parcel("s@example.net", Body::EightBit, "");
    parcel.size_bytes = HELD_MAX;
    assert_eq!(shown(&plan(&parcel, hop(""), NOW)), "DATA SevenBit once Convert(Ascii)");
    parcel.size_bytes += 1;
    let Plan::Refuse(Refusal { status, words }) = plan(&parcel, hop(""), NOW) else { panic!() };
    assert_eq!(status, Enhanced(5, 6, 3));
    assert!(words.contains(&HELD_MAX.to_string()), "{words}");
}

#[test]
fn a_look_finds_what_the_hop_cannot_take() {
    let utf8 = "Subject: \u{fc}\r\nMIME-Version: 1.0\r\n\r\na\r\n".as_bytes();
    let text = "MIME-Version: 1.0\r\n\r\n\u{fc}\r\n".as_bytes();
    let signed = "DKIM-Signature: x\r\n\r\n\u{fc}\r\n".as_bytes();
    let broken = "MIME-Version: 1.0\r\nContent-Type: x\r\n\r\n\u{fc}\r\n".as_bytes();
    let rows = [
        ("headers", utf8, Look::Headers, "", Err(Enhanced(5, 6, 9))),
        ("headers to convert", utf8, Look::Convert(Charset::Ascii), "", Err(Enhanced(5, 6, 9))),
        ("text under US-ASCII", text, Look::Headers, "", Ok(())),
        ("text", text, Look::Convert(Charset::Ascii), "", Ok(())),
        ("a signature", signed, Look::Convert(Charset::Ascii), "", Err(Enhanced(5, 6, 3))),
        ("no structure", broken, Look::Convert(Charset::Ascii), "", Err(Enhanced(5, 6, 1))),
        ("within SIZE", &[b'a'; 99], Look::Headers, "SMALL", Ok(())),
        ("above SIZE", &[b'a'; 100], Look::Headers, "SMALL", Err(Enhanced(5, 3, 4))),
    ];
    for (name, message, what, offered, expected) in rows {
        let found = look(message.to_vec(), what, hop(offered).offer);
        assert_eq!(found.map(drop).map_err(|refusal| refusal.status), expected, "{name}");
    }
}
