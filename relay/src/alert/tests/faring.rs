//! How channels fare: seen by whoever looks, and tried again in time.

use super::*;

#[tokio::test]
async fn a_channel_that_fails_is_seen_until_it_takes_a_test() {
    // The alert, the test, and the alert again, which is due then.
    let mut receiver = Receiver::saying(&[404, 200, 200]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    let mut fares = room.alerts.fares();
    let begun = Timestamp::now();
    room.ear.hear(&full());
    receiver.next().await;
    let failing = |fares: &Arc<[Fare]>| fares.iter().any(|one| one.failing_since.is_some());
    timeout(SOON, fares.wait_for(failing)).await.expect("it is shown").unwrap();
    assert_eq!(room.alerts.troubles(Timestamp::now()), [""; 0], "it may be a moment");
    let later = begun + Duration::from_secs(3600);
    let [trouble] = &room.alerts.troubles(later)[..] else { panic!("it is said") };
    assert!(trouble.starts_with("alert channel ops: it has failed for"), "{trouble}");
    assert!(!trouble.contains("http"), "the address may be a secret: {trouble}");
    room.alerts.test(None).await.unwrap();
    let sound = |fares: &Arc<[Fare]>| !failing(fares);
    timeout(SOON, fares.wait_for(sound)).await.expect("it is shown").unwrap();
    room.alerts.end().await;
}

#[tokio::test]
async fn a_channel_that_refuses_an_alert_for_good_does_not_fail_since_nothing_waits() {
    let mut receiver = Receiver::saying(&[503, 400]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    let mut fares = room.alerts.fares();
    room.ear.hear(&full());
    receiver.next().await;
    let failing = |fares: &Arc<[Fare]>| fares.iter().any(|one| one.failing_since.is_some());
    timeout(SOON, fares.wait_for(failing)).await.expect("it is tried again").unwrap();
    receiver.next().await;
    let sound = |fares: &Arc<[Fare]>| !failing(fares);
    timeout(SOON, fares.wait_for(sound)).await.expect("it is given up").unwrap();
    let listing = room.alerts.list().await.unwrap();
    let ops = listing.channels.iter().find(|channel| channel.name == "ops").unwrap();
    assert_eq!((ops.waiting, ops.last_taken), (0, None));
    assert!(ops.fault.as_ref().unwrap().contains("HTTP status 400"), "it is seen: {ops:?}");
    let given_up = |event: Event| match event {
        Event::Trouble { problem, .. } => problem.contains("ops was not told of spool-full"),
        _ => false,
    };
    assert!(room.journal.take().into_iter().any(given_up));
    room.alerts.end().await;
}

#[tokio::test]
async fn a_heartbeat_that_is_not_taken_is_tried_again_before_its_next_turn() {
    let mut receiver = Receiver::saying(&[503, 200]);
    let hook = format!("{}heartbeat = '1h'\nclasses = []\n", webhook(&receiver.url));
    let site = Site::new(&hook);
    let room = site.room();
    for _ in 0..2 {
        assert_eq!(receiver.next().await["heartbeat"], true);
    }
    room.alerts.end().await;
}

#[tokio::test]
async fn a_channel_fails_as_long_as_something_waits_that_it_did_not_take() {
    let mut receiver = Receiver::saying(&[503, 200, 200]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    let mut fares = room.alerts.fares();
    room.ear.hear(&full());
    let first = receiver.next().await;
    let failing = |fares: &Arc<[Fare]>| fares.iter().any(|one| one.failing_since.is_some());
    timeout(SOON, fares.wait_for(failing)).await.expect("it is shown").unwrap();
    // Another alert overtakes it while it waits, and is taken: the first one is not told yet.
    let share = Event::ShareUsed { login: "app".to_owned() };
    room.ear.hear(&share);
    assert_eq!(receiver.next().await["key"], "share-used/app");
    let ops = async || {
        let listing = room.alerts.list().await.unwrap();
        listing.channels.into_iter().find(|channel| channel.name == "ops").unwrap()
    };
    let taken = async {
        loop {
            let ops = ops().await;
            if ops.last_taken.is_some() {
                return ops;
            }
            tokio::task::yield_now().await;
        }
    };
    let state = timeout(SOON, taken).await.expect("it was taken");
    assert_eq!((state.waiting, state.next_try.is_some(), state.fault), (1, true, None));
    assert!(failing(&fares.borrow_and_update()), "one waits that it did not take");
    assert_eq!(receiver.next().await, first);
    let sound = |fares: &Arc<[Fare]>| !failing(fares);
    timeout(SOON, fares.wait_for(sound)).await.expect("nothing waits").unwrap();
    assert_eq!(ops().await.next_try, None);
    room.alerts.end().await;
}

#[tokio::test]
async fn each_test_has_its_own_id() {
    let mut receiver = Receiver::saying(&[200, 200, 200]);
    let site = Site::new(&webhook(&receiver.url));
    let room = site.room();
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        room.alerts.test(None).await.unwrap();
        ids.insert(receiver.next().await["id"].to_string());
    }
    assert_eq!(ids.len(), 3, "a receiver leaves out what it has already: {ids:?}");
    room.alerts.end().await;
}
