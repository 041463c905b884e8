//! What the relay answers on its control socket.

use std::sync::Arc;

use crate::control::caller::{Caller, Right};
use crate::control::server::{Handler, Said, require};
use crate::control::wire::{RelayRequest, RelayStatus};
use crate::event::Event;
use crate::journal::Journal;
use crate::mail::message::MessageId;
use crate::spool::{Spool, StoreError};

/// The most messages that one answer lists.
const LISTED_MAX: usize = 10_000;

/// The relay's side of the control socket.
pub(super) struct Desk<F> {
    pub spool: Arc<Spool>,
    pub journal: Journal,
    /// Tells how the sessions are.
    pub front: F,
}

/// How the front door is.
pub(super) struct Front {
    pub serving: bool,
    pub guard: &'static str,
    pub sessions: usize,
}

impl<F: Fn() -> Front + Send + Sync + 'static> Handler for Desk<F> {
    type Request = RelayRequest;

    async fn answer(
        &self,
        request: RelayRequest,
        _file: Vec<u8>,
        caller: Caller,
    ) -> Result<Said, String> {
        match request {
            RelayRequest::Status => Said::of(&self.status()),
            RelayRequest::QueueList { filter, limit } => {
                require(caller, Right::Change)?;
                Said::of(&self.spool.list(&filter, limit.min(LISTED_MAX)).await)
            }
            RelayRequest::QueueShow { id } => {
                require(caller, Right::Change)?;
                Said::of(&self.spool.show(id).await.map_err(|error| about(id, &error))?)
            }
            RelayRequest::QueueRetry { ids: None } => {
                require(caller, Right::Change)?;
                Said::of(&self.spool.retry_all())
            }
            RelayRequest::QueueRetry { ids: Some(ids) } => {
                require(caller, Right::Change)?;
                for id in &ids {
                    self.spool.retry(*id).map_err(|error| about(*id, &error))?;
                }
                Said::of(&ids.len())
            }
            RelayRequest::SpoolCompact => {
                require(caller, Right::Change)?;
                let compacted = self.spool.compact().await.map_err(|error| error.to_string())?;
                Said::of(&compacted)
            }
            RelayRequest::QueueDrop { ids } => {
                require(caller, Right::Change)?;
                for id in &ids {
                    self.spool.remove(*id).await.map_err(|error| about(*id, &error))?;
                    self.journal.write(Event::Dropped { id: *id, uid: caller.uid });
                }
                Said::of(&ids.len())
            }
        }
    }
}

impl<F: Fn() -> Front> Desk<F> {
    fn status(&self) -> RelayStatus {
        let front = (self.front)();
        RelayStatus {
            pid: std::process::id(),
            serving: front.serving,
            guard: front.guard.to_owned(),
            sessions: front.sessions,
            spool: self.spool.status().ok(),
        }
    }
}

fn about(id: MessageId, error: &StoreError) -> String {
    format!("{id}: {error}")
}
