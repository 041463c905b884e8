//! Whether all that is in the log can be read: every record is, its payload too.
//!
//! Not here: what is done about damage (`mend`).

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mail::message::MessageId;
use crate::spool::disk::{Disk, Folder, Use};
use crate::spool::found::{Care, Fault, Recovered};
use crate::spool::index::Turn;
use crate::spool::look::Looking;
use crate::spool::recover;
use crate::spool::segment::HEADS;
use crate::spool::{SEGMENT, StoreError};

/// How often a log is read anew that changes while it is opened.
const TRIES: usize = 5;

/// What was found in a spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether a process had the spool open: then it was read as it was at one moment.
    pub in_use: bool,
    /// Messages kept, those that are damaged too.
    pub messages: usize,
    /// Messages of which something cannot be read.
    pub damaged: Vec<MessageId>,
    /// The files of the log, oldest first.
    pub segments: Vec<Segment>,
    /// What failed its check: at most 64 stretches are named.
    pub faults: Vec<Fault>,
    /// Faults beyond these.
    pub unnamed_faults: usize,
    /// Files that were taken out of the log before, since something in them could not be read.
    pub set_aside: Vec<String>,
}

/// One file of the log. The sums of octets are its length but for the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its name.
    pub file: String,
    /// Octets of records that count.
    pub sound_bytes: u64,
    /// Octets of records that count no more, and of those about what is gone.
    pub dead_bytes: u64,
    /// Octets that are no sound record.
    pub damaged_bytes: u64,
    /// Sound copies of its head, of two: without any the whole file is lost.
    pub heads: u8,
}

impl Segment {
    /// Tells whether something of it fails its check.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        self.damaged_bytes > 0 || self.heads < HEADS
    }
}

impl Report {
    /// Tells whether nothing failed its check.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.damaged.is_empty()
    }
}

/// Reads the whole log in the folder at `path` and changes nothing.
///
/// # Errors
///
/// [`StoreError::Newer`]; [`StoreError::Failed`] if there is no spool or it cannot be read.
pub fn check(path: &Path) -> Result<Report, StoreError> {
    let failed = |problem: io::Error| StoreError::Failed(format!("{}: {problem}", path.display()));
    let (folder, used) = Folder::look(path).map_err(failed)?;
    check_on(Arc::new(folder), used)
}

pub(super) fn check_on(disk: Arc<dyn Disk>, used: Use) -> Result<Report, StoreError> {
    let looking = Looking(disk);
    let mut tries = 1;
    let found = loop {
        match recover::recover(&looking, SEGMENT, Care::All) {
            // The process that has it open removed a file between its listing and its opening.
            Err(StoreError::Failed(_)) if used == Use::Other && tries < TRIES => tries += 1,
            found => break found?,
        }
    };
    let names = looking.list().map_err(StoreError::reading)?;
    Ok(report(&found, used, names))
}

/// Puts together what was found.
pub(super) fn report(found: &Recovered, used: Use, names: Vec<String>) -> Report {
    let index = &found.index;
    let is_damaged = |turn| turn == Turn::Damaged;
    let damaged = index.entries.iter().filter(|(_, entry)| is_damaged(entry.turn));
    let segments = found.sums.iter().filter_map(|(id, sums)| {
        let live_bytes = index.segments.get(id)?.live_bytes;
        // The record of a damaged message is counted, and cannot be read.
        let sound_bytes = live_bytes.saturating_sub(sums.lost);
        let dead_bytes = sums.records.saturating_sub(sound_bytes);
        let (damaged_bytes, heads) = (sums.damaged, sums.heads);
        Some(Segment { file: id.file_name(), sound_bytes, dead_bytes, damaged_bytes, heads })
    });
    let mut set_aside: Vec<_> =
        names.into_iter().filter(|name| name.ends_with(".damaged")).collect();
    set_aside.sort_unstable();
    Report {
        in_use: used == Use::Other,
        messages: index.entries.len(),
        damaged: damaged.map(|(id, _)| *id).collect(),
        segments: segments.collect(),
        faults: found.faults.clone(),
        unnamed_faults: found.unnamed,
        set_aside,
    }
}
