//! The gate's part of the metrics.

use std::collections::{BTreeMap, BTreeSet};

use relay_common::verdict::Reason;

use crate::control::wire::GateStatus;
use crate::gate::cidr::written;
use crate::gate::{Busy, CountRow, Counters, Survey, TagCounts};
use crate::meter::OTHER;
use crate::meter::catalogue::{
    ENTRY_CONNECTIONS, ENTRY_OVER_RATE, GATE_BANS, GATE_BYPASSES, GATE_CONNECTIONS, GATE_ENTRIES,
    GATE_FRAMES, GATE_GENERATION, GATE_INTERFACE, GATE_INTERFACE_OPEN, GATE_MODE, GATE_OVER_RATE,
    GATE_SECOND_DOOR, GATE_SERVING, GATE_SPARED, GATE_UP, GATE_WOULD_DROP, Metric, SPIKES,
};
use crate::meter::text::Text;

/// Up to so many rows a reason has one in every place, also before it was counted there, so that its first
/// count is seen as growth. Hosts with many interfaces and ports have rows for what was counted alone.
const ROWS: usize = 1000;

/// The most tags that are told apart; the others are counted together.
const TAGS: usize = 512;

/// Writes what the gate's process says, if it does; nothing where no gate is configured.
pub(super) fn write_status(text: &mut Text, gate: Result<Option<&GateStatus>, &str>) {
    let gate = match gate {
        Ok(None) => return,
        Ok(Some(gate)) => gate,
        Err(_) => return text.one(&GATE_UP, 0),
    };
    text.one(&GATE_UP, 1);
    text.one(&GATE_SERVING, u8::from(gate.serving));
    let mut interfaces = text.rows(&GATE_INTERFACE);
    for interface in &gate.interfaces {
        let stands = interface.mode != "missing";
        interfaces.row(&[&interface.name, &interface.mode], u8::from(stands));
    }
    let mut interfaces = text.rows(&GATE_INTERFACE_OPEN);
    for interface in gate.interfaces.iter().filter(|interface| !interface.unknown) {
        interfaces.row(&[&interface.name], u8::from(interface.down.is_none()));
    }
    text.rows(&GATE_MODE).states(&[], &["enforce", "observe", "open"], &gate.mode);
    text.one(&GATE_GENERATION, gate.generation);
    text.one(&GATE_SECOND_DOOR, gate.second_door);
    text.one(&GATE_BANS, gate.bans);
    text.one(&GATE_BYPASSES, gate.bypasses.len());
    let mut spikes = text.rows(&SPIKES);
    for (class, count) in gate.spikes_by_class() {
        spikes.row(&[class], count);
    }
}

/// What entries counted, summed so that it only grows: an entry that is removed takes its count along.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// By tag: what the tables said last, and the growth since the first look.
    tags: BTreeMap<String, (TagCounts, TagCounts)>,
    /// The tags that are told apart: each as long as there are entries of it.
    apart: BTreeSet<String>,
    /// What those counted together counted that are gone.
    gone: TagCounts,
    has_looked: bool,
}

impl Totals {
    /// Takes what the tables say now; returns the totals by tag, of at most [`TAGS`] and all others. Tags that
    /// no entry has any more are forgotten.
    fn renew(&mut self, now: &BTreeMap<String, TagCounts>) -> BTreeMap<String, TagCounts> {
        // What was counted before the first look is nobody's growth; a tag that came since began at nothing.
        let has_looked = std::mem::replace(&mut self.has_looked, true);
        let mut before = std::mem::take(&mut self.tags);
        let known: BTreeSet<String> = before.keys().cloned().collect();
        for (tag, counts) in now {
            let (last, total) = before.remove(tag).unwrap_or_else(|| {
                let none = TagCounts::default();
                (if has_looked { none } else { *counts }, none)
            });
            let grown =
                |of: fn(&TagCounts) -> u64| of(&total) + of(counts).saturating_sub(of(&last));
            let total = TagCounts {
                entries: counts.entries,
                passed: grown(|counts| counts.passed),
                over_rate: grown(|counts| counts.over_rate),
                would_drop: grown(|counts| counts.would_drop),
            };
            self.tags.insert(tag.clone(), (*counts, total));
        }
        for (tag, (_, total)) in before {
            if !self.apart.remove(&tag) {
                add(&mut self.gone, &TagCounts { entries: 0, ..total });
            }
        }
        let mut told: BTreeMap<String, TagCounts> = BTreeMap::new();
        if self.gone != TagCounts::default() {
            told.insert(OTHER.to_owned(), self.gone);
        }
        for (tag, (_, total)) in &self.tags {
            // One that was counted with others before stays there, so that no row ever falls.
            let is_new = !known.contains(tag);
            let is_apart = self.apart.contains(tag) || is_new && self.apart.len() < TAGS;
            if is_apart {
                self.apart.insert(tag.clone());
            }
            add(told.entry(if is_apart { tag } else { OTHER }.to_owned()).or_default(), total);
        }
        told
    }
}

fn add(sum: &mut TagCounts, more: &TagCounts) {
    sum.entries += more.entries;
    sum.passed += more.passed;
    sum.over_rate += more.over_rate;
    sum.would_drop += more.would_drop;
}

/// Writes what the tables say.
pub(super) fn write_survey(text: &mut Text, survey: &Survey, totals: &mut Totals) {
    if let Some(counters) = &survey.counters {
        write_counters(text, counters);
    }
    let totals = totals.renew(&survey.by_tag);
    let mut of_tags = |metric: &Metric, of: fn(&TagCounts) -> u64| {
        let mut rows = text.rows(metric);
        for (tag, counts) in &totals {
            rows.row(&[tag], of(counts));
        }
    };
    of_tags(&GATE_ENTRIES, |counts| counts.entries);
    of_tags(&GATE_CONNECTIONS, |counts| counts.passed);
    of_tags(&GATE_OVER_RATE, |counts| counts.over_rate);
    of_tags(&GATE_WOULD_DROP, |counts| counts.would_drop);
    let mut of_entries = |metric: &Metric, of: fn(&Busy) -> u64| {
        let mut rows = text.rows(metric);
        for busy in &survey.busiest {
            rows.row(&[&written(busy.net), &busy.tag], of(busy));
        }
    };
    of_entries(&ENTRY_CONNECTIONS, |busy| busy.passed);
    of_entries(&ENTRY_OVER_RATE, |busy| busy.over_rate);
}

fn write_counters(text: &mut Text, counters: &Counters) {
    let place = |row: &CountRow| {
        let door = if row.interface.is_some() { "first" } else { "second" };
        let interface = row.interface.clone().unwrap_or_default();
        (door, interface, row.port.map_or_else(String::new, |port| port.to_string()))
    };
    let has_all = counters.rows.len() * Reason::ALL.len() <= ROWS;
    let mut rows = text.rows(&GATE_FRAMES);
    for row in &counters.rows {
        let (door, interface, port) = place(row);
        for (reason, count) in Reason::ALL.into_iter().zip(row.counts.by_reason()) {
            if (has_all && reason != Reason::Unguarded) || count > 0 {
                rows.row(&[door, &interface, &port, reason.name()], count);
            }
        }
    }
    let mut rows = text.rows(&GATE_SPARED);
    for row in &counters.rows {
        let (door, interface, port) = place(row);
        rows.row(&[door, &interface, &port], row.counts.spared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entries: u64, passed: u64) -> TagCounts {
        TagCounts { entries, passed, ..TagCounts::default() }
    }

    #[test]
    fn an_interface_of_which_nobody_knows_is_neither_open_nor_closed() {
        let said = r#"{"pid":1,"interfaces":[{"name":"eth0","mode":"native","problem":null,"down":"down"},
            {"name":"eth1","mode":"missing","problem":"it is not there","down":null,"unknown":true},
            {"name":"eth2","mode":"native","problem":null,"down":null}],
            "ports":[2525],"serving":true,"mode":"enforce","observe_until":null,"generation":1,
            "second_door":1,"loopback":true,"confirm_until":null,"shadow":null,"entries":1,"bans":0,
            "counters":{},"spared":0,"counted":[],"talkers":[],"bypasses":[],"refused_per_second":0,
            "spikes":[],"problems":[]}"#;
        let mut text = Text::default();
        write_status(&mut text, Ok(Some(&serde_json::from_str(said).unwrap())));
        let text = text.into_string();
        let name = GATE_INTERFACE_OPEN.name;
        let rows = text.lines().filter(|line| line.starts_with(name));
        let rows: Vec<_> = rows.map(|row| row.trim_start_matches(name)).collect();
        assert_eq!(rows, [r#"{interface="eth0"} 0"#, r#"{interface="eth2"} 1"#]);
    }

    #[test]
    fn totals_only_grow_whatever_becomes_of_entries() {
        let mut totals = Totals::default();
        let mut passed = |entries, counted| {
            let now = BTreeMap::from([("a".to_owned(), counts(entries, counted))]);
            let told = totals.renew(&now);
            (told["a"].entries, told["a"].passed)
        };
        assert_eq!(passed(2, 1000), (2, 0), "what was counted before the first look");
        assert_eq!(passed(2, 1010), (2, 10));
        assert_eq!(passed(1, 400), (1, 10), "an entry was removed");
        assert_eq!(passed(1, 405), (1, 15));
    }

    #[test]
    fn a_tag_that_comes_later_begins_at_nothing_and_one_that_goes_is_forgotten() {
        let mut totals = Totals::default();
        let with = |tags: &[(&str, u64)]| {
            tags.iter().map(|(tag, passed)| ((*tag).to_owned(), counts(1, *passed))).collect()
        };
        totals.renew(&with(&[("a", 5)]));
        let told = totals.renew(&with(&[("a", 5), ("b", 7)]));
        assert_eq!((told["a"].passed, told["b"].passed), (0, 7));
        assert_eq!(totals.renew(&with(&[("b", 7)])).len(), 1);
        assert_eq!(totals.tags.len(), 1);
    }

    #[test]
    fn tags_beyond_the_limit_are_told_together() {
        let many = (0..TAGS + 9).map(|n| (format!("{n:04}"), counts(1, 0))).collect();
        let told = Totals::default().renew(&many);
        assert_eq!(told.len(), TAGS + 1);
        assert_eq!(told[OTHER].entries, 9);
    }

    #[test]
    fn no_row_falls_when_tags_come_and_go_beyond_the_limit() {
        let mut totals = Totals::default();
        let mut tags: BTreeMap<String, TagCounts> =
            (0..=TAGS).map(|n| (format!("{n:04}"), counts(1, 0))).collect();
        totals.renew(&tags);
        for counts in tags.values_mut() {
            counts.passed = 5;
        }
        assert_eq!(totals.renew(&tags)[OTHER].passed, 5);
        // One that stands before all others, and one of the others goes.
        tags.insert("0".to_owned(), counts(1, 3));
        let told = totals.renew(&tags);
        assert_eq!((told[OTHER].passed, told["0000"].passed), (8, 5));
        tags.remove(&format!("{TAGS:04}"));
        assert_eq!(totals.renew(&tags)[OTHER].passed, 8);
        tags.remove("0000");
        assert_eq!(totals.renew(&tags)[OTHER], TagCounts { entries: 1, ..counts(1, 8) });
    }
}
