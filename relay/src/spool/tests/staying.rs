//! Messages that stay for a while: held by operators, before their time, behind more urgent ones.

use super::*;
use crate::mail::envelope::Terms;

async fn stands_held(spool: &Spool, id: MessageId) {
    assert!(claim_now(spool).await.is_none());
    assert_eq!(spool.retry(id), Err(StoreError::Held));
    assert_eq!(spool.retry_all(), 0);
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
    let late_us = due_at.as_microsecond() - until.as_microsecond();
    assert!((0..=1_000_000).contains(&late_us), "{late_us} microseconds after its time");
    spool.retry(id).unwrap();
    assert_eq!(claim_now(&spool).await.unwrap().id(), id);
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

#[tokio::test]
async fn many_are_held_with_few_flushes() {
    let home = Home::new();
    let spool = Arc::new(home.open());
    let mut ids = Vec::new();
    for _ in 0..64 {
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
    assert_eq!(status.held, 64);
    assert!(status.flushes - before <= 16, "{} flushes", status.flushes - before);
}
