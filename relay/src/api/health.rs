//! Whether the appliance lives, serves, and is well: three pages for load balancers and whoever watches.
//!
//! | page | 200 | 503 |
//! | --- | --- | --- |
//! | `/live` | the relay's process answers | never: no answer says it |
//! | `/ready` | clients can come, are accepted, and submissions find room | not so: send clients elsewhere |
//! | `/health` | `good`, or `degraded` and why: clients are served, somebody should look | `not serving` and why |
//!
//! Text, or JSON for who asks with `?format=json` or `Accept: application/json`. Everybody who reaches the
//! address may look: the pages name interfaces, routes and problems, no client, login or address of mail.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::control::client::ask_within;
use crate::control::health::{Health, Judgement, judge};
use crate::control::wire::{GateRequest, GateStatus, RelayStatus};

/// For how long an answer of the gate is believed: however many ask, it is asked no more often.
const FRESH: Duration = Duration::from_secs(1);
/// How long the gate may take to answer. Whoever watches gives up after some seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long `/ready` waits for the gate: balancers give up after a second. Without an answer the relay's word counts.
const READY_PATIENCE: Duration = Duration::from_millis(300);

/// What `/ready` says of a host that no client can come to.
const CUT_OFF: &str =
    "no interface leads here: each is off, or has no carrier, or no address of a listener";

/// Tells how the relay is now, at once.
pub type Look = Arc<dyn Fn() -> RelayStatus + Send + Sync>;

/// The gate's process, asked at most once a second.
#[derive(Debug)]
pub struct Gate {
    /// Its control socket; none where no gate is configured.
    socket: Option<PathBuf>,
    /// For how long an answer is believed.
    fresh: Duration,
    last: Mutex<Option<(Instant, Said)>>,
}

/// What the gate said, or why it did not.
type Said = Result<Arc<GateStatus>, String>;

impl Gate {
    /// Returns the gate behind a control socket; none: no gate is configured.
    #[must_use]
    pub fn behind(socket: Option<PathBuf>) -> Self {
        Self { socket, fresh: FRESH, last: Mutex::default() }
    }

    /// Returns how the gate is, as of a second ago at most; nothing where none is configured.
    ///
    /// # Errors
    ///
    /// Why it does not say so: a sentence.
    pub async fn status(&self) -> Result<Option<Arc<GateStatus>>, String> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let mut last = self.last.lock().await;
        if let Some((at, said)) = &*last
            && at.elapsed() < self.fresh
        {
            return said.clone().map(Some);
        }
        let asked = ask_within(PATIENCE, socket, "gate", &GateRequest::Status).await;
        let said: Said = asked.map(Arc::new).map_err(|error| error.advice());
        *last = Some((Instant::now(), said.clone()));
        said.map(Some)
    }
}

/// What the pages are made of.
#[derive(Clone)]
struct Sources {
    relay: Look,
    gate: Arc<Gate>,
}

impl Sources {
    async fn judgement(&self) -> Judgement {
        let gate = self.gate.status().await;
        let gate = gate.as_ref().map(Option::as_deref).map_err(String::as_str);
        judge(gate, Ok(&(self.relay)()))
    }
}

/// Returns the pages `/live`, `/ready` and `/health`.
pub fn pages(relay: Look, gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .with_state(Sources { relay, gate })
}

/// A word, and why it is no better one.
#[derive(Serialize)]
struct Page {
    health: &'static str,
    problems: Vec<String>,
}

async fn live(uri: Uri, headers: HeaderMap) -> Response {
    let page = Page { health: "live", problems: Vec::new() };
    page.answer(StatusCode::OK, &uri, &headers)
}

async fn ready(State(sources): State<Sources>, uri: Uri, headers: HeaderMap) -> Response {
    let relay = (sources.relay)();
    let gate = tokio::time::timeout(READY_PATIENCE, sources.gate.status()).await;
    let mut problems = Vec::new();
    if matches!(gate, Ok(Ok(Some(gate))) if gate.cut_off) {
        problems.push(CUT_OFF.to_owned());
    }
    if !relay.serving {
        problems.push(format!("clients are not accepted ({})", relay.guard));
    }
    if !relay.has_room {
        problems.push("the spool takes no submissions: clients get 452 or 451".to_owned());
    }
    let (health, status) = if problems.is_empty() {
        ("ready", StatusCode::OK)
    } else {
        ("not ready", StatusCode::SERVICE_UNAVAILABLE)
    };
    Page { health, problems }.answer(status, &uri, &headers)
}

async fn health(State(sources): State<Sources>, uri: Uri, headers: HeaderMap) -> Response {
    let Judgement { health, problems } = sources.judgement().await;
    let status = match health {
        Health::Good | Health::Degraded => StatusCode::OK,
        Health::NotServing => StatusCode::SERVICE_UNAVAILABLE,
    };
    Page { health: health.word(), problems }.answer(status, &uri, &headers)
}

impl Page {
    fn answer(&self, status: StatusCode, uri: &Uri, headers: &HeaderMap) -> Response {
        let (kind, text) = if wants_json(uri, headers) {
            let text = serde_json::to_string(self).unwrap_or_default();
            ("application/json", text + "\n")
        } else {
            let problems = self.problems.iter().map(|problem| format!("{problem}\n"));
            let first = [format!("{}\n", self.health)].into_iter();
            ("text/plain; charset=utf-8", first.chain(problems).collect())
        };
        // A judgement that a cache on the way kept would be worse than none.
        let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
        (status, headers, text).into_response()
    }
}

/// Tells whether JSON is asked for.
fn wants_json(uri: &Uri, headers: &HeaderMap) -> bool {
    let by_query =
        uri.query().is_some_and(|query| query.split('&').any(|part| part == "format=json"));
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    by_query || accepts.is_some_and(|kinds| kinds.starts_with("application/json"))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpStream, UnixListener};

    use super::*;
    use crate::api::server;
    use crate::control::wire::{FULL, UNGUARDED};

    fn relay() -> RelayStatus {
        RelayStatus {
            pid: 1,
            serving: true,
            guard: "guarded".to_owned(),
            sessions: 0,
            spool: None,
            has_room: true,
            troubled: Vec::new(),
            sandbox: None,
        }
    }

    /// Asks for a page of an appliance that is so; returns its whole answer.
    async fn page(relay: RelayStatus, gate: Gate, request: &str) -> String {
        let listener =
            server::Place::default().listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let pages = pages(Arc::new(move || relay.clone()), Arc::new(gate));
        let serving = tokio::spawn(server::serve(listener, server::plain, pages));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer
    }

    #[tokio::test]
    async fn ready_live_and_degraded_are_told_apart() {
        let shut = || RelayStatus { serving: false, guard: "waiting".into(), ..relay() };
        let full = || RelayStatus { has_room: false, ..relay() };
        let unguarded = || RelayStatus { guard: UNGUARDED.into(), ..relay() };
        let crowded = || RelayStatus { troubled: vec![FULL.to_owned()], ..relay() };
        let rows = [
            ("/live", relay(), "200 OK", "\r\n\r\nlive\n"),
            ("/ready", relay(), "200 OK", "\r\n\r\nready\n"),
            ("/health", relay(), "200 OK", "\r\n\r\ngood\n"),
            ("/live", shut(), "200 OK", "\r\n\r\nlive\n"),
            ("/ready", shut(), "503 ", "\r\n\r\nnot ready\nclients are not accepted (waiting)\n"),
            (
                "/health",
                shut(),
                "503 ",
                "\r\n\r\nnot serving\nclients are not accepted (waiting)\n",
            ),
            ("/ready", full(), "503 ", "\r\n\r\nnot ready\nthe spool takes no submissions"),
            ("/ready", crowded(), "200 OK", "\r\n\r\nready\n"),
            ("/health", crowded(), "200 OK", "\r\n\r\ndegraded\nsessions: as many are open"),
            ("/health", unguarded(), "200 OK", "\r\n\r\ndegraded\nUNGUARDED: no filter"),
            ("/ready", unguarded(), "200 OK", "\r\n\r\nready\n"),
            ("/other", relay(), "404 ", "\r\n\r\n"),
        ];
        for (path, relay, status, text) in rows {
            let answer = page(relay, Gate::behind(None), path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            assert!(answer.contains(text), "{path}: {answer}");
        }
    }

    #[tokio::test]
    async fn json_is_given_to_who_asks_for_it() {
        let shut = RelayStatus { serving: false, ..relay() };
        let answer = page(shut, Gate::behind(None), "/health?format=json").await;
        let wanted =
            r#"{"health":"not serving","problems":["clients are not accepted (guarded)"]}"#;
        assert!(answer.ends_with(&format!("\r\n\r\n{wanted}\n")), "{answer}");
        let asked = HeaderMap::from_iter([(header::ACCEPT, "application/json".parse().unwrap())]);
        assert!(wants_json(&Uri::from_static("/health"), &asked));
        assert!(!wants_json(&Uri::from_static("/health"), &HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_gate_that_is_dead_degrades() {
        let folder = tempfile::tempdir().unwrap();
        let gate = Gate::behind(Some(folder.path().join("gate.sock")));
        let answer = page(relay(), gate, "/health").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("\r\n\r\ndegraded\nthe gate does not run"), "{answer}");
    }

    #[tokio::test]
    async fn however_many_ask_the_gate_is_asked_again_only_when_its_answer_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let asked = tokio::spawn(async move {
            for number in 1.. {
                let (mut stream, _) = socket.accept().await.unwrap();
                let refusal = format!("{{\"error\":\"answer {number}\"}}\n");
                stream.write_all(refusal.as_bytes()).await.unwrap();
            }
        });
        let fresh = Duration::from_secs(3600);
        let mut gate = Gate { fresh, ..Gate::behind(Some(path)) };
        for _ in 0..3 {
            assert_eq!(gate.status().await, Err("answer 1".to_owned()));
        }
        gate.fresh = Duration::ZERO;
        assert_eq!(gate.status().await, Err("answer 2".to_owned()));
        asked.abort();
    }

    #[tokio::test]
    async fn a_host_that_no_interface_leads_to_is_not_ready_and_one_whose_gate_hangs_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let hangs = Gate::behind(Some(path.clone()));
        let answer = page(relay(), hangs, "/ready").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let says = tokio::spawn(async move {
            let said = r#"{"ok":{"pid":1,"interfaces":[{"name":"eth0","mode":"native","problem":"it is off",
                "down":"down"}],"cut_off":true,"ports":[2525],"serving":true,"mode":"enforce",
                "observe_until":null,"generation":1,"second_door":1,"loopback":true,"confirm_until":null,
                "shadow":null,"entries":1,"bans":0,"counters":{},"spared":0,"counted":[],"talkers":[],
                "bypasses":[],"refused_per_second":0,"spikes":[],"problems":[]}}"#;
            let said = said.replace('\n', "") + "\n";
            loop {
                let (mut stream, _) = socket.accept().await.unwrap();
                // Who asked before may be gone.
                let _ = stream.write_all(said.as_bytes()).await;
            }
        });
        let answer = page(relay(), Gate::behind(Some(path.clone())), "/ready").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("not ready\nno interface leads here"), "{answer}");
        let answer = page(relay(), Gate::behind(Some(path)), "/health").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "local programs are served: {answer}");
        assert!(answer.contains("degraded\ngate on eth0: it is off\n"), "{answer}");
        says.abort();
    }
}
