//! Commands for rules of each kind, and whom they let past.

use super::super::owner::Owner;
use super::super::packet::CLIENT_PORTS;
use super::super::ruleset::{Act, Families};
use super::super::spans::{Span, whole};
use super::*;

fn alone(ip: &str) -> Span {
    whole(ip.parse().unwrap())
}

fn packet(source: Option<&str>) -> Packet {
    Packet {
        part: Part::Attempt,
        is_v4: source.is_none_or(|source| !source.contains(':')),
        source: source.map(alone),
        destinations: Vec::new(),
        is_for_us: Some(true),
        port: 2525,
        other_ports: CLIENT_PORTS,
        devices: Vec::new(),
        comes_by: vec!["eth0".into()],
        leaves_by: Vec::new(),
        finds_back: true,
        is_tracked: true,
        owner: Owner::Nobody,
    }
}

fn chain(table: &str, name: &str, handle: Option<u64>) -> Ruleset {
    let rule = Rule { tests: Vec::new(), act: Act::Drop, handle, name: "it".into() };
    let base = Base { hook: "input".into(), priority: 0, drops: true, is_nat: false, device: None };
    let (table, name) = (table.to_owned(), name.to_owned());
    let chain =
        Chain { families: Families::Both, table, name, base: Some(base), rules: vec![rule] };
    Ruleset { chains: vec![chain] }
}

#[test]
fn the_command_lets_in_who_is_asked_for_and_no_other() {
    let nft = chain("inet filter", "input", Some(7));
    let policy = "the policy of chain input in table inet filter";
    let elder = chain("iptables filter", "INPUT", None);
    let ufw = chain("ip filter", "ufw-user-input", Some(3));
    let before = chain("ip filter", "ufw-before-input", Some(3));
    let firewalld = chain("inet firewalld", "filter_INPUT", Some(3));
    for (rules, stop, from, begins) in [
        (&nft, "it", None, "nft insert rule inet filter input handle 7 tcp dport 2525 accept  # "),
        (
            &nft,
            "it",
            Some("192.0.2.7"),
            "nft insert rule inet filter input handle 7 ip saddr 192.0.2.7 tcp dport 2525 accept  # ",
        ),
        (
            &nft,
            policy,
            Some("2001:db8::7"),
            "nft add rule inet filter input ip6 saddr 2001:db8::7 tcp dport 2525 accept  # ",
        ),
        (&elder, "it", None, "iptables -t filter -I INPUT -p tcp --dport 2525 -j ACCEPT  # "),
        (
            &elder,
            "the policy of chain INPUT in table iptables filter",
            Some("192.0.2.7"),
            "iptables -t filter -A INPUT -s 192.0.2.7 -p tcp --dport 2525 -j ACCEPT  # ",
        ),
        (&ufw, "it", None, "ufw prepend allow 2525/tcp"),
        (&before, "it", None, "mend that rule in /etc/ufw/before.rules"),
        (
            &ufw,
            "it",
            Some("192.0.2.7"),
            "ufw prepend allow proto tcp from 192.0.2.7 to any port 2525",
        ),
        (
            &firewalld,
            "it",
            None,
            "firewall-cmd --permanent --add-port=2525/tcp && firewall-cmd --reload  # ",
        ),
        (
            &firewalld,
            "it",
            Some("192.0.2.7"),
            "firewall-cmd --permanent --add-rich-rule='rule family=\"ipv4\" source address=\"192.0.2.7\" port",
        ),
    ] {
        let peers: Vec<_> = from.iter().map(|from| from.parse().unwrap()).collect();
        let told = remedy(rules, stop, &packet(from), &peers);
        assert!(told.starts_with(begins), "{told}");
    }
}

#[test]
fn the_command_lets_past_what_is_answered_and_no_new_connection_of_a_next_hop() {
    let nft = chain("inet filter", "output", Some(7));
    let elder = chain("iptables filter", "OUTPUT", None);
    let ufw = chain("ip filter", "ufw-user-output", Some(3));
    let mut early = chain("ip raw", "c", Some(3));
    let base = early.chains[0].base.as_mut().unwrap();
    (base.hook, base.priority) = ("prerouting".into(), -300);
    let out = |packet: Packet| Packet { comes_by: Vec::new(), ..packet };
    let client = |from| packet(from).answer();
    let hop = || out(packet(None));
    let answer = || Packet { leaves_by: vec!["eth0".into()], ..hop() }.answer();
    let peer = Some("192.0.2.7".parse::<IpNetwork>().unwrap());
    for (rules, packet, peer, begins) in [
        (
            &nft,
            client(None),
            None,
            "nft insert rule inet filter output handle 7 tcp sport 2525 accept  # ",
        ),
        (
            &nft,
            client(Some("192.0.2.7")),
            peer,
            "nft insert rule inet filter output handle 7 ip daddr 192.0.2.7 tcp sport 2525 accept  # ",
        ),
        (
            &nft,
            hop(),
            peer,
            "nft insert rule inet filter output handle 7 ip daddr 192.0.2.7 tcp dport 2525 accept  # ",
        ),
        (
            &nft,
            answer(),
            peer,
            "nft insert rule inet filter output handle 7 ip saddr 192.0.2.7 tcp sport 2525 ct state established accept  # ",
        ),
        (
            &elder,
            client(Some("192.0.2.7")),
            peer,
            "iptables -t filter -I OUTPUT -d 192.0.2.7 -p tcp --sport 2525 -j ACCEPT  # ",
        ),
        (
            &elder,
            answer(),
            peer,
            "iptables -t filter -I OUTPUT -s 192.0.2.7 -p tcp --sport 2525 -m conntrack --ctstate ESTABLISHED -j",
        ),
        (&ufw, answer(), peer, "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED"),
        (&early, answer(), peer, "let TCP from port 2525 pass there"),
        (&ufw, client(None), None, "ufw prepend allow out proto tcp from any port 2525 to any"),
        (&ufw, hop(), peer, "ufw prepend allow out proto tcp from any to 192.0.2.7 port 2525"),
    ] {
        let told = remedy(rules, "it", &packet, peer.as_slice());
        assert!(told.starts_with(begins), "{told}");
    }
}
