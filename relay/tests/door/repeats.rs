//! Messages that come twice over real connections.

use relay::event::Event;

use crate::client::Client;
use crate::{House, MANY, submit};

const QUEUED: &str = "250 2.0.0 OK, queued as ";

/// Returns the answer to a whole message that is sent by a client of its own, with what it sends
/// behind the final dot, ahead of the answer.
async fn once(house: &House, ahead: &str) -> (Client, String) {
    let mut client = house.joe().await;
    submit(&mut client).await;
    client.send(b".\r\n").await;
    for line in ahead.split_inclusive('\n') {
        client.send(line.as_bytes()).await;
    }
    client.expect(QUEUED).await;
    let events = house.journal.take();
    let id = match &events[..] {
        [Event::Accepted { id, .. } | Event::Repeated { id, .. }] => id.to_string(),
        other => panic!("{other:?}"),
    };
    (client, id)
}

#[tokio::test]
async fn a_client_that_lost_its_connection_gets_the_first_id_and_its_message_is_stored_once() {
    let house = House::open(MANY, relay::config::ListenerTls::Starttls);
    let (client, first) = once(&house, "").await;
    drop(client);
    let (mut client, again) = once(&house, "").await;
    assert_eq!((again, house.messages()), (first.clone(), 1));
    client.ask("NOOP", "250 2.0.0").await;
    let (mut client, new) = once(&house, "").await;
    assert_ne!(new, first, "the client knew of the first");
    assert_eq!(house.messages(), 2);
    client.ask("QUIT", "221 2.0.0").await;
    client.expect_close().await;
    assert_ne!(once(&house, "").await.1, new, "QUIT tells that it was heard");
}

#[tokio::test]
async fn what_was_sent_before_the_answer_does_not_confirm_it() {
    let house = House::open(MANY, relay::config::ListenerTls::Starttls);
    let (client, first) = once(&house, "NOOP\r\nRSET\r\n").await;
    drop(client);
    let (mut client, again) = once(&house, "NOOP\r\n").await;
    assert_eq!(again, first);
    client.expect("250 2.0.0").await;
    client.ask("NOOP", "250 2.0.0").await;
    assert_ne!(once(&house, "").await.1, first);
}

#[tokio::test]
async fn what_was_sent_before_the_answer_confirms_nothing_though_it_is_read_piece_by_piece() {
    let house = House::open(MANY, relay::config::ListenerTls::Starttls);
    // Some times what is read from a socket at once.
    let noop = format!("NOOP {}\r\n", "x".repeat(490));
    let (mut client, first) = once(&house, &noop.repeat(30)).await;
    for _ in 0..30 {
        client.expect("250 2.0.0").await;
    }
    drop(client);
    let (mut client, again) = once(&house, "").await;
    assert_eq!(again, first);
    client.ask("NOOP", "250 2.0.0").await;
    assert_ne!(once(&house, "").await.1, first);
}
