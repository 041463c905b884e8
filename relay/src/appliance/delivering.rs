//! The outbound side as the relay runs it: one at work, and those of earlier configurations that
//! bring to an end what they have begun.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::Config;
use crate::journal::Journal;
use crate::net::outbound;
use crate::net::routes::Routes;
use crate::spool::Spool;

/// The outbound side under one configuration, and what is left of earlier ones.
pub(super) struct Delivering {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Each ends when its last attempt does, which has deadlines of its own.
    leaving: JoinSet<()>,
}

impl Delivering {
    pub(super) fn start(
        spool: &Arc<Spool>,
        config: &Arc<Config>,
        routes: &Arc<Routes>,
        journal: &Journal,
    ) -> Self {
        let (stop, task) = begin(spool, config, routes, journal);
        Self { stop, task, leaving: JoinSet::new() }
    }

    /// Delivers under another configuration from now on. What is under way comes to its end: cut
    /// off, it would arrive twice.
    pub(super) fn renew(
        &mut self,
        spool: &Arc<Spool>,
        config: &Arc<Config>,
        routes: &Arc<Routes>,
        journal: &Journal,
    ) {
        let (stop, task) = begin(spool, config, routes, journal);
        let _ = std::mem::replace(&mut self.stop, stop).send(true);
        let former = std::mem::replace(&mut self.task, task);
        while self.leaving.try_join_next().is_some() {}
        self.leaving.spawn(async move { drop(former.await) });
    }

    /// Waits until the outbound side ends without being told to, which is a fault of ours, and says
    /// how. Not to be called again after that.
    pub(super) async fn failed(&mut self) -> String {
        let ended = (&mut self.task).await;
        ended.map_or_else(|fault| fault.to_string(), |()| "it ended".to_owned())
    }

    /// Waits until all that is under way has come to its end.
    pub(super) async fn end(mut self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
        while self.leaving.join_next().await.is_some() {}
    }
}

fn begin(
    spool: &Arc<Spool>,
    config: &Arc<Config>,
    routes: &Arc<Routes>,
    journal: &Journal,
) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (stop, stopped) = watch::channel(false);
    let (spool, config, routes) = (spool.clone(), config.clone(), routes.clone());
    let run = outbound::run(spool, config, routes, journal.clone(), stopped);
    (stop, tokio::spawn(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_that_ends_the_outbound_side_is_noticed() {
        let (stop, _) = watch::channel(false);
        let task = tokio::spawn(async { panic!("a fault of ours") });
        let mut delivering = Delivering { stop, task, leaving: JoinSet::new() };
        let how = delivering.failed().await;
        assert!(how.contains("a fault of ours"), "{how}");
    }
}
