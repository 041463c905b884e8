//! Which addresses and interfaces of ours count.

use super::*;
use crate::doctor::links::{Link, Links, Owned};

fn link(index: u32, name: &str, addresses: &[&str]) -> Link {
    let own = |ip: &&str| Owned { ip: ip.parse().unwrap(), is_duplicate: false };
    Link {
        index,
        name: name.into(),
        is_loopback: name == "lo",
        is_up: true,
        addresses: addresses.iter().map(own).collect(),
        ..Link::default()
    }
}

fn of(all: Vec<Link>, guarded: Option<&str>) -> Entrance {
    let guarded = guarded.map(|name| vec![name.to_owned()]);
    Entrance::of(&Links { all, problem: None }, guarded.as_deref())
}

/// A host with both families, and what Docker adds to it.
fn host() -> Vec<Link> {
    vec![
        link(1, "lo", &["127.0.0.1", "::1"]),
        link(2, "eth0", &["192.0.2.1", "2001:db8::1", "fe80::1"]),
        link(3, "docker0", &["172.17.0.1"]),
    ]
}

#[test]
fn each_listener_is_tried_over_every_family_that_it_serves() {
    let tried = |entrance: Entrance, listener: &str, from: Option<&str>| {
        let from = from.map(|from| from.parse().unwrap());
        let packets = packets(&[listener.parse().unwrap()], from, &entrance, true);
        packets.iter().map(|packet| packet.is_v4).collect::<Vec<_>>()
    };
    let both = || of(host(), Some("eth0"));
    let v4 = || of(vec![link(1, "lo", &["::1"]), link(2, "eth0", &["192.0.2.1", "fe80::1"])], None);
    let unknown = || Entrance::of(&Links { problem: Some("no".into()), ..Links::default() }, None);
    assert_eq!(tried(both(), "[::]:2525", None), [true, false]);
    assert_eq!(tried(both(), "0.0.0.0:2525", None), [true]);
    assert_eq!(tried(both(), "[2001:db8::1]:25", None), [false]);
    assert_eq!(tried(both(), "[::]:2525", Some("192.0.2.1")), [true]);
    assert_eq!(tried(both(), "127.0.0.1:2525", None), [false; 0]);
    assert_eq!(tried(v4(), "[::]:2525", None), [true], "it has no IPv6");
    assert_eq!(tried(v4(), "[::]:2525", Some("2001:db8::7")), [false], "it is asked for");
    assert_eq!(tried(v4(), "[2001:db8::1]:25", None), [false], "it is written");
    assert_eq!(tried(unknown(), "[::]:2525", None), [true, false]);
}

#[test]
fn a_host_without_ipv6_may_drop_it() {
    let rules = iptables::read("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", Families::V6);
    let causes = |entrance: &Entrance| {
        let packets = packets(&["[::]:2525".parse().unwrap()], None, entrance, true);
        judge(&rules, &packets, Clients::Anybody).len()
    };
    assert_eq!(causes(&of(vec![link(2, "eth0", &["192.0.2.1", "fe80::1"])], Some("eth0"))), 0);
    assert_eq!(causes(&of(host(), Some("eth0"))), 1);
}

#[test]
fn the_interfaces_with_addresses_hand_over_and_each_may_have_an_ingress() {
    let bond = || Link { master: Some(3), ..link(2, "eth0", &[]) };
    let layers = || {
        vec![
            bond(),
            link(3, "bond0", &[]),
            Link {
                kind: Some("vlan".into()),
                below: Some(3),
                ..link(4, "bond0.100", &["192.0.2.1"])
            },
        ]
    };
    let guarded = of(layers(), Some("eth0"));
    assert_eq!(guarded.devices, ["eth0", "bond0", "bond0.100"]);
    assert_eq!(guarded.comes_by, ["bond0.100"]);
    let red = || Link { kind: Some("vrf".into()), ..link(3, "red", &[]) };
    let domain =
        of(vec![Link { master: Some(3), ..link(2, "eth0", &["192.0.2.1"]) }, red()], Some("eth0"));
    assert_eq!(domain.comes_by, ["eth0", "red"]);
    let bare = of(vec![link(1, "lo", &["203.0.113.5"]), link(2, "eth0", &[])], Some("eth0"));
    assert_eq!((bare.comes_by, bare.devices), (vec!["eth0".to_owned()], vec!["eth0".to_owned()]));
    let rules =
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -i bond0.100 -p tcp --dport 2525 -j ACCEPT\nCOMMIT\n";
    let rules = iptables::read(rules, Families::V4);
    let packets = packets(&["0.0.0.0:2525".parse().unwrap()], None, &guarded, true);
    assert_eq!(judge(&rules, &packets, Clients::Anybody), []);
    let on = |device: &str| {
        let text = json!({"nftables": [
            {"chain": {"family": "netdev", "table": "x", "name": "i", "type": "filter", "hook": "ingress", "dev": device, "prio": 0, "policy": "accept"}},
            {"rule": {"family": "netdev", "table": "x", "chain": "i", "handle": 2, "expr": [
                {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": device}}, {"drop": null}]}},
        ]});
        judge(
            &nft::read(&text.to_string(), &Ruleset::default()).unwrap(),
            &packets,
            Clients::Anybody,
        )
        .len()
    };
    assert_eq!((on("eth0"), on("bond0"), on("eth1")), (1, 1, 0));
}

#[test]
fn rules_for_addresses_that_are_not_ours_do_not_matter() {
    // Docker 28, kubelet, and a rule for an address of loopback.
    const OTHERS: &str = "*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
-A PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 2525 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:INPUT ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
COMMIT
";
    let causes = |text: &str, entrance: &Entrance| {
        let rules = iptables::read(text, Families::V4);
        let packets = packets(&["[::]:2525".parse().unwrap()], None, entrance, true);
        let found = judge(&rules, &packets, Clients::Anybody);
        found.iter().map(|found| found.cause.id()).collect::<Vec<_>>()
    };
    assert_eq!(causes(OTHERS, &of(host(), Some("eth0"))), [""; 0]);
    assert_eq!(causes(OTHERS, &of(host(), None)), [""; 0], "without a gate");
    let published = OTHERS.replace("--dport 8080", "--dport 2525");
    assert_eq!(causes(&published, &of(host(), Some("eth0"))), ["redirected-away"]);
    let drops = |which: &str| {
        format!("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {which} -p tcp -j DROP\nCOMMIT\n")
    };
    let two = || of(vec![link(2, "eth0", &["192.0.2.1", "192.0.2.2"])], Some("eth0"));
    assert_eq!(causes(&drops("-d 192.0.2.0/24"), &two()), ["firewall"]);
    assert_eq!(causes(&drops("-d 192.0.2.2/32"), &two()), ["firewall-perhaps"]);
    assert_eq!(causes(&drops("! -d 192.0.2.0/24"), &two()), [""; 0]);
    let many: Vec<_> = (1..=17).map(|last| format!("192.0.2.{last}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let many = of(vec![link(2, "eth0", &many)], Some("eth0"));
    assert_eq!(causes(&drops("-d 172.17.0.2/32"), &many), ["firewall-perhaps"], "too many");
}
