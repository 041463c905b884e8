//! Lists made by chance from a seed, and sources inside and outside of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use relay::gate::{Entry, Ruleset};
use relay_common::addr::{Addr, Family, Net};
use relay_common::state::{OwnHost, Scope};
use relay_common::table::EntryId;
use tests::frames::PORT;
use tests::mutate::Chance;

/// A list of networks and what is measured with it.
pub struct List {
    /// The networks, in order.
    pub nets: Vec<Net>,
    /// Sources that none of them holds.
    pub strangers: Vec<IpAddr>,
    /// Sources that one of them holds.
    pub listed: Vec<IpAddr>,
}

/// How many sources of each kind.
const SOURCES: usize = 1 << 16;

/// Returns a list of `count` networks of a family. Their lengths are mixed as on hosts that list other hosts:
/// of a hundred, 55 single addresses, 30 /24, 9 /20 to /23, 5 /25 to /31 and one /16; for IPv6 /128, /64, /48 to
/// /60 and /96 to /124 by whole digits, and /32.
pub fn list(family: Family, count: usize, seed: u64) -> List {
    let mut chance = Chance::from_seed(seed);
    let mut nets = BTreeSet::new();
    while nets.len() < count {
        let prefix = prefix(family, &mut chance);
        nets.insert(address(family, &mut chance).masked_to(prefix));
    }
    let nets: Vec<Net> = nets.into_iter().collect();
    let holds = Holds::of(&nets);
    let mut strangers = Vec::new();
    while strangers.len() < SOURCES {
        let source = address(family, &mut chance);
        if !holds.holds(source) {
            strangers.push(source.into());
        }
    }
    let listed = (0..SOURCES).map(|_| {
        let net = nets[chance.below(nets.len())];
        let [a, b] = net.addr().words();
        // A host of the network: the bits behind the prefix are the chance's.
        let [c, d] = address(family, &mut chance).words();
        let [keep_a, keep_b] = mask(net.prefix());
        let words = [a | c & !keep_a, b | d & !keep_b];
        Addr::from_words(family, words).into()
    });
    List { listed: listed.collect(), strangers, nets }
}

/// Returns the rules that admit a list and guard the measured port.
pub fn rules(nets: &[Net]) -> Ruleset {
    let entry = |(net, id): (&Net, u32)| Entry {
        net: *net,
        id: EntryId(id),
        tag: None,
        rate: None,
        source_rate: None,
        until_ns: None,
    };
    Ruleset {
        ports: vec![PORT],
        scope: Scope::EverySegment,
        own_host: OwnHost::Judged,
        entries: nets.iter().zip(0..).map(entry).collect(),
        bans: Vec::new(),
    }
}

fn prefix(family: Family, chance: &mut Chance) -> u8 {
    let within = |chance: &mut Chance, first: u8, last: u8| {
        first + chance.below(usize::from(last - first) + 1) as u8
    };
    match (chance.below(100), family) {
        (0..55, Family::V4) => 32,
        (55..85, Family::V4) => 24,
        (85..94, Family::V4) => within(chance, 20, 23),
        (94..99, Family::V4) => within(chance, 25, 31),
        (_, Family::V4) => 16,
        (0..55, Family::V6) => 128,
        (55..85, Family::V6) => 64,
        (85..94, Family::V6) => 4 * within(chance, 12, 15),
        (94..99, Family::V6) => 4 * within(chance, 24, 31),
        (_, Family::V6) => 32,
    }
}

/// Returns an address; those of IPv6 lie where addresses are given out, 2000::/3.
fn address(family: Family, chance: &mut Chance) -> Addr {
    match family {
        Family::V4 => Addr::v4((chance.next() as u32).to_be_bytes()),
        Family::V6 => {
            let high = chance.next() >> 3 | 0x2000_0000_0000_0000;
            Addr::from_words(family, [high, chance.next()])
        }
    }
}

trait MaskedTo {
    fn masked_to(&self, prefix: u8) -> Net;
}

impl MaskedTo for Addr {
    fn masked_to(&self, prefix: u8) -> Net {
        Net::new(self.masked(prefix), prefix).expect("invariant: the host bits are masked")
    }
}

fn mask(prefix: u8) -> [u64; 2] {
    let ones = |bits: u32| u64::MAX.checked_shl(64 - bits).unwrap_or(0);
    let prefix = u32::from(prefix);
    [ones(prefix.min(64)), ones(prefix.saturating_sub(64))]
}

/// The networks as ranges that do not touch, to look strangers up in.
struct Holds(Vec<([u64; 2], [u64; 2])>);

impl Holds {
    fn of(nets: &[Net]) -> Self {
        let mut ranges: Vec<_> = nets
            .iter()
            .map(|net| {
                let [a, b] = net.addr().words();
                let [keep_a, keep_b] = mask(net.prefix());
                ([a, b], [a | !keep_a, b | !keep_b])
            })
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<([u64; 2], [u64; 2])> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    fn holds(&self, source: Addr) -> bool {
        let words = source.words();
        let behind = self.0.partition_point(|(first, _)| *first <= words);
        behind > 0 && words <= self.0[behind - 1].1
    }
}
