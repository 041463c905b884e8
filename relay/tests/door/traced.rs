//! The trace that a message belongs to, from its header section into the spool.

use relay::config::ListenerTls;

use crate::client::Client;
use crate::{House, MANY, SOON};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Sends a message with these fields, whole or in two pieces.
async fn send(client: &mut Client, fields: &str, body: &str) {
    client.ask("MAIL FROM:<joe@example.net>", "250 2.1.0").await;
    client.ask("RCPT TO:<a@example.com>", "250 2.1.5").await;
    client.ask("DATA", "354 ").await;
    client.send(format!("From: joe@example.net\r\n{fields}\r\n").as_bytes()).await;
    client.send(body.as_bytes()).await;
    client.ask(".", "250 2.0.0").await;
}

#[tokio::test]
async fn a_message_is_kept_with_its_trace_and_its_place_in_the_session() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut client = house.joe().await;
    let good = format!("Traceparent: {TRACE}\r\n");
    send(&mut client, &good, "short\r\n").await;
    send(&mut client, &good, &"a longer line of text\r\n".repeat(20_000)).await;
    send(&mut client, &good.replace("-01\r", "-1\r"), "gr\u{fc}n\r\n").await;
    send(&mut client, "", "none\r\n").await;
    let mut found = Vec::new();
    for _ in 0..4 {
        let claim = tokio::time::timeout(SOON, house.door.spool.claim()).await.unwrap();
        let envelope = claim.envelope();
        let trace = envelope.trace.map(|trace| trace.to_string());
        found.push((trace, envelope.came.as_ref().unwrap().earlier));
    }
    found.sort_by_key(|(_, earlier)| *earlier);
    let trace = Some(TRACE.to_owned());
    assert_eq!(found, [(trace.clone(), 0), (trace, 1), (None, 2), (None, 3)]);
}
