//! What an attempt came to, written down.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{Claim, UNSETTLED};
use crate::mail::outcome::{Fate, Outcome};
use crate::smtp::address::Address;
use crate::spool::StoreError;
use crate::spool::content::{self, Progress, Standing};
use crate::spool::label::{Stay, Way};
use crate::spool::order::{self, Command, Order, What};

/// How long an outcome that could not be written waits for its next try. A message that was
/// delivered and not settled is delivered again.
const TRIES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// Writes down what an attempt came to; see [`Spool::settle`](crate::spool::Spool::settle).
pub(in crate::spool) async fn settle(
    orders: &mpsc::Sender<Command>,
    mut claim: Claim,
    outcomes: &[Outcome],
) -> Result<(), StoreError> {
    let now = claim.hold.shared.now();
    content::enter(&mut claim.progress, &claim.envelope.recipients, outcomes, now);
    let count = |standing| claim.progress.iter().filter(|p| p.standing == standing).count() as u32;
    let (pending, captured) = (count(Standing::Pending), count(Standing::Captured));
    let owes = claim.progress.iter().any(|progress| progress.owed.is_some());
    let is_over = pending == 0 && captured == 0 && !owes;
    let stay = if pending == 0 && !owes { Stay::Captured } else { Stay::Waiting };
    let payload = if is_over { Vec::new() } else { content::encode_progress(&claim.progress)? };
    if pending == 0 {
        // A report needs no route.
        claim.steer(Way::NONE);
    }
    let wait = if pending == 0 { UNSETTLED } else { wait(&claim, outcomes) };
    let due_at = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    let is_attempt = outcomes.iter().any(|outcome| outcome.fate.is_attempt());
    let attempts = claim.attempts.saturating_add(u32::from(is_attempt));
    let mut result = Err(StoreError::Closed);
    for pause in TRIES {
        tokio::time::sleep(pause).await;
        let (answer, answered) = oneshot::channel();
        let what = if is_over {
            What::Tombstone { answer }
        } else {
            What::State { pending, attempts, due_at, stay, answer }
        };
        let order = Order::new(claim.hold.id, what, payload.clone());
        result = order::place(orders, order, answered).await;
        // The writer itself sees to it that a message that is done stays so.
        if is_over || !matches!(result, Err(StoreError::Failed(_) | StoreError::Full)) {
            break;
        }
    }
    // With the disk full neither the report can be written nor that it is owed. Better no report than the
    // message once more, and once more with every try.
    if owes && pending == 0 && captured == 0 && result.is_err() {
        let (answer, answered) = oneshot::channel();
        let order = Order::new(claim.hold.id, What::Tombstone { answer }, Vec::new());
        drop(order::place(orders, order, answered).await);
    }
    if result.is_ok() && stay == Stay::Captured && captured > 0 {
        claim.hold.shared.captured.notify_one();
    }
    result
}

/// Returns how long the open recipients of a message wait after these outcomes.
fn wait(claim: &Claim, outcomes: &[Outcome]) -> Duration {
    let delays = outcomes.iter().filter_map(|outcome| match outcome.fate {
        Fate::Deferred(delay) | Fate::Postponed(delay) | Fate::Paused(delay) => Some(delay),
        Fate::Delivered | Fate::Failed | Fate::Captured => None,
    });
    let is_unasked = |(to, progress): (&Address, &Progress)| {
        progress.standing == Standing::Pending
            && !outcomes.iter().any(|outcome| outcome.recipient == *to)
    };
    let mut recipients = claim.envelope.recipients.iter().zip(&claim.progress);
    // Who was not asked, while others were, waits for room in another way and for nothing else. But those
    // who wait for a next hop come along, so it is not at once.
    match delays.max() {
        Some(longest) if longest > UNSETTLED && recipients.any(is_unasked) => UNSETTLED,
        Some(longest) => longest,
        None if outcomes.is_empty() => UNSETTLED,
        None => Duration::ZERO,
    }
}
