//! The whole room: from an event to a receiver on a real socket, over restarts.

mod faring;
mod formats;
mod lost;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use super::*;
use crate::event::alert::Stage;
use crate::event::wording::opened;
use crate::spool::{Filter, Stretch};

/// How long what must come may take.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn what_the_room_itself_tells_can_be_silenced() {
    for class in [troubles::LOST, mail::NEVER, "test", "process-broken"] {
        assert!(crate::event::class::CLASSES.contains(&class), "{class}");
    }
}

/// A receiver that answers each request with the next status; 0 is no answer at all.
struct Receiver {
    url: String,
    got: mpsc::UnboundedReceiver<Value>,
}

impl Receiver {
    fn saying(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (tell, got) = mpsc::unbounded_channel();
        let mut statuses = statuses.iter().copied();
        let iterate = move || {
            // One that gets no answer is held open until the next comes: whoever asked waits.
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                held.clear();
                let mut reader = BufReader::new(stream);
                let mut length = 0;
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|octets| octets > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let Some(status) = statuses.next() else { return };
                if tell.send(serde_json::from_slice(&body).unwrap()).is_err() {
                    return;
                }
                if status == 0 {
                    held.push(reader);
                } else {
                    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                    let _ = reader.get_mut().write_all(answer.as_bytes());
                }
            }
        };
        std::thread::spawn(iterate);
        Self { url, got }
    }

    async fn next(&mut self) -> Value {
        timeout(SOON, self.got.recv()).await.expect("something comes").expect("it is told")
    }
}

/// A room over a folder; a room that comes later finds what this one left.
struct Site {
    folder: tempfile::TempDir,
    config: Arc<Config>,
    file: std::path::PathBuf,
    spool: Arc<Spool>,
}

struct Room {
    ear: Ear,
    alerts: Alerts,
    journal: Journal,
}

impl Site {
    fn new(channels: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n\
             [spool]\npath = '{}'\n{channels}\n",
            folder.path().display()
        );
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let file = folder.path().join("sallyport.toml");
        std::fs::write(&file, text).unwrap();
        let spool = Arc::new(Spool::open(&config.spool, |_| {}).unwrap());
        Self { folder, config: Arc::new(config), file, spool }
    }

    fn room(&self) -> Room {
        self.room_of(ear())
    }

    fn room_of(&self, (ear, heard): (Ear, Heard)) -> Room {
        let own = ear.clone();
        let journal = Journal::memory().heard_by(move |event| own.hear(event));
        let (config, spool) = (self.config.clone(), self.spool.clone());
        let runner = Some(runner::tests::within(&self.file));
        let folder = self.folder.path();
        let alerts = Alerts::start(heard, folder, config, spool, runner, journal.clone());
        Room { ear, alerts, journal }
    }
}

fn webhook(url: &str) -> String {
    format!("[[alerts.webhook]]\nname = 'ops'\nurl = '{url}'\n")
}

fn full() -> Event {
    Event::SpoolFull { messages: 1, free_bytes: 0 }
}

#[tokio::test]
async fn an_event_reaches_the_receiver_and_its_end_follows_it() {
    let mut receiver = Receiver::saying(&[200, 204]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    room.ear.hear(&full());
    room.ear.hear(&full());
    room.ear.hear(&Event::SpoolRoom);
    let told = [receiver.next().await, receiver.next().await];
    let shown = |told: &Value| format!("{} {} {}", told["key"], told["stage"], told["host"]);
    assert_eq!(
        told.each_ref().map(shown),
        [
            "\"spool-full\" \"opened\" \"relay.example.net\"",
            "\"spool-full\" \"closed\" \"relay.example.net\"",
        ]
    );
    let lines = room.journal.take();
    assert!(matches!(&lines[0], Event::Told { class, .. } if class == "spool-full"), "{lines:?}");
    room.alerts.end().await;
    assert_eq!(room.journal.take(), []);
}

#[tokio::test]
async fn what_was_not_taken_is_told_by_the_next_process_and_nothing_else_is() {
    let mut receiver = Receiver::saying(&[200, 0, 200, 200, 200]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    room.ear.hear(&full());
    let mut ids = BTreeSet::from([receiver.next().await["id"].to_string()]);
    room.ear.hear(&Event::SpoolRoom);
    // It is under way when the process ends.
    let cut = receiver.next().await;
    room.alerts.end().await;
    let room = site.room();
    let again = receiver.next().await;
    assert_eq!((&again["id"], &again["stage"]), (&cut["id"], &Value::from("closed")));
    assert!(ids.insert(again["id"].to_string()));
    room.ear.hear(&full());
    let fresh = receiver.next().await;
    assert_eq!(fresh["stage"], "opened");
    assert!(ids.insert(fresh["id"].to_string()));
    room.alerts.end().await;
    let room = site.room();
    assert_eq!(room.alerts.list().await.unwrap().channels[1].waiting, 0, "{ids:?}");
    room.alerts.end().await;
}

#[tokio::test]
async fn a_process_that_was_killed_is_told_of_by_the_next() {
    let mut receiver = Receiver::saying(&[200, 0, 200, 200]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    room.ear.hear(&full());
    assert_eq!(receiver.next().await["stage"], "opened");
    room.ear.hear(&Event::SpoolRoom);
    receiver.next().await;
    // As SIGKILL would leave it: nothing is written at the end.
    let left = std::fs::read(site.folder.path().join("alerts.json")).unwrap();
    room.alerts.end().await;
    std::fs::write(site.folder.path().join("alerts.json"), left).unwrap();
    let room = site.room();
    let keys: BTreeSet<String> = [receiver.next().await, receiver.next().await]
        .iter()
        .map(|told| format!("{} {}", told["key"], told["stage"]))
        .collect();
    let expected = ["\"process-broken/relay\" \"noted\"", "\"spool-full\" \"closed\""];
    assert_eq!(keys, expected.map(str::to_owned).into());
    room.alerts.end().await;
}

#[tokio::test]
async fn a_receiver_that_fails_is_named_once_and_told_again() {
    let mut receiver = Receiver::saying(&[503, 200]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    room.ear.hear(&full());
    let first = receiver.next().await;
    assert_eq!(receiver.next().await, first, "the same telling, with the same id");
    let problems: Vec<_> = room
        .journal
        .take()
        .into_iter()
        .filter_map(|event| match event {
            Event::Trouble { room: "alert", problem } => Some(problem),
            _ => None,
        })
        .collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("the alert channel ops: HTTP status 503"), "{problems:?}");
    room.alerts.end().await;
}

#[tokio::test]
async fn a_silence_outlives_the_process_and_an_alert_of_the_gate_is_heard_once() {
    let mut receiver = Receiver::saying(&[200, 200]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    let until = Timestamp::now().checked_add(Duration::from_secs(3600)).unwrap();
    let pattern: Pattern = "spool-*".parse().unwrap();
    let silence = Silence { pattern: pattern.clone(), until, note: None, uid: 7 };
    room.alerts.silence(silence).await.unwrap();
    let alert = opened("gate-detached", "x").at(Timestamp::now());
    let series = Timestamp::now();
    room.alerts.carry(series, 1..=1, alert.clone());
    assert_eq!(receiver.next().await["key"], "gate-detached");
    room.alerts.end().await;
    let room = site.room();
    let over = Alert { stage: Stage::Closed, ..alert.clone() };
    room.alerts.carry(series, 1..=1, over.clone());
    room.ear.hear(&full());
    let listing = room.alerts.list().await.unwrap();
    let open: Vec<_> =
        listing.open.iter().map(|one| (one.alert.key(), one.known.is_some())).collect();
    assert_eq!(open, [("gate-detached".to_owned(), true), ("spool-full".to_owned(), false)]);
    room.alerts.carry(series, 2..=2, over);
    assert_eq!(receiver.next().await["stage"], "closed");
    room.alerts.unsilence(pattern.clone()).await.unwrap();
    assert!(room.alerts.unsilence(pattern).await.unwrap_err().contains("there is no silence"));
    room.alerts.end().await;
}

#[tokio::test]
async fn what_a_gate_said_that_is_configured_no_more_ends_by_itself() {
    for (interfaces, ends) in [(vec!["eth0".to_owned()], false), (Vec::new(), true)] {
        let mut site = Site::new("");
        let room = site.room();
        let now = Timestamp::now();
        room.alerts.carry(now, 1..=1, opened("gate-missing", "x").about("eth0").at(now));
        room.alerts.end().await;
        Arc::make_mut(&mut site.config).gate.interfaces = interfaces;
        let room = site.room();
        let open = room.alerts.open().borrow().to_vec();
        let [missing] = &open[..] else { panic!("{open:?}") };
        assert_eq!(missing.unconfirmed.is_some(), ends, "{:?}", site.config.gate.interfaces);
        room.alerts.end().await;
    }
}

#[tokio::test]
async fn a_gate_that_rings_ends_the_silence_that_a_relay_before_told_of() {
    let site = Site::new("");
    let now = Timestamp::now();
    let stands = || opened("mode-observe", "x").at(now);
    let is_silent = async |room: &Room| {
        let listing = room.alerts.list().await.unwrap();
        listing.open.iter().any(|open| open.alert.key() == "gate-silent")
    };
    let room = site.room();
    room.ear.hear(&Event::GateSilent { problem: "x".into() });
    room.alerts.carry(now, 1..=1, stands());
    assert!(is_silent(&room).await, "whoever told of it tells of its end");
    room.alerts.end().await;
    let room = site.room();
    assert!(is_silent(&room).await);
    // One that was heard before, as after each attachment.
    room.alerts.carry(now, 1..=1, stands());
    assert!(!is_silent(&room).await);
    room.alerts.end().await;
}

#[tokio::test]
async fn a_test_says_of_each_channel_what_became_of_it() {
    let receiver = Receiver::saying(&[200]);
    let failing = Receiver::saying(&[404]);
    let site = Site::new(&format!(
        "{}[[alerts.webhook]]\nurl = '{}'\nclasses = []\n[[alerts.mail]]\nto = ['a@example.net']\n\
         [[alerts.exec]]\ncommand = ['/bin/cat']\n",
        webhook(&receiver.url),
        failing.url
    ));
    let room = site.room();
    let tested = room.alerts.test(None).await.unwrap();
    let shown: Vec<_> = tested.iter().map(|one| (one.channel.as_str(), one.taken)).collect();
    let expected =
        [("exec", true), ("journal", true), ("mail", true), ("ops", true), ("webhook-2", false)];
    assert_eq!(shown, expected, "{tested:?}");
    assert!(tested[4].words.contains("HTTP status 404"), "{tested:?}");
    // It is seen later too, and nothing waits for it.
    let listed = room.alerts.list().await.unwrap().channels.into_iter();
    let faults: Vec<_> = listed.filter_map(|one| Some((one.name, one.fault?))).collect();
    let fault = "it did not take a test: HTTP status 404".to_owned();
    assert_eq!(faults, [("webhook-2".to_owned(), fault)]);
    assert!(room.alerts.fares().borrow().iter().all(|one| one.failing_since.is_none()));
    assert!(room.alerts.test(Some("nobody".into())).await.unwrap_err().contains("no channel"));
    room.alerts.end().await;
}

#[tokio::test]
async fn mail_goes_by_the_spool_and_never_about_mail_that_failed() {
    let site = Site::new("[[alerts.mail]]\nto = ['a@example.net', 'b@example.net']\n");
    let room = site.room();
    let id = crate::mail::message::MessageId(1);
    room.ear.hear(&Event::BounceDropped { id, reason: "550".into() });
    room.ear.hear(&full());
    let listed = async {
        loop {
            let page = site.spool.list(Filter::default(), Stretch::default(), 10).await.unwrap();
            if !page.messages.is_empty() {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let page = timeout(SOON, listed).await.expect("a mail comes");
    assert_eq!(page.messages.len(), 1);
    let listing = room.alerts.list().await.unwrap();
    assert_eq!(listing.recent.len(), 2, "it was told, but not by mail");
    room.alerts.end().await;
    let page = site.spool.list(Filter::default(), Stretch::default(), 10).await.unwrap();
    assert_eq!(page.messages.len(), 1);
}

#[tokio::test]
async fn a_heartbeat_comes_at_once_and_open_troubles_are_told_to_who_forgets_them() {
    let mut receiver = Receiver::saying(&[200, 200]);
    let mut manager = Receiver::saying(&[200, 200, 200]);
    let site = Site::new(&format!(
        "[[alerts.webhook]]\nurl = '{}'\nclasses = []\nheartbeat = '10s'\n\
         [[alerts.webhook]]\nname = 'manager'\nurl = '{}'\nformat = 'alertmanager'\n",
        receiver.url, manager.url
    ));
    let room = site.room();
    let beat = receiver.next().await;
    assert_eq!(
        (&beat["heartbeat"], &beat["every-seconds"]),
        (&Value::from(true), &Value::from(10))
    );
    room.ear.hear(&full());
    let first = manager.next().await;
    let again = manager.next().await;
    assert_eq!(first[0]["labels"], again[0]["labels"]);
    assert_eq!(first[0]["startsAt"], again[0]["startsAt"]);
    assert_eq!(again[0]["labels"]["alertname"], "spool-full");
    room.alerts.end().await;
}

#[tokio::test]
async fn open_troubles_are_seen_whatever_the_room_is_busy_with_and_from_the_start() {
    let site = Site::new("");
    let room = site.room();
    let mut open = room.alerts.open();
    assert!(open.borrow().is_empty());
    room.ear.hear(&full());
    timeout(SOON, open.changed()).await.expect("it is shown").unwrap();
    assert_eq!(open.borrow()[0].alert.key(), "spool-full");
    room.alerts.end().await;
    let again = site.room();
    let mut open = again.alerts.open();
    assert_eq!(open.borrow()[0].alert.key(), "spool-full", "before anything was heard");
    again.ear.hear(&Event::SpoolRoom);
    timeout(SOON, open.wait_for(|open| open.is_empty())).await.expect("it is over").unwrap();
    again.alerts.end().await;
}

#[tokio::test]
async fn a_damaged_file_is_named_and_stops_nothing() {
    let mut receiver = Receiver::saying(&[200]);
    let site = Site::new(&webhook(&receiver.url));
    std::fs::write(site.folder.path().join("alerts.json"), "nonsense").unwrap();
    let room = site.room();
    room.ear.hear(&full());
    receiver.next().await;
    let told = room.journal.take();
    let named = |event: &Event| matches!(event, Event::Trouble { problem, .. } if problem.contains("alerts.damaged"));
    assert!(told.iter().any(named), "{told:?}");
    assert!(site.folder.path().join("alerts.damaged").exists());
    room.alerts.end().await;
}
