//! Rules that count: what they stop cannot be told from here.

use super::*;

/// Statements as `nft -j list ruleset` of nftables 1.0.6 lists them.
fn put(op: &str, protocol: &str, statements: serde_json::Value) -> serde_json::Value {
    let field = json!({"payload": {"protocol": protocol, "field": "saddr"}});
    let mut put = json!({"set": {"op": op, "elem": field, "set": "@m"}});
    if !statements.is_null() {
        put["set"]["stmt"] = statements;
    }
    put
}

#[test]
fn what_counts_in_a_set_stops_perhaps_and_what_only_notes_stops_surely() {
    let limit = || json!({"limit": {"rate": 100, "burst": 50, "per": "minute", "inv": true}});
    let count = || json!({"ct count": {"val": 3, "inv": true}});
    let quota = || json!({"quota": {"val": 5, "val_unit": "mbytes", "inv": true}});
    let meter = || json!({"meter": {"key": {"payload": {"protocol": "ip", "field": "saddr"}}, "stmt": limit(), "size": 65535, "name": "m"}});
    let nothing = || serde_json::Value::Null;
    let timed = || {
        let field = json!({"payload": {"protocol": "ip6", "field": "saddr"}});
        json!({"set": {"op": "add", "elem": {"elem": {"val": field, "timeout": 60}}, "set": "@m"}})
    };
    for (row, statement, wanted) in [
        ("over a rate", put("update", "ip", json!([limit()])), Perhaps),
        ("over a number of connections", put("add", "ip", json!([count()])), Perhaps),
        ("over an amount", put("add", "ip", json!([quota()])), Perhaps),
        ("a counter and a rate", put("add", "ip", json!([{"counter": null}, limit()])), Perhaps),
        ("noted", put("add", "ip", nothing()), Stopped),
        ("noted and counted", put("add", "ip", json!([{"counter": null}])), Stopped),
        ("noted with the time", put("add", "ip", json!([{"last": null}])), Stopped),
        ("of the other family", put("add", "ip6", nothing()), Passes),
        ("of the other family, for a time", timed(), Passes),
        ("a meter", meter(), Perhaps),
        ("a rate for all", limit(), Perhaps),
        ("a named rate", json!({"limit": "l"}), Perhaps),
        ("connections of all", count(), Perhaps),
        ("an amount of all", quota(), Perhaps),
        ("a named amount", json!({"quota": "q"}), Perhaps),
        ("a named counter", json!({"counter": "c"}), Stopped),
        ("the time of the last", json!({"last": {"used": 5}}), Stopped),
        (
            "a mark that is set",
            json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}}),
            Stopped,
        ),
        ("what has no JSON", json!("update @mk { ip saddr : 0x00000005 }"), Perhaps),
    ] {
        let port = payload("tcp", "dport", json!(2525));
        let text = listing("accept", &[json!([port, statement, {"drop": null}])]);
        let rules = nft::read(&text, &Ruleset::default()).unwrap();
        assert_eq!(seen(&rules, &client(None)), wanted, "{row}");
    }
}

#[test]
fn doctor_from_is_told_of_only_where_it_hangs_on_the_client() {
    let (accept, drop) = (|| json!({"accept": null}), || json!({"drop": null}));
    let port = || payload("tcp", "dport", json!(2525));
    let from = || payload("ip", "saddr", json!("192.0.2.7"));
    let network = || payload("ip", "saddr", json!({"prefix": {"addr": "198.51.100.0", "len": 24}}));
    let limit = || json!({"limit": {"rate": 5, "per": "second"}});
    let mark = || json!({"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 7}});
    let jump = || json!({"jump": {"target": "extra"}});
    for (row, policy, rules, of_client) in [
        ("a source", "accept", vec![json!([from(), port(), drop()])], true),
        ("a network", "accept", vec![json!([network(), drop()])], true),
        ("a source that leads to a chain", "accept", vec![json!([from(), jump()])], true),
        ("a policy for others", "drop", vec![json!([from(), accept()])], true),
        ("a limit", "accept", vec![json!([port(), limit(), drop()])], false),
        ("a mark", "accept", vec![json!([mark(), drop()])], false),
        ("a source and a limit", "accept", vec![json!([from(), limit(), drop()])], false),
        ("a limit that leads to a chain", "accept", vec![json!([limit(), jump()])], false),
        (
            "a limit beside an open source",
            "accept",
            vec![json!([from(), accept()]), json!([port(), limit(), drop()])],
            false,
        ),
    ] {
        let rules = nft::read(&listing(policy, &rules), &Ruleset::default()).unwrap();
        let found = judge(&rules, &[client(None)], Clients::Anybody);
        assert_eq!(found.len(), 1, "{row}: {found:?}");
        assert_eq!(found[0].cause.id(), "firewall-perhaps", "{row}");
        assert_eq!(found[0].remedy.contains("--from"), of_client, "{row}: {}", found[0].remedy);
    }
}
