//! The rules of nftables, as `nft -j list ruleset` prints them (libnftables-json(5)).
//!
//! What is not understood is no error: it is a test that cannot be told, so that a rule behind it is
//! perhaps in the way.
//!
//! Of rules that iptables wrote the listing names extensions without their options (`xt`). Each such rule is
//! taken as iptables itself prints it, where that is known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::iptables;
use super::ruleset::{Act, Base, Chain, Families, Rule, Ruleset, Sense, Test};

/// The most rules that are read: more take longer than they tell.
const RULES_MAX: usize = 100_000;

/// The elements of sets, by the whole name of the table and their own; none while a set is empty.
type Sets<'a> = BTreeMap<(String, &'a str), &'a [Value]>;

/// Where the rules of a chain are, by the whole name of the table and its own.
type Places<'a> = BTreeMap<(String, Option<&'a str>), Place>;

/// How many rules of a chain were read, of all that it has.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    at: usize,
    of: usize,
}

/// Tells whether a listing has rules of iptables that it does not show whole. One that names something `xt` may
/// be taken for such a one.
pub(super) fn is_partial(text: &str) -> bool {
    text.contains("\"xt\"")
}

/// Reads the listing. Rules that it does not show whole are taken from what iptables saved of the same tables.
///
/// # Errors
///
/// If it is no JSON, or no listing.
pub(super) fn read(text: &str, saved: &Ruleset) -> Result<Ruleset, String> {
    let whole: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let listed = whole["nftables"].as_array().ok_or("it has no \"nftables\"")?;
    let mut sets = Sets::new();
    for set in listed.iter().map(|object| &object["set"]) {
        if let (Some((_, table)), Some(name)) = (table(set), set["name"].as_str()) {
            let elements = set["elem"].as_array().map_or(&[][..], Vec::as_slice);
            sets.insert((table, name), elements);
        }
    }
    let mut rules =
        Ruleset { chains: listed.iter().filter_map(|one| chain(&one["chain"])).collect() };
    let written = || {
        let rules = listed.iter().map(|object| &object["rule"]).filter(|rule| !rule.is_null());
        rules.take(RULES_MAX).filter_map(|rule| Some((rule, table(rule)?.1)))
    };
    let mut places = Places::new();
    for (rule, table) in written() {
        places.entry((table, rule["chain"].as_str())).or_default().of += 1;
    }
    for (rule, table) in written() {
        let name = rule["chain"].as_str();
        let chain = rules
            .chains
            .iter_mut()
            .find(|one| one.table == table && Some(one.name.as_str()) == name);
        if let Some(chain) = chain {
            let place = places.entry((table, name)).or_default();
            place.at += 1;
            match of_iptables(rule, chain, saved, place) {
                Some(whole) => chain.rules.push(whole.clone()),
                None => chain.rules.extend(read_rule(rule, &chain.table, &chain.name, &sets)),
            }
        }
    }
    Ok(rules)
}

/// Returns a rule that the listing does not show whole as iptables saved it. Both name the rules of a chain in
/// their order; where they do not name as many, one of them is of another moment, or leaves some out.
fn of_iptables<'a>(
    rule: &Value,
    chain: &Chain,
    saved: &'a Ruleset,
    place: &Place,
) -> Option<&'a Rule> {
    let said = rule["expr"].as_array()?;
    if !said.iter().any(|said| said.get("xt").is_some()) {
        return None;
    }
    let (family, table) = chain.table.split_once(' ')?;
    let program = match family {
        "ip" => "iptables",
        "ip6" => "ip6tables",
        _ => return None,
    };
    let table = format!("{program} {table}");
    let same = saved.chains.iter().find(|one| one.table == table && one.name == chain.name)?;
    same.rules.get(place.at.checked_sub(1)?).filter(|_| same.rules.len() == place.of)
}

/// Returns the families and the whole name of the table of a chain or rule; none for those of other
/// protocols.
fn table(of: &Value) -> Option<(Families, String)> {
    let (family, table) = (of["family"].as_str()?, of["table"].as_str()?);
    let families = match family {
        "ip" => Families::V4,
        "ip6" => Families::V6,
        "inet" | "netdev" => Families::Both,
        _ => return None,
    };
    Some((families, format!("{family} {table}")))
}

fn chain(written: &Value) -> Option<Chain> {
    let (families, table) = table(written)?;
    let base = written["hook"].as_str().map(|hook| Base {
        hook: hook.to_owned(),
        priority: written["prio"].as_i64().unwrap_or(0),
        drops: written["policy"] == "drop",
        is_nat: written["type"] == "nat",
        device: written["dev"].as_str().map(str::to_owned),
    });
    Some(Chain {
        families,
        table,
        name: written["name"].as_str()?.to_owned(),
        base,
        rules: Vec::new(),
    })
}

/// Reads a rule; a map of verdicts becomes a rule for each of its values.
fn read_rule(rule: &Value, table: &str, chain: &str, sets: &Sets<'_>) -> Vec<Rule> {
    let handle = rule["handle"].as_u64().unwrap_or(0);
    let name = format!(
        "rule {handle} of chain {chain} in table {table} (nft -a list chain {table} {chain})"
    );
    let mut rules = Vec::new();
    let mut tests = Vec::new();
    for said in rule["expr"].as_array().into_iter().flatten() {
        let Some((key, value)) = said.as_object().and_then(|said| said.iter().next()) else {
            tests.push(Test::Unknown);
            continue;
        };
        if key == "vmap" {
            let pairs = value["data"]["set"].as_array();
            for pair in pairs.into_iter().flatten() {
                let one = test(&value["key"], "==", &pair[0], table, sets);
                let act = pair[1].as_object().and_then(|act| act.iter().next());
                let act = act.and_then(|(key, value)| act_of(key, value)).unwrap_or(Act::Nothing);
                let tests = tests.iter().cloned().chain([one]).collect();
                rules.push(Rule { tests, act, name: name.clone() });
            }
            // A map with a name: whatever it says for us.
            if pairs.is_none() {
                tests.push(Test::Unknown);
                rules.push(Rule { tests: tests.clone(), act: Act::Drop, name: name.clone() });
            }
        } else if key == "match" {
            let operator = value["op"].as_str().unwrap_or_default();
            tests.push(test(&value["left"], operator, &value["right"], table, sets));
        } else if key == "xt" && value["type"] == "match" {
            // A comment is the one extension that tests nothing.
            if value["name"] != "comment" {
                tests.push(Test::Unknown);
            }
        } else if let Some(act) = act_of(key, value) {
            rules.push(Rule { tests: tests.clone(), act, name: name.clone() });
        } else if !is_silent(key) {
            tests.push(Test::Unknown);
        }
    }
    rules
}

/// Tells whether a statement neither tests nor decides.
fn is_silent(key: &str) -> bool {
    ["counter", "log", "comment", "mangle", "notrack", "flow", "set", "ct helper"].contains(&key)
}

fn act_of(key: &str, value: &Value) -> Option<Act> {
    let target = || value["target"].as_str().unwrap_or_default().to_owned();
    let port = || value["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    Some(match key {
        "accept" => Act::Accept,
        "drop" | "reject" => Act::Drop,
        "jump" => Act::Jump(target()),
        "goto" => Act::Goto(target()),
        "return" => Act::Return,
        "redirect" => Act::Redirect { to: port(), elsewhere: false },
        "dnat" => Act::Redirect { to: port(), elsewhere: true },
        "queue" | "synproxy" | "tproxy" => Act::Hand,
        "continue" => Act::Nothing,
        // An older listing does not even say whether it is a target.
        "xt" => value["name"].as_str().map_or(Act::Hand, iptables::bare_target),
        _ => return None,
    })
}

fn test(left: &Value, operator: &str, right: &Value, table: &str, sets: &Sets<'_>) -> Test {
    let sense = match operator {
        "==" | "in" => Sense::OneOf,
        "!=" => Sense::NoneOf,
        _ => return compared(left, operator, right),
    };
    let Some(values) = values(right, table, sets) else { return Test::Unknown };
    let payload = (left["payload"]["protocol"].as_str(), left["payload"]["field"].as_str());
    if values.is_empty() {
        // Nothing is in an empty set. Who asks for an address besides asks for its family.
        return match (sense, payload.0) {
            (Sense::OneOf, _) | (_, Some("udp" | "icmp" | "icmpv6" | "sctp")) => {
                Test::Always(false)
            }
            (Sense::NoneOf, Some("ip")) => Test::IsV4(true),
            (Sense::NoneOf, Some("ip6")) => Test::IsV4(false),
            (Sense::NoneOf, _) => Test::Always(true),
        };
    }
    let words =
        || values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let among = |word: &str| {
        let is = values.iter().any(|value| value.as_str() == Some(word));
        Test::Always(is == (sense == Sense::OneOf))
    };
    match payload {
        (Some("tcp" | "th"), Some("dport")) => {
            let ports = values.iter().map(|value| ports(value)).collect::<Option<Vec<_>>>();
            return ports.map_or(Test::Unknown, |ports| Test::Port(ports, sense));
        }
        (Some("udp" | "icmp" | "icmpv6" | "sctp"), _) => return Test::Always(false),
        (Some("ip" | "ip6"), Some(field @ ("saddr" | "daddr"))) => {
            let Some(of) = values.iter().map(|value| addresses(value)).collect::<Option<Vec<_>>>()
            else {
                return Test::Unknown;
            };
            return if field == "saddr" {
                Test::Source(of, sense)
            } else {
                Test::Destination(of, sense)
            };
        }
        (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => return among("tcp"),
        _ => {}
    }
    match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
        (Some("iif" | "iifname"), _) => {
            words().map_or(Test::Unknown, |names| Test::ComesBy(names, sense))
        }
        (Some("l4proto"), _) => among("tcp"),
        (Some("nfproto"), _) => match values.as_slice() {
            [one] => Test::IsV4((one == &"ipv4") == (sense == Sense::OneOf)),
            _ => Test::Unknown,
        },
        (_, Some("state")) => among("new"),
        _ if is_syn(left) => among("syn"),
        _ => Test::Unknown,
    }
}

/// Tells whether it is `tcp flags & (…)` with SYN among them.
fn is_syn(left: &Value) -> bool {
    let of = &left["&"];
    of[0]["payload"]["field"] == "flags"
        && of[1].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "syn"))
}

/// A test by size.
fn compared(left: &Value, operator: &str, right: &Value) -> Test {
    let bound = right.as_u64().and_then(|bound| u16::try_from(bound).ok());
    let (Some("dport"), Some(bound)) = (left["payload"]["field"].as_str(), bound) else {
        return Test::Unknown;
    };
    let range = match operator {
        "<" => bound.checked_sub(1).map(|last| 0..=last),
        "<=" => Some(0..=bound),
        ">" => bound.checked_add(1).map(|first| first..=u16::MAX),
        ">=" => Some(bound..=u16::MAX),
        _ => return Test::Unknown,
    };
    Test::Port(range.into_iter().collect(), Sense::OneOf)
}

/// Returns the values that a right side stands for; none if it cannot be told.
fn values<'a>(right: &'a Value, table: &str, sets: &Sets<'a>) -> Option<Vec<&'a Value>> {
    let elements = if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
        *sets.get(&(table.to_owned(), name))?
    } else if let Some(set) = right["set"].as_array() {
        set.as_slice()
    } else if let Some(list) = right.as_array() {
        list.as_slice()
    } else {
        std::slice::from_ref(right)
    };
    // An element with a timeout or a counter of its own.
    Some(
        elements
            .iter()
            .map(|one| if one["elem"].is_object() { &one["elem"]["val"] } else { one })
            .collect(),
    )
}

fn ports(value: &Value) -> Option<RangeInclusive<u16>> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    match value["range"].as_array() {
        Some(range) => Some(port(range.first()?)?..=port(range.get(1)?)?),
        None => port(value).map(|port| port..=port),
    }
}

fn addresses(value: &Value) -> Option<RangeInclusive<IpAddr>> {
    let ip = |value: &Value| value.as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
    if let Some(range) = value["range"].as_array() {
        return Some(ip(range.first()?)?..=ip(range.get(1)?)?);
    }
    let prefix = &value["prefix"];
    if prefix.is_object() {
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        return Some(whole(IpNetwork::new(ip(&prefix["addr"])?, length).ok()?));
    }
    ip(value).map(|ip| ip..=ip)
}

/// Returns the addresses of a network.
pub(super) fn whole(network: IpNetwork) -> RangeInclusive<IpAddr> {
    let last = match network {
        IpNetwork::V4(network) => IpAddr::V4(network.broadcast()),
        IpNetwork::V6(network) => IpAddr::V6(network.broadcast()),
    };
    network.network()..=last
}
