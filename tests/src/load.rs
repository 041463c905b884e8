//! Clients that connect and submit again and again, and tell everything that went wrong for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use relay::demo::client::Client;
use relay::demo::next_hop::NextHop;
use relay::demo::stage::{CLIENT, GUARDED, LOGIN, NAME, Stage};
use relay::hosts::Host;
use relay::hosts::dial::connect;

/// How long a client waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long each client may wait for its next 250.
const PROGRESS: Duration = Duration::from_secs(30);
/// How many messages each client sends over one connection: one connects for each message, one stays.
const MANNERS: [usize; 3] = [1, 1, 1_000];
/// How long each takes a breath after a message: the next hop must be able to follow.
const PACE: Duration = Duration::from_millis(100);
/// The field that tells the messages apart.
const KEY: &str = "X-Load-Key: ";

/// What went wrong for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection.
    Connect(ErrorKind),
    /// The server ended the session in order: 421, or the end of the stream.
    Ended,
    /// A connection that was made was reset.
    Reset,
    /// Something else.
    Other(String),
}

enum Word {
    /// A 250 came to the client of this number; when it began to connect, or to send over a connection that it had.
    Acknowledged(usize, String, Instant),
    Fault(Fault),
}

/// The clients, on threads of their own.
pub struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    words: Receiver<Word>,
    acknowledged: BTreeSet<String>,
    faults: Vec<Fault>,
}

impl Load {
    /// Lets them begin; the keys of their messages begin with `name`.
    ///
    /// # Errors
    ///
    /// If the stage cannot be entered.
    pub fn start(stage: &Stage, name: &str) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let (tell, words) = mpsc::channel();
        let mut clients = Vec::new();
        for (number, messages) in MANNERS.into_iter().enumerate() {
            let client = Submitter {
                world: stage.world.again()?,
                ca: stage.ca.clone(),
                password: stage.password.clone(),
                ends: Arc::clone(&ends),
                tell: tell.clone(),
                number,
            };
            let keys = format!("{name}-{number}");
            clients.push(std::thread::spawn(move || client.send_on(&keys, messages)));
        }
        Ok(Self { ends, clients, words, acknowledged: BTreeSet::new(), faults: Vec::new() })
    }

    /// Waits until every client had a message acknowledged that it began after this, and returns what went wrong
    /// since the last time: what was done before does nothing to them any more.
    ///
    /// # Errors
    ///
    /// If one of them had none within half a minute.
    pub fn goes_on(&mut self, after: &str) -> Result<Vec<Fault>> {
        let (from, deadline) = (Instant::now(), Instant::now() + PROGRESS);
        let mut waiting: BTreeSet<usize> = (0..self.clients.len()).collect();
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let word = self.words.recv_timeout(left);
            let missing =
                || format!("{after}: no 250 came to clients {waiting:?}: {:?}", self.faults);
            let word = word.with_context(missing)?;
            if let Some((client, _)) = self.take(word).filter(|(_, began)| *began >= from) {
                waiting.remove(&client);
            }
        }
        Ok(std::mem::take(&mut self.faults))
    }

    fn take(&mut self, word: Word) -> Option<(usize, Instant)> {
        match word {
            Word::Acknowledged(client, key, began) => {
                self.acknowledged.insert(key);
                Some((client, began))
            }
            Word::Fault(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }

    /// Ends them, and returns the keys of all messages that were acknowledged.
    ///
    /// # Errors
    ///
    /// If a client panicked, or something went wrong since the last time.
    pub fn stop(mut self) -> Result<BTreeSet<String>> {
        self.ends.store(true, Ordering::Release);
        for client in std::mem::take(&mut self.clients) {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        }
        while let Ok(word) = self.words.try_recv() {
            self.take(word);
        }
        ensure!(self.faults.is_empty(), "at the end: {:?}", self.faults);
        Ok(self.acknowledged)
    }
}

/// Waits until each of these messages has arrived, and returns how often each did.
///
/// # Errors
///
/// If the next hop hears nothing for long while some are missing.
pub fn arrived(hop: &NextHop, acknowledged: &BTreeSet<String>) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    let mut missing = acknowledged.clone();
    while !missing.is_empty() {
        let message = hop.next_message().with_context(|| format!("missing: {missing:?}"))?;
        let message = String::from_utf8_lossy(&message).into_owned();
        let key = message.lines().find_map(|line| line.strip_prefix(KEY));
        let key = key.with_context(|| format!("not ours: {message}"))?;
        missing.remove(key);
        *counts.entry(key.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// One client.
struct Submitter {
    world: Host,
    ca: Vec<u8>,
    password: String,
    ends: Arc<AtomicBool>,
    tell: Sender<Word>,
    number: usize,
}

impl Submitter {
    /// Sends until told to end, so many messages over each connection.
    fn send_on(&self, name: &str, messages: usize) {
        let mut keys = (0..).map(|message| format!("{name}-{message}"));
        while !self.is_over() {
            if let Err(fault) = self.session(&mut keys, messages) {
                let _ = self.tell.send(Word::Fault(fault));
                // As a client does that may not be served at once.
                std::thread::sleep(PACE);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    fn session(
        &self,
        keys: &mut impl Iterator<Item = String>,
        messages: usize,
    ) -> Result<(), Fault> {
        let mut began = Instant::now();
        let stream = self.world.within(|| connect(CLIENT, GUARDED, PATIENCE)).and_then(|made| made);
        let stream = stream.map_err(|error| Fault::Connect(error.kind()))?;
        let converse = || -> Result<()> {
            let mut client = Client::greet(stream)?.secure(NAME, &self.ca)?;
            client.login(LOGIN, &self.password)?;
            for key in keys.take(messages) {
                if self.is_over() {
                    break;
                }
                let text = format!("From: <billing@example.net>\r\n{KEY}{key}\r\n\r\nload\r\n");
                client.send("billing@example.net", "customer@example.com", text.as_bytes())?;
                let _ = self.tell.send(Word::Acknowledged(self.number, key, began));
                std::thread::sleep(PACE);
                began = Instant::now();
            }
            client.say("QUIT", 221).map(drop)
        };
        converse().map_err(|error| Fault::of(&error))
    }
}

impl Fault {
    fn of(error: &anyhow::Error) -> Self {
        let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
        let said = format!("{error:#}");
        match kind.map(io::Error::kind) {
            Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Self::Reset,
            Some(ErrorKind::UnexpectedEof) => Self::Ended,
            None if said.contains("got 421") || said.contains("ended the connection") => {
                Self::Ended
            }
            Some(_) | None => Self::Other(said),
        }
    }
}

/// Checks that nothing went wrong but what `may`.
///
/// # Errors
///
/// What else did.
pub fn only(may: &[Fault], went_wrong: &[Fault], what: &str) -> Result<()> {
    if let Some(fault) = went_wrong.iter().find(|fault| !may.contains(fault)) {
        bail!("{what}: {fault:?} among {went_wrong:?}");
    }
    Ok(())
}
