//! The one writer of the log, and what makes the spool fast: whoever waits while a flush runs
//! shares the next one. A flush starts at once when none runs, but for a moment given to those
//! whom the flush before has just answered.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::mail::message::MessageId;
use crate::spool::StoreError;
use crate::spool::batch::{Batch, Burial, Promise};
use crate::spool::compact::Compaction;
use crate::spool::index::Standing;
use crate::spool::order::{Answer, Command, Order, QUEUE, What};
use crate::spool::record::{HEADER, Header, Kind};
use crate::spool::segment::{Location, SegmentId};
use crate::spool::shared::Shared;
use crate::spool::turnover::Active;

/// The memory that the writer keeps between two batches, octets.
const BUFFER_KEPT: usize = 4 << 20;
/// So many yields without a new order mean that nobody is coming.
const QUIET_YIELDS: u32 = 16;
/// No more time than this is given to those who may come: an eighth of a flush.
const GIVING_WAY: Duration = Duration::from_micros(50);

/// Writes batches of orders and keeps the index true. It does not wait for anything but the disk,
/// so that a simulated disk and a seed make a run that can be repeated.
#[derive(Debug)]
pub struct Committer {
    /// What the spool shares.
    pub shared: Arc<Shared>,
    /// The segment that is being emptied.
    pub compaction: Option<Compaction>,
    /// The segment written to.
    pub active: Option<Active>,
    /// The number of the next segment.
    pub next: SegmentId,
    /// The segment written to last, and up to where it was flushed.
    pub before: (SegmentId, u32),
    /// How many submissions were forgotten when their list was written last.
    pub listed: u64,
    /// Records that are not written yet.
    pub buffer: Vec<u8>,
    /// Messages that must not come back and whose tombstones are not on disk yet.
    pub burials: VecDeque<Burial>,
    /// Who waits until space was given back.
    pub hurried: Vec<Answer<()>>,
    /// The last batch failed: chores wait for the next order instead of turning in a circle.
    pub is_failing: bool,
}

impl Committer {
    /// Begins a new segment with the number `next` at the first order; what is in segments from
    /// before a crash is never appended to.
    ///
    /// `before` is the segment written to last and up to where it is sound.
    pub fn new(shared: Arc<Shared>, next: SegmentId, before: (SegmentId, u32)) -> Self {
        Self {
            shared,
            compaction: None,
            active: None,
            next,
            before,
            listed: 0,
            buffer: Vec::new(),
            burials: VecDeque::new(),
            hurried: Vec::new(),
            is_failing: false,
        }
    }

    /// Serves `commands` until the spool is closing or nobody can send any more. What was asked for
    /// before that is done: an outcome that is lost means that mail is sent twice.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut taken = Vec::with_capacity(QUEUE);
        let mut answered = 0;
        loop {
            if !self.has_chores() && commands.blocking_recv_many(&mut taken, QUEUE) == 0 {
                return;
            }
            give_way(&commands, answered);
            while taken.len() < QUEUE
                && let Ok(command) = commands.try_recv()
            {
                taken.push(command);
            }
            answered = taken.len();
            self.serve(&mut taken);
            if self.shared.is_closing.load(Ordering::Acquire) {
                // Nobody gets in any more, so no more than a queue is left.
                commands.close();
                taken.extend(std::iter::from_fn(|| commands.try_recv().ok()));
                self.serve(&mut taken);
                return self.mark();
            }
        }
    }

    /// Does what was taken from the queue.
    fn serve(&mut self, taken: &mut Vec<Command>) {
        let mut orders = VecDeque::with_capacity(taken.len());
        for command in taken.drain(..) {
            match command {
                Command::Write(order) => orders.push_back(order),
                Command::Look => {}
                Command::Compact(answer) => self.hurry(answer),
            }
        }
        self.commit(orders);
        self.answer_hurried();
    }

    /// Tells whether there is something to do without an order.
    pub fn has_chores(&self) -> bool {
        let waits = || !self.burials.is_empty() || !self.shared.index().ripe.is_empty();
        !self.is_failing && (self.compaction.is_some() || waits())
    }

    /// Writes `orders` in turn, flushes, enters them into the index and answers. Outcomes of a
    /// batch that failed are tried once more, in a new segment.
    pub fn commit(&mut self, orders: VecDeque<Order>) {
        self.is_failing = false;
        let (again, mut problem) = self.attempt(orders);
        if !again.is_empty() || self.burials.iter().any(|burial| burial.answer.is_some()) {
            self.is_failing = false;
            let (lost, last) = self.attempt(again);
            problem = last;
            for order in lost {
                order.refuse(problem.clone());
            }
        }
        for answer in self.burials.iter_mut().filter_map(|burial| burial.answer.take()) {
            drop(answer.send(Err(problem.clone())));
        }
    }

    /// Writes all orders in as many batches as segments are needed; returns the outcomes that
    /// were in a batch that failed, and why it did.
    fn attempt(&mut self, mut orders: VecDeque<Order>) -> (VecDeque<Order>, StoreError) {
        let (mut again, mut last_problem) = (VecDeque::new(), StoreError::Closed);
        while !orders.is_empty() || self.has_chores() {
            let started = self.begin_segment();
            if let Err(problem) = started.map_err(|problem| StoreError::writing(&problem)) {
                self.is_failing = true;
                for order in orders {
                    self.turn_away(order, &problem);
                }
                return (again, problem);
            }
            // What is unconfirmed stands at the head of a new segment, on disk before an older one goes.
            let needs_flush = !self.buffer.is_empty();
            let mut batch = Batch { needs_flush, ..Batch::default() };
            self.bury(&mut batch);
            self.copy(&mut batch, !orders.is_empty());
            while let Some(order) = orders.pop_front() {
                if !self.fits(order.payload.len()) {
                    orders.push_front(order);
                    batch.is_full = true;
                    break;
                }
                self.place(&mut batch, order);
            }
            let is_full = batch.is_full || !self.fits(0);
            match self.write(&batch) {
                Ok(()) => self.settle(batch),
                Err(problem) => {
                    last_problem = StoreError::writing(&problem);
                    again.extend(self.abandon(batch, &problem));
                }
            }
            if is_full {
                self.seal();
            }
            if orders.is_empty() {
                break;
            }
        }
        (again, last_problem)
    }

    /// Tells whether a record with a payload of `length` octets goes into the active segment. An
    /// empty segment takes any.
    pub fn fits(&self, length: usize) -> bool {
        let Some(active) = &self.active else { return true };
        let end = active.end as usize + self.buffer.len();
        let after = end + HEADER + length;
        end == active.begin as usize || after <= self.shared.settings.segment_bytes as usize
    }

    /// Puts a record behind the others; returns where it will lie.
    pub fn append(&mut self, id: MessageId, kind: Kind, payload: &[u8], crc: u32) -> Location {
        let active = self.active.as_ref().expect("invariant: a segment was begun for this batch");
        let length = payload.len() as u32;
        let header = Header { id, kind, length, payload_crc: crc, confirmed: active.confirmed };
        let offset = active.end + self.buffer.len() as u32;
        self.buffer.extend_from_slice(&header.encode(active.marker));
        self.buffer.extend_from_slice(payload);
        Location { segment: active.id, offset, length: header.record_length() }
    }

    /// Writes the tombstones that are due since something failed.
    fn bury(&mut self, batch: &mut Batch) {
        for place in 0..self.burials.len() {
            if !self.fits(Promise::Refused.payload().len()) {
                batch.is_full = true;
                break;
            }
            let Burial { id, first, last, promise, .. } = self.burials[place];
            let payload = promise.payload();
            let crc = crc32c::crc32c(payload);
            self.append(id, Kind::Tombstone { first, last }, payload, crc);
            batch.burials += 1;
            batch.needs_flush = true;
        }
    }

    /// Puts one order into the batch, or refuses it.
    fn place(&mut self, batch: &mut Batch, order: Order) {
        let submission = order.what.submission();
        if let Some((fingerprint, at)) = submission {
            if let Some(first) = batch.submitted.get(&fingerprint) {
                return batch.repeated.push((order, *first));
            }
            let first = self.shared.repeats().first(fingerprint, at);
            if let Some(first) = first {
                return order.refuse(StoreError::Repeat(first));
            }
        }
        let kind = match self.kind(&order) {
            Ok(kind) => kind,
            Err(problem) => return order.refuse(problem),
        };
        batch.needs_flush |= !matches!(kind, Kind::Part { .. });
        if let Some((fingerprint, _)) = submission {
            batch.submitted.insert(fingerprint, order.id);
        }
        let location = self.append(order.id, kind, &order.payload, order.payload_crc);
        batch.placed.push((order, kind, location));
    }

    /// Returns what the record says; fails if the message it belongs to is not there any more.
    fn kind(&self, order: &Order) -> Result<Kind, StoreError> {
        let index = self.shared.index();
        let entry = index.entries.get(&order.id);
        match &order.what {
            What::Part { number, .. } => Ok(Kind::Part { number: *number }),
            What::Message { parts, size_bytes, accepted_at, due_at, label, .. } => {
                let is_lost = |part: &Location| {
                    let tally = index.segments.get(&part.segment);
                    tally.is_none_or(|tally| tally.standing == Standing::Failed)
                };
                if parts.locations().iter().any(is_lost) {
                    let problem = "a part of the message may not be on disk";
                    return Err(StoreError::Failed(problem.to_owned()));
                }
                let parts = u16::try_from(parts.locations().len());
                Ok(Kind::Message {
                    parts: parts.map_err(|_| StoreError::TooLarge)?,
                    size_bytes: *size_bytes,
                    accepted_at: accepted_at.as_microsecond(),
                    delay_s: delay_s(*accepted_at, *due_at),
                    label: *label,
                })
            }
            What::State { pending, attempts, due_at, stay, .. } => entry
                .map(|_| Kind::State {
                    pending: *pending,
                    attempts: *attempts,
                    due_at: due_at.as_microsecond(),
                    stay: *stay,
                })
                .ok_or(StoreError::Gone),
            What::Tombstone { .. } => {
                let first = entry.ok_or(StoreError::Gone)?.first;
                let last = self.active.as_ref().map_or(first, |active| active.id);
                Ok(Kind::Tombstone { first, last })
            }
        }
    }

    /// Writes the batch and, if somebody's promise depends on it, flushes.
    pub fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if !self.buffer.is_empty() {
            active.file.write_at(&self.buffer, u64::from(active.end))?;
            active.end += self.buffer.len() as u32;
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_KEPT);
        }
        if batch.needs_flush {
            let begun = Instant::now();
            active.file.flush()?;
            self.shared.flush_times.observe(begun.elapsed());
            active.confirmed = active.end;
            self.shared.flushes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Enters a batch that is on disk into the index, then answers.
    fn settle(&mut self, mut batch: Batch) {
        let Some(active) = &self.active else { return };
        let (own, end) = (active.id, active.end);
        let is_message = |(order, _, _): &&(Order, Kind, Location)| order.what.is_message();
        let committed = batch.placed.iter().filter(is_message).count() as u64;
        self.shared.commits.fetch_add(committed, Ordering::Relaxed);
        self.remember(&batch);
        let repeated = std::mem::take(&mut batch.repeated);
        let buried: Vec<_> = self.burials.drain(..batch.burials).collect();
        let mut answers = {
            let mut index = self.shared.index();
            if let Some(tally) = index.segments.get_mut(&own) {
                tally.size_bytes = end;
                for burial in &buried {
                    tally.bury(burial.first, burial.last);
                }
            }
            batch.enter(&mut index)
        };
        answers.extend(buried.into_iter().filter_map(|burial| burial.answer));
        if !answers.is_empty() {
            self.shared.due.notify_one();
        }
        for answer in answers {
            drop(answer.send(Ok(())));
        }
        for (order, first) in repeated {
            order.refuse(StoreError::Repeat(first));
        }
        self.finish_compaction();
    }

    /// Remembers the submissions of a batch, before anybody is told that they are ours.
    fn remember(&self, batch: &Batch) {
        if batch.submitted.is_empty() {
            return;
        }
        let mut repeats = self.shared.repeats();
        for (order, _, _) in &batch.placed {
            if let Some((fingerprint, at)) = order.what.submission() {
                repeats.remember(order.id, fingerprint, at);
            }
        }
    }
}

/// Returns for how long a message is held back at first, whole seconds: never too short.
fn delay_s(accepted_at: Timestamp, due_at: Timestamp) -> u32 {
    let micros = due_at.as_microsecond().saturating_sub(accepted_at.as_microsecond());
    u32::try_from(micros.max(0).cast_unsigned().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// Lets those who were just answered bring their next order before the flush begins; only if
/// there was more than one, so that a lone client never waits for company.
///
/// Without this two halves of the clients take turns: each half arrives just after the flush for
/// the other began. Measured, it halves the flushes per message at 16 and at 64 clients.
fn give_way(commands: &mpsc::Receiver<Command>, answered: usize) {
    if answered < 2 {
        return;
    }
    let begun = Instant::now();
    let (mut known, mut quiet) = (commands.len(), 0);
    while quiet < QUIET_YIELDS && begun.elapsed() < GIVING_WAY {
        std::thread::yield_now();
        let waiting = commands.len();
        quiet = if waiting == known { quiet + 1 } else { 0 };
        known = waiting;
    }
}
