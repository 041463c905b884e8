use super::*;
use crate::config::Config;
use crate::event::wording::opened;

/// Both processes of a relay that serves, while a spike is open.
fn whole() -> Whole {
    let gate = r#"{"pid":7,"interfaces":[{"name":"eth0","mode":"native","problem":null},
        {"name":"eth1","mode":"native","problem":null,"down":"no carrier"}],"ports":[2525],
        "serving":true,"mode":"enforce","observe_until":null,"generation":7,"second_door":1,"loopback":true,
        "confirm_until":null,"shadow":null,"entries":1,"bans":2,"counters":{},"spared":0,"counted":[
        {"interface":"eth0","port":2525,"spared":0,"counts":{"admitted":120,"banned":3,"listed":40871,
        "source_over_rate":17,"unlisted_segment":9,"unlisted_syn":4801}},
        {"interface":null,"port":2525,"spared":0,"counts":{"admitted":120}}],
        "talkers":[{"cidr":"203.0.113.0/24","frames":4801,"error":33,"reason":"unlisted_syn"}],"bypasses":[],
        "refused_per_second":800,"spikes":[],"problems":[]}"#;
    let relay = r#"{"pid":8,"serving":true,"guard":"guarded","sessions":12,"has_room":true,"troubled":[],
        "sandbox":{"holds":"landlock (ABI 7), seccomp","lacks":null},
        "spool":{"messages":9,"damaged":1,"held":2,"captured":3,"captured_bytes":2048,"body_bytes":0,
        "log_bytes":6291456,"segments":1,"troubled_segments":0,"free_bytes":42949672960,"reserve_bytes":0,
        "commits":90,"flushes":12,"next_due":"1970-01-01T00:10:00Z"}}"#;
    Whole {
        judgement: Judgement {
            health: Health::Degraded,
            problems: vec!["open spikes: spike-refused".to_owned()],
        },
        gate: Some(serde_json::from_str(gate).unwrap()),
        relay: Some(serde_json::from_str(relay).unwrap()),
        routes: Vec::new(),
        alerts: vec![
            opened("spool-full", "the spool is full")
                .first("sallyport queue list")
                .at(Timestamp::UNIX_EPOCH),
        ],
    }
}

#[test]
fn all_is_on_one_screen() {
    let screen = screen(&whole(), Paint::Plain, Timestamp::UNIX_EPOCH);
    let stored = "\
health    degraded
          ! open spikes: spike-refused
gate      eth0 native, eth1 native (NO CARRIER); ports 2525; 1 entry, 2 bans; pid 7
mode      enforce; list 7; second door on 1 socket; this host's own connections admitted
refused   800 a second
          eth0, port 2525: admitted 120 banned 3 listed 40871
            source_over_rate 17 unlisted_segment 9 unlisted_syn 4801
          second door, port 2525: admitted 120
source    203.0.113.0/24: 4801 (at least 4768) refused in the last minute, unlisted_syn
relay     serving; guarded; 12 sessions; pid 8
          sandbox: landlock (ABI 7), seccomp
spool     9 messages, 6144 KiB on disk, 40960 MiB free; 90 committed with 12 flushes
          the next message that waits is due at 1970-01-01T00:10:00Z
          of these 2 held, 3 captured (2 KiB), 1 damaged
alert     spool-full since 1970-01-01T00:00:00Z: the spool is full; first: sallyport queue list";
    assert_eq!(screen, stored, "the screen is now:\n{screen}");
}

#[test]
fn when_a_message_is_due_is_told_until_then_only() {
    let at = |second| screen(&whole(), Paint::Plain, Timestamp::from_second(second).unwrap());
    assert!(at(599).contains("is due at 1970-01-01T00:10:00Z"));
    for second in [600, 6_000] {
        assert!(!at(second).contains("is due at"), "{second}");
    }
}

#[test]
fn colours_are_put_around_the_health_and_its_reasons_only() {
    let plain = screen(&whole(), Paint::Plain, Timestamp::UNIX_EPOCH);
    let coloured = screen(&whole(), Paint::Colours, Timestamp::UNIX_EPOCH);
    assert!(!plain.contains('\u{1b}'));
    let lines = coloured.lines().zip(plain.lines());
    let differ: Vec<_> = lines.filter(|(one, other)| one != other).map(|(one, _)| one).collect();
    let stored = [
        "health    \u{1b}[1;33mdegraded\u{1b}[0m",
        "          \u{1b}[1;33m! open spikes: spike-refused\u{1b}[0m",
    ];
    assert_eq!(differ, stored);
}

#[test]
fn many_sources_of_which_none_stands_out_have_a_line() {
    let named = GateStatus { sources: Some(900), ..whole().gate.unwrap() };
    let line = "sources   at least 900 different ones were refused in the last minute";
    assert_eq!(sources_line(&named).unwrap(), line);
    let crowd = GateStatus { talkers: Vec::new(), ..named };
    assert_eq!(sources_line(&crowd).unwrap(), format!("{line}; no network stands out"));
    for sources in [None, Some(0), Some(1)] {
        assert_eq!(sources_line(&GateStatus { sources, ..whole().gate.unwrap() }), None);
    }
}

#[test]
fn a_spool_in_which_nothing_stays_says_nothing_of_it() {
    let relay = whole().relay.unwrap();
    let spool = spool::Status { held: 0, captured: 0, damaged: 0, ..relay.spool.unwrap() };
    assert_eq!(staying(&spool), None);
}

#[test]
fn processes_that_hang_are_waited_for_side_by_side_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = |name: &str| folder.path().join(name);
    let silent =
        ["gate", "relay"].map(|name| std::os::unix::net::UnixListener::bind(socket(name)).unwrap());
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\ninterfaces = ['eth0']\nsocket = '{}'\n[relay]\nsocket = '{}'\n\
         [[listener]]\naddress = '[::]:2525'\n",
        socket("gate").display(),
        socket("relay").display()
    );
    let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let Whole { judgement, .. } = look(&Reach::from(&config));
    assert_eq!(judgement.health, Health::NotServing);
    let wanted = ["gate", "relay"].map(|process| {
        format!(
            "the {process} does not answer within 2 s; see `sallyport doctor` and `journalctl -u \
             sallyport-{process}`"
        )
    });
    assert_eq!(judgement.problems, wanted);
    drop(silent);
}

#[test]
fn a_trouble_that_nobody_heard_of_since_a_start_is_said_to_be_perhaps_over() {
    let start = Timestamp::UNIX_EPOCH;
    let trouble = |unconfirmed| Trouble {
        alert: opened("route-suspended", "its mail waits").about("smarthost").at(start),
        origin: crate::alert::troubles::Origin::Relay,
        told: None,
        known: Some(crate::event::alert::Severity::Critical),
        reminders: 0,
        unconfirmed,
    };
    let words = "not heard of since the start at 1970-01-01T00:00:00Z, so it may be over";
    assert!(alert_line(&told(trouble(Some(start)))).contains(words));
    assert!(!alert_line(&told(trouble(None))).contains("not heard of"));
}

#[test]
fn a_route_whose_mail_waits_says_how_much_and_when_it_is_tried_next() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let host = |next: Option<i64>| crate::net::routes::HostState {
        host: "smtp.example.net:587".into(),
        order: 0,
        weight: 1,
        health: "down".into(),
        reason: Some("refused".into()),
        since: None,
        next_probe: next.map(at),
        paused_until: None,
        in_use: 0,
        limit: 2,
        carried: 5,
        put_off: 0,
        throttled: 0,
        failed: 2,
    };
    let route = |standing, waiting| RouteState {
        name: "smarthost".into(),
        standing,
        reason: None,
        since: None,
        until: Some(at(90)),
        hosts: vec![host(Some(60)), host(Some(30)), host(None)],
        in_use: 0,
        idle: 0,
        connections: 10,
        in_memory: 0,
        waiting: Some(waiting),
        rate: None,
        rate_per_second: None,
    };
    let line = |standing, waiting| {
        let line = route_line(&route(standing, waiting));
        line.split_once("15 carried").unwrap().1.to_owned()
    };
    assert_eq!(line(Standing::Down, 7), "; 7 messages waiting; next try 1970-01-01T00:00:30Z");
    assert_eq!(
        line(Standing::LoginRefused, 1),
        "; 1 message waiting; next try 1970-01-01T00:01:30Z"
    );
    assert_eq!(line(Standing::Suspended, 1), "; 1 message waiting");
    assert_eq!(line(Standing::Up, 0), "");
}
