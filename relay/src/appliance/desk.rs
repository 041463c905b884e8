//! What the relay answers on its control socket.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::mailroom::Mailroom;
use crate::control::caller::{Caller, Right};
use crate::control::server::{Handler, Said, require};
use crate::control::wire::{RelayRequest, RelayStatus};
use crate::journal::Journal;
use crate::spool::Spool;

/// Somebody who waits for the configuration to be read again, and how that went: a sentence about what
/// takes a restart, or why all stays as it was.
pub(super) type Reloading = oneshot::Sender<Result<Option<String>, String>>;

/// The relay's side of the control socket.
pub(super) struct Desk<F> {
    pub spool: Arc<Spool>,
    pub journal: Journal,
    /// Tells how the sessions are.
    pub front: F,
    /// Asks the relay to read its configuration again.
    pub reload: mpsc::Sender<Reloading>,
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
            RelayRequest::Reload => {
                require(caller, Right::Change)?;
                Said::of(&self.reload().await?)
            }
            RelayRequest::QueueList { filter, stretch, limit } => {
                self.mail(caller, "see mail")?.list(filter, stretch, limit).await
            }
            RelayRequest::QueueShow { id } => self.mail(caller, "see mail")?.show(id).await,
            RelayRequest::QueueRead { id, number } => {
                self.mail(caller, "read mail")?.read(id, number).await
            }
            RelayRequest::QueueCount { act, filter, stretch } => {
                self.mail(caller, "see mail")?.count(act, filter, stretch).await
            }
            RelayRequest::SpoolCompact => {
                require(caller, Right::Change)?;
                let compacted = self.spool.compact().await.map_err(|error| error.to_string())?;
                Said::of(&compacted)
            }
            RelayRequest::QueueChange { act, which } => {
                self.mail(caller, "change mail")?.change(act, which).await
            }
            RelayRequest::Trace { id, from } => {
                self.mail(caller, "see the life of a message")?.trace(id, from).await
            }
        }
    }
}

impl<F: Fn() -> Front> Desk<F> {
    /// Lets in whoever may do this with mail.
    fn mail(&self, caller: Caller, deed: &str) -> Result<Mailroom<'_>, String> {
        Mailroom::enter(&self.spool, &self.journal, caller, deed)
    }

    async fn reload(&self) -> Result<Option<String>, String> {
        let ending = || "the relay is ending".to_owned();
        let (answer, answered) = oneshot::channel();
        self.reload.send(answer).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

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
