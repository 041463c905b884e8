use super::*;
use crate::alert::troubles::Trouble;
use crate::cli::print::Terminal;
use crate::cli::status::told;
use crate::event::wording::opened;
use crate::net::routes::HostState;

/// No terminal.
const PIPE: Room = Room { columns: 80, terminal: None };

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
    let screen = screen(&whole(), Paint::Plain, Timestamp::UNIX_EPOCH, PIPE);
    let stored = "\
health    degraded
          ! open spikes: spike-refused
gate      eth0 native, eth1 native (NO CARRIER); ports 2525; 1 entry, 2 bans;
          pid 7
mode      enforce; list 7; second door on 1 socket; loopback admitted
refused   800 a second
          eth0, port 2525: admitted 120 banned 3 listed 40871
            source_over_rate 17 unlisted_segment 9 unlisted_syn 4801
          second door, port 2525: admitted 120
source    203.0.113.0/24: 4801 (at least 4768) in the last minute, unlisted_syn
relay     serving; guarded; 12 sessions; pid 8
spool     9 messages, 6144 KiB on disk, 40960 MiB free
          the next message that waits is due at 1970-01-01T00:10:00Z
          of the messages 2 held, 3 captured (2 KiB), 1 damaged
sandbox   of the relay: landlock (ABI 7), seccomp
alert     spool-full since 1970-01-01T00:00:00Z: the spool is full
          first: sallyport queue list";
    assert_eq!(screen, stored, "the screen is now:\n{screen}");
}

#[test]
fn when_a_message_is_due_is_told_until_then_only() {
    let at = |second| screen(&whole(), Paint::Plain, Timestamp::from_second(second).unwrap(), PIPE);
    assert!(at(599).contains("is due at 1970-01-01T00:10:00Z"));
    for second in [600, 6_000] {
        assert!(!at(second).contains("is due at"), "{second}");
    }
}

#[test]
fn colours_are_put_around_the_health_and_its_reasons_only() {
    let plain = screen(&whole(), Paint::Plain, Timestamp::UNIX_EPOCH, PIPE);
    let coloured = screen(&whole(), Paint::Colours, Timestamp::UNIX_EPOCH, PIPE);
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
    let line = "at least 900 different ones were refused in the last minute";
    assert_eq!(sources_words(&named).unwrap(), line);
    let crowd = GateStatus { talkers: Vec::new(), ..named };
    assert_eq!(sources_words(&crowd).unwrap(), format!("{line}; no network stands out"));
    for sources in [None, Some(0), Some(1)] {
        assert_eq!(sources_words(&GateStatus { sources, ..whole().gate.unwrap() }), None);
    }
}

#[test]
fn a_spool_in_which_nothing_stays_says_nothing_of_it() {
    let relay = whole().relay.unwrap();
    let spool = spool::Status { held: 0, captured: 0, damaged: 0, ..relay.spool.unwrap() };
    assert_eq!(staying(&spool), None);
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
    assert!(alert_words(&told(trouble(Some(start)))).contains(words));
    assert!(!alert_words(&told(trouble(None))).contains("not heard of"));
}

/// A host of a route that is down, and tried next at a second.
fn host(next: Option<i64>) -> HostState {
    HostState {
        host: "smtp.example.net:587".into(),
        order: 0,
        weight: 1,
        health: "down".into(),
        reason: Some("refused".into()),
        since: None,
        next_probe: next.map(|second| Timestamp::from_second(second).unwrap()),
        paused_until: None,
        in_use: 0,
        limit: 2,
        carried: 5,
        put_off: 0,
        throttled: 0,
        failed: 2,
    }
}

fn route(name: &str, standing: Standing, waiting: usize) -> RouteState {
    RouteState {
        name: name.into(),
        standing,
        reason: None,
        since: None,
        until: Some(Timestamp::from_second(90).unwrap()),
        hosts: vec![host(Some(60)), host(Some(30)), host(None)],
        in_use: 0,
        idle: 0,
        connections: 10,
        in_memory: 0,
        waiting: Some(waiting),
        rate: None,
        rate_per_second: None,
    }
}

#[test]
fn a_route_whose_mail_waits_says_how_much_and_when_it_is_tried_next() {
    let line = |standing, waiting| {
        let line = route_words(&route("a", standing, waiting), Timestamp::UNIX_EPOCH);
        line.split_once("15 carried").unwrap().1.to_owned()
    };
    assert_eq!(line(Standing::Down, 7), "; 7 messages waiting; next try 1970-01-01T00:00:30Z");
    assert_eq!(
        line(Standing::LoginRefused, 1),
        "; 1 message waiting; next try 1970-01-01T00:01:30Z"
    );
    assert_eq!(line(Standing::Suspended, 1), "; 1 message waiting");
    assert_eq!(line(Standing::Up, 0), "");
    let late = route_words(&route("a", Standing::Down, 1), Timestamp::from_second(30).unwrap());
    assert!(late.ends_with("; tried with the next message that is due"), "{late}");
}

/// A spike, for a network or in all.
fn spike(class: &str, subject: Option<&str>, until: Option<Timestamp>) -> Spike {
    Spike {
        class: class.into(),
        subject: subject.map(Into::into),
        since: Timestamp::UNIX_EPOCH,
        until,
        window_seconds: 60,
        peak: 48_012,
        usual: 12,
        peak_per_second: 812,
        usual_per_second: 1,
        total: 120_000,
    }
}

/// The networks that spikes are about.
const NETWORKS: [&str; 3] = ["198.51.100.0/24", "203.0.113.0/24", "2001:db8:1234:5678::/64"];

/// A gate on many ports of two interfaces, and attacked in every way.
fn attacked(gate: GateStatus) -> GateStatus {
    let place = |interface: &str, port| Counted {
        interface: Some(interface.into()),
        port: Some(port),
        ..gate.counted[0].clone()
    };
    let places = [25, 465, 587, 2525].map(|port| ["eth0", "eth1"].map(|name| place(name, port)));
    let talkers = NETWORKS.iter().cycle().take(5);
    let talkers =
        talkers.map(|cidr| Talker { cidr: cidr.parse().unwrap(), ..gate.talkers[0].clone() });
    let way = Bypass {
        path: "tun1 (vxlan)".into(),
        since: Timestamp::UNIX_EPOCH,
        last: Timestamp::UNIX_EPOCH,
        attempts: 7,
        source: "198.51.100.7".parse().unwrap(),
    };
    let mut spikes = vec![
        spike("spike-refused", None, None),
        spike("gate-bypass", None, None),
        spike("spike-sources", None, None),
    ];
    spikes.extend(NETWORKS.map(|network| spike("spike-prefix", Some(network), None)));
    spikes.extend((0..9).map(|_| spike("spike-refused", None, Some(Timestamp::UNIX_EPOCH))));
    GateStatus {
        sources: Some(4_711),
        counted: places.concat(),
        talkers: talkers.collect(),
        bypasses: vec![way],
        spikes,
        ..gate
    }
}

/// A day on which everything happens at a time.
fn bad_day() -> Whole {
    let mut whole = whole();
    let gate = attacked(whole.gate.take().unwrap());
    let told = gate.spikes.iter().filter(|spike| spike.until.is_none()).map(|spike| {
        let words = "8012 connection attempts a second are refused; usual are 12";
        let told = opened("spike-refused", words).first("sallyport explain 198.51.100.7");
        let told = told.about(spike.subject.as_deref().unwrap_or_default()).at(spike.since);
        Alert { class: spike.class.clone(), ..told }
    });
    whole.alerts.extend(told);
    // The way around the gate is told by its name.
    whole.alerts.iter_mut().filter(|alert| alert.class == "gate-bypass").for_each(|alert| {
        alert.subject = "tun1".into();
    });
    whole.gate = Some(gate);
    let routes = ["smarthost", "internal", "eu", "us", "archive", "partners"];
    whole.routes = vec![route("fine", Standing::Up, 0), route("weak", Standing::Degraded, 0)];
    whole.routes.extend(routes.map(|name| route(name, Standing::Down, 70)));
    let downs = routes.map(|route| {
        let summary = "smtp.example.net:587 of it is down: it refuses connections";
        opened("route-down", summary)
            .about(route)
            .first("sallyport doctor")
            .at(Timestamp::UNIX_EPOCH)
    });
    whole.alerts.extend(downs);
    let problems =
        routes.map(|route| format!("route {route}: no host of it is up, its mail waits"));
    whole.judgement.problems.extend(problems);
    whole
}

#[test]
fn a_bad_day_fits_on_every_terminal_and_says_how_to_see_the_rest() {
    let bad_day = bad_day();
    let shown = |columns, rows| {
        let room =
            Room { columns: Ord::max(columns, 80), terminal: Some(Terminal { columns, rows }) };
        screen(&bad_day, Paint::Plain, Timestamp::UNIX_EPOCH, room)
    };
    let mut former = 0;
    for rows in [24, 25, 30, 40, 50, 60, 80] {
        for columns in [80, 120] {
            let text = shown(columns, rows);
            let lines: Vec<_> = text.lines().collect();
            assert!(lines.len() < rows, "{} of {rows}:\n{text}", lines.len());
            let long = lines.iter().find(|line| line.chars().count() > columns);
            assert_eq!(long, None, "{text}");
            let labels = [
                "health",
                "          ! open",
                "gate",
                "mode",
                "refused",
                "source",
                "bypass",
                "spike",
            ];
            for label in labels.iter().chain(&["relay", "spool", "sandbox", "route", "alert"]) {
                let is_there = text.contains(&format!("\n{label}")) || text.starts_with(label);
                assert!(is_there, "{label}: {text}");
            }
        }
        let more = shown(80, rows).lines().count();
        assert!(more >= former, "a taller terminal shows less: {more}");
        former = more;
    }
    let narrow = shown(60, 40);
    let taken: usize = narrow.lines().map(|line| line.chars().count().div_ceil(60)).sum();
    assert!(taken < 40 && narrow.lines().count() < taken, "{taken}:\n{narrow}");
    let least = shown(80, 24);
    for words in [
        "          and 6 more: sallyport status --check",
        "\n          8 counted places: sallyport status --json",
        "\nbypass    1 path: sallyport status --json",
        "\n          first: sallyport explain 198.51.100.7\n          and 4 more: sallyport alert list",
        "\nroute     8 routes: sallyport route list",
    ] {
        assert!(least.contains(words), "{words}: {least}");
    }
}

#[test]
fn a_spike_that_is_open_stands_once_with_what_to_do_and_routes_whose_mail_waits_first() {
    let text = screen(&bad_day(), Paint::Plain, Timestamp::UNIX_EPOCH, PIPE);
    let spike = "\nspike     spike-prefix 203.0.113.0/24 since 1970-01-01T00:00:00Z: peak 48012 in\n          \
                 60 s, usual 12\n          first: sallyport explain 198.51.100.7\n";
    assert_eq!(text.matches(spike).count(), 1, "{text}");
    assert_eq!(text.matches("spike-prefix").count(), 3, "one for each network: {text}");
    // The way around the gate has a row of its own, and what was told.
    assert!(!text.contains("spike     gate-bypass"), "{text}");
    assert!(text.contains("\nbypass    tun1 (vxlan)"), "{text}");
    assert!(text.contains("\nalert     gate-bypass/tun1 since"), "{text}");
    assert!(!text.contains(" more: ") && !text.contains("\nover "), "{text}");
    let places = ["route     smarthost down", "route     weak degraded", "route     fine up"];
    let places = places.map(|words| text.find(words).unwrap_or_else(|| panic!("{words}: {text}")));
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn spikes_that_the_gate_does_not_name_are_counted_and_not_told_as_alerts_besides() {
    let mut whole = bad_day();
    let gate = whole.gate.as_mut().unwrap();
    gate.open_spikes = [("spike-prefix".to_owned(), 30), ("spike-entry".to_owned(), 0)].into();
    let unnamed = opened("spike-prefix", "x").about("192.0.2.0/24").at(Timestamp::UNIX_EPOCH);
    let guessed = opened("spike-entry", "x").about("192.0.2.0/24").at(Timestamp::UNIX_EPOCH);
    whole.alerts.extend([unnamed, guessed]);
    let text = screen(&whole, Paint::Plain, Timestamp::UNIX_EPOCH, PIPE);
    assert!(text.contains("\n          and 27 more: sallyport alert list"), "{text}");
    assert!(!text.contains("alert     spike-prefix"), "{text}");
    assert!(
        text.contains("alert     spike-entry/192.0.2.0/24"),
        "of that class none is open: {text}"
    );
    whole.relay = None;
    whole.alerts.clear();
    let text = screen(&whole, Paint::Plain, Timestamp::UNIX_EPOCH, PIPE);
    assert!(text.contains("\nrelay     -\n"), "{text}");
    assert!(text.contains("\n          and 27 more: sallyport status --json"), "{text}");
    assert!(!text.contains("first: "), "nobody told what to do: {text}");
}

#[test]
fn what_shows_nothing_but_this_screen_is_not_what_to_do_first() {
    let mut whole = whole();
    whole.gate.as_mut().unwrap().spikes = vec![spike("spike-sources", None, None)];
    let of = |class, about| {
        opened(class, "x").about(about).first("sallyport status").at(Timestamp::UNIX_EPOCH)
    };
    whole.alerts = vec![of("spike-sources", ""), of("gate-missing", "eth0")];
    let text = screen(&whole, Paint::Plain, Timestamp::UNIX_EPOCH, PIPE);
    assert!(text.contains("alert     gate-missing/eth0") && !text.contains("first: "), "{text}");
}

#[test]
fn what_keeps_both_processes_in_is_one_row_if_it_is_the_same() {
    let mut whole = whole();
    let relay = whole.relay.as_ref().unwrap().sandbox.clone();
    let shown = |whole: &Whole| screen(whole, Paint::Plain, Timestamp::UNIX_EPOCH, PIPE);
    whole.gate.as_mut().unwrap().sandbox = relay.clone();
    assert!(shown(&whole).contains("\nsandbox   of both: landlock (ABI 7), seccomp\n"));
    let lacks = Some("no landlock".to_owned());
    whole.gate.as_mut().unwrap().sandbox = relay.map(|relay| Sandbox { lacks, ..relay });
    let rows = "\nsandbox   of the gate: no landlock\nsandbox   of the relay: landlock";
    assert!(shown(&whole).contains(rows));
    whole.gate = None;
    let text = shown(&whole);
    assert!(text.contains("\ngate      -\n") && !text.contains("of the gate"), "{text}");
}

#[test]
fn spikes_that_are_over_are_named_while_none_is_open() {
    let mut whole = whole();
    let over = Some(Timestamp::UNIX_EPOCH);
    whole.gate.as_mut().unwrap().spikes = vec![spike("spike-sources", None, over); OVER_SHOWN + 2];
    // Of one whose end the relay has not heard yet.
    let told = opened("spike-sources", "x").first("sallyport ban add 203.0.113.0/24");
    whole.alerts.push(told.at(Timestamp::UNIX_EPOCH));
    let text = screen(&whole, Paint::Plain, Timestamp::UNIX_EPOCH, PIPE);
    let line = "over      spike-sources since 1970-01-01T00:00:00Z until 1970-01-01T00:00:00Z:\n          \
                at least 48012 in 60 s, usual 12\n";
    assert_eq!(text.matches(line).count(), OVER_SHOWN, "{text}");
    assert!(text.contains("\n          and 2 more: sallyport status --json"), "{text}");
    assert_eq!(text.matches("first: sallyport ban").count(), 1, "with the alert alone: {text}");
}
