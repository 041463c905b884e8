//! Messages that an operator holds: no attempt is made until they are released. Both is written
//! down, so that a restart changes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::mail::message::MessageId;
use crate::spool::StoreError;
use crate::spool::claim::Hold;
use crate::spool::content::{self, Progress};
use crate::spool::index::Turn;
use crate::spool::label::Stay;
use crate::spool::order::{self, Command, Order, What};
use crate::spool::queue::envelope_of;
use crate::spool::shared::Shared;

/// Holds a message; see [`Spool::hold`](super::Spool::hold).
pub(super) async fn hold(
    shared: &Arc<Shared>,
    orders: &mpsc::Sender<Command>,
    id: MessageId,
) -> Result<(), StoreError> {
    let taken = take(shared, id, |turn| match turn {
        // Of one that is held already a release may have reached the disk that was refused.
        Turn::Due(due_at) | Turn::Held(due_at) => Ok(Some(due_at)),
        Turn::Claimed(_) | Turn::Spoiled(_) => Err(StoreError::Claimed),
        Turn::Captured => Err(StoreError::Captured),
        Turn::Damaged => Err(StoreError::Damaged("the message is set aside already".to_owned())),
    })?;
    write(shared, orders, taken, Stay::Held).await
}

/// Releases a message; see [`Spool::release`](super::Spool::release).
pub(super) async fn release(
    shared: &Arc<Shared>,
    orders: &mpsc::Sender<Command>,
    id: MessageId,
) -> Result<(), StoreError> {
    let taken = take(shared, id, |turn| match turn {
        // The same the other way round.
        Turn::Held(due_at) | Turn::Due(due_at) => Ok(Some(due_at)),
        Turn::Captured => Err(StoreError::Captured),
        Turn::Claimed(_) | Turn::Spoiled(_) | Turn::Damaged => Ok(None),
    })?;
    write(shared, orders, taken, Stay::Waiting).await
}

/// Takes the turn of a message of which `due_at` says when it is due; none where nothing is to be done.
fn take(
    shared: &Arc<Shared>,
    id: MessageId,
    due_at: impl FnOnce(Turn) -> Result<Option<Timestamp>, StoreError>,
) -> Result<Option<(Hold, Timestamp)>, StoreError> {
    let mut index = shared.index();
    let turn = index.entries.get(&id).ok_or(StoreError::Gone)?.turn;
    let Some(due_at) = due_at(turn)? else { return Ok(None) };
    let ticket = index.take(id);
    Ok(Some((Hold::new(Arc::clone(shared), id, ticket, turn), due_at)))
}

/// Writes a state record that changes nothing but what the message waits for, if it was taken. If that
/// fails, its hold gives the turn back to whose it was.
async fn write(
    shared: &Arc<Shared>,
    orders: &mpsc::Sender<Command>,
    taken: Option<(Hold, Timestamp)>,
    stay: Stay,
) -> Result<(), StoreError> {
    let Some((hold, due_at)) = taken else { return Ok(()) };
    let id = hold.id();
    let (attempts, pending) = {
        let index = shared.index();
        let entry = index.entries.get(&id).ok_or(StoreError::Gone)?;
        (entry.attempts, entry.state.map(|_| entry.pending))
    };
    let (payload, pending) = if let Some(pending) = pending {
        let (_, state) = shared.read(|index| index.entries.get(&id)?.state).await?;
        (state, pending)
    } else {
        let start = Progress::start(&envelope_of(shared, id).await?);
        (content::encode_progress(&start)?, start.len() as u32)
    };
    let (answer, answered) = oneshot::channel();
    let what = What::State { pending, attempts, due_at, stay, answer };
    order::place(orders, Order::new(id, what, payload), answered).await
}
