//! What counts as an attempt at a message.

use super::*;

#[tokio::test]
async fn to_wait_for_a_turn_or_for_a_hop_that_wants_less_is_no_attempt() {
    let home = Home::new();
    let spool = home.open();
    put(&spool, b"x\r\n").await;
    let soon = Duration::ZERO;
    let rows = [
        (Fate::Postponed(soon), 0),
        (Fate::Paused(soon), 0),
        (Fate::Deferred(soon), 1),
        (Fate::Paused(soon), 1),
    ];
    for (fate, attempts) in rows {
        let claim = spool.claim().await;
        let outcomes = all(&claim, &fate);
        spool.settle(claim, outcomes).await.unwrap();
        let claim = spool.claim().await;
        assert_eq!(claim.attempts(), attempts, "{fate:?}");
        let outcomes = all(&claim, &Fate::Postponed(soon));
        spool.settle(claim, outcomes).await.unwrap();
    }
}
