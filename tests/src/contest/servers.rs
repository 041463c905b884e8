//! The servers side by side: which loads each gets, and what else is read of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use relay::cli::tls::Made;
use serde::Serialize;

use super::client::{Client, Handshake, Login, Message};
use super::figures::Round;
use super::load::{self, Face, Loaded, Target, Work};
use super::postfix::{self, Postfix};
use super::product::{self, Product, settle_disk};
use super::rows::{PRODUCERS, ROWS, Row, To};
use super::{LOGIN, NAME};

/// How long a queue may take to become empty after a load.
const DRAIN: Duration = Duration::from_secs(120);
/// How often it is looked at: a look costs the CPU that the delivery needs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Idle sessions of ours.
const IDLE: usize = 1000;
/// Idle sessions of Postfix, which has a process for each and at most 100 unless told otherwise.
const IDLE_POSTFIX: usize = 90;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The product.
    Sallyport,
    /// Postfix with STARTTLS and a login.
    Postfix,
    /// Postfix without either.
    PostfixInTheClear,
}

impl Who {
    /// All, in the order in which they take turns.
    pub const ALL: [Self; 3] = [Self::Sallyport, Self::Postfix, Self::PostfixInTheClear];

    /// Returns the name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sallyport => "sallyport",
            Self::Postfix => "Postfix",
            Self::PostfixInTheClear => "Postfix, no TLS or login",
        }
    }
}

/// What idle sessions take.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Whose.
    pub server: &'static str,
    /// How far they got.
    pub sessions: &'static str,
    /// How many there were.
    pub count: usize,
    /// The server before them, bytes.
    pub alone: u64,
    /// For each of them, bytes.
    pub each: f64,
}

/// Our start after a crash.
#[derive(Debug, Serialize)]
pub struct Start {
    /// Messages in the spool.
    pub messages: u64,
    /// Until a client could connect, milliseconds.
    pub ms: f64,
}

/// The servers, ready to be measured.
pub struct Servers {
    /// Ours.
    pub product: Product,
    postfix: Option<Postfix>,
    ca: String,
}

impl Servers {
    /// Sets them up below `folder`. `program` is the product.
    ///
    /// # Errors
    ///
    /// What the server failed with.
    pub fn set(folder: &Path, program: &Path, made: &Made) -> Result<Self> {
        let product = Product::set(&folder.join("sallyport"), program, made)?;
        let postfix = Postfix::start(&folder.join("postfix"), made, &product.password)?;
        Ok(Self { product, postfix, ca: made.ca.clone() })
    }

    /// Returns Postfix's version, if it is here.
    pub fn version_of_postfix(&self) -> Option<&str> {
        self.postfix.as_ref().map(|postfix| postfix.version.as_str())
    }

    fn login(&self, handshake: Handshake) -> Result<Login> {
        Login::new(NAME, &self.ca, (LOGIN, &self.product.password), handshake)
    }

    /// Runs one load once; none if it says nothing of this server or the server is not here.
    ///
    /// # Errors
    ///
    /// What the server failed with.
    pub fn measure(&mut self, who: Who, row: &Row) -> Result<Option<Round>> {
        // What a login costs cannot be measured without one; the next hop comes with Postfix.
        let says_nothing = (who == Who::PostfixInTheClear && row.work == Work::Session)
            || (self.postfix.is_none() && (who != Who::Sallyport || row.to == To::Sink));
        if says_nothing {
            return Ok(None);
        }
        if who == Who::Sallyport {
            self.product.start()?;
        } else if let Some(postfix) = &self.postfix {
            postfix.forget_held()?;
            settle_disk();
        }
        let before = self.counters(who)?;
        let loaded =
            self.load(who, row).with_context(|| format!("{}, {}", who.name(), row.name))?;
        if let Some(error) = &loaded.error {
            eprintln!("bench: {}, {}: {error:#}", who.name(), row.name);
        }
        let mut round = loaded.round;
        if row.to == To::Sink {
            self.wait_until_empty(who)?;
            round.delivered_per_second =
                Some(f64::from(loaded.all) / loaded.begun.elapsed().as_secs_f64());
        }
        if let (Some((commits, flushes)), false) = (before, row.work == Work::Session) {
            let (commits, flushes) = (
                self.product.spool("commits")? - commits,
                self.product.spool("flushes")? - flushes,
            );
            ensure!(
                commits == u64::from(loaded.all),
                "{} messages accepted, {commits} stored",
                loaded.all
            );
            round.flushes = Some(ratio(flushes, commits));
        }
        if who == Who::Sallyport {
            self.product.kill()?;
        }
        Ok(Some(round))
    }

    fn load(&self, who: Who, row: &Row) -> Result<Loaded> {
        let message = Message::new(row.size, row.to.rcpt());
        load::run(&self.face(who, row.handshake)?, row.at_once, row.work, &message)
    }

    fn target(&self, who: Who, handshake: Handshake) -> Result<Target> {
        let (address, login) = match who {
            Who::Sallyport => (product::ADDRESS, Some(self.login(handshake)?)),
            Who::Postfix => (postfix::SECURED, Some(self.login(handshake)?)),
            Who::PostfixInTheClear => (postfix::CLEAR, None),
        };
        Ok(Target { address, login })
    }

    fn face(&self, who: Who, handshake: Handshake) -> Result<Face<'_>> {
        let cpu: Box<dyn Fn() -> Result<Duration>> = match (who, &self.postfix) {
            (Who::Postfix | Who::PostfixInTheClear, Some(postfix)) => {
                Box::new(|| Ok(postfix.cpu()))
            }
            (Who::Sallyport, _) | (_, None) => Box::new(|| self.product.cpu()),
        };
        Ok(Face { target: self.target(who, handshake)?, cpu })
    }

    /// Returns messages and flushes of our spool so far.
    fn counters(&self, who: Who) -> Result<Option<(u64, u64)>> {
        if who != Who::Sallyport {
            return Ok(None);
        }
        Ok(Some((self.product.spool("commits")?, self.product.spool("flushes")?)))
    }

    fn wait_until_empty(&self, who: Who) -> Result<()> {
        let end = Instant::now() + DRAIN;
        loop {
            let is_empty = match (who, &self.postfix) {
                (Who::Postfix | Who::PostfixInTheClear, Some(postfix)) => postfix.is_empty(),
                (Who::Sallyport, _) | (_, None) => self.product.spool("messages")? == 0,
            };
            if is_empty {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{}: not all was delivered in time", who.name());
            // The queues of others have no event that could be awaited.
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Returns what the handshake of a server came to.
    ///
    /// # Errors
    ///
    /// What the server failed with.
    pub fn tls(&mut self, who: Who) -> Result<Option<String>> {
        if who == Who::Sallyport {
            self.product.start()?;
        } else if self.postfix.is_none() {
            return Ok(None);
        }
        let Target { address, login } = self.target(who, Handshake::Full)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let said = runtime.block_on(async {
            let client = Client::connect(address, login.as_ref()).await?;
            let tls = client.tls();
            client.quit().await?;
            anyhow::Ok(tls)
        })?;
        Ok(said)
    }

    /// Measures the memory of idle sessions.
    ///
    /// # Errors
    ///
    /// What the server failed with.
    pub fn memory(&mut self) -> Result<Vec<Memory>> {
        let mut all = Vec::new();
        for (sessions, is_secured) in
            [("greeted, before STARTTLS", false), ("STARTTLS and AUTH", true)]
        {
            self.product.start()?;
            let alone = self.product.pss()?;
            let mut target = self.target(Who::Sallyport, Handshake::Full)?;
            target.login = target.login.filter(|_| is_secured);
            let with = load::idle(&target, IDLE, || self.product.pss())?;
            let each = ratio(with.saturating_sub(alone), IDLE as u64);
            all.push(Memory { server: Who::Sallyport.name(), sessions, count: IDLE, alone, each });
            let Some(postfix) = &self.postfix else { continue };
            let who = if is_secured { Who::Postfix } else { Who::PostfixInTheClear };
            let alone = postfix.pss() - postfix.smtpd().1.min(postfix.pss());
            let target = self.target(who, Handshake::Full)?;
            let (count, whole) = load::idle(&target, IDLE_POSTFIX, || Ok(postfix.smtpd()))?;
            let each = ratio(whole, count as u64);
            all.push(Memory { server: Who::Postfix.name(), sessions, count, alone, each });
        }
        Ok(all)
    }

    /// Measures our start after a crash, with what one load leaves in the spool.
    ///
    /// # Errors
    ///
    /// What the server failed with.
    pub fn start(&mut self) -> Result<Start> {
        self.product.start()?;
        let row = ROWS.iter().find(|row| row.name == PRODUCERS);
        let row = row.context("there is no row with producers")?;
        self.load(Who::Sallyport, row)?;
        let took = self.product.start_again()?;
        let messages = self.product.spool("messages")?;
        self.product.kill()?;
        Ok(Start { messages, ms: took.as_secs_f64() * 1e3 })
    }
}

/// Divides; numbers of this size are exact.
#[expect(clippy::cast_precision_loss, reason = "bytes and messages are far below 2^52")]
pub fn ratio(sum: u64, count: u64) -> f64 {
    sum as f64 / count.max(1) as f64
}
