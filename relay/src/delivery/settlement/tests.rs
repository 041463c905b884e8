use super::*;
use crate::mail::envelope::{Body, Terms, Wish};
use crate::smtp::address::ReversePath;
use crate::smtp::parameter::Notify;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn judged(recipient: &str, ruling: Ruling, code: Option<Enhanced>) -> Judged {
    Judged {
        recipient: recipient.parse().unwrap(),
        ruling,
        status: code,
        why: Diagnostic::Smtp("the reply".into()),
        relayed: Relayed::WithoutDsn,
    }
}

fn after(age: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(age).unwrap()
}

/// A message of a client to the recipients of `judged`, with these terms.
fn envelope(terms: Terms, judged: &[Judged]) -> Envelope {
    Envelope {
        sender: ReversePath::Mailbox("s@example.net".parse().unwrap()),
        recipients: judged.iter().map(|judged| judged.recipient.clone()).collect(),
        body: Body::SevenBit,
        login: Some("billing".into()),
        tag: None,
        source: None,
        received_at: Timestamp::UNIX_EPOCH,
        terms,
        came: None,
        trace: None,
    }
}

/// Settles an attempt that ended at this age of the message; `told` is the age at which the sender
/// heard that its recipients wait.
fn settle(age: Duration, told: Option<Duration>, terms: Terms, judged: Vec<Judged>) -> Settlement {
    settle_held(age, told, terms, judged, None)
}

/// As [`settle`], where the next hop asked for a pause, or the route is held.
fn settle_held(
    age: Duration,
    told: Option<Duration>,
    terms: Terms,
    judged: Vec<Judged>,
    hold: Option<Duration>,
) -> Settlement {
    let retry = Retry { after: vec![HOUR], expire: 5 * DAY, delay_report: 4 * HOUR };
    let envelope = envelope(terms, &judged);
    let facts = Facts {
        id: MessageId(1),
        envelope: &envelope,
        told: &vec![told.map(after); judged.len()],
        retry: &retry,
        attempts: 0,
        since: Timestamp::UNIX_EPOCH,
        now: after(age),
        jitter: u32::MAX / 2,
    };
    let leg = Leg {
        route: "smarthost".into(),
        remote: Some("mx.example.net".into()),
        next_hop: "mx.example.net:587".into(),
        judged,
        hold,
    };
    Settlement::of(facts, vec![leg])
}

/// What became of each recipient: `d`elivered, `w`aits, is `p`ostponed, `f`ailed or `c`aptured, and the status that is told.
fn shown(settlement: &Settlement) -> Vec<String> {
    let show = |row: &Row| {
        let fate = match row.outcome.fate {
            Fate::Delivered => "d",
            Fate::Deferred(_) | Fate::Paused(_) => "w",
            Fate::Postponed(_) => "p",
            Fate::Failed => "f",
            Fate::Captured => "c",
        };
        let told = row
            .notice
            .as_ref()
            .map(|Notice { status: Enhanced(a, b, c), .. }| format!(" {a}.{b}.{c}"));
        format!("{fate}{}", told.unwrap_or_default())
    };
    settlement.rows.iter().map(show).collect()
}

fn by(at: Duration, mode: ByMode) -> Terms {
    let deadline = Deadline { at: after(at), mode, trace: false };
    Terms { deadline: Some(deadline), ..Terms::default() }
}

#[test]
fn every_ruling_has_its_fate_by_age() {
    let of = |age| {
        settle(
            age,
            Some(HOUR),
            Terms::default(),
            vec![
                judged("a@example.com", Ruling::Delivered, Some(Enhanced(2, 0, 0))),
                judged("b@example.com", Ruling::Deferred, Some(Enhanced(4, 2, 2))),
                judged("c@example.com", Ruling::Elsewhere, None),
                judged("d@example.com", Ruling::Held, Some(Enhanced(5, 7, 8))),
                judged("e@example.com", Ruling::Failed, Some(Enhanced(5, 1, 1))),
                judged("f@example.com", Ruling::Failed, None),
                judged("g@example.com", Ruling::Captured, None),
            ],
        )
    };
    assert_eq!(shown(&of(DAY)), ["d", "w", "w", "w", "f 5.1.1", "f 5.0.0", "c"]);
    assert_eq!(shown(&of(5 * DAY)), ["d", "f 5.4.7", "f 5.4.7", "w", "f 5.1.1", "f 5.0.0", "c"]);
}

#[test]
fn the_sender_hears_once_that_a_recipient_waits() {
    let rows = [
        ("before its time", Duration::from_secs(4 * 3600 - 1), None, ["w", "w"]),
        ("at its time", 4 * HOUR, None, ["w 4.2.2", "w 4.0.0"]),
        ("told already", 6 * HOUR, Some(4 * HOUR), ["w", "w"]),
    ];
    for (row, age, told, expected) in rows {
        let judged = vec![
            judged("a@example.com", Ruling::Deferred, Some(Enhanced(4, 2, 2))),
            judged("b@example.com", Ruling::Held, Some(Enhanced(5, 7, 8))),
        ];
        let settlement = settle(age, told, Terms::default(), judged);
        assert_eq!(shown(&settlement), expected, "{row}");
        assert_eq!(settlement.told().len(), settlement.notices(Kind::Delayed).len(), "{row}");
    }
}

#[test]
fn a_report_of_delay_says_until_when_and_what_is_held_until_nothing() {
    let judged = vec![
        judged("a@example.com", Ruling::Deferred, None),
        judged("b@example.com", Ruling::Held, None),
    ];
    let settlement = settle(4 * HOUR, None, Terms::default(), judged);
    let news: Vec<_> = settlement.notices(Kind::Delayed).iter().map(|told| told.news).collect();
    assert_eq!(news, [News::Late(Some(after(5 * DAY))), News::Late(None)]);
}

#[test]
fn a_time_that_the_sender_set_is_kept() {
    use ByMode::{Notify, Return};
    let rows = [
        ("not over: nothing is said", HOUR, 2 * HOUR, Notify, None, "w"),
        ("over: he is told", 2 * HOUR, 2 * HOUR, Notify, None, "w 4.4.7"),
        ("told of it already", 3 * HOUR, 2 * HOUR, Notify, Some(2 * HOUR), "w"),
        ("told before that it waits", 6 * HOUR, 6 * HOUR, Notify, Some(4 * HOUR), "w 4.4.7"),
        ("to be returned, not over", HOUR, 2 * HOUR, Return, None, "w"),
        ("to be returned, over", 2 * HOUR, 2 * HOUR, Return, None, "f 5.4.7"),
    ];
    for (row, age, at, mode, told, expected) in rows {
        let judged = vec![judged("a@example.com", Ruling::Deferred, Some(Enhanced(4, 2, 2)))];
        assert_eq!(shown(&settle(age, told, by(at, mode), judged)), [expected], "{row}");
    }
}

#[test]
fn the_next_attempt_is_made_when_the_senders_time_is_over() {
    let rows = [("soon", Duration::from_secs(60), 60), ("past", Duration::ZERO, 3600)];
    for (row, left, expected) in rows {
        let judged = vec![judged("a@example.com", Ruling::Deferred, None)];
        let settlement = settle(HOUR, None, by(HOUR + left, ByMode::Notify), judged);
        let Fate::Deferred(wait) = settlement.rows[0].outcome.fate else { panic!("{row}") };
        let seconds = wait.saturating_add(Duration::from_millis(500)).as_secs();
        assert_eq!(seconds, expected, "{row}");
    }
}

#[test]
fn who_asked_for_success_hears_that_it_was_passed_on_unless_the_next_hop_reports() {
    let (yes, no) = (Relayed::WithoutDsn, Relayed::WithDsn);
    let on = |success| Some(Notify::On { success, failure: true, delay: true });
    let never = Some(Notify::Never);
    let rows = [
        ("asked", on(true), false, yes, "d 2.1.5"),
        ("asked, and the hop reports", on(true), false, no, "d"),
        ("not asked", on(false), false, yes, "d"),
        ("nothing said", None, false, yes, "d"),
        ("traced", None, true, yes, "d 2.1.5"),
        ("traced: every hop says so", None, true, no, "d 2.1.5"),
        ("traced, and never", never, true, yes, "d"),
    ];
    for (row, notify, trace, relayed, expected) in rows {
        let judged = judged("a@example.com", Ruling::Delivered, Some(Enhanced(2, 1, 5)));
        let judged = Judged { relayed, ..judged };
        let mut terms = by(DAY, ByMode::Notify);
        terms.deadline = terms.deadline.map(|deadline| Deadline { trace, ..deadline });
        terms.wishes = vec![Wish { recipient: judged.recipient.clone(), notify, original: None }];
        assert_eq!(shown(&settle(HOUR, None, terms, vec![judged])), [expected], "{row}");
    }
}

#[test]
fn never_means_never() {
    let recipient: Address = "a@example.com".parse().unwrap();
    let notify = Some(Notify::Never);
    for ruling in [Ruling::Failed, Ruling::Deferred, Ruling::Held, Ruling::Delivered] {
        for age in [HOUR, 4 * HOUR, 5 * DAY] {
            let wishes = vec![Wish { recipient: recipient.clone(), notify, original: None }];
            let terms = Terms { wishes, ..by(HOUR, ByMode::Notify) };
            let settlement = settle(age, None, terms, vec![judged("a@example.com", ruling, None)]);
            assert_eq!(settlement.rows[0].notice, None, "{ruling:?} {age:?}");
        }
    }
}

#[test]
fn without_its_report_nobody_is_given_up_and_deliveries_stay_delivered() {
    let on = Notify::On { success: true, failure: true, delay: true };
    let rows = vec![
        judged("a@example.com", Ruling::Delivered, None),
        judged("b@example.com", Ruling::Failed, None),
        judged("c@example.com", Ruling::Deferred, None),
    ];
    let wish = |judged: &Judged| Wish {
        recipient: judged.recipient.clone(),
        notify: Some(on),
        original: None,
    };
    let terms = Terms { wishes: rows.iter().map(wish).collect(), ..Terms::default() };
    let whole = settle(DAY, None, terms, rows);
    assert_eq!(shown(&whole), ["d 2.0.0", "f 5.0.0", "w 4.0.0"]);
    let minute = Duration::from_secs(60);
    let expected = [
        (Kind::Failed, ["d 2.0.0", "w", "w 4.0.0"]),
        (Kind::Delayed, ["d 2.0.0", "f 5.0.0", "w"]),
        (Kind::Relayed, ["d", "f 5.0.0", "w 4.0.0"]),
    ];
    for (kind, expected) in expected {
        let settlement = whole.clone().unreported(kind, minute);
        assert_eq!(shown(&settlement), expected, "{kind:?}");
        let owed = if kind == Kind::Relayed { &["a@example.com"][..] } else { &[] };
        let told = |notices: &[Notice]| -> Vec<String> {
            notices.iter().map(|notice| notice.recipient.to_string()).collect()
        };
        assert_eq!(told(settlement.owed()), owed, "{kind:?}");
        assert_eq!(told(&settlement.notices(kind)), owed, "{kind:?}");
        assert!(settlement.reported(kind).owed().is_empty(), "{kind:?}");
    }
    let owed = whole.unreported(Kind::Relayed, minute).owed().to_vec();
    let later = settle(DAY, None, Terms::default(), Vec::new()).owing(owed.clone());
    assert_eq!(later.notices(Kind::Relayed), owed, "it is told after the next attempt");
    assert_eq!((later.events(), later.clone().into_outcomes()), (Vec::new(), Vec::new()));
    assert_eq!(later.unreported(Kind::Relayed, minute).owed(), owed, "and the one after that");
}

#[test]
fn recipients_of_one_domain_with_one_fate_are_one_event() {
    let rows = vec![
        judged("a@example.com", Ruling::Delivered, None),
        judged("b@Example.com", Ruling::Delivered, None),
        judged("c@example.net", Ruling::Delivered, None),
        judged("d@example.com", Ruling::Failed, None),
    ];
    assert_eq!(settle(DAY, None, Terms::default(), rows).events().len(), 3);
}

#[test]
fn what_was_given_up_for_its_age_says_so_and_the_report_keeps_the_words_of_the_hop() {
    let failed = Some(Enhanced(4, 2, 2));
    let rows = [
        ("expired", 5 * DAY, Terms::default(), Ruling::Deferred, "given up after 5d: the reply"),
        (
            "the time of its sender",
            DAY,
            by(DAY, ByMode::Return),
            Ruling::Elsewhere,
            "given up at the time that its sender set: the reply",
        ),
        ("refused", 5 * DAY, Terms::default(), Ruling::Failed, "the reply"),
        ("it waits", DAY, Terms::default(), Ruling::Deferred, "the reply"),
    ];
    for (row, age, terms, ruling, expected) in rows {
        let settlement =
            settle(age, Some(HOUR), terms, vec![judged("a@example.com", ruling, failed)]);
        let reasons: Vec<_> = settlement
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Failed { reason, .. } | Event::Deferred { reason, .. } => Some(reason),
                _ => None,
            })
            .collect();
        assert_eq!(reasons, [expected], "{row}");
        let told: Vec<_> = settlement.results().map(|(_, outcome)| &outcome.reply).collect();
        assert_eq!(told, [expected], "{row}");
        for notice in settlement.notices(Kind::Failed) {
            assert_eq!(notice.diagnostic.text(), "the reply", "{row}");
        }
        let again = settlement.unreported(Kind::Failed, HOUR).into_outcomes();
        assert_eq!(again[0].reply, "the reply", "{row}: it is tried again");
    }
}

#[test]
fn a_pause_takes_the_place_of_the_schedule_and_does_not_outlive_the_message() {
    let pause = Duration::from_secs(7);
    let of = |age, ruling, terms| {
        let judged = vec![judged("a@example.com", ruling, None)];
        let settlement = settle_held(age, Some(HOUR), terms, judged, Some(pause));
        settlement.rows[0].outcome.fate.clone()
    };
    for ruling in [Ruling::Deferred, Ruling::Elsewhere] {
        assert_eq!(of(DAY, ruling, Terms::default()), Fate::Paused(pause));
        assert_eq!(of(5 * DAY, ruling, Terms::default()), Fate::Failed, "it has expired");
    }
    for age in [HOUR, 5 * DAY] {
        assert_eq!(
            of(age, Ruling::Held, Terms::default()),
            Fate::Paused(pause),
            "and it never expires"
        );
    }
    let postponed = |age| of(age, Ruling::Postponed, Terms::default());
    assert_eq!((postponed(DAY), postponed(5 * DAY)), (Fate::Postponed(pause), Fate::Failed));
    let second = Duration::from_secs(1);
    let terms = by(DAY + second, ByMode::Return);
    assert_eq!(of(DAY, Ruling::Deferred, terms), Fate::Paused(second), "its time is over then");
}
