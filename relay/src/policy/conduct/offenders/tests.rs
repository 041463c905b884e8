//! Thresholds, windows, trust and bounds.

use proptest::prelude::*;

use super::*;

fn source(text: &str) -> Source {
    Source::of(text.parse().unwrap(), None)
}

fn host() -> Source {
    source("192.0.2.1")
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Fails `count` times over so many names, one failure each `every`; returns what the last deserves.
fn fail(
    offenders: &mut Offenders,
    count: u64,
    names: u64,
    begin: Instant,
    every: Duration,
) -> Option<Grounds> {
    let mut grounds = None;
    for number in 0..count {
        assert_eq!(grounds, None, "before failure {number}");
        let at = begin + every * u32::try_from(number).unwrap();
        grounds = offenders.failed(host(), &format!("name-{}", number % names), at);
    }
    grounds
}

#[test]
fn twenty_failures_over_five_names_in_ten_minutes_deserve_a_ban_and_less_does_not() {
    let banned = Some(Grounds::FailedLogins);
    for (what, count, names, every, wanted) in [
        ("as many as it takes, at once", 20, 5, seconds(0), banned),
        ("as many as it takes, as slowly as it takes", 20, 5, seconds(31), banned),
        ("more names than it takes", 20, 20, seconds(1), banned),
        ("one failure less", 19, 5, seconds(1), None),
        ("one name less", 100, 4, seconds(1), None),
        ("too slow", 100, 5, seconds(32), None),
        ("one name", 1000, 1, seconds(0), None),
    ] {
        let grounds = fail(&mut Offenders::default(), count, names, Instant::now(), every);
        assert_eq!(grounds, wanted, "{what}");
    }
}

#[test]
fn the_names_must_have_failed_in_the_same_ten_minutes() {
    let (begin, mut offenders) = (Instant::now(), Offenders::default());
    for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        offenders.failed(host(), name, begin + seconds(number as u64));
    }
    for count in 0..50 {
        let grounds = offenders.failed(host(), "e", begin + seconds(590 + count));
        // Name a failed 600 seconds ago when the twentieth failure comes, so it is too late.
        assert_eq!(grounds, None, "{count}");
    }
}

#[test]
fn a_login_within_a_day_prevents_the_ban_and_the_slow_down() {
    let begin = Instant::now();
    for (what, login_at, wanted) in [
        ("just before", 0, None),
        ("almost a day before", 86_399, None),
        ("a day before", 86_400, Some(Grounds::FailedLogins)),
    ] {
        let mut offenders = Offenders::default();
        offenders.succeeded(host(), begin);
        let at = begin + seconds(login_at);
        assert_eq!(fail(&mut offenders, 20, 5, at, seconds(0)), wanted, "{what}");
    }
    let mut offenders = Offenders::default();
    offenders.succeeded(host(), begin);
    for _ in 0..50 {
        assert_eq!(offenders.offended(host(), Offence::EarlyTalk, begin), None);
    }
    assert_eq!(offenders.slow_down(host(), begin), Duration::ZERO);
}

#[test]
fn a_login_in_the_middle_of_failures_prevents_the_ban() {
    let (begin, mut offenders) = (Instant::now(), Offenders::default());
    assert_eq!(fail(&mut offenders, 19, 5, begin, seconds(1)), None);
    offenders.succeeded(host(), begin + seconds(20));
    assert_eq!(offenders.failed(host(), "name-0", begin + seconds(21)), None);
}

#[test]
fn a_login_speaks_for_the_network_that_a_ban_would_hit() {
    let begin = Instant::now();
    let single = "2001:db8::1/128".parse().ok();
    let entry = Source::of("2001:db8::1".parse().unwrap(), single);
    let (around, beside) = (source("2001:db8::2"), source("2001:db8:0:1::1"));
    let mut offenders = Offenders::default();
    offenders.succeeded(entry, begin);
    for (who, trusted) in [(entry, true), (around, true), (beside, false)] {
        assert_eq!(offenders.is_trusted(who, begin), trusted, "{who:?}");
    }
    // But not the other way round: one entry of a /64 does not speak for another.
    let mut offenders = Offenders::default();
    offenders.succeeded(around, begin);
    assert!(!offenders.is_trusted(entry, begin));
}

#[test]
fn others_are_not_counted_and_a_settled_source_starts_over() {
    let (begin, mut offenders) = (Instant::now(), Offenders::default());
    let wanted = Some(Grounds::FailedLogins);
    assert_eq!(fail(&mut offenders, 20, 5, begin, seconds(0)), wanted);
    assert_eq!(offenders.failed(source("192.0.2.2"), "x", begin), None);
    let again = offenders.failed(host(), "x", begin);
    assert_eq!(again, wanted, "a ban that nobody asked for is deserved again");
    offenders.settled(host());
    assert_eq!(fail(&mut offenders, 20, 5, begin, seconds(0)), wanted);
}

#[test]
fn each_offence_doubles_the_wait_for_the_greeting_up_to_five_seconds_for_ten_minutes() {
    let (begin, mut offenders) = (Instant::now(), Offenders::default());
    assert_eq!(offenders.slow_down(host(), begin), Duration::ZERO);
    for wait in [500, 1000, 2000, 4000, 5000, 5000] {
        offenders.offended(host(), Offence::ForeignProtocol, begin);
        assert_eq!(offenders.slow_down(host(), begin), Duration::from_millis(wait));
    }
    assert_eq!(offenders.slow_down(source("192.0.2.2"), begin), Duration::ZERO);
    assert_eq!(offenders.slow_down(host(), begin + seconds(600)), seconds(5));
    assert_eq!(offenders.slow_down(host(), begin + seconds(601)), Duration::ZERO);
    assert_eq!(fail(&mut offenders, 19, 5, begin + seconds(601), seconds(0)), None);
    let slow_down = offenders.slow_down(host(), begin + seconds(601));
    assert_eq!(slow_down, Duration::ZERO, "a failed login makes its own pair wait");
}

#[test]
fn twenty_offences_in_ten_minutes_deserve_a_ban_that_says_which() {
    let (begin, mut offenders) = (Instant::now(), Offenders::default());
    for number in 0..19 {
        let kind = if number < 12 { Offence::ForeignProtocol } else { Offence::EarlyTalk };
        assert_eq!(offenders.offended(host(), kind, begin), None, "{number}");
    }
    assert_eq!(offenders.offended(host(), Offence::EarlyTalk, begin + seconds(601)), None);
    let mut grounds = None;
    for _ in 0..19 {
        assert_eq!(grounds, None);
        grounds = offenders.offended(host(), Offence::Injection, begin + seconds(602));
    }
    let said = grounds.map(|grounds| grounds.to_string());
    let wanted = "20 offences in 10 minutes: 1 early talk, 19 injection";
    assert_eq!(said.as_deref(), Some(wanted));
    let said = Grounds::FailedLogins.to_string();
    assert_eq!(said, "20 failed logins over 5 names in 10 minutes");
}

#[test]
fn a_flood_of_sources_forgets_the_oldest_and_no_login() {
    let (begin, mut offenders) = (Instant::now(), Offenders::default());
    offenders.succeeded(host(), begin);
    let number = |count: usize| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(count).unwrap());
        Source::of(address.into(), None)
    };
    for count in 0..=OFFENDERS {
        offenders.offended(number(count), Offence::EarlyTalk, begin + seconds(count as u64 / 1000));
    }
    assert_eq!(offenders.slow_down(number(0), begin + seconds(10)), Duration::ZERO);
    assert_ne!(offenders.slow_down(number(1), begin + seconds(10)), Duration::ZERO);
    assert!(offenders.is_trusted(host(), begin + seconds(10)));
}

proptest! {
    /// The model keeps everything and counts what lies in the ten minutes before each failure.
    #[test]
    fn a_ban_is_deserved_exactly_when_the_last_ten_minutes_say_so(
        failures in proptest::collection::vec((0..40_u64, 0..8_u8), 0..120),
    ) {
        let (begin, mut offenders) = (Instant::now(), Offenders::default());
        let (mut at, mut all) = (0, Vec::new());
        for (later, name) in failures {
            at += later;
            all.push((at, name));
            let recent: Vec<_> = all.iter().filter(|(when, _)| at - when <= 600).collect();
            let names: std::collections::BTreeSet<_> = recent.iter().map(|(_, name)| name).collect();
            let deserved = recent.len() >= 20 && names.len() >= 5;
            let grounds = offenders.failed(host(), &name.to_string(), begin + seconds(at));
            prop_assert_eq!(grounds.is_some(), deserved, "at {}", at);
            let record = offenders.offenders.get(host()).unwrap();
            prop_assert!(record.failures.len() <= 20 && record.names.len() <= 5);
        }
    }
}
