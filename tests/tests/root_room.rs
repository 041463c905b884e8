//! Entries that take more room than there was: what is refused of them, and what a reader of the tables sees.

#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::time::Duration;

use relay::gate::{Entry, GateError, Place, Ruleset, View, load};
use relay::hosts::private_bpf;
use relay_common::addr::Net;
use relay_common::bucket::Rate;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::{CHUNK, EntryId, RATES_MAX};
use relay_common::verdict::{Reason, Verdict};
use tests::need;

fn source(number: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + number * 2).to_be_bytes())
}

fn entry(number: u32) -> Entry {
    Entry {
        net: Net::from(source(number)),
        id: EntryId(number),
        tag: None,
        rate: None,
        source_rate: None,
        until_ns: None,
    }
}

fn ruleset(entries: Vec<Entry>) -> Ruleset {
    Ruleset {
        ports: vec![2525],
        scope: Scope::EverySegment,
        own_host: OwnHost::Admitted,
        entries,
        bans: Vec::new(),
    }
}

#[test]
fn an_entry_whose_second_rate_finds_no_place_is_refused_and_shares_none() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bpf = folder.path().join("bpf");
    let _mounted = private_bpf(&bpf).unwrap();
    let place = Place { pins: bpf.join("sallyport"), group: None };
    let rate = |number: u32| Rate::new(number + 1, Duration::from_secs(3_600), 1);
    // Place 0 stands for no rate; one is left.
    let full = (0..RATES_MAX - 2).map(|number| Entry { rate: rate(number), ..entry(number) });
    let mut gate =
        load(&place).unwrap().fill(&ruleset(full.collect())).unwrap().attach(&[]).unwrap();
    let both =
        Entry { rate: rate(RATES_MAX), source_rate: rate(RATES_MAX + 1), ..entry(RATES_MAX) };
    let refused = gate.insert(&both).unwrap_err();
    assert!(matches!(&refused, GateError::Full { table, .. } if *table == "rates"), "{refused}");
    gate.insert(&Entry { source_rate: None, ..both }).unwrap();
    gate.detach().unwrap();
}

#[test]
fn an_entry_that_came_with_a_new_chunk_of_rows_is_known_at_once() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bpf = folder.path().join("bpf");
    let _mounted = private_bpf(&bpf).unwrap();
    let place = Place { pins: bpf.join("sallyport"), group: None };
    let mut gate = load(&place)
        .unwrap()
        .fill(&ruleset((0..CHUNK).map(entry).collect()))
        .unwrap()
        .attach(&[])
        .unwrap();
    let view = View::open(&place.pins).unwrap();
    assert_eq!(view.verdict(source(0)), Verdict::Pass(Reason::Admitted));
    assert_eq!(view.verdict(source(CHUNK)), Verdict::Drop(Reason::UnlistedSyn));
    gate.insert(&entry(CHUNK)).unwrap();
    assert_eq!(view.verdict(source(CHUNK)), Verdict::Pass(Reason::Admitted));
    gate.detach().unwrap();
}
