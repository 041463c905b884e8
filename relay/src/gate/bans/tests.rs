use super::*;

const SECOND: u64 = 1_000_000_000;

fn net(network: &str) -> Net {
    crate::gate::net(network.parse().unwrap()).unwrap()
}

fn ban(network: &str, seconds: u64, uid: u32) -> Ban {
    let at = Timestamp::UNIX_EPOCH;
    Ban { net: net(network), until_ns: seconds * SECOND, note: None, uid, at, repeats: 0 }
}

#[test]
fn what_the_relay_may_ban_and_an_operator_too() {
    let protected = [net("192.0.2.1"), net("2001:db8::1"), net("203.0.113.0/28")];
    let day = 86_400;
    for (network, seconds, relay) in [
        ("198.51.100.7", 60, "added"),
        ("198.51.100.7/32", day, "added"),
        ("198.51.100.7", day + 1, "24 hours"),
        ("198.51.100.0/31", 60, "single addresses"),
        ("0.0.0.0/0", 60, "single addresses"),
        ("2001:db8:1::7", 60, "added"),
        ("2001:db8:1::/64", 60, "added"),
        ("2001:db8:1::/63", 60, "single addresses"),
        ("::/0", 60, "single addresses"),
        ("192.0.2.1", 60, "protected"),
        ("::ffff:192.0.2.1", 60, "protected"),
        ("2001:db8::/64", 60, "protected"),
        ("203.0.113.8", 60, "protected"),
        ("203.0.113.16", 60, "added"),
        ("127.0.0.53", 60, "protected"),
        ("::1", 60, "protected"),
    ] {
        let bans = Bans::default();
        let word = |weighed: Result<Did, Refusal>| match weighed {
            Ok(did) => format!("{did:?}").to_lowercase(),
            Err(refusal) => refusal.to_string(),
        };
        let ban = ban(network, seconds, 990);
        let answer = word(bans.weigh(&ban, Asker::Relay, &protected, 0));
        assert!(answer.contains(relay), "{network} for {seconds} s: {answer}");
        assert_eq!(bans.weigh(&ban, Asker::Operator, &protected, 0), Ok(Did::Added), "{network}");
    }
}

#[test]
fn the_relay_lengthens_bans_and_never_shortens_them() {
    let mut bans = Bans::default();
    bans.put(ban("198.51.100.7", 5_000, 0));
    let weigh = |seconds, asker| bans.weigh(&ban("198.51.100.7", seconds, 990), asker, &[], 0);
    assert_eq!(weigh(60, Asker::Relay), Ok(Did::Unchanged));
    assert_eq!(weigh(5_000, Asker::Relay), Ok(Did::Unchanged));
    assert_eq!(weigh(5_001, Asker::Relay), Ok(Did::Updated));
    assert_eq!(weigh(60, Asker::Operator), Ok(Did::Updated));
}

#[test]
fn the_relay_has_ten_thousand_bans_at_most_and_operators_more() {
    let mut bans = Bans::default();
    for number in 0..RELAY_ALIVE as u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
        bans.put(ban(&address.to_string(), 60, 990));
    }
    let next = ban("198.51.100.7", 60, 990);
    assert_eq!(bans.weigh(&next, Asker::Relay, &[], 0), Err(Refusal::TooMany));
    assert_eq!(bans.weigh(&Ban { uid: 0, ..next }, Asker::Operator, &[], 0), Ok(Did::Added));
    assert_eq!(bans.weigh(&ban("10.0.0.1", 61, 990), Asker::Relay, &[], 0), Ok(Did::Updated));
    assert_eq!(bans.expire(60 * SECOND).len(), RELAY_ALIVE);
    assert_eq!(bans.iter().len(), 0);
    let next = ban("198.51.100.7", 120, 990);
    assert_eq!(bans.weigh(&next, Asker::Relay, &[], 0), Ok(Did::Added));
}

#[test]
fn ten_a_second_and_ten_at_once() {
    let mut budget = Budget::default();
    let start = Duration::from_secs(100);
    assert_eq!((0..30).filter(|_| budget.take(1, start)).count(), 10);
    assert!(!budget.take(1, start + Duration::from_millis(99)));
    assert!(budget.take(1, start + Duration::from_millis(101)));
    let granted = (0..1_000u64)
        .filter(|tick| budget.take(1, start + Duration::from_millis(1_000 + tick * 10)))
        .count();
    assert!((105..=110).contains(&granted), "{granted} in ten seconds");
    assert!(!budget.take(11, start + Duration::from_secs(1_000)), "never more than ten at once");
}

#[test]
fn the_longest_of_the_covering_bans_counts() {
    let mut bans = Bans::default();
    bans.put(ban("198.51.100.0/24", 900, 0));
    bans.put(ban("198.51.100.7", 60, 990));
    let net = net("198.51.100.7");
    assert_eq!(bans.covering(net).map(|ban| ban.until_ns), Some(900 * SECOND));
    assert_eq!(bans.take(&net).map(|ban| ban.uid), Some(990));
    assert_eq!(bans.take(&net), None);
}

#[test]
fn each_ban_is_twice_as_long_until_a_week_passed_without_one() {
    let mut bans = Bans::default();
    let source = net("198.51.100.7");
    let mut now_ns = 1_000 * SECOND;
    for (times, minutes) in [(0, 15), (1, 30), (2, 60), (3, 120), (4, 240)] {
        let (repeats, length) = bans.next_time(&source, now_ns);
        assert_eq!((repeats, length), (times, Duration::from_secs(minutes * 60)));
        let until_ns = now_ns + u64::try_from(length.as_nanos()).unwrap();
        bans.put(Ban { until_ns, repeats, ..ban("198.51.100.7", 0, 990) });
        now_ns = until_ns;
        assert_eq!(bans.expire(now_ns).len(), 1);
    }
    let kept: Vec<Past> = bans.past().copied().collect();
    let restarted = Bans::new(Vec::new(), kept, now_ns);
    assert_eq!(restarted.next_time(&source, now_ns).0, 5, "a restart forgets nothing");
    let week_ns = u64::try_from(REMEMBERED.as_nanos()).unwrap();
    assert_eq!(bans.next_time(&source, now_ns + week_ns).0, 5);
    assert_eq!(bans.next_time(&source, now_ns + week_ns + 1), (0, FIRST));
    let other = net("198.51.100.8");
    assert_eq!(bans.next_time(&other, now_ns), (0, FIRST));
}

#[test]
fn doubling_ends_at_a_day_and_a_lifted_ban_is_not_remembered() {
    let mut bans = Bans::default();
    let source = net("198.51.100.7");
    bans.put(Ban { repeats: 40, ..ban("198.51.100.7", 60, 990) });
    assert_eq!(bans.next_time(&source, 0), (41, DOUBLED_MOST));
    bans.take(&source);
    assert_eq!(bans.next_time(&source, 0), (0, FIRST));
}

#[test]
fn of_too_many_past_bans_those_that_ended_first_are_forgotten() {
    let mut bans = Bans::default();
    for number in 0..=REMEMBERED_MAX as u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
        bans.put(ban(&address, 1 + u64::from(number), 990));
    }
    bans.expire((REMEMBERED_MAX as u64 + 10) * SECOND);
    assert_eq!(bans.past().len(), REMEMBERED_MAX);
    let now_ns = (REMEMBERED_MAX as u64 + 10) * SECOND;
    assert_eq!(bans.next_time(&net("10.0.0.0"), now_ns).0, 0);
    assert_eq!(bans.next_time(&net("10.0.0.1"), now_ns).0, 1);
}
