//! The load generator: clients in a closed loop, on one thread of one runtime, whatever the server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::client::{Client, Commands, Login, Message};
use super::figures::Round;

/// How long every load runs before it counts.
pub const WARM_UP: Duration = Duration::from_millis(500);
/// How long it counts.
pub const WINDOW: Duration = Duration::from_millis(2500);
/// How long one operation may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients that connect at a time before the clock starts.
const CONNECTING: usize = 8;
/// So many failures end a client: what fails always is no load.
const FAILURES_MAX: usize = 20;

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Sends a message over a session that stays.
    Message(Commands),
    /// Makes a session, sends one message and ends it.
    SessionWithMessage,
    /// Makes a session and ends it.
    Session,
}

/// Where clients connect, and how.
#[derive(Clone)]
pub struct Target {
    /// Where the server listens.
    pub address: SocketAddr,
    /// None: in the clear, without a login.
    pub login: Option<Login>,
}

impl Target {
    async fn connect(&self) -> Result<Client> {
        Client::connect(self.address, self.login.as_ref()).await
    }
}

/// A server as the generator sees it.
pub struct Face<'a> {
    /// Where to reach it.
    pub target: Target,
    /// Reads the CPU time that the server has used.
    pub cpu: Box<dyn Fn() -> Result<Duration> + 'a>,
}

/// What one client did.
#[derive(Default)]
struct Done {
    /// Operations that ended in the window.
    took: Vec<Duration>,
    /// Of these, those in a session that began with a ticket.
    resumed: u32,
    /// All operations, those of the warm-up too.
    all: u32,
    errors: u32,
    error: Option<anyhow::Error>,
}

/// When a load begins to count, and when it ends.
#[derive(Clone, Copy)]
struct Clock {
    warm: Instant,
    end: Instant,
}

/// What a load came to, besides its figures.
pub struct Loaded {
    /// The figures.
    pub round: Round,
    /// When the first operation began.
    pub begun: Instant,
    /// Operations that succeeded, those of the warm-up too.
    pub all: u32,
    /// The first failure.
    pub error: Option<anyhow::Error>,
}

/// Runs `at_once` clients against a server.
///
/// # Errors
///
/// What the first client failed with.
pub fn run(face: &Face<'_>, at_once: usize, work: Work, message: &Message) -> Result<Loaded> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..at_once {
            clients.push(match work {
                Work::Message(_) => Some(face.target.connect().await.context("before the load")?),
                Work::SessionWithMessage | Work::Session => None,
            });
        }
        let begun = Instant::now();
        let clock = Clock { warm: begun + WARM_UP, end: begun + WARM_UP + WINDOW };
        let watching = async {
            let mut read = Vec::new();
            for at in [clock.warm, clock.end] {
                tokio::time::sleep_until(at.into()).await;
                read.push((face.cpu)()?);
            }
            anyhow::Ok(read[1].saturating_sub(read[0]))
        };
        let working: FuturesUnordered<_> = clients
            .into_iter()
            .map(|client| {
                let login = face.target.login.as_ref().map(Login::with_own_tickets);
                let target = Target { login, ..face.target };
                repeat(target, client, work, message, clock)
            })
            .collect();
        let (cpu, all) = tokio::join!(watching, working.collect::<Vec<Done>>());
        Ok(gather(all, cpu?, begun))
    })
}

fn gather(clients: Vec<Done>, cpu: Duration, begun: Instant) -> Loaded {
    let mut sum = Done::default();
    for done in clients {
        sum.took.extend(done.took);
        sum.resumed += done.resumed;
        sum.all += done.all;
        sum.errors += done.errors;
        sum.error = sum.error.or(done.error);
    }
    let counted = u32::try_from(sum.took.len()).unwrap_or(u32::MAX);
    let mut round = Round::of(sum.took, WINDOW, cpu);
    round.errors = sum.errors.into();
    round.resumed = f64::from(sum.resumed) / f64::from(counted.max(1));
    Loaded { round, begun, all: sum.all, error: sum.error }
}

/// Does one client's work until the end.
async fn repeat(
    target: Target,
    mut client: Option<Client>,
    work: Work,
    message: &Message,
    clock: Clock,
) -> Done {
    let mut done = Done::default();
    loop {
        let begin = Instant::now();
        if begin >= clock.end || done.errors as usize >= FAILURES_MAX {
            return done;
        }
        let once = once(&target, client.take(), work, message);
        let result = match tokio::time::timeout(PATIENCE, once).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("no answer in {} s", PATIENCE.as_secs())),
        };
        let ended = Instant::now();
        match result {
            Ok((stays, is_resumed)) => {
                client = stays;
                done.all += 1;
                if (clock.warm..clock.end).contains(&ended) {
                    done.took.push(ended - begin);
                    done.resumed += u32::from(is_resumed);
                }
            }
            Err(error) => {
                done.errors += 1;
                done.error.get_or_insert(error);
            }
        }
    }
}

/// Does the work once. Returns the session that stays, and whether one was made with a ticket.
async fn once(
    target: &Target,
    client: Option<Client>,
    work: Work,
    message: &Message,
) -> Result<(Option<Client>, bool)> {
    let mut client = match client {
        Some(client) => client,
        None => target.connect().await?,
    };
    let is_resumed = client.is_resumed();
    match work {
        Work::Message(commands) => {
            client.send(message, commands).await?;
            return Ok((Some(client), is_resumed));
        }
        Work::SessionWithMessage => client.send(message, Commands::Pipelined).await?,
        Work::Session => {}
    }
    client.quit().await?;
    Ok((None, is_resumed))
}

/// Opens `count` sessions that stay idle, and calls `look` while they do.
///
/// # Errors
///
/// What the first client failed with.
pub fn idle<T>(target: &Target, count: usize, look: impl FnOnce() -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        while clients.len() < count {
            let next = CONNECTING.min(count - clients.len());
            let connecting = (0..next).map(|_| target.connect());
            for client in futures_util::future::join_all(connecting).await {
                clients.push(client.with_context(|| format!("idle session {}", clients.len()))?);
            }
        }
        let seen = look()?;
        drop(clients);
        Ok(seen)
    })
}
