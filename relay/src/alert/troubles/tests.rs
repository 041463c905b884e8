use super::pace::{CLASS_MAX, CLASS_MORE, LOUD, NAME_MAX};
use super::*;
use crate::event::alert::Severity;
use crate::event::wording::{Wording, closed, noted, opened};

const HOUR: u64 = 3600;

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::try_from(second).unwrap()).unwrap()
}

/// Troubles, and whether everything is silenced.
struct Desk {
    troubles: Troubles,
    is_silenced: bool,
}

impl Desk {
    fn new() -> Self {
        Self { troubles: Troubles::default(), is_silenced: false }
    }

    fn hear(&mut self, wording: Wording, second: u64) -> Option<Alert> {
        let silenced = self.is_silenced;
        let terms =
            Terms { remind: Some(Duration::from_secs(4 * HOUR)), is_silenced: &|_| silenced };
        self.troubles.hear(wording.at(at(second)), Origin::Relay, &terms, at(second))
    }

    fn tick(&mut self, second: u64) -> Vec<Alert> {
        let silenced = self.is_silenced;
        let terms =
            Terms { remind: Some(Duration::from_secs(4 * HOUR)), is_silenced: &|_| silenced };
        self.troubles.tick(&terms, at(second))
    }
}

fn down() -> Wording {
    opened("host-down", "it is down").warns().about("r/h")
}

fn up() -> Wording {
    closed("host-down", "it is up").warns().about("r/h")
}

#[test]
fn a_trouble_is_told_once_reminded_and_closed_with_its_beginning() {
    let mut desk = Desk::new();
    assert!(desk.hear(up(), 0).is_none(), "an end of nothing");
    assert!(desk.hear(down(), 1).is_some());
    assert!(desk.hear(down(), 2).is_none());
    assert!(desk.tick(3 * HOUR).is_empty());
    let reminder = &desk.tick(4 * HOUR + 1)[0];
    assert_eq!((reminder.at, reminder.since), (at(4 * HOUR + 1), at(1)));
    assert_eq!(reminder.details["reminder"], "1");
    assert!(desk.tick(4 * HOUR + 2).is_empty());
    let end = desk.hear(up(), 5 * HOUR).unwrap();
    assert_eq!((end.stage, end.since), (Stage::Closed, at(1)));
    assert!(desk.hear(up(), 5 * HOUR).is_none());
    assert_eq!(desk.troubles.open().count(), 0);
}

#[test]
fn growth_and_a_worse_severity_are_news() {
    let mut desk = Desk::new();
    let spike = || opened("spike-refused", "many").warns();
    assert!(desk.hear(spike(), 0).is_some());
    assert!(desk.hear(spike().stands(Stage::Grew(2)), 1).is_some());
    assert!(desk.hear(spike().stands(Stage::Grew(2)), 2).is_none());
    let grown = desk.hear(spike().stands(Stage::Grew(10)), 3).unwrap();
    assert_eq!((grown.stage, grown.since), (Stage::Grew(10), at(0)));
    assert_eq!(grown.former_severity, None, "a warning still");
    let worse = desk.hear(opened("spike-refused", "worse"), 4).unwrap();
    assert_eq!(worse.former_severity, Some(Severity::Warning));
    let reminder = &desk.tick(4 * HOUR + 5)[0];
    assert_eq!((reminder.severity, reminder.former_severity), (Severity::Critical, None));
    let end = desk.hear(closed("spike-refused", "over"), 5 * HOUR).unwrap();
    assert_eq!(end.since, at(0));
}

#[test]
fn what_grew_before_anybody_was_told_was_no_warning() {
    let mut desk = Desk::new();
    desk.is_silenced = true;
    assert!(desk.hear(down(), 0).is_none());
    desk.is_silenced = false;
    let grown = desk.hear(opened("host-down", "for good").about("r/h"), 1).unwrap();
    assert_eq!((grown.severity, grown.former_severity), (Severity::Critical, None));
}

#[test]
fn the_end_of_what_grew_unheard_is_told_to_those_who_heard_of_its_beginning() {
    let mut desk = Desk::new();
    assert!(desk.hear(down(), 0).is_some());
    desk.is_silenced = true;
    assert!(desk.hear(down().stands(Stage::Grew(2)), 1).is_none());
    assert!(desk.hear(up(), 2).is_some());
}

#[test]
fn what_comes_and_goes_is_held_down_and_told_when_it_stays() {
    let mut desk = Desk::new();
    let mut told = 0;
    for round in 0..100 {
        told += usize::from(desk.hear(down(), round * 10).is_some());
        told += usize::from(desk.hear(up(), round * 10 + 5).is_some());
    }
    assert_eq!(told, 2 * NAME_MAX, "each that was told has its end");
    assert!(desk.hear(down(), 1001).is_none());
    assert!(desk.tick(1100).is_empty());
    // The first of the six leaves the hour.
    assert_eq!(desk.tick(HOUR + 1).len(), 1);
}

#[test]
fn a_critical_trouble_that_came_and_went_is_told_once_more_when_it_stays() {
    let mut desk = Desk::new();
    let down = || opened("gate-missing", "it is missing").about("eth0");
    let up = || closed("gate-missing", "it stands").about("eth0");
    for round in 0..20 {
        let told = desk.hear(down(), round * 10).is_some();
        assert_eq!(told, round < NAME_MAX as u64, "{round}");
        desk.hear(up(), round * 10 + 5);
    }
    assert!(desk.hear(down(), 200).is_none());
    assert!(desk.tick(259).is_empty(), "it may go again");
    let [late] = &desk.tick(260)[..] else { panic!("it is told") };
    assert_eq!((late.stage, late.since), (Stage::Opened, at(200)));
    assert!(desk.hear(up(), 300).is_some(), "its end too");
    assert!(desk.hear(down(), 310).is_none());
    assert!(desk.tick(259 + LOUD.as_secs()).is_empty(), "once in ten minutes");
    assert_eq!(desk.tick(260 + LOUD.as_secs()).len(), 1);
}

/// Spends what the spike may be told in an hour on small ones.
fn spent() -> Desk {
    let mut desk = Desk::new();
    for round in 0..NAME_MAX as u64 {
        assert!(desk.hear(small(), round * 10).is_some(), "{round}");
        let end = desk.hear(over(), round * 10 + 5).unwrap();
        assert_eq!(end.severity, Severity::Warning);
    }
    assert!(desk.hear(small(), 100).is_none(), "it comes and goes");
    desk
}

fn small() -> Wording {
    opened("spike-forged", "some").warns()
}

fn large() -> Wording {
    opened("spike-forged", "many").stands(Stage::Grew(10))
}

fn over() -> Wording {
    closed("spike-forged", "over")
}

#[test]
fn what_becomes_critical_is_told_at_once_however_often_less_was_told() {
    let mut desk = spent();
    let grown = desk.hear(large(), 101).expect("it is told");
    assert_eq!((grown.severity, grown.former_severity), (Severity::Critical, None));
    assert_eq!(grown.since, at(100), "nobody heard of it before");
    assert_eq!(desk.hear(over(), 110).unwrap().severity, Severity::Critical);
}

#[test]
fn what_was_told_as_a_warning_and_grew_unheard_ends_as_a_warning() {
    let mut desk = spent();
    assert!(desk.hear(large(), 101).is_some(), "the one of ten minutes");
    assert!(desk.hear(over(), 102).is_some());
    let hour = HOUR + 1;
    let told = desk.hear(small(), hour).unwrap();
    assert_eq!(told.severity, Severity::Warning, "the first of the six has left the hour");
    desk.is_silenced = true;
    assert!(desk.hear(large(), hour + 1).is_none());
    assert_eq!(desk.hear(over(), hour + 2).unwrap().severity, Severity::Warning);
}

#[test]
fn who_alternates_is_told_beyond_the_budget_once_in_ten_minutes() {
    let mut desk = spent();
    let mut told = Vec::new();
    for second in (101..HOUR).step_by(4) {
        told.extend(desk.hear(small(), second).map(|_| second));
        told.extend(desk.hear(large(), second + 1).map(|_| second + 1));
        desk.hear(over(), second + 2);
    }
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(told.windows(2).all(|two| two[1] - two[0] >= LOUD.as_secs()), "{told:?}");
}

#[test]
fn what_a_relay_before_kept_of_who_knows_is_understood() {
    let mut desk = Desk::new();
    desk.hear(down(), 0);
    let mut kept = serde_json::to_value(&desk.troubles).unwrap();
    let again: Troubles = serde_json::from_value(kept.clone()).unwrap();
    assert_eq!(again.open["host-down/r/h"].known, Some(Severity::Warning));
    let trouble = kept["open"]["host-down/r/h"].as_object_mut().unwrap();
    trouble.remove("known");
    trouble.insert("is-known".to_owned(), true.into());
    desk.troubles = serde_json::from_value(kept).unwrap();
    assert_eq!(desk.hear(up(), 1).unwrap().severity, Severity::Warning);
}

#[test]
fn what_happened_is_told_again_with_other_words_or_after_a_while() {
    let mut desk = Desk::new();
    let note = |words: &str| noted("login-failed", words).about("192.0.2.1");
    assert!(desk.hear(note("a"), 0).is_some());
    assert!(desk.hear(note("a"), 10).is_none());
    assert!(desk.hear(note("a"), 20).is_none());
    let other = desk.hear(note("b"), 30).unwrap();
    assert_eq!(other.details["not-told-before"], "2");
    assert!(desk.hear(note("b"), 31).is_none());
    assert!(desk.hear(note("b"), 4 * HOUR + 31).is_some());
}

#[test]
fn a_class_and_what_is_known_are_bounded() {
    let mut desk = Desk::new();
    let many = (0..2 * KNOWN_MAX as u64).filter(|number| {
        desk.hear(noted("client-banned", "x").about(number.to_string()), 1).is_some()
    });
    assert_eq!(many.count(), CLASS_MAX);
    assert_eq!(desk.troubles.notes.len(), KNOWN_MAX);
    let many = (0..2 * KNOWN_MAX as u64).filter(|number| {
        desk.hear(opened("host-down", "x").about(number.to_string()), 1).is_some()
    });
    assert_eq!(many.count(), CLASS_MAX + CLASS_MORE, "all of them are critical");
    assert_eq!(desk.troubles.take_overflow(), KNOWN_MAX as u64);
    assert_eq!(desk.troubles.take_overflow(), 0);
    assert_eq!(desk.troubles.recent().count(), RECENT_MAX);
    desk.tick(2 * 86_400);
    assert!(desk.hear(noted("client-banned", "x").about("new"), 2 * 86_400).is_some());
}

#[test]
fn no_class_mutes_another_one() {
    let mut desk = Desk::new();
    assert!(desk.hear(noted("spool-damaged", "x").about("7"), 0).is_some());
    for number in 0..2 * KNOWN_MAX {
        desk.hear(noted("login-failed", "x").about(number.to_string()), 1);
    }
    assert!(desk.hear(noted("gate-bypass", "x").about("eth0"), 2).is_some());
    assert!(desk.hear(noted("spool-damaged", "x").about("7"), 3).is_none(), "it was told");
    assert_eq!(desk.troubles.take_overflow(), 0);
}

#[test]
fn a_reminder_tells_what_was_said_last() {
    let mut desk = Desk::new();
    let spike = |now: u32| opened("spike-refused", format!("{now}")).with("now", now).warns();
    assert!(desk.hear(spike(100), 0).is_some());
    assert!(desk.hear(spike(200).stands(Stage::Grew(2)), 1).is_some());
    assert!(desk.hear(spike(150), 2).is_none());
    let reminder = &desk.tick(4 * HOUR + 1)[0];
    assert_eq!((reminder.summary.as_str(), reminder.details["now"].as_str()), ("150", "150"));
    assert_eq!((reminder.stage, reminder.since), (Stage::Grew(2), at(0)));
}

#[test]
fn a_silence_holds_back_an_opening_until_it_ends_and_never_an_end() {
    let mut desk = Desk::new();
    assert!(desk.hear(down(), 0).is_some());
    desk.is_silenced = true;
    assert!(desk.tick(5 * HOUR).is_empty(), "no reminder either");
    assert!(desk.hear(up(), 5 * HOUR).is_some());
    assert!(desk.hear(down(), 5 * HOUR + 1).is_none());
    assert!(desk.hear(up(), 5 * HOUR + 2).is_none(), "nobody heard that it began");
    assert!(desk.hear(down(), 5 * HOUR + 3).is_none());
    desk.is_silenced = false;
    let late = &desk.tick(6 * HOUR)[0];
    assert_eq!((late.stage, late.since), (Stage::Opened, at(5 * HOUR + 3)));
}

#[test]
fn after_a_start_a_trouble_is_over_unless_it_is_said_again() {
    let mut desk = Desk::new();
    desk.hear(down(), 0);
    desk.hear(opened("spool-full", "full"), 0);
    desk.troubles.restarted(Origin::Gate, at(1));
    assert!(desk.tick(GRACE.as_secs() + 2).is_empty(), "the other process");
    desk.troubles.restarted(Origin::Relay, at(1000));
    assert!(desk.hear(down(), 1010).is_none(), "it goes on");
    let over = desk.tick(1000 + GRACE.as_secs());
    assert_eq!(over.iter().map(Alert::key).collect::<Vec<_>>(), ["spool-full"]);
    assert_eq!(over[0].stage, Stage::Closed);
    assert_eq!(desk.troubles.open().count(), 1);
}

#[test]
fn what_begins_anew_after_a_start_grows_anew() {
    let mut desk = Desk::new();
    let spike = |stage| opened("spike-refused", "many").warns().stands(stage);
    assert!(desk.hear(spike(Stage::Opened), 0).is_some());
    assert!(desk.hear(spike(Stage::Grew(10)), 1).is_some());
    desk.troubles.restarted(Origin::Relay, at(2));
    assert!(desk.hear(spike(Stage::Opened), 3).is_none(), "it is known");
    assert!(desk.hear(spike(Stage::Grew(10)), 4).is_some(), "ten times what it is since the start");
    let over = desk.hear(closed("spike-refused", "over"), 5).unwrap();
    assert_eq!(over.since, at(0));
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait_for_ever() {
    let mut desk = Desk::new();
    for round in 0..10 {
        desk.hear(down(), 100_000 + round);
        desk.hear(up(), 100_000 + round);
    }
    assert!(desk.hear(down(), 0).is_some());
}

proptest::proptest! {
    /// Whatever comes, each end that is told follows a beginning that was, and is as bad as what was told.
    #[test]
    fn ends_follow_beginnings(steps in proptest::collection::vec((0u8..5, 0u64..7200), 0..200)) {
        let mut desk = Desk::new();
        let (mut second, mut worst) = (0, None);
        for (what, wait) in steps {
            second += wait;
            let mut told = desk.tick(second);
            desk.is_silenced = what == 3;
            told.extend(match what {
                0 => desk.hear(up(), second),
                4 => desk.hear(down().of(Severity::Critical), second),
                _ => desk.hear(down(), second),
            });
            for alert in told {
                match alert.stage {
                    Stage::Closed => proptest::prop_assert_eq!(worst.take(), Some(alert.severity)),
                    Stage::Opened | Stage::Grew(_) | Stage::Noted => {
                        worst = worst.max(Some(alert.severity));
                    }
                }
            }
        }
    }
}
