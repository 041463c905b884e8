//! Logins at next hops, live on loopback: the way out against peers that check what they are shown,
//! and against an issuer of tokens.

#![forbid(unsafe_code)]

#[path = "next_hop_logins/issuer.rs"]
mod issuer;

use std::fs;
use std::sync::{Arc, Mutex};

use issuer::Issuer;
use jiff::Timestamp;
use relay::config::Config;
use relay::event::Event;
use relay::mail::message::MessageId;
use tests::peer::{Accounts, Honesty, Manners, Peer, Seen};
use tests::sender::Relay;

/// Starts a relay whose only route leads to `peer` and has `lines` in it. `FOLDER` in them stands for
/// the folder into which `files` are written first.
fn start(peer: &Peer, lines: &str, files: &[(&str, &str)]) -> Relay {
    let folder = tempfile::tempdir().expect("the test relay works");
    for (name, text) in files.iter().chain([&("ca.pem", peer.authority.as_str())]) {
        fs::write(folder.path().join(name), text).expect("the test relay works");
    }
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
         [[policy]]\nlogin = 'billing'\nsenders = ['*']\n\
         [[route]]\nname = 'smarthost'\ndefault = true\nhosts = ['localhost:{}']\n\
         connections = 1\n{lines}\n[spool]\npath = 'FOLDER/spool'\nreserve = '0B'\n\
         [retry]\nafter = ['1h']\n",
        peer.address.port(),
    );
    let text = text.replace("FOLDER", &folder.path().display().to_string());
    let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    Relay::over(folder, config)
}

async fn submit(relay: &Relay) -> MessageId {
    relay.submit(b"Subject: hello\r\n\r\nhello\r\n", |_| {}).await
}

fn accounts(password: &'static str) -> Accounts {
    let tokens = Arc::new(Mutex::new(Vec::new()));
    Accounts { user: "tim", password, tokens, honesty: Honesty::Honest }
}

fn offering(auth: &'static str, accounts: Accounts) -> Manners {
    let under_tls = vec!["PIPELINING", auth];
    Manners { under_tls, accounts: Some(accounts), ..Manners::default() }
}

/// Returns the mechanisms that were named.
fn mechanisms(seen: &[Seen]) -> Vec<String> {
    let named = |seen: &Seen| match seen {
        Seen::Command(command) => command
            .strip_prefix("AUTH ")
            .map(|rest| rest.split(' ').next().unwrap_or("").to_owned()),
        Seen::Connected | Seen::Message(_) | Seen::Closed => None,
    };
    seen.iter().filter_map(named).collect()
}

async fn until_message(peer: &mut Peer) -> Vec<Seen> {
    let mut all = Vec::new();
    loop {
        match peer.next().await {
            Seen::Message(_) => return all,
            seen => all.push(seen),
        }
    }
}

fn count(events: &[Event], name: &str) -> usize {
    events.iter().filter(|event| format!("{event:?}").starts_with(name)).count()
}

const PASSWORD: &str =
    "ca-file = 'FOLDER/ca.pem'\nlogin = { user = 'tim', password-file = 'FOLDER/password' }";

#[tokio::test]
async fn mail_leaves_after_every_kind_of_scram() {
    for (offer, expected) in [
        ("AUTH PLAIN SCRAM-SHA-256", "SCRAM-SHA-256"),
        ("AUTH PLAIN SCRAM-SHA-256 SCRAM-SHA-512", "SCRAM-SHA-512"),
        ("AUTH SCRAM-SHA-512 SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS"),
        ("AUTH SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS"),
    ] {
        let mut peer = Peer::start(offering(offer, accounts("secret"))).await.unwrap();
        let relay = start(&peer, PASSWORD, &[("password", "secret\n")]);
        submit(&relay).await;
        assert_eq!(mechanisms(&until_message(&mut peer).await), [expected]);
        let (events, left) = relay.stop().await;
        assert_eq!((count(&events, "Delivered"), left), (1, 0), "{offer}: {events:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_suspends_and_the_next_mechanism_is_not_tried() {
    let offer = "AUTH PLAIN LOGIN SCRAM-SHA-256";
    let mut peer = Peer::start(offering(offer, accounts("secret"))).await.unwrap();
    let relay = start(&peer, PASSWORD, &[("password", "wrong\n")]);
    let id = submit(&relay).await;
    relay.settled(id, Timestamp::MIN).await;
    assert_eq!(mechanisms(&peer.until_closed().await), ["SCRAM-SHA-256"]);
    fs::write(relay.folder().join("password"), "secret\n").unwrap();
    relay.spool().retry(id).unwrap();
    assert_eq!(mechanisms(&until_message(&mut peer).await), ["SCRAM-SHA-256"]);
    let (events, left) = relay.stop().await;
    assert_eq!((count(&events, "RouteSuspended"), count(&events, "Bounced"), left), (1, 0, 0));
    let told = format!("{events:?}");
    assert!(told.contains("535 5.7.8 wrong user or password"), "{told}");
    // Who looks after the relay is told the file; what is said of the mail, as reports to its sender are, has it not.
    assert!(names_file(&events, "RouteSuspended"), "{told}");
    assert!(told.contains("Deferred") && !names_file(&events, "Deferred"), "{told}");
}

/// Tells whether events of a kind name the file of the password.
fn names_file(events: &[Event], kind: &str) -> bool {
    let of_kind = events.iter().map(|event| format!("{event:?}"));
    let mut of_kind = of_kind.filter(|event| event.starts_with(kind));
    of_kind.any(|event| event.contains("/password)"))
}

#[tokio::test]
async fn mail_that_waits_leaves_with_the_password_that_somebody_put_right() {
    let offer = offering("AUTH SCRAM-SHA-256", accounts("secret"));
    let mut peer = Peer::start(offer).await.unwrap();
    let relay = start(&peer, PASSWORD, &[("password", "wrong\n")]);
    for _ in 0..2 {
        let id = submit(&relay).await;
        relay.settled(id, Timestamp::MIN).await;
    }
    // Nobody says a word, and no other message comes.
    fs::write(relay.folder().join("password"), "secret\n").unwrap();
    until_message(&mut peer).await;
    until_message(&mut peer).await;
    let (events, left) = relay.stop().await;
    let counts = ["RouteSuspended", "RouteResumed", "Delivered"].map(|name| count(&events, name));
    assert_eq!((counts, left), ([1, 1, 2], 0), "{events:?}");
}

#[tokio::test]
async fn a_file_of_ours_that_stops_a_route_is_told_until_mail_leaves_again() {
    let offer = offering("AUTH SCRAM-SHA-256", accounts("secret"));
    let mut peer = Peer::start(offer).await.unwrap();
    let relay = start(&peer, PASSWORD, &[]);
    let id = submit(&relay).await;
    let first = relay.settled(id, Timestamp::MIN).await;
    relay.spool().retry(id).unwrap();
    relay.settled(id, first).await;
    fs::write(relay.folder().join("password"), "secret\n").unwrap();
    relay.spool().retry(id).unwrap();
    until_message(&mut peer).await;
    let (events, left) = relay.stop().await;
    let counts = ["RouteDown", "RouteUp", "Delivered"].map(|name| count(&events, name));
    assert_eq!((counts, left), ([1, 1, 1], 0), "{events:?}");
}

#[tokio::test]
async fn a_login_that_only_mail_refuses_is_left_alone_for_longer_each_time() {
    let refusal = ("MAIL", "535 5.7.8 not with this account");
    let offer = offering("AUTH PLAIN", accounts("secret"));
    let instead = vec![refusal, refusal];
    let mut peer = Peer::start(Manners { instead, accounts: None, ..offer }).await.unwrap();
    let relay = start(&peer, PASSWORD, &[("password", "secret\n")]);
    let id = submit(&relay).await;
    let first = relay.settled(id, Timestamp::MIN).await;
    // As if its time had come.
    fs::write(relay.folder().join("password"), "another\n").unwrap();
    relay.spool().retry(id).unwrap();
    relay.settled(id, first).await;
    fs::write(relay.folder().join("password"), "the third\n").unwrap();
    relay.spool().retry(id).unwrap();
    until_message(&mut peer).await;
    let (events, left) = relay.stop().await;
    let counts = ["RouteSuspended", "RouteResumed", "Delivered"].map(|name| count(&events, name));
    assert_eq!((counts, left), ([2, 1, 1], 0), "AUTH alone resumes nothing: {events:?}");
    let waits = events.iter().filter_map(|event| match event {
        Event::Deferred { retry_in, .. } => Some(retry_in.as_secs().div_ceil(60)),
        _ => None,
    });
    assert_eq!(waits.collect::<Vec<_>>(), [15, 30], "minutes");
}

#[tokio::test]
async fn a_next_hop_that_does_not_know_the_password_gets_no_mail_and_is_told_of() {
    for honesty in [Honesty::MadeUp, Honesty::Silent] {
        let impostor = Accounts { honesty, ..accounts("") };
        let mut peer = Peer::start(offering("AUTH SCRAM-SHA-256", impostor)).await.unwrap();
        let relay = start(&peer, PASSWORD, &[("password", "secret\n")]);
        let id = submit(&relay).await;
        relay.settled(id, Timestamp::MIN).await;
        let seen = peer.until_closed().await;
        let is_mail = |seen: &Seen| matches!(seen, Seen::Command(c) if c.starts_with("MAIL"));
        assert!(!seen.iter().any(is_mail), "{honesty:?}: {seen:?}");
        let (events, left) = relay.stop().await;
        let counts = ["NextHopUnproved", "RouteSuspended", "Deferred"].map(|n| count(&events, n));
        assert_eq!((counts, left), ([1, 0, 1], 1), "{honesty:?}: {events:?}");
    }
}

#[tokio::test]
async fn a_next_hop_that_offers_less_than_the_route_wants_gets_no_login() {
    let mut peer = Peer::start(offering("AUTH PLAIN LOGIN", accounts("secret"))).await.unwrap();
    let lines = PASSWORD.replace(" }", ", mechanisms = ['scram-sha-256'] }");
    let relay = start(&peer, &lines, &[("password", "secret\n")]);
    let id = submit(&relay).await;
    relay.settled(id, Timestamp::MIN).await;
    assert_eq!(mechanisms(&peer.until_closed().await), [""; 0]);
    let (events, left) = relay.stop().await;
    let told = format!("{events:?}");
    assert!(told.contains("it has PLAIN, LOGIN, the route SCRAM-SHA-256"), "{told}");
    assert_eq!((count(&events, "RouteSuspended"), left), (0, 1));
}

#[tokio::test]
async fn a_token_of_a_file_is_read_at_each_login_and_a_long_one_waits_for_its_challenge() {
    let long: &'static str = "x".repeat(1000).leak();
    for (offer, token) in [("AUTH OAUTHBEARER XOAUTH2", "short"), ("AUTH XOAUTH2", long)] {
        let accounts = accounts("");
        accounts.tokens.lock().unwrap().push(token.to_owned());
        let mut peer = Peer::start(offering(offer, accounts)).await.unwrap();
        let lines = "ca-file = 'FOLDER/ca.pem'\nlogin = { user = 'tim', token-file = 'FOLDER/t' }";
        let relay = start(&peer, lines, &[("t", "old\n")]);
        let id = submit(&relay).await;
        relay.settled(id, Timestamp::MIN).await;
        fs::write(relay.folder().join("t"), token).unwrap();
        relay.spool().retry(id).unwrap();
        assert_eq!(mechanisms(&until_message(&mut peer).await).len(), 2, "{offer}");
        let (events, left) = relay.stop().await;
        let counts = (count(&events, "RouteSuspended"), count(&events, "Delivered"), left);
        assert_eq!(counts, (1, 1, 0), "{offer}");
        assert!(format!("{events:?}").contains("invalid_token"), "{offer}: {events:?}");
    }
}

/// A route that gets its tokens from `issuer`.
fn issued(issuer: &Issuer, more: &str) -> String {
    format!(
        "ca-file = 'FOLDER/ca.pem'\nlogin = {{ user = 'tim', token = {{ \
         url = 'https://localhost:{}/token', client-id = 'us', ca-file = 'FOLDER/issuer.pem'{more} }} }}",
        issuer.address.port()
    )
}

const BY_REFRESH: &str =
    ", refresh-token-file = 'FOLDER/refresh', scope = 'smtp', client-secret-file = 'FOLDER/secret'";

#[tokio::test]
async fn a_token_is_got_once_and_renewed_once_when_it_is_refused() {
    let accounts = accounts("");
    let good = Arc::clone(&accounts.tokens);
    let mut peer = Peer::start(offering("AUTH XOAUTH2", accounts)).await.unwrap();
    let answers = ["t1", "t2"].map(|token| issuer::granting(token, Some(&format!("r-{token}"))));
    let mut issuer = Issuer::start(answers.to_vec()).await;
    let files = [("refresh", "r0\n"), ("secret", "s\n"), ("issuer.pem", issuer.authority.as_str())];
    let relay = start(&peer, &issued(&issuer, BY_REFRESH), &files);
    // The first token has been taken back before its time, and only the second is good.
    good.lock().unwrap().push("t2".to_owned());
    submit(&relay).await;
    assert_eq!(mechanisms(&until_message(&mut peer).await), ["XOAUTH2", "XOAUTH2"]);
    submit(&relay).await;
    peer.message().await;
    let asked = issuer.asked();
    let form = |refresh: &str| {
        format!("grant_type=refresh_token&client_id=us&refresh_token={refresh}&scope=smtp")
    };
    assert_eq!(
        asked,
        [("Basic dXM6cw==".into(), form("r0")), ("Basic dXM6cw==".into(), form("r-t1"))]
    );
    assert_eq!(fs::read_to_string(relay.folder().join("refresh")).unwrap(), "r-t2\n");
    let (events, left) = relay.stop().await;
    assert_eq!((count(&events, "Delivered"), count(&events, "RouteSuspended"), left), (2, 0, 0));
    assert!(!format!("{events:?}").contains("r-t"), "no secret is told: {events:?}");
}

#[tokio::test]
async fn what_an_issuer_refuses_suspends_the_route_and_what_it_cannot_do_does_not() {
    let refusal = issuer::answer(
        "400 Bad Request",
        r#"{"error":"invalid_grant","error_description":"the token has been taken back"}"#,
    );
    let rows = [
        ("refused", refusal, 1, "put a new refresh token into"),
        ("away", issuer::answer("503 Busy", "<html>"), 0, "answered with HTTP status 503"),
        ("elsewhere", issuer::answer("302 Found\r\nLocation: https://x.example/", ""), 0, "302"),
        ("useless", issuer::answer("200 OK", "{}"), 0, "is it a token endpoint?"),
        ("endless", issuer::answer("200 OK", &"x".repeat(100_000)), 0, "gave no answer"),
    ];
    for (row, answer, suspensions, words) in rows {
        let peer = Peer::start(offering("AUTH XOAUTH2", accounts(""))).await.unwrap();
        let issuer = Issuer::start(vec![answer]).await;
        let files = [("refresh", "r0"), ("secret", "s"), ("issuer.pem", issuer.authority.as_str())];
        let relay = start(&peer, &issued(&issuer, BY_REFRESH), &files);
        let id = submit(&relay).await;
        relay.settled(id, Timestamp::MIN).await;
        let (events, left) = relay.stop().await;
        assert_eq!((count(&events, "RouteSuspended"), left), (suspensions, 1), "{row}: {events:?}");
        assert_eq!(count(&events, "HostDown"), 0, "{row}: the next hop was not asked");
        assert!(format!("{events:?}").contains(words), "{row}: {events:?}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_not_proved_learns_nothing() {
    let peer = Peer::start(offering("AUTH XOAUTH2", accounts(""))).await.unwrap();
    let mut issuer = Issuer::start(vec![issuer::granting("t", None)]).await;
    let files = [("secret", "s"), ("issuer.pem", peer.authority.as_str())];
    let lines = issued(&issuer, ", client-secret-file = 'FOLDER/secret'");
    let relay = start(&peer, &lines, &files);
    let id = submit(&relay).await;
    relay.settled(id, Timestamp::MIN).await;
    assert!(issuer.asked().is_empty());
    let (events, _) = relay.stop().await;
    let told = format!("{events:?}");
    assert!(told.contains("cannot be reached") && told.contains("UnknownIssuer"), "{told}");
}

#[tokio::test]
async fn the_clients_own_credentials_get_a_token_too() {
    let accounts = accounts("");
    accounts.tokens.lock().unwrap().push("t".to_owned());
    let mut peer = Peer::start(offering("AUTH OAUTHBEARER", accounts)).await.unwrap();
    let mut issuer = Issuer::start(vec![issuer::granting("t", None)]).await;
    let files = [("secret", "s"), ("issuer.pem", issuer.authority.as_str())];
    let lines = issued(&issuer, ", client-secret-file = 'FOLDER/secret'");
    let relay = start(&peer, &lines, &files);
    submit(&relay).await;
    peer.message().await;
    let form = "grant_type=client_credentials&client_id=us".to_owned();
    assert_eq!(issuer.asked(), [("Basic dXM6cw==".to_owned(), form)]);
    let (_, left) = relay.stop().await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn opportunistic_mail_leaves_to_whoever_answers_and_the_journal_says_so() {
    for before_tls in [vec!["STARTTLS"], vec!["8BITMIME"]] {
        let is_secured = before_tls == ["STARTTLS"];
        let certificate = tests::peer::Certificate::SelfSigned;
        let manners = Manners { certificate, before_tls, ..Manners::default() };
        let mut peer = Peer::start(manners).await.unwrap();
        let relay = start(&peer, "tls = 'opportunistic'", &[]);
        submit(&relay).await;
        let seen = until_message(&mut peer).await;
        assert_eq!(seen.contains(&Seen::Command("STARTTLS".into())), is_secured, "{seen:?}");
        let (events, left) = relay.stop().await;
        assert_eq!((count(&events, "RouteUnverified"), left), (1, 0), "{events:?}");
    }
}
