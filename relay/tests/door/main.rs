//! The front door on loopback: sockets, TLS, logins and the spool are real, the client is ours.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod proxied;
mod repeats;
mod tls;
mod traced;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::Client;
use relay::config::{self, Config, ListenerTls};
use relay::event::Event;
use relay::history::{Fact, History, Line};
use relay::journal::Journal;
use relay::mail::came::Admission;
use relay::mail::envelope::Envelope;
use relay::net::conduct::Conduct;
use relay::net::inbound::{Admitted, Door, serve};
use relay::net::login::Logins;
use relay::net::sessions::{Caps, Sessions};
use relay::net::tls::ServerTls;
use relay::policy::rate::Rates;
use relay::spool::Spool;
use relay::users::{self, Password};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;

/// What every test of this file is given for a wait: none of them comes near it.
const SOON: Duration = Duration::from_secs(20);

/// The client has an entry with a tag; others have none.
fn entry_of(source: IpAddr) -> Admitted {
    if source != CLIENT {
        return Admitted::default();
    }
    let network = "127.0.0.0/24".parse().unwrap();
    let entry = Some(Admission { network, passed: 7, over_rate: 1 });
    Admitted { entry, tag: Some("desk".to_owned()) }
}

struct House {
    folder: TempDir,
    door: Arc<Door>,
    journal: Journal,
    address: std::net::SocketAddr,
    /// NUL joe NUL password, base64.
    joe: String,
    certificate: rustls::pki_types::CertificateDer<'static>,
}

impl House {
    fn open(caps: Caps, tls: ListenerTls) -> Self {
        Self::open_as(caps, tls, |_| {})
    }

    fn under(config: Config, caps: Caps, tls: ListenerTls) -> Self {
        Self::open_as(caps, tls, |changed| {
            *changed = Config { tls: changed.tls.clone(), ..config };
            changed.listeners[0].tls = tls;
        })
    }

    /// As [`House::open`], with what `change` makes of the configuration.
    fn open_as(caps: Caps, tls: ListenerTls, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        (config.tls.certificate, config.tls.key) = (path(&folder, "chain"), path(&folder, "key"));
        config.listeners[0].tls = tls;
        change(&mut config);
        let how = config.listeners[0].clone();
        config.spool.path = path(&folder, "spool");
        let made = rcgen::generate_simple_self_signed(["relay.example.net".to_owned()]).unwrap();
        std::fs::write(&config.tls.certificate, made.cert.pem()).unwrap();
        std::fs::write(&config.tls.key, made.signing_key.serialize_pem()).unwrap();
        let journal = Journal::memory().with_history(history(&folder));
        let users = path(&folder, "users.toml");
        let password = users::add(&users, "joe", Password::Made).unwrap().unwrap();
        let told = journal.clone();
        let report = move |event| {
            let is_trouble = !matches!(event, Event::ShareUsed { .. });
            assert!(!is_trouble, "{event:?}");
            told.write(event);
        };
        let spool = Spool::open(&config.spool, report).unwrap();
        let config = Arc::new(config);
        let conduct = Conduct::without_gate();
        let door = Arc::new(Door {
            rates: Arc::new(Rates::new(&config, Instant::now())),
            tls: Some(Arc::new(ServerTls::load(&config, journal.clone()).unwrap())),
            config,
            spool: Arc::new(spool),
            logins: Logins::start(&users, journal.clone(), conduct.clone()).unwrap(),
            conduct,
            journal: journal.clone(),
            sessions: Sessions::new(caps),
            entry_of: Box::new(entry_of),
            admits: Some(Box::new(|source| source != STRANGER)),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&door);
        tokio::spawn(async move { serve(listener, how, serving).await.unwrap() });
        let joe = client::base64(format!("\0joe\0{}", password.as_str()).as_bytes());
        Self { folder, door, journal, address, joe, certificate: made.cert.into() }
    }

    async fn client(&self) -> Client {
        Client::connect(CLIENT, self.address).await
    }

    /// A client that is greeted, under TLS and logged in.
    async fn joe(&self) -> Client {
        let client = self.client().await;
        self.logged_in(client).await
    }

    /// Brings a client that has just connected under TLS.
    async fn secured(&self, mut client: Client) -> Client {
        client.expect("220 relay.example.net").await;
        client.ask("EHLO client.example.net", "250 ").await;
        client.ask("STARTTLS", "220 2.0.0").await;
        let mut client = client.secure(&self.certificate).await;
        client.ask("EHLO client.example.net", "250 ").await;
        client
    }

    async fn logged_in(&self, client: Client) -> Client {
        let mut client = self.secured(client).await;
        client.ask(&format!("AUTH PLAIN {}", self.joe), "235 2.7.0").await;
        client
    }

    fn messages(&self) -> usize {
        self.door.spool.status().unwrap().messages
    }
}

fn history(folder: &TempDir) -> History {
    let keep = Duration::from_secs(24 * 3600);
    let config = config::History { path: path(folder, "history"), keep, size_bytes: 1 << 30 };
    History::open(&config, |_| {}).unwrap()
}

fn config() -> Config {
    Config::parse(include_str!("../session/sallyport.toml")).unwrap()
}

fn path(folder: &TempDir, name: &str) -> std::path::PathBuf {
    Path::new(folder.path()).join(name)
}

/// An address that is not the one it connects to.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// Nobody whom the gate of these tests admits.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const MANY: Caps = Caps { in_all: 100, from_source: 100, from_network: 100 };
const MESSAGE: &str = "From: joe@example.net\r\nSubject: hi\r\n\r\n..dot\r\ngr\u{fc}n\r\n";

async fn submit(client: &mut Client) {
    client.ask("MAIL FROM:<joe@example.net>", "250 2.1.0").await;
    client.ask("RCPT TO:<a@example.com>", "250 2.1.5").await;
    client.ask("DATA", "354 ").await;
    client.send(MESSAGE.as_bytes()).await;
}

#[tokio::test]
async fn a_message_goes_through_starttls_and_login_into_the_spool() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut client = house.joe().await;
    submit(&mut client).await;
    client.ask(".", "250 2.0.0 OK, queued as ").await;
    client.ask("QUIT", "221 2.0.0").await;
    client.expect_close().await;

    let claim = house.door.spool.claim().await;
    assert_eq!(claim.envelope().login.as_deref(), Some("joe"));
    assert_eq!(claim.envelope().tag.as_deref(), Some("desk"));
    assert_eq!(claim.envelope().body, relay::mail::envelope::Body::EightBit);
    let mut stored = Vec::new();
    let mut body = claim.body();
    while let Some(chunk) = body.read_chunk().await.unwrap() {
        stored.extend_from_slice(&chunk);
    }
    let stored = String::from_utf8(stored).unwrap();
    let id = claim.id().to_string();
    assert!(stored.starts_with("Received: from client.example.net ([127.0.0.3])\r\n"), "{stored}");
    assert!(stored.contains(&format!("with ESMTPSA id {id};\r\n")), "{stored}");
    assert!(stored.contains("\r\n\t(using TLSv1.3, TLS13_AES_256_GCM_SHA384)\r\n"), "{stored}");
    assert!(stored.ends_with("Subject: hi\r\n\r\n.dot\r\ngr\u{fc}n\r\n"), "{stored}");
    let received = &stored[..stored.find("Date: ").unwrap()];
    assert!(!received.contains("joe") && !received.contains("a@"), "no login: {received}");
    let events = house.journal.take();
    assert!(matches!(&events[..], [Event::Accepted { recipients: 1, .. }]), "{events:?}");
    let kept = house.journal.history().search(claim.id(), None).await.unwrap().unwrap().lines;
    let [Line { fact: Fact::Received { came, envelope, size_bytes }, at, .. }] = &kept[..] else {
        panic!("{kept:?}");
    };
    let whole = Envelope { came: Some(Box::new(came.clone())), ..(**envelope).clone() };
    assert_eq!(whole, *claim.envelope(), "how it came is kept with it");
    assert_eq!(came.entry, entry_of(CLIENT).entry);
    assert_eq!(came.server_name.as_deref(), Some("relay.example.net"));
    assert_eq!((came.peer, came.mechanism.as_deref()), (CLIENT, Some("PLAIN")));
    assert_eq!(came.tls.as_deref(), Some("TLSv1.3, TLS13_AES_256_GCM_SHA384"));
    assert_eq!(*size_bytes, stored.len() as u64, "as the queue has it");
    let times = [Some(came.accepted_at), came.secured_at, came.logged_in_at, Some(*at)];
    assert!(times.is_sorted(), "{times:?}");
    drop(house.folder);
}

#[tokio::test]
async fn a_client_of_one_octet_a_record_is_served_like_any_other() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut client = house.joe().await;
    let group = format!(
        "MAIL FROM:<joe@example.net>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n{MESSAGE}.\r\nQUIT\r\n"
    );
    let (commands, message) = group.split_at(group.find("From:").unwrap());
    for octet in commands.as_bytes() {
        client.send(&[*octet]).await;
    }
    for expected in ["250 2.1.0", "250 2.1.5", "354 "] {
        client.expect(expected).await;
    }
    for octet in message.as_bytes() {
        client.send(&[*octet]).await;
    }
    client.expect("250 2.0.0").await;
    client.expect("221 2.0.0").await;
    assert_eq!(house.messages(), 1);
}

#[tokio::test]
async fn a_cut_session_ends_at_once_and_its_message_vanishes() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut client = house.joe().await;
    submit(&mut client).await;
    assert_eq!(house.door.sessions.cut(|source| !source.is_loopback()), 1);
    client.expect("421 4.7.0").await;
    client.expect_close().await;
    house.door.sessions.empty().await;
    assert_eq!(house.messages(), 0);
}

#[tokio::test]
async fn leaving_closes_the_idle_and_lets_a_transaction_finish() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut idle = house.joe().await;
    let mut busy = house.joe().await;
    submit(&mut busy).await;
    house.door.sessions.leave();
    idle.expect("421 4.3.2").await;
    idle.expect_close().await;
    busy.ask(".", "250 2.0.0").await;
    busy.expect("421 4.3.2").await;
    busy.expect_close().await;
    tokio::time::timeout(SOON, house.door.sessions.empty()).await.unwrap();
    assert_eq!(house.messages(), 1);
}

#[tokio::test]
async fn one_session_too_many_is_turned_away_and_the_place_is_free_again() {
    let house = House::open(Caps { from_source: 1, ..MANY }, ListenerTls::Starttls);
    let mut first = house.client().await;
    first.expect("220 ").await;
    let mut second = house.client().await;
    second.expect("421 relay.example.net too many sessions from this address").await;
    second.expect_close().await;
    first.ask("QUIT", "221 ").await;
    first.expect_close().await;
    drop(first);
    house.door.sessions.empty().await;
    house.client().await.expect("220 ").await;
}

#[tokio::test]
async fn a_tag_over_the_sessions_of_its_policy_is_turned_away() {
    let mut config = config();
    let desk = config::Who::Tag("desk".to_owned());
    config.policies[0] =
        config::Policy { who: desk, sessions: Some(1), ..config.policies[0].clone() };
    let house = House::under(config, MANY, ListenerTls::Starttls);
    let mut first = house.client().await;
    first.expect("220 ").await;
    let mut second = house.client().await;
    second.expect("421 relay.example.net too many sessions of clients like this one").await;
    second.expect_close().await;
    first.ask("NOOP", "250 2.0.0").await;
}

#[tokio::test]
async fn a_login_over_a_quarter_of_all_sessions_is_sent_away_and_its_others_go_on() {
    let mut config = config();
    config.limits.sessions = 8;
    let house = House::under(config, MANY, ListenerTls::Starttls);
    let (mut first, mut second) = (house.joe().await, house.joe().await);
    let mut third = house.secured(house.client().await).await;
    third.ask(&format!("AUTH PLAIN {}", house.joe), "421 4.7.0").await;
    third.expect_close().await;
    for client in [&mut first, &mut second] {
        submit(client).await;
        client.ask(".", "250 2.0.0 OK, queued as ").await;
        client.ask("QUIT", "221 ").await;
        client.expect_close().await;
    }
    drop((first, second, third));
    house.door.sessions.empty().await;
    house.joe().await;
}

#[tokio::test]
async fn a_login_over_a_quarter_of_the_spool_waits() {
    let mut config = config();
    config.spool.messages = 4;
    let house = House::under(config, MANY, ListenerTls::Starttls);
    let mut client = house.joe().await;
    submit(&mut client).await;
    client.ask(".", "250 2.0.0 OK, queued as ").await;
    client.ask("MAIL FROM:<joe@example.net>", "452 4.3.1 The messages of this login").await;
    let told = |event: &Event| matches!(event, Event::ShareUsed { login } if login == "joe");
    assert!(house.journal.take().iter().any(told));
    let claim = house.door.spool.claim().await;
    let outcomes = claim.pending().iter().map(|recipient| relay::mail::outcome::Outcome {
        recipient: recipient.clone(),
        fate: relay::mail::outcome::Fate::Delivered,
        next_hop: String::new(),
        reply: String::new(),
    });
    let outcomes = outcomes.collect();
    house.door.spool.settle(claim, outcomes).await.unwrap();
    client.ask("MAIL FROM:<joe@example.net>", "250 2.1.0").await;
}

#[tokio::test]
async fn commands_behind_starttls_are_never_run() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut client = house.client().await;
    client.expect("220 ").await;
    client.ask("EHLO client.example.net", "250 ").await;
    client.send(b"STARTTLS\r\nNOOP\r\n").await;
    client.expect("554 5.5.0").await;
    client.expect_close().await;
}

#[tokio::test]
async fn the_answers_of_one_session_are_bounded_whether_anybody_reads_them() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut client = house.client().await;
    client.expect("220 ").await;
    // EHLO is answered with some ten times its length; 100 of them end the session, so the answers
    // of one session are bounded, whoever reads them.
    for _ in 0..101 {
        client.send(b"EHLO client.example.net\r\n").await;
    }
    let said = client.read_to_close().await;
    assert!(said.trim_end().ends_with("421 4.7.0 Too many commands without a message, closing"));
    assert!(said.len() < 32 << 10, "{}", said.len());
}

#[tokio::test]
async fn a_source_that_the_gate_does_not_admit_is_turned_away_without_a_word() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((STRANGER, 0).into()).unwrap();
    let mut stranger = socket.connect(house.address).await.unwrap();
    let mut said = Vec::new();
    let _ = stranger.read_to_end(&mut said).await;
    assert_eq!(said, b"");
    assert_eq!(house.door.sessions.count(), 0);
}

#[tokio::test]
async fn the_host_itself_is_not_cut_by_what_the_gate_admits() {
    let house = House::open(MANY, ListenerTls::Starttls);
    let mut client = Client::connect(house.address.ip(), house.address).await;
    client.expect("220 relay.example.net").await;
    assert_eq!(house.door.sessions.cut(|_| false), 0);
    client.ask("NOOP", "250 ").await;
}
