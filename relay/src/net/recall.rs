//! Messages on their way, and operators who want one back.
//!
//! Whoever carries a message lets it go when it is asked for here, wherever it stands: while it waits for
//! its turn, a connection, or an answer. But not once its end is said to a next hop: then it may have been
//! taken, and only the answer tells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::mail::message::MessageId;

/// How long a message that was let go waits before it is tried again: meanwhile it is the operator's.
pub(super) const STAYS: Duration = Duration::from_secs(10);

/// What is said of a message that was let go.
pub(super) const WORDS: &str = "an operator asked for it while it was on its way";

/// The messages that are on their way: as many as the lanes have in memory.
#[derive(Debug, Default)]
pub struct Recalls(Mutex<HashMap<MessageId, Arc<watch::Sender<bool>>>>);

/// A message on its way, until this is dropped.
pub(super) struct Underway {
    recalls: Arc<Recalls>,
    id: MessageId,
    asked: Arc<watch::Sender<bool>>,
    recall: Recall,
}

/// Whether a message is asked for.
#[derive(Clone, Debug)]
pub(super) struct Recall(watch::Receiver<bool>);

impl Recalls {
    /// Enters a message that sets out.
    pub(super) fn enter(self: Arc<Self>, id: MessageId) -> Underway {
        let (asked, recall) = watch::channel(false);
        let asked = Arc::new(asked);
        self.lock().insert(id, Arc::clone(&asked));
        Underway { recalls: self, id, asked, recall: Recall(recall) }
    }

    /// Asks for a message, and waits at most this long until it is on its way no more.
    ///
    /// Returns whether it is not: then it waits in the spool for a few seconds at least, unless it was done
    /// with before.
    pub async fn ask(&self, id: MessageId, patience: Duration) -> bool {
        let Some(asked) = self.lock().get(&id).cloned() else { return true };
        asked.send_replace(true);
        timeout(patience, asked.closed()).await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MessageId, Arc<watch::Sender<bool>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underway {
    pub(super) fn recall(&self) -> Recall {
        self.recall.clone()
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut all = self.recalls.lock();
        // It may have set out again already.
        if all.get(&self.id).is_some_and(|asked| Arc::ptr_eq(asked, &self.asked)) {
            all.remove(&self.id);
        }
    }
}

impl Recall {
    /// Waits until the message is asked for.
    pub(super) async fn asked(&self) {
        let mut asked = self.0.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody is left who could.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
impl Default for Recall {
    /// Returns that of a message which nobody asks for.
    fn default() -> Self {
        Self(watch::channel(false).1)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const ID: MessageId = MessageId(7);

    #[tokio::test]
    async fn a_message_is_asked_for_until_it_is_let_go() {
        let recalls = Arc::new(Recalls::default());
        assert!(recalls.ask(ID, Duration::ZERO).await, "it is not on its way");
        let first = Arc::clone(&recalls).enter(ID);
        let recall = first.recall();
        assert!(recall.asked().now_or_never().is_none());
        assert!(!recalls.ask(ID, Duration::ZERO).await, "nobody has let it go");
        assert!(recall.asked().now_or_never().is_some());
        drop(recall);
        let second = Arc::clone(&recalls).enter(ID);
        drop(first);
        assert!(!recalls.ask(ID, Duration::ZERO).await, "it has set out again");
        drop(second);
        assert!(recalls.ask(ID, Duration::ZERO).await);
        assert!(recalls.lock().is_empty());
    }
}
