//! The same frames judged by the loaded program.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use relay::gate::{Entry, EntryPoint, Filled, Place, Ruleset, boot_clock_ns, load};
use relay::hosts::{PrivateBpf, private_bpf};
use relay_common::addr::Net;
use relay_common::bucket::Rate;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::{EntryId, TagName};
use relay_common::verdict::{Reason, Verdict, judge};
use tests::frames::{self, Case, PORT};
use tests::lists::Lists;
use tests::mutate::{Chance, mutate};
use tests::need;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// Loads the program in a BPF file system of this thread's own, which ends with it.
fn loaded(folder: &Path, ruleset: &Ruleset) -> (PrivateBpf, Filled) {
    let bpf = folder.join("bpf");
    let mounted = private_bpf(&bpf).expect("a private BPF file system");
    let place = Place { pins: bpf.join("sallyport"), group: None };
    let loaded = load(&place).unwrap_or_else(|error| panic!("{error}"));
    (mounted, loaded.fill(ruleset).expect("the tables fill"))
}

fn net(text: &str) -> Net {
    let (address, prefix) = text.split_once('/').expect("a network has a slash");
    Net::new(address.parse::<IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
}

#[test]
fn the_program_judges_every_written_frame_as_the_host_does() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, mut gate) = loaded(folder.path(), &Case::Stranger.ruleset());
    let corpus = frames::all().unwrap();
    let mut wrong = Vec::new();
    for case in Case::ALL {
        gate.fill(&case.ruleset()).unwrap();
        for frame in &corpus {
            let expected = frame.expected(case);
            let judged = gate.judge(&frame.bytes).unwrap();
            let action = gate.run(EntryPoint::Gate, &frame.bytes, 1).unwrap().returned;
            let wanted = if expected.passes() { XDP_PASS } else { XDP_DROP };
            if judged != expected || action != wanted {
                wrong.push(format!(
                    "{} ({case:?}): {judged:?}, action {action}; expected {expected:?}",
                    frame.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Networks inside and around the sources of the written frames, some banned, in both families.
fn mixed() -> Ruleset {
    let entry = |net, id, tag| Entry {
        net,
        id: EntryId(id),
        tag: TagName::new(tag),
        rate: None,
        source_rate: None,
        until_ns: None,
    };
    Ruleset {
        ports: vec![25, PORT, 65_535],
        scope: Scope::EverySegment,
        own_host: OwnHost::Admitted,
        entries: vec![
            entry(net("198.51.100.0/29"), 1, "a"),
            entry(net("198.51.100.7/32"), 2, "b"),
            entry(net("192.0.0.0/3"), 3, "c"),
            entry(net("2001:db8:2::/48"), 4, "d"),
            entry(net("::/1"), 5, "e"),
        ],
        bans: vec![
            (net("198.51.100.4/30"), u64::MAX),
            (net("198.51.100.6/32"), 1),
            (net("2001:db8:2::7/128"), 1),
        ],
    }
}

#[test]
fn a_hundred_thousand_frames_made_by_chance_are_judged_explained_and_dropped_alike() {
    if !need::root() {
        return;
    }
    let seed = std::env::var("SALLYPORT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(boot_clock_ns);
    println!("SALLYPORT_SEED={seed} repeats this run");
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, mut gate) = loaded(folder.path(), &mixed());
    let corpus = frames::all().unwrap();
    let mut chance = Chance::from_seed(seed);
    let mut seen = std::collections::BTreeSet::new();
    let mut rulesets = vec![mixed()];
    rulesets.extend(Case::ALL.map(Case::ruleset));
    for ruleset in rulesets {
        gate.fill(&ruleset).unwrap();
        let host = Lists::new(ruleset, boot_clock_ns());
        for _ in 0..25_000 {
            let [from, other] = [(); 2].map(|()| &corpus[chance.below(corpus.len())].bytes);
            let frame = mutate(from, other, &mut chance);
            let (on_host, in_kernel) =
                (judge(frame.as_slice(), &host), gate.judge(&frame).unwrap());
            assert_eq!(in_kernel, on_host, "SALLYPORT_SEED={seed}, frame {frame:02x?}");
            let action = gate.run(EntryPoint::Gate, &frame, 1).unwrap().returned;
            let wanted = if on_host.passes() { XDP_PASS } else { XDP_DROP };
            assert_eq!(action, wanted, "SALLYPORT_SEED={seed}, frame {frame:02x?}");
            seen.insert(on_host.reason());
        }
    }
    // The frames must have reached most of the rules, or they prove little.
    assert!(seen.len() >= 13, "only {seen:?}");
}

#[test]
fn the_program_counts_what_it_judges_and_explaining_leaves_no_trace() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut ruleset = mixed();
    ruleset.entries[0].rate = Rate::new(2, Duration::from_secs(3_600), 2);
    ruleset.entries.remove(1);
    ruleset.bans.clear();
    let (_bpf, mut gate) = loaded(folder.path(), &ruleset);
    let syn =
        frames::all().unwrap().into_iter().find(|frame| frame.name == "ipv4/syn").unwrap().bytes;

    for _ in 0..5 {
        assert_eq!(gate.judge(&syn).unwrap(), Verdict::Pass(Reason::Admitted));
    }
    let actions: Vec<u32> =
        (0..4).map(|_| gate.run(EntryPoint::Gate, &syn, 1).unwrap().returned).collect();
    assert_eq!(
        actions,
        [XDP_PASS, XDP_PASS, XDP_DROP, XDP_DROP],
        "a burst of two, then nothing for half an hour"
    );
    assert_eq!(gate.judge(&syn).unwrap(), Verdict::Drop(Reason::OverRate));

    let mut gate = gate.attach(&[]).unwrap();
    let counters = gate.counters().unwrap();
    assert_eq!((counters.of(Reason::Admitted), counters.of(Reason::OverRate)), (2, 2));
    assert_eq!(counters.dropped(), 2);
    let counts = gate.entry_counts().unwrap();
    let count = counts[&EntryId(1)];
    assert_eq!((count.passed, count.over_rate), (2, 2));
    let now_ns = boot_clock_ns();
    assert!(count.last_ns > 0 && count.last_ns <= now_ns, "{} {now_ns}", count.last_ns);
    gate.detach().unwrap();
}

#[test]
fn a_ban_holds_until_its_time_also_inside_a_shorter_one() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, filled) = loaded(folder.path(), &Case::Listed.ruleset());
    let mut gate = filled.attach(&[]).unwrap();
    let source: IpAddr = "198.51.100.7".parse().unwrap();
    let reason =
        |gate: &dyn relay::gate::Gate| gate.explain(source, PORT).unwrap().verdict.reason();
    assert_eq!(reason(&*gate), Reason::Admitted);
    let hour_ns = 3_600_000_000_000;
    let later_ns = gate.now_ns() + hour_ns;
    gate.ban(&[(net("198.51.100.0/24"), later_ns), (net("198.51.100.7/32"), 1)]).unwrap();
    assert_eq!(reason(&*gate), Reason::Banned, "the host's ban is over, its network's is not");
    assert_eq!(gate.explain(source, PORT).unwrap().banned_until_ns, Some(later_ns));
    assert_eq!(gate.bans(), [(net("198.51.100.0/24"), later_ns), (net("198.51.100.7/32"), 1)]);
    assert!(gate.unban(&net("198.51.100.0/24")).unwrap());
    assert_eq!(reason(&*gate), Reason::Admitted);
    assert!(!gate.unban(&net("198.51.100.0/24")).unwrap(), "doing it twice is unchanged");
    gate.detach().unwrap();
}

#[test]
fn the_verifier_stays_within_its_budget() {
    if !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_bpf, mut gate) = loaded(folder.path(), &mixed());
    for point in [EntryPoint::Gate, EntryPoint::Explain] {
        let verified = gate.verified_instructions(point).unwrap();
        let verified = verified.expect("this kernel tells the number (since Linux 5.16)");
        println!("{}: {verified} instructions verified", point.name());
        assert!(verified < 125_000, "{}: {verified} instructions", point.name());
    }
}
