//! The way out, live on loopback: spool, lanes, TLS and settling against scripted next hops.

#![forbid(unsafe_code)]

#[path = "outbound/renewal.rs"]
mod renewal;
#[path = "outbound/routes.rs"]
mod routes;
#[path = "outbound/until.rs"]
mod until;
#[path = "outbound/waiting.rs"]
mod waiting;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mail_parser::{MessageParser, MimeHeaders as _};
use relay::config::{Config, RouteTls};
use relay::event::Event;
use relay::journal::Journal;
use relay::mail::envelope::{Body, Envelope, Terms};
use relay::mail::message::MessageId;
use relay::net::outbound;
use relay::net::register::Register;
use relay::net::routes::Routes;
use relay::smtp::address::ReversePath;
use relay::spool::{Details, Spool};
use tempfile::TempDir;
use tests::peer::{CLOSE, Certificate, Manners, Peer, Seen};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use until::{heard, settled};

const BODY: &[u8] = b"Subject: hello\r\n\r\n.a dot, \xc3\xbc and\r\n.\r\nno command: QUIT\r\n";

/// A spool with an outbound side that delivers to peers.
struct Relay {
    folder: TempDir,
    spool: Arc<Spool>,
    routes: Arc<Routes>,
    journal: Journal,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Relay {
    /// Starts one whose only route leads to `peers`; `adjust` may change the configuration.
    fn start(peers: &[&Peer], adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("the test relay works");
        let config = configuration(&folder, peers, adjust);
        let journal = Journal::memory();
        let spool = Arc::new(Spool::open(&config.spool, |_| {}).expect("the test relay works"));
        let (stop, stopped) = watch::channel(false);
        let register = Register::open(&config.spool.path).expect("the test relay works");
        let routes = Routes::new(&config, &journal, &Arc::new(register));
        let (own, config) = (Arc::clone(&routes), Arc::new(config));
        let run = outbound::run(Arc::clone(&spool), config, own, journal.clone(), stopped);
        Self { folder, spool, routes, journal, stop, running: tokio::spawn(run) }
    }

    fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// Puts a message into the spool.
    async fn submit(&self, sender: &str, recipients: &[&str]) -> MessageId {
        let sender = match sender {
            "" => ReversePath::Null,
            text => ReversePath::Mailbox(text.parse().expect("the test relay works")),
        };
        let envelope = Envelope {
            sender,
            recipients: recipients
                .iter()
                .map(|to| to.parse().expect("the test relay works"))
                .collect(),
            body: Body::EightBit,
            login: Some("billing".into()),
            tag: None,
            source: Some("192.0.2.1".parse().expect("the test relay works")),
            received_at: Timestamp::now(),
            terms: Terms::default(),
            came: None,
            trace: None,
        };
        let mut draft = self.spool.draft(envelope).expect("the test relay works");
        draft.append(BODY).await;
        draft.commit().await.expect("the test relay works")
    }

    /// Stops in order and returns what was said: when this returns, all is settled that was under
    /// way.
    async fn stop(self) -> (Vec<Event>, usize) {
        self.stop.send(true).expect("the test relay works");
        self.running.await.expect("the test relay works");
        (self.journal.take(), self.spool.status().expect("the test relay works").messages)
    }
}

fn configuration(folder: &TempDir, peers: &[&Peer], adjust: impl FnOnce(&mut Config)) -> Config {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let hosts: Vec<_> =
        peers.iter().map(|peer| format!("\"localhost:{}\"", peer.address.port())).collect();
    let authorities: String = peers.iter().map(|peer| peer.authority.as_str()).collect();
    fs::write(path("authorities.pem"), authorities).expect("the test relay works");
    fs::write(path("password"), "secret\n").expect("the test relay works");
    let text = format!(
        "hostname = 'relay.example.net'\n\
         postmaster = 'ops@example.net'\n\
         [gate]\ninterfaces = ['eth0']\n\
         [[listener]]\naddress = '[::]:2525'\n\
         [tls]\ncertificate = '/tls/certificate.pem'\nkey = '/tls/key.pem'\n\
         [[policy]]\nlogin = 'billing'\nsenders = ['*']\n\
         [[route]]\nname = 'smarthost'\ndefault = true\nhosts = [{}]\nconnections = 1\n\
         ca-file = '{}'\nlogin = {{ user = 'tim', password-file = '{}' }}\n\
         [spool]\npath = '{}'\n",
        hosts.join(", "),
        path("authorities.pem"),
        path("password"),
        path("spool"),
    );
    let mut config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    // Shorter than a configuration may say, so that nobody waits.
    config.retry.after = vec![Duration::from_millis(1)];
    config.spool.reserve_bytes = 0;
    adjust(&mut config);
    config
}

/// A wait that no test lives to see the end of: what is deferred stays where it is.
fn patient(config: &mut Config) {
    config.retry.after = vec![Duration::from_secs(3600)];
}

fn commands(seen: &[Seen]) -> Vec<&str> {
    seen.iter().filter_map(command).collect()
}

fn command(seen: &Seen) -> Option<&str> {
    match seen {
        Seen::Command(command) => Some(command),
        Seen::Connected | Seen::Message(_) | Seen::Closed => None,
    }
}

fn deferred(events: &[Event]) -> String {
    let reason = |event: &Event| match event {
        Event::Deferred { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    events.iter().filter_map(reason).collect::<Vec<_>>().join(" | ")
}

fn count(events: &[Event], name: &str) -> usize {
    events.iter().filter(|event| format!("{event:?}").starts_with(name)).count()
}

#[tokio::test]
async fn messages_arrive_as_they_were_over_one_proved_connection_with_a_login() {
    let mut peer = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&[&peer], |_| {});
    for _ in 0..3 {
        relay.submit("s@example.net", &["a@example.com", "b@example.com"]).await;
    }
    let mut connections = 0;
    let mut messages = 0;
    let mut spoken = Vec::new();
    while messages < 3 {
        match peer.next().await {
            Seen::Connected => connections += 1,
            Seen::Message(message) => {
                assert_eq!(message, BODY, "{}", message.escape_ascii());
                messages += 1;
            }
            Seen::Command(command) => spoken.push(command),
            Seen::Closed => panic!("the connection is used again"),
        }
    }
    assert_eq!(connections, 1);
    assert_eq!(
        spoken[..8],
        [
            "EHLO relay.example.net",
            "STARTTLS",
            "EHLO relay.example.net",
            "AUTH PLAIN AHRpbQBzZWNyZXQ=",
            &format!("MAIL FROM:<s@example.net> SIZE={} BODY=8BITMIME", BODY.len()),
            "RCPT TO:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "DATA",
        ]
    );
    let (events, left) = relay.stop().await;
    assert_eq!((count(&events, "Delivered"), left), (3, 0), "{events:?}");
}

#[tokio::test]
async fn a_next_hop_that_cannot_be_proved_gets_no_mail_and_no_password() {
    let rows: &[(Certificate, &[&'static str], &str)] = &[
        (Certificate::OtherName, &["STARTTLS"], "was wanted"),
        (Certificate::SelfSigned, &["STARTTLS"], "signed by nobody we trust"),
        (Certificate::Good, &["AUTH PLAIN"], "does not offer STARTTLS"),
    ];
    for (certificate, before_tls, reason) in rows {
        let manners = Manners {
            certificate: *certificate,
            before_tls: before_tls.to_vec(),
            ..Manners::default()
        };
        let mut peer = Peer::start(manners).await.unwrap();
        let relay = Relay::start(&[&peer], patient);
        relay.submit("s@example.net", &["a@example.com"]).await;
        let seen = peer.until_closed().await;
        let spoken = commands(&seen);
        let allowed = |command: &&str| command.starts_with("EHLO") || *command == "STARTTLS";
        assert!(spoken.iter().all(allowed), "{certificate:?}: {spoken:?}");
        let (events, left) = relay.stop().await;
        let said = deferred(&events);
        assert!(said.contains(reason), "{certificate:?}: {events:?}");
        assert_eq!(left, 1, "the mail waits");
    }
}

#[tokio::test]
async fn a_recipient_that_was_put_off_is_tried_again_alone() {
    let instead = vec![("RCPT TO:<b@", "450 4.2.0 later")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |_| {});
    relay.submit("s@example.net", &["a@example.com", "b@example.com"]).await;
    peer.message().await;
    let mut rcpts = Vec::new();
    loop {
        match peer.next().await {
            Seen::Command(command) if command.starts_with("RCPT") => rcpts.push(command),
            Seen::Message(_) => break,
            Seen::Command(_) | Seen::Connected | Seen::Closed => {}
        }
    }
    assert_eq!(rcpts, ["RCPT TO:<b@example.com>"]);
    let (events, left) = relay.stop().await;
    let counts = (count(&events, "Delivered"), count(&events, "Deferred"), left);
    assert_eq!(counts, (2, 1, 0), "{events:?}");
}

#[tokio::test]
async fn a_message_whose_answer_is_lost_is_uncertain_and_sent_again() {
    let instead = vec![(".", CLOSE)];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |_| {});
    relay.submit("s@example.net", &["a@example.com"]).await;
    assert_eq!(peer.message().await, BODY);
    assert_eq!(peer.message().await, BODY, "at least once is the promise");
    let (events, left) = relay.stop().await;
    assert!(deferred(&events).starts_with("uncertain: "), "{events:?}");
    assert_eq!((count(&events, "Delivered"), left), (1, 0));
}

#[tokio::test]
async fn a_refused_login_suspends_the_route_until_the_password_is_another() {
    let instead = vec![("AUTH", "535 5.7.8 wrong"), ("AUTH", "535 5.7.8 wrong")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |_| {});
    let first = relay.submit("s@example.net", &["a@example.com"]).await;
    // It waits for the only place while the password is refused to the first.
    let behind = relay.submit("s@example.net", &["a@example.com"]).await;
    let seen = peer.until_closed().await;
    assert!(commands(&seen).contains(&"AUTH PLAIN AHRpbQBzZWNyZXQ="));
    let second = relay.submit("s@example.net", &["a@example.com"]).await;
    for id in [first, behind, second] {
        settled(&relay, id).await;
    }
    assert_eq!(peer.so_far(), [], "the refused password is not sent again");

    fs::write(relay.password_file(), "another\n").unwrap();
    relay.spool.retry(first).unwrap();
    let seen = peer.until_closed().await;
    assert!(commands(&seen).contains(&"AUTH PLAIN AHRpbQBhbm90aGVy"), "{seen:?}");
    // A connection that is still being opened at the end is given up, and what it was told with it.
    let mut events = heard(&relay, "RouteSuspended", 2).await;
    let (rest, left) = relay.stop().await;
    events.extend(rest);
    assert_eq!((count(&events, "RouteSuspended"), left), (2, 3), "{events:?}");
    assert_eq!((count(&events, "Failed"), count(&events, "Bounced")), (0, 0));
}

#[tokio::test]
async fn the_next_host_takes_what_the_first_one_cannot() {
    let rows: &[(&'static str, &'static str)] =
        &[("BANNER", "554 5.3.2 no mail here"), ("BANNER", CLOSE), ("MAIL", "421 4.3.2 bye")];
    for row in rows {
        let manners = Manners { instead: vec![*row], ..Manners::default() };
        let mut first = Peer::start(manners).await.unwrap();
        let mut second = Peer::start(Manners::default()).await.unwrap();
        let relay = Relay::start(&[&first, &second], |_| {});
        relay.submit("s@example.net", &["a@example.com"]).await;
        assert_eq!(second.message().await, BODY, "{row:?}");
        assert_eq!(first.next().await, Seen::Connected);
        let (events, left) = relay.stop().await;
        assert_eq!((count(&events, "Delivered"), count(&events, "Deferred"), left), (1, 0, 0));
    }
}

#[tokio::test]
async fn the_sender_is_told_of_a_failure_and_nobody_of_the_failure_of_a_report() {
    let instead = vec![
        ("RCPT TO:<a@", "550 5.1.1 no such user"),
        ("RCPT TO:<s@", "550 5.1.1 no such sender"),
        ("RCPT TO:<ops@", "550 5.1.1 no such postmaster"),
    ];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |_| {});
    relay.submit("s@example.net", &["a@example.com"]).await;
    let mut rcpts = Vec::new();
    while rcpts.len() < 3 {
        match peer.next().await {
            Seen::Command(command) if command.starts_with("RCPT") => rcpts.push(command),
            Seen::Command(command) if command.starts_with("MAIL") && !rcpts.is_empty() => {
                assert!(command.starts_with("MAIL FROM:<>"), "a report comes from nobody");
            }
            Seen::Command(_) | Seen::Connected | Seen::Message(_) | Seen::Closed => {}
        }
    }
    assert_eq!(
        rcpts,
        ["RCPT TO:<a@example.com>", "RCPT TO:<s@example.net>", "RCPT TO:<ops@example.net>"]
    );
    let (events, left) = relay.stop().await;
    let counts = ["Failed", "Bounced", "BounceDropped"].map(|name| {
        events.iter().filter(|event| format!("{event:?}").split(' ').next() == Some(name)).count()
    });
    assert_eq!((counts, left), ([3, 2, 1], 0), "{events:?}");
}

#[tokio::test]
async fn a_report_arrives_and_says_what_happened() {
    let instead = vec![("RCPT TO:<a@", "550 5.1.1 no such user")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |_| {});
    let about = relay.submit("s@example.net", &["a@example.com", "b@example.com"]).await;
    assert_eq!(peer.message().await, BODY, "the other recipient gets the message");
    let report = peer.message().await;
    let parsed = MessageParser::default().parse(&report).unwrap();
    assert_eq!(parsed.to().unwrap().first().unwrap().address(), Some("s@example.net"));
    assert_eq!(parsed.content_type().unwrap().attribute("report-type"), Some("delivery-status"));
    let text = String::from_utf8(report).unwrap();
    for line in [
        "Final-Recipient: rfc822; a@example.com",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user",
        "Remote-MTA: dns; localhost",
        &format!("Final-Log-ID: {about}"),
        "Subject: hello",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}\n{text}");
    }
    let (_, left) = relay.stop().await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn mail_leaves_in_the_clear_over_loopback_only() {
    let peer = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&[&peer], |config| {
        patient(config);
        config.routes[0].tls = RouteTls::None;
        config.routes[0].login = None;
        // 192.0.2.1 is nobody's address (RFC 5737): it is refused before it is dialled.
        config.routes[0].hosts[0].hop.host = "192.0.2.1".into();
    });
    let id = relay.submit("s@example.net", &["a@example.com"]).await;
    settled(&relay, id).await;
    let (events, left) = relay.stop().await;
    assert!(deferred(&events).contains("is not loopback"), "{events:?}");
    assert_eq!(left, 1);
}

#[tokio::test]
async fn mail_whose_route_is_gone_waits() {
    let peer = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&[&peer], |config| {
        patient(config);
        config.routes[0].default = false;
    });
    let id = relay.submit("s@example.net", &["a@example.com"]).await;
    settled(&relay, id).await;
    let (events, left) = relay.stop().await;
    assert!(deferred(&events).contains("no route"), "{events:?}");
    assert_eq!(left, 1);
}
