//! What begins, what ends and what wakes somebody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::event::Level;
use crate::event::alert::Severity;
use crate::event::spike::{Class, Spike};

const AT: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn said(event: &Event) -> Vec<(String, Stage, Severity)> {
    event.alerts(AT).iter().map(|alert| (alert.key(), alert.stage, alert.severity)).collect()
}

#[test]
fn what_ends_a_trouble_bears_its_name() {
    let route = || "r".to_owned();
    let eth0 = || "eth0".to_owned();
    let hop = "h:25".to_owned();
    let reason = || "no".to_owned();
    let mode = |mode| Event::ModeChanged { mode, until: None, uid: None };
    let down_for = Duration::from_secs(60);
    for (begins, ends) in [
        (
            Event::GateLost { interface: eth0(), problem: reason() },
            Event::GateRestored { interface: eth0() },
        ),
        (
            Event::GateLost { interface: eth0(), problem: reason() },
            Event::GateAttached { interface: eth0(), mode: "native", adopted: true },
        ),
        (
            Event::Detached { uid: 0 },
            Event::GateAttached { interface: eth0(), mode: "native", adopted: true },
        ),
        (bypass(7), Event::GateBypassOver { path: "eth1, which is guarded now".into() }),
        (mode("observe"), mode("enforce")),
        (unreached(Severity::Critical), Event::InterfaceUp { interface: "eth0".into() }),
        (deserted(Severity::Critical), Event::ListenerUp { listener: listener() }),
        (Event::GateSilent { problem: reason() }, Event::GateHeard),
        (Event::Unserved { problem: reason(), down_for }, Event::Served),
        (Event::RelaySilent { problem: reason() }, Event::RelayHeard),
        (
            Event::RouteSuspended { route: route(), reason: reason() },
            Event::RouteResumed { route: route(), uid: None },
        ),
        (
            Event::RouteHeld { route: route(), note: None, uid: 0 },
            Event::RouteResumed { route: route(), uid: Some(0) },
        ),
        (
            Event::HostDown { route: route(), host: hop.clone(), reason: reason() },
            Event::HostUp { route: route(), host: hop.clone(), down_for },
        ),
        (
            Event::HostDown { route: route(), host: hop.clone(), reason: reason() },
            Event::RouteRenewed { route: route(), gone: false, hosts: vec![hop.clone()] },
        ),
        (Event::RouteDown { route: route(), reason: reason() }, Event::RouteUp { route: route() }),
        (
            Event::RouteDown { route: route(), reason: reason() },
            Event::RouteRenewed { route: route(), gone: false, hosts: vec![hop.clone()] },
        ),
        (
            Event::RouteHeld { route: route(), note: None, uid: 0 },
            Event::RouteRenewed { route: route(), gone: true, hosts: Vec::new() },
        ),
        (Event::SpoolFull { messages: 1, free_bytes: 0 }, Event::SpoolRoom),
        (ends(Severity::Critical), Event::CertificateGood { file: "/x.pem".into() }),
    ] {
        let [(key, stage, severity)] = &said(&begins)[..] else { panic!("{begins:?}") };
        assert_eq!(*stage, Stage::Opened, "{key}");
        assert!(said(&ends).contains(&(key.clone(), Stage::Closed, *severity)), "{key}");
    }
    let up = Event::HostUp { route: route(), host: hop, down_for };
    assert_eq!(up.alerts(AT)[0].since, AT - down_for);
}

#[test]
fn what_wakes_somebody_is_an_alert_that_says_what_to_do_first() {
    let text = || "x".to_owned();
    for event in [
        Event::Broken { room: "relay", problem: text() },
        Event::GateSilent { problem: text() },
        Event::RelaySilent { problem: text() },
        Event::Unserved { problem: text(), down_for: Duration::ZERO },
        Event::GateLost { interface: text(), problem: text() },
        bypass(0),
        Event::Detached { uid: 0 },
        Event::RouteSuspended { route: text(), reason: text() },
        Event::RouteDown { route: text(), reason: text() },
        Event::NextHopUnproved { route: text(), next_hop: text(), reason: text() },
        Event::SpoolFull { messages: 1, free_bytes: 0 },
        Event::SpoolDamaged { place: text(), problem: text(), became: text(), remedy: "x" },
        ends(Severity::Critical),
        Event::SpikeOpened(spike(Class::Entry)),
        Event::SpikeGrew { times: 2, spike: spike(Class::Entry) },
        Event::SpikeGrew { times: 10, spike: spike(Class::Refused) },
    ] {
        assert_eq!(event.level(), Level::Error, "{event:?}");
        let [alert] = &event.alerts(AT)[..] else { panic!("{event:?}") };
        assert_eq!(alert.severity, Severity::Critical, "{event:?}");
        let command = alert.command.as_deref().unwrap();
        // Of a process that ended only the journal says why.
        let first = if alert.class == "process-broken" { "journalctl -u " } else { "sallyport " };
        assert!(command.starts_with(first), "{event:?}: {command}");
    }
}

#[test]
fn every_alert_is_as_bad_as_the_line_of_its_event() {
    let text = || "x".to_owned();
    let net = "192.0.2.0/24".parse().expect("a network");
    let id = crate::mail::message::MessageId(1);
    let mut events = vec![
        Event::Broken { room: "relay", problem: text() },
        Event::Trouble { room: "tls", problem: text() },
        Event::GateSilent { problem: text() },
        Event::RelaySilent { problem: text() },
        Event::Unserved { problem: text(), down_for: Duration::ZERO },
        Event::GateLost { interface: text(), problem: text() },
        bypass(0),
        Event::Detached { uid: 0 },
        Event::ModeChanged { mode: "observe", until: None, uid: None },
        Event::AllowRolledBack { entries: 1, uid: None },
        Event::RouteSuspended { route: text(), reason: text() },
        Event::RouteHeld { route: text(), note: None, uid: 0 },
        Event::RouteDown { route: text(), reason: text() },
        Event::HostDown { route: text(), host: text(), reason: text() },
        Event::NextHopUnproved { route: text(), next_hop: text(), reason: text() },
        Event::SpoolFull { messages: 1, free_bytes: 0 },
        Event::SpoolDamaged { place: text(), problem: text(), became: text(), remedy: "x" },
        Event::ShareUsed { login: text() },
        Event::BounceDropped { id, reason: text() },
        Event::LoginFailed {
            source: [192, 0, 2, 1].into(),
            login: text(),
            cause: "unknown_login",
            failures: 9,
        },
        Event::Offender { net, grounds: text() },
        ends(Severity::Warning),
        ends(Severity::Critical),
        unreached(Severity::Warning),
        unreached(Severity::Critical),
        deserted(Severity::Warning),
        deserted(Severity::Critical),
    ];
    for class in Class::ALL {
        events.push(Event::SpikeOpened(spike(class)));
        events.extend([2, 10].map(|times| Event::SpikeGrew { times, spike: spike(class) }));
    }
    // These two no event causes.
    let mut classes = BTreeSet::from(["alerts-lost", "test"].map(str::to_owned));
    for event in events {
        let [alert] = &event.alerts(AT)[..] else { panic!("{event:?}") };
        let level = match alert.severity {
            Severity::Critical => Level::Error,
            // One line a ban.
            Severity::Warning if alert.class == "client-banned" => Level::Info,
            Severity::Warning => Level::Warn,
        };
        assert_eq!(event.level(), level, "{event:?}");
        classes.insert(alert.class.clone());
    }
    assert!(classes.iter().eq(CLASSES.iter()), "{classes:?}");
}

fn spike(class: Class) -> Box<Spike> {
    Box::new(Spike {
        class,
        subject: String::new(),
        since: AT,
        window: Duration::from_secs(1),
        count: 1,
        usual: 0,
        total: 1,
        lasted: Duration::ZERO,
        top: Vec::new(),
        reasons: BTreeMap::new(),
        sample: None,
        remark: None,
        command: "sallyport status".to_owned(),
    })
}

fn unreached(severity: Severity) -> Event {
    let down_for = Duration::from_secs(60);
    Event::InterfaceDown { interface: "eth0".into(), severity, problem: "x".into(), down_for }
}

fn listener() -> SocketAddr {
    ([192, 0, 2, 1], 2525).into()
}

fn deserted(severity: Severity) -> Event {
    let down_for = Duration::from_secs(4);
    Event::ListenerDown { listener: listener(), severity, problem: "x".into(), down_for }
}

fn ends(severity: Severity) -> Event {
    Event::CertificateEnds { file: "/x.pem".into(), until: AT, severity, problem: "x".into() }
}

#[test]
fn an_interface_is_down_since_nobody_could_come_and_not_since_that_was_told() {
    let alert = unreached(Severity::Critical).alerts(AT).remove(0);
    assert_eq!((alert.at, alert.since), (AT, AT - Duration::from_secs(60)));
}

#[test]
fn a_certificate_that_ends_is_worth_knowing_before_it_wakes_somebody() {
    assert_eq!(ends(Severity::Warning).level(), Level::Warn);
    let key = || "certificate-ends//x.pem".to_owned();
    let opened = |severity| [(key(), Stage::Opened, severity)];
    assert_eq!(said(&ends(Severity::Warning)), opened(Severity::Warning));
    assert_eq!(said(&ends(Severity::Critical)), opened(Severity::Critical));
}

fn bypass(vlan: u16) -> Event {
    Event::GateBypass {
        path: "eth1, which is not guarded".into(),
        vlan: Some(vlan).filter(|vlan| *vlan > 0),
        source: IpAddr::from([192, 0, 2, 1]),
        attempts: 1,
    }
}

#[test]
fn a_tag_that_a_stranger_chooses_makes_no_alert_another_one() {
    let [plain, tagged] = [0, 7].map(|vlan| bypass(vlan).alerts(AT).remove(0));
    assert_eq!((plain.key(), &plain.summary), (tagged.key(), &tagged.summary));
    assert_eq!((plain.details.get("vlan"), &*tagged.details["vlan"]), (None, "7"));
}

#[test]
fn a_spike_that_is_worth_knowing_today_wakes_nobody() {
    for event in [
        Event::SpikeOpened(spike(Class::Refused)),
        Event::SpikeGrew { times: 2, spike: spike(Class::Refused) },
        Event::SpikeClosed(spike(Class::Entry)),
    ] {
        assert_eq!(event.level(), Level::Warn, "{event:?}");
    }
}

#[test]
fn the_room_that_carries_alerts_causes_none_and_operators_are_not_told_what_they_did() {
    let problem = "the webhook cannot be reached".to_owned();
    assert_eq!(said(&Event::Trouble { room: OWN_ROOM, problem: problem.clone() }), []);
    assert_eq!(said(&Event::Trouble { room: "tls", problem }).len(), 1);
    assert_eq!(said(&Event::AllowRolledBack { entries: 1, uid: Some(7) }), []);
    assert_eq!(said(&Event::AllowRolledBack { entries: 1, uid: None }).len(), 1);
}

#[test]
fn what_a_peer_says_is_short_and_has_no_control_characters() {
    let reason = format!("535 \r\n\u{1b}{}", "é".repeat(4000));
    let event = Event::RouteSuspended { route: "r".repeat(1000), reason };
    let [alert] = &event.alerts(AT)[..] else { panic!("one") };
    assert!(alert.subject.len() <= 128 && alert.summary.len() <= 500);
    assert!(alert.details["reason"].len() <= 500);
    assert!(!serde_json::to_string(&alert).unwrap().contains("\\u001b"));
}
