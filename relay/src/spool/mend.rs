//! What is done about damage: what is sound is copied on, and files with damage are set aside.
//!
//! A message of which something cannot be read leaves the queue, since it can never be sent; what is
//! left of it is kept in a file. What is sound goes on, but for one case: a file of which both copies
//! of the head are lost is set aside whole, with all messages in it. Without the head's marker our
//! records cannot be told from those that a client wrote into a body. Nothing at all is deleted.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::mail::message::MessageId;
use crate::spool::check::{self, Report};
use crate::spool::content;
use crate::spool::disk::{Disk, Folder, Use};
use crate::spool::found::Care;
use crate::spool::index::Standing;
use crate::spool::order::{Order, What};
use crate::spool::recover;
use crate::spool::segment::{self, Location, SegmentId};
use crate::spool::shared::Settings;
use crate::spool::writer::Committer;
use crate::spool::{PART, SEGMENT, StoreError, prepared};

/// The most steps that emptying one segment may take: far more than one needs that is full of the
/// shortest records.
const STEPS: usize = 100_000;
/// The settings of a spool that takes no submissions.
const SETTINGS: Settings = Settings {
    reserve_bytes: 0,
    messages: 0,
    segment_bytes: SEGMENT,
    part_bytes: PART,
    clock: Timestamp::now,
};

/// What mending came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mended {
    /// What was found before.
    pub before: Report,
    /// What is found now.
    pub after: Report,
    /// Messages that left the queue.
    pub given_up: Vec<GivenUp>,
}

/// A message of which something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The message.
    pub id: MessageId,
    /// The file with what is left of it, in the folder of the spool: its envelope, then its body.
    pub file: String,
}

/// Mends the spool in the folder at `path`, of which no process may make use. One that is sound is
/// left as it is.
///
/// # Errors
///
/// [`StoreError::Locked`]; [`StoreError::Newer`]; [`StoreError::Failed`], [`StoreError::Full`]: then
/// some may be mended and the rest is as it was.
pub fn mend(path: &Path) -> Result<Mended, StoreError> {
    let failed = |problem: io::Error| StoreError::Failed(format!("{}: {problem}", path.display()));
    if !path.try_exists().map_err(failed)? {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    let folder = Folder::open(path).map_err(|problem| match problem.kind() {
        io::ErrorKind::WouldBlock => StoreError::Locked,
        _ => failed(problem),
    })?;
    let mended = mend_on(&(Arc::new(folder) as Arc<dyn Disk>), SETTINGS);
    // Also after a failure: what was written must be readable for the relay's user.
    give_back(path).map_err(failed)?;
    mended
}

pub(super) fn mend_on(disk: &Arc<dyn Disk>, settings: Settings) -> Result<Mended, StoreError> {
    let found = recover::recover(disk.as_ref(), settings.segment_bytes, Care::All)?;
    let names = disk.list().map_err(StoreError::reading)?;
    let before = check::report(&found, Use::Nobody, names);
    if before.is_sound() {
        return Ok(Mended { after: before.clone(), before, given_up: Vec::new() });
    }
    let mut committer = prepared(Arc::clone(disk), settings, found, |_| {});
    let mut given_up = Vec::new();
    for id in &before.damaged {
        let file = rescue(&committer, *id)?;
        bury(&mut committer, *id)?;
        given_up.push(GivenUp { id: *id, file });
    }
    for victim in damaged(&committer) {
        empty(&mut committer, victim)?;
    }
    committer.mark();
    drop(committer);
    let after = check::check_on(Arc::clone(disk), Use::Nobody)?;
    Ok(Mended { before, after, given_up })
}

fn damaged(committer: &Committer) -> Vec<SegmentId> {
    let index = committer.shared.index();
    let segments = index.segments.iter();
    segments.filter(|(_, tally)| tally.standing == Standing::Damaged).map(|(id, _)| *id).collect()
}

/// Writes what can be read of a message into a file of its own; returns its name. What was rescued
/// before stays. The file gets its name when it is whole: one that a crash left half would be taken for
/// the message.
fn rescue(committer: &Committer, id: MessageId) -> Result<String, StoreError> {
    let (shared, name, half) = (&committer.shared, format!("{id}.damaged"), format!("{id}.rescue"));
    let names = shared.disk.list().map_err(StoreError::reading)?;
    if names.contains(&name) {
        return Ok(name);
    }
    let cleared = if names.contains(&half) { shared.disk.remove(&half) } else { Ok(()) };
    let created = cleared.and_then(|()| shared.disk.create(&half));
    let file = created.map_err(|problem| StoreError::writing(&problem))?;
    let (message, parts) = {
        let index = shared.index();
        let entry = index.entries.get(&id).ok_or(StoreError::Gone)?;
        (entry.message, entry.parts.clone())
    };
    let mut offset = 0;
    let mut write = |bytes: &[u8]| {
        let written = file.write_at(bytes, offset);
        offset += bytes.len() as u64;
        written.map_err(|problem| StoreError::writing(&problem))
    };
    // The envelope and the end of the body are one record.
    let last = read(committer, message)?.unwrap_or_default();
    let body = content::decode_message(&last).map_or(0, |(_, body)| body);
    write(&last[..body])?;
    for part in parts {
        write(&read(committer, part)?.unwrap_or_default())?;
    }
    write(&last[body..])?;
    let named = file.flush().and_then(|()| shared.disk.rename(&half, &name));
    let flushed = named.and_then(|()| shared.disk.flush_folder());
    flushed.map_err(|problem| StoreError::writing(&problem))?;
    Ok(name)
}

/// Reads a record; none if it is damaged.
fn read(committer: &Committer, location: Location) -> Result<Option<Vec<u8>>, StoreError> {
    let shared = &committer.shared;
    let opened = shared.index().file(shared.disk.as_ref(), location.segment);
    let (file, marker) = opened.map_err(StoreError::reading)?;
    match segment::read(file.as_ref(), marker, location) {
        Ok((_, payload)) => Ok(Some(payload)),
        Err(StoreError::Damaged(_)) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Takes a message out of the queue.
fn bury(committer: &mut Committer, id: MessageId) -> Result<(), StoreError> {
    let (answer, mut answered) = oneshot::channel();
    committer.commit(VecDeque::from([Order::new(id, What::Tombstone { answer }, Vec::new())]));
    answered.try_recv().map_err(|_| StoreError::Closed)?
}

/// Copies on what counts in a segment; then the file is set aside.
fn empty(committer: &mut Committer, victim: SegmentId) -> Result<(), StoreError> {
    let mut tries = 0;
    for _ in 0..STEPS {
        if !committer.shared.index().segments.contains_key(&victim) {
            return Ok(());
        }
        if committer.compaction.is_none() {
            tries += 1;
            if tries > 2 {
                break;
            }
            committer.shared.index().ripe = [victim].into();
        }
        committer.commit(VecDeque::new());
        if committer.is_failing {
            return Err(StoreError::Failed("the disk could not be written".to_owned()));
        }
    }
    Err(StoreError::Damaged(format!("{}: could not be emptied", victim.file_name())))
}

/// Gives every file of the folder to the folder's owner.
fn give_back(path: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(path)?;
    for file in std::fs::read_dir(path)? {
        let file = file?;
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (owner.uid(), owner.gid()) {
            chown(file.path(), Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}
