//! Rules that ask whose a packet is.

use super::*;
use crate::appliance::privilege::Identity;

const RELAY: Owner = Owner::Of(Identity { uid: 65_534, gid: 65_534 });
const ROOT: Owner = Owner::Of(Identity { uid: 0, gid: 0 });

fn asks(key: &str, operator: &str, right: serde_json::Value) -> serde_json::Value {
    json!({"match": {"op": operator, "left": {"meta": {"key": key}}, "right": right}})
}

/// The listing of one chain of output.
fn output(rules: &[serde_json::Value]) -> Ruleset {
    let mut rules = nft::read(&listing("accept", rules), &Ruleset::default()).unwrap();
    for base in rules.chains.iter_mut().filter_map(|chain| chain.base.as_mut()) {
        base.hook = "output".into();
    }
    rules
}

fn stops(rules: &Ruleset, owner: Owner) -> Seen {
    let hop = "192.0.2.200:587".parse().unwrap();
    let attempt = of_ours(hop, vec!["eth0".into()], 32_768..=60_999, owner);
    let fate = rules.follow(&attempt, &OUT);
    match (fate.stopped, fate.perhaps.len()) {
        (Some(_), _) => Stopped,
        (None, 0) => Passes,
        (None, _) => Perhaps,
    }
}

#[test]
fn a_rule_for_users_stops_whom_it_names_and_may_stop_one_who_is_not_known() {
    let is = |right: serde_json::Value| asks("skuid", "==", right);
    for (row, test, relay, root) in [
        ("a user", is(json!(65_534)), Stopped, Passes),
        ("root, by name", is(json!("root")), Passes, Stopped),
        ("all but root", asks("skuid", "!=", json!(0)), Stopped, Passes),
        ("a range", is(json!({"range": [60_000, 70_000]})), Stopped, Passes),
        ("a set", is(json!({"set": [7, {"range": [0, 5]}]})), Passes, Stopped),
        ("none of a set", asks("skuid", "!=", json!({"set": [0, 7]})), Stopped, Passes),
        ("users of people", asks("skuid", ">=", json!(1000)), Stopped, Passes),
        ("users of the system", asks("skuid", "<", json!(1000)), Passes, Stopped),
        ("a group", asks("skgid", "==", json!(65_534)), Stopped, Passes),
        ("a name of nobody here", is(json!("no-such-user")), Perhaps, Perhaps),
    ] {
        let port = payload("tcp", "dport", json!(587));
        let rules = output(&[json!([test, port, {"drop": null}])]);
        assert_eq!(stops(&rules, RELAY), relay, "{row}, the relay");
        assert_eq!(stops(&rules, ROOT), root, "{row}, root");
        assert_eq!(stops(&rules, Owner::Unknown), Perhaps, "{row}, a user that is not known");
    }
}

#[test]
fn what_comes_in_to_connect_is_nobodys_and_of_an_answer_it_is_not_known() {
    let rule = |operator, id: u32| json!([asks("skuid", operator, json!(id)), {"drop": null}]);
    for (operator, id) in [("==", 0), ("!=", 0), ("!=", 7)] {
        let rules = [rule(operator, id)];
        let input = nft::read(&listing("accept", &rules), &Ruleset::default()).unwrap();
        assert_eq!(seen(&input, &client(None)), Passes, "{operator} {id}");
        let own = of_own("192.0.2.1".parse().unwrap(), 2525, Part::Attempt, ROOT);
        assert_eq!(input.follow(&own, &OUT_AND_IN), Fate::default(), "by loopback");
        let fate = output(&rules).follow(&client(None).answer(), &OUT);
        assert_eq!((fate.stopped, fate.perhaps.len()), (None, 1), "{operator} {id}");
    }
}

#[test]
fn owners_of_iptables_are_read_the_same() {
    for (options, relay, root) in [
        ("-m owner --uid-owner 65534", Stopped, Passes),
        ("-m owner ! --uid-owner 0", Stopped, Passes),
        ("-m owner --uid-owner 0-999", Passes, Stopped),
        ("-m owner ! --uid-owner 0-999", Stopped, Passes),
        ("-m owner --gid-owner 65534", Stopped, Passes),
        ("-m owner --uid-owner 65534 --gid-owner 0", Passes, Passes),
        ("-m owner --gid-owner 8 --suppl-groups", Perhaps, Perhaps),
        ("-m owner --socket-exists", Perhaps, Perhaps),
    ] {
        let text = format!(
            "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m tcp --dport 587 {options} -j REJECT\nCOMMIT\n"
        );
        let rules = iptables::read(&text, Families::V4);
        assert_eq!(stops(&rules, RELAY), relay, "{options}, the relay");
        assert_eq!(stops(&rules, ROOT), root, "{options}, root");
    }
}

#[test]
fn past_a_rule_that_asks_for_users_the_command_lets_the_relays_alone() {
    let hop = "192.0.2.200:587".parse().unwrap();
    let attempt = of_ours(hop, vec!["eth0".into()], 32_768..=60_999, RELAY);
    let told = |rules: &Ruleset| judge_out(rules, &attempt).unwrap().remedy;
    let port = || payload("tcp", "dport", json!(587));
    let rules = output(&[json!([asks("skuid", "!=", json!(0)), port(), {"drop": null}])]);
    let begins = "nft insert rule inet filter input handle 2 ip daddr 192.0.2.200 meta skuid 65534 tcp dport 587 accept  # ";
    assert!(told(&rules).starts_with(begins), "{}", told(&rules));
    let rules = output(&[json!([port(), {"drop": null}])]);
    assert!(!told(&rules).contains("skuid"), "{}", told(&rules));
    let text = "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp --dport 587 -m owner --uid-owner 0 -j ACCEPT\n\
                -A OUTPUT -p tcp --dport 587 -j REJECT\nCOMMIT\n";
    let rules = iptables::read(text, Families::V4);
    let begins = "iptables -t filter -I OUTPUT -d 192.0.2.200 -p tcp --dport 587 -m owner --uid-owner 65534 -j ACCEPT  # ";
    assert!(told(&rules).starts_with(begins), "{}", told(&rules));
}

#[test]
fn past_a_chain_that_a_rule_for_users_leads_to_the_command_lets_the_relays_alone() {
    let hop = "192.0.2.200:587".parse().unwrap();
    let attempt = of_ours(hop, vec!["eth0".into()], 32_768..=60_999, RELAY);
    let told =
        |text: &str| judge_out(&iptables::read(text, Families::V4), &attempt).unwrap().remedy;
    let text = |guard: &str| {
        format!(
            "*filter\n:OUTPUT ACCEPT [0:0]\n:{guard} - [0:0]\n-A OUTPUT -p tcp -m owner ! --uid-owner 0 -m tcp --dport 587 \
             -j {guard}\n-A {guard} -j LOG\n-A {guard} -j DROP\nCOMMIT\n"
        )
    };
    for (guard, begins) in [
        (
            "guard",
            "iptables -t filter -I guard -d 192.0.2.200 -p tcp --dport 587 -m owner --uid-owner 65534 -j ACCEPT  # ",
        ),
        (
            "ufw-user-output",
            "-A ufw-before-output -d 192.0.2.200 -p tcp --dport 587 -m owner --uid-owner 65534 -j ACCEPT in /etc/ufw/",
        ),
    ] {
        let told = told(&text(guard));
        assert!(told.starts_with(begins), "{guard}: {told}");
    }
    let port = payload("tcp", "dport", json!(587));
    let mut rules = output(&[json!([
        asks("skuid", "!=", json!({"set": [0, 7]})),
        port,
        {"jump": {"target": "guard"}}
    ])]);
    let mut guard = output(&[json!([{"log": null}]), json!([{"drop": null}])]).chains.remove(0);
    (guard.base, guard.name) = (None, "guard".into());
    rules.chains.push(guard);
    let told = judge_out(&rules, &attempt).unwrap().remedy;
    assert!(told.contains(" guard ") && told.contains("meta skuid 65534 "), "{told}");
}
