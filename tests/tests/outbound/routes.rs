//! Routes with several hosts, hosts that ask for less, and what an operator does to a route.

use relay::config::{NextHop, Rate, RouteHost};
use relay::net::routes::{RouteState, Standing};
use relay::spool::{Place, StoreError};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;

const NAME: &str = "smarthost";

fn state(relay: &Relay) -> RouteState {
    relay.routes.list().remove(0)
}

async fn submit(relay: &Relay) -> MessageId {
    relay.submit("s@example.net", &["a@example.com"]).await
}

/// Waits until `is_so`, for as long as a test waits.
async fn until(is_so: impl AsyncFn() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("it becomes so in time");
}

#[tokio::test]
async fn a_host_that_failed_is_passed_by_until_it_is_due_and_then_has_mail_again() {
    let instead = vec![("BANNER", "554 5.3.2 no mail here")];
    let mut first = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let mut second = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&[&first, &second], |_| {});
    for _ in 0..3 {
        submit(&relay).await;
        second.message().await;
    }
    assert_eq!(first.so_far(), [Seen::Connected, Seen::Closed], "one message found out for all");
    assert_eq!(state(&relay).standing, Standing::Degraded);
    assert_eq!(state(&relay).hosts[0].health, "down");

    // As if its time had come.
    relay.routes.resume(NAME, &relay.spool, 0).await.unwrap();
    submit(&relay).await;
    assert_eq!(first.message().await, BODY, "the better host has mail again");
    until(async || state(&relay).standing == Standing::Up).await;
    assert_eq!(state(&relay).hosts[1].carried, 3);
    let (events, left) = relay.stop().await;
    let counts = ["HostDown", "HostUp", "Deferred"].map(|name| count(&events, name));
    assert_eq!((counts, left), ([1, 1, 0], 0), "{events:?}");
}

/// Starts a relay whose only host, in the clear, takes connections and never says a word.
async fn before_silence(connections: usize) -> (TcpListener, Relay) {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("the test host works");
    let port = silent.local_addr().expect("the test host works").port();
    let peer = Peer::start(Manners::default()).await.expect("the test host works");
    let relay = Relay::start(&[&peer], |config| {
        patient(config);
        config.routes[0].hosts[0].hop = NextHop { host: "127.0.0.1".into(), port };
        config.routes[0].connections = connections;
        (config.routes[0].tls, config.routes[0].login) = (RouteTls::None, None);
    });
    (silent, relay)
}

/// Takes the next connection to a host that never says a word.
async fn taken(silent: &TcpListener) -> TcpStream {
    let accepted = tokio::time::timeout(Duration::from_secs(30), silent.accept()).await;
    accepted.expect("a connection in time").expect("the listener works").0
}

#[tokio::test]
async fn one_message_tries_a_host_that_was_down_and_the_others_do_not_wait_for_it() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut second = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&[&second], |config| {
        let hop = NextHop { host: "127.0.0.1".into(), port };
        config.routes[0].hosts.insert(0, RouteHost { hop, order: 1, weight: 1 });
        config.routes[0].hosts[1].order = 2;
        config.routes[0].connections = 5;
    });
    submit(&relay).await;
    drop(taken(&silent).await);
    second.message().await;
    relay.routes.resume(NAME, &relay.spool, 0).await.unwrap();
    for _ in 0..5 {
        submit(&relay).await;
    }
    let tried = taken(&silent).await;
    for _ in 0..4 {
        second.message().await;
    }
    assert_eq!(state(&relay).hosts[0].health, "probed");
    let more = std::future::poll_fn(|context| silent.poll_accept(context).map(|_| ()));
    assert!(futures_util::FutureExt::now_or_never(more).is_none(), "nobody else tries it");
    drop(tried);
    second.message().await;
    let (events, left) = relay.stop().await;
    let counts = ["HostDown", "HostUp", "Delivered"].map(|name| count(&events, name));
    assert_eq!((counts, left), ([1, 0, 6], 0), "{events:?}");
}

#[tokio::test]
async fn when_a_try_fails_all_who_waited_for_it_go_back() {
    let (silent, relay) = before_silence(5).await;
    submit(&relay).await;
    drop(taken(&silent).await);
    until(async || state(&relay).standing == Standing::Down && state(&relay).in_memory == 0).await;
    relay.routes.resume(NAME, &relay.spool, 0).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(submit(&relay).await);
    }
    let tried = taken(&silent).await;
    until(async || state(&relay).in_memory == 9).await;
    assert_eq!(state(&relay).in_use, 1);
    drop(tried);
    for id in waiting {
        settled(&relay, id).await;
    }
    let (events, left) = relay.stop().await;
    assert_eq!((count(&events, "HostDown"), left), (1, 9), "{events:?}");
}

#[tokio::test]
async fn a_message_counts_as_in_memory_until_its_outcome_is_on_disk() {
    let instead = vec![("RCPT", "450 4.2.0 later")];
    let peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], patient);
    let id = submit(&relay).await;
    until(async || state(&relay).in_memory == 1).await;
    until(async || state(&relay).in_memory == 0).await;
    assert_eq!(relay.spool.show(id).await.unwrap().summary.attempts, 1);
    relay.stop().await;
}

#[tokio::test]
async fn a_hop_that_throttles_is_given_a_rest_and_loses_nothing() {
    let instead = vec![
        (".", "454 Throttling failure: Maximum sending rate exceeded."),
        ("MAIL", "421 4.7.0 slow down"),
        ("BANNER", "421 4.7.0 too many connections"),
    ];
    let peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |config| {
        // None is given up however often it is put off, and no schedule is waited for.
        config.retry.after = vec![Duration::from_secs(3600)];
        config.routes[0].connections = 3;
    });
    for _ in 0..6 {
        submit(&relay).await;
    }
    until(async || relay.spool.status().is_ok_and(|status| status.messages == 0)).await;
    let host = state(&relay).hosts.remove(0);
    assert_eq!((host.carried, host.health.as_str(), host.throttled), (6, "up", 3));
    let (events, left) = relay.stop().await;
    let counts = ["Delivered", "Failed", "HostDown"].map(|name| count(&events, name));
    assert_eq!((counts, left), ([6, 0, 0], 0), "{events:?}");
    let waits = events.iter().filter_map(|event| match event {
        Event::Deferred { retry_in, .. } => Some(*retry_in),
        _ => None,
    });
    let waits: Vec<_> = waits.collect();
    assert!(
        !waits.is_empty() && waits.iter().all(|wait| *wait <= Duration::from_secs(4)),
        "{waits:?}"
    );
}

#[tokio::test]
async fn a_hop_that_throttles_does_not_use_up_the_schedule_of_the_mail() {
    let instead = vec![("MAIL", "421 4.7.0 slow down"), ("RCPT", "450 4.2.0 not yet")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |config| {
        config.retry.after = vec![Duration::from_millis(1), Duration::from_secs(3600)];
    });
    submit(&relay).await;
    peer.message().await;
    let (events, left) = relay.stop().await;
    let waits = events.iter().filter_map(|event| match event {
        Event::Deferred { retry_in, .. } => Some(*retry_in),
        _ => None,
    });
    let waits: Vec<_> = waits.collect();
    assert!(waits.last().unwrap() < &Duration::from_millis(2), "the first wait is next: {waits:?}");
    assert_eq!((waits.len(), count(&events, "Delivered"), left), (2, 1, 0), "{events:?}");
}

#[tokio::test]
async fn a_route_whose_rate_is_used_up_leaves_its_mail_in_the_spool_untried() {
    const LATER: &str = "the rate of the route is used up";
    let mut peer = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&[&peer], |config| {
        config.routes[0].rate = Some(Rate { count: 1, per: Duration::from_secs(3600) });
        config.routes[0].connections = 20;
    });
    submit(&relay).await;
    peer.message().await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(submit(&relay).await);
    }
    let told = async |id: &MessageId| {
        let details = relay.spool.show(*id).await.unwrap();
        assert_eq!(details.summary.attempts, 0, "to wait for a turn is no attempt");
        details.progress[0].last.is_some()
    };
    until(async || {
        for id in &waiting {
            if told(id).await {
                return true;
            }
        }
        false
    })
    .await;
    let (events, left) = relay.stop().await;
    assert!((1..25).contains(&count(&events, "Deferred")), "a look a second: {events:?}");
    assert!(deferred(&events).contains(LATER), "{events:?}");
    assert_eq!((count(&events, "Delivered"), left), (1, 50));
}

#[tokio::test]
async fn a_login_that_was_repaired_is_tried_at_once_when_the_operator_says_so() {
    let instead = vec![("AUTH", "535 5.7.8 wrong")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |_| {});
    let id = submit(&relay).await;
    settled(&relay, id).await;
    let attempts = relay.spool.show(id).await.unwrap().summary.attempts;
    assert_eq!(attempts, 0, "what is wrong with our login uses up nothing of the mail's schedule");
    let refused = state(&relay);
    assert_eq!(refused.standing, Standing::LoginRefused);
    assert!(refused.reason.unwrap().contains("535 5.7.8 wrong"));
    assert!(refused.until.unwrap() > refused.since.unwrap());
    assert_eq!(relay.routes.resume(NAME, &relay.spool, 0).await, Ok(Some(1)));
    assert_eq!(peer.message().await, BODY);
    let (events, left) = relay.stop().await;
    let counts = ["RouteSuspended", "RouteResumed", "Failed"].map(|name| count(&events, name));
    assert_eq!((counts, left), ([1, 1, 0], 0), "{events:?}");
}

#[tokio::test]
async fn what_waits_in_memory_when_its_route_is_stopped_is_due_at_once_when_it_goes_on() {
    let (silent, relay) = before_silence(1).await;
    let first = submit(&relay).await;
    let tried = taken(&silent).await;
    let second = submit(&relay).await;
    until(async || state(&relay).in_memory == 2).await;
    relay.routes.suspend(NAME, None, 7).await.unwrap();
    until(async || state(&relay).in_memory == 1).await;
    let summary = relay.spool.show(second).await.unwrap().summary;
    assert_eq!((summary.attempts, summary.place), (0, Place::Waiting));
    assert_eq!(summary.due_at, Some(summary.accepted_at), "it lost no time");
    drop(tried);
    settled(&relay, first).await;
    relay.stop().await;
}

/// Serves one connection in the clear up to the final dot, or to `silent`, a command that it never answers.
/// Returns once the relay has closed.
async fn serve_up_to(listener: &TcpListener, silent: &str, reached: &Notify) {
    let mut stream = BufStream::new(taken(listener).await);
    let mut answer = "220 hop\r\n";
    let (mut line, mut is_in_data) = (String::new(), false);
    loop {
        stream.write_all(answer.as_bytes()).await.expect("the test host works");
        stream.flush().await.expect("the test host works");
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if line.starts_with(silent) {
                reached.notify_one();
            } else if !is_in_data {
                break;
            }
        }
        is_in_data = line == "DATA\r\n";
        answer = match line.as_str() {
            "DATA\r\n" => "354 go on\r\n",
            line if line.starts_with("EHLO") => "250-hop\r\n250 8BITMIME\r\n",
            _ => "250 ok\r\n",
        };
    }
}

#[tokio::test]
async fn an_operator_gets_a_message_back_until_its_end_is_said() {
    let (listener, relay) = before_silence(1).await;
    for silent in ["EHLO", "MAIL", "RCPT", "DATA", ".\r\n"] {
        let reached = Notify::new();
        let id = submit(&relay).await;
        let asking = async {
            reached.notified().await;
            assert_eq!(relay.spool.hold(id).await, Err(StoreError::Claimed), "{silent}");
            let patience = if silent == ".\r\n" { Duration::ZERO } else { Duration::from_secs(30) };
            relay.routes.recalls().ask(id, patience).await
        };
        if silent == ".\r\n" {
            tokio::select! {
                () = serve_up_to(&listener, silent, &reached) => panic!("the relay waits for the answer"),
                is_back = asking => assert!(!is_back, "it may have been taken"),
            }
            break;
        }
        let ((), is_back) = tokio::join!(serve_up_to(&listener, silent, &reached), asking);
        assert!(is_back, "{silent}");
        assert_eq!(relay.spool.show(id).await.unwrap().summary.attempts, 0, "{silent}");
        relay.spool.remove(id).await.unwrap();
        assert_eq!(state(&relay).hosts[0].failed, 0, "it says nothing of the host");
    }
    let (events, left) = relay.stop().await;
    assert_eq!(
        (count(&events, "Deferred"), count(&events, "HostDown"), left),
        (5, 0, 1),
        "{events:?}"
    );
}

#[tokio::test]
async fn what_waits_for_a_place_comes_back_when_it_is_asked_for() {
    let (silent, relay) = before_silence(1).await;
    submit(&relay).await;
    let tried = taken(&silent).await;
    let second = submit(&relay).await;
    until(async || state(&relay).in_memory == 2).await;
    assert!(relay.routes.recalls().ask(second, Duration::from_secs(30)).await);
    relay.spool.hold(second).await.unwrap();
    drop(tried);
    relay.stop().await;
}

#[tokio::test]
async fn a_route_that_an_operator_suspends_keeps_its_mail_untouched_also_over_a_restart() {
    let mut peer = Peer::start(Manners::default()).await.unwrap();
    let relay = Relay::start(&[&peer], |config| {
        // Without TLS nothing is dialled there: its mail is put off at once.
        let mut other = config.routes[0].clone();
        (other.name, other.default) = ("other".into(), false);
        (other.tls, other.login) = (RouteTls::None, None);
        other.domains = vec!["other.example.net".into()];
        other.hosts[0].hop.host = "192.0.2.1".into();
        config.routes.push(other);
        patient(config);
    });
    relay.routes.suspend(NAME, Some("they move".into()), 7).await.unwrap();
    let id = submit(&relay).await;
    let other = relay.submit("s@example.net", &["a@other.example.net"]).await;
    settled(&relay, other).await;
    assert_eq!(relay.spool.show(id).await.unwrap().summary.attempts, 0);
    assert_eq!(peer.so_far(), []);
    let held = state(&relay);
    let reason = held.reason.as_deref();
    assert_eq!(
        (held.standing, reason),
        (Standing::Suspended, Some("suspended by uid 7: they move"))
    );
    let kept = Register::open(&relay.folder.path().join("spool")).unwrap();
    assert!(kept.is_suspended(NAME), "another process would know");

    let unknown = relay.routes.suspend("smarthorse", None, 7).await.unwrap_err();
    assert_eq!(unknown, "there is no route \"smarthorse\"; there are: smarthost, other");
    assert_eq!(relay.routes.resume(NAME, &relay.spool, 7).await, Ok(Some(0)));
    assert_eq!(peer.message().await, BODY, "at once");
    let (events, left) = relay.stop().await;
    let counts = ["RouteHeld", "RouteResumed", "Delivered"].map(|name| count(&events, name));
    assert_eq!((counts, left), ([1, 1, 1], 1), "{events:?}");
}

#[tokio::test]
async fn mail_that_waited_for_a_password_leaves_when_the_next_one_works() {
    let instead = vec![("AUTH", "535 5.7.8 wrong")];
    let mut peer = Peer::start(Manners { instead, ..Manners::default() }).await.unwrap();
    let relay = Relay::start(&[&peer], |_| {});
    let first = relay.submit("s@example.net", &["a@example.com"]).await;
    settled(&relay, first).await;
    fs::write(relay.password_file(), "another\n").unwrap();
    relay.submit("s@example.net", &["b@example.com"]).await;
    let both = [peer.message().await, peer.message().await];
    assert_eq!(both, [BODY, BODY]);
    let (events, left) = relay.stop().await;
    assert_eq!((count(&events, "Delivered"), left), (2, 0), "{events:?}");
}

#[tokio::test]
async fn a_process_that_ends_does_not_wait_for_a_host_that_has_not_answered_yet() {
    let (silent, relay) = before_silence(1).await;
    submit(&relay).await;
    let _tried = taken(&silent).await;
    let (events, left) = relay.stop().await;
    assert_eq!((count(&events, "Deferred"), left), (0, 1), "{events:?}");
}
