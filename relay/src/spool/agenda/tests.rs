use std::collections::{BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::spool::label::Label;
use crate::spool::share::Owner;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn job(way: u16, owner: u16, priority: i8, size_bytes: u64) -> Job {
    Job { label: Label { owner: Owner(owner), way: Way(way), priority }, size_bytes }
}

fn all(agenda: &mut Agenda, now: i64) -> Vec<u64> {
    std::iter::from_fn(|| agenda.take_due(at(now), |_| true)).map(|id| id.0).collect()
}

#[test]
fn what_was_cancelled_does_not_come() {
    let mut agenda = Agenda::default();
    agenda.schedule(MessageId(1), at(5), job(1, 1, 0, 0));
    agenda.schedule(MessageId(2), at(6), job(1, 1, 0, 0));
    agenda.cancel(MessageId(1), at(5), job(1, 1, 0, 0));
    agenda.advance(at(6));
    agenda.schedule(MessageId(3), at(6), job(1, 1, 0, 0));
    agenda.cancel(MessageId(3), at(6), job(1, 1, 0, 0));
    assert_eq!(all(&mut agenda, 9), [2]);
    assert!(!agenda.has_due());
}

#[test]
fn a_way_without_room_holds_up_no_other_and_comes_when_it_has_some() {
    let mut agenda = Agenda::default();
    for id in 0..10 {
        agenda.schedule(MessageId(id), at(0), job(1, 1, 0, 0));
    }
    agenda.schedule(MessageId(20), at(1), job(2, 1, 0, 0));
    agenda.schedule(MessageId(21), at(1), job(0, 1, 0, 0));
    let others = |way: Way| way != Way(1);
    let taken: BTreeSet<_> =
        std::iter::from_fn(|| agenda.take_due(at(2), others)).map(|id| id.0).collect();
    assert_eq!(taken, BTreeSet::from([20, 21]));
    assert!(agenda.has_due());
    assert_eq!(all(&mut agenda, 2).len(), 10);
}

#[test]
fn ways_take_turns() {
    let mut agenda = Agenda::default();
    for id in 0..6 {
        agenda.schedule(MessageId(id), at(0), job(1 + (id / 3) as u16, 1, 0, 0));
    }
    assert_eq!(all(&mut agenda, 0), [0, 3, 1, 4, 2, 5]);
}

#[test]
fn a_login_without_a_message_does_not_shed_its_debts() {
    let mut agenda = Agenda::default();
    let (large, small) = (job(1, 1, 0, 10 * QUANTUM), job(1, 2, 0, 0));
    agenda.schedule(MessageId(1), at(0), large);
    for id in 0..200 {
        agenda.schedule(MessageId(100 + id), at(0), small);
    }
    assert_eq!(agenda.take_due(at(0), |_| true), Some(MessageId(1)));
    agenda.schedule(MessageId(2), at(0), large);
    let before = all(&mut agenda, 0).iter().take_while(|id| **id != 2).count() as u64;
    assert!((9..=11).contains(&(before * TRANSACTION / QUANTUM)), "{before} messages came before");
}

#[test]
fn who_writes_to_many_pays_for_each_of_them() {
    let before = |size, recipients| {
        let mut agenda = Agenda::default();
        for id in 0..400 {
            agenda.schedule(MessageId(100 + id), at(0), job(1, 2, 0, 0));
        }
        agenda.schedule(MessageId(1), at(0), job(1, 1, 0, size));
        while agenda.take_due(at(0), |_| true) != Some(MessageId(1)) {}
        agenda.charge(job(1, 1, 0, size), recipients);
        agenda.schedule(MessageId(2), at(0), job(1, 1, 0, 0));
        all(&mut agenda, 0).iter().take_while(|id| **id != 2).count() as u64 * TRANSACTION
    };
    for (size, recipients, bodies) in [(QUANTUM, 1, 1), (QUANTUM, 100, 1), (QUANTUM, 1000, 10)] {
        let cost = bodies * (size + TRANSACTION) + recipients as u64 * RECIPIENT;
        let (before, around) = (before(size, recipients), 2 * QUANTUM);
        assert!(before.abs_diff(cost) <= around, "{recipients}: {before} octets, not {cost}");
    }
}

proptest! {
    #[test]
    fn one_login_s_mail_comes_once_and_never_early_by_priority_then_time_then_id(
        mails in proptest::collection::vec((0_i64..100, -9_i8..=9, 0_u64..100_000), 0..60),
        now in 0_i64..100,
    ) {
        let mut agenda = Agenda::default();
        for (id, (due, priority, size)) in mails.iter().enumerate() {
            agenda.schedule(MessageId(id as u64), at(*due), job(1, 1, *priority, *size));
        }
        let due = mails.iter().zip(0_u64..).filter(|((due, ..), _)| *due <= now);
        let mut expected: Vec<_> = due.map(|((due, priority, _), id)| (-priority, *due, id)).collect();
        expected.sort_unstable();
        let expected: Vec<_> = expected.into_iter().map(|(.., id)| id).collect();
        prop_assert_eq!(all(&mut agenda, now), expected);
        let next = mails.iter().map(|mail| mail.0).filter(|due| *due > now).min().map(at);
        prop_assert_eq!(agenda.next_due(), next);
    }

    #[test]
    fn whatever_is_scheduled_cancelled_and_taken_nothing_is_lost_or_comes_twice(
        steps in proptest::collection::vec((0_u8..4, 0_u16..3, 0_u16..4, 0_i64..50, 0_u64..200_000), 0..200),
    ) {
        let mut agenda = Agenda::default();
        let mut waiting: HashMap<u64, (i64, Job)> = HashMap::new();
        let mut now = 0;
        for (id, (step, way, owner, second, size)) in (0_u64..).zip(steps) {
            match step {
                0 | 1 => {
                    let job = job(way, owner, (second % 3) as i8, size);
                    agenda.schedule(MessageId(id), at(second), job);
                    waiting.insert(id, (second, job));
                }
                2 => {
                    let any = waiting.keys().nth(usize::from(owner)).copied();
                    if let Some((id, (due, job))) = any.and_then(|id| Some((id, waiting.remove(&id)?))) {
                        agenda.cancel(MessageId(id), at(due), job);
                    }
                }
                _ => {
                    now = now.max(second);
                    if let Some(id) = agenda.take_due(at(now), |open| open != Way(way)) {
                        let (due, job) = waiting.remove(&id.0).expect("it waits");
                        prop_assert!(due <= now && job.label.way != Way(way));
                    }
                }
            }
        }
        let left: BTreeSet<_> = all(&mut agenda, 100).into_iter().collect();
        prop_assert_eq!(left, waiting.into_keys().collect::<BTreeSet<_>>());
        prop_assert!(!agenda.has_due() && agenda.next_due().is_none());
    }

    #[test]
    fn logins_with_a_backlog_get_the_same_within_a_turn_and_a_message(
        sizes in proptest::collection::vec(proptest::collection::vec(0_u64..100_000, 40..60), 2..5),
    ) {
        let mut agenda = Agenda::default();
        let mut owners = HashMap::new();
        for (owner, sizes) in (0_u16..).zip(&sizes) {
            for size in sizes {
                let id = MessageId(owners.len() as u64);
                agenda.schedule(id, at(0), job(1, owner, 0, *size));
                owners.insert(id, (owner, size + TRANSACTION));
            }
        }
        let mut left: Vec<usize> = sizes.iter().map(Vec::len).collect();
        let mut served = vec![0_u64; sizes.len()];
        while left.iter().all(|left| *left > 0) {
            let (owner, cost) = owners[&agenda.take_due(at(0), |_| true).unwrap()];
            left[usize::from(owner)] -= 1;
            served[usize::from(owner)] += cost;
            let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
            prop_assert!(most - least <= QUANTUM + 2 * (100_000 + TRANSACTION), "{served:?}");
        }
    }
}

/// A million messages of one login are due; twenty connections take 50 ms for each message, and as
/// many messages again wait in memory for a connection. Another login's messages come one by one.
#[test]
fn a_small_message_starts_within_250_ms_beside_a_million_of_another_login() {
    const CONNECTIONS: usize = 20;
    const READY: usize = 20;
    const TRANSFER_US: u64 = 50_000;
    const PROBES: u64 = 500;
    let backlog = job(1, 1, 9, 4096);
    let mut agenda = Agenda::at(at(0));
    for id in 0..1_000_000 {
        agenda.schedule(MessageId(id), at(0), backlog);
    }
    let (mut ready, mut now_us) = (VecDeque::new(), 0_u64);
    // Connections that begin at different times: one is free every 2.5 ms.
    let mut busy: VecDeque<u64> =
        (0..CONNECTIONS as u64).map(|n| n * TRANSFER_US / CONNECTIONS as u64).collect();
    let (mut waits, mut came_us, mut probe) = (Vec::new(), 0, 1_000_000);
    while waits.len() < PROBES as usize {
        if probe < 1_000_000 + waits.len() as u64 + 1 && now_us >= came_us {
            agenda.schedule(MessageId(probe), at(0), job(1, 2, 0, 4096));
            probe += 1;
        }
        while ready.len() < READY {
            ready.push_back(agenda.take_due(at(0), |_| true).unwrap());
        }
        now_us = busy.pop_front().unwrap();
        busy.push_back(now_us + TRANSFER_US);
        if ready.pop_front().unwrap().0 >= 1_000_000 {
            waits.push(now_us - came_us);
            // The next one comes at another place of the other login's turn.
            came_us = now_us + 1_000 * (waits.len() as u64 % 97);
        }
    }
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    println!(
        "p99 of {PROBES}: {} ms, the longest {} ms",
        p99 / 1000,
        waits[waits.len() - 1] / 1000
    );
    assert!(p99 <= 250_000, "{p99} microseconds");
}
