//! Messages that stay for a report.

use super::*;
use crate::mail::report::{Diagnostic, News, Notice};
use crate::smtp::reply::Enhanced;

/// What the sender of a message is to be told of its first recipient.
fn notice(claim: &Claim) -> Notice {
    Notice {
        recipient: claim.envelope().recipients[0].clone(),
        news: News::Relayed,
        status: Enhanced(2, 1, 5),
        remote: Some("mx.example.com".to_owned()),
        diagnostic: Diagnostic::Smtp("250 2.1.5 ok".to_owned()),
    }
}

#[tokio::test]
async fn a_message_stays_until_the_report_is_written_that_is_owed_of_it_also_after_a_restart() {
    let home = Home::new();
    let spool = home.open();
    let id = put(&spool, b"x\r\n").await;
    let mut claim = claim_now(&spool).await.unwrap();
    let owed = notice(&claim);
    claim.owe(std::slice::from_ref(&owed));
    let outcomes = all(&claim, &Fate::Delivered);
    spool.settle(claim, outcomes).await.unwrap();
    let summary = spool.show(id).await.unwrap().summary;
    assert_eq!((summary.place, summary.pending), (Place::Waiting, 0));
    assert!(claim_now(&spool).await.is_none(), "not at once");
    drop(spool);
    let spool = home.open();
    for _ in 0..2 {
        spool.retry(id).unwrap();
        let claim = claim_now(&spool).await.unwrap();
        assert_eq!((claim.pending(), claim.attempts()), (&[][..], 1));
        assert_eq!(claim.progress()[0].owed.as_ref(), Some(&owed));
        spool.settle(claim, Vec::new()).await.unwrap();
    }
    spool.retry(id).unwrap();
    let mut claim = claim_now(&spool).await.unwrap();
    claim.owe(&[]);
    spool.settle(claim, Vec::new()).await.unwrap();
    assert_eq!(spool.status().unwrap().messages, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_sent_again_for_a_report_that_cannot_even_be_owed() {
    let disk = Simulated::new(1);
    let (spool, hand) = Spool::unmanned(&disk, Timestamp::now, |_| {}).unwrap();
    let tried = async {
        let id = put(&spool, b"x\r\n").await;
        let mut claim = spool.claim().await;
        let owed = notice(&claim);
        claim.owe(&[owed]);
        let outcomes = all(&claim, &Fate::Delivered);
        disk.set_weather(Weather::Failing(1));
        assert!(spool.settle(claim, outcomes).await.is_err());
        disk.set_weather(Weather::Fair);
        spool.show(id).await
    };
    let shown = tokio::select! {
        () = hand.work(|| Duration::ZERO) => panic!("the power is on"),
        shown = tried => shown,
    };
    assert_eq!(shown, Err(StoreError::Gone));
}
