use std::time::Duration;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::model::tests::{sample, shown};
use super::super::model::{Key, Told};
use super::*;
use crate::alert::troubles::{Origin, Trouble};
use crate::cli::status;
use crate::event::wording::opened;

/// Returns the view as lines of text.
fn text(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(model, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width));
    let lines = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn flood() -> Model {
    let refused = [0, 2, 4, 900, 1800, 2600, 3400, 4801];
    shown(
        (0..)
            .zip(refused)
            .map(|(second, refused)| sample(second, 3 * second.unsigned_abs(), refused)),
    )
}

#[test]
fn the_view_is_as_stored() {
    let shown = text(&flood(), 80, 24);
    let stored = include_str!("flood.txt");
    assert_eq!(shown, stored, "the view is now:\n{shown}");
    let page = include_str!("../../../../../README.md");
    assert!(page.contains(stored), "the README shows another one");
}

#[test]
fn the_help_says_how_it_is_closed_and_how_to_quit() {
    let mut model = flood();
    model.press(Key::Char('?'));
    let shown = text(&model, 80, 24);
    assert!(
        shown.contains("any key closes it, q too") && shown.contains("q, Ctrl-C   quit"),
        "{shown}"
    );
    assert_eq!(model.press(Key::Char('q')), None);
    assert!(!text(&model, 80, 24).contains("any key closes it"));
}

#[test]
fn a_question_shows_the_command_that_it_is_about() {
    let mut model = flood();
    model.press(Key::Char('b'));
    let shown = text(&model, 80, 24);
    let command = "sallyport ban add 203.0.113.0/24 --ttl 1h --note 'from sallyport top'";
    assert!(shown.contains(command) && shown.contains("y does it"), "{shown}");
}

#[test]
fn what_people_were_told_comes_first_among_the_alerts() {
    let mut model = flood();
    let mut told = sample(9, 0, 0);
    let (at, later) = (told.at, told.at + Duration::from_secs(1));
    told.whole.alerts.push(opened("spool-full", "the spool is full").at(at));
    told.whole
        .alerts
        .push(opened("route-suspended", "its mail waits").about("smarthost").at(later));
    model.take(Told::Sample(Box::new(told)));
    let shown = text(&model, 160, 24);
    let [last, first, health] = [
        "route-suspended/smarthost: its mail waits",
        "spool-full: the spool is full",
        "open spikes: spike-refused",
    ]
    .map(|words| shown.find(words).unwrap_or_else(|| panic!("{words} in {shown}")));
    assert!(last < first && first < health, "{shown}");
    assert!(!shown.contains("peak 4801"), "{shown}");
}

#[test]
fn an_alert_that_may_be_over_says_so_before_its_summary() {
    let mut model = flood();
    let mut sample = sample(9, 0, 0);
    let alert = opened("spool-full", "the spool is full").at(sample.at);
    let known = Some(alert.severity);
    let unconfirmed = Some(Timestamp::UNIX_EPOCH);
    let (origin, told) = (Origin::Relay, known.map(|_| sample.at));
    let open = Trouble { alert, origin, told, known, reminders: 0, unconfirmed };
    sample.whole.alerts.push(status::told(open));
    model.take(Told::Sample(Box::new(sample)));
    let words = "spool-full, not heard of since the start at 1970-01-01T00:00:00Z, so it may be \
                 over: the spool is full";
    let shown = text(&model, 300, 24);
    assert!(shown.contains(words), "{shown}");
}

#[test]
fn little_room_is_told_finely() {
    for (bytes, words) in [(0, "0 MiB"), (399 << 20, "399 MiB"), (10 << 30, "10 GiB")] {
        assert_eq!(room(bytes), words);
    }
}

#[test]
fn routes_whose_mail_waits_are_shown_first_and_those_without_room_are_counted() {
    let model = flood();
    let at = |shown: &str, words: &str| {
        shown.find(words).unwrap_or_else(|| panic!("{words:?} in {shown}"))
    };
    let small = text(&model, 80, 24);
    let first = ["billing down", "newsletter suspended", "partner degraded", "2 more"];
    let places = first.map(|words| at(&small, words));
    assert!(places.is_sorted(), "{small}");
    assert!(!small.contains("smarthost"), "{small}");
    let large = text(&model, 80, 30);
    let all = ["partner degraded", "smarthost up; 1 of 4 connections, 48211 carried", "archive up"];
    assert!(all.map(|words| at(&large, words)).is_sorted() && !large.contains(" more"), "{large}");
}

#[test]
fn critical_alerts_are_shown_before_warnings_and_those_without_room_are_counted() {
    let mut model = flood();
    let mut told = sample(9, 0, 0);
    let at = told.at;
    told.whole.alerts.push(opened("spool-full", "the spool is full").at(at));
    for number in 0..9 {
        let warning = opened("route-held", "an operator suspended it").warns();
        told.whole
            .alerts
            .push(warning.about(format!("r{number}")).at(at + Duration::from_secs(number)));
    }
    model.take(Told::Sample(Box::new(told)));
    let shown = text(&model, 80, 24);
    let [critical, latest, rest] = ["spool-full: the spool is", "route-held/r8: an", "9 more"]
        .map(|words| shown.find(words).unwrap_or_else(|| panic!("{words:?} in {shown}")));
    assert!(critical < latest && latest < rest, "{shown}");
    assert!(!shown.contains("route-held/r0"), "{shown}");
}

#[test]
fn a_picture_that_nothing_follows_grows_old_and_a_new_one_is_new() {
    let mut model = Model::new("relay.example.net".into());
    assert!(!model.tick(sample(0, 0, 0).at), "nothing is shown yet");
    model.take(Told::Sample(Box::new(sample(0, 0, 0))));
    let ages = [(3, false, None), (4, true, Some(4)), (4, false, Some(4)), (9, true, Some(9))];
    for (second, is_news, age) in ages {
        assert_eq!((model.tick(sample(second, 0, 0).at), model.age_seconds), (is_news, age));
    }
    model.take(Told::Sample(Box::new(sample(10, 0, 0))));
    assert_eq!((model.tick(sample(10, 0, 0).at), model.age_seconds), (true, None));
}

#[test]
fn a_picture_that_is_old_says_so() {
    let mut model = flood();
    assert!(!text(&model, 80, 24).contains(" old"));
    model.tick(sample(12, 0, 0).at);
    let shown = text(&model, 80, 24);
    assert!(
        shown.starts_with("sallyport relay.example.net  degraded  2026-01-31T12:00:07Z  5 s old\n"),
        "{shown}"
    );
}

#[test]
fn a_dead_process_is_named_and_the_rest_is_shown() {
    let mut model = flood();
    let mut dead = sample(9, 0, 0);
    (dead.whole.relay, dead.whole.gate) = (None, None);
    model.take(Told::Sample(Box::new(dead)));
    let shown = text(&model, 80, 24);
    for words in ["gate    does not answer", "the relay does not answer", "degraded"] {
        assert!(shown.contains(words), "{shown}");
    }
}

#[test]
fn what_a_stranger_wrote_moves_no_cursor() {
    let mut model = flood();
    model.take(Told::Done("one\u{1b}[2Jtwo\nthree".into()));
    let shown = text(&model, 80, 24);
    assert!(shown.contains("one?[2Jtwo") && shown.contains("three"), "{shown}");
}

#[test]
fn no_size_of_a_terminal_breaks_it() {
    let mut model = flood();
    model.press(Key::Char('?'));
    for (width, height) in (1..140).step_by(7).flat_map(|w| (1..60).step_by(5).map(move |h| (w, h)))
    {
        let shown = text(&model, width, height);
        assert_eq!(shown.lines().count(), usize::from(height));
    }
}
