//! Reads segments on a thread of its own, ahead of whoever takes in what they hold: at the start of a
//! spool half of the work is asking the kernel for headers, and half is sorting what they say.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;
use std::{io, vec};

use crate::spool::StoreError;
use crate::spool::disk::File;
use crate::spool::found::Care;
use crate::spool::segment::{Depth, Found, HEADS, Head, Scan};

/// What goes from one thread to the other at a time.
const BATCH: usize = 1024;
/// How many batches the reader may be ahead.
const BATCHES: usize = 16;

/// A segment whose head is sound.
pub struct Segment {
    /// Its head.
    pub head: Head,
    /// How many copies of it are.
    pub heads: u8,
    /// Its file.
    pub file: Arc<dyn File>,
    /// Its length, octets.
    pub size: u32,
    /// Up to where it is known to have been flushed by what the segment after it says, octets.
    pub confirmed: Option<u32>,
    /// What came of the flush of the rest.
    pub flushed: io::Result<()>,
}

impl Segment {
    /// Returns a segment with both copies of its head, of which nobody said how much of it was flushed.
    pub fn new(head: Head, file: Arc<dyn File>, size: u32) -> Self {
        Self { head, heads: HEADS, file, size, confirmed: None, flushed: Ok(()) }
    }

    /// Takes in what the segment after it says, and flushes the rest before anything is built on it.
    pub fn confirm(&mut self, confirmed: Option<u32>) {
        self.confirmed = confirmed;
        if !self.is_whole() {
            self.flushed = self.file.flush();
        }
    }

    /// Tells whether all of it is known to have been flushed.
    fn is_whole(&self) -> bool {
        self.confirmed == Some(self.size)
    }

    /// Returns how it is read, and how closely.
    fn scan(&self, care: Care) -> (Scan, Depth) {
        let depth = match care {
            Care::Start if self.is_whole() => Depth::Headers,
            Care::Start | Care::All => Depth::Payloads,
        };
        let Self { head, file, size, .. } = self;
        (Scan::new(Arc::clone(file), head.number, head.marker, *size), depth)
    }
}

/// What the reader says.
enum Said {
    /// This lies there.
    Batch(Vec<Found>),
    /// The segment is over.
    End,
    /// It could not be read on.
    Failed(StoreError),
}

/// What lies in the segments that were wanted, one after the other.
pub struct Ahead {
    said: Receiver<Said>,
    batch: vec::IntoIter<Found>,
}

impl Ahead {
    /// Begins to read segments in their order. The thread ends with the last of them, or when the result
    /// is dropped.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn of<'scope>(
        segments: &[Segment],
        care: Care,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<Self> {
        let scans: Vec<_> = segments.iter().map(|segment| segment.scan(care)).collect();
        let (tell, said) = sync_channel(BATCHES);
        let read = move || {
            for (scan, depth) in scans {
                if tell_of(scan, depth, &tell).is_none() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("spool-reader".to_owned()).spawn_scoped(scope, read)?;
        Ok(Self { said, batch: Vec::new().into_iter() })
    }

    /// Returns what lies next in the segment; none at its end, and the next call is about the next one.
    ///
    /// # Errors
    ///
    /// As [`Scan::next`]; nothing more can be read then.
    pub fn next(&mut self) -> Result<Option<Found>, StoreError> {
        loop {
            if let Some(found) = self.batch.next() {
                return Ok(Some(found));
            }
            match self.said.recv() {
                Ok(Said::Batch(batch)) => self.batch = batch.into_iter(),
                Ok(Said::End) => return Ok(None),
                Ok(Said::Failed(problem)) => return Err(problem),
                Err(_) => return Err(StoreError::Failed("the reader of the log ended".to_owned())),
            }
        }
    }
}

/// Tells what lies in a segment; none if there is nobody to be told any more.
fn tell_of(mut scan: Scan, depth: Depth, tell: &SyncSender<Said>) -> Option<()> {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        match scan.next(depth) {
            Ok(Some(found)) => batch.push(found),
            Ok(None) => break,
            Err(problem) => return tell.send(Said::Failed(problem)).ok(),
        }
        if batch.len() == BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            tell.send(Said::Batch(full)).ok()?;
        }
    }
    tell.send(Said::Batch(batch)).ok()?;
    tell.send(Said::End).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::Disk as _;
    use crate::spool::segment::{START, SegmentId};
    use crate::spool::simulated::Simulated;

    /// Returns a segment with nothing behind its head, which is said to be `size` octets long.
    fn segment(size: u32) -> Segment {
        let number = SegmentId(1);
        let head = Head {
            number,
            marker: *b"\x01marker\xff",
            next_id: 1,
            before: SegmentId(0),
            confirmed_before: 0,
            repeats_bytes: 0,
        };
        let disk = Simulated::new(1);
        let file = disk.create(&number.file_name()).unwrap();
        file.write_at(&head.encode(), 0).unwrap();
        Segment::new(head, file, size)
    }

    #[test]
    fn segments_come_one_after_the_other_and_what_cannot_be_read_is_said() {
        let segments = [segment(START), segment(START + 10), segment(START + 100)];
        std::thread::scope(|scope| {
            let mut ahead = Ahead::of(&segments, Care::All, scope).unwrap();
            assert_eq!(ahead.next(), Ok(None), "the first is empty");
            let cut = Found::Damage { offset: START, length: 10, problem: "cut off", header: None };
            assert_eq!(ahead.next(), Ok(Some(cut)));
            assert_eq!(ahead.next(), Ok(None));
            let gone =
                Found::Damage { offset: START, length: 100, problem: "cut off", header: None };
            assert_ne!(ahead.next(), Ok(Some(gone)), "it is not short, it cannot be read");
            assert_eq!(ahead.next(), Ok(None));
            assert!(matches!(ahead.next(), Err(StoreError::Failed(_))), "that was the last");
        });
    }

    #[test]
    fn the_reader_ends_with_whoever_listens() {
        let segments: Vec<_> = (0..BATCHES * 4).map(|_| segment(START + 10)).collect();
        std::thread::scope(|scope| {
            let mut ahead = Ahead::of(&segments, Care::All, scope).unwrap();
            assert!(ahead.next().is_ok());
        });
    }
}
