//! Between the control socket, which waits for many, and the keeper, who does one thing at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};

use super::keeper::{Bulletin, Keeper};
use super::listeners::Listeners;
use super::ringing::Ring;
use super::{answers, attached};
use crate::control::caller::Caller;
use crate::control::server::{Handler, Said, require};
use crate::control::wire::GateRequest;
use crate::event::Event;
use crate::gate::listfile;
use crate::gate::netlink::Changes;
use crate::net::tally::Tally;
use crate::watch::TICK;

/// The requests that wait for the keeper; more are refused.
const WAITING_MAX: usize = 256;

/// The relays that may be attached at a time: one, and one that takes over.
const ATTACHED_MAX: usize = 4;

/// Every so many ticks the interfaces are looked at: once a second.
const INSPECT_EVERY: u32 = 10;

/// How long further changes of interfaces wait after one: looking costs a question for each interface.
const LINKS_AT_MOST: Duration = Duration::from_millis(20);

/// What the keeper is to do.
pub enum Job {
    /// Answer a request.
    Answer(GateRequest, Vec<u8>, Caller, oneshot::Sender<Result<Said, String>>),
    /// Read the configuration again.
    Reload,
    /// Look at the interfaces: something changed.
    Inspect,
    /// Take what a relay tells of clients.
    Tally(Tally),
    /// End.
    Stop,
}

/// The keeper at work.
pub struct Thread {
    jobs: SyncSender<Job>,
    handle: JoinHandle<()>,
}

impl Thread {
    /// Starts the keeper's thread.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn start(keeper: Keeper) -> std::io::Result<Self> {
        let (jobs, listen) = sync_channel(WAITING_MAX);
        let handle = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || work(keeper, &listen))?;
        Ok(Self { jobs, handle })
    }

    /// Returns where jobs go.
    pub fn jobs(&self) -> SyncSender<Job> {
        self.jobs.clone()
    }

    /// Has the configuration read again. A full queue means that somebody will ask again.
    pub fn reload(&self) {
        let _ = self.jobs.try_send(Job::Reload);
    }

    /// Has the interfaces looked at whenever one of them changes. Without that they are looked at each second.
    ///
    /// # Errors
    ///
    /// If the system cannot tell of changes.
    pub fn watch_links(&self) -> std::io::Result<()> {
        let changes = Changes::open()?;
        let jobs = self.jobs.clone();
        let watch = move || {
            // A full queue has a look in it, or one is due within the second.
            while changes.wait().is_ok() {
                if let Err(TrySendError::Disconnected(_)) = jobs.try_send(Job::Inspect) {
                    return;
                }
                std::thread::sleep(LINKS_AT_MOST);
            }
        };
        std::thread::Builder::new().name("links".into()).spawn(watch).map(drop)
    }

    /// Returns whether the keeper ended by himself.
    pub fn is_over(&self) -> bool {
        self.handle.is_finished()
    }

    /// Ends the keeper after what he is at. The gate stays attached.
    pub fn stop(self) {
        let _ = self.jobs.send(Job::Stop);
        let _ = self.handle.join();
    }
}

/// Does jobs as they come, and every tick what time brings.
fn work(mut keeper: Keeper, jobs: &Receiver<Job>) {
    let mut due = Instant::now();
    let mut ticks = 0;
    loop {
        match jobs.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Job::Answer(request, file, caller, answer)) => {
                let now = keeper.now();
                // Who asked may be gone.
                let _ = answer.send(keeper.answer(request, &file, caller, now));
            }
            Ok(Job::Inspect) => keeper.inspect(keeper.now()),
            Ok(Job::Tally(tally)) => keeper.hear(&tally, keeper.now()),
            Ok(Job::Reload) => {
                let now = keeper.now();
                let detail = match keeper.reload(None, now) {
                    Ok(_) => {
                        Event::Started { process: "gate", detail: "configuration reloaded".into() }
                    }
                    Err(problem) => {
                        let problem = format!("reload refused, all stays as it was: {problem}");
                        Event::Trouble { room: "gate", problem }
                    }
                };
                keeper.journal.write(detail);
            }
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return keeper.end(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Busy with jobs or not: time goes on.
        if Instant::now() >= due {
            let now = keeper.now();
            keeper.sample(now);
            ticks = (ticks + 1) % INSPECT_EVERY;
            if ticks == 0 {
                keeper.inspect(now);
            }
            due = (due + TICK).max(Instant::now());
        }
    }
}

/// Answers callers of the control socket.
pub struct Office {
    jobs: SyncSender<Job>,
    listeners: Arc<Mutex<Listeners>>,
    bulletin: Arc<watch::Sender<Bulletin>>,
    ring: Arc<Ring>,
    relay_uid: u32,
    attached: Arc<AtomicUsize>,
}

impl Office {
    /// Returns the office of a keeper.
    pub fn new(
        jobs: SyncSender<Job>,
        listeners: Arc<Mutex<Listeners>>,
        bulletin: Arc<watch::Sender<Bulletin>>,
        ring: Arc<Ring>,
        relay_uid: u32,
    ) -> Self {
        Self { jobs, listeners, bulletin, ring, relay_uid, attached: Arc::default() }
    }
}

/// An operator may change the list, but mail is the relay's: only it and root may take the sockets that
/// clients speak to.
const fn may_serve(caller: Caller, relay_uid: u32) -> bool {
    caller.uid == relay_uid || caller.uid == 0
}

impl Handler for Office {
    type Request = GateRequest;

    async fn answer(
        &self,
        request: GateRequest,
        file: Vec<u8>,
        caller: Caller,
    ) -> Result<Said, String> {
        let (answer, answered) = oneshot::channel();
        self.jobs
            .try_send(Job::Answer(request, file, caller, answer))
            .map_err(|_| "the gate is too busy; ask again".to_owned())?;
        answered.await.map_err(|_| "the gate ends".to_owned())?
    }

    fn file_of(&self, request: &GateRequest, caller: Caller) -> Result<usize, String> {
        let (GateRequest::AllowApply { bytes, .. } | GateRequest::AllowShadow { bytes }) = request
        else {
            return Ok(0);
        };
        require(caller, answers::right(request))?;
        if *bytes > listfile::BYTES_MAX {
            return Err(format!("the file has more than {} octets", listfile::BYTES_MAX));
        }
        Ok(*bytes)
    }

    fn adopt(
        self: &Arc<Self>,
        request: GateRequest,
        caller: Caller,
        stream: UnixStream,
    ) -> Result<(), (GateRequest, UnixStream)> {
        let GateRequest::Attach { sockets } = request else { return Err((request, stream)) };
        if !may_serve(caller, self.relay_uid) {
            return Err((request, stream));
        }
        if self.attached.fetch_add(1, Ordering::Relaxed) >= ATTACHED_MAX {
            self.attached.fetch_sub(1, Ordering::Relaxed);
            return Err((request, stream));
        }
        let (listeners, attached) = (self.listeners.clone(), self.attached.clone());
        let (bulletin, jobs) = (self.bulletin.subscribe(), self.jobs.clone());
        let ring = self.ring.clone();
        tokio::spawn(async move {
            // A relay that went away is its own affair: it comes back.
            let _ = attached::attend(stream, sockets, listeners, bulletin, &ring, &jobs).await;
            attached.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::caller::Right;

    #[test]
    fn only_the_relay_and_root_are_given_the_sockets() {
        for (uid, right, wanted) in [
            (990, Right::Relay, true),
            (0, Right::Change, true),
            (1000, Right::Change, false),
            (1001, Right::Look, false),
        ] {
            assert_eq!(may_serve(Caller { uid, right }, 990), wanted, "{uid} {right:?}");
        }
    }
}
