//! Messages whose carrier fails by a fault of ours, again and again: after a few times such a message is
//! held, so that the rest of the queue flows.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::event::Event;
use crate::history::Fact;
use crate::journal::Journal;
use crate::mail::message::MessageId;
use crate::spool::Spool;

/// How often a message is tried whose carrier failed each time.
const TRIES: u32 = 3;
/// The most messages of which it is counted; of more the oldest is forgotten, and counted anew.
const COUNTED: usize = 1_000;
/// The longest words of a fault that are told, octets.
const WORDS_MAX: usize = 300;

/// How often carriers have failed, by message.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<BTreeMap<MessageId, u32>>);

impl Faults {
    /// Does `work` with a message, which it has let go of when it ends. If it panics that is told, and the
    /// third time in turn the message is held.
    pub(super) async fn watch(
        &self,
        (spool, journal): (&Spool, &Journal),
        id: MessageId,
        work: impl Future<Output = ()>,
    ) {
        let Err(fault) = caught(work).await else { return self.forget(id) };
        let words = words(fault.as_ref());
        drop(fault);
        let times = self.count(id);
        let how = format!("to carry {id} failed by a fault of ours ({words})");
        let problem = if times < TRIES {
            format!("{how}: it is tried again")
        } else {
            match spool.hold(id).await {
                Ok(()) => {
                    self.forget(id);
                    let why =
                        format!("its carrier failed {times} times by a fault of ours: {words}");
                    journal.history().enter(id, Fact::SetAside { why });
                    format!(
                        "{how} {times} times and it is held: report the fault; `sallyport queue release \
                         {id}` has it tried again"
                    )
                }
                Err(error) => format!("{how} {times} times, and it cannot be held: {error}"),
            }
        };
        journal.write(Event::Trouble { room: "net", problem });
    }

    /// Counts one more fault; returns how many there were in turn.
    fn count(&self, id: MessageId) -> u32 {
        let mut counts = self.counts();
        if counts.len() >= COUNTED && !counts.contains_key(&id) {
            counts.pop_first();
        }
        let times = counts.entry(id).or_default();
        *times = times.saturating_add(1);
        *times
    }

    fn forget(&self, id: MessageId) {
        self.counts().remove(&id);
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<MessageId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for `work`; what it had in hand is dropped when this returns.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    poll_fn(|context| {
        // It is never polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(fault) => Poll::Ready(Err(fault)),
        }
    })
    .await
}

/// Returns what a panic said, on one line.
fn words(fault: &(dyn Any + Send)) -> String {
    let said = fault.downcast_ref::<&str>().copied();
    let said = said.or_else(|| fault.downcast_ref::<String>().map(String::as_str));
    let said = said.unwrap_or("without words");
    said[..said.floor_char_boundary(WORDS_MAX)].replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config;
    use crate::mail::envelope::{Body, Envelope, Terms};
    use crate::smtp::address::ReversePath;
    use crate::spool::{Claim, Place};

    async fn put(spool: &Spool) -> MessageId {
        let envelope = Envelope {
            sender: ReversePath::Null,
            recipients: vec!["a@example.com".parse().unwrap()],
            body: Body::SevenBit,
            login: Some("app".into()),
            tag: None,
            source: "192.0.2.1".parse().ok(),
            received_at: jiff::Timestamp::now(),
            terms: Terms::default(),
            came: None,
            trace: None,
        };
        spool.draft(envelope).unwrap().commit().await.unwrap()
    }

    async fn fail(claim: Claim) {
        tokio::task::yield_now().await;
        let words = format!("no room for {}\n{}", claim.id(), "x".repeat(1000));
        std::panic::resume_unwind(Box::new(words));
    }

    #[tokio::test]
    async fn a_message_that_fails_its_carrier_again_and_again_is_held_and_the_others_flow() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("spool");
        let settings = config::Spool { path, reserve_bytes: 0, messages: 1000 };
        let spool = Spool::open(&settings, |event| panic!("{event:?}")).unwrap();
        let (faults, journal) = (Faults::default(), Journal::memory());
        let bad = put(&spool).await;
        for times in 1..=TRIES {
            spool.retry(bad).unwrap();
            let claim = spool.claim().await;
            assert_eq!(claim.id(), bad);
            faults.watch((&spool, &journal), bad, fail(claim)).await;
            let place = spool.show(bad).await.unwrap().summary.place;
            assert_eq!(place, if times < TRIES { Place::Waiting } else { Place::Held });
        }
        let told = journal.take();
        assert_eq!(told.len(), TRIES as usize, "{told:?}");
        let Some(Event::Trouble { problem, .. }) = told.last() else { panic!("{told:?}") };
        assert!(problem.contains(&format!("`sallyport queue release {bad}`")), "{problem}");
        assert!(problem.contains(&format!("no room for {bad} xxx")), "{problem}");
        assert!(problem.len() < 600, "{problem}");
        let good = put(&spool).await;
        let claim = tokio::time::timeout(Duration::from_secs(5), spool.claim()).await.unwrap();
        assert_eq!(claim.id(), good);
        faults.watch((&spool, &journal), good, async move { drop(claim) }).await;
        assert_eq!((journal.take(), faults.counts().len()), (Vec::new(), 0));
    }

    #[test]
    fn faults_in_between_are_counted_anew_and_no_more_messages_than_the_most() {
        let faults = Faults::default();
        assert_eq!([1, 1, 2].map(|id| faults.count(MessageId(id))), [1, 2, 1]);
        faults.forget(MessageId(1));
        assert_eq!(faults.count(MessageId(1)), 1);
        for id in 0..2 * COUNTED as u64 {
            faults.count(MessageId(id));
        }
        assert_eq!(faults.counts().len(), COUNTED);
    }
}
