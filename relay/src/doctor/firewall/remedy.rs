//! The command that lets connections past a rule of the host's firewall.
//!
//! Where one client is asked for it lets in that one, to the port of the listener: a rule against it may be meant for
//! others too.

use super::packet::Packet;
use super::ruleset::{Chain, Rule, Ruleset};

/// Returns the command to run so that a packet passes what stops it, named as in [`super::ruleset::Fate`]. Whoever
/// writes the rules undoes what others add to them, so it is told where to.
pub(super) fn remedy(rules: &Ruleset, stop: &str, packet: &Packet) -> String {
    let Some((chain, rule)) = rules.place_of(stop) else {
        return format!("accept TCP to port {} before it", packet.port);
    };
    let has_ufw = || rules.chains.iter().any(|chain| chain.name.starts_with("ufw"));
    if chain.table.ends_with(" firewalld") {
        of_firewalld(packet)
    } else if chain.name.starts_with("ufw")
        || (rule.is_none() && chain.name == "INPUT" && has_ufw())
    {
        of_ufw(packet)
    } else {
        let command = match chain.table.split_once(' ') {
            Some((program @ ("iptables" | "ip6tables"), table)) => {
                of_iptables(program, table, chain, rule, packet)
            }
            Some(_) | None => of_nft(chain, rule, packet),
        };
        format!(
            "{command} (and the same where the rules are kept, or it is gone when they are loaded anew)"
        )
    }
}

fn of_ufw(packet: &Packet) -> String {
    let port = packet.port;
    match packet.source {
        Some(client) => format!("ufw prepend allow proto tcp from {client} to any port {port}"),
        None => format!("ufw allow {port}/tcp"),
    }
}

fn of_firewalld(packet: &Packet) -> String {
    let port = packet.port;
    let zone =
        "(--zone, if the interface is in another than the default), then: firewall-cmd --reload";
    let Some(client) = packet.source else {
        return format!("firewall-cmd --permanent --add-port={port}/tcp {zone}");
    };
    let family = if client.is_ipv4() { "ipv4" } else { "ipv6" };
    format!(
        "firewall-cmd --permanent --add-rich-rule='rule family=\"{family}\" source address=\"{client}\" \
         port port=\"{port}\" protocol=\"tcp\" accept' {zone}"
    )
}

/// A rule goes before the one that stops it, and before a policy at the end of its chain.
fn of_nft(chain: &Chain, rule: Option<&Rule>, packet: &Packet) -> String {
    let of = packet.source.map(|client| {
        let family = if client.is_ipv4() { "ip" } else { "ip6" };
        format!("{family} saddr {client} ")
    });
    let (of, port) = (of.unwrap_or_default(), packet.port);
    let Chain { table, name, .. } = chain;
    let at = match rule {
        None => format!("nft add rule {table} {name}"),
        Some(Rule { handle: Some(handle), .. }) => {
            format!("nft insert rule {table} {name} handle {handle}")
        }
        Some(Rule { handle: None, .. }) => format!("nft insert rule {table} {name}"),
    };
    format!("{at} {of}tcp dport {port} accept")
}

/// The same in the words of iptables, in which a rule is put before all others of its chain.
fn of_iptables(
    program: &str,
    table: &str,
    chain: &Chain,
    rule: Option<&Rule>,
    packet: &Packet,
) -> String {
    let of = packet.source.map(|client| format!("-s {client} ")).unwrap_or_default();
    let (port, name) = (packet.port, &chain.name);
    let put = if rule.is_some() { "-I" } else { "-A" };
    format!("{program} -t {table} {put} {name} {of}-p tcp --dport {port} -j ACCEPT")
}

#[cfg(test)]
mod tests {
    use super::super::ruleset::{Act, Base, Families};
    use super::*;

    fn packet(source: Option<&str>) -> Packet {
        Packet {
            is_v4: source.is_none_or(|source| !source.contains(':')),
            source: source.map(|source| source.parse().unwrap()),
            destinations: Vec::new(),
            is_for_us: Some(true),
            port: 2525,
            devices: Vec::new(),
            comes_by: Vec::new(),
            finds_back: true,
        }
    }

    fn chain(table: &str, name: &str, handle: Option<u64>) -> Ruleset {
        let rule = Rule { tests: Vec::new(), act: Act::Drop, handle, name: "it".into() };
        let base =
            Base { hook: "input".into(), priority: 0, drops: true, is_nat: false, device: None };
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
        let firewalld = chain("inet firewalld", "filter_INPUT", Some(3));
        for (rules, stop, from, begins) in [
            (
                &nft,
                "it",
                None,
                "nft insert rule inet filter input handle 7 tcp dport 2525 accept (",
            ),
            (
                &nft,
                "it",
                Some("192.0.2.7"),
                "nft insert rule inet filter input handle 7 ip saddr 192.0.2.7 tcp dport 2525 accept (",
            ),
            (
                &nft,
                policy,
                Some("2001:db8::7"),
                "nft add rule inet filter input ip6 saddr 2001:db8::7 tcp dport 2525 accept (",
            ),
            (&elder, "it", None, "iptables -t filter -I INPUT -p tcp --dport 2525 -j ACCEPT ("),
            (
                &elder,
                "the policy of chain INPUT in table iptables filter",
                Some("192.0.2.7"),
                "iptables -t filter -A INPUT -s 192.0.2.7 -p tcp --dport 2525 -j ACCEPT (",
            ),
            (&ufw, "it", None, "ufw allow 2525/tcp"),
            (
                &ufw,
                "it",
                Some("192.0.2.7"),
                "ufw prepend allow proto tcp from 192.0.2.7 to any port 2525",
            ),
            (&firewalld, "it", None, "firewall-cmd --permanent --add-port=2525/tcp ("),
            (
                &firewalld,
                "it",
                Some("192.0.2.7"),
                "firewall-cmd --permanent --add-rich-rule='rule family=\"ipv4\" source address=\"192.0.2.7\" port",
            ),
        ] {
            let told = remedy(rules, stop, &packet(from));
            assert!(told.starts_with(begins), "{told}");
        }
    }
}
