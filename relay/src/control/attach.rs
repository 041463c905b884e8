//! The relay's open connection to the gate: listening sockets come over it, and notices.
//!
//! The gate made the listening sockets and hands them over. A gate that was killed has lost its own
//! descriptors of them, while the relay still serves; so the relay keeps a descriptor of each and
//! shows them to the gate that comes after. That one knows them again, or makes new ones.
//!
//! ```text
//! relay  {"verb":"attach","sockets":2}
//! gate   {"ok":"show"}                                  only if there are any
//! relay  "here"                                         with the descriptors
//! gate   {"ok":{"listeners":[…]}}                       with the descriptors of new ones
//! gate   "serve", "refuse" or "list-changed"            a line each, from then on
//! relay  {"completed":…,"failed":…}                     what clients did, if the gate said "hears"
//! gate   {"series":…,"number":…,"alert":{…}}            what a person is to be told, all it still has first
//! ```

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::passing::Lines;
use super::pulse::{self, Silence};
use super::wire::{Answer, GateRequest, Notice, Passed, Word};
use crate::journal::Journal;
use crate::net::tally::Tallies;

/// The longest line of this dialogue, octets.
pub const LINE_MAX: usize = 64 << 10;

/// How long the other side may take for its next line while the dialogue has not reached notices.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The waits between two attempts to reach the gate: doubled each time, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// How long the gate may be away before somebody hears of it: it may just start, or be started anew.
const AWAY: Duration = Duration::from_secs(5);

/// How often the gate is told what clients did, also if they did nothing: it tells a relay that nobody came to from
/// one that stands still.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What the relay has not heard yet, at most; the gate waits for it then.
const UNHEARD: usize = 16;

/// The gate's answer: which sockets to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The sockets to serve. What the relay holds besides, it must close.
    pub listeners: Vec<Handed>,
    /// Whether the gate hears [tallies](crate::net::tally::Tally); one of an earlier version takes every word for the end.
    #[serde(default)]
    pub hears: bool,
}

/// A listening socket that the relay is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// Its address.
    pub address: SocketAddr,
    /// Where the relay finds it.
    pub found: Found,
}

/// Where the relay finds a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// Among those it showed, by place, from 0.
    Shown(usize),
    /// Among those that come with the answer, by place, from 0.
    Sent(usize),
}

/// A listening socket of the gate's.
#[derive(Debug)]
pub struct Listening {
    /// Its address.
    pub address: SocketAddr,
    /// The socket, in non-blocking mode.
    pub socket: TcpListener,
}

/// What the gate told.
#[derive(Debug)]
pub enum Told {
    /// Serve exactly these sockets from now on, and close those told before.
    Listeners(Vec<Listening>),
    /// Something that changed.
    Notice(Notice),
    /// Something that a person is to be told; after every reconnection what was heard before comes again.
    Alert(Box<Passed>),
}

/// The relay's end of the connection: a task that connects again for ever. It ends when this is
/// dropped.
#[derive(Debug)]
pub struct Attachment {
    told: mpsc::Receiver<Told>,
    task: JoinHandle<()>,
}

impl Attachment {
    /// Begins to attach to the gate that serves `socket`, which is told what `tallies` count. Must be called
    /// within a tokio runtime.
    #[must_use]
    pub fn open(socket: PathBuf, tallies: Tallies, journal: Journal) -> Self {
        let (tell, told) = mpsc::channel(UNHEARD);
        let silence = Silence::new(socket.clone(), journal);
        let link = Link { socket, tallies, tell, held: Vec::new(), silence };
        Self { told, task: tokio::spawn(link.keep()) }
    }

    /// Waits for the next word of the gate. After every reconnection `Notice::ListChanged` comes, since
    /// notices may have been missed, and `Serve` or `Refuse`.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Told {
        match self.told.recv().await {
            Some(told) => told,
            // The task never ends while this half lives; a panic in it was reported as such.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("no answer in time")]
    Silence(#[from] tokio::time::error::Elapsed),
    #[error("the connection ended")]
    Ended,
    #[error("refused: {0}")]
    Refused(String),
    #[error("not understood: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("it named a socket that it did not send")]
    Missing,
}

struct Link {
    socket: PathBuf,
    tallies: Tallies,
    tell: mpsc::Sender<Told>,
    held: Vec<(SocketAddr, OwnedFd)>,
    silence: Silence,
}

impl Link {
    async fn keep(mut self) {
        let mut wait = RETRY.0;
        let mut quiet_until = Instant::now() + AWAY;
        while !self.tell.is_closed() {
            let mut attached = false;
            let Err(problem) = self.once(&mut attached).await else { return };
            if attached {
                (wait, quiet_until) = (RETRY.0, Instant::now() + AWAY);
            }
            // Nothing is said of a gate that is started anew.
            if Instant::now() >= quiet_until {
                self.silence.begin(problem);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    /// Attaches and passes notices on until the connection ends; `Ok` if nobody listens to them.
    async fn once(&mut self, attached: &mut bool) -> Result<(), LinkError> {
        let mut lines = Lines::new(UnixStream::connect(&self.socket).await?);
        let handover = timeout(PATIENCE, self.greet(&mut lines)).await??;
        if let Some(listening) = self.take(&handover, lines.take_descriptors())?
            && self.tell.send(Told::Listeners(listening)).await.is_err()
        {
            return Ok(());
        }
        *attached = true;
        self.silence.end();
        tokio::select! {
            ended = self.pass_on(lines, handover.hears) => ended,
            never = pulse::watch(&self.silence) => match never {},
        }
    }

    /// Passes notices on, and tells what clients do to a gate that hears it.
    async fn pass_on(&self, mut lines: Lines, hears: bool) -> Result<(), LinkError> {
        // What was counted while nobody heard is not what happens now.
        let _ = self.tallies.take();
        let mut tick = interval(TELL_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told::Notice(Notice::ListChanged);
        while self.tell.send(told).await.is_ok() {
            told = loop {
                tokio::select! {
                    line = lines.read(LINE_MAX) => {
                        let line = line?.ok_or(LinkError::Ended)?;
                        break match serde_json::from_slice(&line)? {
                            Word::Notice(notice) => Told::Notice(notice),
                            Word::Alert(passed) => Told::Alert(passed),
                        };
                    }
                    () = self.tell.closed() => return Ok(()),
                    _ = tick.tick(), if hears => {}
                }
                let tally = serde_json::to_vec(&self.tallies.take())?;
                timeout(PATIENCE, lines.write(&tally, &[])).await??;
            };
        }
        Ok(())
    }

    async fn greet(&self, lines: &mut Lines) -> Result<Handover, LinkError> {
        let request = serde_json::to_vec(&GateRequest::Attach { sockets: self.held.len() })?;
        lines.write(&request, &[]).await?;
        if !self.held.is_empty() {
            let _: String = answer(lines).await?;
            let held: Vec<BorrowedFd<'_>> = self.held.iter().map(|(_, fd)| fd.as_fd()).collect();
            lines.write(b"\"here\"", &held).await?;
        }
        answer(lines).await
    }

    /// Keeps the descriptors that the gate named; none if they are the ones held already.
    fn take(
        &mut self,
        handover: &Handover,
        sent: Vec<OwnedFd>,
    ) -> Result<Option<Vec<Listening>>, LinkError> {
        let is_shown = |handed: &Handed| matches!(handed.found, Found::Shown(_));
        let unchanged = !self.held.is_empty()
            && handover.listeners.len() == self.held.len()
            && handover.listeners.iter().all(is_shown);
        if unchanged {
            return Ok(None);
        }
        let mut held = Vec::new();
        for handed in &handover.listeners {
            let socket = match handed.found {
                Found::Shown(place) => self.held.get(place).map(|(_, fd)| fd),
                Found::Sent(place) => sent.get(place),
            };
            held.push((handed.address, socket.ok_or(LinkError::Missing)?.try_clone()?));
        }
        let listening = held.iter().map(|(address, fd)| {
            let socket = TcpListener::from(fd.try_clone()?);
            socket.set_nonblocking(true)?;
            Ok(Listening { address: *address, socket })
        });
        let listening = listening.collect::<io::Result<_>>()?;
        self.held = held;
        Ok(Some(listening))
    }
}

async fn answer<T: serde::de::DeserializeOwned>(lines: &mut Lines) -> Result<T, LinkError> {
    let line = lines.read(LINE_MAX).await?.ok_or(LinkError::Ended)?;
    Answer::read(&line)?.map_err(LinkError::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_is_away_is_told_once_and_not_while_it_may_just_start() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::memory();
        let began = Instant::now();
        let attachment =
            Attachment::open(folder.path().join("gate.sock"), Tallies::default(), journal.clone());
        for (row, until, lines) in [
            ("just before", AWAY.saturating_sub(RETRY.1), 0),
            ("after", AWAY * 2, 1),
            ("later", AWAY * 9, 0),
        ] {
            tokio::time::sleep_until(began + until).await;
            let events = journal.take();
            assert_eq!(events.len(), lines, "{row}: {events:?}");
        }
        drop(attachment);
    }
}
