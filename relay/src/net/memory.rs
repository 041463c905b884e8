//! What may be held of messages in memory, all together, and how they are worked on there.
//!
//! A message that is signed keeps its room until it is settled, and may need room at a hop besides. So
//! there is a budget for each: who has room of the second kind waits for nothing but its next hop, and who
//! waits for it holds up nobody who has it.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// For messages that are made 7-bit before they are signed, octets.
pub(super) static SIGNED: Budget = Budget::new(128 << 20);
/// For messages that are looked at or converted for their next hops, octets.
pub(super) static CARRIED: Budget = Budget::new(128 << 20);

/// How long a message waits for memory, perhaps with a connection whose next hop waits longer for us (RFC
/// 5321, section 4.5.3.2.7).
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Octets of a unit: a semaphore counts to 2³² at most.
const UNIT: u64 = 1024;
/// The largest message that is worked on on the spot, octets; a larger one would keep other tasks
/// waiting.
const AT_ONCE: usize = 64 * 1024;

/// Memory for one purpose.
pub(super) struct Budget {
    free: Semaphore,
    units: u32,
}

/// Room for a message that is held, for as long as it is kept.
pub(super) struct Room(SemaphorePermit<'static>);

impl Budget {
    /// Returns a budget of so many octets, at least one unit.
    pub(super) const fn new(octets: u32) -> Self {
        let units = octets.div_ceil(UNIT as u32);
        let units = if units == 0 { 1 } else { units };
        Self { free: Semaphore::const_new(units as usize), units }
    }

    /// Waits until so many octets may be held, in the order of coming; who wants more than there is gets
    /// all. None if that takes longer than [`PATIENCE`].
    pub(super) async fn room(&'static self, octets: u64) -> Option<Room> {
        let units = units(octets).min(self.units);
        timeout(PATIENCE, self.free.acquire_many(units)).await.ok()?.ok().map(Room)
    }

    /// Returns how many octets may still be held.
    #[cfg(test)]
    pub(super) fn free(&self) -> u64 {
        self.free.available_permits() as u64 * UNIT
    }
}

impl Room {
    /// Gives back what is not needed any more to hold so many octets.
    pub(super) fn shrink(&mut self, octets: u64) {
        let kept = usize::try_from(units(octets)).unwrap_or(usize::MAX);
        drop(self.0.split(self.0.num_permits().saturating_sub(kept)));
    }
}

fn units(octets: u64) -> u32 {
    u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1)
}

/// Does `work` on a message of so many octets where it holds nobody up; none if it panics.
pub(super) async fn aside<T: Send + 'static>(
    octets: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if octets <= AT_ONCE { Some(work()) } else { spawn_blocking(work).await.ok() }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn no_more_is_held_than_there_is_room_for_and_the_next_waits() {
        static BUDGET: Budget = Budget::new(8 << 10);
        let mut first = BUDGET.room(8 << 10).await.unwrap();
        assert!(BUDGET.room(1).now_or_never().is_none());
        first.shrink(3000);
        assert_eq!(BUDGET.free(), 5 << 10, "a unit is held or not");
        assert!(BUDGET.room(5 << 10).now_or_never().is_some());
        assert!(BUDGET.room(6 << 10).now_or_never().is_none());
        drop(first);
        let all = BUDGET.room(u64::MAX).await.unwrap();
        assert_eq!(BUDGET.free(), 0, "who wants more than there is gets all");
        drop(all);
        assert_eq!(BUDGET.free(), 8 << 10);
    }
}
