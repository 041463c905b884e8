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
//! repeats  submissions that may come again     recall    those of before the start
//! share    how much each login takes
//! order    what is asked of the writer         writer    batches and flushes
//! turnover begins and ends segments            failure   writes and flushes that fail
//! compact  gives space back                    recover   reads the log at the start
//! draft    a message coming in                 claim     a message going out
//! queue    what operators see and do           check     whether all can be read
//! mend     what is done about damage           look      a folder that is not changed
//! found    what reading a log brings to light
//! ```
//!
//! Not here: when to try again (`policy::retry`), whom to tell (`mail::bounce`).

mod agenda;
mod batch;
mod check;
mod claim;
mod compact;
mod content;
mod disk;
mod draft;
mod failure;
mod found;
mod index;
mod look;
mod mend;
mod order;
mod queue;
mod recall;
mod record;
mod recover;
mod repeats;
mod segment;
mod share;
mod shared;
mod turnover;
mod writer;

#[cfg(test)]
mod damage;
#[cfg(test)]
mod mended;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twice;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::config;
use crate::event::Event;
use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;
use crate::mail::outcome::Outcome;

pub use check::{Report, Segment, check};
pub use claim::{BodyReader, Claim};
pub use compact::Compacted;
pub use content::{LastReply, Progress, Standing};
pub use draft::Draft;
pub use found::Fault;
pub use mend::{GivenUp, Mended, mend};
pub use queue::{Details, Filter, Page, Place, Status, Summary};
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

/// Why the spool did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no room, or there are too many messages: 452 4.3.1.
    #[error("the spool is full")]
    Full,
    /// The messages of this login take the share of one login already: 452 4.3.1, for it alone.
    #[error("the login's share of the spool is used up")]
    ShareUsed,
    /// The disk failed: 451 4.3.0.
    #[error("the spool's disk failed: {0}")]
    Failed(String),
    /// What was written is not what is read.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The same submission was accepted before, under this id, and its client may not know.
    #[error("the same submission was accepted as {0}")]
    Repeat(MessageId),
    /// There is no such message.
    #[error("no such message")]
    Gone,
    /// An attempt is being made right now.
    #[error("the message is being delivered right now")]
    Claimed,
    /// The envelope is longer than a record may be.
    #[error("the envelope is too large")]
    TooLarge,
    /// A newer program wrote the spool.
    #[error("the spool was written in format {found}, this program reads up to 1: use a newer one")]
    Newer {
        /// The format found.
        found: u32,
    },
    /// Another process has the spool open.
    #[error("another process has the spool open")]
    Locked,
    /// The spool is being closed.
    #[error("the spool is being closed")]
    Closed,
}

impl StoreError {
    fn writing(problem: &io::Error) -> Self {
        match problem.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Failed(problem.to_string()),
        }
    }

    /// A bad sector and a short file are damage; lack of memory or descriptors passes.
    fn reading(problem: io::Error) -> Self {
        let is_bad = problem.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        if is_bad || problem.kind() == io::ErrorKind::UnexpectedEof {
            Self::Damaged(problem.to_string())
        } else {
            Self::Failed(problem.to_string())
        }
    }
}

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

    /// Tells whether a submission of `login` would be taken now.
    ///
    /// # Errors
    ///
    /// As [`Spool::draft`]; [`StoreError::Failed`] while the operating system does not tell the free
    /// space.
    pub fn has_room_for(&self, login: Option<&str>) -> Result<(), StoreError> {
        self.shared.admit(shared::Purpose::Submission(share::Owner::of(login)))
    }

    /// Notes that a client has heard that its message is ours: the same again is another one.
    pub fn confirm(&self, id: MessageId) {
        self.shared.repeats().forget(id);
    }

    /// Waits until a message is due and takes it; the one that is due the longest comes first.
    ///
    /// A message has one claim at a time. Messages that fail their check on the way are set
    /// aside and reported. Dropping the future loses nothing.
    pub async fn claim(&self) -> Claim {
        claim::next(&self.shared).await
    }

    /// Writes down what an attempt came to; when this returns it is flushed.
    ///
    /// Recipients that were delivered or failed leave; the others stay open, also those without
    /// an outcome. The message is due again after the longest delay of `outcomes`, or 60 s if
    /// there is none. When nobody is open it is gone and its space is given back.
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

    /// Lists messages, oldest first: at most `limit` of those that `filter` admits.
    ///
    /// One call looks at 10,000 messages at most; [`Page::next`] says where to go on.
    pub async fn list(&self, filter: &Filter, limit: usize) -> Page {
        queue::list(&self.shared, filter, limit).await
    }

    /// Shows everything about a message but its body.
    ///
    /// # Errors
    ///
    /// [`StoreError::Gone`], [`StoreError::Damaged`], [`StoreError::Failed`].
    pub async fn show(&self, id: MessageId) -> Result<Details, StoreError> {
        queue::show(&self.shared, id).await
    }

    /// Makes a message due now, also one that was set aside; a restart forgets it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Gone`], [`StoreError::Claimed`].
    pub fn retry(&self, id: MessageId) -> Result<(), StoreError> {
        queue::retry(&self.shared, id)
    }

    /// Makes all waiting messages due now and returns how many there are.
    pub fn retry_all(&self) -> usize {
        queue::retry_all(&self.shared)
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
    let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
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
