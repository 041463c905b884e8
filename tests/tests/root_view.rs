//! What a process that may only read the tables sees in them.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use relay::gate::{Entry, Place, Ruleset, View, load};
use relay::hosts::private_bpf;
use relay_common::addr::Net;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::{CHUNK, EntryId};
use relay_common::verdict::{Reason, Verdict};
use tests::need;

#[test]
fn an_entry_that_came_with_a_new_chunk_of_rows_is_known_at_once() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bpf = folder.path().join("bpf");
    let _mounted = private_bpf(&bpf).unwrap();
    let place = Place { pins: bpf.join("sallyport"), group: None };
    let source = |number: u32| IpAddr::from((0x0a00_0000 + number * 2).to_be_bytes());
    let entry = |number: u32| Entry {
        net: Net::from(source(number)),
        id: EntryId(number),
        tag: None,
        rate: None,
        source_rate: None,
        until_ns: None,
    };
    let ruleset = Ruleset {
        ports: vec![2525],
        scope: Scope::EverySegment,
        own_host: OwnHost::Admitted,
        entries: (0..CHUNK).map(entry).collect(),
        bans: Vec::new(),
    };
    let mut gate = load(&place).unwrap().fill(&ruleset).unwrap().attach(&[]).unwrap();
    let view = View::open(&place.pins).unwrap();
    assert_eq!(view.verdict(source(0)), Verdict::Pass(Reason::Admitted));
    assert_eq!(view.verdict(source(CHUNK)), Verdict::Drop(Reason::UnlistedSyn));
    gate.insert(&entry(CHUNK)).unwrap();
    assert_eq!(view.verdict(source(CHUNK)), Verdict::Pass(Reason::Admitted));
    gate.detach().unwrap();
}
