//! Reports on their way: the spool, the outbound side and a scripted next hop on loopback.

#![forbid(unsafe_code)]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relay::config::Config;
use relay::event::Event;
use relay::journal::Journal;
use relay::mail::envelope::{Body, Envelope, Terms, Wish};
use relay::mail::message::MessageId;
use relay::net::outbound;
use relay::net::routes::Routes;
use relay::smtp::address::{Address, ReversePath};
use relay::smtp::parameter::{Notify, Return};
use relay::spool::Spool;
use tempfile::TempDir;
use tests::peer::{Manners, Peer, Seen};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BODY: &str = "From: s@example.net\r\nSubject: hello\r\n\r\nthe whole of it\r\n";

/// A spool with an outbound side that delivers to one peer.
struct Relay {
    folder: TempDir,
    config: Config,
    spool: Arc<Spool>,
    journal: Journal,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Relay {
    fn start(peer: &Peer, adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("the test relay works");
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("authorities.pem"), &peer.authority).expect("the test relay works");
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
             [tls]\ncertificate = '/tls/certificate.pem'\nkey = '/tls/key.pem'\n\
             [[route]]\nname = 'smarthost'\ndefault = true\nhosts = ['localhost:{}']\n\
             connections = 1\nca-file = '{}'\n[spool]\npath = '{}'\n",
            peer.address.port(),
            path("authorities.pem"),
            path("spool"),
        );
        let mut config = Config::parse(&text).expect("the test relay works");
        // Shorter than a configuration may say, so that nobody waits.
        config.retry.after = vec![Duration::from_millis(1)];
        config.spool.reserve_bytes = 0;
        adjust(&mut config);
        Self::over(folder, config)
    }

    fn over(folder: TempDir, config: Config) -> Self {
        let journal = Journal::memory();
        let spool = Arc::new(Spool::open(&config.spool, |_| {}).expect("the test relay works"));
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(config.clone());
        let routes = Routes::new(&config, &journal, &Arc::default());
        let run = outbound::run(Arc::clone(&spool), shared, routes, journal.clone(), stopped);
        Self { folder, config, spool, journal, stop, running: tokio::spawn(run) }
    }

    /// Ends the relay and begins another over the same spool.
    async fn restarted(self) -> Self {
        let Self { folder, config, spool, stop, running, .. } = self;
        stop.send(true).expect("the test relay works");
        running.await.expect("the test relay works");
        drop(spool);
        Self::over(folder, config)
    }

    async fn submit(&self, terms: impl FnOnce(&Address) -> Terms) -> MessageId {
        let recipient: Address = "a@example.com".parse().expect("the test relay works");
        let envelope = Envelope {
            sender: ReversePath::Mailbox("s@example.net".parse().expect("the test relay works")),
            terms: terms(&recipient),
            recipients: vec![recipient],
            body: Body::SevenBit,
            login: Some("billing".into()),
            tag: None,
            source: None,
            received_at: Timestamp::now(),
        };
        let mut draft = self.spool.draft(envelope).expect("the test relay works");
        draft.append(BODY.as_bytes()).await;
        draft.commit().await.expect("the test relay works")
    }

    async fn stop(self) -> (Vec<Event>, usize) {
        self.stop.send(true).expect("the test relay works");
        self.running.await.expect("the test relay works");
        (self.journal.take(), self.spool.status().expect("the test relay works").messages)
    }
}

fn wishing(notify: Notify) -> impl FnOnce(&Address) -> Terms {
    move |recipient| {
        let recipient = recipient.clone();
        let wishes = vec![Wish { recipient, notify: Some(notify), original: None }];
        Terms { wishes, envelope_id: Some("batch 9".into()), ..Terms::default() }
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
    let about = relay.submit(|_| Terms::default()).await;
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
    relay.submit(wishing(on)).await;
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
    relay.submit(|_| Terms { report: Some(Return::Full), ..Terms::default() }).await;
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
    relay.submit(wishing(Notify::Never)).await;
    assert_eq!(attempts(&mut peer, 1).await, Vec::<String>::new());
    let (events, left) = relay.stop().await;
    let names: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].starts_with("Failed "), "{names:?}");
    assert_eq!(left, 0);
}
