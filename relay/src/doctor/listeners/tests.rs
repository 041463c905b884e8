//! States of listeners, and their causes.

use super::*;
use crate::config::Config;

fn socket(address: &str) -> Listening {
    Listening { address: address.parse().unwrap(), waiting: 0, inode: 1 }
}

fn held(names: &[&str]) -> Vec<Holder> {
    let pid = |name: &str| if name == "systemd" { 1 } else { 7 };
    names.iter().map(|name| Holder { pid: pid(name), name: (*name).into() }).collect()
}

fn healthy() -> Seen {
    Seen {
        address: "[::]:2525".parse().unwrap(),
        has_address: true,
        sockets: vec![socket("[::]:2525")],
        holders: held(&[OURS]),
        greeting: Greeting::Said("220 relay.example.net ESMTP".into()),
        own: Own::Free,
    }
}

#[test]
fn listeners_are_greeted_side_by_side() {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::sync::{Arc, Barrier};
    let mine = ["127.0.0.1:0"; 3].map(|any| TcpListener::bind(any).unwrap());
    let listens = mine
        .each_ref()
        .map(|one| format!("[[listener]]\naddress = '{}'\n", one.local_addr().unwrap()));
    let all_came = Arc::new(Barrier::new(mine.len()));
    for one in mine {
        let all_came = Arc::clone(&all_came);
        std::thread::spawn(move || {
            let (mut client, _) = one.accept().unwrap();
            all_came.wait();
            client.write_all(b"220 here\r\n").unwrap();
        });
    }
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n[gate]\nrequired = false\n{}",
        listens.concat()
    );
    let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let seen = observe(&Case::of_the_dead(config), &listening().unwrap());
    let greetings: Vec<_> = seen.into_iter().map(|one| one.greeting).collect();
    assert_eq!(greetings, ["220 here"; 3].map(|line| Greeting::Said(line.into())));
}

#[test]
fn each_state_of_a_listener_has_its_cause() {
    let at = |address: &str| Seen { address: address.parse().unwrap(), ..healthy() };
    let full = Listening { waiting: 100_000, ..socket("[::]:2525") };
    let said = |line: &str| Greeting::Said(line.into());
    let refused = || Greeting::Refused("x".into());
    let by = |names: &[&str]| Seen { holders: held(names), ..healthy() };
    let rows: [(&str, Seen, Relay, &[&str]); 35] = [
        ("healthy", healthy(), Relay::Serves, &[]),
        ("the relay is not known", healthy(), Relay::Unknown, &[]),
        (
            "the relay is dead",
            Seen { greeting: Greeting::Silence, ..healthy() },
            Relay::Dead,
            &["relay-not-running"],
        ),
        (
            "the relay hangs",
            Seen { sockets: vec![full], greeting: Greeting::Silence, ..healthy() },
            Relay::Hangs,
            &["relay-hangs"],
        ),
        (
            "the relay hangs where nobody is greeted",
            Seen { greeting: Greeting::NotTried, ..healthy() },
            Relay::Hangs,
            &["relay-hangs"],
        ),
        (
            "a relay that hangs resets",
            Seen { greeting: Greeting::Ended("x".into()), ..healthy() },
            Relay::Hangs,
            &["relay-hangs", "no-greeting"],
        ),
        ("the relay waits", healthy(), Relay::Waits("x".into()), &["relay-not-serving"]),
        (
            "nobody listens",
            Seen { sockets: vec![], holders: vec![], greeting: Greeting::NotTried, ..healthy() },
            Relay::Serves,
            &["not-listening"],
        ),
        (
            "elsewhere",
            Seen { sockets: vec![socket("127.0.0.1:2525")], ..healthy() },
            Relay::Serves,
            &["listens-elsewhere"],
        ),
        (
            "the relay waits, since another has its port",
            by(&["master"]),
            Relay::Waits("no listener".into()),
            &["port-taken"],
        ),
        ("by another", by(&["master"]), Relay::Serves, &["port-taken"]),
        (
            "by another, at one address of all",
            Seen { sockets: vec![socket("192.0.2.1:2525")], ..by(&["python3"]) },
            Relay::Serves,
            &["port-taken"],
        ),
        ("by both", by(&["master", OURS]), Relay::Serves, &[]),
        ("kept for the gate", by(&["systemd"]), Relay::Dead, &["relay-not-running"]),
        ("by systemd's own", by(&["systemd"]), Relay::Serves, &["port-taken"]),
        (
            "no such address",
            Seen { has_address: false, sockets: vec![], ..at("192.0.2.1:25") },
            Relay::Serves,
            &["address-missing"],
        ),
        (
            "no such address any more",
            Seen { has_address: false, greeting: Greeting::Silence, ..healthy() },
            Relay::Serves,
            &["address-missing"],
        ),
        (
            "a specific one",
            Seen { sockets: vec![socket("192.0.2.1:2525")], ..at("192.0.2.1:2525") },
            Relay::Serves,
            &[],
        ),
        ("for IPv4 by the one for all", at("192.0.2.1:2525"), Relay::Serves, &[]),
        (
            "loopback",
            Seen { sockets: vec![socket("127.0.0.1:2525")], ..at("127.0.0.1:2525") },
            Relay::Serves,
            &["only-loopback"],
        ),
        (
            "a full backlog",
            Seen { sockets: vec![full], ..healthy() },
            Relay::Serves,
            &["backlog-full"],
        ),
        (
            "silence",
            Seen { greeting: Greeting::Silence, ..healthy() },
            Relay::Serves,
            &["no-greeting"],
        ),
        (
            "no answer to a connection",
            Seen { greeting: Greeting::Unanswered, ..healthy() },
            Relay::Serves,
            &["unanswered"],
        ),
        (
            "the firewall drops it, and clients",
            Seen { greeting: Greeting::Unanswered, own: Own::Told, ..healthy() },
            Relay::Serves,
            &[],
        ),
        (
            "the firewall drops it alone",
            Seen { greeting: Greeting::Unanswered, own: Own::Dropped("x".into()), ..healthy() },
            Relay::Serves,
            &["own-attempt-stopped"],
        ),
        (
            "the firewall rejects it alone",
            Seen { greeting: refused(), own: Own::Dropped("x".into()), ..healthy() },
            Relay::Serves,
            &["own-attempt-stopped"],
        ),
        (
            "the firewall rejects it, and clients",
            Seen { greeting: refused(), own: Own::Told, ..healthy() },
            Relay::Serves,
            &[],
        ),
        (
            "it is refused",
            Seen { greeting: refused(), ..healthy() },
            Relay::Serves,
            &["no-greeting"],
        ),
        (
            "a rule perhaps drops it",
            Seen { greeting: Greeting::Unanswered, own: Own::Perhaps("x".into()), ..healthy() },
            Relay::Serves,
            &["unanswered"],
        ),
        (
            "a connection that was made and ended, whatever the firewall does",
            Seen { greeting: Greeting::Ended("x".into()), own: Own::Told, ..healthy() },
            Relay::Serves,
            &["no-greeting"],
        ),
        (
            "no answer, as the queue is full",
            Seen { sockets: vec![full], greeting: Greeting::Unanswered, ..healthy() },
            Relay::Serves,
            &["backlog-full"],
        ),
        (
            "no answer, and it hangs",
            Seen { greeting: Greeting::Unanswered, ..healthy() },
            Relay::Hangs,
            &["relay-hangs"],
        ),
        (
            "a reset",
            Seen { greeting: Greeting::Ended("x".into()), ..healthy() },
            Relay::Serves,
            &["no-greeting"],
        ),
        (
            "no IPv6 here",
            Seen { greeting: Greeting::Unable("x".into()), ..healthy() },
            Relay::Serves,
            &[],
        ),
        (
            "421",
            Seen { greeting: said("421 4.3.2 too many"), ..healthy() },
            Relay::Serves,
            &["greeting-refuses"],
        ),
    ];
    for (row, seen, relay, wanted) in rows {
        let found = judge(&[seen], &relay, &Links::default());
        let found: Vec<_> = found.iter().map(|found| found.cause.id()).collect();
        assert_eq!(found, wanted, "{row}");
    }
}

#[test]
fn a_rule_that_stops_this_host_alone_stops_no_client_and_a_mere_perhaps_is_named() {
    for greeting in [Greeting::Unanswered, Greeting::Refused("x".into())] {
        let of = |own: Own| {
            let seen = Seen { greeting: greeting.clone(), own, ..healthy() };
            judge(&[seen], &Relay::Serves, &Links::default()).remove(0)
        };
        let alone = of(Own::Dropped("the rule".into()));
        assert_eq!(alone.cause.severity(), super::super::Severity::WorthKnowing, "{greeting:?}");
        let perhaps = of(Own::Perhaps("the rule".into()));
        assert_eq!(perhaps.cause.severity(), super::super::Severity::Fault, "{greeting:?}");
        for found in [alone, perhaps] {
            assert!(found.says.contains("the rule"), "{found:?}");
            assert!(!found.remedy.contains("journalctl"), "{found:?}");
        }
    }
}

#[test]
fn a_relay_that_greets_does_not_hang_whatever_its_socket_answers() {
    let silent = Process::Silent("the relay does not answer within 3 s".into());
    let quiet = || Seen { greeting: Greeting::Silence, ..healthy() };
    let by = |names: &[&str]| Seen { holders: held(names), ..healthy() };
    let rows: [(&str, Vec<Seen>, Relay, &[&str]); 6] = [
        ("it greets", vec![healthy()], Relay::Unknown, &[]),
        ("whose port it is does not show", vec![by(&[])], Relay::Unknown, &[]),
        ("one of two greets", vec![quiet(), healthy()], Relay::Unknown, &["no-greeting"]),
        ("none greets", vec![quiet()], Relay::Hangs, &["relay-hangs"]),
        ("another greets", vec![by(&["master"])], Relay::Hangs, &["relay-hangs", "port-taken"]),
        ("there is no listener", vec![], Relay::Hangs, &["relay-hangs"]),
    ];
    for (row, seen, wanted, causes) in rows {
        let (relay, left_out) = Relay::of(&silent, &seen);
        assert_eq!(left_out.is_some(), wanted == Relay::Unknown, "{row}: {left_out:?}");
        assert_eq!(relay, wanted, "{row}");
        let found = judge(&seen, &relay, &Links::default());
        let found: Vec<_> = found.iter().map(|found| found.cause.id()).collect();
        assert_eq!(found, causes, "{row}");
    }
}

#[test]
fn a_relay_that_waits_is_told_where_a_listener_has_its_socket() {
    let taken = || Seen { holders: held(&["master"]), ..healthy() };
    let causes = |seen: &[Seen]| -> Vec<_> {
        let found = judge(seen, &Relay::Waits("x".into()), &Links::default());
        found.iter().map(|found| found.cause.id()).collect()
    };
    assert_eq!(causes(&[taken(), healthy()]), ["relay-not-serving", "port-taken"]);
    assert_eq!(causes(&[taken(), taken()]), ["port-taken", "port-taken"]);
    assert_eq!(causes(&[]), ["relay-not-serving"]);
    // One whose address went away stands on.
    let gone = || Seen { has_address: false, greeting: Greeting::NotTried, ..healthy() };
    let never = || Seen { sockets: vec![], ..gone() };
    assert_eq!(causes(&[gone()]), ["relay-not-serving", "address-missing"]);
    assert_eq!(causes(&[never()]), ["relay-not-serving", "address-missing"]);
    let deaf = |seen: Seen| {
        let found = judge(&[seen], &Relay::Waits(DEAF.into()), &Links::default());
        found.iter().map(|found| found.cause.id()).collect::<Vec<_>>()
    };
    assert_eq!(deaf(gone()), ["relay-not-serving", "address-missing"]);
    assert_eq!(deaf(never()), ["address-missing"]);
}
