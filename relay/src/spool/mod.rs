//! The only owner of messages: a log of segments on disk, flushed before anybody is told 250.
//!
//! [`Spool::draft`] begins a message, [`Draft::commit`] makes it ours, [`Spool::claim`] gives it
//! to whoever delivers it, [`Spool::settle`] takes down what became of it. All writing is done by
//! one thread: whoever waits while a flush runs shares the next one.
//!
//! ```text
//! record   one record: header, checksums       segment   one file: head, scan over damage
//! content  envelopes and outcomes as octets    disk      the file operations underneath
//! index    what is known in memory             agenda    what is due when
//! turn     whose turn it is with a message
//! repeats  submissions that may come again     recall    those of before the start
//! share    how much each login takes            label     whose, which way, how urgent
//! room     whether there is any                 shortage  what is said of its want
//! order    what is asked of the writer         writer    batches and flushes
//! turnover begins and ends segments            failure   writes and flushes that fail
//! compact  gives space back                    recover   reads the log at the start
//! ahead    segments read by another thread
//! draft    a message coming in                 claim     a message going out
//! queue    what operators see and do            holding   hold and release
//! captured what is kept instead of sent        listing   looking through the queue in slices
//! check    whether all can be read             mend      what is done about damage
//! look     a folder that is not changed        found     what reading a log brings to light
//! harm     what damage means to who is told
//! ```
//!
//! Not here: when to try again (`policy::retry`), whom to tell (`mail::report`).

mod agenda;
mod ahead;
mod batch;
mod captured;
mod check;
mod claim;
mod compact;
mod content;
mod disk;
mod draft;
mod error;
mod failure;
mod found;
mod harm;
mod holding;
mod index;
mod label;
mod listing;
mod look;
mod mend;
mod order;
mod queue;
mod recall;
mod record;
mod recover;
mod repeats;
mod room;
mod segment;
mod share;
mod shared;
mod shortage;
mod turn;
mod turnover;
mod writer;

#[cfg(test)]
mod damage;
#[cfg(test)]
mod mended;
#[cfg(test)]
mod samples;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twice;
#[cfg(test)]
pub(crate) mod unmanned;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::config;
use crate::event::Event;
use crate::history::Ended;
use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;
use crate::mail::outcome::Outcome;
use crate::meter::histogram::Histogram;

pub use check::{Report, Segment, check};
pub use claim::{BodyReader, Claim};
pub use compact::Compacted;
pub use content::{LastReply, Progress, Standing};
pub use draft::Draft;
pub use error::StoreError;
pub use found::Fault;
pub use label::Way;
pub use listing::{Filter, Finding, Newest, Page, Stretch};
pub use mend::{GivenUp, Mended, mend};
pub use queue::{Details, Piece, Place, Status, Summary};
pub use repeats::Repeats;

use disk::{Disk, Folder};
use found::{Care, Recovered};
use order::Command;
use shared::{Settings, Shared};
use writer::Committer;

/// The length at which a segment is full, octets: large enough that making one costs nothing per
/// message, small enough that emptying one does not take long.
const SEGMENT: u32 = 64 << 20;
/// The part of a body that a draft keeps in memory, octets.
const PART: usize = 256 << 10;

/// An open spool. Dropping it ends the writer; drafts and claims that are left fail from then on.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Command>,
    writer: Option<JoinHandle<()>>,
}

impl Spool {
    /// Opens the spool of the configuration, making it if it is not there, and reads its log.
    ///
    /// `report` gets what there is to say, now (damage that was found, at most 65 lines) and
    /// later, from any thread. This call blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`], [`StoreError::Newer`], [`StoreError::Failed`].
    pub fn open(
        config: &config::Spool,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let folder = Folder::open(&config.path).map_err(|problem| match problem.kind() {
            io::ErrorKind::WouldBlock => StoreError::Locked,
            _ => StoreError::Failed(format!("{}: {problem}", config.path.display())),
        })?;
        let settings = Settings {
            reserve_bytes: config.reserve_bytes,
            messages: config.messages,
            segment_bytes: SEGMENT,
            part_bytes: PART,
            clock: Timestamp::now,
        };
        Self::open_on(Arc::new(folder), settings, report)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        settings: Settings,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let committer = recovered(disk, settings, report)?;
        let shared = Arc::clone(&committer.shared);
        let (orders, commands) = mpsc::channel(order::QUEUE);
        let writer = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || committer.run(commands))
            .map_err(|problem| StoreError::Failed(problem.to_string()))?;
        Ok(Self { shared, orders, writer: Some(writer) })
    }

    /// Begins a message. One without a source is the relay's own report and may use the reserve.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] below the reserve of free space or at the limit of messages;
    /// [`StoreError::ShareUsed`] if the login's messages take a quarter of either already;
    /// [`StoreError::TooLarge`] for an envelope above 1 MiB; [`StoreError::Failed`].
    pub fn draft(&self, envelope: Envelope) -> Result<Draft, StoreError> {
        Draft::begin(Arc::clone(&self.shared), self.orders.clone(), &envelope)
    }

    /// Notes that a client has heard that its message is ours: the same again is another one.
    pub fn confirm(&self, id: MessageId) {
        self.shared.repeats().forget(id);
    }

    /// Waits until a message is due and takes it, whichever way it goes; see [`Spool::claim_for`].
    pub async fn claim(&self) -> Claim {
        self.claim_for(|_| true).await
    }

    /// Waits until a message is due whose way has room, and takes it.
    ///
    /// In each way logins take turns by what they send, in octets; of one login the highest
    /// priority comes first, then what is due the longest. `has_room` is asked again after
    /// [`Spool::look_again`], and must be quick; [`Way::NONE`] is asked about too.
    ///
    /// A message has one claim at a time. Messages that fail their check on the way are set
    /// aside and reported. Dropping the future loses nothing.
    pub async fn claim_for(&self, has_room: impl Fn(Way) -> bool) -> Claim {
        claim::next(&self.shared, has_room).await
    }

    /// Says that a way has got room: whoever waits for a claim looks again.
    pub fn look_again(&self) {
        self.shared.due.notify_one();
    }

    /// Gives a claimed message back untouched: it is due, and goes by `way` next.
    pub fn put_back(&self, claim: Claim, way: Way) {
        claim::put_back(&claim, way);
    }

    /// Writes down what an attempt came to; when this returns it is flushed.
    ///
    /// Recipients that were delivered or failed leave; the others stay open, also those without
    /// an outcome. The message is due again after the longest delay of `outcomes`, but in 60 s at most
    /// if somebody has no outcome; if there is no delay, at once for those without an outcome, or in
    /// 60 s if nobody has one. When nobody is open it is
    /// gone and its space is given back, unless it was captured for some: then it is kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`], [`StoreError::Full`] after several tries in some seconds. A message
    /// that is open still is then due again in 60 s as if this attempt had not been; one that is
    /// done is not, but may come back after a crash until the disk works again.
    /// [`StoreError::Closed`], [`StoreError::Gone`].
    pub async fn settle(&self, claim: Claim, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        claim::settle(&self.orders, claim, &outcomes).await
    }

    /// Tells whether the writer is at work; it ends before the spool only by a fault of ours. Without it
    /// nothing is committed or settled any more.
    #[must_use]
    pub fn is_written(&self) -> bool {
        !self.orders.is_closed()
    }

    /// Shows everything about a message but its body.
    ///
    /// # Errors
    ///
    /// [`StoreError::Gone`], [`StoreError::Damaged`], [`StoreError::Failed`].
    pub async fn show(&self, id: MessageId) -> Result<Details, StoreError> {
        queue::show(&self.shared, id).await
    }

    /// Makes a message due now, also one that was set aside or that its client wished to leave
    /// later; a restart forgets it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Gone`], [`StoreError::Claimed`], [`StoreError::Held`], [`StoreError::Captured`].
    pub fn retry(&self, id: MessageId) -> Result<(), StoreError> {
        queue::retry(&self.shared, id)
    }

    /// Holds a message: no attempt is made until it is released. When this returns that is flushed.
    /// One that is held already stays so.
    ///
    /// Calls share flushes: whoever holds many makes many at a time.
    ///
    /// # Errors
    ///
    /// [`StoreError::Claimed`] while an attempt is being made; [`StoreError::Captured`];
    /// [`StoreError::Gone`]; [`StoreError::Damaged`] also if it is set aside; [`StoreError::Full`]
    /// and [`StoreError::Failed`]: it waits as before.
    pub async fn hold(&self, id: MessageId) -> Result<(), StoreError> {
        holding::hold(&self.shared, &self.orders, id).await
    }

    /// Releases a message that is held: it is due when it would have been. When this returns that
    /// is flushed. One that is not held stays as it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Captured`]; [`StoreError::Gone`]; [`StoreError::Damaged`]; [`StoreError::Full`]
    /// and [`StoreError::Failed`]: it is still held.
    pub async fn release(&self, id: MessageId) -> Result<(), StoreError> {
        holding::release(&self.shared, &self.orders, id).await
    }

    /// Drops captured messages whose retention has ended at `now`, oldest first: those accepted `keep`
    /// ago, those beyond its size, and beyond a quarter of all messages that are kept at a time. The newest
    /// goes by its time alone.
    ///
    /// Returns which those were and why, and when the next one's time is over; none: there is none.
    ///
    /// # Errors
    ///
    /// As [`Spool::remove`].
    pub async fn retire(
        &self,
        now: Timestamp,
        retention: &config::Capture,
    ) -> Result<(Vec<(MessageId, Ended)>, Option<Timestamp>), StoreError> {
        captured::retire(&self.shared, &self.orders, now, retention).await
    }

    /// Waits until a message is captured; one that was since the last call counts.
    pub async fn captured(&self) {
        self.shared.captured.notified().await;
    }

    /// Removes a message; when this returns that is flushed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Claimed`] while an attempt is being made; [`StoreError::Gone`];
    /// [`StoreError::Full`] and [`StoreError::Failed`]: the message is gone from now on, and it is
    /// written down as soon as the disk works again.
    pub async fn remove(&self, id: MessageId) -> Result<(), StoreError> {
        queue::remove(&self.shared, &self.orders, id).await
    }

    /// Gives back the space of messages that are gone, all that can be had; waits 30 s at most.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the disk cannot be written; [`StoreError::Closed`].
    pub async fn compact(&self) -> Result<Compacted, StoreError> {
        compact::compact(&self.shared, &self.orders).await
    }

    /// Tells how the spool fares.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the operating system does not tell the free space.
    pub fn status(&self) -> Result<Status, StoreError> {
        queue::status(&self.shared)
    }

    /// Returns when the oldest message was accepted that is neither held nor captured nor damaged.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        queue::oldest(&self.shared)
    }

    /// Returns how long flushes took.
    #[must_use]
    pub fn flush_times(&self) -> &Histogram {
        &self.shared.flush_times
    }
}

/// Reads the log and prepares the writer.
fn recovered(
    disk: Arc<dyn Disk>,
    settings: Settings,
    report: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Committer, StoreError> {
    let found = recover::recover(disk.as_ref(), settings.segment_bytes, Care::Start)?;
    Ok(prepared(disk, settings, found, report))
}

/// Prepares the writer with what was found.
fn prepared(
    disk: Arc<dyn Disk>,
    settings: Settings,
    found: Recovered,
    report: impl Fn(Event) + Send + Sync + 'static,
) -> Committer {
    let now = u64::try_from((settings.clock)().as_microsecond()).unwrap_or(0);
    let last_id = found.last_id.max(now);
    let shared = Arc::new(Shared::new(disk, settings, found.index, last_id, report));
    *shared.repeats() = found.repeats;
    for event in found.events {
        shared.say(event);
    }
    Committer::new(shared, found.next_segment, found.before)
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::Release);
        // If the queue is full the writer is awake and looks anyway.
        drop(self.orders.try_send(Command::Look));
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}
