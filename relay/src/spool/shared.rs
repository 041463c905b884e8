//! What the verbs of the spool and its writer share: the index, the clock's ids, the free space.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::event::Event;
use crate::file;
use crate::mail::message::MessageId;
use crate::meter::histogram::{Histogram, SHORT};
use crate::spool::StoreError;
use crate::spool::disk::{Disk, File, Space};
use crate::spool::harm::Harm;
use crate::spool::index::{Index, Ticket, Turn};
use crate::spool::label::Way;
use crate::spool::listing::Routing;
use crate::spool::record::{Header, Marker};
use crate::spool::repeats::Repeats;
use crate::spool::segment::{self, Location};
use crate::spool::share::Owner;
use crate::spool::shortage::{News, Shortage};

/// For how long a measurement of the free space is believed.
const SPACE_AGE: Duration = Duration::from_millis(250);
/// The longest record that is read on the spot if it lies in memory, octets: up to here handing it to another
/// thread costs more than the copy.
const AT_ONCE: u32 = 64 << 10;

/// The limits of a spool.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Free space that is kept for outcomes and reports, octets, unless [`file::kept_free`] is more.
    pub reserve_bytes: u64,
    /// The most messages kept at a time.
    pub messages: usize,
    /// The length at which a segment is full, octets.
    pub segment_bytes: u32,
    /// The part of a body that a draft keeps in memory, octets.
    pub part_bytes: usize,
    /// The wall clock, UTC.
    pub clock: fn() -> Timestamp,
}

/// Whose message it is decides how far the disk may be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's message leaves the reserve alone, and the shares of other logins.
    Submission(Owner),
    /// A report about mail, or what became of a message, may use it.
    Report,
}

/// What all parts of an open spool hold.
pub struct Shared {
    /// The files.
    pub disk: Arc<dyn Disk>,
    /// The limits.
    pub settings: Settings,
    /// Woken when the agenda got something that may be due.
    pub due: Notify,
    /// Woken when a message was captured.
    pub captured: Notify,
    /// Flushes made so far.
    pub flushes: AtomicU64,
    /// How long they took.
    pub flush_times: Histogram,
    /// Messages committed so far.
    pub commits: AtomicU64,
    /// Which routes messages go by.
    pub routing: Routing,
    /// The writer is to end.
    pub is_closing: AtomicBool,
    index: Mutex<Index>,
    repeats: Mutex<Repeats>,
    last_id: AtomicU64,
    space: Mutex<Option<(Instant, Space)>>,
    shortage: Mutex<Shortage>,
    report: Box<dyn Fn(Event) + Send + Sync>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("disk", &self.disk).finish_non_exhaustive()
    }
}

/// What there is to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This message; its turn is that of this ticket now.
    Message(MessageId, Ticket),
    /// Nothing before then.
    At(Timestamp),
    /// Nothing.
    Nothing,
}

impl Shared {
    /// Puts the parts together.
    pub fn new(
        disk: Arc<dyn Disk>,
        settings: Settings,
        index: Index,
        last_id: u64,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self {
            disk,
            settings,
            due: Notify::new(),
            captured: Notify::new(),
            flushes: AtomicU64::new(0),
            flush_times: Histogram::of(SHORT),
            commits: AtomicU64::new(0),
            routing: Routing::default(),
            is_closing: AtomicBool::new(false),
            index: Mutex::new(index),
            repeats: Mutex::default(),
            last_id: AtomicU64::new(last_id),
            space: Mutex::new(None),
            shortage: Mutex::default(),
            report: Box::new(report),
        }
    }

    /// Locks the index; never held over a read, write or wait.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time, UTC.
    pub fn now(&self) -> Timestamp {
        (self.settings.clock)()
    }

    /// Locks what is known of repeats; never held over a read, write or wait, nor with the index.
    pub fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something about the spool.
    pub fn say(&self, event: Event) {
        (self.report)(event);
    }

    /// Returns an id that was never used in this spool.
    ///
    /// It is the microsecond of its making, or one more than the last: so ids rise, also over
    /// restarts, and one that was shown but never committed is not used again after a crash. If
    /// the clock was set back, the ids on disk and in the heads of segments still are lower.
    pub fn next_id(&self) -> MessageId {
        let now = u64::try_from(self.now().as_microsecond()).unwrap_or(0);
        let next = |last: u64| now.max(last.saturating_add(1));
        let before = self
            .last_id
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        MessageId(next(before.unwrap_or_else(|last| last)))
    }

    /// Returns a number above every id made so far.
    pub fn id_mark(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed).saturating_add(1)
    }

    /// Returns the space of the disk as of a moment ago.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the operating system does not tell.
    pub fn space(&self) -> Result<Space, StoreError> {
        let mut known = self.space.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((measured_at, space)) = *known
            && measured_at.elapsed() < SPACE_AGE
        {
            return Ok(space);
        }
        let space = self.disk.space().map_err(|problem| StoreError::writing(&problem))?;
        *known = Some((Instant::now(), space));
        Ok(space)
    }

    /// Returns the free space that submissions leave alone, octets.
    pub fn reserve_bytes(&self, space: Space) -> u64 {
        file::kept_free(space.total_bytes).max(self.settings.reserve_bytes)
    }

    /// Checks that there is room for more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] if there is none, [`StoreError::ShareUsed`] if there is none for this
    /// login; what [`Self::space`] fails with.
    pub fn admit(&self, purpose: Purpose) -> Result<(), StoreError> {
        let Purpose::Submission(owner) = purpose else { return Ok(()) };
        let (space, messages) = (self.space()?, self.settings.messages);
        let free_bytes = space.free_bytes.checked_sub(self.reserve_bytes(space));
        let free_bytes = free_bytes.ok_or(StoreError::Full)?;
        let index = self.index();
        if index.entries.len() >= messages {
            return Err(StoreError::Full);
        }
        // What bodies take now, and what they may take besides.
        let usable_bytes = index.body_bytes.saturating_add(free_bytes);
        let admitted = index.shares.admits(owner, messages, usable_bytes);
        if admitted { Ok(()) } else { Err(StoreError::ShareUsed) }
    }

    /// Tells whether there is room for submissions, whosoever: one whose share is used up is no sign that
    /// others find none.
    pub fn has_room(&self) -> bool {
        let answer = self.admit(Purpose::Submission(Owner::NOBODY));
        matches!(answer, Ok(()) | Err(StoreError::ShareUsed))
    }

    /// Checks that there is room for a submission of `login`, and says so when room begins to be missing, and
    /// when there is some again.
    ///
    /// # Errors
    ///
    /// As [`Self::admit`].
    pub fn admit_of(&self, login: Option<&str>) -> Result<(), StoreError> {
        let owner = Owner::of(login);
        let answer = self.admit(Purpose::Submission(owner));
        let news = self.shortage().hear(&answer, owner, Instant::now());
        match news {
            None => {}
            Some(News::Full) => self.say_full(),
            Some(News::Room) => self.say(Event::SpoolRoom),
            Some(News::Share) => {
                self.say(Event::ShareUsed { login: login.unwrap_or_default().to_owned() });
            }
        }
        answer
    }

    /// Says so when room for submissions begins to be missing, and when there is some again. It is `now`.
    pub fn look_for_room(&self, now: Instant) {
        let answer = self.admit(Purpose::Submission(Owner::NOBODY));
        let news = self.shortage().look(&answer, now);
        match news {
            None | Some(News::Share) => {}
            Some(News::Full) => self.say_full(),
            Some(News::Room) => self.say(Event::SpoolRoom),
        }
    }

    fn say_full(&self) {
        let free_bytes = self.space().map_or(0, |space| space.free_bytes);
        let messages = self.index().entries.len();
        self.say(Event::SpoolFull { messages, free_bytes });
    }

    fn shortage(&self) -> MutexGuard<'_, Shortage> {
        self.shortage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the message whose turn it is at `now`, of the ways that have room.
    pub fn take_due(&self, now: Timestamp, has_room: impl Fn(Way) -> bool) -> Next {
        let mut index = self.index();
        let Some(id) = index.agenda.take_due(now, has_room) else {
            return index.agenda.next_due().map_or(Next::Nothing, Next::At);
        };
        let ticket = index.ticket();
        if let Some(entry) = index.entries.get_mut(&id) {
            entry.turn = Turn::Claimed(ticket);
        }
        if index.agenda.has_due() {
            // The writer wakes one for a whole batch; whoever is woken wakes the next.
            self.due.notify_one();
        }
        Next::Message(id, ticket)
    }

    /// Sets a message aside, if somebody has it in hand when that ends: a part of it cannot be read. If it
    /// comes again that is taken for new: no client is told that a message is ours which cannot be sent.
    pub fn set_aside(&self, id: MessageId, problem: String) {
        let mut index = self.index();
        if let Some(turn) = index.entries.get(&id).map(|entry| entry.turn.spoiled()) {
            index.turn(id, turn);
        }
        drop(index);
        self.repeats().forget(id);
        self.say(Harm::Message.event(id.to_string(), problem));
    }

    /// Reads and checks the record that `find` names: on the spot what lies in memory and is no longer than
    /// [`AT_ONCE`], as a message does that was just accepted, else on a thread that may wait for the disk.
    ///
    /// # Errors
    ///
    /// What [`segment::read`] fails with; [`StoreError::Gone`] if there is none.
    pub async fn read(
        &self,
        find: impl Fn(&Index) -> Option<Location>,
    ) -> Result<(Header, Vec<u8>), StoreError> {
        let (file, marker, location) = self.find(find)?;
        if location.length <= AT_ONCE
            && let Some(read) = segment::read_from_memory(file.as_ref(), marker, location)
        {
            return read;
        }
        let task =
            tokio::task::spawn_blocking(move || segment::read(file.as_ref(), marker, location));
        task.await.map_err(|problem| StoreError::Failed(problem.to_string()))?
    }

    /// Finds a record and opens its file in one step: a file that is open can be read to the end
    /// even if its segment is emptied and removed meanwhile.
    fn find(
        &self,
        find: impl Fn(&Index) -> Option<Location>,
    ) -> Result<(Arc<dyn File>, Marker, Location), StoreError> {
        let mut index = self.index();
        let location = find(&index).ok_or(StoreError::Gone)?;
        let opened = index.file(self.disk.as_ref(), location.segment);
        let (file, marker) = opened.map_err(StoreError::reading)?;
        Ok((file, marker, location))
    }
}
