//! Receivers that fail, hang, close and lie, over real sockets.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::json;

use super::*;

/// How long a telling may take in a test.
const WITHIN: Duration = Duration::from_millis(700);

/// A receiver of one request.
struct Receiver {
    url: String,
    got: JoinHandle<String>,
}

impl Receiver {
    /// Reads a whole request, then does what the test says.
    fn of(answer: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = request(&mut stream);
            answer(stream);
            request
        });
        Self { url, got }
    }

    fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::of(move |mut stream| {
            // Who knows enough hangs up before the end.
            let _ = stream.write_all(&answer);
        })
    }

    /// Tells it by a webhook that `change` made of a plain one.
    fn told(self, change: impl FnOnce(&mut Webhook)) -> (Outcome, String) {
        let mut hook = hook(&self.url);
        change(&mut hook);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let outcome = post(&hook, "7-1", now, WITHIN, |_| json!({ "a": 1 }));
        (outcome, self.got.join().unwrap())
    }
}

/// A webhook without secrets.
fn hook(url: &str) -> Webhook {
    Webhook {
        url: url.to_owned(),
        format: WebhookFormat::Json,
        secret_file: None,
        ca_file: None,
        authorization_file: None,
        heartbeat: None,
    }
}

fn request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut piece = [0; 1024];
    while !text.ends_with(b"{\"a\":1}") {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(text).unwrap()
}

fn answer(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{more}Content-Length: 5\r\n\r\nwords")
}

#[test]
fn a_status_says_whether_it_was_taken_may_be_later_or_never() {
    for (status, more, expected) in [
        ("200 OK", "", "taken HTTP status 200"),
        ("202 Accepted", "", "taken HTTP status 202"),
        ("500 Oh", "", "later none HTTP status 500 words"),
        ("429 Slow", "Retry-After: 17\r\n", "later 17s HTTP status 429 words"),
        ("503 Slow", "Retry-After: 999999\r\n", "later 3600s HTTP status 503 words"),
        ("429 Slow", "Retry-After: soon\r\n", "later none HTTP status 429 words"),
        (
            "503 Slow",
            "Retry-After: Fri, 15 Jan 2027 08:00:30 GMT\r\n",
            "later 30s HTTP status 503 words",
        ),
        ("404 No", "", "later none HTTP status 404 words"),
        ("400 Bad", "", "never HTTP status 400 words"),
        (
            "302 Found",
            "Location: http://192.0.2.1/\r\n",
            "later none it points elsewhere (HTTP status 302 http://192.0.2.1/): name the address it means",
        ),
    ] {
        let (outcome, _) = Receiver::saying(answer(status, more)).told(|_| {});
        let said = match outcome {
            Outcome::Taken(words) => format!("taken {words}"),
            Outcome::Refused(words) => format!("never {words}"),
            Outcome::Later { why, after: None } => format!("later none {why}"),
            Outcome::Later { why, after: Some(after) } => {
                format!("later {}s {why}", after.as_secs())
            }
        };
        assert_eq!(said, expected, "{status}");
    }
}

#[test]
fn a_receiver_that_hangs_closes_or_lies_is_tried_again_and_holds_nobody() {
    let endless = || {
        Receiver::of(|mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 500 Oh\r\n\r\n");
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        })
    };
    let drips = || {
        Receiver::of(|mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let hangs = || {
        Receiver::of(|mut stream| {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        })
    };
    let rows: [(&str, Receiver); 8] = [
        ("hangs", hangs()),
        ("closes", Receiver::saying("")),
        ("closes in the middle", Receiver::saying("HTTP/1.1 20")),
        ("is no web server", Receiver::saying("220 relay.example.net ESMTP\r\n")),
        ("garbage", Receiver::saying(vec![0xff; 4096])),
        (
            "endless header",
            Receiver::saying([b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat()),
        ),
        ("drips", drips()),
        ("endless body", endless()),
    ];
    for (row, receiver) in rows {
        let began = Instant::now();
        let (outcome, _) = receiver.told(|_| {});
        assert!(matches!(&outcome, Outcome::Later { .. }), "{row}: {outcome:?}");
        assert!(began.elapsed() < WITHIN * 20, "{row} took {:?}", began.elapsed());
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hook = hook(&format!("http://{gone}/"));
    let outcome = post(&hook, "1", Timestamp::UNIX_EPOCH, WITHIN, |_| json!({}));
    assert!(matches!(&outcome, Outcome::Later { why, .. } if why.contains("cannot be reached")));
}

/// The vector was made by Python: `hmac.new(b"secret key", b'1800000000.{"a":1}', "sha256").hexdigest()`.
#[test]
fn what_is_told_is_signed_over_its_time_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret key\n").unwrap();
    let (outcome, request) =
        Receiver::saying(answer("200 OK", "")).told(|hook| hook.secret_file = Some(secret.clone()));
    assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    let header = request.to_ascii_lowercase();
    let signed = "sallyport-signature: t=1800000000,v1=e7880f751efc281269458fc61607750312d09e245fbda9fd4e1c084483e15295\r\n";
    assert!(header.contains(signed), "{header}");
    assert!(header.contains("sallyport-id: 7-1\r\n"), "{header}");
    assert!(header.contains("content-type: application/json\r\n"), "{header}");
    std::fs::write(&secret, "\n").unwrap();
    // Nothing is sent unsigned by mistake.
    let unsigned = Webhook { secret_file: Some(secret), ..hook("http://127.0.0.1:9/") };
    let outcome = post(&unsigned, "1", Timestamp::UNIX_EPOCH, WITHIN, |_| json!({}));
    assert!(matches!(&outcome, Outcome::Later { why, .. } if why.contains("holds no secret")));
}

#[test]
fn the_routing_key_is_no_signing_key() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "R0UT1NG\n").unwrap();
    let receiver = Receiver::saying(answer("202 Accepted", ""));
    let hook = Webhook {
        format: WebhookFormat::PagerDuty,
        secret_file: Some(secret),
        ..hook(&receiver.url)
    };
    let key = std::cell::RefCell::new(String::new());
    let outcome = post(&hook, "1", Timestamp::UNIX_EPOCH, WITHIN, |routing_key| {
        key.replace(routing_key.to_owned());
        json!({ "a": 1 })
    });
    assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    assert_eq!(*key.borrow(), "R0UT1NG");
    let request = receiver.got.join().unwrap().to_ascii_lowercase();
    assert!(!request.contains("sallyport-signature"), "{request}");
}

#[test]
fn a_receiver_is_told_who_we_are_beside_the_signature() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authorization");
    std::fs::write(&path, "Bearer abc\n").unwrap();
    let receiver = Receiver::saying(answer("200 OK", ""));
    let (outcome, request) = receiver.told(|hook| hook.authorization_file = Some(path.clone()));
    assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    assert!(
        request.to_ascii_lowercase().contains("\r\nauthorization: bearer abc\r\n"),
        "{request}"
    );
    std::fs::write(&path, "abc\n").unwrap();
    let unknown = Webhook { authorization_file: Some(path), ..hook("http://127.0.0.1:9/") };
    let outcome = post(&unknown, "1", Timestamp::UNIX_EPOCH, WITHIN, |_| json!({}));
    assert!(
        matches!(&outcome, Outcome::Later { why, .. } if why.contains("holds no authorization")),
        "nothing is sent without it: {outcome:?}"
    );
}
