//! What was read of a client is written to the hop as it was.

use proptest::prelude::*;

use super::*;
use crate::delivery::carriage::By;
use crate::mail::envelope::{Body, Terms, Wish};
use crate::smtp::address::ReversePath;
use crate::smtp::extension::Extensions;
use crate::smtp::parameter::{DeliverBy, MailParameters, RcptParameters};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Everything that a parameter needs.
const ALL: Offer = Offer {
    starttls: false,
    pipelining: false,
    eight_bit: true,
    chunking: true,
    binary: true,
    utf8: true,
    dsn: true,
    require_tls: true,
    priority: true,
    deliver_by: Some(0),
    size: Size::Unlimited,
    recipients_max: None,
    messages_max: None,
    plain: false,
    login: false,
};

fn carriage(octets: Octets, utf8: Option<Utf8>) -> Carriage {
    Carriage { by: By::Chunk, octets, utf8 }
}

/// A parcel whose client gave these parameters at [`NOW`].
fn parcel(mail: &str, rcpt: &str) -> Parcel {
    let read = MailParameters::read(mail, Extensions::ALL).unwrap();
    let wish = RcptParameters::read(rcpt, Extensions::ALL).unwrap();
    let recipient: Address = "r@example.com".parse().unwrap();
    let deadline = read.by.map(|DeliverBy { seconds, mode, trace }| Deadline {
        at: Timestamp::from_second(seconds).unwrap(),
        mode,
        trace,
    });
    let wish = Wish { recipient: recipient.clone(), notify: wish.notify, original: wish.original };
    Parcel {
        sender: ReversePath::Mailbox("s@example.net".parse().unwrap()),
        recipients: vec![recipient],
        body: Body::SevenBit,
        size_bytes: 7,
        terms: Terms {
            utf8: read.utf8,
            require_tls: read.require_tls,
            report: read.report,
            envelope_id: read.envelope_id,
            hold_until: None,
            deadline,
            priority: read.priority,
            wishes: vec![wish],
        },
    }
}

fn commands(parcel: &Parcel, offer: Offer, carriage: Carriage) -> String {
    let mail = mail(parcel, offer, carriage, NOW);
    mail + &rcpt(parcel, &parcel.recipients[0], offer, carriage)
}

#[test]
fn parameters_go_on_to_hops_that_know_them_and_to_no_others() {
    let asked = "REQUIRETLS RET=HDRS ENVID=a+2Bb+3D BY=120;RT MT-PRIORITY=-3";
    let parcel = parcel(asked, "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@example.org");
    let seven = carriage(Octets::SevenBit, None);
    let rows = [
        (
            ALL,
            "MAIL FROM:<s@example.net> SIZE=7 REQUIRETLS RET=HDRS ENVID=a+2Bb+3D BY=120;RT \
             MT-PRIORITY=-3\r\n\
             RCPT TO:<r@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@example.org\r\n",
        ),
        (
            Offer { dsn: false, deliver_by: None, ..ALL },
            "MAIL FROM:<s@example.net> SIZE=7 REQUIRETLS MT-PRIORITY=-3\r\n\
             RCPT TO:<r@example.com>\r\n",
        ),
        (Offer::default(), "MAIL FROM:<s@example.net>\r\nRCPT TO:<r@example.com>\r\n"),
    ];
    for (offer, expected) in rows {
        assert_eq!(commands(&parcel, offer, seven), expected);
    }
}

#[test]
fn the_body_and_smtputf8_are_named_as_they_travel() {
    let parcel = parcel("SMTPUTF8", "NOTIFY=NEVER ORCPT=utf-8;j\u{f6}@example.org");
    let rows = [
        (Octets::SevenBit, None, "", "\\x{F6}"),
        (Octets::EightBit, None, " BODY=8BITMIME", "\\x{F6}"),
        (Octets::EightBit, Some(Utf8), " BODY=8BITMIME SMTPUTF8", "\u{f6}"),
        (Octets::Binary, Some(Utf8), " BODY=BINARYMIME SMTPUTF8", "\u{f6}"),
    ];
    for (octets, utf8, parameters, letter) in rows {
        let expected = format!(
            "MAIL FROM:<s@example.net> SIZE=7{parameters}\r\n\
             RCPT TO:<r@example.com> NOTIFY=NEVER ORCPT=utf-8;j{letter}@example.org\r\n"
        );
        assert_eq!(commands(&parcel, ALL, carriage(octets, utf8)), expected);
    }
}

#[test]
fn a_deadline_goes_on_with_the_time_that_is_left() {
    let seven = carriage(Octets::SevenBit, None);
    let rows =
        [("BY=100;N", 30, " BY=70;N"), ("BY=10;NT", 30, " BY=-20;NT"), ("BY=31;R", 30, " BY=1;R")];
    for (asked, later, expected) in rows {
        let now = Timestamp::from_second(later).unwrap();
        let line = mail(&parcel(asked, "NOTIFY=NEVER"), ALL, seven, now);
        assert!(line.contains(expected), "{line}");
    }
}

proptest! {
    #[test]
    fn what_a_client_asked_of_dsn_is_read_the_same_by_the_hop(
        id in "[!-~]{1,30}",
        address in "[!-~]{1,60}",
        notify in prop::sample::select(vec!["NEVER", "SUCCESS", "FAILURE,DELAY"]),
    ) {
        let asked = format!("RET=FULL ENVID={}", xtext::encode(&id));
        let wish = format!("NOTIFY={notify} ORCPT=rfc822;{}", xtext::encode(&address));
        let written = commands(&parcel(&asked, &wish), ALL, carriage(Octets::SevenBit, None));
        let (mail, rcpt) = written.trim_end().split_once("\r\n").unwrap();
        let read = MailParameters::read(mail.split_once(' ').unwrap().1.split_once(' ').unwrap().1, Extensions::ALL).unwrap();
        prop_assert_eq!(read.envelope_id, Some(id));
        let text = rcpt.split_once(' ').unwrap().1.split_once(' ').unwrap().1;
        let read = RcptParameters::read(text, Extensions::ALL).unwrap();
        prop_assert_eq!(read.original.unwrap().address, address);
        prop_assert_eq!(Some(read.notify), RcptParameters::read(&wish, Extensions::ALL).ok().map(|read| read.notify));
    }
}
