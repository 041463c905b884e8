use super::*;
use crate::cli::status::Whole;
use crate::control::health::{Health, Judgement};
use crate::net::routes::RouteState;

/// Returns what a gate and a relay say at a second: `refused` frames so far, by two networks.
pub fn sample(second: i64, admitted: u64, refused: u64) -> Sample {
    let gate = format!(
        r#"{{"pid":1,"interfaces":[{{"name":"eth0","mode":"native","problem":null}}],"ports":[2525],
        "serving":true,"mode":"enforce","observe_until":null,"generation":7,"second_door":1,
        "loopback":true,"confirm_until":null,"shadow":null,"entries":12,"bans":1,
        "counters":{{"admitted":{0},"unlisted_syn":{refused}}},"spared":0,
        "counted":[{{"interface":"eth0","port":2525,"counts":{{"admitted":{admitted}}},"spared":0}}],
        "talkers":[{{"cidr":"203.0.113.0/24","frames":4801,"error":33,"reason":"unlisted_syn"}},
        {{"cidr":"2001:db8:7::/64","frames":120,"error":8,"reason":"banned"}}],
        "bypasses":[],"refused_per_second":800,"spikes":[{{"class":"spike-refused",
        "since":"2026-01-31T12:00:00Z","until":null,"window_seconds":60,"peak":4801,"usual":2,
        "peak_per_second":80,"usual_per_second":0,"total":4801}}],"problems":[]}}"#,
        2 * admitted
    );
    let relay = r#"{"pid":2,"serving":true,"guard":"guarded","sessions":12,"has_room":true,
        "troubled":[],"spool":{"messages":1204,"damaged":0,"held":2,"captured":0,
        "captured_bytes":0,"body_bytes":5000000,"log_bytes":6291456,"segments":1,
        "troubled_segments":0,"free_bytes":42949672960,"reserve_bytes":0,"commits":0,"flushes":0}}"#;
    let judgement =
        Judgement { health: Health::Degraded, problems: vec!["open spikes: spike-refused".into()] };
    let whole = Whole {
        judgement,
        gate: Some(serde_json::from_str(&gate).unwrap()),
        relay: Some(serde_json::from_str(relay).unwrap()),
        routes: routes(),
        alerts: Vec::new(),
    };
    Sample { at: Timestamp::from_second(1_769_860_800 + second).unwrap(), whole }
}

/// Returns five routes of which two are up, in an order of their own.
fn routes() -> Vec<RouteState> {
    let route = |name: &str, standing: &str, reason: &str, carried: u64| {
        let text = format!(
            r#"{{"name":"{name}","standing":"{standing}","reason":{reason},"since":null,"until":null,
            "hosts":[{{"host":"smtp.example.com:587","order":0,"weight":1,"health":"up","reason":null,
            "since":null,"next_probe":null,"paused_until":null,"in_use":0,"limit":4,"carried":{carried},
            "put_off":0,"throttled":0,"failed":0}}],"in_use":1,"idle":0,"connections":4,"in_memory":1,
            "rate":null,"rate_per_second":null}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    vec![
        route("smarthost", "up", "null", 48_211),
        route("newsletter", "suspended", r#""an operator suspended it""#, 0),
        route("archive", "up", "null", 7),
        route("partner", "degraded", r#""mx2.example.org: connection refused""#, 512),
        route("billing", "down", r#""smtp.example.com:587: connection refused""#, 19),
    ]
}

pub fn shown(samples: impl IntoIterator<Item = Sample>) -> Model {
    let mut model = Model::new("relay.example.net".into());
    samples.into_iter().for_each(|sample| model.take(Told::Sample(Box::new(sample))));
    model
}

#[test]
fn a_ban_asks_first_names_its_command_and_is_done_by_y_alone() {
    let mut model = shown([sample(0, 0, 0)]);
    model.press(Key::Down);
    model.press(Key::Down);
    let change = Change::Ban("2001:db8:7::/64".parse().unwrap());
    for no in [Key::Char('n'), Key::Escape, Key::Enter, Key::Char('Y'), Key::Char('q')] {
        assert_eq!(model.press(Key::Char('b')), None);
        assert_eq!(model.over, Over::Question(change));
        assert_eq!(model.press(no), None, "{no:?}");
        assert_eq!(model.over, Over::Nothing);
    }
    model.press(Key::Char('b'));
    assert_eq!(model.press(Key::Char('y')), Some(Act::Change(change)));
    let command = "sallyport ban add 2001:db8:7::/64 --ttl 1h --note 'from sallyport top'";
    assert_eq!(change.command(), command);
}

#[test]
fn a_network_is_admitted_for_a_while_after_a_question_and_nobody_where_none_was_refused() {
    let mut model = shown([sample(0, 0, 0)]);
    let change = Change::Allow("203.0.113.0/24".parse().unwrap());
    assert_eq!(model.press(Key::Char('a')), None);
    assert_eq!(model.over, Over::Question(change));
    let command = "sallyport allow add 203.0.113.0/24 --ttl 8h --note 'from sallyport top'";
    assert_eq!(change.command(), command);
    assert_eq!(model.press(Key::Char('n')), None);
    assert_eq!(model.over, Over::Nothing);
    model.press(Key::Char('a'));
    assert_eq!(model.press(Key::Char('y')), Some(Act::Change(change)));
    let mut none = sample(1, 0, 0);
    none.whole.gate.as_mut().unwrap().talkers.clear();
    model.take(Told::Sample(Box::new(none)));
    assert_eq!(model.press(Key::Char('a')), None);
    assert!(matches!(model.over, Over::Answer(_)), "{:?}", model.over);
}

#[test]
fn what_is_asked_is_what_the_command_says() {
    use clap::Parser as _;

    use crate::cli::args::{AllowVerb, Arguments, BanVerb, Verb};

    let network = "203.0.113.0/24".parse().unwrap();
    for change in [Change::Ban(network), Change::Allow(network)] {
        let command = change.command();
        let (words, note) = command.split_once(" '").unwrap();
        let words = words.split(' ').chain([note.trim_end_matches('\'')]);
        let typed = match Arguments::try_parse_from(words).unwrap().verb {
            Verb::Ban(BanVerb::Add { networks, ttl, note })
            | Verb::Allow(AllowVerb::Add { networks, ttl, note, .. }) => (networks, ttl, note),
            other => panic!("{other:?}"),
        };
        let asked = match change.request() {
            GateRequest::BanAdd { networks, ttl_ms, note }
            | GateRequest::AllowAdd { networks, ttl_ms, note, .. } => (networks, ttl_ms, note),
            other => panic!("{other:?}"),
        };
        assert_eq!(typed.1.map(|ttl| ttl.as_millis()), asked.1.map(u128::from));
        assert_eq!((typed.0, typed.2), (asked.0, asked.2));
    }
}

#[test]
fn the_selected_network_stays_selected_when_the_order_changes_and_never_leaves_the_list() {
    let mut model = shown([sample(0, 0, 0)]);
    model.press(Key::Down);
    let mut later = sample(1, 0, 0);
    later.whole.gate.as_mut().unwrap().talkers.reverse();
    model.take(Told::Sample(Box::new(later)));
    assert_eq!(model.selected().unwrap().cidr.to_string(), "2001:db8:7::/64");
    assert_eq!(model.selected, 0);
    let mut none = sample(2, 0, 0);
    none.whole.gate.as_mut().unwrap().talkers.clear();
    model.take(Told::Sample(Box::new(none)));
    for key in [Key::Up, Key::Down, Key::Char('b'), Key::Escape, Key::Enter, Key::Escape] {
        assert_eq!(model.press(key), None);
    }
}

#[test]
fn rates_come_from_the_first_door_alone_and_go_on_while_the_view_is_paused() {
    let mut model = shown([sample(0, 10, 100)]);
    model.press(Key::Char('p'));
    model.take(Told::Sample(Box::new(sample(1, 25, 900))));
    assert_eq!((model.passed.now(), model.refused.now()), (15, 800));
    assert_eq!(model.sample.as_ref().unwrap().at, sample(0, 0, 0).at);
    model.press(Key::Char('p'));
    model.take(Told::Sample(Box::new(sample(2, 25, 900))));
    assert_eq!(model.sample.as_ref().unwrap().at, sample(2, 0, 0).at);
}

#[test]
fn what_came_of_an_act_is_shown_until_a_key() {
    let mut model = shown([sample(0, 0, 0)]);
    assert_eq!(model.press(Key::Enter), Some(Act::Explain("203.0.113.0/24".parse().unwrap())));
    model.take(Told::Done("not listed".into()));
    assert_eq!(model.over, Over::Answer("not listed".into()));
    assert_eq!(model.press(Key::Char('q')), None);
    assert_eq!(model.press(Key::Char('q')), Some(Act::Quit));
}
