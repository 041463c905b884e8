//! Redirections, by maps and without, and flags, as nftables 1.0.6 lists them.

use super::*;

fn port(port: u16) -> serde_json::Value {
    payload("tcp", "dport", json!(port))
}

/// The listing of a chain of translations with this rule, and these maps.
fn nat(maps: &[serde_json::Value], expr: &serde_json::Value) -> Ruleset {
    let mut all = vec![
        json!({"chain": {"family": "ip", "table": "nat", "name": "pre", "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}}),
        json!({"chain": {"family": "ip", "table": "nat", "name": "other"}}),
        json!({"rule": {"family": "ip", "table": "nat", "chain": "other", "handle": 1, "expr": [{"dnat": {"addr": "10.0.0.2", "port": 80}}]}}),
    ];
    all.extend_from_slice(maps);
    all.push(json!({"rule": {"family": "ip", "table": "nat", "chain": "pre", "handle": 2, "expr": expr}}));
    nft::read(&json!({ "nftables": all }).to_string(), &Ruleset::default()).unwrap()
}

fn causes(rules: &Ruleset) -> Vec<&'static str> {
    let mut packet = client(None);
    let own = "192.0.2.1".parse().unwrap();
    packet.destinations = vec![own..=own];
    judge(rules, &[packet], Clients::Anybody).iter().map(|found| found.cause.id()).collect()
}

#[test]
fn redirections_to_and_from_the_port_are_told_apart() {
    let causes = |expr| causes(&nat(&[], &expr));
    assert_eq!(
        causes(json!([port(2525), {"dnat": {"addr": "10.0.0.2", "port": 2525}}])),
        ["redirected-away"]
    );
    assert_eq!(causes(json!([port(2525), {"redirect": {"port": 25}}])), ["redirected-away"]);
    assert_eq!(causes(json!([port(25), {"redirect": {"port": 2525}}])), ["redirected-here"]);
    let range = json!({"range": [2525, 2530]});
    assert_eq!(causes(json!([port(25), {"redirect": {"port": range}}])), ["redirected-here"]);
    assert_eq!(causes(json!([port(465), {"dnat": {"addr": "10.0.0.2"}}])), [""; 0]);
}

#[test]
fn a_map_of_targets_means_the_ports_that_it_names_and_no_other() {
    const AWAY: &[&str] = &["redirected-away"];
    const HERE: &[&str] = &["redirected-here"];
    const PERHAPS: &[&str] = &["firewall-perhaps"];
    const NONE: &[&str] = &[];
    let dport = || json!({"payload": {"protocol": "tcp", "field": "dport"}});
    let set = |pairs: serde_json::Value| json!({"set": pairs});
    let map = |key: serde_json::Value, data: serde_json::Value| json!({"map": {"key": key, "data": data}});
    let by_port = |data| map(dport(), data);
    let named = |elements: serde_json::Value| json!({"map": {"family": "ip", "table": "nat", "name": "there", "type": "inet_service", "elem": elements}});
    let many: Vec<_> = (3000..5000).map(|port| json!([port, "10.0.0.2"])).collect();
    let draw = || json!({"numgen": {"mode": "random", "mod": 2, "offset": 0}});
    let source = || json!({"payload": {"protocol": "ip", "field": "saddr"}});
    let both = || json!({"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]});
    let full =
        |ip: &str| set(json!([[{"concat": [ip, "tcp", 2525]}, {"goto": {"target": "other"}}]]));
    for (row, maps, said, wanted) in [
        (
            "another port",
            vec![],
            json!({"dnat": {"addr": by_port(set(json!([[80, "10.0.0.2"]])))}}),
            NONE,
        ),
        (
            "ours",
            vec![],
            json!({"dnat": {"addr": by_port(set(json!([[80, "10.0.0.2"], [2525, "10.0.0.9"]])))}}),
            AWAY,
        ),
        (
            "a range with ours",
            vec![],
            json!({"redirect": {"port": by_port(set(json!([[{"range": [2500, 2600]}, 465]])))}}),
            AWAY,
        ),
        (
            "from another to ours",
            vec![],
            json!({"redirect": {"port": by_port(set(json!([[25, 2525]])))}}),
            HERE,
        ),
        (
            "an address with a port",
            vec![],
            json!({"dnat": {"addr": by_port(set(json!([[80, {"concat": ["10.0.0.2", 2525]}]])))}}),
            HERE,
        ),
        (
            "an element with a remark",
            vec![],
            json!({"dnat": {"addr": by_port(set(json!([[{"elem": {"val": 2525, "comment": "x"}}, "10.0.0.2"]])))}}),
            AWAY,
        ),
        (
            "by who sends",
            vec![],
            json!({"dnat": {"addr": map(source(), set(json!([["10.0.0.3", "10.0.0.2"]]))), "port": 25}}),
            PERHAPS,
        ),
        (
            "by lot",
            vec![],
            json!({"dnat": {"addr": map(draw(), set(json!([[0, "10.0.0.2"]])))}}),
            PERHAPS,
        ),
        (
            "a name",
            vec![named(json!([[2525, "10.0.0.9"]]))],
            json!({"dnat": {"addr": by_port(json!("@there"))}}),
            AWAY,
        ),
        (
            "a name, not ours",
            vec![named(json!([[80, "10.0.0.9"]]))],
            json!({"dnat": {"addr": by_port(json!("@there"))}}),
            NONE,
        ),
        (
            "a name that nobody knows",
            vec![],
            json!({"redirect": {"port": by_port(json!("@there"))}}),
            PERHAPS,
        ),
        (
            "too many",
            vec![named(json!(many))],
            json!({"dnat": {"addr": by_port(json!("@there"))}}),
            PERHAPS,
        ),
        (
            "verdicts by name",
            vec![named(json!([[2525, {"drop": null}]]))],
            json!({"vmap": {"key": dport(), "data": "@there"}}),
            &["firewall"],
        ),
        (
            "verdicts of others by name",
            vec![named(json!([[25, {"drop": null}]]))],
            json!({"vmap": {"key": dport(), "data": "@there"}}),
            NONE,
        ),
        (
            "all others",
            vec![],
            json!({"vmap": {"key": dport(), "data": set(json!([["*", {"drop": null}]]))}}),
            PERHAPS,
        ),
        (
            "several at once",
            vec![],
            json!({"vmap": {"key": both(), "data": full("192.0.2.1")}}),
            AWAY,
        ),
        (
            "several at once, one not ours",
            vec![],
            json!({"vmap": {"key": both(), "data": full("10.96.0.1")}}),
            NONE,
        ),
    ] {
        assert_eq!(causes(&nat(&maps, &json!([said]))), wanted, "{row}");
    }
}

#[test]
fn of_the_flags_of_tcp_a_client_has_syn_alone() {
    let flags = || json!({"payload": {"protocol": "tcp", "field": "flags"}});
    let masked = |mask: serde_json::Value| json!({"&": [flags(), mask]});
    let list = || json!(["fin", "syn", "rst", "ack"]);
    let ored = || json!({"|": ["fin", "syn", "rst", "ack"]});
    let nested = || json!({"|": [{"|": ["fin", "syn"]}, "rst"]});
    for (row, left, op, right, wanted) in [
        ("SYN", masked(list()), "==", json!("syn"), Stopped),
        ("SYN by |", masked(ored()), "==", json!("syn"), Stopped),
        ("SYN by | in |", masked(nested()), "==", json!("syn"), Stopped),
        ("all but SYN by |", masked(ored()), "!=", json!("syn"), Passes),
        ("FIN and SYN", masked(json!(["fin", "syn"])), "==", json!(["fin", "syn"]), Passes),
        ("FIN and SYN by |", masked(nested()), "==", json!({"|": ["fin", "syn"]}), Passes),
        ("no flag", masked(list()), "==", json!(0), Passes),
        ("no flag, as it is listed", flags(), "!", list(), Passes),
        ("FIN of FIN", masked(json!("fin")), "==", json!("fin"), Passes),
        ("neither FIN nor ACK", masked(json!(["fin", "ack"])), "==", json!(0), Stopped),
        ("SYN among others", flags(), "in", json!("syn"), Stopped),
        ("SYN or ACK", flags(), "in", json!(["syn", "ack"]), Stopped),
        ("ACK", flags(), "in", json!("ack"), Passes),
        ("not SYN", flags(), "!", json!("syn"), Passes),
        ("not ACK", flags(), "!", json!("ack"), Stopped),
        ("one of a set", flags(), "==", json!({"set": [{"|": ["syn", "ack"]}, "syn"]}), Stopped),
        ("none of a set", flags(), "==", json!({"set": [{"|": ["syn", "ack"]}, "ack"]}), Passes),
        ("a number", masked(json!(23)), "==", json!(2), Perhaps),
    ] {
        let rule = json!([{"match": {"op": op, "left": left, "right": right}}, {"drop": null}]);
        let rules = nft::read(&listing("accept", &[rule]), &Ruleset::default()).unwrap();
        assert_eq!(seen(&rules, &client(None)), wanted, "{row}");
    }
}

#[test]
fn flags_of_the_elder_iptables_are_read_the_same() {
    for (flags, wanted) in [
        ("FIN,SYN,RST,ACK SYN", Stopped),
        ("FIN,SYN FIN,SYN", Passes),
        ("FIN,SYN,RST,PSH,ACK,URG NONE", Passes),
        ("FIN,ACK FIN", Passes),
        ("FIN,ACK NONE", Stopped),
    ] {
        let text = format!(
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --tcp-flags {flags} -j DROP\nCOMMIT\n"
        );
        let rules = iptables::read(&text, Families::V4);
        assert_eq!(seen(&rules, &client(None)), wanted, "{flags}");
    }
}
