//! What is known in memory: of each message a few numbers and places, of each segment how much of
//! it still counts. Envelopes and bodies stay on disk.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use crate::mail::message::MessageId;
use crate::spool::agenda::Agenda;
use crate::spool::captured::Captured;
use crate::spool::disk::{Disk, File};
use crate::spool::label::{Job, Label, Way};
use crate::spool::record::{HEADER, Marker};
use crate::spool::segment::{Location, START, SegmentId};
use crate::spool::share::Shares;

pub use crate::spool::turn::{Ticket, Turn};

/// The most files kept open for reading.
const OPEN_FILES: usize = 256;

/// A message on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record with the envelope and the end of the body.
    pub message: Location,
    /// The records with the parts of the body before that, in order.
    pub parts: Box<[Location]>,
    /// The latest state record, if an attempt was made.
    pub state: Option<Location>,
    /// The lowest segment that ever held a record of the message.
    pub first: SegmentId,
    /// Recipients that are still open; before the first attempt not known here and 0.
    pub pending: u32,
    /// How many attempts were made.
    pub attempts: u32,
    /// The octets of the body.
    pub size_bytes: u64,
    /// Whose share it takes of, and where it stands among others.
    pub label: Label,
    /// When its commit was asked for.
    pub accepted_at: Timestamp,
    /// Whose turn it is.
    pub turn: Turn,
}

impl Entry {
    /// Returns what the agenda sorts the message by.
    pub const fn job(&self) -> Job {
        Job { label: self.label, size_bytes: self.size_bytes }
    }

    /// Returns all records that the message is made of.
    pub fn locations(&self) -> impl Iterator<Item = Location> {
        self.parts.iter().copied().chain([self.message]).chain(self.state)
    }
}

/// Whether a segment is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Records are appended.
    Active,
    /// It is full and flushed.
    Sealed,
    /// A write or flush failed: it is never written or flushed again, and what counts in it is
    /// copied on.
    Failed,
    /// Something in it cannot be read: it is kept until nothing in it counts, then set aside.
    Damaged,
    /// Nothing in it counts, but it could not be removed.
    Stuck,
}

/// How much of a segment still counts.
#[derive(Debug)]
pub struct Tally {
    /// What its records begin with.
    pub marker: Marker,
    /// Whether it is written to.
    pub standing: Standing,
    /// The octets that were written.
    pub size_bytes: u32,
    /// The octets of records that still count, tombstones left out.
    pub live_bytes: u64,
    /// The parts of drafts that are not committed yet.
    pub pins: u32,
    /// How many tombstones lie here.
    pub tombstones: u32,
    /// The lowest and the highest segment in which records lie that these tombstones bury.
    pub graves: Option<(SegmentId, SegmentId)>,
    /// The file, if it is open.
    pub file: Option<Arc<dyn File>>,
}

impl Tally {
    /// Begins to count a segment in which nothing counts.
    pub const fn new(marker: Marker, standing: Standing, size_bytes: u32) -> Self {
        let (live_bytes, pins, tombstones) = (0, 0, 0);
        Self {
            marker,
            standing,
            size_bytes,
            live_bytes,
            pins,
            tombstones,
            graves: None,
            file: None,
        }
    }

    /// Counts a tombstone for records in the segments from `first` to `last`.
    pub fn bury(&mut self, first: SegmentId, last: SegmentId) {
        self.tombstones += 1;
        let (low, high) = self.graves.unwrap_or((first, last));
        self.graves = Some((low.min(first), high.max(last)));
    }

    /// Tells whether something in the segment is dead, a part in sixteen at least: less is not worth
    /// the copying to anybody.
    pub fn is_worn(&self) -> bool {
        let written = u64::from(self.size_bytes.saturating_sub(START));
        self.live_bytes + written / 16 <= written && written > 0
    }

    /// Tells whether the segment can be emptied if somebody asks for space.
    fn can_hurry(&self) -> bool {
        self.standing == Standing::Sealed && self.pins == 0 && self.is_worn()
    }

    /// Tells whether the segment should be emptied, if `worthwhile_bytes` is the most to copy.
    fn is_ripe(&self, worthwhile_bytes: u64) -> bool {
        let tombstones = u64::from(self.tombstones) * HEADER as u64;
        self.pins == 0
            && match self.standing {
                Standing::Active | Standing::Stuck => false,
                Standing::Sealed => self.live_bytes + tombstones <= worthwhile_bytes,
                Standing::Failed => true,
                Standing::Damaged => self.live_bytes == 0,
            }
    }
}

/// All messages and segments.
#[derive(Debug)]
pub struct Index {
    /// The messages, oldest first.
    pub entries: BTreeMap<MessageId, Entry>,
    /// The segments, oldest first.
    pub segments: BTreeMap<SegmentId, Tally>,
    /// What is due when.
    pub agenda: Agenda,
    /// Segments that should be emptied.
    pub ripe: BTreeSet<SegmentId>,
    /// The octets of all bodies.
    pub body_bytes: u64,
    /// How much of it each login takes.
    pub shares: Shares,
    /// How many messages are set aside.
    pub damaged: usize,
    /// How many messages operators hold.
    pub held: usize,
    /// The messages that are kept instead of sent.
    pub captured: Captured,
    /// How many messages wait or are in delivery, by the way that they go next; none is 0.
    pub waiting: BTreeMap<Way, usize>,
    /// A segment is emptied when no more octets than this would be copied.
    worthwhile_bytes: u64,
    /// Segments that somebody asked to be emptied, worthwhile or not.
    hurried: BTreeSet<SegmentId>,
    open_files: usize,
    tickets: u64,
}

impl Index {
    /// Makes an empty index for segments of at most `segment_bytes`.
    pub fn new(segment_bytes: u32) -> Self {
        Self {
            entries: BTreeMap::new(),
            segments: BTreeMap::new(),
            agenda: Agenda::at(Timestamp::now()),
            ripe: BTreeSet::new(),
            body_bytes: 0,
            shares: Shares::default(),
            damaged: 0,
            held: 0,
            captured: Captured::default(),
            waiting: BTreeMap::new(),
            worthwhile_bytes: u64::from(segment_bytes) / 4,
            hurried: BTreeSet::new(),
            open_files: 0,
            tickets: 0,
        }
    }

    /// Counts the record at `location` in.
    pub fn keep(&mut self, location: Location) {
        if let Some(tally) = self.segments.get_mut(&location.segment) {
            tally.live_bytes += u64::from(location.length);
        }
    }

    /// Counts the record at `location` out.
    pub fn release(&mut self, location: Location) {
        if let Some(tally) = self.segments.get_mut(&location.segment) {
            tally.live_bytes = tally.live_bytes.saturating_sub(u64::from(location.length));
        }
        self.weigh(location.segment);
    }

    /// Counts the part of a draft at `location` in, and keeps its segment from being emptied.
    pub fn pin(&mut self, location: Location) {
        self.keep(location);
        if let Some(tally) = self.segments.get_mut(&location.segment) {
            tally.pins += 1;
        }
    }

    /// Takes back one [`Self::pin`] for a part that became part of a message.
    pub fn unpin(&mut self, segment: SegmentId) {
        if let Some(tally) = self.segments.get_mut(&segment) {
            tally.pins = tally.pins.saturating_sub(1);
        }
        self.weigh(segment);
    }

    /// Notes whether the segment should be emptied now.
    pub fn weigh(&mut self, segment: SegmentId) {
        let hurries = self.hurried.contains(&segment);
        let is_ripe =
            |tally: &Tally| tally.is_ripe(self.worthwhile_bytes) || hurries && tally.can_hurry();
        let ripe = self.segments.get(&segment).is_some_and(is_ripe);
        if ripe {
            self.ripe.insert(segment);
        } else {
            self.ripe.remove(&segment);
        }
    }

    /// Notes every sealed segment in which something is dead, worthwhile or not.
    pub fn hurry(&mut self) {
        let worn = self.segments.iter().filter(|(_, tally)| tally.can_hurry());
        self.hurried = worn.map(|(segment, _)| *segment).collect();
        self.ripe.extend(&self.hurried);
    }

    /// Returns the length of the log, octets.
    pub fn log_bytes(&self) -> u64 {
        self.segments.values().map(|tally| u64::from(tally.size_bytes)).sum()
    }

    /// Tells whether the tombstone in segment `own` for records from `first` to `last` still
    /// buries something: the segment it lies in dies with it.
    pub fn is_needed(&self, own: SegmentId, first: SegmentId, last: SegmentId) -> bool {
        first <= last && self.segments.range(first..=last).any(|(segment, _)| *segment != own)
    }

    /// Takes a message in and gives it its turn.
    pub fn insert(&mut self, id: MessageId, entry: Entry) {
        self.body_bytes += entry.size_bytes;
        self.count_in(id, entry.turn, entry.job());
        self.entries.insert(id, entry);
    }

    /// Takes many messages into an empty index, in the order of their ids, and gives them their turns.
    pub fn fill(&mut self, entries: Vec<(MessageId, Entry)>) {
        for (id, entry) in &entries {
            self.body_bytes += entry.size_bytes;
            self.count_in(*id, entry.turn, entry.job());
        }
        self.entries = entries.into_iter().collect();
    }

    /// Gives the turn of a message to somebody else; nothing happens if it is gone.
    pub fn turn(&mut self, id: MessageId, turn: Turn) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (before, job) = (std::mem::replace(&mut entry.turn, turn), entry.job());
        self.count_out(id, before, job);
        self.count_in(id, turn, job);
    }

    /// Takes the turn of a message for whoever gets the ticket.
    pub fn take(&mut self, id: MessageId) -> Ticket {
        let ticket = self.ticket();
        self.turn(id, Turn::Claimed(ticket));
        ticket
    }

    /// Returns a ticket that nobody has.
    pub const fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Sends a message another way from now on; nothing happens unless it is claimed.
    pub fn steer(&mut self, id: MessageId, way: Way) {
        let entry = self.entries.get_mut(&id);
        if let Some(entry) = entry.filter(|entry| matches!(entry.turn, Turn::Claimed(_))) {
            let before = std::mem::replace(&mut entry.label.way, way);
            self.leave(before);
            *self.waiting.entry(way).or_default() += 1;
        }
    }

    /// Counts a message out of those that go this way next.
    fn leave(&mut self, way: Way) {
        if let btree_map::Entry::Occupied(mut waiting) = self.waiting.entry(way) {
            *waiting.get_mut() -= 1;
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
    }

    /// Takes a message out and counts its records out.
    pub fn remove(&mut self, id: MessageId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.count_out(id, entry.turn, entry.job());
        self.body_bytes = self.body_bytes.saturating_sub(entry.size_bytes);
        for location in entry.locations() {
            self.release(location);
        }
    }

    /// Enters a message where its turn says.
    fn count_in(&mut self, id: MessageId, turn: Turn, job: Job) {
        match turn {
            Turn::Due(due_at) => {
                self.agenda.schedule(id, due_at, job);
                *self.waiting.entry(job.label.way).or_default() += 1;
            }
            Turn::Claimed(_) => *self.waiting.entry(job.label.way).or_default() += 1,
            Turn::Damaged | Turn::Spoiled(_) => self.damaged += 1,
            Turn::Held(_) => self.held += 1,
            // It takes of no login's share: what is captured makes room by itself.
            Turn::Captured => return self.captured.add(id, job.size_bytes),
        }
        self.shares.add(job.label.owner, job.size_bytes);
    }

    /// Takes back what [`Self::count_in`] did.
    fn count_out(&mut self, id: MessageId, turn: Turn, job: Job) {
        match turn {
            Turn::Due(due_at) => {
                self.agenda.cancel(id, due_at, job);
                self.leave(job.label.way);
            }
            Turn::Claimed(_) => self.leave(job.label.way),
            Turn::Damaged | Turn::Spoiled(_) => self.damaged -= 1,
            Turn::Held(_) => self.held -= 1,
            Turn::Captured => return self.captured.remove(id, job.size_bytes),
        }
        self.shares.remove(job.label.owner, job.size_bytes);
    }

    /// Returns the open file and the marker of a segment.
    ///
    /// # Errors
    ///
    /// What the operating system says; `NotFound` if there is no such segment.
    pub fn file(&mut self, disk: &dyn Disk, of: SegmentId) -> io::Result<(Arc<dyn File>, Marker)> {
        let Some(tally) = self.segments.get_mut(&of) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, of.file_name()));
        };
        if let Some(file) = &tally.file {
            return Ok((Arc::clone(file), tally.marker));
        }
        let file = disk.open(&of.file_name())?;
        tally.file = Some(Arc::clone(&file));
        let marker = tally.marker;
        self.open_files += 1;
        if self.open_files > OPEN_FILES {
            self.close_others(of);
        }
        Ok((file, marker))
    }

    /// Closes the files of all segments but `except` and those written to.
    fn close_others(&mut self, except: SegmentId) {
        self.open_files = 0;
        for (segment, tally) in &mut self.segments {
            if *segment != except && tally.standing != Standing::Active {
                tally.file = None;
            }
            self.open_files += usize::from(tally.file.is_some());
        }
    }
}
