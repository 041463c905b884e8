use proptest::prelude::*;

use super::*;

use crate::mail::outcome::Relayed;
use crate::mail::report::Diagnostic;

const SECOND: Duration = Duration::from_secs(1);

fn traffic(hosts: &[(u32, u32)], most: u32) -> (Traffic, Instant) {
    let now = Instant::now();
    (Traffic::new(hosts.iter().copied(), most, None, now), now)
}

fn go(traffic: &mut Traffic, now: Instant, errand: &mut Errand) -> Place {
    match traffic.choose(now, 0, errand) {
        Choice::Go(place) => place,
        other => panic!("{other:?}"),
    }
}

/// Sends a new message and enters what came of it; returns the host and the verdict.
fn send(traffic: &mut Traffic, now: Instant, outcome: &Outcome) -> (usize, Verdict) {
    let mut place = go(traffic, now, &mut Errand::default());
    let verdict = traffic.learn(&mut place, outcome, now);
    traffic.release(&place, now);
    (place.host(), verdict)
}

fn failed() -> Outcome {
    Outcome::Failed("refused".into())
}

#[test]
fn a_message_fails_over_at_once_and_mail_returns_when_the_try_went_well() {
    let (mut traffic, start) = traffic(&[(1, 1), (2, 1)], 10);
    let mut errand = Errand::default();
    let mut first = go(&mut traffic, start, &mut errand);
    let verdict = traffic.learn(&mut first, &failed(), start);
    assert_eq!((first.host(), verdict.change), (0, Some(Change::Down("refused".into()))));
    traffic.release(&first, start);
    errand.gave_up(&first);
    assert_eq!(go(&mut traffic, start, &mut errand).host(), 1, "the same message");
    assert_eq!(send(&mut traffic, start, &Outcome::Carried).0, 1, "others do not even ask");

    let due = start + super::super::pool::DOWN;
    let mut probe = go(&mut traffic, due, &mut Errand::default());
    assert_eq!(probe.host(), 0);
    assert_eq!(send(&mut traffic, due, &Outcome::Carried).0, 1, "one try at a time");
    let verdict = traffic.learn(&mut probe, &Outcome::Carried, due + SECOND);
    assert!(matches!(verdict.change, Some(Change::Up(_))), "{verdict:?}");
    assert_eq!(send(&mut traffic, due + SECOND, &Outcome::Carried).0, 0);
}

#[test]
fn who_inherits_knows_the_hosts_and_has_nothing_under_way() {
    let (mut before, start) = traffic(&[(1, 1), (2, 1)], 10);
    send(&mut before, start, &failed());
    send(&mut before, start, &Outcome::Throttled);
    let due = start + super::super::pool::DOWN;
    let probe = go(&mut before, due, &mut Errand::default());
    let mut after = before.inherited(due);
    let views: Vec<_> = after.views(due).collect();
    let known: Vec<_> = views.iter().map(|view| (view.in_use, view.limit)).collect();
    assert_eq!(known, [(0, 1), (0, 1)]);
    let counts = (views[0].counts.failed, views[1].counts.throttled);
    assert_eq!(counts, (1, 1));
    assert_eq!(
        go(&mut after, due, &mut Errand::default()).host(),
        probe.host(),
        "a try of its own"
    );
}

#[test]
fn while_a_lone_host_is_tried_the_others_wait_and_while_it_is_down_they_go_back() {
    let (mut traffic, start) = traffic(&[(1, 1)], 10);
    send(&mut traffic, start, &failed());
    let errand = || Errand::default();
    let nobody = Choice::Nobody(vec![(0, "refused".into())]);
    assert_eq!(traffic.choose(start, 0, &mut errand()), nobody);
    let due = start + super::super::pool::DOWN;
    let probe = go(&mut traffic, due, &mut errand());
    assert!(matches!(traffic.choose(due, 0, &mut errand()), Choice::Wait(_)));
    traffic.release(&probe, due);
    assert_eq!(go(&mut traffic, due, &mut errand()).host(), 0, "the try came to nothing");
}

#[test]
fn a_better_host_that_is_full_is_waited_for_and_its_group_helps_out() {
    let (mut traffic, now) = traffic(&[(1, 1), (1, 1), (2, 1)], 10);
    let mut errand = Errand::default();
    let mut places = Vec::new();
    while let Choice::Go(place) = traffic.choose(now, 0, &mut errand) {
        places.push(place);
    }
    let hosts: Vec<_> = places.iter().map(Place::host).collect();
    assert_eq!((hosts.len(), hosts.contains(&2)), (4, false), "two at each of the group");
    assert_eq!(traffic.choose(now, 0, &mut errand), Choice::Wait(now + PATIENCE));
    traffic.release(&places[0], now);
    assert_eq!(go(&mut traffic, now, &mut errand).host(), hosts[0]);
}

#[test]
fn a_better_host_that_stays_full_is_not_waited_for_for_ever() {
    let (mut traffic, start) = traffic(&[(1, 1), (2, 1), (2, 1)], 10);
    let places: Vec<_> =
        (0..2).map(|_| go(&mut traffic, start, &mut Errand::default()).host()).collect();
    assert_eq!(places, [0, 0], "and it hangs");
    let mut errand = Errand::default();
    let patience = start + PATIENCE;
    assert_eq!(traffic.choose(start, 0, &mut errand), Choice::Wait(patience));
    let meanwhile = start + PATIENCE / 2;
    assert_eq!(traffic.choose(meanwhile, 0, &mut errand), Choice::Wait(patience));
    let other = traffic.choose(meanwhile, 0, &mut Errand::default());
    assert_eq!(other, Choice::Wait(meanwhile + PATIENCE), "each has its own patience");
    assert_ne!(go(&mut traffic, patience, &mut errand).host(), 0, "another will do");
}

#[test]
fn who_waits_at_a_full_host_looks_again_when_another_is_due() {
    let (mut traffic, start) = traffic(&[(1, 1), (1, 1)], 10);
    let other = send(&mut traffic, start, &failed()).0;
    let first = send(&mut traffic, start, &Outcome::Carried).0;
    while let Choice::Go(place) = traffic.choose(start, 0, &mut Errand::default()) {
        assert_eq!(place.host(), first);
    }
    let due = start + super::super::pool::DOWN;
    assert_eq!(traffic.choose(start, 0, &mut Errand::default()), Choice::Wait(due));
    assert_eq!(go(&mut traffic, due, &mut Errand::default()).host(), other);
}

#[test]
fn a_host_that_asks_for_less_is_given_a_rest_while_others_work() {
    let (mut traffic, start) = traffic(&[(1, 1), (2, 1)], 10);
    let verdict = send(&mut traffic, start, &Outcome::Throttled);
    assert_eq!(verdict, (0, Verdict { change: None, pause: Some(SECOND) }));
    assert_eq!(send(&mut traffic, start, &Outcome::Carried).0, 1);
    let later = start + SECOND;
    assert_eq!(send(&mut traffic, later, &Outcome::Carried).0, 0, "it is not down");
}

#[test]
fn a_lone_host_that_asks_for_less_is_waited_for_in_memory_or_in_the_spool() {
    let (mut traffic, mut now) = traffic(&[(1, 1)], 10);
    let mut pause = Duration::ZERO;
    while pause <= PATIENCE {
        now += pause;
        pause = send(&mut traffic, now, &Outcome::Throttled).1.pause.unwrap();
        let choice = traffic.choose(now, 0, &mut Errand::default());
        if pause <= PATIENCE {
            assert_eq!(choice, Choice::Wait(now + pause));
        } else {
            let reason = "the next hop asked us to send less";
            assert_eq!(choice, Choice::Later(pause, reason));
        }
    }
    traffic.hurry(now);
    assert!(matches!(traffic.choose(now, 0, &mut Errand::default()), Choice::Go(_)));
}

#[test]
fn a_rate_gives_turns_and_a_message_needs_one_for_all_its_hosts() {
    let now = Instant::now();
    let rate = Rate { count: 2, per: Duration::from_secs(60) };
    let mut traffic = Traffic::new([(1, 1), (2, 1)], 10, Some(rate), now);
    let mut errand = Errand::default();
    let first = go(&mut traffic, now, &mut errand);
    errand.gave_up(&first);
    traffic.release(&first, now);
    let second = go(&mut traffic, now, &mut errand);
    assert_eq!((second.host(), second.begun()), (1, now));
    traffic.release(&second, now);
    for seconds in [30, 60] {
        let place = go(&mut traffic, now, &mut Errand::default());
        assert_eq!(place.begun(), now + seconds * SECOND);
        traffic.release(&place, now);
    }
    let choice = traffic.choose(now, 0, &mut Errand::default());
    assert_eq!(choice, Choice::Later(90 * SECOND, "the rate of the route is used up"));
}

#[test]
fn a_place_that_was_given_before_a_pause_is_no_good_during_it() {
    let now = Instant::now();
    let rate = Rate { count: 2, per: Duration::from_secs(60) };
    let mut traffic = Traffic::new([(1, 1)], 10, Some(rate), now);
    let mut first = go(&mut traffic, now, &mut Errand::default());
    let mut errand = Errand::default();
    let second = go(&mut traffic, now, &mut errand);
    assert!(traffic.is_good(&first, now) && traffic.is_good(&second, now));
    let pause = traffic.learn(&mut first, &Outcome::Throttled, now + 30 * SECOND).pause;
    let turn = second.begun();
    assert_eq!((pause, turn), (Some(SECOND), now + 30 * SECOND));
    assert!(!traffic.is_good(&second, turn));
    traffic.release(&second, turn);
    traffic.release(&first, turn);
    assert_eq!(traffic.choose(turn, 0, &mut errand), Choice::Wait(turn + SECOND));
    let again = go(&mut traffic, turn + SECOND, &mut errand);
    assert_eq!(again.begun(), turn + SECOND, "it keeps its turn");
    traffic.learn(&mut first, &failed(), turn + SECOND);
    assert!(!traffic.is_good(&again, turn + SECOND), "down");
}

#[test]
fn a_rate_has_a_turn_for_those_alone_who_would_leave_soon() {
    let now = Instant::now();
    let rate = Rate { count: 2, per: Duration::from_secs(60) };
    let mut traffic = Traffic::new([(1, 1)], 10, Some(rate), now);
    let room =
        |traffic: &Traffic, now| (0..9).take_while(|more| traffic.has_turn(now, *more)).count();
    assert_eq!(room(&traffic, now), 3, "at once, in 30 s and in 60 s");
    for turn in [now, now + 30 * SECOND] {
        assert_eq!(go(&mut traffic, now, &mut Errand::default()).begun(), turn);
    }
    assert!(traffic.has_turn(now, 2), "who has a place waits for no turn");
    assert!(!traffic.has_turn(now, 3));
    assert!(traffic.has_turn(now + 30 * SECOND, 3));
    let slow = Rate { count: 100, per: Duration::from_secs(3600) };
    let mut traffic = Traffic::new([(1, 1)], 10, Some(slow), now);
    for turn in [now, now + 36 * SECOND] {
        assert_eq!(go(&mut traffic, now, &mut Errand::default()).begun(), turn);
    }
    assert_eq!(room(&traffic, now), 0, "the next turn is in 72 s");
    assert!(!traffic.has_turn(now + 11 * SECOND, 2) && traffic.has_turn(now + 12 * SECOND, 2));
}

#[test]
fn hosts_that_rest_for_long_have_no_turn_and_hosts_that_are_down_are_found_out() {
    let (mut traffic, mut now) = traffic(&[(1, 1), (2, 1)], 10);
    let mut pause = Duration::ZERO;
    while pause <= PATIENCE {
        assert!(traffic.has_turn(now, 5), "soon enough: {pause:?}");
        now += pause;
        pause = send(&mut traffic, now, &Outcome::Throttled).1.pause.unwrap();
        assert!(traffic.has_turn(now, 5), "the other may be asked");
        assert_eq!(send(&mut traffic, now, &Outcome::Throttled).0, 1);
    }
    assert!(!traffic.has_turn(now, 0), "{pause:?}");
    traffic.hurry(now);
    assert!(traffic.has_turn(now, 5));
    for host in 0..2 {
        assert_eq!(send(&mut traffic, now, &failed()).0, host);
    }
    assert!(matches!(traffic.choose(now, 0, &mut Errand::default()), Choice::Nobody(_)));
    assert!(traffic.has_turn(now, 5), "each goes back on its own schedule");
}

/// What a transaction came to, and what that tells.
type Row<'a> = (&'a str, Vec<Judged>, Option<&'a End>, Demand, Kept, Outcome);

#[test]
fn every_end_of_a_transaction_says_something_else_of_its_host() {
    let judged = |ruling, status| Judged {
        recipient: "a@example.com".parse().unwrap(),
        ruling,
        status,
        why: Diagnostic::Own(String::new()),
        relayed: Relayed::WithoutDsn,
    };
    let of = |ruling| vec![judged(ruling, None)];
    let lost = vec![judged(Ruling::Deferred, Some(Enhanced(4, 4, 2)))];
    let unfit = End::Unfit("reset".into());
    let login = End::LoginRefused("535".into());
    let (new, again, less) = (Kept::New, Kept::Again, Demand::Less);
    let same = Demand::AsBefore;
    let failed = |words: &str| Outcome::Failed(words.into());
    let rows: [Row<'_>; 13] = [
        ("taken", of(Ruling::Delivered), None, same, new, Outcome::Carried),
        ("taken and closed", of(Ruling::Delivered), Some(&unfit), same, new, Outcome::Carried),
        ("refused", of(Ruling::Failed), None, same, new, Outcome::PutOff),
        ("put off", of(Ruling::Deferred), None, same, new, Outcome::PutOff),
        ("throttled", of(Ruling::Deferred), None, less, new, Outcome::Throttled),
        ("421, new", of(Ruling::Elsewhere), Some(&unfit), Demand::Goodbye, new, Outcome::Throttled),
        ("421, used", of(Ruling::Elsewhere), Some(&unfit), Demand::Goodbye, again, Outcome::Stale),
        ("421 4.7.0", of(Ruling::Elsewhere), Some(&unfit), less, again, Outcome::Throttled),
        ("broken", of(Ruling::Elsewhere), Some(&unfit), same, new, Outcome::Lost("reset".into())),
        (
            "broken while it waited",
            of(Ruling::Elsewhere),
            Some(&unfit),
            same,
            again,
            Outcome::Stale,
        ),
        ("lost after the dot", lost, Some(&unfit), same, new, Outcome::Lost("reset".into())),
        (
            "a message unfit to be sent",
            of(Ruling::Failed),
            Some(&unfit),
            same,
            new,
            Outcome::PutOff,
        ),
        ("login refused", of(Ruling::Held), Some(&login), same, new, Outcome::Nothing),
    ];
    for (row, judged, end, demand, kept, expected) in rows {
        assert_eq!(Outcome::of(&judged, end, demand, kept), expected, "{row}");
    }
    let never = Outcome::of(&[], Some(&unfit), same, new);
    assert_eq!(never, failed("reset"), "no connection was made");
    let ours = End::Ours("password-file /p: no such file".into());
    assert_eq!(Outcome::of(&[], Some(&ours), same, new), Outcome::Nothing, "a fault of ours");
}

proptest! {
    /// Whatever hosts do, no host and no route has more than its limit, and every place comes back.
    #[test]
    fn places_are_kept_count_of(
        hosts in prop::collection::vec((1..4_u32, 1..5_u32), 1..5),
        most in 1..8_u32,
        steps in prop::collection::vec((0..6_u8, 0..3_u64, any::<u64>()), 1..300),
    ) {
        let mut now = Instant::now();
        let mut traffic = Traffic::new(hosts.iter().copied(), most, None, now);
        let mut places: Vec<Place> = Vec::new();
        for (step, passed, dice) in steps {
            now += Duration::from_secs(passed);
            let outcome = match step {
                0 => Outcome::Carried,
                1 => Outcome::PutOff,
                2 => Outcome::Throttled,
                3 => failed(),
                _ => Outcome::Nothing,
            };
            if let Choice::Go(place) = traffic.choose(now, dice, &mut Errand::default()) {
                let load = &traffic.hosts[place.host];
                prop_assert!(load.in_use <= load.pace.limit());
                places.push(place);
            }
            prop_assert!(traffic.in_use <= most);
            let probes = |host| places.iter().filter(|p| p.host == host && p.is_probe).count();
            prop_assert!((0..hosts.len()).all(|host| probes(host) <= 1));
            if step % 2 == 0 && !places.is_empty() {
                let drawn = usize::try_from(dice % 1000).unwrap() % places.len();
                let mut place = places.swap_remove(drawn);
                traffic.learn(&mut place, &outcome, now);
                traffic.release(&place, now);
            }
        }
        for place in places {
            traffic.release(&place, now);
        }
        prop_assert_eq!(traffic.in_use, 0);
        prop_assert!(traffic.hosts.iter().all(|load| load.in_use == 0));
    }
}
