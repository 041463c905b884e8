//! Which mail leaves when, live on loopback: routes that stand still, and mail that is not sent.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relay::config::Config;
use relay::event::Event;
use relay::journal::Journal;
use relay::mail::envelope::{Body, Envelope, Terms};
use relay::mail::message::MessageId;
use relay::net::outbound;
use relay::net::routes::Routes;
use relay::spool::{Filter, Place, Spool, StoreError, Stretch, Way};
use tempfile::TempDir;
use tests::peer::{Manners, Peer, Seen};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A spool, and a configuration whose routes lead to loopback.
struct Relay {
    _folder: TempDir,
    spool: Arc<Spool>,
    config: Arc<Config>,
    journal: Journal,
}

impl Relay {
    /// Makes one; `text` has its policies and routes.
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("the test relay works");
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
             [spool]\npath = '{}'\nreserve = '0B'\n{text}",
            folder.path().join("spool").display()
        );
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        let spool = Arc::new(Spool::open(&config.spool, |_| {}).expect("the test relay works"));
        Self { _folder: folder, spool, config: Arc::new(config), journal: Journal::memory() }
    }

    /// Puts a message into the spool that goes by `way` first.
    async fn submit(&self, recipients: &[&str], way: Way) -> MessageId {
        let body = format!("To: {}\r\n\r\n", recipients[0]);
        self.submit_body(recipients, body.as_bytes(), way).await
    }

    async fn submit_body(&self, recipients: &[&str], body: &[u8], way: Way) -> MessageId {
        let envelope = Envelope {
            sender: relay::smtp::address::ReversePath::Mailbox(
                "s@example.net".parse().expect("the test relay works"),
            ),
            recipients: recipients
                .iter()
                .map(|to| to.parse().expect("the test relay works"))
                .collect(),
            body: Body::SevenBit,
            login: Some("billing".into()),
            tag: None,
            source: Some("192.0.2.1".parse().expect("the test relay works")),
            received_at: Timestamp::now(),
            terms: Terms::default(),
            came: None,
            trace: None,
        };
        let mut draft = self.spool.draft(envelope).expect("the test relay works").toward(way);
        draft.append(body).await;
        draft.commit().await.expect("the test relay works")
    }

    /// Delivers until the sender is used or dropped.
    fn deliver(&self) -> (watch::Sender<bool>, JoinHandle<()>) {
        let (stop, stopped) = watch::channel(false);
        let (spool, config) = (Arc::clone(&self.spool), Arc::clone(&self.config));
        let routes = Routes::new(&config, &self.journal, &Arc::default());
        let run = outbound::run(spool, config, routes, self.journal.clone(), stopped);
        (stop, tokio::spawn(run))
    }
}

/// A route in the clear to a port of this machine.
fn route(name: &str, port: u16, more: &str) -> String {
    format!("[[route]]\nname = '{name}'\nhosts = ['localhost:{port}']\ntls = 'none'\n{more}\n")
}

fn in_the_clear() -> Manners {
    Manners { before_tls: vec!["PIPELINING", "8BITMIME"], ..Manners::default() }
}

#[tokio::test]
async fn a_route_that_stands_still_holds_up_no_other() {
    // It never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer::start(in_the_clear()).await.unwrap();
    let stuck = silent.local_addr().unwrap().port();
    let relay = Relay::new(
        &(route("stuck", stuck, "connections = 1\ndomains = ['stuck.example']")
            + &route("good", peer.address.port(), "default = true")),
    );
    let mut waiting = Vec::new();
    for _ in 0..20 {
        // The mark of half of them is one of an earlier configuration.
        let way = if waiting.len() % 2 == 0 { Way::of("stuck") } else { Way::of("former") };
        waiting.push(relay.submit(&["a@stuck.example"], way).await);
    }
    let both = ["b@good.example", "b@stuck.example"];
    relay.submit(&both, Way::of("good")).await;
    relay.submit(&["c@good.example"], Way::of("good")).await;
    let (stop, running) = relay.deliver();
    let arrived = [peer.message().await, peer.message().await];
    for to in ["b@good.example", "c@good.example"] {
        let line = format!("To: {to}\r\n\r\n").into_bytes();
        assert!(arrived.contains(&line), "{to}");
    }
    let page = relay.spool.list(Filter::default(), Stretch::default(), 100).await.unwrap();
    let stuck: Vec<_> = page.messages.iter().filter(|m| waiting.contains(&m.id)).collect();
    let claimed = stuck.iter().filter(|summary| summary.place == Place::Claimed).count();
    assert!(claimed <= 2, "one is on its way, one is ready to follow");
    for summary in stuck.iter().filter(|summary| summary.place == Place::Waiting) {
        assert_eq!(summary.attempts, 0);
        assert_eq!(summary.due_at, Some(summary.accepted_at), "it waits for room only");
    }
    drop((stop, silent));
    running.abort();
}

#[tokio::test]
async fn what_a_route_or_a_policy_captures_is_kept_and_not_sent() {
    let mut peer = Peer::start(in_the_clear()).await.unwrap();
    let text = route("good", peer.address.port(), "default = true")
        + "[[route]]\nname = 'kept'\ncapture = true\ndomains = ['kept.example']\n";
    let captured_by =
        |policy: &str| format!("[[policy]]\nlogin = 'billing'\nsenders = ['*']\n{policy}\n");
    let rows = [
        ("the route, for one of two", "", &["a@good.example", "a@kept.example"][..], 1, "kept"),
        ("the policy", "capture = true", &["a@good.example"][..], 0, "good"),
        (
            "the route, whatever the policy says",
            "capture = false",
            &["a@kept.example"][..],
            0,
            "kept",
        ),
    ];
    for (row, policy, recipients, sent, route) in rows {
        let relay = Relay::new(&(captured_by(policy) + &text));
        let id = relay.submit(recipients, Way::NONE).await;
        let (stop, running) = relay.deliver();
        captured(&relay, 1).await;
        for _ in 0..sent {
            let message = String::from_utf8(peer.message().await).unwrap();
            assert!(message.starts_with("To: a@good.example"), "{row}");
        }
        stop.send(true).unwrap();
        running.await.unwrap();
        assert!(peer.so_far().iter().all(|seen| *seen == Seen::Closed || is_quit(seen)), "{row}");
        let summary = relay.spool.show(id).await.unwrap().summary;
        assert_eq!((summary.place, summary.pending), (Place::Captured, 0), "{row}");
        let events = relay.journal.take();
        let by = |event: &Event| matches!(event, Event::Captured { route: by, .. } if by == route);
        assert_eq!(events.iter().filter(|event| by(event)).count(), 1, "{row}: {events:?}");
        assert!(matches!(events.last(), Some(Event::Settled(_))), "{row}: {events:?}");
        assert_eq!(events.len(), 2 + sent, "{row}: {events:?}");
    }
}

#[tokio::test]
async fn captured_mail_beyond_its_size_is_dropped_while_the_relay_runs() {
    let relay = Relay::new(
        "[[route]]\nname = 'kept'\ncapture = true\ndefault = true\n[capture]\nsize = '1MiB'\n",
    );
    let (stop, running) = relay.deliver();
    let first = relay.submit(&["a@kept.example"], Way::NONE).await;
    captured(&relay, 1).await;
    relay.submit_body(&["a@kept.example"], &vec![b'x'; 1 << 20], Way::NONE).await;
    let told = async {
        let mut events = Vec::new();
        while !events.contains(&Event::CaptureEnded { messages: 1, why: "size" }) {
            tokio::task::yield_now().await;
            events.extend(relay.journal.take());
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("dropped in time");
    assert_eq!(relay.spool.show(first).await, Err(StoreError::Gone));
    stop.send(true).unwrap();
    running.await.unwrap();
    assert_eq!(relay.spool.status().unwrap().captured, 1, "the newer one stays");
}

/// Waits until so many messages are captured.
async fn captured(relay: &Relay, count: usize) {
    let looking = async {
        while relay.spool.status().expect("the test relay works").captured != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("captured in time");
}

fn is_quit(seen: &Seen) -> bool {
    matches!(seen, Seen::Command(command) if command == "QUIT")
}
