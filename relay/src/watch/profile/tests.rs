//! What is told of single networks, and what is not.

use super::*;

fn rules() -> Rules {
    Rules { floor: 20.0, deviations: 6.0, quiet: Duration::from_secs(30) }
}

fn net(number: u32) -> Net {
    Net::new(std::net::IpAddr::from(number.to_be_bytes()), 32).unwrap()
}

fn wall(at: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH + at
}

/// A network that completes so many connections in each tenth of a second.
struct Client {
    profiles: Profiles,
    ticks: u32,
    changes: Vec<Change>,
}

impl Client {
    fn new() -> Self {
        let profiles = Profiles::new(10, Newcomers::Learn);
        Self { profiles, ticks: 0, changes: Vec::new() }
    }

    /// `count` connections every `every` ticks.
    fn ticks(&mut self, ticks: u32, every: u32, count: u64) -> &mut Self {
        for tick in 0..ticks {
            self.ticks += 1;
            let came: &[_] = if tick % every == 0 { &[(net(1), count)] } else { &[] };
            let at = super::super::TICK * self.ticks;
            let changes = self.profiles.add(at, wall(at), came, rules());
            self.changes.extend(changes.into_iter().map(|(_, change)| change));
        }
        self
    }

    fn stages(&self) -> Vec<Stage> {
        self.changes.iter().map(|change| change.stage).collect()
    }
}

const HOUR_TICKS: u32 = 36_000;

#[test]
fn a_client_that_does_far_more_than_ever_is_told_and_the_end_of_it() {
    let mut client = Client::new();
    // One in two seconds, for two hours, then forty a second.
    client.ticks(2 * HOUR_TICKS, 20, 1);
    assert_eq!(client.stages(), []);
    client.ticks(600, 1, 4);
    assert_eq!(client.stages(), [Stage::Opened]);
    let opened = client.changes[0];
    assert!(opened.per_second > 20.0 && opened.usual < 2.0, "{opened:?}");
    client.ticks(2_000, 20, 1);
    assert_eq!(client.stages(), [Stage::Opened, Stage::Closed]);
    assert!((2_300..=2_600).contains(&client.changes[1].total), "{:?}", client.changes[1]);
}

#[test]
fn what_is_too_slow_for_a_second_shows_in_a_longer_window() {
    let mut client = Client::new();
    client.ticks(2 * HOUR_TICKS, 600, 1);
    // Four a second: far below the floor of a second, and above that of a minute.
    client.ticks(3_000, 5, 2);
    assert_eq!(client.stages(), [Stage::Opened]);
    assert!(client.changes[0].window > 0, "{:?}", client.changes[0]);
}

#[test]
fn a_busy_newcomer_is_usual_after_its_first_hour() {
    let mut client = Client::new();
    // A hundred a second from the first moment: below ten times the floor.
    client.ticks(2 * HOUR_TICKS, 1, 10);
    assert_eq!(client.stages(), []);
    client.ticks(100, 1, 40);
    assert_eq!(client.stages(), [Stage::Opened], "four times as much");
}

#[test]
fn a_ramp_within_an_hour_teaches_nothing() {
    let mut client = Client::new();
    client.ticks(2 * HOUR_TICKS, 10, 1);
    for step in 1..=30 {
        client.ticks(600, 1, step);
    }
    assert_eq!(
        client.stages().first(),
        Some(&Stage::Opened),
        "from 1 to 300 a second in half an hour"
    );
}

#[test]
fn what_was_usual_is_kept_and_the_memory_is_bounded() {
    let mut profiles = Profiles::new(10, Newcomers::Learn);
    for number in 0..100 {
        let at = Duration::from_secs(number);
        let number = u32::try_from(number).unwrap();
        assert!(profiles.add(at, wall(at), &[(net(number), 1)], rules()).is_empty());
        assert!(profiles.of.len() <= 10);
    }
    assert!(profiles.of.contains_key(&net(99)) && profiles.of.contains_key(&net(93)));
    let mut client = Client::new();
    client.ticks(2 * HOUR_TICKS, 1, 10);
    let known: Vec<_> = client.profiles.known().collect();
    assert_eq!(known.len(), 1);
    let mut again = Client::new();
    // Long after the boot, what was usual is still so.
    again.ticks = 100 * HOUR_TICKS;
    again.profiles.restore(known[0].0, known[0].1, known[0].2.clone());
    again.ticks(600, 1, 10);
    assert_eq!(again.stages(), []);
    again.ticks(100, 1, 40);
    assert_eq!(again.stages(), [Stage::Opened]);
    again.profiles.restore(net(2), [f32::NAN; 4], Vec::new());
    assert_eq!(again.profiles.of.len(), 1);
}

#[test]
fn a_newcomer_who_was_told_of_is_still_one_after_a_restart() {
    let mut client = Client::new();
    // Twice as much as a newcomer may do.
    client.ticks(100, 1, 40);
    assert_eq!(client.stages(), [Stage::Opened]);
    let (net, peaks, days) = client.profiles.known().next().unwrap();
    let mut again = Client::new();
    again.profiles.restore(net, peaks, days);
    // Five times the floor, and half of what it may do.
    again.ticks(600, 1, 10);
    assert_eq!(again.stages(), []);
    again.ticks(100, 1, 40);
    assert_eq!(again.stages(), [Stage::Opened]);
}

#[test]
fn strangers_are_measured_by_the_last_minute() {
    let mut profiles = Profiles::new(10, Newcomers::Stand);
    let mut stages = Vec::new();
    for second in 0..200 {
        let count = if second < 60 { 2_000 } else { 0 };
        let at = Duration::from_secs(second);
        let changes = profiles.set(at, wall(at), &[(net(1), count)], rules());
        stages.extend(changes.into_iter().map(|(_, change)| (second, change.stage)));
    }
    assert_eq!(stages, [(1, Stage::Opened), (89, Stage::Closed)]);
}

#[test]
fn what_a_client_does_on_three_days_is_usual_of_it_whether_it_goes_on_or_comes_back() {
    for busy_seconds in [86_400, 600] {
        let mut profiles = Profiles::new(10, Newcomers::Learn);
        let mut stages = Vec::new();
        for second in 0..6 * 86_400_u64 {
            // One in ten seconds; from the second day on forty a second, all day or for ten minutes of it.
            let (day, of_day) = (second / 86_400, second % 86_400);
            let count = match day {
                0 => u64::from(second % 10 == 0),
                _ if of_day < busy_seconds => 40,
                _ => u64::from(second % 10 == 0),
            };
            let at = Duration::from_secs(second);
            for (_, change) in profiles.add(at, wall(at), &[(net(1), count)], rules()) {
                stages.push((day, change.stage));
            }
        }
        let told = [(1, Stage::Opened), (4, Stage::Closed)];
        let each = [1, 2, 3].map(|day| [(day, Stage::Opened), (day, Stage::Closed)]).concat();
        let wanted = if busy_seconds == 600 { each } else { told.to_vec() };
        assert_eq!(stages, wanted, "{busy_seconds} s a day");
    }
}
