//! Whether there is room for more.

use super::*;

#[tokio::test]
async fn there_is_room_until_the_spool_is_full_however_many_reports_it_holds() {
    let home = Home::new();
    let spool = Spool::open(&config::Spool { messages: 8, ..home.config() }, |_| {}).unwrap();
    for kept in 0..8 {
        assert!(spool.has_room(), "{kept} reports");
        let report = Envelope { login: None, source: None, ..envelope("a") };
        spool.draft(report).unwrap().commit().await.unwrap();
    }
    assert!(!spool.has_room());
}

#[tokio::test]
async fn one_login_takes_a_quarter_at_most_also_after_a_restart() {
    let home = Home::new();
    let config = config::Spool { messages: 8, ..home.config() };
    let spool = Spool::open(&config, |_| {}).unwrap();
    let first = put(&spool, b"x\r\n").await;
    put(&spool, b"y\r\n").await;
    let other = Envelope { login: Some("other".to_owned()), ..envelope("a") };
    let full = |spool: &Spool| {
        assert_eq!(spool.has_room_for(Some("app")), Err(StoreError::ShareUsed));
        assert_eq!(spool.draft(envelope("a")).unwrap_err(), StoreError::ShareUsed);
        assert_eq!(spool.has_room_for(Some("other")), Ok(()));
        assert!(spool.draft(other.clone()).is_ok());
    };
    full(&spool);
    drop(spool);
    let spool = Spool::open(&config, |_| {}).unwrap();
    full(&spool);
    spool.remove(first).await.unwrap();
    assert_eq!(spool.has_room_for(Some("app")), Ok(()));
}
