//! Behind a load balancer: the client is where the PROXY header says, the gate judges the balancer.

use relay::session::{Credentials, Proof, Verdict};
use zeroize::Zeroizing;

use super::*;

/// 203.0.113.7:56324 to 192.0.2.1:2525, with a host name and a checksum behind it.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13\xcb\x00\x71\x07\xc0\x00\x02\x01\xdc\x04\x09\xdd\
                    \x03\x00\x04\xc4\x1e\xa4\x7b";
const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 2525\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// The client in both headers.
const BEHIND: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

impl House {
    /// A house that believes [`CLIENT`] what it says of its client.
    fn behind_a_balancer(caps: Caps, tls: ListenerTls) -> Self {
        Self::open_as(caps, tls, |config| config.listeners[0].proxy = vec![CLIENT.into()])
    }

    async fn introduced(&self, header: &[u8]) -> Client {
        let mut client = self.client().await;
        client.send(header).await;
        client
    }

    /// Returns the source and the tag of the one message, and its first line.
    async fn origin(&self) -> (Option<IpAddr>, Option<String>, String) {
        let claim = self.door.spool.claim().await;
        let envelope = claim.envelope();
        let (source, tag) = (envelope.source, envelope.tag.clone());
        let stored = claim.body().read_chunk().await.unwrap().unwrap();
        let stored = String::from_utf8(stored).unwrap();
        (source, tag, stored.lines().next().unwrap().to_owned())
    }
}

#[tokio::test]
async fn both_versions_name_the_client_and_the_tag_stays_the_balancers() {
    for header in [V1, V2] {
        let house = House::behind_a_balancer(MANY, ListenerTls::Starttls);
        let client = house.introduced(header).await;
        let mut client = house.logged_in(client).await;
        submit(&mut client).await;
        client.ask(".", "250 2.0.0").await;
        let (source, tag, received) = house.origin().await;
        assert_eq!((source, tag.as_deref()), (Some(BEHIND), Some("desk")));
        assert_eq!(received, "Received: from client.example.net ([203.0.113.7])");
        let events = house.journal.take();
        assert!(
            matches!(&events[..], [Event::Accepted { source, .. }] if *source == BEHIND),
            "{events:?}",
        );
    }
}

#[tokio::test]
async fn a_connection_for_itself_counts_as_the_balancer() {
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let house = House::behind_a_balancer(MANY, ListenerTls::Starttls);
        let client = house.introduced(header).await;
        let mut client = house.logged_in(client).await;
        submit(&mut client).await;
        client.ask(".", "250 2.0.0").await;
        assert_eq!(house.origin().await.0, Some(CLIENT));
    }
}

#[tokio::test]
async fn on_an_implicit_listener_the_header_comes_before_the_handshake() {
    for header in [V1, V2] {
        let house = House::behind_a_balancer(MANY, ListenerTls::Implicit);
        // The client does not wait, so header and handshake may come in one piece.
        let client = house.introduced(header).await;
        let mut client = client.secure(&house.certificate).await;
        client.expect("220 relay.example.net").await;
        client.ask("EHLO client.example.net", "250 ").await;
        client.ask(&format!("AUTH PLAIN {}", house.joe), "235 2.7.0").await;
        submit(&mut client).await;
        client.ask(".", "250 2.0.0").await;
        assert_eq!(house.origin().await.0, Some(BEHIND));
    }
}

#[tokio::test]
async fn a_balancer_without_a_good_header_is_closed_without_a_word_and_named_once() {
    let house = House::behind_a_balancer(MANY, ListenerTls::Starttls);
    let mut wrong = V2.to_vec();
    wrong[16] ^= 1;
    for opening in [&b"EHLO client.example.net\r\n"[..], b"PROXY TCP4 nonsense\r\n", &wrong[..]] {
        let mut client = house.introduced(opening).await;
        assert_eq!(client.read_to_close().await, "");
    }
    house.door.sessions.empty().await;
    let events = house.journal.take();
    let [Event::Trouble { room: "net", problem }] = &events[..] else { panic!("{events:?}") };
    let named = "proxy 127.0.0.3: the connection does not begin with a PROXY header";
    assert!(problem.ends_with(named), "{problem}");
}

#[tokio::test]
async fn a_health_check_that_only_connects_is_no_trouble() {
    let house = House::behind_a_balancer(MANY, ListenerTls::Starttls);
    drop(house.client().await);
    // Connections are accepted in their order: when this one is greeted the other has its place, or had it.
    house.introduced(V1).await.expect("220 ").await;
    tokio::time::timeout(SOON, house.door.sessions.empty()).await.unwrap();
    assert_eq!(house.journal.take(), []);
}

#[tokio::test]
async fn who_is_not_named_is_not_believed() {
    let house = House::open_as(MANY, ListenerTls::Starttls, |config| {
        config.listeners[0].proxy = vec![STRANGER.into()];
    });
    let mut client = house.introduced(V1).await;
    let said = client.read_to_close().await;
    // Before the greeting it is an early talker, after it a foreign protocol.
    let refused = said.starts_with("554 relay.example.net ") || said.contains("\r\n421 4.7.0 ");
    assert!(refused, "{said}");
    let mut plain = house.client().await;
    plain.expect("220 ").await;
}

#[tokio::test]
async fn sessions_are_limited_by_client_and_cut_by_balancer() {
    let house = House::behind_a_balancer(
        Caps { in_all: 9, from_source: 1, from_network: 9 },
        ListenerTls::Starttls,
    );
    let mut first = house.introduced(V1).await;
    first.expect("220 ").await;
    let mut other = house.introduced(b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n").await;
    other.expect("220 ").await;
    let mut second = house.introduced(V2).await;
    second.expect("421 relay.example.net too many sessions from this address").await;
    second.expect_close().await;
    assert_eq!(house.door.sessions.cut(|peer| peer == CLIENT), 0, "clients are not the gate's");
    assert_eq!(house.door.sessions.cut(|peer| peer != CLIENT), 2);
    first.expect("421 4.7.0").await;
    other.expect("421 4.7.0").await;
}

#[tokio::test]
async fn silent_connections_of_a_balancer_have_places_and_end_with_the_process() {
    let house = House::behind_a_balancer(
        Caps { in_all: 1, from_source: 9, from_network: 9 },
        ListenerTls::Starttls,
    );
    let mut silent = house.client().await;
    let mut more = house.client().await;
    more.expect("421 relay.example.net too many sessions").await;
    house.door.sessions.leave();
    silent.expect_close().await;
    tokio::time::timeout(SOON, house.door.sessions.empty()).await.unwrap();
}

#[tokio::test]
async fn failed_logins_count_for_the_client_and_not_for_the_balancer() {
    let house = House::behind_a_balancer(MANY, ListenerTls::Starttls);
    for _ in 0..5 {
        let password = Zeroizing::new(b"wrong".to_vec());
        let shown = Credentials { login: "joe".to_owned(), password, acts_as: None };
        let proof = Proof::Password(shown);
        assert_eq!(house.door.logins.verify(BEHIND, proof).await, Verdict::Denied);
    }
    let mut guessing = house.introduced(V1).await;
    guessing = house.secured(guessing).await;
    guessing.ask(&format!("AUTH PLAIN {}", house.joe), "454 4.7.0").await;
    let other = house.introduced(b"PROXY TCP4 203.0.113.8 192.0.2.1 1 2\r\n").await;
    house.logged_in(other).await;
}

#[tokio::test]
async fn a_filter_behind_a_balancer_is_offered_xclient_and_its_place_moves() {
    let caps = Caps { in_all: 9, from_source: 1, from_network: 9 };
    let house = House::open_as(caps, ListenerTls::Starttls, |config| {
        config.listeners[0].proxy = vec![CLIENT.into()];
        config.listeners[0].xclient = vec![CLIENT.into(), BEHIND.into()];
    });
    let client = house.introduced(V1).await;
    let mut filter = house.secured(client).await;
    filter.ask("XCLIENT ADDR=203.0.113.8", "220 relay.example.net").await;
    // The filter's own address has its place again, and the announced one has none left.
    let client = house.introduced(V1).await;
    let mut second = house.secured(client).await;
    second.ask("XCLIENT ADDR=203.0.113.8", "421 4.7.0 Too many sessions from this address").await;
    second.expect_close().await;
    // A balancer that is named for XCLIENT, too, does not lend the right to its clients.
    let client = house.introduced(b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n").await;
    let mut other = house.secured(client).await;
    other.ask("XCLIENT ADDR=203.0.113.1", "550 5.7.0").await;
}
