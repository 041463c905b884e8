//! Spikes as the journal and `status` tell them.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use relay_common::addr::{Addr, Net};
use relay_common::table::{FIRST_DOOR, SAMPLE_HEAD, Sample};
use relay_common::verdict::Reason;

use super::super::banning::own_addresses;
use super::super::listeners::{Guarded, Listeners};
use super::desk::*;
use crate::control::wire::{GateRequest, GateStatus};
use crate::event::Event;
use crate::event::spike::{Class, Spike};
use crate::gate::clocks::Moment;
use crate::gate::{Counters, Gate};
use crate::journal::Journal;
use crate::net::tally::{Cause, Tallies, Tally};
use crate::watch::samples::many_spikes;
use crate::watch::{Alert, Stage};

/// Returns the moment of a tick.
fn tenth(tick: u64) -> Moment {
    let at_ms = 100_000 + tick * 100;
    let wall = Timestamp::from_millisecond(i64::try_from(at_ms).unwrap()).unwrap();
    Moment { wall, boot_ns: at_ms * 1_000_000 }
}

/// Has the gate look at so many ticks, of which each does something first. Returns what was told of spikes.
fn run(desk: &mut Desk, ticks: Range<u64>, mut does: impl FnMut(&mut Desk, u64)) -> Vec<Spike> {
    for tick in ticks {
        does(desk, tick);
        desk.fake.tables().now_ns = tenth(tick).boot_ns;
        desk.keeper.sample(tenth(tick));
    }
    told(&desk.journal)
}

fn told(journal: &Journal) -> Vec<Spike> {
    let spike = |event| match event {
        Event::SpikeOpened(spike) | Event::SpikeGrew { spike, .. } | Event::SpikeClosed(spike) => {
            Some(*spike)
        }
        _ => None,
    };
    journal.take().into_iter().filter_map(spike).collect()
}

fn refused_frame(source: [u8; 4]) -> Sample {
    frame(source, Reason::UnlistedSyn)
}

fn frame(source: [u8; 4], reason: Reason) -> Sample {
    Sample {
        at_ns: 0,
        source: Addr::v4(source).octets(),
        interface: 1,
        generation: 1,
        port: 2525,
        vlan: 0,
        reason: reason as u8,
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
    assert_eq!(opened.top, [], "an address that came once is nobody");
    assert_eq!(opened.remark.as_deref(), Some("no network stands out"));
    assert_eq!(opened.command, "sallyport status");
}

#[test]
fn who_is_refused_after_a_flood_is_not_named_for_it() {
    let mut desk = Desk::new();
    let flood = |desk: &mut Desk, tick: u64| {
        let mut tables = desk.fake.tables();
        let last = u8::try_from(tick % 250).unwrap();
        if tick < 20 {
            tables.refused += 5_000;
            // As many as the kernel's program tells of in a tick.
            let frames = (0..64).map(|number| refused_frame([last * 12, number * 3, last, 7]));
            tables.samples.extend(frames);
        } else {
            // One that knocks all day, of whom each frame is a sample now.
            tables.refused += 1;
            tables.samples.push(refused_frame([198, 51, 100, 9]));
        }
    };
    let spikes = run(&mut desk, 0..400, flood);
    let [opened, .., closed] = &spikes[..] else { panic!("{spikes:?}") };
    assert!(closed.lasted > Duration::ZERO && closed.total > 90_000, "{closed:?}");
    assert_eq!(closed.top, [], "{closed:?}");
    assert_eq!(closed.remark.as_deref(), Some("no network stands out"));
    assert_eq!(opened.since, closed.since);
    assert!(closed.reasons["unlisted_syn"].abs_diff(closed.total) <= 10, "{closed:?}");
}

#[test]
fn a_flood_of_one_network_in_which_no_address_comes_again_is_told_by_the_network() {
    let mut desk = Desk::new();
    let flood = |desk: &mut Desk, tick: u64| {
        desk.fake.tables().refused += 500;
        let last = u8::try_from(tick).unwrap();
        desk.fake.tables().samples.push(refused_frame([203, 0, 113, last]));
        desk.fake.tables().samples.push(refused_frame([last * 12, 100 + last, 113, 7]));
    };
    let spikes = run(&mut desk, 0..20, flood);
    let named: Vec<_> = spikes[0].top.iter().map(|share| share.net.to_string()).collect();
    assert_eq!(named, ["203.0.113.0/24"], "{spikes:?}");
    assert!(spikes[0].top[0].error < spikes[0].top[0].count, "{spikes:?}");
    assert_eq!(spikes[0].remark, None);
}

#[test]
fn who_was_busy_before_a_spike_is_not_named_for_it() {
    let mut desk = Desk::new();
    let client = |last| IpAddr::from([10, 0, 0, last]);
    let work = |desk: &mut Desk, tick: u64| {
        let tallies = Tallies::default();
        let (last, times) = match tick {
            0..10 => (1, 10),
            // Twenty seconds later, another one.
            210.. => (2, 400),
            _ => (1, 0),
        };
        for _ in 0..times {
            tallies.completed(client(last));
            tallies.failed(client(last), "app", Cause::WrongPassword);
        }
        desk.keeper.hear(&tallies.take(), tenth(tick));
    };
    let spikes = run(&mut desk, 0..220, work);
    for class in [Class::Entry, Class::Logins] {
        let of_it = spikes.iter().rfind(|spike| spike.class == class).expect("a spike");
        let named: Vec<_> = of_it.top.iter().map(|share| (share.net.ip(), share.error)).collect();
        assert_eq!(named, [(client(2), 0)], "{of_it:?}");
    }
}

#[test]
fn attempts_without_handshakes_are_told_with_their_entries_a_frame_and_a_command() {
    let mut desk = Desk::new();
    let core = Net::new(Addr::v4([10, 0, 0, 0]), 8).unwrap();
    let client = IpAddr::from([10, 0, 0, 1]);
    let forged = |desk: &mut Desk, tick: u64| {
        let mut tables = desk.fake.tables();
        // One client that is served, among fifty attempts of nobody.
        *tables.passed.entry(core).or_default() += if tick < 30 { 1 } else { 51 };
        tables.samples.push(frame([10, 0, 0, 1], Reason::Admitted));
        if tick >= 30 {
            tables.samples.push(frame([10, 77, 0, 9], Reason::Admitted));
            tables.samples.push(frame([10, 0, 0, 1], Reason::Admitted));
        }
        drop(tables);
        let tallies = Tallies::default();
        tallies.completed(client);
        desk.keeper.hear(&tallies.take(), tenth(tick));
    };
    let spikes = run(&mut desk, 0..60, forged);
    let [opened, ..] = &spikes[..] else { panic!("no spike") };
    assert_eq!(opened.class, Class::Forged);
    let [top] = &opened.top[..] else { panic!("{opened:?}") };
    assert_eq!((top.net.to_string().as_str(), top.error), ("10.0.0.0/8", 0));
    assert!((100..=600).contains(&top.count), "{opened:?}");
    assert!(opened.reasons["admitted"] > 10 * opened.reasons["connected"], "{opened:?}");
    let sample = opened.sample.as_deref().unwrap_or_default();
    assert!(
        sample.starts_with("10.77.0.9 to port 2525 by "),
        "the client completes its own: {sample}"
    );
    assert_eq!(opened.command, "sallyport doctor --from 10.77.0.9");
}

#[test]
fn clients_that_wait_for_a_busy_relay_forge_nothing() {
    let mut desk = Desk::configured("", &format!("{DECLARED}[spikes]\nforged-floor = 1\n"));
    let core = Net::new(Addr::v4([10, 0, 0, 0]), 8).unwrap();
    let anywhere = [(SocketAddr::from(([127, 0, 0, 1], 0)), Guarded::Yes)];
    let record = desk.folder.path().join("listeners.json");
    let listeners = Listeners::open(&anywhere, None, Vec::new(), record).unwrap();
    let place = listeners.addresses()[0];
    *desk.keeper.listeners.lock().unwrap() = listeners;
    let mut clients = Vec::new();
    // One a tick, as real as can be, and a relay that is there and accepts nobody.
    let connect = |desk: &mut Desk, tick: u64| {
        if tick >= 10 {
            clients.push(TcpStream::connect(place).unwrap());
            *desk.fake.tables().passed.entry(core).or_default() += 1;
        }
        desk.keeper.hear(&Tally::default(), tenth(tick));
    };
    let told = run(&mut desk, 0..60, connect);
    assert_eq!((told, clients.len()), (Vec::new(), 50));
}

#[test]
fn failed_logins_are_told_with_their_causes_and_the_last_of_them() {
    let mut desk = Desk::new();
    let guess = |desk: &mut Desk, tick: u64| {
        let tallies = Tallies::default();
        for round in 0..if tick < 20 { 0 } else { 20 } {
            let cause = if round % 4 == 0 { Cause::UnknownLogin } else { Cause::WrongPassword };
            tallies.failed([10, 0, 0, 7].into(), "app", cause);
        }
        desk.keeper.hear(&tallies.take(), tenth(tick));
    };
    let spikes = run(&mut desk, 0..60, guess);
    let [opened, ..] = &spikes[..] else { panic!("no spike") };
    assert_eq!((opened.class, opened.top[0].reason), (Class::Logins, "login_failed"));
    let [unknown, wrong] = ["unknown_login", "wrong_password"].map(|cause| opened.reasons[cause]);
    assert_eq!((unknown * 3, opened.reasons.len()), (wrong, 2), "{opened:?}");
    assert_eq!(opened.sample.as_deref(), Some("10.0.0.7 as app, wrong_password"));
    assert_eq!(opened.command, "sallyport explain 10.0.0.7");
}

#[test]
fn a_relay_cannot_write_lines_of_its_own_into_an_alert() {
    let mut desk = Desk::new();
    let failure = Some(format!("x\n2026-01-01 spike-closed{}", "y".repeat(9_000)));
    desk.keeper.hear(&Tally { failure, ..Tally::default() }, tenth(0));
    let kept = desk.keeper.watching.failure.as_deref().unwrap();
    assert!(kept.starts_with("x 2026-01-01 ") && kept.len() == 200, "{kept}");
}

#[test]
fn a_listed_entry_that_connects_too_often_is_told_with_a_frame_of_its_loudest_address() {
    let mut desk = Desk::new();
    let connect = |desk: &mut Desk, tick: u64| {
        let mut tables = desk.fake.tables();
        for source in [[10, 213, 7, 9], [10, 0, 0, 8]] {
            tables.samples.push(frame(source, Reason::Admitted));
        }
        drop(tables);
        let tallies = Tallies::default();
        let times = if tick < 20 { 0 } else { 400 };
        (0..times).for_each(|_| tallies.completed([10, 213, 7, 9].into()));
        tallies.completed([10, 0, 0, 8].into());
        desk.keeper.hear(&tallies.take(), tenth(tick));
    };
    let spikes = run(&mut desk, 0..60, connect);
    let opened = spikes.iter().find(|spike| spike.class == Class::Entry).expect("a spike");
    assert_eq!(opened.subject, "10.0.0.0/8");
    assert_eq!(opened.top[0].net.to_string(), "10.213.7.9/32");
    assert_eq!(opened.reasons["connected"], opened.total);
    let sample = opened.sample.as_deref().unwrap_or_default();
    assert!(sample.starts_with("10.213.7.9 to port 2525 by "), "{sample}");
    assert!(sample.ends_with(", admitted"), "{sample}");
    assert_eq!(opened.command, "sallyport ban add 10.213.7.9");
}

#[test]
fn a_spike_of_one_network_is_told_with_its_own_reasons_and_frame_to_its_end() {
    let mut desk = Desk::new();
    let net = Net::new(Addr::v4([203, 0, 113, 0]), 24).unwrap();
    let alert = |stage, at| Alert {
        class: Class::Prefix,
        net: Some(net),
        stage,
        at: Duration::from_secs(at),
        since: Duration::from_secs(100),
        window: Duration::from_secs(60),
        count: 400,
        usual: 0,
        total: 400,
        lasted: Duration::from_secs(9),
    };
    run(&mut desk, 0..2, |desk, _| {
        let mut tables = desk.fake.tables();
        for reason in
            [Reason::UnlistedSyn, Reason::UnlistedSyn, Reason::UnlistedSyn, Reason::Banned]
        {
            tables.samples.push(frame([203, 0, 113, 7], reason));
        }
        tables.samples.push(refused_frame([198, 51, 100, 1]));
    });
    desk.keeper.tell(&alert(Stage::Opened, 100), &Counters::default(), tenth(3));
    let mut spikes = told(&desk.journal);
    // What others send meanwhile pushes its frames out.
    run(&mut desk, 4..40, |desk, _| {
        let frames = (0..64).map(|source| refused_frame([198, 51, 100, source]));
        desk.fake.tables().samples.extend(frames);
    });
    desk.keeper.tell(&alert(Stage::Closed, 104), &Counters::default(), tenth(41));
    spikes.extend(told(&desk.journal));
    assert_eq!(spikes.len(), 2);
    for spike in spikes {
        let reasons: Vec<_> = spike.reasons.iter().map(|(name, count)| (*name, *count)).collect();
        assert_eq!(reasons, [("banned", 100), ("unlisted_syn", 300)]);
        let sample = spike.sample.as_deref().unwrap_or_default();
        assert!(sample.starts_with("203.0.113.7 to port 2525 by "), "{sample}");
    }
    assert_eq!(desk.keeper.watching.pictures.len(), 0);
}

#[test]
fn this_host_is_not_to_be_banned_whatever_address_it_listens_on() {
    let own = own_addresses();
    assert!(own.contains(&IpAddr::from([127, 0, 0, 1])), "{own:?}");
}

#[test]
fn the_remark_on_many_sources_counts_from_the_first_tick_of_a_flood_on() {
    let mut desk = Desk::new();
    let flood = |desk: &mut Desk, tick: u64| {
        desk.fake.tables().refused += if tick < 35 { 0 } else { 40_000 };
    };
    run(&mut desk, 0..38, flood);
    let alert = |stage| Alert {
        class: Class::Sources,
        net: None,
        stage,
        at: Duration::from_millis(103_700),
        since: Duration::from_millis(103_700),
        window: Duration::from_secs(1),
        count: 400,
        usual: 0,
        total: 400,
        lasted: Duration::ZERO,
    };
    let counters = desk.fake.counters().unwrap();
    for stage in [Stage::Opened, Stage::Closed] {
        desk.keeper.tell(&alert(stage), &counters, tenth(37));
    }
    let remarks: Vec<_> = told(&desk.journal).into_iter().map(|spike| spike.remark).collect();
    let [nobody, flood] = [
        "no network stands out",
        "a flood: 300 attempts from each source or fewer; no network stands out",
    ];
    let told = [flood, nobody].map(|remark| Some(remark.to_owned()));
    assert_eq!(remarks, told, "at the end nobody knows any more how many each sent");
}
