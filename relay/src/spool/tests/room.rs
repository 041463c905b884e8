//! Whether there is room for more.

use std::time::Instant;

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

#[tokio::test]
async fn want_of_room_and_its_end_are_noticed_without_a_submission_and_said_once() {
    let home = Home::new();
    let said = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&said);
    let config = config::Spool { messages: 1, ..home.config() };
    let spool = Spool::open(&config, move |event| ear.lock().unwrap().push(event)).unwrap();
    let began = Instant::now();
    let look = |second| spool.look_for_room(began + Duration::from_secs(second));
    look(0);
    assert_eq!(*said.lock().unwrap(), []);
    let report = Envelope { login: None, source: None, ..envelope("a") };
    let id = spool.draft(report).unwrap().commit().await.unwrap();
    look(1);
    look(2);
    assert!(matches!(said.lock().unwrap()[..], [Event::SpoolFull { messages: 1, .. }]), "{said:?}");
    spool.remove(id).await.unwrap();
    for second in [3, 61, 62, 63] {
        look(second);
    }
    let said = said.lock().unwrap();
    assert!(matches!(said[..], [Event::SpoolFull { .. }, Event::SpoolRoom]), "{said:?}");
}
