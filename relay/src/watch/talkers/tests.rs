//! Who is named, and with which error.

use relay_common::table::NO_SKETCH;

use super::*;

/// A kernel that refuses frames: every eighth goes into the sketch, every hundredth is told.
struct Kernel {
    sketch: Sketch,
    talkers: Talkers,
    at: Duration,
}

impl Kernel {
    fn new() -> Self {
        let sketch = Sketch { seed: 77, ..NO_SKETCH };
        let mut talkers = Talkers::default();
        talkers.take(Duration::ZERO, &sketch);
        Self { sketch, talkers, at: Duration::ZERO }
    }

    fn refuse(&mut self, source: Addr) {
        self.sketch.total += 1;
        if self.sketch.total.is_multiple_of(SKETCHED) {
            for (level, prefix) in
                LEVEL_PREFIXES[family_index(source.family())].into_iter().enumerate()
            {
                let cells = sketch_cells(&source.masked(prefix), prefix, self.sketch.seed);
                for (row, cell) in cells.into_iter().enumerate() {
                    self.sketch.cells[level][row][cell] += 1;
                }
            }
        }
        if self.sketch.total.is_multiple_of(101) {
            self.talkers.note(source, 6);
        }
    }

    fn tick(&mut self, seconds: u64) {
        self.at += Duration::from_secs(seconds);
        self.talkers.take(self.at, &self.sketch);
    }
}

/// Numbers that look random and are the same each time.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 32
}

fn net(text: &str, prefix: u8) -> Net {
    Net::new(text.parse::<std::net::IpAddr>().unwrap(), prefix).unwrap()
}

#[test]
fn loud_sources_are_named_with_their_counts_among_a_million_that_come_once() {
    let mut kernel = Kernel::new();
    let mut state = 1;
    let loud = Addr::v4([203, 0, 113, 7]);
    let noisy = |n: u64| Addr::v4([198, 51, 100, n as u8]);
    let v6 = "2001:db8:7:9::1".parse::<std::net::Ipv6Addr>().unwrap();
    for n in 0..1_000_000u64 {
        kernel.refuse(Addr::v4((random(&mut state) as u32).to_be_bytes()));
        match n % 20 {
            0 => kernel.refuse(loud),
            1 => kernel.refuse(noisy(random(&mut state))),
            2 => kernel.refuse(Addr::from(v6)),
            _ => {}
        }
        if n % 100_000 == 0 {
            kernel.tick(1);
        }
    }
    kernel.tick(1);
    let told = kernel.talkers.loudest(5);
    let found = |net: Net| told.iter().find(|talker| talker.net == net).copied();
    for wanted in [net("203.0.113.7", 32), net("198.51.100.0", 24), net("2001:db8:7:9::", 64)] {
        let talker = found(wanted).unwrap_or_else(|| panic!("{wanted} is not in {told:?}"));
        assert!(talker.error < 5_000, "{talker:?}");
        let slack = talker.error + 2_500;
        assert!(talker.frames.abs_diff(50_000) <= slack, "{talker:?}");
    }
    assert!(found(net("203.0.113.0", 24)).is_none(), "its one address says it all");
    assert!(told.len() <= 8, "{told:?}");
}

#[test]
fn who_has_gone_quiet_leaves_the_window() {
    let mut kernel = Kernel::new();
    let source = Addr::v4([203, 0, 113, 7]);
    (0..10_000).for_each(|_| kernel.refuse(source));
    kernel.tick(10);
    assert_eq!(kernel.talkers.loudest(5)[0].net, net("203.0.113.7", 32));
    (0..8).for_each(|_| kernel.tick(10));
    assert_eq!(kernel.talkers.loudest(5), []);
}

#[test]
fn a_flood_that_has_just_begun_is_named_by_its_samples() {
    let mut kernel = Kernel::new();
    let source = Addr::v4([203, 0, 113, 7]);
    (0..3).for_each(|_| kernel.talkers.note(source, 6));
    kernel.talkers.note(Addr::v4([192, 0, 2, 1]), 6);
    assert_eq!(kernel.talkers.loudest(5), []);
    let named = kernel.talkers.named(WINDOW, 1);
    assert_eq!((named.len(), named[0].net), (1, net("203.0.113.7", 32)));
    assert!(named[0].frames >= 3, "{named:?}");
}

#[test]
fn of_a_flood_that_has_just_begun_those_networks_are_named_that_stand_out() {
    let named = |sources: &mut dyn FnMut(u64) -> Addr| {
        let mut kernel = Kernel::new();
        kernel.sketch.total = 5_000;
        (0..60).for_each(|number| kernel.talkers.note(sources(number), 6));
        kernel.talkers.take(Duration::from_millis(300), &kernel.sketch);
        kernel.talkers.named(Duration::from_secs(1), 5)
    };
    let mut state = 5;
    let mut anywhere = |_| Addr::v4((random(&mut state) as u32).to_be_bytes());
    assert_eq!(named(&mut anywhere), [], "no two of them are of one network");
    // Half of it from one network each, in which no address comes again.
    let half = |n: u64, inside: Addr, other: Addr| if n.is_multiple_of(2) { inside } else { other };
    for (inside, wanted) in
        [([203, 0, 113, 0], net("203.0.113.0", 24)), ([203, 0, 0, 0], net("203.0.0.0", 16))]
    {
        let mut state = 9;
        let told = named(&mut |n| {
            let address = if wanted.prefix() == 24 {
                [inside[0], inside[1], inside[2], n as u8]
            } else {
                [inside[0], inside[1], n as u8, 77]
            };
            half(n, Addr::v4(address), Addr::v4((random(&mut state) as u32).to_be_bytes()))
        });
        assert_eq!(told.iter().map(|one| one.net).collect::<Vec<_>>(), [wanted]);
        assert!(told[0].error < told[0].frames, "{told:?}");
        assert!(told[0].frames.abs_diff(2_500) <= told[0].error, "{told:?}");
    }
    let told = named(&mut |n| {
        let text = format!("2001:db8:{n:x}:7::1");
        Addr::from(text.parse::<std::net::Ipv6Addr>().unwrap())
    });
    assert_eq!(told.iter().map(|one| one.net).collect::<Vec<_>>(), [net("2001:db8::", 32)]);
}

#[test]
fn a_short_window_names_who_came_in_it_and_not_a_flood_that_ended_before() {
    let mut kernel = Kernel::new();
    let (old, new) = (Addr::v4([203, 0, 113, 7]), Addr::v4([198, 51, 100, 9]));
    for _ in 0..20 {
        (0..200).for_each(|_| kernel.refuse(old));
        kernel.tick(1);
    }
    (0..15).for_each(|_| kernel.tick(1));
    for _ in 0..10 {
        (0..60).for_each(|_| kernel.refuse(new));
        kernel.tick(1);
    }
    let second = Duration::from_secs;
    assert_eq!(kernel.talkers.loudest(1)[0].net, net("203.0.113.7", 32), "of the minute");
    let named = kernel.talkers.named(second(10), 5);
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(named[0].net, net("198.51.100.9", 32));
    assert!(named[0].frames <= 600 + 2 * SKETCHED, "{named:?}");
    // Too few for the sums: samples say it, of that time too.
    (0..30).for_each(|_| kernel.tick(1));
    kernel.talkers.note(new, 6);
    let named: Vec<Net> = kernel.talkers.named(second(1), 5).iter().map(|one| one.net).collect();
    assert_eq!(named, [net("198.51.100.9", 32)]);
    (0..90).for_each(|_| kernel.tick(1));
    assert_eq!(kernel.talkers.named(second(10), 5), [], "nobody");
}

#[test]
fn counters_that_began_anew_are_no_huge_numbers() {
    let mut kernel = Kernel::new();
    (0..10_000).for_each(|_| kernel.refuse(Addr::v4([203, 0, 113, 7])));
    kernel.tick(5);
    let fresh = Kernel::new();
    kernel.talkers.take(Duration::from_secs(6), &fresh.sketch);
    assert_eq!(kernel.talkers.loudest(5), []);
}

#[test]
fn the_frames_of_a_network_are_shared_out_by_the_reasons_of_its_samples() {
    let mut talkers = Talkers::default();
    for source in 0..8_u8 {
        talkers.note(Addr::v4([192, 0, 2, source]), u8::from(source == 7));
    }
    let net = Net::new(Addr::v4([192, 0, 2, 0]), 24).unwrap();
    assert_eq!(talkers.reasons(&net, 1_600), [(0, 1_400), (1, 200)]);
    assert_eq!(talkers.reasons(&net, 2), [(0, 1), (1, 1)], "what was seen is told");
    for second in 0..120 {
        talkers.take(Duration::from_secs(second), &NO_SKETCH);
    }
    let reasons = talkers.reasons(&net, 10).into_iter().map(|(reason, _)| reason);
    assert_eq!(reasons.collect::<Vec<_>>(), [0, 1], "the end of a spike tells them too");
    let other = Net::new(Addr::v4([198, 51, 100, 0]), 24).unwrap();
    assert_eq!(talkers.reasons(&other, 10), []);
}
