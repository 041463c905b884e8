//! Captured messages, the newest first: who captures mail wants to see what he just sent.

use super::{PICKED, Picked, open};
use crate::mail::message::MessageId;
use crate::spool::queue::{self, Summary};
use crate::spool::{Spool, StoreError};

/// A part of the captured messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// The newest first.
    pub messages: Vec<Summary>,
    /// Whether there are older ones.
    pub has_more: bool,
}

impl Spool {
    /// Lists captured messages, the newest first: at most `limit`, and at most 64, of those that are older than
    /// `before`; none: of all.
    ///
    /// # Errors
    ///
    /// As [`Spool::list`].
    pub async fn newest_captured(
        &self,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Newest, StoreError> {
        self.look(move |shared| {
            let (picked, has_more) = {
                let mut index = shared.index();
                let older = ..before.unwrap_or(MessageId(u64::MAX));
                let mut older = index.captured.range(older).rev();
                let ids: Vec<_> = older.by_ref().take(limit.min(PICKED)).collect();
                let has_more = older.next().is_some();
                drop(older);
                let entries = ids
                    .into_iter()
                    .filter_map(|id| index.entries.get(&id).cloned().map(|entry| (id, entry)));
                let entries: Vec<_> = entries.collect();
                let picked = entries.into_iter().map(|(id, entry)| {
                    let record = open(shared, &mut index, entry.message);
                    Picked { id, entry, record }
                });
                (picked.collect::<Vec<_>>(), has_more)
            };
            let messages = picked.into_iter().map(|picked| {
                // Of a captured message nobody is open.
                queue::summary(picked.id, &picked.entry, picked.envelope().ok().as_ref(), &[])
            });
            Newest { messages: messages.collect(), has_more }
        })
        .await
    }
}
