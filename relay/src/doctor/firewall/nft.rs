//! The rules of nftables, as `nft -j list ruleset` prints them (libnftables-json(5)).
//!
//! What is not understood is no error: it is a test that cannot be told, so that a rule behind it is
//! perhaps in the way.
//!
//! Of rules that iptables wrote the listing names extensions without their options (`xt`). Each such rule is
//! taken as iptables itself prints it, where that is known.

use std::collections::BTreeMap;

use serde_json::Value;

use super::expression::{Sets, bare, pairs, port, test, tests_of_key};
use super::iptables;
use super::packet::Test;
use super::ruleset::{Act, Base, Chain, Families, Rule, Ruleset};

/// The most rules that are read, those that maps stand for among them: more take longer than they tell.
const RULES_MAX: usize = 100_000;

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
    for set in listed.iter().flat_map(|object| [&object["set"], &object["map"]]) {
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
    let mut room = RULES_MAX;
    for (rule, table) in written() {
        let name = rule["chain"].as_str();
        let chain = rules
            .chains
            .iter_mut()
            .find(|one| one.table == table && Some(one.name.as_str()) == name);
        if let Some(chain) = chain {
            let place = places.entry((table, name)).or_default();
            place.at += 1;
            if let Some(whole) = of_iptables(rule, chain, saved, place) {
                let handle = rule["handle"].as_u64();
                chain.rules.push(Rule { handle, ..whole.clone() });
            } else {
                let several = read_rule(rule, &chain.table, &chain.name, &sets, room);
                room = room.saturating_sub(several.len());
                chain.rules.extend(several);
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

/// Reads a rule; one that asks a map becomes a rule for each of its elements, if there is room for so many.
fn read_rule(rule: &Value, table: &str, chain: &str, sets: &Sets<'_>, room: usize) -> Vec<Rule> {
    let handle = rule["handle"].as_u64();
    let number = handle.unwrap_or(0);
    let name = format!(
        "the rule with handle {number} of chain {chain} in table {table} (nft -a list chain {table} {chain} shows it, nft \
         delete rule {table} {chain} handle {number} takes it out)"
    );
    let mut rules = Vec::new();
    let mut tests = Vec::new();
    for said in rule["expr"].as_array().into_iter().flatten() {
        let Some((key, value)) = said.as_object().and_then(|said| said.iter().next()) else {
            tests.push(Test::Unknown);
            continue;
        };
        if let Some(map) = Map::of(key, value) {
            let known = pairs(map.data(), table, sets).filter(|pairs| pairs.len() <= room);
            for (element, to) in known.iter().flatten() {
                let of_key = tests_of_key(map.key(), element, table, sets);
                let tests = tests.iter().cloned().chain(of_key).collect();
                rules.push(Rule { tests, act: map.act(to), handle, name: name.clone() });
            }
            // Whatever it says for us.
            if known.is_none() {
                tests.push(Test::Unknown);
                let (tests, act) = (tests.clone(), map.act_of_any());
                rules.push(Rule { tests, act, handle, name: name.clone() });
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
            rules.push(Rule { tests: tests.clone(), act, handle, name: name.clone() });
        } else {
            tests.extend(asked_of(key, value));
        }
    }
    rules
}

/// A statement that asks a map what to do. For a key that the map has not, it does nothing.
enum Map<'a> {
    /// The map holds verdicts.
    Verdicts(&'a Value),
    /// It holds where to; which part of that, and the statement.
    Targets { map: &'a Value, part: Part, key: &'a str, of: &'a Value },
}

/// What a map of targets holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Addresses, or addresses with ports.
    Address,
    Port,
}

impl<'a> Map<'a> {
    fn of(key: &'a str, value: &'a Value) -> Option<Self> {
        let of = |part: Part, field: &str| {
            let map = &value[field]["map"];
            map.is_object().then_some(Self::Targets { map, part, key, of: value })
        };
        match key {
            "vmap" => Some(Self::Verdicts(value)),
            "dnat" | "redirect" => of(Part::Address, "addr").or_else(|| of(Part::Port, "port")),
            _ => None,
        }
    }

    fn map(&self) -> &'a Value {
        match self {
            Self::Verdicts(map) | Self::Targets { map, .. } => map,
        }
    }

    fn key(&self) -> &'a Value {
        &self.map()["key"]
    }

    fn data(&self) -> &'a Value {
        &self.map()["data"]
    }

    /// Returns what is done for an element that holds this.
    fn act(&self, to: &Value) -> Act {
        match self {
            Self::Verdicts(_) => {
                let verdict = to.as_object().and_then(|act| act.iter().next());
                verdict.and_then(|(key, value)| act_of(key, value)).unwrap_or(Act::Nothing)
            }
            Self::Targets { part, key, of, .. } => {
                let to = match part {
                    Part::Address => first_port(&to["concat"][1]).or(first_port(&of["port"])),
                    Part::Port => first_port(to),
                };
                Act::Redirect { to, elsewhere: *key == "dnat" }
            }
        }
    }

    /// Returns the worst that may be done where the elements are not known.
    fn act_of_any(&self) -> Act {
        match self {
            Self::Verdicts(_) => Act::Drop,
            Self::Targets { .. } => Act::Hand,
        }
    }
}

/// What neither tests nor decides.
const SILENT: [&str; 10] = [
    "counter",
    "log",
    "comment",
    "mangle",
    "flow",
    "last",
    "dup",
    "ct helper",
    "ct timeout",
    "ct expectation",
];

/// Returns what a statement tests that decides nothing. One that puts an address into a set goes on as long as the
/// statements of its element do: a rule with a limit there stops only what is over it.
fn asked_of(key: &str, value: &Value) -> Vec<Test> {
    if SILENT.contains(&key) {
        return Vec::new();
    }
    if !["set", "map"].contains(&key) {
        return vec![Test::Unknown];
    }
    let of_element = value["stmt"].as_array().into_iter().flatten();
    let mut said = of_element.flat_map(|one| one.as_object().into_iter().flatten());
    let limits = said.any(|(key, _)| !SILENT.contains(&key.as_str()));
    // Who names an address asks for its family, which is not listed besides.
    let families = protocols(&value["elem"]).into_iter().filter_map(|protocol| match protocol {
        "ip" => Some(Test::IsV4(true)),
        "ip6" => Some(Test::IsV4(false)),
        _ => None,
    });
    families.chain(limits.then_some(Test::Unknown)).collect()
}

/// Returns the protocols of the fields of which an element is made.
fn protocols(element: &Value) -> Vec<&str> {
    let element = bare(element);
    let parts = element["concat"].as_array().map_or(std::slice::from_ref(element), Vec::as_slice);
    parts.iter().filter_map(|part| part["payload"]["protocol"].as_str()).collect()
}

fn act_of(key: &str, value: &Value) -> Option<Act> {
    let target = || value["target"].as_str().unwrap_or_default().to_owned();
    let port = || first_port(&value["port"]);
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
        "notrack" => Act::Untrack,
        // An older listing does not even say whether it is a target.
        "xt" => value["name"].as_str().map_or(Act::Hand, iptables::bare_target),
        _ => return None,
    })
}

/// Returns a port, or the first of a range.
fn first_port(value: &Value) -> Option<u16> {
    port(value).or_else(|| port(&value["range"][0]))
}
