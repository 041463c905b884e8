//! The command that lets connections, or what is answered to them, past a rule of the host's firewall.
//!
//! It lets in whom the rule stops and nobody else, to the port of the listener: the client who is asked for, or the
//! entries of the allowlist. The same goes for a next hop.

#[cfg(test)]
mod tests;

use ipnetwork::IpNetwork;
use relay_common::addr::Family;

use super::owner::Owner;
use super::packet::{Packet, Part, Test};
use super::ruleset::{Base, Chain, Rule, Ruleset};
use crate::gate;
use crate::gate::cidr::written;

/// The most networks that a command lets past.
const PEERS_MAX: usize = 32;

/// What is to be let past.
#[derive(Clone, Copy, Debug)]
struct Passing<'a> {
    /// Who is at the other end, all of one family; none: anybody.
    peers: &'a [Peer],
    /// Whether it goes to there.
    leaves: bool,
    port: u16,
    part: Part,
    /// Whose it is, where rules ask for that; none: anybody's.
    user: Option<u32>,
}

impl Passing<'_> {
    /// Whether it may pass only as a part of a connection of ours: a next hop answers, and connects to nothing.
    fn needs_state(self) -> bool {
        !self.leaves && self.part == Part::Answer
    }

    /// Returns the networks as rules name them, with a comma between each two.
    fn written(self) -> String {
        self.peers.iter().map(|peer| peer.written.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Returns the same as words of iptables, with a space behind them; nothing of anybody.
    fn ends(self) -> String {
        if self.peers.is_empty() {
            return String::new();
        }
        let end = if self.leaves { "-d" } else { "-s" };
        format!("{end} {} ", self.written().replace(' ', ""))
    }
}

/// A network at the other end.
#[derive(Clone, Debug)]
struct Peer {
    is_v4: bool,
    /// One address is written without its prefix.
    written: String,
}

/// Returns the command to run so that a packet from or to `peers`, or with none of them anybody, passes what stops it,
/// named as in [`super::ruleset::Fate`]. Whoever writes the rules undoes what others add to them, so it is told where to.
pub(super) fn remedy(rules: &Ruleset, stop: &str, packet: &Packet, peers: &[IpNetwork]) -> String {
    let mut nets: Vec<_> = peers.iter().filter_map(|peer| gate::net(*peer).ok()).collect();
    let all = nets.clone();
    // A set of nftables takes no network that lies within another of it.
    nets.retain(|net| !all.iter().any(|other| other != net && other.covers(net)));
    nets.dedup();
    let peers = nets.iter().take(PEERS_MAX);
    let peers: Vec<_> = peers
        .map(|net| Peer { is_v4: net.family() == Family::V4, written: written(*net) })
        .collect();
    let more = nets.len() - peers.len();
    match past(rules, stop, packet, &peers) {
        Mend::Edit(what) => what,
        Mend::Run { command, remark } => {
            let more =
                (more > 0).then(|| format!("and so for {more} more of sallyport allow list"));
            let remarks: Vec<_> = more.into_iter().chain(remark.map(str::to_owned)).collect();
            if remarks.is_empty() {
                command
            } else {
                format!("{command}  # {}", remarks.join("; "))
            }
        }
    }
}

/// How rules are mended.
enum Mend {
    /// By a command; a remark to it.
    Run { command: String, remark: Option<&'static str> },
    /// By hand: what to do.
    Edit(String),
}

/// What is run is gone when the rules are loaded anew.
const KEEP: &str = "and the same where the rules are kept, or it is gone when they are loaded anew";

fn past(rules: &Ruleset, stop: &str, packet: &Packet, peers: &[Peer]) -> Mend {
    let Some((chain, rule)) = rules.place_of(stop) else {
        return Mend::Edit(format!("accept TCP to port {} before it", packet.port));
    };
    let (leaves, user) = (packet.leaves(), user_for(rules, chain, packet.owner));
    let passing = Passing { peers, leaves, port: packet.port, part: packet.part, user };
    let has_ufw = || rules.chains.iter().any(|chain| chain.name.starts_with("ufw"));
    let is_policy = rule.is_none() && ["INPUT", "OUTPUT"].contains(&chain.name.as_str());
    if chain.table.ends_with(" firewalld") {
        of_firewalld(passing)
    } else if chain.name.starts_with("ufw") || (is_policy && has_ufw()) {
        of_ufw(chain, is_policy, passing)
    } else if passing.needs_state() && !chain.base.as_ref().is_none_or(Base::knows_states) {
        // A rule without the state would let that host connect to every port here.
        Mend::Edit(format!(
            "let TCP from port {} pass there, to ports of connections that this host made",
            packet.port
        ))
    } else {
        let command = match chain.table.split_once(' ') {
            Some((program, table)) if program.contains("tables") => {
                of_iptables(program, table, chain, rule, passing)
            }
            Some(_) | None => of_nft(chain, rule, passing),
        };
        Mend::Run { command, remark: Some(KEEP) }
    }
}

/// Returns the user who is to be let past where rules tell users from one another: no other is let past them. Those of the
/// whole table count, since what stops may be jumped to from a rule that asks whose it is.
fn user_for(rules: &Ruleset, chain: &Chain, owner: Owner) -> Option<u32> {
    let asks_whose = |rule: &Rule| rule.tests.iter().any(|test| matches!(test, Test::Owner(..)));
    let mut beside = rules.chains.iter().filter(|other| other.table == chain.table);
    match owner {
        Owner::Of(of) => beside.any(|other| other.rules.iter().any(asks_whose)).then_some(of.uid),
        Owner::Nobody | Owner::Unknown => None,
    }
}

/// What ufw adds comes behind its rules of `before.rules`, and knows no states.
fn of_ufw(chain: &Chain, is_policy: bool, passing: Passing<'_>) -> Mend {
    let Passing { peers, leaves, port, part, user } = passing;
    if passing.needs_state() {
        return Mend::Edit(
            "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT in /etc/ufw/before.rules (and of \
             IPv6 ufw6-before-input in before6.rules), then: ufw reload"
                .to_owned(),
        );
    }
    if chain.name.contains("-before-") || chain.name.contains("-not-local") {
        return Mend::Edit(
            "mend that rule in /etc/ufw/before.rules (of IPv6 before6.rules), then: ufw reload"
                .to_owned(),
        );
    }
    // Its own words know no users.
    if let Some(uid) = user {
        let v4 = peers.first().is_none_or(|peer| peer.is_v4);
        let (chain, file) = if v4 { ("ufw", "before.rules") } else { ("ufw6", "before6.rules") };
        let of = passing.ends();
        return Mend::Edit(format!(
            "-A {chain}-before-output {of}-p tcp --dport {port} -m owner --uid-owner {uid} -j ACCEPT in /etc/ufw/{file}, \
             then: ufw reload"
        ));
    }
    let command = |peer: Option<&Peer>| {
        let any = peer.map_or("any", |peer| &peer.written);
        match (leaves, part, peer) {
            (false, Part::Attempt, Some(_)) => {
                format!("ufw prepend allow proto tcp from {any} to any port {port}")
            }
            (false, Part::Attempt, None) if is_policy => format!("ufw allow {port}/tcp"),
            (false, Part::Attempt, None) => format!("ufw prepend allow {port}/tcp"),
            (false, Part::Answer, _) => {
                format!("ufw prepend allow proto tcp from {any} port {port} to any")
            }
            (true, Part::Attempt, _) => {
                format!("ufw prepend allow out proto tcp from any to {any} port {port}")
            }
            (true, Part::Answer, _) => {
                format!("ufw prepend allow out proto tcp from any port {port} to {any}")
            }
        }
    };
    let commands: Vec<_> = peers.iter().map(|peer| command(Some(peer))).collect();
    let command = if commands.is_empty() { command(None) } else { commands.join(" && ") };
    Mend::Run { command, remark: None }
}

fn of_firewalld(Passing { peers, leaves, port, part, .. }: Passing<'_>) -> Mend {
    if leaves || part == Part::Answer {
        let side = if part == Part::Answer { "from" } else { "to" };
        return Mend::Edit(format!(
            "firewall-cmd --list-all-policies shows what it does with connections of this host: let it accept TCP {side} \
             port {port}"
        ));
    }
    let rule = |peer: &Peer| {
        let (family, client) = (if peer.is_v4 { "ipv4" } else { "ipv6" }, &peer.written);
        format!(
            "--add-rich-rule='rule family=\"{family}\" source address=\"{client}\" port port=\"{port}\" \
             protocol=\"tcp\" accept'"
        )
    };
    let rules: Vec<_> = peers.iter().map(rule).collect();
    let what = if rules.is_empty() { format!("--add-port={port}/tcp") } else { rules.join(" ") };
    Mend::Run {
        command: format!("firewall-cmd --permanent {what} && firewall-cmd --reload"),
        remark: Some("with --zone, if the interface is in another than the default"),
    }
}

/// A rule goes before the one that stops it, and before a policy at the end of its chain.
fn of_nft(chain: &Chain, rule: Option<&Rule>, passing: Passing<'_>) -> String {
    let Passing { peers, leaves, port, part, user } = passing;
    let side = if leaves { "daddr" } else { "saddr" };
    let family = |peer: &Peer| if peer.is_v4 { "ip" } else { "ip6" };
    let of = match peers {
        [] => String::new(),
        [peer] => format!("{} {side} {} ", family(peer), peer.written),
        // A shell would take the braces for its own.
        [peer, ..] => format!("{} {side} '{{ {} }}' ", family(peer), passing.written()),
    };
    let Chain { table, name, .. } = chain;
    let at = match rule {
        None if !chain.is_left_early() => format!("nft add rule {table} {name}"),
        Some(Rule { handle: Some(handle), .. }) => {
            format!("nft insert rule {table} {name} handle {handle}")
        }
        Some(Rule { handle: None, .. }) | None => format!("nft insert rule {table} {name}"),
    };
    let side = match part {
        Part::Attempt => "dport",
        Part::Answer => "sport",
    };
    let state = if passing.needs_state() { "ct state established " } else { "" };
    let whose = user.map(|uid| format!("meta skuid {uid} ")).unwrap_or_default();
    format!("{at} {of}{whose}tcp {side} {port} {state}accept")
}

/// The same in the words of iptables, in which a rule is put before all others of its chain.
fn of_iptables(
    program: &str,
    table: &str,
    chain: &Chain,
    rule: Option<&Rule>,
    passing: Passing<'_>,
) -> String {
    let Passing { port, part, user, .. } = passing;
    let of = passing.ends();
    let name = &chain.name;
    let put = if rule.is_some() || chain.is_left_early() { "-I" } else { "-A" };
    let side = match part {
        Part::Attempt => "--dport",
        Part::Answer => "--sport",
    };
    let state = if passing.needs_state() { "-m conntrack --ctstate ESTABLISHED " } else { "" };
    let whose = user.map(|uid| format!("-m owner --uid-owner {uid} ")).unwrap_or_default();
    format!("{program} -t {table} {put} {name} {of}-p tcp {side} {port} {whose}{state}-j ACCEPT")
}
