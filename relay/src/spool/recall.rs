//! What the log says of submissions that may come again, read once at the start.
//!
//! A segment begins with a list of what was unconfirmed then, and a spool that is closed in order
//! ends with one: such a list says everything about the messages before it. Those behind the last
//! list are all taken for unconfirmed, since it is not written down when one is confirmed. So few
//! fingerprints are read, however many messages wait.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::mail::message::MessageId;
use crate::spool::batch::Promise;
use crate::spool::content::{self, SIGNATURE};
use crate::spool::disk::Disk;
use crate::spool::index::{Index, Turn};
use crate::spool::record::HEADER;
use crate::spool::repeats::{MOST, Repeats};
use crate::spool::segment::{self, Location};

/// The last list, and the messages behind it.
///
/// Nearly all messages lie before the last list, which is known at the end only: what is read is noted, and
/// sorted when there is no list behind it.
#[derive(Debug, Default)]
pub struct Recall {
    list: Option<Location>,
    noted: Vec<(MessageId, Note)>,
    since: BTreeMap<MessageId, Since>,
}

/// What a record says of a message.
#[derive(Clone, Copy, Debug)]
enum Note {
    /// It lies here, and was accepted then.
    Lies(Location, Timestamp),
    /// It is gone, and was ours or never.
    Gone(Promise),
}

/// A message behind the last list.
#[derive(Clone, Copy, Debug)]
struct Since {
    location: Location,
    accepted_at: Timestamp,
    /// Whether it was ours and is gone: what was delivered may come again too.
    is_gone: bool,
}

impl Recall {
    /// A list lies here; none: nothing was unconfirmed. What came before it counts no more.
    pub fn begin(&mut self, list: Option<Location>) {
        self.list = list;
        self.noted.clear();
        self.since.clear();
    }

    /// A message lies here. Of several records the first counts: the others are copies, which have no
    /// fingerprint.
    pub fn message(&mut self, id: MessageId, location: Location, accepted_at: Timestamp) {
        self.note(id, Note::Lies(location, accepted_at));
    }

    /// A message is gone. One that was refused is no first of a repeat.
    pub fn bury(&mut self, id: MessageId, promise: Promise) {
        self.note(id, Note::Gone(promise));
    }

    fn note(&mut self, id: MessageId, note: Note) {
        self.noted.push((id, note));
        if self.noted.len() > MOST {
            self.sort();
        }
    }

    /// Does what was noted, in its order.
    fn sort(&mut self) {
        for (id, note) in self.noted.drain(..) {
            match note {
                Note::Lies(location, accepted_at) => {
                    let since = Since { location, accepted_at, is_gone: false };
                    self.since.entry(id).or_insert(since);
                    if self.since.len() > MOST {
                        self.since.pop_first();
                    }
                }
                Note::Gone(Promise::Refused) => drop(self.since.remove(&id)),
                Note::Gone(Promise::Made) => {
                    if let Some(since) = self.since.get_mut(&id) {
                        since.is_gone = true;
                    }
                }
            }
        }
    }

    /// Reads the fingerprints. What cannot be read is left out: it is then taken for new if it comes
    /// again, as is a message that was lost to damage or never became whole.
    pub fn finish(mut self, index: &mut Index, disk: &dyn Disk) -> Repeats {
        self.sort();
        let list = self.list.and_then(|list| {
            let (file, marker) = index.file(disk, list.segment).ok()?;
            segment::read(file.as_ref(), marker, list).ok()
        });
        let mut repeats = list.map(|(_, bytes)| Repeats::decode(&bytes)).unwrap_or_default();
        let damaged = index.entries.iter().filter(|(_, entry)| entry.turn == Turn::Damaged);
        damaged.for_each(|(id, _)| repeats.forget(*id));
        for (id, since) in self.since {
            let is_ours = since.is_gone
                || index.entries.get(&id).is_some_and(|entry| entry.turn != Turn::Damaged);
            if !is_ours || (since.location.length as usize) < HEADER + SIGNATURE {
                continue;
            }
            let Ok((file, _)) = index.file(disk, since.location.segment) else { continue };
            let mut bytes = [0; SIGNATURE];
            let offset = u64::from(since.location.offset) + HEADER as u64;
            if file.read_at(&mut bytes, offset).is_ok()
                && let Some(fingerprint) = content::signature(&bytes)
            {
                repeats.remember(id, fingerprint, since.accepted_at);
            }
        }
        repeats
    }
}
