//! Messages that stay for a while: held by operators, before their time, behind more urgent ones.

mod owed;

use super::*;
use crate::history::Ended;
use crate::mail::envelope::Terms;
use crate::spool::simulated::{Simulated, Weather};

async fn stands_held(spool: &Spool, id: MessageId) {
    assert!(claim_now(spool).await.is_none());
    assert_eq!(spool.retry(id), Err(StoreError::Held));
    assert_eq!(spool.retry_all().await, Ok(0));
    assert_eq!(spool.status().unwrap().held, 1);
    let summary = spool.show(id).await.unwrap().summary;
    assert_eq!((summary.place, summary.attempts, summary.pending), (Place::Held, 0, 1));
}

#[tokio::test]
async fn a_held_message_is_not_claimed_until_it_is_released_also_after_a_restart() {
    let home = Home::new();
    let spool = home.open();
    let id = put(&spool, b"x\r\n").await;
    spool.hold(id).await.unwrap();
    spool.hold(id).await.unwrap();
    stands_held(&spool, id).await;
    drop(spool);
    let spool = home.open();
    stands_held(&spool, id).await;
    spool.release(id).await.unwrap();
    spool.release(id).await.unwrap();
    drop(spool);
    let spool = home.open();
    let claim = claim_now(&spool).await.expect("it is due as it was");
    assert_eq!((claim.id(), claim.attempts(), claim.pending().len()), (id, 0, 1));
    assert_eq!(spool.hold(id).await, Err(StoreError::Claimed));
    let outcomes = all(&claim, &Fate::Delivered);
    spool.settle(claim, outcomes).await.unwrap();
    assert_eq!(spool.hold(id).await, Err(StoreError::Gone));
    assert_eq!(spool.release(id).await, Err(StoreError::Gone));
}

#[tokio::test]
async fn a_message_is_not_claimed_before_its_time_also_after_a_restart_unless_an_operator_says_so()
{
    let home = Home::new();
    let spool = home.open();
    let until = Timestamp::now() + jiff::SignedDuration::from_secs(3600);
    let terms = Terms { hold_until: Some(until), ..Terms::default() };
    let draft = spool.draft(Envelope { terms, ..envelope("a") }).unwrap();
    let id = draft.commit().await.unwrap();
    assert!(claim_now(&spool).await.is_none());
    assert_eq!(spool.show(id).await.unwrap().summary.due_at, Some(until));
    drop(spool);
    let spool = home.open();
    assert!(claim_now(&spool).await.is_none());
    let due_at = spool.show(id).await.unwrap().summary.due_at.unwrap();
    assert_eq!(spool.retry_all().await, Ok(0), "its time is the client's wish");
    assert!(claim_now(&spool).await.is_none());
    let late_us = due_at.as_microsecond() - until.as_microsecond();
    assert!((0..=1_000_000).contains(&late_us), "{late_us} microseconds after its time");
    spool.retry(id).unwrap();
    assert_eq!(claim_now(&spool).await.unwrap().id(), id);
}

#[tokio::test]
async fn a_message_that_could_not_be_held_is_due_as_before() {
    let disk = Simulated::new(1);
    let (spool, hand) = Spool::unmanned(&disk, Timestamp::now, |_| {}).unwrap();
    let until = Timestamp::now() + jiff::SignedDuration::from_secs(3600);
    let terms = Terms { hold_until: Some(until), ..Terms::default() };
    let tried = async {
        let draft = spool.draft(Envelope { terms, ..envelope("a") }).unwrap();
        let id = draft.commit().await.unwrap();
        disk.set_weather(Weather::Failing(1));
        assert!(matches!(spool.hold(id).await, Err(StoreError::Failed(_))));
        disk.set_weather(Weather::Fair);
        spool.show(id).await.unwrap().summary
    };
    let summary = tokio::select! {
        () = hand.work(|| Duration::ZERO) => panic!("the power is on"),
        summary = tried => summary,
    };
    assert_eq!((summary.place, summary.due_at), (Place::Waiting, Some(until)));
}

#[tokio::test]
async fn whoever_is_late_to_let_go_takes_the_turn_from_nobody() {
    let disk = Simulated::new(1);
    let (spool, hand) = Spool::unmanned(&disk, Timestamp::now, |_| {}).unwrap();
    let tried = async {
        let id = put(&spool, b"x\r\n").await;
        spool.hold(id).await.unwrap();
        let mut release = Box::pin(spool.release(id));
        // Released, and claimed before the operator hears of it.
        let claim = tokio::select! {
            biased;
            claim = spool.claim() => claim,
            _ = &mut release => panic!("it is claimed first"),
        };
        release.await.unwrap();
        assert_eq!(spool.hold(id).await, Err(StoreError::Claimed));
        claim
    };
    let claim = tokio::select! {
        () = hand.work(|| Duration::ZERO) => panic!("the power is on"),
        claim = tried => claim,
    };
    assert_eq!(claim.attempts(), 0);
}

#[tokio::test]
async fn the_highest_priority_of_a_login_comes_first_also_after_a_restart() {
    let home = Home::new();
    let spool = home.open();
    let mut ids = Vec::new();
    for priority in [0, -9, 9, 1] {
        let terms = Terms { priority: Some(priority.try_into().unwrap()), ..Terms::default() };
        let draft = spool.draft(Envelope { terms, ..envelope("a") }).unwrap();
        ids.push(draft.commit().await.unwrap());
    }
    drop(spool);
    let spool = home.open();
    let mut claims = Vec::new();
    while let Some(claim) = claim_now(&spool).await {
        claims.push(claim);
    }
    let order: Vec<_> = claims.iter().map(Claim::id).collect();
    assert_eq!(order, [ids[2], ids[3], ids[0], ids[1]]);
}

#[tokio::test]
async fn who_was_not_asked_does_not_wait_as_long_as_those_who_were() {
    for (row, first, second, due_in_s) in [
        ("both were", Some(900), Some(30), 890..=900),
        ("one was not", Some(900), None, 50..=60),
        ("one was not, and the other waits for less", Some(30), None, 20..=30),
        ("nobody was", None, None, 50..=60),
    ] {
        let home = Home::new();
        let spool = home.open();
        let mut message = envelope("a");
        message.recipients = ["a@example.net", "b@example.net"].map(|a| a.parse().unwrap()).into();
        let id = spool.draft(message).unwrap().commit().await.unwrap();
        let claim = claim_now(&spool).await.unwrap();
        let asked = claim.pending().iter().zip([first, second]);
        let outcomes = asked.filter_map(|(to, seconds)| {
            Some(outcome(to, Fate::Deferred(Duration::from_secs(seconds?))))
        });
        let outcomes = outcomes.collect();
        spool.settle(claim, outcomes).await.unwrap();
        let due_at = spool.show(id).await.unwrap().summary.due_at.unwrap();
        let due_in = due_at.duration_since(Timestamp::now()).as_secs();
        assert!(due_in_s.contains(&due_in), "{row}: {due_in} s");
    }
}

#[tokio::test]
async fn a_hold_keeps_what_was_heard_and_when_the_message_is_due() {
    let home = Home::new();
    let spool = home.open();
    let id = put(&spool, b"x\r\n").await;
    let claim = claim_now(&spool).await.unwrap();
    let outcomes = all(&claim, &Fate::Deferred(Duration::from_secs(900)));
    spool.settle(claim, outcomes).await.unwrap();
    let before = spool.show(id).await.unwrap();
    spool.hold(id).await.unwrap();
    let held = spool.show(id).await.unwrap();
    assert_eq!((held.summary.due_at, &held.progress), (before.summary.due_at, &before.progress));
    spool.release(id).await.unwrap();
    assert_eq!(spool.show(id).await.unwrap(), before);
    assert!(claim_now(&spool).await.is_none(), "it is due in 15 minutes");
    spool.hold(id).await.unwrap();
    spool.remove(id).await.unwrap();
    assert_eq!(spool.status().unwrap().held, 0);
}

#[tokio::test(start_paused = true)]
async fn holds_that_come_while_the_disk_is_busy_share_one_flush() {
    let disk = Simulated::new(1);
    let (spool, hand) = Spool::unmanned(&disk, Timestamp::now, |_| {}).unwrap();
    let spool = Arc::new(spool);
    let held = async {
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(put(&spool, b"x\r\n").await);
        }
        let before = spool.status().unwrap().flushes;
        let mut holds = tokio::task::JoinSet::new();
        for id in ids {
            let spool = Arc::clone(&spool);
            holds.spawn(async move { spool.hold(id).await.unwrap() });
        }
        holds.join_all().await;
        let status = spool.status().unwrap();
        (status.held, status.flushes - before)
    };
    // The clock stands still until all of them wait for the writer.
    let held = tokio::select! {
        () = hand.work(|| Duration::from_secs(1)) => panic!("the power is on"),
        held = held => held,
    };
    assert_eq!(held, (8, 1));
}

/// Captures a message.
async fn captured(spool: &Spool, body: &[u8]) -> MessageId {
    let id = put(spool, body).await;
    let claim = claim_now(spool).await.unwrap();
    assert_eq!(claim.id(), id);
    let outcomes = all(&claim, &Fate::Captured);
    spool.settle(claim, outcomes).await.unwrap();
    id
}

#[tokio::test]
async fn a_captured_message_stays_as_it_is_also_after_a_restart_and_can_be_dropped() {
    let home = Home::new();
    let spool = home.open();
    let id = captured(&spool, b"x\r\n").await;
    let before = spool.show(id).await.unwrap();
    let Summary { place, attempts, pending, due_at, .. } = before.summary.clone();
    assert_eq!((place, attempts, pending, due_at), (Place::Captured, 0, 0, None));
    assert_eq!(before.progress[0].standing, Standing::Captured);
    drop(spool);
    let spool = home.open();
    let after = spool.show(id).await.unwrap();
    assert_eq!((after.summary.place, after.summary.pending), (Place::Captured, 0));
    assert_eq!((after.envelope, after.progress), (before.envelope, before.progress));
    let status = spool.status().unwrap();
    assert_eq!((status.messages, status.captured, status.captured_bytes), (1, 1, 3));
    assert!(claim_now(&spool).await.is_none());
    assert_eq!(spool.retry(id), Err(StoreError::Captured));
    assert_eq!(spool.hold(id).await, Err(StoreError::Captured));
    assert_eq!(spool.release(id).await, Err(StoreError::Captured));
    spool.remove(id).await.unwrap();
    let status = spool.status().unwrap();
    assert_eq!((status.messages, status.captured, status.captured_bytes), (0, 0, 0));
}

#[tokio::test]
async fn captured_messages_are_listed_the_newest_first() {
    let home = Home::new();
    let spool = home.open();
    assert_eq!(spool.newest_captured(None, 9).await.unwrap(), Newest::default());
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(captured(&spool, b"x\r\n").await);
        put(&spool, b"x\r\n").await;
        let claim = claim_now(&spool).await.unwrap();
        let outcomes = all(&claim, &Fate::Delivered);
        spool.settle(claim, outcomes).await.unwrap();
    }
    for (before, limit, wanted, has_more) in [
        (None, 2, vec![ids[2], ids[1]], true),
        (Some(ids[1]), 2, vec![ids[0]], false),
        (Some(ids[0]), 2, vec![], false),
        (None, 3, vec![ids[2], ids[1], ids[0]], false),
    ] {
        let newest = spool.newest_captured(before, limit).await.unwrap();
        let found: Vec<_> = newest.messages.iter().map(|message| message.id).collect();
        assert_eq!((found, newest.has_more), (wanted, has_more), "{before:?} {limit}");
        assert!(newest.messages.iter().all(|message| message.sender.is_some()));
    }
}

#[tokio::test]
async fn a_message_that_is_captured_for_some_is_sent_to_the_others_first() {
    let home = Home::new();
    let spool = home.open();
    let mut message = envelope("a");
    message.recipients = ["a@example.net", "b@example.net"].map(|a| a.parse().unwrap()).into();
    let recipients = message.recipients.clone();
    let id = spool.draft(message).unwrap().commit().await.unwrap();
    let claim = claim_now(&spool).await.unwrap();
    let later = Fate::Deferred(Duration::ZERO);
    let outcomes = vec![outcome(&recipients[0], Fate::Captured), outcome(&recipients[1], later)];
    spool.settle(claim, outcomes).await.unwrap();
    let claim = claim_now(&spool).await.unwrap();
    assert_eq!((claim.attempts(), claim.pending()), (1, &recipients[1..]));
    let outcomes = all(&claim, &Fate::Delivered);
    spool.settle(claim, outcomes).await.unwrap();
    let summary = spool.show(id).await.unwrap().summary;
    assert_eq!((summary.place, summary.attempts), (Place::Captured, 2));
}

#[tokio::test]
async fn captured_messages_go_when_their_time_their_size_or_their_number_is_over_oldest_first() {
    const HOUR: Duration = Duration::from_secs(3600);
    let rows = [
        ("all stay", 0, HOUR, 1000, 1000, 3, Ended::Time),
        ("one second before the end", 3598, HOUR, 1000, 1000, 3, Ended::Time),
        ("at the end", 3601, HOUR, 1000, 1000, 0, Ended::Time),
        ("ten octets each fit", 0, HOUR, 30, 1000, 3, Ended::Size),
        ("one octet less", 0, HOUR, 29, 1000, 2, Ended::Size),
        ("the newest stays, larger than all may be", 0, HOUR, 9, 1000, 1, Ended::Size),
        ("the newest goes with its time", 3601, HOUR, 9, 1000, 0, Ended::Time),
        ("a quarter of eight", 0, HOUR, 1000, 8, 2, Ended::Number),
        ("a quarter of one is one", 0, HOUR, 1000, 1, 1, Ended::Number),
    ];
    for (row, seconds, keep, size_bytes, messages, left, why) in rows {
        let home = Home::new();
        let spool = home.open();
        let waiting = put(&spool, b"0123456789").await;
        let held = claim_now(&spool).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(captured(&spool, b"01234567\r\n").await);
        }
        drop((held, spool));
        let config = config::Spool { messages, ..home.config() };
        let spool = Spool::open(&config, |_| {}).unwrap();
        let now = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let (dropped, next) =
            spool.retire(now, &config::Capture { keep, size_bytes }).await.unwrap();
        let expected: Vec<_> = ids[..3 - left].iter().map(|id| (*id, why)).collect();
        assert_eq!((dropped, next.is_some()), (expected, left > 0), "{row}");
        let page = spool.list(Filter::default(), Stretch::default(), 9).await.unwrap();
        let listed: Vec<_> = page.messages.iter().map(|summary| summary.id).collect();
        ids.insert(3 - left, waiting);
        let mut expected = ids[3 - left..].to_vec();
        expected.sort_unstable();
        assert_eq!(listed, expected, "{row}");
        drop(spool);
        assert_eq!(home.open().status().unwrap().captured, left, "{row}");
    }
}

#[tokio::test]
async fn captured_messages_take_of_no_login_s_share() {
    let home = Home::new();
    let config = config::Spool { messages: 8, ..home.config() };
    let spool = Spool::open(&config, |_| {}).unwrap();
    for _ in 0..3 {
        captured(&spool, b"x\r\n").await;
    }
    assert_eq!(spool.has_room_for(Some("app")), Ok(()));
    drop(spool);
    let spool = Spool::open(&config, |_| {}).unwrap();
    assert_eq!(spool.has_room_for(Some("app")), Ok(()));
    put(&spool, b"x\r\n").await;
    put(&spool, b"x\r\n").await;
    assert_eq!(spool.has_room_for(Some("app")), Err(StoreError::ShareUsed));
}
