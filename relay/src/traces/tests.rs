//! Spans on their way to a collector of ours, over real sockets.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::exporter::{BATCH, WAITING_MAX};
use super::span::Parent;
use super::*;
use crate::history::{Became, Fact, Told};
use crate::mail::came::{Admission, Came};
use crate::mail::context::SpanId;
use crate::mail::envelope::{Body, Envelope, Terms};
use crate::mail::message::MessageId;
use crate::smtp::address::ReversePath;

const SOON: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector that answers each request as it is told to, and shows what came.
struct House {
    endpoint: String,
    came: Receiver<Value>,
    /// The header section of the last request, in small letters.
    head: Arc<Mutex<Vec<String>>>,
    answers: Sender<String>,
    events: Arc<Mutex<Vec<Event>>>,
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

impl House {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let (show, came) = channel();
        let (answers, told) = channel::<String>();
        let last = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&last);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut head, mut length) = (Vec::new(), 0);
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    let line = line.trim_end().to_ascii_lowercase();
                    if let Some(octets) = line.strip_prefix("content-length: ") {
                        length = octets.parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                    head.push(line);
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                assert_eq!(head[0], "post /v1/traces http/1.1");
                assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
                *shown.lock().unwrap() = head;
                if show.send(serde_json::from_slice(&body).unwrap()).is_err() {
                    return;
                }
                let Ok(answer) = told.recv() else { return };
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { endpoint, came, head: last, answers, events: Arc::default() }
    }

    fn traces(&self) -> Traces {
        self.traces_as(None)
    }

    fn traces_as(&self, authorization_file: Option<PathBuf>) -> Traces {
        let (events, endpoint) = (Arc::clone(&self.events), self.endpoint.clone());
        let config = config::Traces { endpoint, ca_file: None, authorization_file };
        let report = move |event| events.lock().unwrap().push(event);
        Traces::start(&config, "relay.example.net", report).unwrap()
    }

    /// Returns the spans of the next request, which is answered so.
    fn next(&self, answer: String) -> Vec<Value> {
        let request = self.came.recv_timeout(SOON).unwrap();
        self.answers.send(answer).unwrap();
        request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    }

    fn problems(&self) -> Vec<String> {
        let words = |event: &Event| match event {
            Event::Trouble { room: "traces", problem } => problem.clone(),
            other => panic!("{other:?}"),
        };
        self.events.lock().unwrap().iter().map(words).collect()
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

fn received(id: u64, flags: &str, earlier: u32) -> Line {
    let envelope = Box::new(Envelope {
        sender: ReversePath::Null,
        recipients: vec!["a@Example.com".parse().unwrap()],
        body: Body::SevenBit,
        login: Some("app".into()),
        tag: Some("billing".into()),
        source: Some("192.0.2.7".parse().unwrap()),
        received_at: at(30),
        terms: Terms::default(),
        came: None,
        trace: Some(format!("00-{TRACE}-{PARENT}-{flags}").parse().unwrap()),
    });
    let came = Came {
        accepted_at: at(10),
        listener: "[::]:2525".parse().unwrap(),
        peer: "192.0.2.7".parse().unwrap(),
        entry: Some(Admission {
            network: "192.0.2.0/24".parse().unwrap(),
            passed: 7,
            over_rate: 1,
        }),
        secured_at: Some(at(20)),
        tls: Some("TLSv1.3".into()),
        server_name: None,
        logged_in_at: Some(at(25)),
        mechanism: Some("PLAIN".into()),
        earlier,
    };
    let fact = Fact::Received { came, envelope, size_bytes: 9 };
    Line { id: Some(MessageId(id)), at: at(40), fact }
}

fn attempted(id: u64, became: Became) -> Line {
    let told = Told {
        route: "smarthost".into(),
        next_hop: "mx:25".into(),
        became,
        retry_in_ms: None,
        reply: "450 later".into(),
        recipients: vec!["a@example.com".parse().unwrap()],
    };
    let trace = Some(format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
    let (number, began_at, results, open) = (1, at(50), vec![told], 1);
    let fact = Fact::Attempted { number, counted: true, began_at, results, open, trace };
    Line { id: Some(MessageId(id)), at: at(60), fact }
}

fn good() -> String {
    answer("200 OK", "{}")
}

/// Tells whether a text is so many digits of base 16 in lower case.
fn is_hex(value: &Value, digits: usize) -> bool {
    let is_digit = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    value.as_str().is_some_and(|text| text.len() == digits && text.bytes().all(is_digit))
}

#[test]
fn session_message_and_attempt_are_one_trace_written_as_the_protocol_says() {
    let house = House::open();
    let traces = house.traces();
    traces.hear(&received(1, "01", 0));
    traces.hear(&attempted(1, Became::Deferred));
    let spans = house.next(good());
    let by_name: BTreeMap<&str, &Value> =
        spans.iter().map(|span| (span["name"].as_str().unwrap(), span)).collect();
    assert_eq!(by_name.keys().copied().collect::<Vec<_>>(), ["accept", "attempt", "session"]);
    let [accept, attempt, session] = ["accept", "attempt", "session"].map(|name| by_name[name]);
    for span in [accept, attempt, session] {
        assert_eq!(span["traceId"], TRACE);
        assert!(is_hex(&span["spanId"], 16) && is_hex(&span["parentSpanId"], 16), "{span}");
    }
    assert_eq!(session["parentSpanId"], PARENT);
    assert_eq!(accept["parentSpanId"], session["spanId"]);
    assert_eq!(attempt["parentSpanId"], accept["spanId"]);
    let times =
        |span: &Value| [&span["startTimeUnixNano"], &span["endTimeUnixNano"]].map(Value::clone);
    assert_eq!(times(session), ["10000000", "40000000"]);
    assert_eq!(times(accept), ["30000000", "40000000"]);
    assert_eq!(times(attempt), ["50000000", "60000000"]);
    assert_eq!([&session["kind"], &accept["kind"], &attempt["kind"]], [2, 2, 3]);
    assert_eq!([&session["flags"], &accept["flags"], &attempt["flags"]], [0x301, 0x101, 0x101]);
    assert_eq!(session["events"][0]["name"], "secured");
    assert_eq!(session["events"][0]["timeUnixNano"], "20000000");
    let over_rate = serde_json::json!({
        "key": "sallyport.entry.over-rate", "value": { "intValue": "1" },
    });
    assert!(session["attributes"].as_array().unwrap().contains(&over_rate), "{session}");
    assert_eq!(attempt["status"], serde_json::json!({ "code": 2, "message": "450 later" }));
    assert_eq!(accept.get("status"), None);
}

#[test]
fn spans_have_the_same_names_after_a_restart_and_others_for_another_message() {
    let names = |line: &Line| -> Vec<_> {
        span::of("relay.example.net", line).iter().map(|span| span.id).collect()
    };
    assert_eq!(names(&received(1, "01", 0)), names(&received(1, "01", 0)));
    let all = [received(1, "01", 0), received(2, "01", 0), attempted(1, Became::Failed)];
    let all: std::collections::HashSet<_> = all.iter().flat_map(names).collect();
    assert_eq!(all.len(), 5);
}

#[test]
fn a_later_message_of_a_session_hangs_below_its_sender() {
    let spans = span::of("relay.example.net", &received(1, "01", 3));
    let parents: Vec<_> = spans.iter().map(|span| (span.name, span.parent)).collect();
    let sender = SpanId(u64::from_str_radix(PARENT, 16).unwrap());
    assert_eq!(parents, [("accept", Parent::Sender(sender))]);
}

#[test]
fn what_its_sender_does_not_record_is_not_told() {
    assert_eq!(span::of("relay.example.net", &received(1, "00", 0)), []);
    let untraced = Line { fact: Fact::Read { uid: 0 }, ..received(1, "01", 0) };
    assert_eq!(span::of("relay.example.net", &untraced), []);
}

#[test]
fn spans_that_are_not_taken_now_come_again_and_then_no_more() {
    let house = House::open();
    let traces = house.traces();
    traces.hear(&attempted(1, Became::Delivered));
    let busy =
        "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let first = house.next(busy.to_owned());
    assert_eq!(house.next(good()), first);
    traces.hear(&attempted(2, Became::Delivered));
    assert_ne!(house.next(good()), first);
    drop(traces);
    assert_eq!(house.problems(), [""; 0]);
}

#[test]
fn a_collector_that_does_not_want_them_is_told_of_once_for_each_reason() {
    let house = House::open();
    let traces = house.traces();
    for (id, given) in [
        (1, answer("400 Bad Request", "no\r\nforged line")),
        (2, answer("400 Bad Request", "no\r\nforged line")),
        (3, answer("200 OK", r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"old"}}"#)),
        (4, good()),
    ] {
        traces.hear(&attempted(id, Became::Delivered));
        house.next(given);
    }
    drop(traces);
    let at = &house.endpoint;
    assert_eq!(
        house.problems(),
        [
            format!("{at} does not take spans, 1 were dropped: HTTP 400 no??forged line"),
            format!("{at} does not take spans, 2 were dropped: old"),
        ]
    );
}

#[test]
fn a_collector_is_told_who_we_are_by_a_file_that_is_read_anew_each_time() {
    let house = House::open();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otel");
    let traces = house.traces_as(Some(path.clone()));
    for (id, token) in [(1, "first"), (2, "second")] {
        std::fs::write(&path, format!("Bearer {token}\n")).unwrap();
        traces.hear(&attempted(id, Became::Delivered));
        house.next(good());
        let expected = format!("authorization: bearer {token}");
        let head = house.head.lock().unwrap().clone();
        assert!(head.contains(&expected), "{head:?}");
    }
    std::fs::write(&path, "").unwrap();
    traces.hear(&attempted(3, Became::Delivered));
    drop(traces);
    let problems = house.problems();
    assert!(problems[0].contains("otel holds no authorization"), "{problems:?}");
    assert!(house.came.try_recv().is_err(), "nothing is sent without it");
}

#[test]
fn nobody_waits_for_a_collector_and_what_finds_no_room_is_counted() {
    let house = House::open();
    let traces = house.traces();
    // The first batch is on its way and not answered.
    for id in 0..BATCH as u64 {
        traces.hear(&attempted(id, Became::Delivered));
    }
    let first = house.came.recv_timeout(SOON).unwrap();
    let spans = &first["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), BATCH);
    for id in 0..WAITING_MAX as u64 + 10 {
        traces.hear(&attempted(id, Became::Delivered));
    }
    house.answers.send(good()).unwrap();
    let mut came = 0;
    while came < WAITING_MAX {
        came += house.next(good()).len();
    }
    drop(traces);
    assert_eq!(came, WAITING_MAX);
    let at = &house.endpoint;
    let slow = "it takes them more slowly than they come";
    assert_eq!(house.problems(), [format!("{at} does not take spans, 10 were dropped: {slow}")]);
}

#[test]
fn what_finds_no_room_during_an_outage_is_the_outages_and_said_when_it_is_over() {
    let house = House::open();
    let traces = house.traces();
    for id in 0..BATCH as u64 {
        traces.hear(&attempted(id, Became::Delivered));
    }
    house.came.recv_timeout(SOON).unwrap();
    for id in 0..WAITING_MAX as u64 + 10 {
        traces.hear(&attempted(id, Became::Delivered));
    }
    let busy =
        "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    house.answers.send(busy.to_owned()).unwrap();
    let mut came = 0;
    while came < BATCH + WAITING_MAX {
        came += house.next(good()).len();
    }
    drop(traces);
    let problems = house.problems();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.contains(" does not take spans, 10 were dropped: HTTP 503"), "{problem}");
    assert!(problem.ends_with("; it takes them again"), "{problem}");
}

#[test]
fn what_waits_is_sent_when_the_process_ends() {
    let house = House::open();
    let traces = house.traces();
    traces.hear(&attempted(1, Became::Delivered));
    house.answers.send(good()).unwrap();
    drop(traces);
    assert!(house.came.try_recv().is_ok(), "it was sent before the last handle was gone");
}
