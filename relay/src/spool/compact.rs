//! Space is given back by removing whole segments: a segment in which little still counts is
//! emptied first, a slice with every batch, by copying what counts to the end of the log.
//!
//! Copies come first in their batch: what the index says then was flushed before, so a copy never
//! lands behind the tombstone or the newer state of its message.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::event::Event;
use crate::mail::message::MessageId;
use crate::spool::StoreError;
use crate::spool::batch::Batch;
use crate::spool::content;
use crate::spool::harm::Harm;
use crate::spool::index::{Index, Standing};
use crate::spool::order::{Answer, Command};
use crate::spool::record::{Header, Kind};
use crate::spool::segment::{self, Depth, Found, Location, Scan, SegmentId};
use crate::spool::shared::Shared;
use crate::spool::writer::Committer;

/// The most octets copied with a batch while somebody waits for it, and while nobody does.
const SLICE: (usize, usize) = (256 << 10, 2 << 20);
/// The most records looked at with a batch.
const RECORDS: usize = 4096;

/// How long whoever asks for space waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A segment that is being emptied.
#[derive(Debug)]
pub struct Compaction {
    /// Which.
    pub victim: SegmentId,
    scan: Scan,
}

/// A record that was copied.
#[derive(Debug)]
pub struct Copied {
    id: MessageId,
    kind: Kind,
    from: Location,
    to: Location,
}

impl Copied {
    /// Makes the index point at the copy, unless the original stopped counting meanwhile.
    pub fn enter(&self, index: &mut Index) {
        if let Kind::Tombstone { first, last } = self.kind {
            if let Some(tally) = index.segments.get_mut(&self.to.segment) {
                tally.bury(first, last);
            }
            return;
        }
        let Some(place) = place_of(index, self.id, self.kind) else { return };
        if *place == self.from {
            *place = self.to;
            index.release(self.from);
            index.keep(self.to);
        }
    }
}

/// Returns where the index keeps the location of such a record.
fn place_of(index: &mut Index, id: MessageId, kind: Kind) -> Option<&mut Location> {
    let entry = index.entries.get_mut(&id)?;
    match kind {
        Kind::Part { number } => entry.parts.get_mut(number as usize),
        Kind::Message { .. } => Some(&mut entry.message),
        Kind::State { .. } => entry.state.as_mut(),
        Kind::Tombstone { .. } | Kind::Mark => None,
    }
}

/// Tells whether the record at `location` still counts.
fn counts(index: &mut Index, location: Location, header: &Header) -> bool {
    if let Kind::Tombstone { first, last } = header.kind {
        return index.is_needed(location.segment, first, last);
    }
    place_of(index, header.id, header.kind).is_some_and(|place| *place == location)
}

/// What giving space back came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// The length of the log before, octets.
    pub before_bytes: u64,
    /// The length of the log after.
    pub after_bytes: u64,
    /// Whether all was given back that can be; if not, it goes on.
    pub is_done: bool,
}

/// Has the writer give back all space that can be had; waits for it, but not for ever.
///
/// # Errors
///
/// [`StoreError::Failed`] if the disk cannot be written; [`StoreError::Closed`].
pub(super) async fn compact(
    shared: &Shared,
    orders: &mpsc::Sender<Command>,
) -> Result<Compacted, StoreError> {
    let before_bytes = shared.index().log_bytes();
    let (answer, answered) = oneshot::channel();
    orders.send(Command::Compact(answer)).await.map_err(|_| StoreError::Closed)?;
    let is_done = match tokio::time::timeout(PATIENCE, answered).await {
        Ok(answered) => answered.map_err(|_| StoreError::Closed)?.map(|()| true)?,
        Err(_) => false,
    };
    Ok(Compacted { before_bytes, after_bytes: shared.index().log_bytes(), is_done })
}

impl Committer {
    /// Seals the segment that is written to and notes all segments in which something is dead, also
    /// those that are not worth it yet. A segment of copies is not among them, so this comes to an end.
    pub fn hurry(&mut self, answer: Answer<()>) {
        self.seal_if_worn();
        self.shared.index().hurry();
        self.hurried.push(answer);
    }

    /// Answers those who wait if nothing is left to give back, or it cannot be done now.
    pub fn answer_hurried(&mut self) {
        if self.has_chores() {
            return;
        }
        let problem = || StoreError::Failed("the disk could not be written".to_owned());
        for answer in self.hurried.drain(..) {
            drop(answer.send(if self.is_failing { Err(problem()) } else { Ok(()) }));
        }
    }

    /// Copies a slice of the segment that is being emptied into `batch`.
    pub fn copy(&mut self, batch: &mut Batch, somebody_waits: bool) {
        let budget = if somebody_waits { SLICE.0 } else { SLICE.1 };
        let Some(mut compaction) = self.compaction.take().or_else(|| self.choose()) else {
            return;
        };
        match self.copy_slice(&mut compaction.scan, batch, budget) {
            Ok(()) => self.compaction = Some(compaction),
            Err(problem) => self.spare(compaction.victim, &problem),
        }
    }

    /// Chooses the oldest segment that should be emptied and opens it.
    fn choose(&mut self) -> Option<Compaction> {
        let shared = Arc::clone(&self.shared);
        let mut index = shared.index();
        let victim = index.ripe.pop_first()?;
        let opened = index.file(shared.disk.as_ref(), victim);
        let tally = index.segments.get(&victim)?;
        let (size, graves) = (tally.size_bytes, tally.graves);
        let is_dead = tally.live_bytes == 0
            && graves.is_none_or(|(first, last)| !index.is_needed(victim, first, last));
        drop(index);
        match opened {
            Ok((file, marker)) => {
                let mut scan = Scan::new(file, victim, marker, size);
                if is_dead {
                    scan.offset = size;
                }
                Some(Compaction { victim, scan })
            }
            Err(problem) => {
                self.spare(victim, &StoreError::reading(problem));
                None
            }
        }
    }

    /// Copies what counts, until the slice or the active segment is full.
    fn copy_slice(
        &mut self,
        scan: &mut Scan,
        batch: &mut Batch,
        budget: usize,
    ) -> Result<(), StoreError> {
        let mut copied_bytes = 0;
        for _ in 0..RECORDS {
            if copied_bytes >= budget {
                break;
            }
            // A stretch that is no record is passed over: if something that counts lay in it, it
            // is missing in the end and the segment is spared.
            let Some(Found::Record(from, header)) = scan.next(Depth::Headers)? else {
                if scan.offset >= scan.end {
                    break;
                }
                continue;
            };
            if !counts(&mut self.shared.index(), from, &header) {
                continue;
            }
            if !self.fits(header.length as usize) {
                scan.offset = from.offset;
                batch.is_full = true;
                break;
            }
            let (_, mut payload) = segment::read(scan.file.as_ref(), scan.marker, from)?;
            let mut crc = header.payload_crc;
            // What is unconfirmed of it stands at the head of the active segment: the copy must not
            // look like a message that was accepted since.
            if matches!(header.kind, Kind::Message { .. }) && content::blank(&mut payload) {
                crc = crc32c::crc32c(&payload);
            }
            let to = self.append(header.id, header.kind, &payload, crc);
            copied_bytes += payload.len();
            batch.copied.push(Copied { id: header.id, kind: header.kind, from, to });
            batch.needs_flush = true;
        }
        Ok(())
    }

    /// Removes the segment that was emptied, if it was to its end. Its copies are on disk.
    pub fn finish_compaction(&mut self) {
        let is_done = |compaction: &Compaction| compaction.scan.offset >= compaction.scan.end;
        if !self.compaction.as_ref().is_some_and(is_done) {
            return;
        }
        let Some(Compaction { victim, .. }) = self.compaction.take() else { return };
        let standing = {
            let index = self.shared.index();
            let Some(tally) = index.segments.get(&victim) else { return };
            if tally.live_bytes > 0 || tally.pins > 0 {
                drop(index);
                let problem = "records that count were not found in it".to_owned();
                return self.spare(victim, &StoreError::Damaged(problem));
            }
            tally.standing
        };
        match self.dispose(victim, standing) {
            Ok(()) => drop(self.shared.index().segments.remove(&victim)),
            Err(problem) => {
                // Tombstones for its records must stay as long as it may come back.
                self.stand(victim, Standing::Stuck);
                let problem = format!("{}: cannot be removed: {problem}", victim.file_name());
                self.shared.say(Event::Trouble { room: "spool", problem });
            }
        }
    }

    /// Takes the segment out of the log, for good: a segment that came back after a loss of power
    /// could bring back messages whose tombstones are gone by then.
    fn dispose(&self, victim: SegmentId, standing: Standing) -> io::Result<()> {
        let disk = &self.shared.disk;
        match standing {
            Standing::Damaged => disk.rename(&victim.file_name(), &victim.damaged_name())?,
            Standing::Active | Standing::Sealed | Standing::Failed | Standing::Stuck => {
                disk.remove(&victim.file_name())?;
            }
        }
        disk.flush_folder()
    }

    /// Leaves a segment as it is because something in it cannot be read.
    fn spare(&mut self, victim: SegmentId, problem: &StoreError) {
        self.stand(victim, Standing::Damaged);
        let (place, problem) = (victim.file_name(), problem.to_string());
        self.shared.say(Harm::Emptying.event(place, problem));
    }

    fn stand(&self, segment: SegmentId, standing: Standing) {
        let mut index = self.shared.index();
        if let Some(tally) = index.segments.get_mut(&segment) {
            tally.standing = standing;
        }
        index.ripe.remove(&segment);
    }
}
