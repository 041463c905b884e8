//! The spool as its users see it, on a real folder.

mod attempts;
mod room;
mod staying;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::samples::envelope;
use super::*;
use crate::mail::outcome::Fate;
use crate::smtp::address::Address;

/// An open spool in a folder of its own, with what it reported.
struct Home {
    folder: tempfile::TempDir,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), events: Arc::default() }
    }

    fn config(&self) -> config::Spool {
        let path = self.folder.path().join("spool");
        config::Spool { path, reserve_bytes: 0, messages: 1000 }
    }

    fn open(&self) -> Spool {
        let events = Arc::clone(&self.events);
        Spool::open(&self.config(), move |event| events.lock().unwrap().push(event)).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }
}

async fn put(spool: &Spool, body: &[u8]) -> MessageId {
    let mut draft = spool.draft(envelope("a")).unwrap();
    draft.append(body).await;
    draft.commit().await.unwrap()
}

async fn body_of(claim: &Claim) -> Vec<u8> {
    let (mut reader, mut body) = (claim.body(), Vec::new());
    while let Some(chunk) = reader.read_chunk().await.unwrap() {
        assert!(!chunk.is_empty());
        body.extend(chunk);
    }
    body
}

fn outcome(recipient: &Address, fate: Fate) -> Outcome {
    let (next_hop, reply) = ("mx.example.com:25".to_owned(), "250 2.0.0 ok".to_owned());
    Outcome { recipient: recipient.clone(), fate, next_hop, reply }
}

fn all(claim: &Claim, fate: &Fate) -> Vec<Outcome> {
    claim.pending().iter().map(|recipient| outcome(recipient, fate.clone())).collect()
}

/// Returns a claim if one is to be had soon.
async fn claim_now(spool: &Spool) -> Option<Claim> {
    tokio::time::timeout(Duration::from_millis(200), spool.claim()).await.ok()
}

#[tokio::test]
async fn a_committed_message_comes_back_whole_also_after_a_restart() {
    let home = Home::new();
    let sizes = [0, 1, 4096, PART - 1, PART, PART + 1, 3 * PART, 5 * PART + 17];
    let mut expected = Vec::new();
    let spool = home.open();
    for size in sizes {
        let body: Vec<u8> = (0..size).map(|place| (place * 31 + size) as u8).collect();
        expected.push((put(&spool, &body).await, body));
    }
    drop(spool);
    let spool = home.open();
    for (id, body) in &expected {
        let claim = claim_now(&spool).await.expect("a message is due");
        assert_eq!(claim.id(), *id);
        assert_eq!(claim.envelope(), &envelope("a"));
        assert_eq!(claim.size_bytes(), body.len() as u64);
        assert!(body_of(&claim).await == *body, "{} octets", body.len());
        assert!(body_of(&claim).await == *body, "a second reading");
        let outcomes = all(&claim, &Fate::Delivered);
        spool.settle(claim, outcomes).await.unwrap();
    }
    assert!(claim_now(&spool).await.is_none());
    assert_eq!(spool.status().unwrap().messages, 0);
    drop(spool);
    assert_eq!(home.open().status().unwrap().messages, 0);
    assert_eq!(home.events(), []);
}

#[tokio::test]
async fn ids_rise_over_restarts_and_are_never_used_twice() {
    let home = Home::new();
    let mut last = MessageId(0);
    for _ in 0..3 {
        let spool = home.open();
        for _ in 0..50 {
            let draft = spool.draft(envelope("a")).unwrap();
            assert!(draft.id() > last);
            last = draft.id();
        }
        assert!(put(&spool, b"x\r\n").await > last);
    }
}

#[tokio::test]
async fn a_dropped_draft_is_gone_and_leaves_no_space_in_use() {
    let home = Home::new();
    let spool = home.open();
    let mut draft = spool.draft(envelope("a")).unwrap();
    draft.append(&vec![b'x'; 3 * PART]).await;
    drop(draft);
    put(&spool, b"y\r\n").await;
    assert_eq!(spool.status().unwrap().messages, 1);
    let index = spool.shared.index();
    assert!(index.segments.values().all(|tally| tally.pins == 0 && tally.live_bytes < 4096));
    drop(index);
    drop(spool);
    assert_eq!(home.open().status().unwrap().messages, 1);
}

#[tokio::test]
async fn a_claim_is_alone_and_an_unsettled_one_comes_back() {
    let home = Home::new();
    let spool = home.open();
    let id = put(&spool, b"x\r\n").await;
    let claim = claim_now(&spool).await.unwrap();
    assert!(claim_now(&spool).await.is_none());
    assert_eq!(spool.retry(id), Err(StoreError::Claimed));
    assert_eq!(spool.remove(id).await, Err(StoreError::Claimed));
    drop(claim);
    let details = spool.show(id).await.unwrap();
    let due_in = details.summary.due_at.unwrap().duration_since(Timestamp::now());
    assert!((55..=60).contains(&due_in.as_secs()), "{due_in}");
    assert!(claim_now(&spool).await.is_none());
    spool.retry(id).unwrap();
    assert_eq!(claim_now(&spool).await.unwrap().id(), id);
}

#[tokio::test]
async fn outcomes_survive_a_restart_and_only_open_recipients_are_left() {
    let home = Home::new();
    let spool = home.open();
    let mut message = envelope("a");
    message.recipients =
        ["a@example.net", "b@example.net", "c@example.net"].map(|a| a.parse().unwrap()).into();
    let recipients = message.recipients.clone();
    let mut draft = spool.draft(message).unwrap();
    draft.append(b"x\r\n").await;
    let id = draft.commit().await.unwrap();
    let claim = claim_now(&spool).await.unwrap();
    let outcomes = vec![
        outcome(&recipients[0], Fate::Delivered),
        outcome(&recipients[1], Fate::Deferred(Duration::from_secs(900))),
        outcome(&recipients[2], Fate::Deferred(Duration::from_secs(60))),
    ];
    spool.settle(claim, outcomes).await.unwrap();
    drop(spool);
    let spool = home.open();
    let details = spool.show(id).await.unwrap();
    assert_eq!((details.summary.attempts, details.summary.pending), (1, 2));
    let due_in = details.summary.due_at.unwrap().duration_since(Timestamp::now()).as_secs();
    assert!((890..=900).contains(&due_in), "{due_in}");
    assert!(claim_now(&spool).await.is_none());
    assert_eq!(spool.retry_all().await, Ok(1));
    let claim = claim_now(&spool).await.unwrap();
    assert_eq!(claim.pending(), &recipients[1..]);
    assert_eq!(claim.attempts(), 1);
    assert_eq!(claim.progress()[0].standing, Standing::Delivered);
    assert_eq!(claim.progress()[1].last.as_ref().unwrap().reply, "250 2.0.0 ok");
    let outcomes = all(&claim, &Fate::Failed);
    spool.settle(claim, outcomes).await.unwrap();
    assert_eq!(spool.show(id).await, Err(StoreError::Gone));
}

#[tokio::test]
async fn a_waiting_claim_is_woken_by_a_commit_and_by_the_time() {
    let home = Home::new();
    let spool = Arc::new(home.open());
    let waiting = tokio::spawn({
        let spool = Arc::clone(&spool);
        async move { spool.claim().await }
    });
    tokio::task::yield_now().await;
    let id = put(&spool, b"x\r\n").await;
    let claim = waiting.await.unwrap();
    assert_eq!(claim.id(), id);
    let outcomes = all(&claim, &Fate::Deferred(Duration::from_millis(50)));
    spool.settle(claim, outcomes).await.unwrap();
    assert_eq!(spool.claim().await.attempts(), 1);
}

#[tokio::test]
async fn the_end_of_the_writer_is_noticed() {
    let home = Home::new();
    let spool = home.open();
    assert!(spool.is_written());
    spool.shared.is_closing.store(true, Ordering::Release);
    spool.orders.send(Command::Look).await.unwrap();
    spool.orders.closed().await;
    assert!(!spool.is_written());
}

#[tokio::test]
async fn a_full_spool_refuses_submissions_and_takes_reports() {
    let home = Home::new();
    let spool = home.open();
    let config = config::Spool { messages: 1, ..home.config() };
    drop(spool);
    let spool = Spool::open(&config, |_| {}).unwrap();
    put(&spool, b"x\r\n").await;
    assert_eq!(spool.draft(envelope("a")).unwrap_err(), StoreError::Full);
    let report = Envelope { source: None, login: None, ..envelope("a") };
    spool.draft(report.clone()).unwrap().commit().await.unwrap();
    drop(spool);
    let config = config::Spool { reserve_bytes: u64::MAX, messages: 1000, ..config };
    let spool = Spool::open(&config, |_| {}).unwrap();
    assert_eq!(spool.draft(envelope("a")).unwrap_err(), StoreError::Full);
    spool.draft(report).unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_full_spool_and_a_used_share_are_said_once() {
    let home = Home::new();
    drop(home.open());
    let said = Arc::new(Mutex::new(Vec::new()));
    let open = |messages| {
        let said = Arc::clone(&said);
        let config = config::Spool { messages, ..home.config() };
        Spool::open(&config, move |event| said.lock().unwrap().push(event)).unwrap()
    };
    let spool = open(8);
    put(&spool, b"x\r\n").await;
    put(&spool, b"x\r\n").await;
    for _ in 0..3 {
        assert_eq!(spool.has_room_for(Some("app")), Err(StoreError::ShareUsed));
    }
    drop(spool);
    let spool = open(2);
    for _ in 0..3 {
        assert_eq!(spool.has_room_for(Some("app")), Err(StoreError::Full));
    }
    let said = std::mem::take(&mut *said.lock().unwrap());
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0], Event::ShareUsed { login: "app".to_owned() });
    assert!(matches!(said[1], Event::SpoolFull { messages: 2, .. }), "{said:?}");
}

#[tokio::test]
async fn one_process_opens_a_spool_and_a_second_is_told_so() {
    let home = Home::new();
    let spool = home.open();
    assert_eq!(Spool::open(&home.config(), |_| {}).unwrap_err(), StoreError::Locked);
    drop(spool);
    home.open();
}

#[tokio::test]
async fn operators_list_find_and_remove() {
    let home = Home::new();
    let spool = home.open();
    let mut ids = Vec::new();
    for name in ["ann", "bob", "Anna"] {
        ids.push(spool.draft(envelope(name)).unwrap().commit().await.unwrap());
    }
    let from_start = Stretch::default();
    let first = spool.list(Filter::default(), from_start, 2).await.unwrap();
    assert_eq!(first.messages.iter().map(|m| m.id).collect::<Vec<_>>(), ids[..2]);
    let rest = spool.list(Filter::default(), first.next.unwrap(), 2).await.unwrap();
    assert_eq!(rest.messages.iter().map(|m| m.id).collect::<Vec<_>>(), ids[2..]);
    assert_eq!(rest.next, None);
    let ann = Filter { sender: Some("ann".into()), ..Filter::default() };
    let found = spool.list(ann, from_start, 9).await.unwrap();
    assert_eq!(found.messages.iter().map(|m| m.id).collect::<Vec<_>>(), [ids[0], ids[2]]);
    assert_eq!(found.messages[0].place, Place::Waiting);
    let elsewhere = Filter { domain: Some("example.org".into()), ..Filter::default() };
    assert_eq!(spool.list(elsewhere, from_start, 9).await.unwrap().messages, []);
    spool.remove(ids[0]).await.unwrap();
    assert_eq!(spool.remove(ids[0]).await, Err(StoreError::Gone));
    assert_eq!(spool.retry(ids[0]), Err(StoreError::Gone));
    drop(spool);
    assert_eq!(home.open().status().unwrap().messages, 2);
}

#[tokio::test]
async fn a_damaged_message_is_set_aside_and_the_others_go_on() {
    let home = Home::new();
    let spool = home.open();
    let (bad, good) = (put(&spool, b"first\r\n").await, put(&spool, b"second\r\n").await);
    let segment = home.config().path.join("00000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = bytes.windows(5).position(|octets| octets == b"first").unwrap();
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(claim_now(&spool).await.unwrap().id(), good);
    assert_eq!(spool.status().unwrap().damaged, 1);
    let named = home.events();
    assert!(matches!(&named[..], [Event::SpoolDamaged { place, .. }] if *place == bad.to_string()));
    assert!(matches!(spool.show(bad).await, Err(StoreError::Damaged(_))));
    let page = spool.list(Filter::default(), Stretch::default(), 9).await.unwrap();
    assert_eq!(page.messages[0].place, Place::Damaged);
    spool.remove(bad).await.unwrap();
    assert_eq!(spool.status().unwrap().damaged, 0);
}

#[tokio::test]
async fn a_message_whose_body_is_lost_on_the_way_stays_set_aside_when_the_attempt_is_settled() {
    let home = Home::new();
    let spool = home.open();
    let id = put(&spool, &vec![b'x'; 3 * PART]).await;
    let segment = home.config().path.join("00000001.log");
    let bytes = std::fs::read(&segment).unwrap();
    let place = bytes.windows(64).position(|octets| octets == [b'x'; 64]).unwrap();
    let put_in = |octet| {
        let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[octet], place as u64).unwrap();
    };
    put_in(b'y');
    let claim = claim_now(&spool).await.expect("its envelope is sound");
    assert!(matches!(claim.body().read_chunk().await, Err(StoreError::Damaged(_))));
    assert_eq!(spool.retry(id), Err(StoreError::Claimed), "it has one claim at a time");
    assert_eq!(spool.status().unwrap().damaged, 1);
    let outcomes = all(&claim, &Fate::Deferred(Duration::ZERO));
    spool.settle(claim, outcomes).await.unwrap();
    let summary = spool.show(id).await.unwrap().summary;
    assert_eq!((summary.place, summary.attempts), (Place::Damaged, 1));
    assert!(claim_now(&spool).await.is_none(), "nobody tries again by himself");
    // One that comes to nothing does the same.
    spool.retry(id).unwrap();
    let claim = claim_now(&spool).await.unwrap();
    assert!(claim.body().read_chunk().await.is_err());
    drop(claim);
    assert_eq!(spool.show(id).await.unwrap().summary.place, Place::Damaged);
    put_in(b'x');
    spool.retry(id).unwrap();
    let claim = claim_now(&spool).await.expect("an operator wants it tried again");
    assert_eq!(body_of(&claim).await.len(), 3 * PART);
    assert_eq!(spool.status().unwrap().damaged, 0);
}

#[tokio::test]
async fn space_is_given_back_at_once_if_somebody_asks() {
    let home = Home::new();
    let spool = home.open();
    let mut kept = Vec::new();
    for number in 0..90 {
        let id = put(&spool, &vec![b'x'; PART * 4]).await;
        if number % 3 == 0 {
            kept.push(id);
        } else {
            spool.remove(id).await.unwrap();
        }
    }
    // Two thirds are dead: no file is emptied by itself while a quarter of it counts.
    let before = spool.status().unwrap();
    let done = spool.compact().await.unwrap();
    let after = spool.status().unwrap();
    assert!(done.is_done);
    assert_eq!((done.before_bytes, done.after_bytes), (before.log_bytes, after.log_bytes));
    assert!(after.log_bytes < before.log_bytes / 2, "{before:?} {after:?}");
    assert!(after.log_bytes < after.body_bytes + after.body_bytes / 8, "{after:?}");
    let again = spool.compact().await.unwrap();
    assert_eq!(again.before_bytes, again.after_bytes, "there is nothing more to be had");
    drop(spool);
    let spool = home.open();
    for id in kept {
        assert_eq!(claim_now(&spool).await.unwrap().id(), id);
    }
    assert!(check(&home.config().path).unwrap().is_sound());
    assert_eq!(home.events(), []);
}
