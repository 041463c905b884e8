//! What a rule of nftables asks, as libnftables-json(5) writes its expressions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::owner::Number;
use super::packet::{Parts, Test};
use super::spans::{Addresses, Span, whole};
use super::truth::Sense;

/// The elements of sets and maps, by the whole name of the table and their own; none while one is empty.
pub(super) type Sets<'a> = BTreeMap<(String, &'a str), &'a [Value]>;

/// The most elements of a map with a name that are read: each is a rule wherever the map is asked.
const PAIRS_MAX: usize = 1024;

/// Reads one test. What is not understood cannot be told.
pub(super) fn test(
    left: &Value,
    operator: &str,
    right: &Value,
    table: &str,
    sets: &Sets<'_>,
) -> Test {
    if let Some(mask) = mask_of_flags(left) {
        return of_flags(mask, operator, right).unwrap_or(Test::Unknown);
    }
    let sense = match operator {
        "==" | "in" => Sense::OneOf,
        "!=" | "!" => Sense::NoneOf,
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
    let is_among = |word: &str| {
        let is = values.iter().any(|value| value.as_str() == Some(word));
        is == (sense == Sense::OneOf)
    };
    let among = |word: &str| Test::Always(is_among(word));
    let parts = |attempt, answer| Parts { attempt: is_among(attempt), answer: is_among(answer) };
    match payload {
        (Some("tcp" | "th"), Some(field @ ("dport" | "sport"))) => {
            let ports = values.iter().map(|value| ports(value)).collect::<Option<Vec<_>>>();
            return ports.map_or(Test::Unknown, |ports| of_port(field, ports, sense));
        }
        (Some("udp" | "icmp" | "icmpv6" | "sctp"), _) => return Test::Always(false),
        (Some("ip" | "ip6"), Some(field @ ("saddr" | "daddr"))) => {
            let of = values.iter().map(|value| addresses(value)).collect::<Option<Addresses>>();
            let Some(of) = of else { return Test::Unknown };
            return if field == "saddr" {
                Test::Source(of, sense)
            } else {
                Test::Destination(of, sense)
            };
        }
        (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => return among("tcp"),
        _ => {}
    }
    if left["fib"].is_object() {
        return of_fib(&left["fib"], &values, sense);
    }
    match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
        (Some("iif" | "iifname"), _) => {
            words().map_or(Test::Unknown, |names| Test::ComesBy(names, sense))
        }
        (Some("oif" | "oifname"), _) => {
            words().map_or(Test::Unknown, |names| Test::LeavesBy(names, sense))
        }
        (Some(key @ ("skuid" | "skgid")), _) => {
            let number = number_of(key);
            let numbers = values.iter().map(|value| numbers(number, value)).collect();
            of_owner(number, numbers, sense)
        }
        (Some("l4proto"), _) => among("tcp"),
        (Some("pkttype"), _) => among("host"),
        (Some("nfproto"), _) => match values.as_slice() {
            [one] => Test::IsV4((one == &"ipv4") == (sense == Sense::OneOf)),
            _ => Test::Unknown,
        },
        (_, Some("state")) => Test::State(parts("new", "established")),
        (_, Some("direction")) => Test::IsPart(parts("original", "reply")),
        (_, Some("status")) if values.iter().all(|one| is_translated(one)) => {
            Test::Always(sense == Sense::NoneOf)
        }
        _ if left["&"][0]["ct"]["key"] == "status"
            && values.iter().all(|one| is_translated(one)) =>
        {
            Test::Always(sense == Sense::NoneOf)
        }
        _ => Test::Unknown,
    }
}

/// Tells whether a status of a connection is that of one that was sent on: those do not come to us, but to whom
/// they were sent on to.
fn is_translated(status: &Value) -> bool {
    status == "dnat" || status == "snat"
}

/// Reads what is asked of the routes: of the type of a destination, or whether one leads back to the source.
fn of_fib(fib: &Value, values: &[&Value], sense: Sense) -> Test {
    let has = |flag: &str| {
        fib["flags"].as_array().is_some_and(|flags| flags.iter().any(|one| one == flag))
    };
    match fib["result"].as_str() {
        // That of an address of ours is always the one. With an interface it is one of that interface's.
        Some("type") if has("daddr") && !has("iif") && !has("oif") => {
            let is_local = values.iter().any(|value| *value == "local");
            Test::ForUs(if is_local { sense } else { sense.other() })
        }
        Some("oif" | "oifname") if has("saddr") => match values {
            [one] if *one == &Value::Bool(true) => Test::FindsBack(sense),
            // Missing, or the number of none.
            [one] if *one == &Value::Bool(false) || *one == "0" || *one == 0 => {
                Test::FindsBack(sense.other())
            }
            _ => Test::Unknown,
        },
        _ => Test::Unknown,
    }
}

/// Returns the mask through which TCP's flags are looked at, if they are; null: whole.
fn mask_of_flags(left: &Value) -> Option<&Value> {
    let is = |of: &Value| of["payload"]["protocol"] == "tcp" && of["payload"]["field"] == "flags";
    if is(left) {
        return Some(&Value::Null);
    }
    is(&left["&"][0]).then(|| &left["&"][1])
}

/// Reads a test of TCP's flags, of which a connection attempt has SYN alone, and the answer SYN and ACK.
fn of_flags(mask: &Value, operator: &str, right: &Value) -> Option<Test> {
    let mask = if mask.is_null() { None } else { Some(flags(mask)?) };
    let several = right["set"].as_array().map_or(std::slice::from_ref(right), Vec::as_slice);
    let several: Vec<_> = several.iter().map(flags).collect::<Option<_>>()?;
    let of = |has: &[&str]| {
        let shown = |flag: &&&str| mask.as_ref().is_none_or(|mask| mask.contains(flag));
        let shown: BTreeSet<&str> = has.iter().filter(shown).copied().collect();
        let is_it = |one: &Vec<&str>| one.iter().copied().collect::<BTreeSet<_>>() == shown;
        let meets = |one: &Vec<&str>| one.iter().any(|flag| shown.contains(flag));
        Some(match operator {
            "==" => several.iter().any(is_it),
            "!=" => !several.iter().any(is_it),
            "in" => several.iter().any(meets),
            "!" => !several.iter().any(meets),
            _ => return None,
        })
    };
    Some(Test::IsPart(Parts { attempt: of(&["syn"])?, answer: of(&["syn", "ack"])? }))
}

/// Returns the names of flags: one, a list, some with `|` between them, or zero for none.
fn flags(of: &Value) -> Option<Vec<&str>> {
    match of {
        Value::String(name) if !name.starts_with('@') => Some(vec![name]),
        Value::Number(number) if number.as_u64() == Some(0) => Some(Vec::new()),
        _ => {
            let parts = of["|"].as_array().or(of.as_array())?;
            Some(parts.iter().map(flags).collect::<Option<Vec<_>>>()?.concat())
        }
    }
}

/// A test by size.
fn compared(left: &Value, operator: &str, right: &Value) -> Test {
    if let Some(key @ ("skuid" | "skgid")) = left["meta"]["key"].as_str() {
        let number = number_of(key);
        let range = numbers(number, right).and_then(|one| match operator {
            "<" => Some(0..=one.start().checked_sub(1)?),
            "<=" => Some(0..=*one.start()),
            ">" => Some(one.start().checked_add(1)?..=u32::MAX),
            ">=" => Some(*one.start()..=u32::MAX),
            _ => None,
        });
        return of_owner(number, range.map(|range| vec![range]), Sense::OneOf);
    }
    let bound = right.as_u64().and_then(|bound| u16::try_from(bound).ok());
    let (Some(field @ ("dport" | "sport")), Some(bound)) =
        (left["payload"]["field"].as_str(), bound)
    else {
        return Test::Unknown;
    };
    let range = match operator {
        "<" => bound.checked_sub(1).map(|last| 0..=last),
        "<=" => Some(0..=bound),
        ">" => bound.checked_add(1).map(|first| first..=u16::MAX),
        ">=" => Some(bound..=u16::MAX),
        _ => return Test::Unknown,
    };
    of_port(field, range.into_iter().collect(), Sense::OneOf)
}

/// Returns which number of an owner a key asks for.
fn number_of(key: &str) -> Number {
    if key == "skuid" { Number::User } else { Number::Group }
}

fn of_owner(number: Number, of: Option<Vec<RangeInclusive<u32>>>, sense: Sense) -> Test {
    of.map_or(Test::Unknown, |of| Test::Owner(number, of, sense))
}

/// Returns users or groups. Versions of nft list them by number or by name.
fn numbers(number: Number, value: &Value) -> Option<RangeInclusive<u32>> {
    let one = |value: &Value| match value {
        Value::String(name) => number.read(name),
        _ => value.as_u64().and_then(|number| u32::try_from(number).ok()),
    };
    match value["range"].as_array() {
        Some(range) => Some(one(range.first()?)?..=one(range.get(1)?)?),
        None => one(value).map(|one| one..=one),
    }
}

fn of_port(field: &str, ports: Vec<RangeInclusive<u16>>, sense: Sense) -> Test {
    if field == "sport" { Test::SourcePort(ports, sense) } else { Test::Port(ports, sense) }
}

/// Returns the values that a right side stands for; none if it cannot be told.
fn values<'a>(right: &'a Value, table: &str, sets: &Sets<'a>) -> Option<Vec<&'a Value>> {
    let elements = if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
        *sets.get(&(table.to_owned(), name))?
    } else if let Some(set) = right["set"].as_array() {
        set.as_slice()
    } else if let Some(list) = right["|"].as_array().or(right.as_array()) {
        list.as_slice()
    } else {
        std::slice::from_ref(right)
    };
    Some(elements.iter().map(bare).collect())
}

/// Returns an element without a timeout or a counter of its own.
pub(super) fn bare(element: &Value) -> &Value {
    if element["elem"].is_object() { &element["elem"]["val"] } else { element }
}

/// Returns what a map holds, its keys with their values; none if that cannot be told.
pub(super) fn pairs<'a>(
    data: &'a Value,
    table: &str,
    sets: &Sets<'a>,
) -> Option<Vec<(&'a Value, &'a Value)>> {
    let elements = match data.as_str() {
        Some(name) => {
            let elements = *sets.get(&(table.to_owned(), name.strip_prefix('@')?))?;
            if elements.len() > PAIRS_MAX {
                return None;
            }
            elements
        }
        None => data["set"].as_array()?.as_slice(),
    };
    Some(elements.iter().map(|pair| (bare(&pair[0]), &pair[1])).collect())
}

/// Reads the tests of whether a map's key is this one of its elements.
pub(super) fn tests_of_key(
    key: &Value,
    element: &Value,
    table: &str,
    sets: &Sets<'_>,
) -> Vec<Test> {
    let parts = |of: &Value| of["concat"].as_array().cloned();
    let one = |key: &Value, element: &Value| {
        // It stands for all that no other element names.
        if element == "*" { Test::Unknown } else { test(key, "==", element, table, sets) }
    };
    match (parts(key), parts(element)) {
        (Some(keys), Some(elements)) if keys.len() == elements.len() => {
            keys.iter().zip(&elements).map(|(key, element)| one(key, element)).collect()
        }
        _ => vec![one(key, element)],
    }
}

fn ports(value: &Value) -> Option<RangeInclusive<u16>> {
    match value["range"].as_array() {
        Some(range) => Some(port(range.first()?)?..=port(range.get(1)?)?),
        None => port(value).map(|port| port..=port),
    }
}

/// Returns a port by its number.
pub(super) fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

fn addresses(value: &Value) -> Option<Span> {
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
