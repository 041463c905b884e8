//! Rules as people write them, and what they make of a client.

mod addresses;
mod answers;
mod entries;
mod hosts;
mod limits;
mod maps;
mod owners;
mod xt;

use serde_json::json;

use super::ruleset::Families;
use super::*;
use Seen::{Passes, Perhaps, Stopped};
use limits::{judge, meetings};

fn client(from: Option<&str>) -> Packet {
    let source = from.map(|from| from.parse::<IpAddr>().unwrap());
    Packet {
        part: Part::Attempt,
        is_v4: source.is_none_or(|source| source.is_ipv4()),
        source: source.map(|source| source..=source),
        destinations: Vec::new(),
        is_for_us: Some(true),
        port: 2525,
        other_ports: CLIENT_PORTS,
        devices: vec!["eth0".into()],
        comes_by: vec!["eth0".into()],
        leaves_by: Vec::new(),
        finds_back: true,
        is_tracked: true,
        owner: Owner::Nobody,
    }
}

/// The listing of one input chain with these rules, with a chain `extra` that drops, a set `bad`, and a policy.
fn listing(policy: &str, rules: &[serde_json::Value]) -> String {
    let of = json!({"family": "inet", "table": "filter"});
    let with = |more: serde_json::Value| {
        let mut all = of.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        serde_json::Value::Object(all)
    };
    let mut all = vec![
        json!({"metainfo": {"version": "1.0.6"}}),
        json!({"table": {"family": "inet", "name": "filter", "handle": 1}}),
        json!({"set": with(json!({"name": "bad", "type": "ipv4_addr",
            "elem": ["192.0.2.10", {"prefix": {"addr": "198.51.100.0", "len": 24}}]}))}),
        json!({"chain": with(json!({"name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": policy}))}),
        json!({"chain": with(json!({"name": "extra"}))}),
        json!({"rule": with(json!({"chain": "extra", "handle": 1, "expr": [{"counter": {}}, {"drop": null}]}))}),
    ];
    for (at, expr) in rules.iter().enumerate() {
        all.push(json!({"rule": with(json!({"chain": "input", "handle": at + 2, "expr": expr}))}));
    }
    json!({ "nftables": all }).to_string()
}

fn payload(protocol: &str, field: &str, right: serde_json::Value) -> serde_json::Value {
    json!({"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}})
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Passes,
    Perhaps,
    Stopped,
}

fn seen(rules: &Ruleset, packet: &Packet) -> Seen {
    let fate = rules.follow(packet, &IN);
    match (fate.stopped, fate.perhaps.len()) {
        (Some(_), _) => Stopped,
        (None, 0) => Passes,
        (None, _) => Perhaps,
    }
}

/// A name, the policy, the rules, who sends, and what is seen.
type Row<'a> = (&'a str, &'a str, Vec<serde_json::Value>, Option<&'a str>, Seen);

#[test]
fn rules_of_nftables_stop_whom_they_name() {
    let port = || payload("tcp", "dport", json!(2525));
    let other = || payload("tcp", "dport", json!({"set": [22, {"range": [80, 90]}]}));
    let many = || payload("tcp", "dport", json!({"set": [25, {"range": [2500, 2600]}]}));
    let bad = || payload("ip", "saddr", json!("@bad"));
    let by = |name: &str| json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": name}});
    let state = |states: serde_json::Value| json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": states}});
    let (accept, drop) = (|| json!({"accept": null}), || json!({"drop": null}));
    let limit = || json!({"limit": {"rate": 5, "per": "second"}});
    let not_port = || json!({"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}});
    let vmap = || {
        json!({"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}},
        "data": {"set": [[25, {"accept": null}], [2525, {"jump": {"target": "extra"}}]]}}})
    };
    let syn = || json!({"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn"]]}, "right": "syn"}});
    let rows: [Row<'_>; 24] = [
        ("nothing", "accept", vec![], None, Passes),
        ("a policy", "drop", vec![], None, Stopped),
        ("the port is dropped", "accept", vec![json!([port(), drop()])], None, Stopped),
        (
            "the port is refused",
            "accept",
            vec![json!([port(), {"reject": {"type": "tcp reset"}}])],
            None,
            Stopped,
        ),
        ("another port", "accept", vec![json!([other(), drop()])], None, Passes),
        ("a set of ports", "accept", vec![json!([many(), drop()])], None, Stopped),
        ("the port is accepted", "drop", vec![json!([port(), accept()])], None, Passes),
        ("another is accepted", "drop", vec![json!([other(), accept()])], None, Stopped),
        (
            "a set of sources, nobody asked for",
            "accept",
            vec![json!([bad(), drop()])],
            None,
            Perhaps,
        ),
        (
            "a set of sources, one in it",
            "accept",
            vec![json!([bad(), drop()])],
            Some("198.51.100.7"),
            Stopped,
        ),
        (
            "a set of sources, one not in it",
            "accept",
            vec![json!([bad(), drop()])],
            Some("192.0.2.11"),
            Passes,
        ),
        (
            "a set of sources of the other family",
            "accept",
            vec![json!([bad(), drop()])],
            Some("2001:db8::1"),
            Passes,
        ),
        ("some sources are accepted", "drop", vec![json!([bad(), accept()])], None, Perhaps),
        ("another interface", "accept", vec![json!([by("lo"), drop()])], None, Passes),
        ("our interface by a pattern", "accept", vec![json!([by("eth*"), drop()])], None, Stopped),
        (
            "established ones",
            "drop",
            vec![json!([state(json!(["established", "related"])), accept()])],
            None,
            Stopped,
        ),
        ("new ones", "drop", vec![json!([state(json!("new")), port(), accept()])], None, Passes),
        ("a limit", "drop", vec![json!([port(), limit(), accept()])], None, Perhaps),
        ("all ports but one", "accept", vec![json!([not_port(), drop()])], None, Stopped),
        ("a map of verdicts", "accept", vec![json!([vmap()])], None, Stopped),
        (
            "UDP",
            "accept",
            vec![json!([payload("udp", "dport", json!(2525)), drop()])],
            None,
            Passes,
        ),
        ("SYN", "accept", vec![json!([syn(), port(), drop()])], None, Stopped),
        (
            "a chain of its own",
            "accept",
            vec![json!([port(), {"jump": {"target": "extra"}}])],
            None,
            Stopped,
        ),
        (
            "perhaps accepted, then dropped",
            "accept",
            vec![json!([limit(), accept()]), json!([port(), drop()])],
            None,
            Perhaps,
        ),
    ];
    for (row, policy, rules, from, wanted) in rows {
        let rules = nft::read(&listing(policy, &rules), &Ruleset::default()).unwrap();
        assert_eq!(seen(&rules, &client(from)), wanted, "{row}");
    }
}

/// A listing of a base chain in each of two tables of one name, and whatever else.
fn twins(more: &[serde_json::Value], rule: &serde_json::Value) -> Ruleset {
    let of = |family: &str, name: &str| {
        json!({"family": family, "table": "filter", "name": name, "type": "filter",
        "hook": "input", "prio": 0, "policy": "drop"})
    };
    let mut all = vec![json!({"chain": of("ip", "input")}), json!({"chain": of("ip6", "input")})];
    all.extend_from_slice(more);
    all.push(json!({"rule": {"family": "ip", "table": "filter", "chain": "input", "handle": 9, "expr": rule}}));
    nft::read(&json!({ "nftables": all }).to_string(), &Ruleset::default()).unwrap()
}

#[test]
fn a_set_is_that_of_its_own_table_and_may_be_empty() {
    let set = |family: &str, elements: serde_json::Value| {
        let mut set = json!({"family": family, "table": "filter", "name": "trusted"});
        set["elem"] = elements;
        json!({"set": set})
    };
    let four = || set("ip", json!([{"prefix": {"addr": "192.0.2.0", "len": 24}}]));
    let six = || set("ip6", json!(["2001:db8::1"]));
    let none = || json!({"set": {"family": "ip", "table": "filter", "name": "trusted"}});
    let trusted = |op: &str| {
        json!([{"match": {"op": op, "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": "@trusted"}}, {"accept": null}])
    };
    let from = Some("192.0.2.7");
    for (row, sets, op, from, wanted) in [
        ("in it", vec![four(), six()], "==", from, Passes),
        ("in it, whatever comes first", vec![six(), four()], "==", from, Passes),
        ("not in it", vec![four(), six()], "==", Some("203.0.113.1"), Stopped),
        ("the other family", vec![four(), six()], "==", Some("2001:db8::1"), Stopped),
        ("nobody asked for", vec![four(), six()], "==", None, Perhaps),
        ("empty", vec![none(), six()], "==", None, Stopped),
        ("all but those of an empty one", vec![none(), six()], "!=", None, Passes),
        ("all but those, the other family", vec![none()], "!=", Some("2001:db8::1"), Stopped),
        ("no such set", vec![six()], "==", from, Perhaps),
    ] {
        assert_eq!(seen(&twins(&sets, &trusted(op)), &client(from)), wanted, "{row}");
    }
}

#[test]
fn behind_what_another_decides_nothing_is_sure() {
    for act in
        [json!({"queue": {"num": 0}}), json!({"synproxy": {}}), json!({"tproxy": {"port": 1}})]
    {
        assert_eq!(seen(&twins(&[], &json!([act])), &client(None)), Perhaps, "{act}");
    }
    for target in ["NFQUEUE --queue-num 0", "SYNPROXY", "TPROXY"] {
        let text = format!("*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -j {target}\nCOMMIT\n");
        let rules = iptables::read(&text, Families::V4);
        assert_eq!(seen(&rules, &client(None)), Perhaps, "{target}");
    }
}

#[test]
fn who_perhaps_came_back_from_a_chain_is_where_he_would_be_anyway() {
    let perhaps = "-m limit --limit 5/min";
    for (row, rules, wanted) in [
        ("returned", format!("-A INPUT -j some\n-A some {perhaps} -j RETURN\n"), Stopped),
        ("returned at once", format!("-A INPUT {perhaps} -j RETURN\n"), Stopped),
        ("went on", format!("-A INPUT {perhaps} -g some\n"), Stopped),
        (
            "returned before he was accepted",
            format!("-A INPUT -j some\n-A some {perhaps} -j RETURN\n-A some -j ACCEPT\n"),
            Perhaps,
        ),
        (
            "went where everybody is accepted",
            format!("-A INPUT {perhaps} -g some\n-A some -j ACCEPT\n"),
            Perhaps,
        ),
        (
            "went on before he was accepted",
            format!("-A INPUT {perhaps} -g some\n-A INPUT -j ACCEPT\n"),
            Perhaps,
        ),
        (
            "was let go before he came back",
            format!("-A INPUT -j some\n-A some {perhaps} -j ACCEPT\n-A some -j RETURN\n"),
            Perhaps,
        ),
        ("goes in circles", "-A INPUT -j some\n-A some -j some\n".into(), Perhaps),
    ] {
        let text = format!("*filter\n:INPUT DROP [0:0]\n:some - [0:0]\n{rules}COMMIT\n");
        let rules = iptables::read(&text, Families::V4);
        assert_eq!(seen(&rules, &client(None)), wanted, "{row}");
    }
}

#[test]
fn what_perhaps_went_into_a_chain_that_perhaps_let_it_go_is_not_surely_stopped() {
    let text = "*filter\n:INPUT DROP [0:0]\n:some - [0:0]\n-A INPUT -s 192.0.2.0/24 -j some\n\
        -A some -m limit --limit 5/min -j ACCEPT\nCOMMIT\n";
    let rules = iptables::read(text, Families::V4);
    assert_eq!(seen(&rules, &client(None)), Perhaps);
    assert_eq!(seen(&rules, &client(Some("192.0.2.7"))), Perhaps);
    assert_eq!(seen(&rules, &client(Some("203.0.113.7"))), Stopped);
}

const SAVED: &str = "# Generated by iptables-save
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 25 -j REDIRECT --to-ports 2525
COMMIT
*filter
:INPUT DROP [12:720]
:ours - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -s 198.51.100.0/24 -p tcp -m comment --comment \"not -j ACCEPT\" -j REJECT --reject-with tcp-reset
-A INPUT -p tcp -m multiport --dports 22,2500:2600 -j ours
-A ours ! -s 192.0.2.0/24 -j RETURN
-A ours -m limit --limit 5/min -j LOG
-A ours -j ACCEPT
COMMIT
";

#[test]
fn rules_of_iptables_are_read_as_well() {
    let rules = iptables::read(SAVED, Families::V4);
    assert_eq!(seen(&rules, &client(Some("192.0.2.7"))), Passes);
    assert_eq!(seen(&rules, &client(Some("198.51.100.7"))), Stopped);
    assert_eq!(seen(&rules, &client(Some("203.0.113.7"))), Stopped);
    assert_eq!(seen(&rules, &client(None)), Perhaps);
    assert_eq!(seen(&rules, &client(Some("2001:db8::7"))), Passes, "it speaks of IPv4");
    assert_eq!(rules.redirections_to(2525).len(), 1);
}

#[test]
fn an_ingress_counts_on_its_own_device_only() {
    let on = |device: &str| {
        let text = json!({"nftables": [
            {"chain": {"family": "netdev", "table": "x", "name": "i", "type": "filter", "hook": "ingress", "dev": device, "prio": 0, "policy": "drop"}},
        ]})
        .to_string();
        seen(&nft::read(&text, &Ruleset::default()).unwrap(), &client(None))
    };
    assert_eq!((on("eth0"), on("eth1")), (Stopped, Passes));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text: String) {
        let _ = nft::read(&text, &Ruleset::default());
        let _ = iptables::read(&text, Families::V4);
        let _ = iptables::read(&format!("*filter\n:INPUT DROP\n-A INPUT {text}"), Families::V6);
    }
}

#[test]
fn what_drops_this_host_too_is_told_from_what_drops_it_alone() {
    let port = || payload("tcp", "dport", json!(2525));
    let from =
        |net: &str, len: u8| payload("ip", "saddr", json!({"prefix": {"addr": net, "len": len}}));
    let by = |name: &str| json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": name}});
    let drop = || json!({"drop": null});
    let rule =
        |handle| format!("the rule with handle {handle} of chain input in table inet filter");
    let own = |policy: &str, rules: &[serde_json::Value], clients: &[Packet]| {
        let rules = nft::read(&listing(policy, rules), &Ruleset::default()).unwrap();
        let of = |packet: &Packet| meetings(&rules, packet, Clients::Anybody);
        let met: Vec<_> = clients.iter().flat_map(of).collect();
        match judge_own(&rules, "192.0.2.1:2525".parse().unwrap(), &met, Owner::Unknown) {
            Own::Dropped(name) => Some(name.split(" (").next().unwrap_or_default().to_owned()),
            Own::Told => Some("told".to_owned()),
            Own::Perhaps(_) => Some("perhaps".to_owned()),
            Own::Free => None,
        }
    };
    let anybody = || vec![client(None)];
    let told = || Some("told".to_owned());
    let accept_lo = || json!([by("lo"), {"accept": null}]);
    for (row, policy, rules, clients, wanted) in [
        ("no rule", "accept", vec![], anybody(), None),
        ("everybody", "accept", vec![json!([port(), drop()])], anybody(), told()),
        ("a policy", "drop", vec![], anybody(), told()),
        ("a policy, and loopback is let in", "drop", vec![accept_lo()], anybody(), None),
        (
            "us among others",
            "accept",
            vec![json!([from("192.0.2.0", 24), drop()])],
            anybody(),
            told(),
        ),
        ("others", "accept", vec![json!([from("198.51.100.0", 24), drop()])], anybody(), None),
        (
            "somebody, perhaps us",
            "accept",
            vec![json!([port(), {"limit": {"rate": 5, "per": "second"}}, drop()])],
            anybody(),
            Some("perhaps".to_owned()),
        ),
        (
            "loopback alone",
            "accept",
            vec![json!([by("lo"), port(), drop()])],
            anybody(),
            Some(rule(2)),
        ),
        (
            "a listener that no client comes to",
            "accept",
            vec![json!([port(), drop()])],
            vec![],
            Some(rule(2)),
        ),
    ] {
        assert_eq!(own(policy, &rules, &clients), wanted, "{row}");
    }
}
