use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Two better hosts in a group, and one to fall back on.
fn pool() -> Pool {
    Pool::new([(1, 3), (1, 1), (2, 1)])
}

#[test]
fn a_group_shares_by_weight_and_comes_before_the_next_order() {
    let (pool, now) = (pool(), Instant::now());
    let mut first = [0_u32; 3];
    for dice in 0..10_000 {
        let chosen = pool.choose(now, dice);
        assert_eq!((chosen.len(), chosen[2]), (3, 2), "the last order comes last");
        first[chosen[0]] += 1;
    }
    // Three of four; the deviation of 10,000 throws is 43, and the dice do not change.
    assert!(first[0].abs_diff(7500) < 250 && first[2] == 0, "{first:?}");
}

#[test]
fn every_order_of_a_group_of_three_comes_as_often_as_the_weights_say() {
    let (pool, now) = (Pool::new([(1, 2), (1, 1), (1, 1)]), Instant::now());
    let of = |order: [usize; 3]| (0..12_000).filter(|d| pool.choose(now, *d) == order).count();
    // Drawn without putting back: 1/2 * 1/2 and 1/4 * 2/3.
    let (heavy, light) = (of([0, 1, 2]), of([1, 0, 2]));
    assert!(heavy.abs_diff(3000) < 200 && light.abs_diff(2000) < 200, "{heavy} {light}");
}

#[test]
fn a_host_that_fails_is_passed_by_and_one_message_at_a_time_tries_it() {
    let start = Instant::now();
    let mut pool = Pool::new([(1, 1), (2, 1)]);
    assert_eq!(pool.failed(0, start, "refused"), Some(Change::Down("refused".into())));
    assert_eq!(pool.failed(0, start, "refused"), None, "it was under way before");
    assert_eq!(pool.choose(start, 0), [1]);
    assert_eq!(pool.enter(0, start), Entry::Shut);

    let due = start + DOWN;
    assert_eq!(pool.choose(due, 0), [0, 1], "a better host is tried as soon as it is due");
    assert_eq!(pool.enter(0, due), Entry::Probe);
    assert_eq!((pool.enter(0, due), pool.choose(due, 0)), (Entry::Shut, vec![1]));
    assert_eq!(pool.worked(0, due + SECOND), Some(Change::Up(DOWN + SECOND)));
    assert_eq!(pool.choose(due + SECOND, 0), [0, 1]);
    assert_eq!(pool.worked(0, due + SECOND), None);
}

#[test]
fn the_wait_doubles_up_to_its_limit_and_a_sound_time_forgets_it() {
    let mut now = Instant::now();
    let mut pool = Pool::new([(1, 1)]);
    pool.failed(0, now, "refused");
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(pool.choose(now + (seconds - 1) * SECOND, 0), [0; 0], "{seconds}");
        now += seconds * SECOND;
        assert_eq!(pool.enter(0, now), Entry::Probe, "{seconds}");
        assert_eq!(pool.failed(0, now, "refused"), None, "it was down all the time");
    }
    now += DOWN_MAX;
    pool.enter(0, now);
    pool.worked(0, now);
    let mut flapping = pool.clone();
    flapping.failed(0, now + DOWN_MAX / 2, "again");
    assert_eq!(flapping.enter(0, now + DOWN_MAX), Entry::Shut);
    pool.failed(0, now + DOWN_MAX, "another time");
    assert_eq!(pool.enter(0, now + DOWN_MAX + DOWN), Entry::Probe);
}

#[test]
fn one_lost_connection_is_no_failure_but_several_in_a_row_are_and_so_is_one_in_a_try() {
    let now = Instant::now();
    let mut pool = Pool::new([(1, 1)]);
    for _ in 0..10 {
        assert_eq!((pool.lost(0, now, "reset"), pool.lost(0, now, "reset")), (None, None));
        assert_eq!(pool.worked(0, now), None);
    }
    let changes = [(); 3].map(|()| pool.lost(0, now, "reset"));
    assert_eq!(changes, [None, None, Some(Change::Down("reset".into()))]);
    assert_eq!(pool.enter(0, now + DOWN), Entry::Probe);
    pool.lost(0, now + DOWN, "reset");
    assert_eq!(pool.enter(0, now + 2 * DOWN), Entry::Shut, "twice as long");
}

#[test]
fn a_try_that_comes_to_nothing_is_made_again() {
    let start = Instant::now();
    let mut pool = Pool::new([(1, 1)]);
    pool.failed(0, start, "refused");
    let due = start + DOWN;
    assert_eq!((pool.enter(0, due), pool.enter(0, due)), (Entry::Probe, Entry::Shut));
    pool.abandoned(0, due);
    assert_eq!((pool.enter(0, due), pool.enter(0, due)), (Entry::Probe, Entry::Shut));
    assert_eq!(pool.enter(0, due + PROBE_MAX), Entry::Probe, "its message was lost");
}

#[test]
fn a_host_that_was_down_before_the_process_began_is_down_until_a_message_got_through() {
    let start = Instant::now();
    let now = start + 100 * SECOND;
    let mut pool = Pool::new([(1, 1), (2, 1)]);
    pool.was_down(0, now, start, "refused");
    assert_eq!(pool.choose(now, 0), [0, 1], "it is tried at once");
    assert_eq!((pool.enter(0, now), pool.enter(0, now)), (Entry::Probe, Entry::Shut));
    pool.was_down(0, now, now, "another word");
    assert_eq!(pool.worked(0, now), Some(Change::Up(100 * SECOND)));
    pool.was_down(0, now, start, "refused");
    assert_eq!(pool.enter(0, now), Entry::Open, "what was seen since counts");
}

#[test]
fn an_operator_need_not_wait_for_a_host() {
    let start = Instant::now();
    let mut pool = Pool::new([(1, 1)]);
    pool.failed(0, start, "refused");
    pool.hurry(start + SECOND);
    assert_eq!(pool.enter(0, start + SECOND), Entry::Probe);
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Pass(u64),
    Enter,
    Work,
    Fail,
    Abandon,
}

fn happening() -> impl Strategy<Value = (usize, Happening)> {
    let what = prop_oneof![
        (0..400_u64).prop_map(Happening::Pass),
        Just(Happening::Enter),
        Just(Happening::Work),
        Just(Happening::Fail),
        Just(Happening::Abandon),
    ];
    (0..3_usize, what)
}

proptest! {
    /// Whatever happens, nobody waits longer than the limit, nobody is tried by two at a time, and
    /// lines about a host alternate.
    #[test]
    fn waits_are_bounded_and_lines_alternate(
        happenings in prop::collection::vec(happening(), 0..200),
        dice: u64,
    ) {
        let (mut pool, mut now) = (pool(), Instant::now());
        let (mut is_up, mut is_probed) = ([true; 3], [false; 3]);
        for (place, what) in happenings {
            match what {
                Happening::Pass(seconds) => now += Duration::from_secs(seconds),
                Happening::Enter => if pool.enter(place, now) == Entry::Probe {
                    prop_assert!(!is_up[place]);
                    is_probed[place] = true;
                },
                Happening::Work => {
                    let change = pool.worked(place, now);
                    prop_assert_eq!(matches!(change, Some(Change::Up(_))), !is_up[place]);
                    (is_up[place], is_probed[place]) = (true, false);
                }
                Happening::Fail => {
                    let change = pool.failed(place, now, "x");
                    prop_assert_eq!(matches!(change, Some(Change::Down(_))), is_up[place]);
                    (is_up[place], is_probed[place]) = (false, false);
                }
                Happening::Abandon => {
                    pool.abandoned(place, now);
                    is_probed[place] = false;
                }
            }
            let chosen = pool.choose(now, dice);
            let orders: Vec<_> = chosen.iter().map(|place| pool.order(*place)).collect();
            prop_assert!(orders.is_sorted());
            let later = pool.choose(now + DOWN_MAX, dice);
            for place in 0..3 {
                prop_assert!(!is_up[place] || chosen.contains(&place));
                prop_assert!(is_probed[place] || later.contains(&place));
            }
        }
    }
}
