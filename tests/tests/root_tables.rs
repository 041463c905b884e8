//! The tables of the loaded program: lists that are exchanged while frames are judged, rates, shadow and
//! observing, and how others read them.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use relay::gate::{Entry, EntryPoint, Filled, GateError, Place, Ruleset, load};
use relay::hosts::{PrivateBpf, private_bpf};
use relay::selftest::craft::{Ends, PLAIN, V4, V6};
use relay_common::addr::Net;
use relay_common::bucket::Rate;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::{BANS_MAX, ENTRIES_MAX, EntryId, LAYOUT, TagName};
use relay_common::verdict::{Reason, Verdict};
use tests::need;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const PORT: u16 = 2525;
/// How often a frame is judged in one call to the kernel.
const REPEATS: u32 = 2_000;
/// How many frames of each kind must have been judged while lists were exchanged.
const ENOUGH: u64 = 100_000;

/// A BPF file system of this thread's own, and where the gate's tables are pinned in it.
fn place(folder: &Path) -> (PrivateBpf, Place) {
    let bpf = folder.join("bpf");
    let mounted = private_bpf(&bpf).expect("a private BPF file system");
    (mounted, Place { pins: bpf.join("sallyport"), group: None })
}

fn filled(place: &Place, ruleset: &Ruleset) -> Filled {
    load(place).unwrap().fill(ruleset).unwrap()
}

fn net(text: &str) -> Net {
    let (address, prefix) = text.split_once('/').expect("a network has a slash");
    Net::new(address.parse::<IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
}

fn entry(net: Net, id: u32) -> Entry {
    Entry { net, id: EntryId(id), tag: None, rate: None, source_rate: None, until_ns: None }
}

fn ruleset(entries: Vec<Entry>) -> Ruleset {
    Ruleset {
        ports: vec![PORT],
        scope: Scope::EverySegment,
        own_host: OwnHost::Admitted,
        entries,
        bans: Vec::new(),
    }
}

/// Returns a SYN from an address to the guarded port.
fn syn(source: &str) -> Vec<u8> {
    let (mut v4, mut v6) = ([192, 0, 2, 99].into(), "2001:db8::99".parse().unwrap());
    let source: IpAddr = source.parse().unwrap();
    match source {
        IpAddr::V4(source) => v4 = source,
        IpAddr::V6(source) => v6 = source,
    }
    let ends = Ends {
        hardware: [[2; 6], [4; 6]],
        source: (v4, v6),
        target: ([192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()),
        source_port: 20_000,
        port: PORT,
    };
    match source {
        IpAddr::V4(_) => V4.frame(&ends, &PLAIN.over_v4(&ends)),
        IpAddr::V6(_) => V6.frame(&ends, &PLAIN.over_v6(&ends)),
    }
}

/// Lists that share two sources and lack two others, and are otherwise as different as lists can be.
fn two_lists() -> [Ruleset; 2] {
    let small = vec![
        entry(net("192.0.2.0/24"), 1),
        entry(net("2001:db8::/32"), 2),
        entry(net("203.0.113.0/25"), 3),
    ];
    let scattered = (0..5_000_u32).map(|number| {
        let address = IpAddr::from((0x0a00_0000 + number * 1_021).to_be_bytes());
        entry(Net::from(address), 100 + number)
    });
    let large = [
        entry(net("192.0.2.7/32"), 2),
        entry(net("2001:db8:7::7/128"), 1),
        entry(net("198.51.100.0/26"), 7),
    ];
    [ruleset(small), ruleset(large.into_iter().chain(scattered).collect())]
}

#[test]
fn no_frame_is_judged_by_two_lists_while_they_are_exchanged() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    let lists = two_lists();
    let mut gate = filled(&place, &lists[0]);
    let mut runner = load(&place).unwrap();
    // In both lists by other entries of other lengths; in neither.
    let frames = ["192.0.2.7", "2001:db8:7::7", "192.0.3.7", "2001:db9::7"].map(syn);
    let (ends, ran) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut rounds = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Acquire) {
                for frame in &frames {
                    runner.run(EntryPoint::Gate, frame, REPEATS).unwrap();
                }
                ran.fetch_add(2 * u64::from(REPEATS), Ordering::AcqRel);
            }
        });
        // As many exchanges as it takes to judge enough of them meanwhile.
        while rounds < 60 || (rounds < 6_000 && ran.load(Ordering::Acquire) < ENOUGH) {
            let [one, other] = &lists;
            gate.fill(if rounds % 2 == 0 { other } else { one }).unwrap();
            rounds += 1;
        }
        ends.store(true, Ordering::Release);
    });
    let ran = ran.into_inner();
    let counters = gate.attach(&[]).unwrap().counters().unwrap();
    println!("{ran} SYNs of each kind during {rounds} exchanges");
    assert!(ran > ENOUGH, "only {ran}: nothing was exchanged while frames were judged");
    assert_eq!(counters.of(Reason::Admitted), ran, "somebody in both lists was dropped");
    assert_eq!(counters.of(Reason::UnlistedSyn), ran, "somebody in neither was let in");
}

#[test]
fn entries_come_and_go_one_by_one_while_frames_are_judged() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    let lists = two_lists();
    let mut gate = filled(&place, &lists[1]).attach(&[]).unwrap();
    let mut runner = load(&place).unwrap();
    let frames = ["192.0.2.7", "192.0.3.7"].map(syn);
    let (ends, ran) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Acquire) {
                for frame in &frames {
                    runner.run(EntryPoint::Gate, frame, REPEATS).unwrap();
                }
                ran.fetch_add(u64::from(REPEATS), Ordering::AcqRel);
            }
        });
        for round in 0..4_000_u32 {
            // Around the one source and beside the other; wider, longer, and beside.
            let nets = ["192.0.2.0/24", "192.0.0.0/23", "192.0.2.8/32", "192.0.3.8/32"];
            let net = net(nets[round as usize % nets.len()]);
            gate.insert(&entry(net, 6_000 + round % 4)).unwrap();
            assert!(gate.remove(&net).unwrap().is_some());
        }
        ends.store(true, Ordering::Release);
    });
    let ran = ran.into_inner();
    let counters = gate.counters().unwrap();
    println!("{ran} SYNs of each kind during 8,000 changes");
    assert_eq!(counters.of(Reason::Admitted), ran, "who is listed all the time was dropped");
    assert_eq!(counters.of(Reason::UnlistedSyn), ran, "who is never listed was let in");
}

#[test]
fn each_source_has_a_rate_of_its_own_and_costs_its_entry_nothing_beyond() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    let hour = Duration::from_secs(3_600);
    let limited = Entry {
        rate: Rate::new(5, hour, 5),
        source_rate: Rate::new(2, hour, 2),
        ..entry(net("192.0.2.0/24"), 1)
    };
    let mut gate = filled(&place, &ruleset(vec![limited]));
    let mut attempts = |source: &str, count: usize| -> Vec<u32> {
        let frame = syn(source);
        (0..count).map(|_| gate.run(EntryPoint::Gate, &frame, 1).unwrap().returned).collect()
    };
    assert_eq!(attempts("192.0.2.7", 4), [XDP_PASS, XDP_PASS, XDP_DROP, XDP_DROP]);
    assert_eq!(attempts("192.0.2.8", 3), [XDP_PASS, XDP_PASS, XDP_DROP], "his neighbour's own");
    assert_eq!(attempts("192.0.2.9", 2), [XDP_PASS, XDP_DROP], "the fifth of the entry's five");
    assert_eq!(
        gate.judge(&syn("192.0.2.7")).unwrap(),
        Verdict::Drop(Reason::SourceOverRate),
        "explained as it is"
    );
    let counts = gate.attach(&[]).unwrap().entry_counts().unwrap()[&EntryId(1)];
    assert_eq!((counts.passed, counts.over_rate), (5, 4));
}

#[test]
fn forged_sources_take_nothing_from_a_listed_ones_rate() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    let limited = Entry {
        source_rate: Rate::new(2, Duration::from_secs(3_600), 2),
        ..entry(net("192.0.2.0/24"), 1)
    };
    let mut gate = filled(&place, &ruleset(vec![limited]));
    // Strangers of every kind: none is remembered, so none can push anybody out.
    for number in 0..100_000_u32 {
        let source = std::net::Ipv4Addr::from(0x0b00_0000 + number * 8_191);
        gate.run(EntryPoint::Gate, &syn(&source.to_string()), 1).unwrap();
    }
    let mut attempt = || gate.run(EntryPoint::Gate, &syn("192.0.2.7"), 1).unwrap().returned;
    assert_eq!([attempt(), attempt(), attempt()], [XDP_PASS, XDP_PASS, XDP_DROP]);
}

#[test]
fn a_list_in_shadow_counts_by_entry_whom_it_would_drop_and_drops_nobody() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    let entries = vec![entry(net("192.0.2.0/24"), 1), entry(net("198.51.100.0/24"), 2)];
    let mut gate = filled(&place, &ruleset(entries)).attach(&[]).unwrap();
    let mut runner = load(&place).unwrap();
    let mut run = |source: &str, times| {
        assert_eq!(runner.run(EntryPoint::Gate, &syn(source), times).unwrap().returned, XDP_PASS);
    };
    run("192.0.2.7", 10);
    gate.shadow(Some(&[net("192.0.2.7/32")])).unwrap();
    run("192.0.2.7", 20);
    run("192.0.2.8", 30);
    run("198.51.100.7", 40);
    let counts = gate.entry_counts().unwrap();
    assert_eq!([1, 2].map(|id| counts[&EntryId(id)].would_drop), [30, 40]);
    gate.shadow(None).unwrap();
    run("198.51.100.7", 5);
    let counts = gate.entry_counts().unwrap();
    assert_eq!([1, 2].map(|id| counts[&EntryId(id)].would_drop), [0, 0], "they began anew");
    assert_eq!([1, 2].map(|id| counts[&EntryId(id)].passed), [60, 45]);
}

#[test]
fn observing_lets_everybody_in_until_its_time_and_counts_whom_it_spared() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    let mut gate = filled(&place, &ruleset(Vec::new())).attach(&[]).unwrap();
    let mut runner = load(&place).unwrap();
    let stranger = syn("192.0.2.7");
    let mut run = || runner.run(EntryPoint::Gate, &stranger, 1).unwrap().returned;
    assert_eq!(run(), XDP_DROP);
    gate.observe(Some(gate.now_ns() + 3_600_000_000_000)).unwrap();
    assert_eq!(run(), XDP_PASS);
    let source = "192.0.2.7".parse().unwrap();
    let explained = gate.explain(source, PORT).unwrap().verdict;
    assert_eq!(explained, Verdict::Spare(Reason::UnlistedSyn));
    // The kernel keeps to the time by itself.
    gate.observe(Some(gate.now_ns() - 1)).unwrap();
    assert_eq!(run(), XDP_DROP);
    let counters = gate.counters().unwrap();
    assert_eq!((counters.spared(), counters.of(Reason::UnlistedSyn)), (1, 2));
}

#[test]
fn what_does_not_fit_is_refused_and_neither_admits_nor_cuts_anybody() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    let listed = syn("192.0.2.7");
    let held = vec![entry(net("192.0.2.0/24"), 1)];
    let mut gate = filled(&place, &ruleset(held.clone()));
    let many = |count: u32| {
        (0..count).map(|number| Net::from(IpAddr::from(number.to_be_bytes()))).zip(0..)
    };
    let too_many = many(ENTRIES_MAX + 1).map(|(net, id)| entry(net, id)).collect();
    let bans = many(BANS_MAX + 1).map(|(net, _)| (net, u64::MAX)).collect();
    let rates = (0..1_100_u32).map(|number| Entry {
        rate: Rate::new(number + 1, Duration::from_secs(3_600), 1),
        ..entry(Net::from(IpAddr::from((0x0a00_0000 + number).to_be_bytes())), number)
    });
    let tags = (0..4_200_u32).map(|number| Entry {
        tag: TagName::new(&format!("tag{number}")),
        ..entry(Net::from(IpAddr::from((0x0a00_0000 + number).to_be_bytes())), number)
    });
    for (name, wrong) in [
        ("entries", ruleset(too_many)),
        ("bans", Ruleset { bans, ..ruleset(held.clone()) }),
        ("rates", ruleset(rates.collect())),
        ("tags", ruleset(tags.collect())),
    ] {
        let error = gate.fill(&wrong).unwrap_err();
        assert!(
            matches!(&error, GateError::TooMany { table, .. } | GateError::Full { table, .. } if *table == name),
            "{name}: {error}"
        );
        assert_eq!(gate.judge(&listed).unwrap(), Verdict::Pass(Reason::Admitted), "{name}");
        assert_eq!(
            gate.judge(&syn("10.0.0.7")).unwrap(),
            Verdict::Drop(Reason::UnlistedSyn),
            "{name}: nobody of the refused list is let in"
        );
    }
}

#[test]
fn a_list_of_a_million_and_a_hundred_thousand_bans_are_judged_right() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    // Every other address of a block of IPv4, and every fourth /64 of a block of IPv6.
    let v4 = (0..700_000_u32).map(|number| {
        let address = IpAddr::from((0x0a00_0000 + number * 2).to_be_bytes());
        entry(Net::from(address), number)
    });
    let v6 = (0..ENTRIES_MAX - 700_000).map(|number| {
        let words = 0x2001_0db8_0000_0000_u64 + u64::from(number) * 4;
        let address = std::net::Ipv6Addr::from_bits(u128::from(words) << 64);
        entry(Net::new(IpAddr::V6(address), 64).unwrap(), 700_000 + number)
    });
    let bans = (0..100_000_u32).map(|number| {
        let address = IpAddr::from((0x0a00_0000 + number * 8).to_be_bytes());
        (Net::from(address), u64::MAX)
    });
    let wanted = Ruleset { bans: bans.collect(), ..ruleset(v4.chain(v6).collect()) };
    let gate = filled(&place, &wanted);
    let judged = |source: &str| gate.judge(&syn(source)).unwrap();
    for (source, expected) in [
        ("10.0.0.2", Verdict::Pass(Reason::Admitted)),
        ("10.0.0.8", Verdict::Drop(Reason::Banned)),
        ("10.0.0.3", Verdict::Drop(Reason::UnlistedSyn)),
        ("10.21.92.190", Verdict::Pass(Reason::Admitted)),
        ("10.21.92.192", Verdict::Drop(Reason::UnlistedSyn)),
        ("11.0.0.2", Verdict::Drop(Reason::UnlistedSyn)),
        ("2001:db8:0:4::7", Verdict::Pass(Reason::Admitted)),
        ("2001:db8:0:5::7", Verdict::Drop(Reason::UnlistedSyn)),
        ("2001:db8:15:4680::7", Verdict::Drop(Reason::UnlistedSyn)),
    ] {
        assert_eq!(judged(source), expected, "{source}");
    }
}

#[test]
fn bpftool_prints_the_tables_by_the_names_of_their_fields() {
    if !need::root() {
        return;
    }
    let Some(bpftool) = need::tool("bpftool") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, place) = place(folder.path());
    let mut gate = filled(&place, &ruleset(vec![entry(net("192.0.2.0/24"), 0)]));
    gate.run(EntryPoint::Gate, &syn("192.0.2.7"), 3).unwrap();
    let dump = |name: &str| {
        let mut command = Command::new(&bpftool);
        command
            .args(["map", "dump", "pinned"])
            .arg(place.pins.join(format!("v{LAYOUT}")).join(name));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (table, fields) in [
        ("switch", ["state", "samples_left"]),
        ("heads", ["number", "lengths"]),
        ("entries_0", ["until_ns", "full_at_ns"]),
        ("entry_counts_0", ["passed", "last_ns"]),
        ("counters", ["admitted", "unlisted_syn"]),
        ("refused", ["total", "seed"]),
        ("cells_1", ["words", "value"]),
    ] {
        let text = dump(table);
        for field in fields {
            assert!(text.contains(&format!("\"{field}\": ")), "{table}: {}", &text[..400]);
        }
    }
    assert!(dump("counters").contains("\"admitted\": 3"), "{}", &dump("counters")[..4000]);
}
