//! Which messages an operator means, and looking through all of them without standing in anybody's way.
//!
//! A call looks at one stretch of the queue, for at most a tenth of a second, and says where to go on. The
//! index is locked for a thousand messages at a time; what it tells (age, login, place) narrows the choice
//! before envelopes are read, which happens outside of the lock.

mod newest;
mod routing;

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;
use crate::spool::content;
use crate::spool::disk::File;
use crate::spool::index::{Entry, Index};
use crate::spool::queue::Piece;
use crate::spool::queue::{self, Place, Summary};
use crate::spool::record::{HEADER, Marker, u32_at};
use crate::spool::segment::{self, Location};
use crate::spool::share::Owner;
use crate::spool::shared::Shared;
use crate::spool::{Spool, StoreError};

pub use newest::Newest;
pub use routing::Routing;

/// For how long one call looks.
const SLICE: Duration = Duration::from_millis(100);
/// The most messages that are looked at under one lock.
const GLANCED: usize = 1000;
/// The most of them that are picked: their files may have to be opened under it.
const PICKED: usize = 64;
/// How long the index is left to others after a glance that picked nothing: there is no disk to wait for.
const BREATHER: Duration = Duration::from_micros(50);
/// What is read of a record at first, octets: nearly every envelope is shorter.
const START: usize = 4 << 10;

/// Which messages are meant; none of the fields narrows nothing. Addresses compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Part of the sender.
    pub sender: Option<String>,
    /// Part of a recipient.
    pub recipient: Option<String>,
    /// The whole domain of a recipient.
    pub domain: Option<String>,
    /// The login.
    pub login: Option<String>,
    /// The tag of the allowlist entry.
    pub tag: Option<String>,
    /// The route by which a recipient goes who is still open.
    pub route: Option<String>,
    /// They became ours before this.
    pub accepted_before: Option<Timestamp>,
    /// They became ours then or later.
    pub accepted_since: Option<Timestamp>,
    /// Where they stand: one of these; if there are none, anywhere.
    pub places: Vec<Place>,
    /// Without those of which nothing was written down since and that are due after this: their clients
    /// wish them to leave later (RFC 4865), or they come within a minute.
    pub tried_or_due_by: Option<Timestamp>,
}

/// The part of the queue that is still to be looked at. It ends where the queue ended at the first call, so
/// that one who goes on and on comes to an end while messages keep coming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stretch {
    /// Only ids behind this one.
    pub after: Option<MessageId>,
    /// Only ids up to this one; none: as they are now.
    pub up_to: Option<MessageId>,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Summary>,
    /// Where to go on; none at the end.
    pub next: Option<Stretch>,
}

/// The messages that were found in a part of the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Oldest first.
    pub ids: Vec<MessageId>,
    /// Where to go on; none at the end.
    pub next: Option<Stretch>,
}

impl Filter {
    /// Keeps to what may be tried at once: what waits, unless places are named, and was tried or is due by `now`. Nobody
    /// means by a filter that mail goes before the time its client wished for it.
    #[must_use]
    pub fn to_retry(mut self, now: Timestamp) -> Self {
        self.tried_or_due_by = Some(now);
        if self.places.is_empty() {
            self.places = vec![Place::Waiting];
        }
        self
    }

    /// Returns the name of a field whose text is empty; none if there is none. Every sender contains an empty
    /// text, and no login is one: it is never what was meant.
    #[must_use]
    pub fn empty_text(&self) -> Option<&'static str> {
        let Self { sender, recipient, domain, login, tag, route, .. } = self;
        [
            ("sender", sender),
            ("recipient", recipient),
            ("domain", domain),
            ("login", login),
            ("tag", tag),
            ("route", route),
        ]
        .into_iter()
        .find_map(|(name, text)| text.as_ref().is_some_and(String::is_empty).then_some(name))
    }

    /// Tells whether the index cannot decide.
    fn asks_of_envelope(&self) -> bool {
        let Self { sender, recipient, domain, login, tag, route, .. } = self;
        [sender, recipient, domain, login, tag, route].into_iter().any(Option::is_some)
    }

    /// Tells whether the message may be meant, by what the index knows. Logins may share a mark.
    fn may_admit(&self, entry: &Entry) -> bool {
        let login = self.login.as_deref();
        let (place, due_at) = Place::of(entry.turn);
        let is_early = |by| entry.state.is_none() && due_at.is_some_and(|due_at| due_at > by);
        !self.tried_or_due_by.is_some_and(is_early)
            && self.accepted_before.is_none_or(|before| entry.accepted_at < before)
            && self.accepted_since.is_none_or(|since| entry.accepted_at >= since)
            && login.is_none_or(|login| entry.label.owner == Owner::of(Some(login)))
            && (self.places.is_empty() || self.places.contains(&place))
    }

    /// Tells whether the message is meant, by its envelope.
    fn admits(&self, envelope: &Envelope) -> bool {
        let holds = |whole: &str, part: &Option<String>| {
            let lower = || whole.to_ascii_lowercase();
            part.as_ref().is_none_or(|part| lower().contains(&part.to_ascii_lowercase()))
        };
        let is = |whole: Option<&str>, name: &Option<String>| {
            name.as_ref().is_none_or(|name| whole == Some(name))
        };
        let is_domain = |whole: &str| {
            self.domain.as_ref().is_none_or(|domain| domain.eq_ignore_ascii_case(whole))
        };
        is(envelope.login.as_deref(), &self.login)
            && is(envelope.tag.as_deref(), &self.tag)
            && holds(&envelope.sender.to_string(), &self.sender)
            && envelope.recipients.iter().any(|recipient| {
                holds(recipient.as_str(), &self.recipient) && is_domain(recipient.domain())
            })
    }
}

/// Whether envelopes are read that the filter does not ask of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// They are wanted.
    Always,
    /// They are not.
    IfAsked,
}

impl Spool {
    /// Lists messages, oldest first: at most `limit` (at least 1) of those in `stretch` that `filter` admits.
    ///
    /// One call looks for a tenth of a second at most; [`Page::next`] says where to go on. Each message that
    /// is there from the first call to the last comes once.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the system has no thread for it.
    pub async fn list(
        &self,
        filter: Filter,
        stretch: Stretch,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.look(move |shared| list(shared, &filter, stretch, limit)).await
    }

    /// Finds messages as [`Spool::list`] does, without reading envelopes that the filter does not ask of.
    ///
    /// # Errors
    ///
    /// As [`Spool::list`].
    pub async fn find(
        &self,
        filter: Filter,
        stretch: Stretch,
        limit: usize,
    ) -> Result<Finding, StoreError> {
        self.look(move |shared| find(shared, &filter, stretch, limit)).await
    }

    /// Makes all messages due now that wait, but for those that nobody looked at yet: their clients wish
    /// them to leave later. Returns how many.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the system has no thread for it.
    pub async fn retry_all(&self) -> Result<usize, StoreError> {
        self.look(retry_all).await
    }

    /// Does something that blocks on the disk.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let looking = tokio::task::spawn_blocking(move || look(&shared));
        looking.await.map_err(|problem| StoreError::Failed(problem.to_string()))
    }

    /// Reads the piece of a message's text with this number, counted from 0; each is checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Gone`], also if there is no such piece; [`StoreError::Damaged`],
    /// [`StoreError::Failed`].
    pub async fn read_piece(&self, id: MessageId, number: usize) -> Result<Piece, StoreError> {
        queue::read_piece(&self.shared, id, number).await
    }
}

/// Lists at most `limit` messages that `filter` admits. Blocks on the disk.
fn list(shared: &Shared, filter: &Filter, stretch: Stretch, limit: usize) -> Page {
    let mut messages = Vec::new();
    let next = walk(shared, filter, stretch, Reading::Always, |picked, envelope| {
        let standings = envelope.and_then(|envelope| picked.standings(shared, envelope));
        let standings = standings.unwrap_or_default();
        messages.push(queue::summary(picked.id, &picked.entry, envelope, &standings));
        if messages.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    Page { messages, next }
}

/// Finds at most `limit` messages that `filter` admits. Blocks on the disk.
fn find(shared: &Shared, filter: &Filter, stretch: Stretch, limit: usize) -> Finding {
    let mut ids = Vec::new();
    let next = walk(shared, filter, stretch, Reading::IfAsked, |picked, _| {
        ids.push(picked.id);
        if ids.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    Finding { ids, next }
}

/// Makes messages due now that wait; returns how many. Those whose time has not come yet stay as they are.
pub(super) fn retry_all(shared: &Shared) -> usize {
    let (places, now) = (vec![Place::Waiting], shared.now());
    let filter = Filter { places, tried_or_due_by: Some(now), ..Filter::default() };
    let (mut stretch, mut count) = (Stretch::default(), 0);
    loop {
        let Finding { ids, next } = find(shared, &filter, stretch, GLANCED);
        // Whoever is claimed or gone meanwhile needs it no more.
        count += ids.into_iter().filter(|id| queue::retry(shared, *id).is_ok()).count();
        match next {
            Some(next) => stretch = next,
            None => return count,
        }
    }
}

/// Shows the messages of a stretch that `filter` admits to `take`, with their envelopes if they were read,
/// until that breaks off or its time is over. Returns what is left of the stretch.
///
/// What cannot be read is shown unless something about its envelope was asked for. Of a record that is
/// longer than its envelope the checksum is not tried: nothing goes anywhere by what is read here.
fn walk(
    shared: &Shared,
    filter: &Filter,
    stretch: Stretch,
    reading: Reading,
    mut take: impl FnMut(&Picked, Option<&Envelope>) -> ControlFlow<()>,
) -> Option<Stretch> {
    let begun = Instant::now();
    let up_to = stretch.up_to.unwrap_or_else(|| MessageId(shared.id_mark()));
    let mut after = stretch.after;
    let left = |after| Some(Stretch { after, up_to: Some(up_to) });
    let is_asked = filter.asks_of_envelope();
    loop {
        let Glance { picked, last } = glance(shared, filter, after, up_to);
        if picked.is_empty() {
            std::thread::sleep(BREATHER);
        }
        for picked in picked {
            let envelope = match (reading, is_asked) {
                (Reading::IfAsked, false) => None,
                (Reading::Always, _) | (Reading::IfAsked, true) => picked.envelope().ok(),
            };
            let goes_there = |envelope| {
                let route = filter.route.as_ref();
                route.is_none_or(|route| picked.goes_by(shared, envelope, route))
            };
            let admits = |envelope| filter.admits(envelope) && goes_there(envelope);
            let is_meant = envelope.as_ref().map_or(!is_asked, admits);
            if is_meant && take(&picked, envelope.as_ref()).is_break() {
                return left(Some(picked.id));
            }
        }
        after = Some(last?);
        if begun.elapsed() >= SLICE {
            return left(after);
        }
    }
}

/// Messages that may be meant, and the last one that was looked at; none: there are no more.
struct Glance {
    picked: Vec<Picked>,
    last: Option<MessageId>,
}

/// A message that may be meant.
struct Picked {
    id: MessageId,
    entry: Entry,
    /// Where its envelope lies. The file can be read to the end even if its segment is removed meanwhile.
    record: Result<(Arc<dyn File>, Marker, Location), StoreError>,
}

fn glance(shared: &Shared, filter: &Filter, after: Option<MessageId>, up_to: MessageId) -> Glance {
    if after.is_some_and(|after| after >= up_to) {
        return Glance { picked: Vec::new(), last: None };
    }
    let mut index = shared.index();
    let (mut picked, mut last) = (Vec::new(), None);
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    for (id, entry) in index.entries.range((from, Bound::Included(up_to))).take(GLANCED) {
        last = Some(*id);
        if filter.may_admit(entry) {
            picked.push((*id, entry.clone()));
        }
        if picked.len() == PICKED {
            break;
        }
    }
    let picked = picked.into_iter().map(|(id, entry)| {
        let record = open(shared, &mut index, entry.message);
        Picked { id, entry, record }
    });
    Glance { picked: picked.collect(), last }
}

fn open(
    shared: &Shared,
    index: &mut Index,
    at: Location,
) -> Result<(Arc<dyn File>, Marker, Location), StoreError> {
    let (file, marker) =
        index.file(shared.disk.as_ref(), at.segment).map_err(StoreError::reading)?;
    Ok((file, marker, at))
}

impl Picked {
    /// Reads the envelope, and little more of the record.
    fn envelope(&self) -> Result<Envelope, StoreError> {
        let (file, marker, location) = self.record.as_ref().map_err(Clone::clone)?;
        let read = |octets| segment::read_start(file.as_ref(), *marker, *location, octets);
        let start = read(START)?;
        let length = start.get(..4).map_or(0, |length| u32_at(length, 0) as usize);
        let is_whole = HEADER + 4 + length <= START;
        let start = if is_whole { start } else { read(HEADER + 4 + length)? };
        Ok(content::decode_message(&start)?.0)
    }
}

#[cfg(test)]
mod tests;
