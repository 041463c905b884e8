//! What is answered from here, and what a next hop answers, past rules that know only one direction.

use super::*;

/// The listing of one chain at a hook.
fn at(hook: &str, policy: &str, rules: &[serde_json::Value]) -> Ruleset {
    let mut text: serde_json::Value = serde_json::from_str(&listing(policy, rules)).unwrap();
    for object in text["nftables"].as_array_mut().unwrap() {
        if object["chain"]["hook"] == "input" {
            object["chain"]["hook"] = json!(hook);
            object["chain"]["type"] = json!("filter");
        }
    }
    nft::read(&text.to_string(), &Ruleset::default()).unwrap()
}

fn state(states: serde_json::Value) -> serde_json::Value {
    json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": states}})
}

fn by(key: &str, name: &str) -> serde_json::Value {
    json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": name}})
}

fn causes(rules: &Ruleset, from: Option<&str>) -> Vec<&'static str> {
    let own = "192.0.2.1".parse().unwrap();
    let packet = Packet { destinations: vec![own..=own], ..client(from) };
    let clients = from.map_or(Clients::Anybody, |from| Clients::One(from.parse().unwrap()));
    let found = judge(rules, &[packet], clients);
    found.iter().map(|found| found.cause.id()).collect()
}

#[test]
fn what_a_client_is_answered_may_be_dropped() {
    const STOPS: &[&str] = &["firewall"];
    const PERHAPS: &[&str] = &["firewall-perhaps"];
    const NONE: &[&str] = &[];
    const CLIENT: Option<&str> = Some("192.0.2.7");
    let (accept, drop) = (|| json!({"accept": null}), || json!({"drop": null}));
    let to = |ip: &str| payload("ip", "daddr", json!(ip));
    let sport = |port: u16| payload("tcp", "sport", json!(port));
    let dport = |ports: serde_json::Value| payload("tcp", "dport", ports);
    let known = || json!([state(json!(["established", "related"])), accept()]);
    let lo = || json!([by("oifname", "lo"), accept()]);
    let out = "output";
    for (row, hook, policy, rules, from, wanted) in [
        (
            "to him",
            out,
            "accept",
            vec![json!([to("192.0.2.7"), sport(2525), drop()])],
            CLIENT,
            STOPS,
        ),
        ("to another", out, "accept", vec![json!([to("192.0.2.8"), drop()])], CLIENT, NONE),
        ("to somebody", out, "accept", vec![json!([to("192.0.2.7"), drop()])], None, PERHAPS),
        ("another port of ours", out, "accept", vec![json!([sport(25), drop()])], None, NONE),
        ("a policy", out, "drop", vec![lo()], None, STOPS),
        ("a policy, for one", out, "drop", vec![lo()], CLIENT, STOPS),
        ("a policy, and what is known", out, "drop", vec![lo(), known()], None, NONE),
        ("new ones alone", out, "drop", vec![json!([state(json!("new")), accept()])], None, STOPS),
        ("by our device", out, "drop", vec![json!([by("oifname", "eth*"), accept()])], None, NONE),
        ("ports of services", out, "drop", vec![json!([dport(json!(587)), accept()])], None, STOPS),
        (
            "one port of clients",
            out,
            "drop",
            vec![json!([dport(json!(2587)), accept()])],
            None,
            STOPS,
        ),
        (
            "a part of the ports of clients",
            out,
            "drop",
            vec![json!([dport(json!({"range": [2000, 5000]})), accept()])],
            None,
            PERHAPS,
        ),
        (
            "all ports of clients",
            out,
            "drop",
            vec![json!([
                dport(json!({"set": [{"range": [9000, 65535]}, {"range": [80, 8999]}]})),
                accept()
            ])],
            None,
            NONE,
        ),
        ("our port", out, "drop", vec![json!([sport(2525), accept()])], None, NONE),
        ("after the way is chosen", "postrouting", "drop", vec![lo()], None, STOPS),
        (
            "without a connection",
            out,
            "drop",
            vec![known(), json!([sport(2525), {"notrack": null}])],
            None,
            PERHAPS,
        ),
        (
            "others without one",
            out,
            "drop",
            vec![known(), json!([sport(53), dport(json!(53)), {"notrack": null}])],
            None,
            NONE,
        ),
    ] {
        assert_eq!(causes(&at(hook, policy, &rules), from), wanted, "{row}");
    }
}

#[test]
fn what_a_client_is_answered_is_followed_through_iptables_too() {
    for (row, rules, wanted) in [
        ("a policy", ":OUTPUT DROP [0:0]\n-A OUTPUT -o lo -j ACCEPT\n", &["firewall"][..]),
        (
            "what is known",
            ":OUTPUT DROP [0:0]\n-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
            &[],
        ),
        ("not new ones", ":OUTPUT DROP [0:0]\n-A OUTPUT -m state ! --state NEW -j ACCEPT\n", &[]),
        (
            "SYN alone",
            ":OUTPUT DROP [0:0]\n-A OUTPUT -p tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT\n",
            &["firewall"],
        ),
        (
            "SYN and ACK",
            ":OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp --tcp-flags SYN,ACK SYN,ACK -j DROP\n",
            &["firewall"],
        ),
        (
            "from our port",
            ":POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -d 192.0.2.7 -p tcp -m multiport --sports 25,2525 -j DROP\n",
            &["firewall"],
        ),
        (
            "without a connection",
            ":OUTPUT DROP [0:0]\n-A OUTPUT -p tcp --sport 2525 -j CT --notrack\n-A OUTPUT -m state --state ESTABLISHED -j ACCEPT\n",
            &["firewall-perhaps"],
        ),
    ] {
        let rules = iptables::read(&format!("*mangle\n{rules}COMMIT\n"), Families::V4);
        assert_eq!(causes(&rules, Some("192.0.2.7")), wanted, "{row}");
    }
}

#[test]
fn chains_of_translations_never_see_an_answer() {
    let rules = "*nat\n:OUTPUT DROP [0:0]\n:POSTROUTING DROP [0:0]\nCOMMIT\n";
    assert_eq!(causes(&iptables::read(rules, Families::V4), None), [""; 0]);
}

#[test]
fn what_a_next_hop_answers_may_be_dropped() {
    let target = "192.0.2.200:2587".parse().unwrap();
    let hop = |ports| of_ours(target, vec!["eth0".into()], ports, Owner::Unknown);
    let accept = || json!({"accept": null});
    let lo = || json!([by("iifname", "lo"), accept()]);
    let dport = || json!([payload("tcp", "dport", json!(2525)), accept()]);
    let from = |port: u16| json!([payload("tcp", "sport", json!(port)), accept()]);
    let known = || json!([state(json!(["established"])), accept()]);
    let answers = Some("drops what it answers");
    for (row, hook, rules, wanted) in [
        ("nothing that is known", "input", vec![lo(), dport()], answers),
        ("what is known", "input", vec![lo(), dport(), known()], None),
        ("from its port", "input", vec![from(2587)], None),
        ("from another", "input", vec![from(25)], answers),
        ("before the way is chosen", "prerouting", vec![dport()], answers),
        ("what we send", "output", vec![known()], Some("drops what we send there")),
    ] {
        let told = judge_out(&at(hook, "drop", &rules), &hop(32_768..=60_999));
        let begins = |says: String| says.split(':').next().unwrap().to_owned();
        assert_eq!(told.map(|told| begins(told.says)).as_deref(), wanted, "{row}");
    }
    let some = json!([payload("tcp", "dport", json!({"range": [2000, 5000]})), accept()]);
    let rules = at("input", "drop", &[some]);
    assert_eq!(judge_out(&rules, &hop(1024..=65_535)), None, "it may be given such a port");
}

#[test]
fn what_drops_what_anybody_is_answered_is_told_of_clients_not_of_this_host() {
    let rule = || json!([payload("tcp", "sport", json!(2525)), {"drop": null}]);
    let listener = "192.0.2.1:2525".parse().unwrap();
    let own = |rules: &[serde_json::Value]| {
        let rules = at("output", "accept", rules);
        let met = meetings(&rules, &client(None), Clients::Anybody);
        judge_own(&rules, listener, &met, Owner::Unknown)
    };
    assert_eq!(own(&[rule()]), Own::Told);
    assert_eq!(own(&[json!([by("oifname", "eth0"), {"drop": null}])]), Own::Free);
    let alone =
        own(&[json!([by("oifname", "lo"), payload("tcp", "sport", json!(2525)), {"drop": null}])]);
    assert!(matches!(alone, Own::Dropped(_)), "{alone:?}");
}
