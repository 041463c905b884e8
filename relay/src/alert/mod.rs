//! What people are told: every event is heard, what asks for a person becomes an alert, and channels tell it.
//!
//! One task keeps the troubles, the silences and what is still to be told, on disk too: an alert is written down
//! before it is tried, and struck out when its channel took it, so each arrives at least once. Whoever says an
//! event never waits for this room, and mail never does: what finds no room is counted, and that is said.

mod channel;
mod exec;
mod format;
mod kept;
/// What operators see.
pub mod listing;
mod mail;
mod outbox;
/// The process that runs programs.
pub mod runner;
/// What nobody wants to hear of for a time.
pub mod silences;
/// What is wrong now.
pub mod troubles;
mod webhook;
mod work;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use self::channel::Means;
use self::listing::{Fare, Fares, Listing, Open, Tested};
use self::runner::Runner;
use self::silences::Silence;
use self::work::{Order, Work};
use crate::config::Config;
use crate::event::Event;
use crate::event::alert::Alert;
use crate::event::pattern::Pattern;
use crate::journal::Journal;
use crate::spool::Spool;

/// The alerts that wait for the task at most; more are counted.
const WAITING_MAX: usize = 1024;

/// How long the end may take.
const END: Duration = Duration::from_secs(2);

/// Where events are heard. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Ear {
    orders: mpsc::Sender<Order>,
    lost: Arc<AtomicU64>,
}

/// What was heard and waits for [`Alerts::start`].
#[derive(Debug)]
pub struct Heard {
    orders: mpsc::Receiver<Order>,
    ear: Ear,
}

/// Returns an ear for the journal, and what it hears.
#[must_use]
pub fn ear() -> (Ear, Heard) {
    let (orders, heard) = mpsc::channel(WAITING_MAX);
    let ear = Ear { orders, lost: Arc::default() };
    (ear.clone(), Heard { orders: heard, ear })
}

impl Ear {
    /// Hears an event that happens now. Waits for nothing.
    pub fn hear(&self, event: &Event) {
        for alert in event.alerts(Timestamp::now()) {
            self.put(Order::Alert(Box::new(alert)));
        }
    }

    fn put(&self, order: Order) {
        // The gate's are numbered: one that is missing shows as a gap before the next, if it does not come again.
        let is_counted = !matches!(order, Order::Gate { .. });
        if self.orders.try_send(order).is_err() && is_counted {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The room at work. Clones speak to the same one.
#[derive(Clone, Debug)]
pub struct Alerts {
    ear: Ear,
    /// Whether there is a process that runs programs.
    has_runner: bool,
    config: Arc<watch::Sender<Arc<Config>>>,
    open: Open,
    fares: Fares,
}

impl Alerts {
    /// Begins to tell what was heard, with what the last process left in `folder`. Programs are run by `runner`.
    /// Must be called within a runtime; blocks on the disk once.
    #[must_use]
    pub fn start(
        heard: Heard,
        folder: &Path,
        config: Arc<Config>,
        spool: Arc<Spool>,
        runner: Option<Runner>,
        journal: Journal,
    ) -> Self {
        let Heard { orders, ear } = heard;
        let (sender, configs) = watch::channel(config.clone());
        let has_runner = runner.is_some();
        // Without a way to it each telling says that there is none.
        let programs = runner.and_then(|runner| runner.attach(journal.clone()).ok());
        let means = Means { config, spool, programs };
        let work = Work::open(folder, means, journal, ear.lost.clone());
        let (open, fares) = (work.open_now(), work.fares());
        tokio::spawn(work.run(orders, configs));
        Self { ear, has_runner, config: Arc::new(sender), open, fares }
    }

    /// Takes an alert of the gate's, which named it by series and number, the last of `numbers`; it stands for
    /// those before it too. One that was heard before means nothing. Waits for nothing.
    pub fn carry(&self, series: Timestamp, numbers: RangeInclusive<u64>, alert: Alert) {
        self.ear.put(Order::Gate { series, numbers, alert: Box::new(alert) });
    }

    /// Tells by another configuration from now on.
    pub fn configure(&self, config: Arc<Config>) {
        self.config.send_replace(config);
    }

    /// Returns where the open troubles can be looked at, whatever the room is busy with.
    #[must_use]
    pub fn open(&self) -> Open {
        self.open.clone()
    }

    /// Returns where it can be looked at how the channels fare, whatever the room is busy with.
    #[must_use]
    pub fn fares(&self) -> Fares {
        self.fares.clone()
    }

    /// Says of each channel that has failed for long that it did: a sentence each.
    #[must_use]
    pub fn troubles(&self, now: Timestamp) -> Vec<String> {
        let trouble = |fare: &Fare| fare.trouble(now);
        self.fares.borrow().iter().filter_map(trouble).collect()
    }

    /// Says what a configuration asks for that takes a restart.
    #[must_use]
    pub fn lacks(&self, config: &Config) -> Option<String> {
        let wanted = !self.has_runner && runner::is_wanted(config);
        wanted.then(|| format!("[[alerts.exec]]: {}", channel::NO_PROGRAMS))
    }

    /// Returns how all this stands.
    ///
    /// # Errors
    ///
    /// If the relay is ending.
    pub async fn list(&self) -> Result<Listing, String> {
        self.ask(Order::List).await
    }

    /// Tells a test to a channel of this name, or to each of them, and waits for what becomes of it.
    ///
    /// # Errors
    ///
    /// If there is no such channel, or a test runs already.
    pub async fn test(&self, channel: Option<String>) -> Result<Vec<Tested>, String> {
        let tested = self.ask(|answer| Order::Test(channel, answer)).await??;
        // Whoever mended a channel need not wait for the next alert to see that it works, or that it does not.
        let _ = self.ear.orders.send(Order::Tested(tested.clone())).await;
        Ok(tested)
    }

    /// Begins a silence; when this returns it outlives the process.
    ///
    /// # Errors
    ///
    /// If there are too many, or it cannot be kept.
    pub async fn silence(&self, silence: Silence) -> Result<(), String> {
        self.ask(|answer| Order::Silence(silence, answer)).await?
    }

    /// Ends the silence of a pattern.
    ///
    /// # Errors
    ///
    /// If there is none, or that cannot be kept.
    pub async fn unsilence(&self, pattern: Pattern) -> Result<(), String> {
        self.ask(|answer| Order::Unsilence(pattern, answer)).await?
    }

    /// Writes down what is still to be told, and ends. Takes at most 2 s.
    pub async fn end(&self) {
        let _ = timeout(END, self.ask(Order::End)).await;
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, String> {
        let ending = || "the relay is ending".to_owned();
        let (answer, answered) = oneshot::channel();
        self.ear.orders.send(order(answer)).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())
    }
}

#[cfg(test)]
mod tests;
