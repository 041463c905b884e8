//! Rules that stop those who are listed, whoever that is, and rules for others.

use super::*;

fn from(net: &str) -> serde_json::Value {
    let (addr, len) = net.split_once('/').unwrap();
    let len: u8 = len.parse().unwrap();
    payload("ip", "saddr", json!({"prefix": {"addr": addr, "len": len}}))
}

fn entries(written: &[&str]) -> Vec<IpNetwork> {
    written.iter().map(|net| net.parse().unwrap()).collect()
}

/// What is found where these are listed, and nobody else comes.
fn found(policy: &str, rules: &[serde_json::Value], listed: &[&str], are_all: bool) -> Vec<String> {
    let rules = nft::read(&listing(policy, rules), &Ruleset::default()).unwrap();
    let clients = Clients::Listed { entries: &entries(listed), are_all };
    let found = judge(&rules, &[client(None)], clients);
    found.into_iter().map(|found| format!("{}: {}", found.cause.id(), found.says)).collect()
}

#[test]
fn a_rule_against_a_whole_entry_is_a_fault_and_one_against_others_is_nothing() {
    let (drop, accept) = (|| json!({"drop": null}), || json!({"accept": null}));
    let listed = ["10.0.0.0/8", "192.0.2.0/28", "2001:db8::/32"];
    let against = |net: &str| vec![json!([from(net), drop()])];
    let net = |addr: &str, len: u8| json!({"prefix": {"addr": addr, "len": len}});
    let both = || {
        let set = json!({"set": [net("10.0.0.0", 8), net("192.0.2.0", 24)]});
        vec![json!([payload("ip", "saddr", set), drop()])]
    };
    let only = |net: &str| vec![json!([from(net), accept()])];
    let stops = "firewall: the host's firewall stops what clients of";
    let may = "firewall-perhaps: a rule of the host's firewall may be in the way of clients";
    for (row, policy, rules, begins) in [
        ("the entry", "accept", against("10.0.0.0/8"), &[format!("{stops} 10.0.0.0/8 send")][..]),
        (
            "around an entry",
            "accept",
            against("192.0.0.0/8"),
            &[format!("{stops} 192.0.2.0/28 send")],
        ),
        ("both", "accept", both(), &[format!("{stops} 10.0.0.0/8, 192.0.2.0/28 send")]),
        ("a part of one", "accept", against("10.1.0.0/16"), &[format!("{may} of 10.0.0.0/8 to")]),
        ("others", "accept", against("198.51.100.0/24"), &[]),
        ("one is let in", "drop", only("10.0.0.0/8"), &[format!("{stops} 192.0.2.0/28 send")]),
        (
            "others are let in",
            "drop",
            only("198.51.100.0/24"),
            &[format!("{stops} 10.0.0.0/8, 192.0.2.0/28 send")],
        ),
        (
            "everybody",
            "drop",
            vec![],
            &["firewall: the host's firewall stops what clients send".to_owned()],
        ),
    ] {
        let told = found(policy, &rules, &listed, true);
        assert_eq!(told.len(), begins.len(), "{row}: {told:?}");
        assert!(
            told.iter().zip(begins).all(|(told, begins)| told.starts_with(begins)),
            "{row}: {told:?}"
        );
    }
    // Where others come too, or who is listed is not known whole, a rule against them may be in the way.
    let told = found("accept", &against("198.51.100.0/24"), &listed, false);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(&format!("{may} to")), "{told:?}");
    let told = found("accept", &against("10.0.0.0/8"), &listed, false);
    assert_eq!(told.len(), 1, "once: {told:?}");
    assert!(told[0].starts_with(stops), "{told:?}");
}

#[test]
fn what_is_answered_to_an_entry_is_followed_too() {
    let text =
        listing("drop", &[json!([payload("ip", "daddr", json!("203.0.113.5")), {"accept": null}])]);
    let rules = nft::read(
        &text
            .replace("\"input\",\"name\"", "\"output\",\"name\"")
            .replace("\"hook\":\"input\"", "\"hook\":\"output\""),
        &Ruleset::default(),
    )
    .unwrap();
    let clients = Clients::Listed { entries: &entries(&["10.0.0.0/8"]), are_all: true };
    let found = judge(&rules, &[client(None)], clients);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].says.contains("stops what clients of 10.0.0.0/8 are answered"), "{found:?}");
    assert!(found[0].remedy.contains("ip daddr 10.0.0.0/8 tcp sport 2525 accept"), "{found:?}");
}

#[test]
fn the_command_lets_in_the_entries_and_nobody_else() {
    let listed = ["192.0.2.0/28", "198.51.100.7/32", "10.0.0.0/8", "203.0.113.0/24"];
    let rules = nft::read(
        &listing("drop", &[json!([from("172.16.0.0/12"), {"accept": null}])]),
        &Ruleset::default(),
    )
    .unwrap();
    let told = |listed: &[&str]| {
        let clients = Clients::Listed { entries: &entries(listed), are_all: true };
        judge(&rules, &[client(None)], clients).remove(0).remedy
    };
    let keep = "and the same where the rules are kept, or it is gone when they are loaded anew";
    let lets = |whom: &str| {
        format!("nft add rule inet filter input ip saddr {whom} tcp dport 2525 accept  # ")
    };
    assert_eq!(told(&listed[..1]), format!("{}{keep}", lets("192.0.2.0/28")));
    assert_eq!(told(&listed[..2]), format!("{}{keep}", lets("'{ 192.0.2.0/28, 198.51.100.7 }'")));
    let within = ["10.1.0.0/16", "10.0.0.0/8"];
    assert_eq!(told(&within), format!("{}{keep}", lets("10.0.0.0/8")));
    let many: Vec<_> = (0..40).map(|n| format!("10.{n}.0.0/16")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let all = told(&many);
    assert!(all.contains("10.31.0.0/16 }' tcp") && !all.contains("10.32."), "{all}");
    assert!(all.contains("  # and so for 8 more of sallyport allow list; "), "{all}");
}
