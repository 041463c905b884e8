//! How a segment begins, is full, and is left in order.

use std::io;
use std::sync::Arc;

use crate::mail::message::MessageId;
use crate::spool::batch::Batch;
use crate::spool::disk::File;
use crate::spool::index::{Standing, Tally};
use crate::spool::record::{Kind, Marker};
use crate::spool::segment::{Head, START, SegmentId};
use crate::spool::writer::Committer;

/// The segment that records are appended to.
#[derive(Debug)]
pub struct Active {
    /// Its number.
    pub id: SegmentId,
    /// Its file.
    pub file: Arc<dyn File>,
    /// What its records begin with.
    pub marker: Marker,
    /// Where its first record ends, which says what is unconfirmed; [`START`] if there is none.
    pub begin: u32,
    /// Where the next record goes.
    pub end: u32,
    /// Everything before this was flushed.
    pub confirmed: u32,
}

impl Committer {
    /// Makes a segment if there is none to write to. Its head and its name are flushed before any
    /// record is written.
    pub fn begin_segment(&mut self) -> io::Result<()> {
        if self.active.is_some() {
            return Ok(());
        }
        let number = self.next;
        let next = number.0.checked_add(1).ok_or_else(|| io::Error::other("no number is left"))?;
        // A number is used once, also if making the segment fails half-way.
        self.next = SegmentId(next);
        let mut marker = Marker::default();
        aws_lc_rs::rand::fill(&mut marker).map_err(|_| io::Error::other("no random numbers"))?;
        let (before, confirmed_before) = self.before;
        let next_id = self.shared.id_mark();
        let (unconfirmed, listed) = {
            let repeats = self.shared.repeats();
            (repeats.encode(), repeats.forgotten())
        };
        let repeats_bytes = unconfirmed.len() as u32;
        let head = Head { number, marker, next_id, before, confirmed_before, repeats_bytes };
        let disk = Arc::clone(&self.shared.disk);
        let file = disk.create(&number.file_name())?;
        let made = file.write_at(&head.encode(), 0).and_then(|()| file.flush());
        if let Err(problem) = made.and_then(|()| disk.flush_folder()) {
            // Without records it is nothing; recovery removes it if this cannot.
            drop(disk.remove(&number.file_name()));
            return Err(problem);
        }
        let mut tally = Tally::new(marker, Standing::Active, START);
        tally.file = Some(Arc::clone(&file));
        self.shared.index().segments.insert(number, tally);
        self.listed = listed;
        let (begin, end, confirmed) = (START, START, START);
        self.active = Some(Active { id: number, file, marker, begin, end, confirmed });
        if !unconfirmed.is_empty() {
            let crc = crc32c::crc32c(&unconfirmed);
            let first = self.append(MessageId(0), Kind::Mark, &unconfirmed, crc);
            if let Some(active) = &mut self.active {
                active.begin = first.offset + first.length;
            }
        }
        Ok(())
    }

    /// Closes the active segment if something in it is dead.
    pub fn seal_if_worn(&mut self) {
        let Some(active) = &self.active else { return };
        if self.shared.index().segments.get(&active.id).is_some_and(Tally::is_worn) {
            self.seal();
        }
    }

    /// Closes the active segment: parts that nobody waited for are flushed too, since nothing of
    /// it is flushed later.
    pub fn seal(&mut self) {
        let Some(active) = self.active.take() else { return };
        if active.end > active.confirmed
            && let Err(problem) = active.file.flush()
        {
            self.fail(&active, &problem);
            return;
        }
        self.before = (active.id, active.end);
        let mut index = self.shared.index();
        if let Some(tally) = index.segments.get_mut(&active.id) {
            tally.standing = Standing::Sealed;
        }
        index.weigh(active.id);
    }

    /// Says that all before the end was flushed, and what is unconfirmed now. If the mark is lost, the
    /// end may be torn: no harm, so it is not flushed.
    ///
    /// What was confirmed since the last list stands nowhere else: if there is no segment to write
    /// to, one is begun for it.
    pub fn mark(&mut self) {
        let Some(active) = &mut self.active else { return self.list() };
        // The end may hold parts of drafts that nobody waited for.
        let flushed = if active.end > active.confirmed { active.file.flush() } else { Ok(()) };
        if let Err(problem) = flushed {
            if let Some(active) = self.active.take() {
                self.fail(&active, &problem);
            }
            return self.list();
        }
        active.confirmed = active.end;
        if active.end > START {
            let unconfirmed = self.shared.repeats().encode();
            let crc = crc32c::crc32c(&unconfirmed);
            self.append(MessageId(0), Kind::Mark, &unconfirmed, crc);
            drop(self.write(&Batch::default()));
        }
    }

    /// Begins a segment that says what is unconfirmed, unless the last list says it still.
    fn list(&mut self) {
        let is_old = self.shared.repeats().forgotten() > self.listed;
        if is_old && self.begin_segment().is_ok() {
            drop(self.write(&Batch { needs_flush: true, ..Batch::default() }));
        }
    }
}
