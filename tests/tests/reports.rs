//! Reports on their way: the spool, the outbound side and a scripted next hop on loopback.

#![forbid(unsafe_code)]

use std::time::Duration;

use relay::event::Event;
use relay::mail::envelope::{Envelope, Wish};
use relay::smtp::parameter::{Notify, Return};
use tests::peer::{Manners, Peer, Seen};
use tests::sender::Relay;

const BODY: &str = "From: s@example.net\r\nSubject: hello\r\n\r\nthe whole of it\r\n";

fn wishing(notify: Notify) -> impl FnOnce(&mut Envelope) {
    move |envelope| {
        let recipient = envelope.recipients[0].clone();
        envelope.terms.wishes = vec![Wish { recipient, notify: Some(notify), original: None }];
        envelope.terms.envelope_id = Some("batch 9".into());
    }
}

/// A peer that puts a@example.com off whenever the tests here ask.
fn busy() -> Manners {
    let instead = vec![("RCPT TO:<a@", "451 4.2.1 try again later"); 10_000];
    Manners { instead, ..Manners::default() }
}

/// Waits until the peer was asked for a@example.com so often; returns the reports that came.
async fn attempts(peer: &mut Peer, mut count: u32) -> Vec<String> {
    let mut reports = Vec::new();
    while count > 0 {
        match peer.next().await {
            Seen::Command(command) if command.starts_with("RCPT TO:<a@") => count -= 1,
            Seen::Message(text) => {
                reports.push(String::from_utf8(text).expect("the test relay works"));
            }
            Seen::Command(_) | Seen::Connected | Seen::Closed => {}
        }
    }
    reports
}

#[tokio::test]
async fn the_sender_hears_once_that_mail_is_late_even_over_a_restart() {
    let mut peer = Peer::start(busy()).await.unwrap();
    let relay = Relay::start(&peer, |config| config.retry.delay_report = Duration::ZERO);
    let about = relay.submit(BODY.as_bytes(), |_| {}).await;
    let report = String::from_utf8(peer.message().await).unwrap();
    for line in ["Action: delayed", "Status: 4.2.1", &format!("Final-Log-ID: {about}")] {
        assert!(report.contains(&format!("\r\n{line}\r\n")), "{line}\n{report}");
    }
    assert!(report.contains("\r\nWill-Retry-Until: "), "{report}");
    assert!(report.contains("\r\nTo: <s@example.net>\r\n"), "{report}");
    assert_eq!(attempts(&mut peer, 3).await, Vec::<String>::new());
    let relay = relay.restarted().await;
    assert_eq!(attempts(&mut peer, 3).await, Vec::<String>::new());
    let (events, left) = relay.stop().await;
    assert_eq!(left, 1, "it is still tried");
    assert!(!events.iter().any(|event| matches!(event, Event::Notified { .. })), "{events:?}");
}

#[tokio::test]
async fn who_asked_for_success_hears_that_a_hop_without_dsn_took_the_message() {
    let mut peer = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&peer, |_| {});
    let on = Notify::On { success: true, failure: false, delay: false };
    relay.submit(BODY.as_bytes(), wishing(on)).await;
    assert_eq!(peer.message().await, BODY.as_bytes());
    let report = String::from_utf8(peer.message().await).unwrap();
    for line in ["Action: relayed", "Original-Envelope-Id: batch 9", "Subject: hello"] {
        assert!(report.contains(&format!("\r\n{line}\r\n")), "{line}\n{report}");
    }
    assert!(!report.contains("the whole of it"), "the header alone");
    let (_, left) = relay.stop().await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_whole_message_comes_back_to_who_asked_for_it() {
    let instead = vec![("RCPT TO:<a@", "550 5.1.1 no such user")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&peer, |_| {});
    relay.submit(BODY.as_bytes(), |envelope| envelope.terms.report = Some(Return::Full)).await;
    let report = String::from_utf8(peer.message().await).unwrap();
    let whole = format!("\r\nContent-Type: message/rfc822\r\n\r\n{BODY}\r\n--");
    assert!(report.contains(&whole), "{report}");
    relay.stop().await;
}

#[tokio::test]
async fn of_a_recipient_for_whom_he_said_never_the_sender_hears_nothing() {
    let instead = vec![("RCPT TO:<a@", "550 5.1.1 no such user")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&peer, |_| {});
    relay.submit(BODY.as_bytes(), wishing(Notify::Never)).await;
    assert_eq!(attempts(&mut peer, 1).await, Vec::<String>::new());
    let (events, left) = relay.stop().await;
    let names: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("Failed "), "{names:?}");
    assert!(names[1].starts_with("Settled("), "{names:?}");
    assert_eq!(left, 0);
}
