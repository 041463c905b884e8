//! Rules that count: what they stop cannot be told from here.

use super::*;
use crate::doctor::Finding;
use crate::doctor::firewall::clients;

fn ample() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Judges with ample time.
pub(super) fn judge(rules: &Ruleset, packets: &[Packet], who: Clients<'_>) -> Vec<Finding> {
    let looked = clients::judge(rules, packets, who, (ample(), ample()));
    assert!(looked.left_out.is_empty(), "{:?}", looked.left_out);
    looked.findings
}

/// The same for what is met.
pub(super) fn meetings(rules: &Ruleset, packet: &Packet, who: Clients<'_>) -> Vec<Meeting> {
    clients::meetings(rules, packet, who, ample()).meetings
}

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

#[test]
fn where_the_time_is_over_what_is_sure_stays_and_the_rest_is_said_to_be_left_out() {
    let source = payload("ip", "saddr", json!({"prefix": {"addr": "10.0.0.0", "len": 8}}));
    let some = json!([source, {"drop": null}]);
    let every = json!([payload("tcp", "dport", json!(2525)), {"drop": null}]);
    let entries: Vec<IpNetwork> =
        ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"].map(|net| net.parse().unwrap()).into();
    let now = Instant::now();
    let told = |rules: &[serde_json::Value], until| {
        let rules = nft::read(&listing("accept", rules), &Ruleset::default()).unwrap();
        let who = Clients::Listed { entries: &entries, are_all: false };
        let looked = clients::judge(&rules, &[client(None)], who, (until, now));
        let found: Vec<_> = looked.findings.iter().map(|found| found.cause.id()).collect();
        let remedy = looked.findings[0].remedy.clone();
        (found, remedy, looked.left_out.concat())
    };
    let (found, remedy, left_out) = told(std::slice::from_ref(&some), now);
    assert_eq!(found, ["firewall-perhaps"]);
    assert!(remedy.starts_with("sallyport doctor --from ADDRESS"), "{remedy}");
    assert!(left_out.starts_with("firewall: 2 entries"), "{left_out}");
    let (found, _, left_out) = told(&[some], ample());
    assert_eq!((found, left_out), (vec!["firewall"], String::new()));
    let (found, _, left_out) = told(&[every], now);
    assert_eq!((found, left_out), (vec!["firewall"], String::new()));
}
