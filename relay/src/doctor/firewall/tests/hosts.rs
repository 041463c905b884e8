//! What ufw 0.36.2 and firewalld 1.3.3 write on a host with ports 22 and 2525 open: the chains for what comes in, as
//! nftables 1.0.6 lists them, and as iptables 1.8.9 saves those of ufw.

use super::*;

const UFW: &str = include_str!("ufw.json");
const UFW_V4: &str = include_str!("ufw.iptables");
const UFW_V6: &str = include_str!("ufw.ip6tables");
const FIREWALLD: &str = include_str!("firewalld.json");

fn saved() -> Ruleset {
    let mut saved = iptables::read(UFW_V4, Families::V4);
    saved.chains.extend(iptables::read(UFW_V6, Families::V6).chains);
    saved
}

/// Who asks at the open port and at one that is closed: nobody in particular, and one of each family.
fn asks() -> impl Iterator<Item = (Packet, Seen)> {
    let everybody =
        [(None, true), (None, false), (Some("192.0.2.7"), true), (Some("2001:db8::7"), false)];
    everybody.into_iter().flat_map(|(from, is_v4)| {
        [(2525, Passes), (465, Stopped)]
            .map(|(port, wanted)| (Packet { is_v4, port, ..client(from) }, wanted))
    })
}

#[test]
fn a_port_that_ufw_or_firewalld_closes_is_named_and_an_open_one_is_well() {
    let elder = saved();
    let newer = nft::read(UFW, &elder).unwrap();
    let firewalld = nft::read(FIREWALLD, &Ruleset::default()).unwrap();
    for (row, rules) in [("ufw", &newer), ("ufw, elder", &elder), ("firewalld", &firewalld)] {
        for (packet, wanted) in asks() {
            let fate = rules.follow(&packet, &IN);
            assert_eq!(seen(rules, &packet), wanted, "{row}: {packet:?}: {fate:?}");
        }
    }
}

#[test]
fn the_remedy_is_a_command_of_whoever_writes_the_rules() {
    let firewalld = nft::read(FIREWALLD, &Ruleset::default()).unwrap();
    let other = iptables::read("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", Families::V4);
    for (rules, wanted) in [
        (saved(), "ufw allow 465/tcp"),
        (firewalld, "firewall-cmd --permanent --add-port=465/tcp"),
        (other, "iptables -t filter -A INPUT -p tcp --dport 465 -j ACCEPT  # "),
    ] {
        let found = judge(&rules, &[Packet { port: 465, ..client(None) }], Clients::Anybody);
        assert!(found[0].remedy.starts_with(wanted), "{found:?}");
    }
}

#[test]
fn a_filter_of_reverse_paths_stops_only_whom_no_answer_may_reach() {
    let by_iptables = |rules: &str| {
        let text = format!("*mangle\n:PREROUTING ACCEPT [0:0]\n{rules}COMMIT\n");
        iptables::read(&text, Families::V6)
    };
    for (row, rules) in [
        ("firewalld", nft::read(FIREWALLD, &Ruleset::default()).unwrap()),
        ("a drop", by_iptables("-A PREROUTING -m rpfilter --validmark --invert -j DROP\n")),
        (
            "a drop of the rest",
            by_iptables("-A PREROUTING -m rpfilter --loose -j RETURN\n-A PREROUTING -j DROP\n"),
        ),
    ] {
        let packet = |finds_back| Packet { finds_back, ..client(Some("2001:db8::7")) };
        assert_eq!(seen(&rules, &packet(true)), Passes, "{row}");
        assert_eq!(seen(&rules, &packet(false)), Perhaps, "{row}");
    }
}

#[test]
fn what_is_for_us_is_for_a_local_address() {
    let fib = |op: &str, right: serde_json::Value| json!([{"match": {"op": op, "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": right}}, {"drop": null}]);
    let status = |op: &str, right: serde_json::Value| json!([{"match": {"op": op, "left": {"ct": {"key": "status"}}, "right": right}}, {"drop": null}]);
    let masked = json!([{"match": {"op": "==", "left": {"&": [{"ct": {"key": "status"}}, "dnat"]}, "right": "dnat"}}, {"drop": null}]);
    let kind = |op: &str, right: serde_json::Value| json!([{"match": {"op": op, "left": {"meta": {"key": "pkttype"}}, "right": right}}, {"drop": null}]);
    for (row, rule, wanted) in [
        ("local", fib("==", json!("local")), Stopped),
        ("others", fib("==", json!({"set": ["broadcast", "anycast", "multicast"]})), Passes),
        ("neither", fib("!=", json!({"set": ["local", "broadcast", "multicast"]})), Passes),
        ("not local", fib("!=", json!("local")), Passes),
        ("not unicast", fib("!=", json!("unicast")), Stopped),
        ("sent on", status("in", json!("dnat")), Passes),
        ("sent on either way", status("in", json!(["snat", "dnat"])), Passes),
        ("not sent on", status("!=", json!("dnat")), Stopped),
        ("sent on, by a mask", masked, Passes),
        ("another status", status("in", json!("assured")), Perhaps),
        ("for everybody", kind("==", json!({"set": ["broadcast", "multicast"]})), Passes),
        ("for this host", kind("==", json!("host")), Stopped),
    ] {
        let rules = nft::read(&listing("accept", &[rule]), &Ruleset::default()).unwrap();
        assert_eq!(seen(&rules, &client(None)), wanted, "{row}");
    }
    for (which, wanted, out) in [
        ("-m addrtype --dst-type LOCAL", Stopped, Perhaps),
        ("-m addrtype ! --dst-type LOCAL", Passes, Perhaps),
        ("-m addrtype --dst-type BROADCAST", Passes, Perhaps),
        ("-m addrtype --dst-type MULTICAST,ANYCAST", Passes, Perhaps),
        ("-m addrtype --dst-type UNICAST", Perhaps, Perhaps),
        ("-m addrtype --dst-type LOCAL --limit-iface-in", Perhaps, Perhaps),
        ("-m pkttype --pkt-type multicast", Passes, Passes),
        ("-m rt --rt-type 0", Passes, Passes),
    ] {
        let text = format!("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {which} -j DROP\nCOMMIT\n");
        let rules = iptables::read(&text, Families::V4);
        assert_eq!(seen(&rules, &client(None)), wanted, "{which}");
        let packet = Packet { is_for_us: None, ..client(None) };
        assert_eq!(seen(&rules, &packet), out, "{which}, to another host");
    }
}

#[test]
fn a_rule_is_named_by_its_handle_with_commands_that_can_be_pasted() {
    let rules = [json!([payload("tcp", "dport", json!(2525)), {"drop": null}])];
    let rules = nft::read(&listing("accept", &rules), &Ruleset::default()).unwrap();
    let found = judge(&rules, &[client(None)], Clients::Anybody);
    for wanted in [
        "the rule with handle 2 of chain input in table inet filter",
        "nft -a list chain inet filter input",
        "nft delete rule inet filter input handle 2",
    ] {
        assert!(found[0].says.contains(wanted), "{found:?}");
    }
}
