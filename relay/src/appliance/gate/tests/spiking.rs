//! Spikes as the journal and `status` tell them.

use jiff::Timestamp;
use relay_common::addr::Addr;
use relay_common::table::{FIRST_DOOR, SAMPLE_HEAD, Sample};
use relay_common::verdict::Reason;

use super::desk::*;
use crate::control::wire::{GateRequest, GateStatus};
use crate::event::Event;
use crate::gate::clocks::Moment;
use crate::watch::samples::many_spikes;

fn refused_frame(source: [u8; 4]) -> Sample {
    Sample {
        at_ns: 0,
        source: Addr::v4(source).octets(),
        interface: 1,
        generation: 1,
        port: 2525,
        vlan: 0,
        reason: Reason::UnlistedSyn as u8,
        family: 4,
        door: FIRST_DOOR,
        head_bytes: 0,
        head: [0; SAMPLE_HEAD],
    }
}

#[test]
fn a_burst_of_refusals_is_a_spike_in_journal_and_status() {
    let mut desk = Desk::new();
    desk.fake.tables().diagnostics = vec!["a frame with nine tags".into()];
    let tenth = |tick: u64| {
        let at_ms = 100_000 + tick * 100;
        let wall = Timestamp::from_millisecond(i64::try_from(at_ms).unwrap()).unwrap();
        Moment { wall, boot_ns: at_ms * 1_000_000 }
    };
    for tick in 0..20 {
        desk.fake.tables().refused += 500;
        desk.fake.tables().samples.push(refused_frame([203, 0, 113, 7]));
        desk.fake.tables().now_ns = tenth(tick).boot_ns;
        desk.keeper.sample(tenth(tick));
    }
    desk.inspect(102);
    let status: GateStatus = desk.look(GateRequest::Status, 102);
    assert_eq!(status.refused_per_second, 5_000);
    assert_eq!(status.spikes.len(), 1);
    assert_eq!((status.spikes[0].until, status.spikes[0].peak_per_second), (None, 5_000));
    assert_eq!(status.counters["unlisted_syn"], 10_000);
    let told = desk.journal.take();
    let opened = told.iter().find_map(|event| match event {
        Event::SpikeOpened(spike) => Some(spike),
        _ => None,
    });
    let opened = opened.expect("the spike is in the journal");
    assert_eq!(opened.top[0].net, "203.0.113.7/32".parse().unwrap());
    assert_eq!(opened.command, "sallyport explain 203.0.113.7");
    assert!(opened.reasons["unlisted_syn"] >= 500, "{opened:?}");
    assert!(opened.sample.as_ref().is_some_and(|frame| frame.contains("203.0.113.7 to port 2525")));
    assert!(told.contains(&Event::Kernel { message: "a frame with nine tags".into() }));
    for tick in 20..400 {
        desk.fake.tables().now_ns = tenth(tick).boot_ns;
        desk.keeper.sample(tenth(tick));
    }
    let status: GateStatus = desk.look(GateRequest::Status, 140);
    assert!(status.spikes[0].until.is_some(), "{status:?}");
    assert_eq!(status.spikes[0].total, 9_500, "the first count is where it starts");
}

#[test]
fn a_driven_client_stands_first_and_all_open_spikes_are_counted_however_many_strangers_there_are() {
    let mut desk = Desk::new();
    desk.keeper.watching.watch = many_spikes(30);
    let status: GateStatus = desk.look(GateRequest::Status, 102);
    assert_eq!(status.spikes.len(), 16);
    assert_eq!(status.spikes[0].class, "spike-entry");
    let counted = [("spike-entry", 1), ("spike-prefix", 30)];
    assert_eq!(status.spikes_by_class(), counted.into());
}

#[test]
fn a_flood_of_random_sources_shows_one_of_its_frames() {
    let mut desk = Desk::new();
    let tenth = |tick: u64| {
        let at_ms = 100_000 + tick * 100;
        let wall = Timestamp::from_millisecond(i64::try_from(at_ms).unwrap()).unwrap();
        Moment { wall, boot_ns: at_ms * 1_000_000 }
    };
    for tick in 0..20_u8 {
        desk.fake.tables().refused += 500;
        // No two of them are seen again.
        desk.fake.tables().samples.push(refused_frame([tick * 12, 100 + tick, 113, 7]));
        desk.fake.tables().now_ns = tenth(tick.into()).boot_ns;
        desk.keeper.sample(tenth(tick.into()));
    }
    let told = desk.journal.take();
    let opened = told.iter().find_map(|event| match event {
        Event::SpikeOpened(spike) => Some(spike),
        _ => None,
    });
    let opened = opened.expect("the spike is in the journal");
    assert!(opened.sample.as_ref().is_some_and(|frame| frame.contains(" to port 2525 by ")));
}
