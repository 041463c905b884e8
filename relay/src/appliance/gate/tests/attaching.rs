//! The relay's end and the gate's over real sockets in one process: descriptors, notices, restarts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt::socket_cookie;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::keeper::{Bulletin, Keeper, Service};
use super::super::listeners::{Guarded, Listeners};
use super::super::office::{Office, Thread};
use super::super::ringing::Ring;
use super::desk::*;
use crate::control::attach::{Attachment, Listening, Told};
use crate::control::caller::Trust;
use crate::control::passing::Lines;
use crate::control::server;
use crate::control::wire::{Notice, Passed};
use crate::event::Event;
use crate::journal::Journal;
use crate::net::tally::{Tallies, Tally};

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(20);

/// A gate process without its process: keeper, listeners, socket.
struct House {
    desk: Option<Thread>,
    fake: Fake,
    serving: JoinHandle<()>,
    listeners: Arc<Mutex<Listeners>>,
    bulletin: Arc<tokio::sync::watch::Sender<Bulletin>>,
    ring: Arc<Ring>,
}

struct Site {
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        configure(folder.path(), "", DECLARED);
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        Self { folder, address }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("gate.sock")
    }

    fn house(&self, relay_uid: u32) -> House {
        let desk = Desk::new();
        let Desk { fake, keeper, .. } = desk;
        let bulletin = keeper.bulletin.clone();
        let record = self.folder.path().join("gate.listeners");
        let listeners =
            Listeners::open(&[(self.address, Guarded::Yes)], None, Vec::new(), record).unwrap();
        let listeners = Arc::new(Mutex::new(listeners));
        let thread = Thread::start(keeper).unwrap();
        let ring = Arc::new(Ring::new(jiff::Timestamp::UNIX_EPOCH));
        let (jobs, told) = (thread.jobs(), bulletin.clone());
        let office = Office::new(jobs, listeners.clone(), told, ring.clone(), relay_uid);
        let own_uid = rustix::process::geteuid().as_raw();
        let trust = Trust { admin_group: None, relay_uid: None, own_uid, hidden_uid: None };
        let listener = server::bind(&self.socket()).unwrap();
        let serving = tokio::spawn(server::serve(listener, trust, Arc::new(office)));
        House { desk: Some(thread), fake, serving, listeners, bulletin, ring }
    }

    fn attach(&self) -> Attachment {
        Attachment::open(self.socket(), Tallies::default(), Journal::memory())
    }
}

impl House {
    /// Ends the gate as SIGKILL would: every descriptor is gone, nothing is said.
    async fn kill(mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
        self.desk.take().unwrap().stop();
        // The sender is what attached connections wait on: without it they end.
        drop(self.bulletin);
        drop(self.listeners);
    }
}

async fn next(attachment: &mut Attachment) -> Told {
    timeout(SOON, attachment.next()).await.expect("the gate says something")
}

async fn sockets(attachment: &mut Attachment) -> Vec<Listening> {
    loop {
        if let Told::Listeners(listening) = next(attachment).await {
            return listening;
        }
    }
}

async fn notice(attachment: &mut Attachment, wanted: Notice) {
    loop {
        match next(attachment).await {
            Told::Notice(notice) if notice == wanted => return,
            Told::Notice(_) | Told::Alert(_) => {}
            Told::Listeners(_) => panic!("sockets instead of {wanted:?}"),
        }
    }
}

async fn alert(attachment: &mut Attachment) -> Passed {
    loop {
        match next(attachment).await {
            Told::Alert(passed) => return *passed,
            Told::Notice(_) | Told::Listeners(_) => {}
        }
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[tokio::test]
async fn the_relay_gets_sockets_that_serve_and_notices() {
    let site = Site::new();
    let house = site.house(own_uid());
    let mut relay = site.attach();
    let listening = sockets(&mut relay).await;
    assert_eq!(listening.len(), 1);
    assert_eq!(listening[0].address, site.address);
    let serving = tokio::net::TcpListener::from_std(listening.into_iter().next().unwrap().socket);
    let serving = serving.unwrap();
    let client = tokio::net::TcpStream::connect(site.address);
    let (accepted, connected) = tokio::join!(timeout(SOON, serving.accept()), client);
    assert_eq!(accepted.unwrap().unwrap().1, connected.unwrap().local_addr().unwrap());
    notice(&mut relay, Notice::ListChanged).await;
    notice(&mut relay, Notice::Serve).await;
    house.bulletin.send_modify(|bulletin| bulletin.lists += 1);
    notice(&mut relay, Notice::ListChanged).await;
    house.bulletin.send_modify(|bulletin| bulletin.service = Service::Refuse);
    notice(&mut relay, Notice::Refuse).await;
    house.bulletin.send_modify(|bulletin| bulletin.service = Service::Serve);
    notice(&mut relay, Notice::Serve).await;
    assert!(house.fake.admits("10.0.0.1"));
    house.kill().await;
}

#[test]
fn a_relay_that_hangs_or_is_gone_is_told_of_and_its_next_word_ends_it() {
    let Desk { folder: _folder, fake, mut keeper, journal, bulletin } = Desk::new();
    let silent = |keeper: &mut Keeper, seconds: std::ops::Range<i64>| {
        for second in seconds {
            fake.tables().now_ns = moment(second).boot_ns;
            keeper.inspect(moment(second));
        }
        let told = journal.take();
        told.into_iter().find_map(|event| match event {
            Event::RelaySilent { problem } => Some(problem),
            _ => None,
        })
    };
    keeper.hear(&Tally::default(), moment(0));
    assert_eq!(silent(&mut keeper, 0..10), None, "who is not heard may be busy");
    let problem = silent(&mut keeper, 10..100).expect("it is told");
    assert!(problem.starts_with("it is attached and has told nothing for 10 s"), "{problem}");
    keeper.hear(&Tally::default(), moment(100));
    assert_eq!(journal.take(), [Event::RelayHeard]);
    drop(bulletin);
    assert_eq!(silent(&mut keeper, 100..159), None, "it may be started anew");
    let problem = silent(&mut keeper, 159..230).expect("it is told");
    assert!(problem.starts_with("none has been attached for 60 s"), "{problem}");
}

#[tokio::test]
async fn alerts_reach_the_relay_that_is_attached_and_the_one_that_comes_later() {
    let site = Site::new();
    let house = site.house(own_uid());
    let at = jiff::Timestamp::UNIX_EPOCH;
    let broken = |how: &str| Event::Broken { room: "gate", problem: how.to_owned() };
    house.ring.hear(&broken("1"), at);
    let mut relay = site.attach();
    assert_eq!(alert(&mut relay).await.number, 1, "from before it came");
    house.ring.hear(&broken("2"), at);
    let second = alert(&mut relay).await;
    assert_eq!((second.number, second.alert.key().as_str()), (2, "process-broken/gate"));
    drop(relay);
    house.ring.hear(&broken("3"), at);
    let mut relay = site.attach();
    for number in 1..=3 {
        assert_eq!(alert(&mut relay).await.number, number, "all again: it may be another relay");
    }
    house.kill().await;
}

#[tokio::test]
async fn a_gate_that_is_killed_and_comes_back_keeps_the_relays_socket() {
    let site = Site::new();
    let house = site.house(own_uid());
    let mut relay = site.attach();
    let listening = sockets(&mut relay).await;
    notice(&mut relay, Notice::Serve).await;
    house.kill().await;
    // The socket goes on taking clients while no gate is there.
    std::net::TcpStream::connect(site.address).unwrap();
    let house = site.house(own_uid());
    // No new sockets come: `notice` would not let them pass.
    notice(&mut relay, Notice::ListChanged).await;
    notice(&mut relay, Notice::Serve).await;
    assert!(house.listeners.lock().unwrap().each().all(|(_, problem)| problem.is_none()));
    // A relay that is restarted gets the very same socket from the new gate.
    drop(relay);
    let mut relay = site.attach();
    let again = sockets(&mut relay).await;
    let cookie = |listening: &Listening| socket_cookie(&listening.socket).unwrap();
    assert_eq!(cookie(&again[0]), cookie(&listening[0]));
    house.kill().await;
}

#[tokio::test]
async fn a_relay_gets_the_new_socket_when_a_taken_address_is_free_again() {
    let site = Site::new();
    let house = site.house(own_uid());
    house.kill().await;
    let taker = std::net::TcpListener::bind(site.address).unwrap();
    let house = site.house(own_uid());
    let mut relay = site.attach();
    assert_eq!(sockets(&mut relay).await.len(), 0);
    drop(taker);
    assert!(house.listeners.lock().unwrap().try_again());
    house.bulletin.send_modify(|bulletin| bulletin.listeners += 1);
    assert_eq!(sockets(&mut relay).await.len(), 1);
    house.kill().await;
}

#[tokio::test]
async fn a_relay_that_shows_too_many_or_nothing_is_let_go() {
    let site = Site::new();
    let house = site.house(own_uid());
    let mut lines = Lines::new(UnixStream::connect(site.socket()).await.unwrap());
    lines.write(br#"{"verb":"attach","sockets":65}"#, &[]).await.unwrap();
    let answer = timeout(SOON, lines.read(4096)).await.unwrap().unwrap().unwrap();
    assert_eq!(answer, br#"{"error":"at most 64 sockets"}"#);
    // It claims one and sends none: it is treated as one that holds none.
    let mut lines = Lines::new(UnixStream::connect(site.socket()).await.unwrap());
    lines.write(br#"{"verb":"attach","sockets":1}"#, &[]).await.unwrap();
    assert_eq!(timeout(SOON, lines.read(64)).await.unwrap().unwrap().unwrap(), br#"{"ok":"show"}"#);
    lines.write(b"nonsense", &[]).await.unwrap();
    let answer = timeout(SOON, lines.read(4096)).await.unwrap().unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.ends_with(r#""found":{"sent":0}}],"hears":true}}"#), "{answer}");
    assert_eq!(lines.take_descriptors().len(), 1);
    house.kill().await;
}
