//! Which mail leaves when, live on loopback: routes that stand still, and mail that is not sent.

#![forbid(unsafe_code)]

use std::sync::Arc;

use jiff::Timestamp;
use relay::config::Config;
use relay::journal::Journal;
use relay::mail::envelope::{Body, Envelope, Terms};
use relay::mail::message::MessageId;
use relay::net::outbound;
use relay::net::routes::Routes;
use relay::spool::{Filter, Place, Spool, Stretch, Way};
use tempfile::TempDir;
use tests::peer::{Manners, Peer};
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
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
             [spool]\npath = '{}'\nreserve = '0B'\n{text}",
            folder.path().join("spool").display()
        );
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        let spool = Arc::new(Spool::open(&config.spool, |_| {}).unwrap());
        Self { _folder: folder, spool, config: Arc::new(config), journal: Journal::memory() }
    }

    /// Puts a message into the spool that goes by `way` first.
    async fn submit(&self, recipients: &[&str], way: Way) -> MessageId {
        let envelope = Envelope {
            sender: relay::smtp::address::ReversePath::Mailbox("s@example.net".parse().unwrap()),
            recipients: recipients.iter().map(|to| to.parse().unwrap()).collect(),
            body: Body::SevenBit,
            login: Some("billing".into()),
            tag: None,
            source: Some("192.0.2.1".parse().unwrap()),
            received_at: Timestamp::now(),
            terms: Terms::default(),
        };
        let mut draft = self.spool.draft(envelope).unwrap().toward(way);
        draft.append(format!("To: {}\r\n\r\n", recipients[0]).as_bytes()).await;
        draft.commit().await.unwrap()
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
