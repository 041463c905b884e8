//! What operators do with mail over the relay's control socket: look, change, trace.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::config::unit;
use crate::control::caller::{Caller, Right};
use crate::control::server::Said;
use crate::control::wire::{Changed, Left, Meant, Text, Which};
use crate::event::{Event, Settled};
use crate::history::{Act, Cursor, Fact};
use crate::journal::Journal;
use crate::mail::message::MessageId;
use crate::net::recall::Recalls;
use crate::net::routes::FINAL_DOT;
use crate::net::settled::Leaving;
use crate::spool::{Details, Filter, Place, Spool, StoreError, Stretch, Summary};

/// The most messages that one answer lists.
const LISTED_MAX: usize = 1000;
/// The most messages that one question by filter changes.
const CHANGED_MAX: usize = 1000;
/// How many messages are changed at a time: they share a flush, and leave room for clients' mail beside them.
const AT_ONCE: usize = 128;

/// How long a message that is on its way may take to be let go: as long as its outcome takes to be written.
const LETS_GO: Duration = Duration::from_secs(5);

/// The mail, for a caller who may see and change it.
pub(super) struct Mailroom<'a> {
    spool: &'a Arc<Spool>,
    recalls: Arc<Recalls>,
    journal: &'a Journal,
    uid: u32,
}

impl<'a> Mailroom<'a> {
    /// Lets in whoever may see and change mail; `deed` is what he wants to do there.
    ///
    /// # Errors
    ///
    /// A sentence that says who may.
    pub(super) fn enter(
        spool: &'a Arc<Spool>,
        recalls: Arc<Recalls>,
        journal: &'a Journal,
        caller: Caller,
        deed: &str,
    ) -> Result<Self, String> {
        let Caller { uid, right } = caller;
        match right {
            Right::Change => Ok(Self { spool, recalls, journal, uid }),
            Right::Look | Right::Relay => Err(format!(
                "{caller} may not {deed}: root and the members of gate.admin-group may"
            )),
        }
    }

    /// Lists a part of the queue.
    pub(super) async fn list(
        &self,
        filter: Filter,
        stretch: Stretch,
        limit: usize,
    ) -> Result<Said, String> {
        let page = self.spool.list(sensible(filter)?, stretch, limit.clamp(1, LISTED_MAX)).await;
        Said::of(&page.map_err(|error| error.to_string())?)
    }

    /// Shows one message.
    pub(super) async fn show(&self, id: MessageId) -> Result<Said, String> {
        Said::of(&self.spool.show(id).await.map_err(|error| words(id, &error))?)
    }

    /// Gives a piece of a message's text. Who reads mail is written down.
    pub(super) async fn read(&self, id: MessageId, number: usize) -> Result<Said, String> {
        let piece = self.spool.read_piece(id, number).await.map_err(|error| words(id, &error))?;
        if number == 0 {
            self.journal.history().enter(id, Fact::Read { uid: self.uid });
        }
        Said::of(&Text { base64: STANDARD.encode(piece.octets), next: piece.next })
    }

    /// Counts the messages of a part of the queue that a change would be for.
    pub(super) async fn count(
        &self,
        act: Act,
        filter: Filter,
        stretch: Stretch,
    ) -> Result<Said, String> {
        let found = self.spool.find(meant(act, sensible(filter)?), stretch, usize::MAX).await;
        let found = found.map_err(|error| error.to_string())?;
        Said::of(&Meant { messages: found.ids.len(), next: found.next })
    }

    /// Changes messages: those named, or those of a part of the queue.
    pub(super) async fn change(&self, act: Act, which: Which) -> Result<Said, String> {
        let (ids, next) = match which {
            Which::Ids(ids) => (ids, None),
            Which::Meant { filter, stretch } => {
                let wanted = meant(act, sensible(*filter)?);
                let found = self.spool.find(wanted, stretch, CHANGED_MAX).await;
                let found = found.map_err(|error| error.to_string())?;
                (found.ids, Some(found.next))
            }
        };
        let mut changed = Changed { next: next.flatten(), ..Changed::default() };
        for some in ids.chunks(AT_ONCE) {
            for (id, result) in self.change_together(act, some).await {
                match result {
                    Ok(()) => changed.done += 1,
                    // It was delivered before it could be changed: that is not what was asked for by name.
                    Err(StoreError::Gone) if next.is_some() => {}
                    Err(error) if concerns_all(&error) => return Err(words(id, &error)),
                    Err(error) => changed.left.push(Left { id, why: words(id, &error) }),
                }
            }
        }
        if changed.done > 0 {
            let (act, messages) = (act.done(), changed.done);
            self.journal.write(Event::QueueChanged { act, messages, uid: self.uid });
        }
        Said::of(&changed)
    }

    /// Changes some messages at a time, and writes down by whom.
    async fn change_together(
        &self,
        act: Act,
        ids: &[MessageId],
    ) -> Vec<(MessageId, Result<(), StoreError>)> {
        let mut changing = JoinSet::new();
        for id in ids.iter().copied() {
            let (spool, recalls) = (Arc::clone(self.spool), Arc::clone(&self.recalls));
            let uid = self.uid;
            changing.spawn(async move { (id, change(&spool, &recalls, act, id, uid).await) });
        }
        let mut results = Vec::new();
        while let Some(result) = changing.join_next().await {
            let Ok((id, result)) = result else { continue };
            if let Ok(line) = &result {
                self.journal.history().enter(id, Fact::Operated { act, uid: self.uid });
                if act == Act::Drop {
                    self.journal.write(Event::Dropped { id, uid: self.uid });
                }
                if let Some(line) = line {
                    self.journal.write(Event::Settled(line.clone()));
                }
            }
            results.push((id, result.map(|_| ())));
        }
        results.sort_by_key(|(id, _)| *id);
        results
    }

    /// Tells what is kept of the life of a message: a part of it.
    pub(super) async fn trace(&self, id: MessageId, from: Option<Cursor>) -> Result<Said, String> {
        let found = self.journal.history().search(id, from).await.ok_or(
            "no history is kept: [history] keep is 0d, or its folder could not be used when the \
             relay started (the journal says why)",
        )?;
        Said::of(&found.map_err(|error| format!("the history cannot be read: {error}"))?)
    }
}

/// Changes a message. One that is on its way and is to stay is asked for first. Returns the line about one that
/// is removed, if it can be read and has had none.
async fn change(
    spool: &Spool,
    recalls: &Recalls,
    act: Act,
    id: MessageId,
    uid: u32,
) -> Result<Option<Box<Settled>>, StoreError> {
    let once = async || match act {
        Act::Retry => spool.retry(id).map(|()| None),
        Act::Hold => spool.hold(id).await.map(|()| None),
        Act::Release => spool.release(id).await.map(|()| None),
        Act::Drop => {
            let details = spool.show(id).await;
            spool.remove(id).await?;
            Ok(details.ok().and_then(|details| dropped(&details, uid)).map(Box::new))
        }
    };
    match (once().await, act) {
        (Err(StoreError::Claimed), Act::Hold | Act::Drop) => {
            recalls.ask(id, LETS_GO).await;
            once().await
        }
        (result, _) => result,
    }
}

/// Returns the line about a message that was removed; one that was captured has had its line.
fn dropped(Details { summary, envelope, progress }: &Details, uid: u32) -> Option<Settled> {
    match summary.place {
        Place::Captured => return None,
        Place::Waiting | Place::Claimed | Place::Damaged | Place::Held => {}
    }
    let Summary { id, size_bytes, attempts, accepted_at, .. } = *summary;
    let now = Timestamp::now();
    let leaving = Leaving { id, envelope, progress, size_bytes, attempts, accepted_at, now };
    Some(leaving.dropped(uid))
}

/// Refuses a filter that would mean everything, or nothing, by mistake.
fn sensible(filter: Filter) -> Result<Filter, String> {
    match filter.empty_text() {
        None => Ok(filter),
        Some(field) => Err(format!(
            "the {field} to look for is empty: name one, or leave it out (`--all` means every message)"
        )),
    }
}

/// Returns the filter of an act: where it names no place, only those places count where there is something
/// to be done.
fn meant(act: Act, filter: Filter) -> Filter {
    let places = match act {
        Act::Retry => return filter.to_retry(Timestamp::now()),
        Act::Hold => vec![Place::Waiting],
        Act::Release => vec![Place::Held],
        Act::Drop => Vec::new(),
    };
    if filter.places.is_empty() { Filter { places, ..filter } } else { filter }
}

/// Tells whether the next message will fare no better.
const fn concerns_all(error: &StoreError) -> bool {
    match error {
        StoreError::Full
        | StoreError::Failed(_)
        | StoreError::Newer { .. }
        | StoreError::Locked
        | StoreError::Closed => true,
        StoreError::ShareUsed
        | StoreError::Damaged(_)
        | StoreError::Gone
        | StoreError::Claimed
        | StoreError::Held
        | StoreError::Captured
        | StoreError::Repeat(_)
        | StoreError::TooLarge => false,
    }
}

/// Says why something cannot be done with a message, and what to do.
fn words(id: MessageId, error: &StoreError) -> String {
    match error {
        StoreError::Gone => format!(
            "{id}: no such message in the spool: it was delivered, returned or dropped (`sallyport trace \
             {id}` tells), or the id is mistyped"
        ),
        StoreError::Claimed => {
            let longest = unit::written(FINAL_DOT);
            format!(
                "{id}: it is being delivered right now, and a next hop may have all of it; until that answers, \
                 which may take {longest}, nobody knows whether it was taken: try again then"
            )
        }
        StoreError::Held => {
            format!("{id}: it is held: `sallyport queue release {id}` lets it go on")
        }
        StoreError::Captured => format!(
            "{id}: it is captured, so it is kept and never sent: `sallyport queue drop {id}` removes it"
        ),
        StoreError::Damaged(problem) => format!(
            "{id}: it cannot be read ({problem}): `sallyport queue retry {id}` tries again, `sallyport \
             queue drop {id}` gives it up"
        ),
        StoreError::Repeat(_)
        | StoreError::Full
        | StoreError::ShareUsed
        | StoreError::Failed(_)
        | StoreError::TooLarge
        | StoreError::Newer { .. }
        | StoreError::Locked
        | StoreError::Closed => format!("{id}: {error}"),
    }
}
