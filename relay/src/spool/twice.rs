//! Messages that come twice, on a real folder.

use std::path::Path;

use tokio::sync::oneshot;

use super::order::{Order, What};
use super::samples::envelope;
use super::simulated::{Dice, Simulated};
use super::simulation::{Model, start};
use super::*;
use crate::mail::fingerprint::{Arguments, Fingerprint, Text};

fn open(folder: &Path) -> Spool {
    let config = config::Spool { path: folder.to_owned(), reserve_bytes: 0, messages: 1000 };
    Spool::open(&config, |event| panic!("{event:?}")).unwrap()
}

fn print(text: &[u8]) -> Fingerprint {
    let mut whole = Text::default();
    whole.add(text);
    whole.finish(Some("app"), Arguments::of_mail(b"FROM:<a@example.com>"))
}

async fn submit(spool: &Spool, text: &[u8]) -> Result<MessageId, StoreError> {
    let mut draft = spool.draft(envelope("a")).unwrap();
    draft.append(text).await;
    draft.commit_once(print(text)).await
}

/// Takes what is due and says that it was delivered.
async fn deliver(spool: &Spool) {
    let claim = spool.claim().await;
    let recipient = claim.pending()[0].clone();
    let fate = crate::mail::outcome::Fate::Delivered;
    let outcome = Outcome { recipient, fate, next_hop: String::new(), reply: String::new() };
    spool.settle(claim, vec![outcome]).await.unwrap();
}

#[tokio::test]
async fn a_submission_that_was_not_confirmed_gets_the_first_id_and_is_stored_once() {
    let home = tempfile::tempdir().unwrap();
    let spool = open(&home.path().join("spool"));
    let long = vec![b'x'; 3 * PART];
    for text in [&b"short"[..], &long] {
        let first = submit(&spool, text).await.unwrap();
        assert_eq!(submit(&spool, text).await, Err(StoreError::Repeat(first)));
        deliver(&spool).await;
        assert_eq!(submit(&spool, text).await, Err(StoreError::Repeat(first)), "it was delivered");
        spool.confirm(first);
        let second = submit(&spool, text).await.unwrap();
        assert!(second > first);
        deliver(&spool).await;
    }
    assert_eq!(spool.status().unwrap().messages, 0);
    let index = spool.shared.index();
    assert!(index.segments.values().all(|tally| tally.pins == 0 && tally.live_bytes == 0));
}

#[tokio::test]
async fn of_many_at_once_one_is_stored() {
    let home = tempfile::tempdir().unwrap();
    let spool = Arc::new(open(&home.path().join("spool")));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let spool = Arc::clone(&spool);
        tasks.spawn(async move { submit(&spool, b"same").await });
    }
    let (mut stored, mut repeated) = (Vec::new(), Vec::new());
    for answer in tasks.join_all().await {
        match answer {
            Ok(id) => stored.push(id),
            Err(StoreError::Repeat(first)) => repeated.push(first),
            Err(problem) => panic!("{problem}"),
        }
    }
    assert_eq!((stored.len(), repeated.len()), (1, 49));
    assert!(repeated.iter().all(|first| *first == stored[0]));
    assert_eq!(spool.status().unwrap().messages, 1);
}

#[tokio::test]
async fn an_end_in_order_keeps_what_is_confirmed_and_what_is_not() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("spool");
    let mut expected = Vec::new();
    for round in 0..3 {
        let spool = open(&path);
        let (told, untold) = (format!("told {round}"), format!("untold {round}"));
        let first = submit(&spool, told.as_bytes()).await.unwrap();
        spool.confirm(first);
        expected.push((untold.clone(), submit(&spool, untold.as_bytes()).await.unwrap()));
        deliver(&spool).await;
        deliver(&spool).await;
        // What was not confirmed in earlier rounds either.
        for (text, id) in &expected {
            let again = submit(&spool, text.as_bytes()).await;
            assert_eq!(again, Err(StoreError::Repeat(*id)), "{text}");
        }
    }
    let spool = open(&path);
    for round in 0..3 {
        assert!(submit(&spool, format!("told {round}").as_bytes()).await.is_ok());
    }
}

#[test]
fn what_was_confirmed_is_known_however_the_log_ends() {
    type End = fn(&mut Model);
    let rows: [(&str, End); 3] = [
        ("behind a message", |_| {}),
        ("behind a part of a draft", |model| {
            let (answer, _answered) = oneshot::channel();
            let part = What::Part { number: 0, answer };
            model.commit(vec![Order::new(MessageId(99), part, vec![b'x'; 100])]);
        }),
        ("with a segment that is full", |model| model.committer.seal()),
    ];
    for (row, end) in rows {
        let mut model = Model::new(Simulated::new(2));
        let orders = [10, 20].map(|length| model.put(length, &mut Dice(2)).unwrap());
        model.run(orders.into());
        model.committer.shared.repeats().forget(MessageId(1));
        end(&mut model);
        model.committer.shared.repeats().forget(MessageId(2));
        model.committer.mark();
        let (committer, events) = start(&model.disk);
        assert!(committer.shared.repeats().is_empty(), "{row}");
        assert_eq!(committer.shared.index().entries.len(), 2, "{row}");
        assert_eq!(*events.lock().unwrap(), [], "{row}");
    }
}

#[tokio::test]
async fn a_crash_hides_that_a_message_was_confirmed() {
    let home = tempfile::tempdir().unwrap();
    let (path, crashed) = (home.path().join("spool"), home.path().join("crashed"));
    let spool = open(&path);
    let first = submit(&spool, b"told").await.unwrap();
    deliver(&spool).await;
    spool.confirm(first);
    // What a crash leaves is what lies in the folder now.
    std::fs::create_dir(&crashed).unwrap();
    for file in std::fs::read_dir(&path).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), crashed.join(file.file_name())).unwrap();
    }
    drop(spool);
    let spool = open(&crashed);
    assert_eq!(submit(&spool, b"told").await, Err(StoreError::Repeat(first)));
    spool.confirm(first);
    let second = submit(&spool, b"told").await.unwrap();
    assert!(second > first);
}

/// Changes an octet of the log's first file in the middle of `text`.
fn damage(folder: &Path, text: &[u8]) {
    let file = folder.join("00000001.log");
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(text.len()).position(|octets| octets == text).unwrap();
    bytes[place + text.len() / 2] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_message_that_is_damaged_is_no_first_of_a_repeat() {
    for is_closed in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("spool");
        let open = || {
            let config = config::Spool { path: path.clone(), reserve_bytes: 0, messages: 1000 };
            Spool::open(&config, |_| {}).unwrap()
        };
        let mut spool = open();
        let first = submit(&spool, b"the first text").await.unwrap();
        if is_closed {
            // Its list is written at the end.
            drop(spool);
            damage(&path, b"the first text");
            spool = open();
        } else {
            damage(&path, b"the first text");
        }
        let other = submit(&spool, b"other").await.unwrap();
        let claim = spool.claim().await;
        assert_eq!((claim.id(), spool.status().unwrap().damaged), (other, 1));
        let second = submit(&spool, b"the first text").await.unwrap();
        assert!(second > first, "closed: {is_closed}");
        spool.remove(first).await.unwrap();
        assert_eq!(submit(&spool, b"the first text").await, Err(StoreError::Repeat(second)));
    }
}

#[tokio::test]
async fn a_report_of_the_relay_is_never_a_repeat() {
    let home = tempfile::tempdir().unwrap();
    let spool = open(&home.path().join("spool"));
    let report = || Envelope { source: None, login: None, ..envelope("a") };
    for _ in 0..2 {
        spool.draft(report()).unwrap().commit().await.unwrap();
    }
    assert_eq!(spool.status().unwrap().messages, 2);
    assert!(spool.shared.repeats().is_empty());
}
