//! What the page answers to whom, over real connections.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::{JoinSet, spawn_blocking};

use super::*;
use crate::alert::troubles::{Origin, Trouble};
use crate::api::server;
use crate::control::wire::RelayStatus;
use crate::event::wording::opened;
use crate::history::{Fact, History};
use crate::mail::envelope::{Body, Envelope, Terms};
use crate::mail::outcome::{Fate, Outcome};
use crate::net::conduct::Conduct;
use crate::smtp::address::ReversePath;
use crate::users::{self, Password};

/// A page that is served, and all behind it.
struct Home {
    folder: TempDir,
    address: SocketAddr,
    page: Page,
    spool: Arc<Spool>,
    journal: Journal,
    _routes: watch::Sender<Arc<Routes>>,
    _serving: JoinSet<()>,
}

const PASSWORD: &str = "a good password";

/// Returns a trouble that people were told of.
fn open() -> Arc<[Trouble]> {
    let at = Timestamp::UNIX_EPOCH;
    let alert = opened("spool-full", "the spool is full").first("sallyport queue list").at(at);
    let (origin, told) = (Origin::Relay, Some(at));
    [Trouble {
        alert,
        origin,
        told,
        known: Some(crate::event::alert::Severity::Critical),
        reminders: 0,
        unconfirmed: None,
    }]
    .into()
}

impl Home {
    fn new(viewers: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::parse(include_str!("../../../../config/sallyport.toml")).unwrap();
        config.spool.path = folder.path().join("spool");
        config.spool.reserve_bytes = 0;
        config.history.path = folder.path().join("history");
        config.gate.socket = folder.path().join("gate.sock");
        let viewers = viewers.iter().map(|viewer| (*viewer).to_owned()).collect();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        config.page = Some(config::Page { address, viewers, names: Vec::new() });
        let history = History::open(&config.history, |event| panic!("{event:?}")).unwrap();
        let journal = Journal::memory().with_history(history);
        let users: PathBuf = folder.path().join("users.toml");
        for login in ["ops", "app"] {
            users::add(&users, login, Password::Chosen(PASSWORD.to_owned().into())).unwrap();
        }
        let spool = Arc::new(Spool::open(&config.spool, |event| panic!("{event:?}")).unwrap());
        let logins = Logins::start(&users, journal.clone(), Conduct::without_gate()).unwrap();
        let routes = watch::Sender::new(Routes::new(&config, &journal, &Arc::default()));
        let relay: Look = Arc::new(|| RelayStatus {
            pid: 1,
            serving: true,
            guard: "guarded".into(),
            sessions: 7,
            spool: None,
            has_room: true,
            troubled: vec!["route smarthost: a host is down".into()],
            sandbox: None,
        });
        let sources = Sources {
            spool: Arc::clone(&spool),
            journal: journal.clone(),
            logins,
            routes: routes.subscribe(),
            relay,
            open: watch::Sender::new(open()).subscribe(),
        };
        let page = Page::new(&config, sources).unwrap();
        let listener = server::Place::default().listen(address).unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(server::serve(listener, server::plain, page.router()));
        Self { folder, address, page, spool, journal, _routes: routes, _serving: serving }
    }

    /// Puts a message into the spool and captures it.
    async fn captured(&self, text: &[u8]) -> MessageId {
        let id = self.waiting(text).await;
        let claim = self.spool.claim().await;
        let captured = |recipient: &crate::smtp::address::Address| Outcome {
            recipient: recipient.clone(),
            fate: Fate::Captured,
            next_hop: String::new(),
            reply: String::new(),
        };
        let outcomes = claim.pending().iter().map(captured).collect();
        self.spool.settle(claim, outcomes).await.unwrap();
        id
    }

    async fn waiting(&self, text: &[u8]) -> MessageId {
        let envelope = Envelope {
            sender: ReversePath::Mailbox("s@example.net".parse().unwrap()),
            recipients: vec!["a@example.com".parse().unwrap()],
            body: Body::SevenBit,
            login: Some("app".into()),
            tag: Some("billing".into()),
            source: Some("192.0.2.1".parse().unwrap()),
            received_at: Timestamp::now(),
            terms: Terms::default(),
            came: None,
            trace: None,
        };
        let mut draft = self.spool.draft(envelope).unwrap();
        draft.append(text).await;
        draft.commit().await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n")).await
    }

    async fn get_as(&self, path: &str, login: &str, password: &str) -> Answer {
        use base64::Engine as _;
        let shown = base64::engine::general_purpose::STANDARD.encode(format!("{login}:{password}"));
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {shown}\r\n"
        ))
        .await
    }

    /// Sends the head of a request and reads the whole answer.
    async fn ask(&self, head: &str) -> Answer {
        let (address, head) = (self.address, format!("{head}Connection: close\r\n\r\n"));
        let ask = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let mut text = Vec::new();
            stream.read_to_end(&mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let text = spawn_blocking(ask).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { head: head.to_lowercase(), body: body.to_owned() }
    }
}

#[derive(Debug)]
struct Answer {
    /// In small letters.
    head: String,
    body: String,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

const HOSTILE: &[u8] = b"From: Eve <eve@example.org>\r\nSubject: open <b>me</b>\r\n\
    Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: text/html\r\n\r\n\
    <script>alert(1)</script><meta http-equiv=refresh content=0>\r\n--m\r\n\
    Content-Type: text/html\r\nContent-Disposition: attachment; filename=\"a\\\"b.html\"\r\n\r\n\
    <script>alert(2)</script>\r\n--m--\r\n";

#[tokio::test]
async fn the_page_is_served_with_rules_for_the_browser_and_can_only_be_looked_at() {
    let home = Home::new(&[]);
    let files = ["/", "/page.css", "/draw.js", "/lists.js", "/mail.js", "/page.js", "/icon.svg"];
    for path in files.into_iter().chain(["/api/state", "/nothing"]) {
        let answer = home.get(path).await;
        assert_eq!(answer.status(), if path == "/nothing" { 404 } else { 200 }, "{path}");
        for told in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.head.contains(told), "{path}: {told}: {answer:?}");
        }
        assert!(!answer.head.contains("set-cookie") && !answer.head.contains("access-control"));
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let head = format!("{method} /api/state HTTP/1.1\r\nHost: localhost\r\n");
        assert_eq!(home.ask(&head).await.status(), 405, "{method}");
    }
    let rebound = home.ask("GET /api/state HTTP/1.1\r\nHost: rebound.example.com\r\n").await;
    assert_eq!(rebound.status(), 421);
    let foreign = "GET /api/state HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(home.ask(foreign).await.status(), 403);
}

#[tokio::test]
async fn how_everything_is_stands_in_one_answer() {
    let home = Home::new(&[]);
    let state = home.get("/api/state").await.json();
    assert_eq!(state["health"], "degraded");
    assert_eq!(state["relay"]["sessions"], 7);
    assert_eq!(state["gate"], Value::Null);
    assert_eq!(state["problems"][0], "the gate was not asked yet");
    assert_eq!(state["problems"][1], "route smarthost: a host is down");
    assert_eq!(state["routes"][0]["name"], "smarthost");
    assert_eq!(state["viewer"], Value::Null);
    assert_eq!(
        (&state["alerts"]["critical"], &state["alerts"]["warnings"]),
        (&1.into(), &0.into())
    );
    let alert = &state["alerts"]["shown"][0];
    assert_eq!((&alert["key"], &alert["severity"]), (&"spool-full".into(), &"critical".into()));
    assert_eq!(alert["since"], "1970-01-01T00:00:00Z");
    assert_eq!(alert["summary"], "the spool is full");
    assert_eq!(alert["command"], "sallyport queue list");
    assert_eq!(alert["is_told"], true);
    let list = home.get("/api/allow").await;
    assert_eq!(list.status(), 503);
    assert!(list.json()["error"].as_str().unwrap().contains("the gate does not run"), "{list:?}");
}

#[tokio::test]
async fn only_viewers_look_and_a_failed_login_tells_nothing_and_counts() {
    let home = Home::new(&["ops", "nobody"]);
    let bare = home.get("/").await;
    assert_eq!(bare.status(), 401);
    assert!(bare.head.contains("www-authenticate: basic realm=\"sallyport\""), "{bare:?}");
    assert_eq!(home.get_as("/api/state", "ops", PASSWORD).await.json()["viewer"], "ops");
    // A right password of who may not look is answered as a wrong one is, however often it is shown.
    for (login, password) in
        [("ops", "wrong"), ("app", PASSWORD), ("nobody", "x"), ("stranger", "x")]
    {
        for attempt in 0..5 {
            let answer = home.get_as("/api/state", login, password).await;
            let said = (answer.status(), &answer.body);
            assert_eq!(said, (401, &bare.body), "{login}, {attempt}: {answer:?}");
        }
        let late = home.get_as("/", login, PASSWORD).await;
        assert_eq!(late.status(), 429, "{login}: also with the right password");
        assert!(late.head.contains("retry-after: 60"), "{late:?}");
    }
    let source = "127.0.0.1".parse().unwrap();
    for (login, waits) in [("ops", true), ("app", false)] {
        let logins = home.page.logins();
        assert_eq!(logins.has_to_wait(source, login), waits, "{login}, as a client");
    }
}

#[tokio::test]
async fn a_captured_message_is_shown_without_its_power_and_that_is_written_down() {
    let home = Home::new(&[]);
    let id = home.captured(HOSTILE).await;
    let listed = home.get("/api/captured").await.json();
    assert_eq!(listed["messages"][0]["id"], id.to_string());
    assert_eq!(listed["messages"][0]["subject"], "open <b>me</b>");
    assert_eq!(listed["messages"][0]["from"], "Eve <eve@example.org>");
    assert_eq!(listed["has_more"], false);
    let shown = home.get(&format!("/api/captured/{id}")).await.json();
    assert_eq!(shown["envelope"]["login"], "app");
    let parts = &shown["letter"]["parts"];
    let number = parts[0]["number"].as_u64().unwrap();
    assert_eq!(parts[0]["name"], "a\"b.html");

    let html = home.get(&format!("/api/captured/{id}/html")).await;
    let policy = "content-security-policy: sandbox; default-src 'none'; img-src data:;";
    assert!(html.head.contains(policy), "{html:?}");
    assert!(html.head.contains("content-type: text/html; charset=utf-8"), "{html:?}");
    assert!(html.body.contains("<x-meta"), "{html:?}");

    let part = home.get(&format!("/api/captured/{id}/part/{number}")).await;
    assert!(part.head.contains("content-type: application/octet-stream"), "{part:?}");
    let disposition = "content-disposition: attachment; filename*=utf-8''a%22b.html";
    assert!(part.head.contains(disposition), "{part:?}");
    assert!(part.body.contains("alert(2)"), "{part:?}");
    assert_eq!(home.get(&format!("/api/captured/{id}/part/77")).await.status(), 404);

    let source = home.get(&format!("/api/captured/{id}/source")).await;
    assert!(source.head.contains("content-disposition: attachment;"), "{source:?}");
    assert!(source.body.contains("boundary=m\r\n\r\n--m\r\n"), "{source:?}");

    let looked = async {
        loop {
            let found = home.journal.history().search(id, None).await.unwrap().unwrap();
            let viewed = |line: &&crate::history::Line| matches!(line.fact, Fact::Viewed { .. });
            let count = found.lines.iter().filter(viewed).count();
            if count == 4 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looked).await.expect("four looks are written");
}

#[tokio::test]
async fn who_goes_away_keeps_a_place_for_as_long_as_the_work_goes_on() {
    let home = Home::new(&[]);
    let id = home.captured(HOSTILE).await;
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (page, letters) = (home.page.clone(), Arc::clone(&home.page.shared.letters));
    let asked = tokio::spawn(async move {
        let work = move |_| {
            begun.send(()).unwrap();
            released.recv().unwrap();
        };
        captured::apart(&page, id, work).await.unwrap();
    });
    has_begun.await.unwrap();
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    assert_eq!(letters.available_permits(), LETTERS_AT_ONCE - 1, "the work goes on");
    release.send(()).unwrap();
    let all = u32::try_from(LETTERS_AT_ONCE).unwrap();
    let free = tokio::time::timeout(Duration::from_secs(30), letters.acquire_many(all)).await;
    drop(free.expect("the place is free after the work"));
}

#[tokio::test]
async fn mail_that_is_on_its_way_is_listed_and_never_opened() {
    let home = Home::new(&[]);
    let id = home.waiting(HOSTILE).await;
    for path in ["", "/html", "/source", "/part/1"] {
        let answer = home.get(&format!("/api/captured/{id}{path}")).await;
        assert_eq!(answer.status(), 403, "{path}: {answer:?}");
        assert!(!answer.body.contains("alert"), "{path}");
    }
    for path in ["0000000000001", "1", "../state"] {
        assert_ne!(home.get(&format!("/api/captured/{path}")).await.status(), 200, "{path}");
    }
    for (query, found) in [
        ("", 1),
        ("by=recipient&find=A@EXAMPLE", 1),
        ("by=sender&find=s@", 1),
        ("by=sender&find=a@", 0),
        ("by=tag&find=billing", 1),
        ("by=login&find=ap", 0),
        ("place=held", 0),
        ("place=waiting&find=", 1),
    ] {
        let page = home.get(&format!("/api/queue?{query}")).await.json();
        assert_eq!(page["messages"].as_array().unwrap().len(), found, "{query}");
    }
    for query in ["by=body", "place=lost", "limit=9", &format!("find={}", "x".repeat(300))] {
        assert_eq!(home.get(&format!("/api/queue?{query}")).await.status(), 400, "{query}");
    }
    let after = format!("/api/queue?after={id}");
    assert_eq!(home.get(&after).await.json()["messages"].as_array().unwrap().len(), 0);
    drop(home.folder);
}
