//! What a next hop offers and what it lacks, live on loopback.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mail_parser::MessageParser;
use relay::config::Config;
use relay::event::Event;
use relay::mail::envelope::{Body, Envelope, Terms, Wish};
use relay::smtp::address::Address;
use relay::smtp::parameter::{Notify, Priority, Return};
use tests::peer::{Manners, Peer, Seen};
use tests::sender::Relay;

const TEXT: &[u8] = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                      Content-Transfer-Encoding: 8bit\r\n\r\n.gr\xc3\xbcn\r\n";

/// Starts a relay whose only route leads to a peer in the clear.
fn start(peer: &Peer) -> Relay {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
         [spool]\npath = '{}'\nreserve = '0B'\n\
         [[route]]\nname = 'hop'\ndefault = true\nhosts = ['localhost:{}']\ntls = 'none'\n\
         connections = 1\n",
        folder.path().join("spool").display(),
        peer.address.port(),
    );
    let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    Relay::over(folder, config)
}

async fn submit(relay: &Relay, recipients: &[&str], body: Body, terms: Terms, message: &[u8]) {
    let adjust = |envelope: &mut Envelope| {
        envelope.recipients = recipients.iter().map(|to| to.parse().unwrap()).collect();
        (envelope.body, envelope.login, envelope.terms) = (body, None, terms);
    };
    relay.submit(message, adjust).await;
}

async fn peer(offers: &[&'static str]) -> Peer {
    let manners = Manners { before_tls: offers.to_vec(), ..Manners::default() };
    Peer::start(manners).await.unwrap()
}

/// Returns the commands up to the next message, and the message.
async fn transaction(peer: &mut Peer) -> (Vec<String>, Vec<u8>) {
    let mut commands = Vec::new();
    loop {
        match peer.next().await {
            Seen::Command(command) => commands.push(command),
            Seen::Message(message) => return (commands, message),
            Seen::Connected | Seen::Closed => {}
        }
    }
}

#[tokio::test]
async fn a_message_goes_in_one_chunk_with_all_that_was_asked_for() {
    let offers = ["PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME", "DSN", "MT-PRIORITY"];
    let mut peer = peer(&offers).await;
    let relay = start(&peer);
    let recipient: Address = "a@example.com".parse().unwrap();
    let terms = Terms {
        report: Some(Return::Headers),
        envelope_id: Some("a=b".into()),
        priority: Some(Priority::try_from(4).unwrap()),
        wishes: vec![Wish { recipient, notify: Some(Notify::Never), original: None }],
        ..Terms::default()
    };
    // Longer than any piece that is read or sent at once.
    let mut binary = b"Content-Transfer-Encoding: binary\r\n\r\n\r\n.\r\n\0\n.\r".to_vec();
    binary.extend((0..700_000_u32).map(|n| (n % 251) as u8));
    submit(&relay, &["a@example.com"], Body::Binary, terms, &binary).await;
    let (commands, message) = transaction(&mut peer).await;
    assert_eq!(
        commands[1..],
        [
            "MAIL FROM:<s@example.net> BODY=BINARYMIME RET=HDRS ENVID=a+3Db MT-PRIORITY=4",
            "RCPT TO:<a@example.com> NOTIFY=NEVER",
            &format!("BDAT {} LAST", binary.len()),
        ]
    );
    assert!(message == binary, "the octets are what they were");
    let (events, _) = relay.stop().await;
    assert!(matches!(events[..], [Event::Delivered { .. }, Event::Settled(_)]), "{events:?}");
}

#[tokio::test]
async fn a_hop_of_seven_bits_gets_the_same_text_in_seven_bits() {
    for offers in [&["SIZE 1000"][..], &["PIPELINING", "CHUNKING"]] {
        let mut peer = peer(offers).await;
        let relay = start(&peer);
        submit(&relay, &["a@example.com"], Body::EightBit, Terms::default(), TEXT).await;
        let (commands, message) = transaction(&mut peer).await;
        assert!(!commands.iter().any(|command| command.contains("BODY=")), "{commands:?}");
        assert!(message.is_ascii(), "{}", message.escape_ascii());
        let parsed = MessageParser::default().parse(&message).unwrap();
        assert_eq!(parsed.body_text(0).unwrap(), ".gr\u{fc}n\r\n");
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_hop_gets_no_more_recipients_in_one_transaction_than_it_takes() {
    let mut peer = peer(&["PIPELINING", "LIMITS RCPTMAX=2"]).await;
    let relay = start(&peer);
    let all = ["a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.com"];
    submit(&relay, &all, Body::SevenBit, Terms::default(), b"To: all\r\n\r\n").await;
    let mut named = Vec::new();
    for expected in [2, 2, 1] {
        let (commands, message) = transaction(&mut peer).await;
        let rcpt = |command: &String| command.strip_prefix("RCPT TO:<").map(str::to_owned);
        let recipients: Vec<_> = commands.iter().filter_map(rcpt).collect();
        assert_eq!((recipients.len(), message.as_slice()), (expected, &b"To: all\r\n\r\n"[..]));
        named.extend(recipients.iter().map(|text| text.trim_end_matches('>').to_owned()));
    }
    assert_eq!(named, all, "each once, without waiting");
    let (events, _) = relay.stop().await;
    assert!(matches!(events[..], [Event::Delivered { .. }, Event::Settled(_)]), "{events:?}");
}

#[tokio::test]
async fn refused_recipients_cost_no_connection_where_a_transaction_has_room_for_few() {
    let before_tls = vec!["PIPELINING", "LIMITS RCPTMAX=1"];
    let instead = vec![("RCPT TO:<a@", "550 5.1.1 nobody"), ("RCPT TO:<c@", "450 4.2.0 later")];
    let mut peer =
        Peer::start(Manners { before_tls, instead, ..Manners::default() }).await.unwrap();
    let relay = start(&peer);
    let all = ["a@example.com", "b@example.com", "c@example.com", "d@example.com"];
    submit(&relay, &all, Body::SevenBit, Terms::default(), b"To: all\r\n\r\n").await;
    let (mut connections, mut messages) = (0, 0);
    while messages < 2 {
        match peer.next().await {
            Seen::Connected => connections += 1,
            Seen::Message(_) => messages += 1,
            Seen::Command(_) | Seen::Closed => {}
        }
    }
    assert_eq!(connections, 1);
    let (events, _) = relay.stop().await;
    let is_put_off = |event: &&Event| matches!(event, Event::Deferred { .. });
    assert_eq!(events.iter().filter(is_put_off).count(), 1, "c alone waits: {events:?}");
}

#[tokio::test]
async fn signed_mail_that_a_hop_cannot_take_is_returned_as_it_was() {
    let mut peer = peer(&["PIPELINING"]).await;
    let relay = start(&peer);
    let signed = [b"DKIM-Signature: x\r\n", TEXT].concat();
    submit(&relay, &["a@example.com"], Body::EightBit, Terms::default(), &signed).await;
    let (commands, report) = transaction(&mut peer).await;
    assert!(!commands.iter().any(|command| command.contains("a@example.com")), "{commands:?}");
    let report = String::from_utf8(report).unwrap();
    assert!(report.contains("\r\nStatus: 5.6.3\r\n"), "{report}");
    assert!(report.contains("\r\nDKIM-Signature: x\r\n"), "{report}");
    relay.stop().await;
}
