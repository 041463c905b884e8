//! Every class has its spike, in the window in which it shows.

use super::super::samples::{accustomed, net, settings, tick};
use super::super::*;

/// Feeds what came in each tick to a watch and keeps every alert.
struct Host {
    watch: Watch,
    ticks: u32,
    now: Sample,
    alerts: Vec<Alert>,
}

impl Host {
    fn new() -> Self {
        let (at, wall) = tick(0);
        let now = Sample { told: Some(Told::default()), ..Sample::new(at, wall) };
        Self { watch: Watch::new(settings()), ticks: 0, now, alerts: Vec::new() }
    }

    /// Lets so many seconds pass; `came` says what came in each tick.
    fn pass(&mut self, seconds: u32, mut came: impl FnMut(u32, &mut Sample)) -> &mut Self {
        for _ in 0..seconds * 10 {
            self.ticks += 1;
            (self.now.at, self.now.wall) = tick(self.ticks);
            self.now.sources = [None; SOURCE_WINDOWS];
            self.now.loud = None;
            self.now.completed.clear();
            came(self.ticks, &mut self.now);
            self.alerts.extend(self.watch.take(&self.now));
        }
        self
    }

    fn said(&self) -> Vec<(Class, Stage, u64)> {
        let said = |alert: &Alert| (alert.class, alert.stage, alert.window.as_secs());
        self.alerts.iter().map(said).collect()
    }

    fn told(&mut self) -> &mut Told {
        self.now.told.as_mut().expect("a relay tells")
    }
}

#[test]
fn a_rate_that_hides_from_a_second_shows_in_a_longer_window() {
    for (every, window) in [(1, 1), (5, 10), (12, 60), (30, 900)] {
        let mut host = Host::new();
        // Ten each so many ticks.
        host.pass(3_600, |_, _| {})
            .pass(1_800, |tick, now| now.refused += if tick % every == 0 { 10 } else { 0 });
        assert_eq!(host.said(), [(Class::Refused, Stage::Opened, window)], "every {every}");
    }
}

#[test]
fn what_one_window_told_is_not_told_again_by_the_longer_ones() {
    let mut host = Host::new();
    host.pass(1_800, |_, _| {}).pass(20, |_, now| now.refused += 500).pass(1_800, |_, _| {});
    let said = [(Class::Refused, Stage::Opened, 1), (Class::Refused, Stage::Closed, 1)];
    assert_eq!(host.said(), said);
}

#[test]
fn a_slow_spike_that_becomes_a_flood_grows_within_a_second() {
    let mut host = Host::new();
    host.pass(3_600, |_, _| {});
    host.pass(1_200, |tick, now| now.refused += u64::from(tick % 3 == 0));
    assert_eq!(host.said(), [(Class::Refused, Stage::Opened, 900)]);
    let flood = host.now.at;
    host.pass(1, |_, now| now.refused += 300);
    assert_eq!(host.said()[1..], [(Class::Refused, Stage::Grew(10), 1)]);
    assert!(host.alerts[1].at <= flood + TICK * 3, "{:?}", host.alerts);
    host.pass(60, |_, _| {});
    assert_eq!(host.said()[2..], [(Class::Refused, Stage::Closed, 1)]);
}

#[test]
fn a_slow_scan_is_found_by_its_sources_though_few_attempts_are_refused() {
    let mut host = Host::new();
    let quiet = |_: u32, now: &mut Sample| now.sources = [Some(0), Some(1), Some(3), Some(9)];
    host.pass(3_600, quiet);
    let scan = |_: u32, now: &mut Sample| now.sources = [Some(1), Some(4), Some(20), Some(280)];
    host.pass(200, scan);
    assert_eq!(host.said(), [(Class::Sources, Stage::Opened, 900)]);
    assert_eq!((host.alerts[0].count, host.alerts[0].total), (280, 280));
    host.pass(300, quiet);
    assert_eq!(host.said()[1..], [(Class::Sources, Stage::Closed, 900)]);
}

#[test]
fn a_scan_that_is_over_is_not_told_again_by_the_longer_windows_and_the_next_one_is() {
    for flood in [8, 45] {
        let mut host = Host::new();
        // Fifty new sources a second, from `begun` on; each window holds those that came within it.
        let scan = |begun: u32| {
            move |tick: u32, now: &mut Sample| {
                let second = tick / 10;
                let within = |window: u32| {
                    let from = begun.max(second.saturating_sub(window));
                    50 * u64::from((begun + flood).min(second).saturating_sub(from))
                };
                now.sources = [1, 10, 60, 900].map(|window| Some(within(window)));
            }
        };
        host.pass(3_600 + 2_000, scan(3_600));
        let one = [(Class::Sources, Stage::Opened, 1), (Class::Sources, Stage::Closed, 1)];
        assert_eq!(host.said(), one, "a scan of {flood} s");
        host.pass(200, scan(5_700));
        assert_eq!(host.said()[2..], one, "the next one");
    }
}

#[test]
fn a_scan_soon_after_another_is_told_by_the_short_window() {
    let mut host = Host::new();
    let quiet = |_: u32, now: &mut Sample| now.sources = [Some(0); SOURCE_WINDOWS];
    let scan = |_: u32, now: &mut Sample| now.sources = [Some(0), Some(400), Some(400), Some(400)];
    let said = [(Class::Sources, Stage::Opened, 10), (Class::Sources, Stage::Closed, 10)];
    host.pass(1_000, quiet).pass(10, scan).pass(31, quiet);
    assert_eq!(host.said(), said);
    host.pass(9, quiet).pass(4, scan);
    assert_eq!(host.said()[2..], said[..1]);
}

#[test]
fn the_same_few_sources_in_a_shorter_window_are_no_growth() {
    let mut host = Host::new();
    let sources = |count: u64| {
        move |_: u32, now: &mut Sample| now.sources = [count, count, count, count].map(Some)
    };
    host.pass(1_000, sources(0));
    // Twenty that come again and again: too few for the window of a second alone.
    host.pass(120, sources(20));
    assert_eq!(host.said(), [(Class::Sources, Stage::Opened, 10)]);
    host.pass(5, sources(30));
    assert_eq!(host.said().len(), 1, "{:?}", host.alerts);
    host.pass(5, sources(45));
    assert_eq!(host.said()[1..], [(Class::Sources, Stage::Grew(2), 1)]);
    host.pass(2, sources(250));
    assert_eq!(host.said()[2..], [(Class::Sources, Stage::Grew(10), 1)]);
}

/// Returns the most tenths of a second from the tick in which a flood begins to its alert, for 400 phases: more than a
/// window of ten seconds has.
fn slowest(class: Class, flood: impl FnMut(u32, &mut Sample)) -> u128 {
    slowest_of(400, class, flood)
}

/// The same for so many phases.
fn slowest_of(phases: u32, class: Class, mut flood: impl FnMut(u32, &mut Sample)) -> u128 {
    let took = (0..phases).map(|phase| {
        let mut host = Host::new();
        let begins = 600 + phase;
        host.pass(110, |tick, now| flood(tick.saturating_sub(begins), now));
        let alert = host.alerts.first().expect("it is told");
        assert_eq!(alert.class, class);
        alert.at.saturating_sub(TICK * begins).as_millis() / 100
    });
    took.max().expect("there are phases")
}

/// The relay tells of it within a tick, and the gate looks within one more: a second has room for eight.
#[test]
fn a_flood_of_connections_of_one_entry_or_of_failed_logins_is_told_within_a_second() {
    // A new entry may do two hundred a second: one and a half times, twice and ten times as much.
    for (each, most) in [(30, 8), (40, 7), (200, 3)] {
        let worst = slowest_of(20, Class::Entry, |tick, now| {
            now.completed.extend((tick > 0).then_some((net(1), each)));
        });
        assert!(worst <= most, "{each} connections a tick: {worst} tenths");
    }
    // The floor is five a second.
    for (each, most) in [(1, 7), (5, 3)] {
        let worst = slowest_of(20, Class::Logins, |tick, now| {
            let told = now.told.as_mut().expect("a relay tells");
            told.failed_logins += each * u64::from(tick > 0);
        });
        assert!(worst <= most, "{each} failures a tick: {worst} tenths");
    }
}

#[test]
fn a_flood_in_the_name_of_clients_is_told_within_a_second_and_a_slow_one_within_three_and_a_half() {
    for (each, most) in [(5_u64, 35), (20, 10), (1_000, 8)] {
        let worst = slowest(Class::Forged, |tick, now| now.admitted += each * u64::from(tick > 0));
        assert!(worst <= most, "{each} a tick: {worst} tenths");
    }
}

#[test]
fn a_flood_in_the_name_of_clients_shows_within_a_second_besides_a_busy_hour() {
    // A hundred connections a second whose handshakes take three tenths of one, and five hundred forged ones.
    let mut way = VecDeque::from([0; 3]);
    let worst = slowest(Class::Forged, |tick, now| {
        way.push_back(10);
        now.admitted += 10 + 50 * u64::from(tick > 0);
        now.told.as_mut().expect("a relay tells").completed +=
            way.pop_front().expect("three are on the way");
    });
    assert!(worst <= 10, "{worst} tenths");
}

/// Forges so many a tick besides as many from clients, whose handshakes take three tenths of a second.
fn besides(way: &mut VecDeque<u64>, now: &mut Sample, forged: u64, clients: u64) {
    way.push_back(clients);
    now.admitted += clients + forged;
    now.told.as_mut().expect("a relay tells").completed +=
        way.pop_front().expect("three are on the way");
}

#[test]
fn a_flood_in_the_name_of_clients_is_one_spike_however_busy_the_clients_become() {
    for (forged, clients) in [(50, [5, 25, 5, 0]), (50, [20, 0, 20, 60]), (100, [5, 150, 40, 0])] {
        let mut host = Host::new();
        let mut way = VecDeque::from([0; 3]);
        host.pass(60, |_, now| besides(&mut way, now, 0, clients[0]));
        for clients in clients {
            host.pass(120, |_, now| besides(&mut way, now, forged, clients));
        }
        let said = [(Class::Forged, Stage::Opened, 1)];
        assert_eq!(host.said(), said, "{forged} besides {clients:?}");
        let open: Vec<Alert> = host.watch.open().collect();
        assert_eq!(open.len(), 1);
        assert!(open[0].total >= forged * 4_750, "until now: {open:?}");
        let [busy, ..] = clients;
        host.pass(60, |_, now| besides(&mut way, now, 0, busy));
        assert_eq!(host.said()[1..].len(), 1, "{forged} besides {clients:?}");
        assert_eq!(host.alerts[1].stage, Stage::Closed);
    }
}

#[test]
fn a_flood_in_the_name_of_clients_is_not_over_because_no_relay_told_of_handshakes_for_a_while() {
    let mut host = Host::new();
    let mut way = VecDeque::from([0; 3]);
    host.pass(60, |_, now| besides(&mut way, now, 0, 10));
    host.pass(60, |_, now| besides(&mut way, now, 50, 10));
    let told = host.now.told.take();
    host.pass(40, |_, now| now.admitted += 50);
    host.now.told = told;
    host.pass(60, |_, now| besides(&mut way, now, 50, 10));
    assert_eq!(host.said(), [(Class::Forged, Stage::Opened, 1)]);
    host.pass(60, |_, now| besides(&mut way, now, 0, 10));
    assert_eq!(host.said()[1..], [(Class::Forged, Stage::Closed, 1)]);
}

#[test]
fn a_flood_in_the_name_of_clients_that_grows_is_told_within_a_second_however_busy_they_are() {
    for clients in [0, 20, 40] {
        let mut host = Host::new();
        let mut way = VecDeque::from([0; 3]);
        host.pass(60, |_, now| besides(&mut way, now, 0, 0));
        host.pass(120, |_, now| besides(&mut way, now, 50, 0));
        host.pass(120, |_, now| besides(&mut way, now, 50, clients));
        let grows = host.now.at;
        host.pass(120, |_, now| besides(&mut way, now, 4_000, clients));
        let said = [(Class::Forged, Stage::Opened, 1), (Class::Forged, Stage::Grew(10), 1)];
        assert_eq!(host.said(), said, "besides {clients}");
        assert!(host.alerts[1].at <= grows + TICK * 10, "{:?}", host.alerts[1]);
    }
}

#[test]
fn what_clients_do_besides_is_no_part_of_what_no_handshake_followed() {
    let mut host = Host::new();
    let mut way = VecDeque::from([0; 3]);
    host.pass(60, |_, now| besides(&mut way, now, 0, 100));
    host.pass(60, |_, now| besides(&mut way, now, 300, 100));
    assert_eq!((host.alerts[0].stage, host.alerts[0].count), (Stage::Opened, 3_000));
}

#[test]
fn a_relay_that_accepts_nothing_for_a_moment_is_no_forger() {
    for pause in [5_u32, 12, 25] {
        let mut host = Host::new();
        let mut told = Told::default();
        let mut waiting = 0;
        // It is stopped, or starts anew: it tells nothing, and what waited in the kernel comes at once.
        host.pass(120, |tick, now| {
            now.admitted += 20;
            waiting += 20;
            let is_away = (700..700 + pause).contains(&tick);
            if !is_away {
                told.completed += std::mem::take(&mut waiting);
            }
            now.told = (!is_away).then_some(told);
        });
        assert_eq!(host.said(), [], "away for {pause} tenths");
    }
}

#[test]
fn a_flood_from_many_places_is_told_as_one_within_a_second() {
    for (each, most) in [(4_u64, 10), (60, 4)] {
        let worst = slowest(Class::Sources, |tick, now| {
            let within = |window: u32| Some(u64::from(tick.min(window)) * each);
            now.sources = [10, 100, 600, 9_000].map(within);
        });
        assert!(worst <= most, "{each} counted sources a tick: {worst} tenths");
    }
}

#[test]
fn attempts_that_no_handshake_follows_are_forged() {
    let mut host = Host::new();
    host.pass(60, |_, now| now.admitted += 6);
    assert_eq!(host.said(), [(Class::Forged, Stage::Opened, 10)]);
    let mut host = Host::new();
    let mut way = VecDeque::from([0; 5]);
    // Half a second on the way, and a load that begins at once.
    host.pass(120, |_, now| {
        now.admitted += 200;
        way.push_back(200);
        let arrived = way.pop_front().expect("five are on the way");
        now.told.as_mut().expect("a relay tells").completed += arrived;
    });
    assert_eq!(host.said(), []);
    let mut host = Host::new();
    host.now.told = None;
    host.pass(60, |_, now| now.admitted += 6);
    assert_eq!(host.said(), [], "nobody tells of handshakes");
}

#[test]
fn failed_logins_a_bypass_and_a_gate_that_is_missing_are_told_and_their_end() {
    let mut host = Host::new();
    host.pass(60, |_, _| {});
    host.told().failed_logins += 1;
    host.now.bypassed += 1;
    host.pass(1, |_, _| {});
    host.pass(5, |_, now| now.missing += 1);
    host.pass(40, |_, _| {});
    for _ in 0..100 {
        host.told().failed_logins += 1;
        host.pass(1, |_, now| now.told.as_mut().expect("a relay tells").failed_logins += 1);
    }
    host.pass(60, |_, _| {});
    let said = [
        (Class::Bypass, Stage::Opened, 1),
        (Class::Missing, Stage::Opened, 1),
        (Class::Bypass, Stage::Closed, 1),
        (Class::Missing, Stage::Closed, 1),
        (Class::Logins, Stage::Opened, 1),
        (Class::Logins, Stage::Closed, 1),
    ];
    assert_eq!(host.said(), said);
}

#[test]
fn an_entry_far_above_its_own_profile_is_told_by_its_network() {
    let mut host = Host::new();
    let usual = |tick: u32, now: &mut Sample| {
        if tick.is_multiple_of(10) {
            now.completed = vec![(net(1), 1), (net(2), 9)];
        }
    };
    host.pass(2 * 3_600, usual);
    host.pass(10, |tick, now| {
        usual(tick, now);
        now.completed.push((net(1), 4));
    });
    assert_eq!(host.said(), [(Class::Entry, Stage::Opened, 1)]);
    assert_eq!(host.alerts[0].net, Some(net(1)), "the other one always does as much");
    let open: Vec<Alert> = host.watch.open().collect();
    assert_eq!((open.len(), open[0].class, open[0].net), (1, Class::Entry, Some(net(1))));
}

#[test]
fn a_network_is_told_above_the_noise_of_all_and_not_besides_a_flood() {
    let noise = |_: u32, now: &mut Sample| {
        now.refused += 100;
        now.loud = Some(vec![(net(9), 12)]);
    };
    let mut host = Host { watch: accustomed(1_000.0), ..Host::new() };
    host.pass(1_000, noise);
    assert_eq!(host.said(), []);
    host.pass(5, |tick, now| {
        noise(tick, now);
        now.loud = Some(vec![(net(1), 1_200), (net(9), 12)]);
    });
    assert_eq!(host.said(), [(Class::Prefix, Stage::Opened, 60)]);
    assert_eq!(host.alerts[0].net, Some(net(1)));
    host.pass(60, noise);
    assert_eq!(host.said()[1..], [(Class::Prefix, Stage::Closed, 60)]);
    host.alerts.clear();
    let flood = |tick: u32, now: &mut Sample| {
        noise(tick, now);
        now.refused += 5_000;
        now.loud = Some(vec![(net(3), 90_000)]);
    };
    host.pass(30, flood).pass(90, noise);
    let said = [(Class::Refused, Stage::Opened, 1), (Class::Refused, Stage::Closed, 1)];
    assert_eq!(host.said(), said, "one flood, one alert");
}
