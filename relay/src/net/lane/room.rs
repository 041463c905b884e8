//! Whether a lane takes one more message into memory.
//!
//! What would not leave soon stays in the spool, due and in the order of its logins: were it claimed,
//! it would be written back, and again when its wait is over, as often as the whole backlog is long.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::{Lane, TICKETS, lock};
use crate::delivery::health::Use;

impl Lane {
    /// Tells whether there is room for one more message; there is none while the route is suspended
    /// by its operator, nor, but for a look, while nothing would leave soon.
    pub(in crate::net) fn has_room(&self) -> bool {
        self.tickets.available_permits() > 0
            && !self.register.is_suspended(&self.route.name)
            && (self.may_look.load(Ordering::Acquire) || self.has_turn())
    }

    /// Gives room for one more message, for as long as the ticket is kept; none if there is none.
    pub(in crate::net) fn try_admit(&self) -> Option<OwnedSemaphorePermit> {
        if !self.has_room() || !(self.has_turn() || self.may_look.swap(false, Ordering::AcqRel)) {
            return None;
        }
        Arc::clone(&self.tickets).try_acquire_owned().ok()
    }

    /// Lets one message in although nothing would leave soon. So all of them are told in time that
    /// they are late or over, a few show why they wait, and a changed password is noticed.
    pub(in crate::net) fn let_look(&self) {
        self.may_look.store(true, Ordering::Release);
    }

    /// Tells whether one more message would leave soon, as far as the rate, the rests of hosts and
    /// the login decide it.
    fn has_turn(&self) -> bool {
        let now = Instant::now();
        if matches!(lock(&self.health).check(now, None), Use::Hold(..)) {
            return false;
        }
        let in_memory = u32::try_from(self.in_memory()).unwrap_or(u32::MAX);
        lock(&self.traffic).has_turn(now, in_memory)
    }

    /// Returns how many messages of the lane are in memory, those under way included.
    pub(super) fn in_memory(&self) -> usize {
        let most = self.route.connections.saturating_mul(TICKETS);
        most.saturating_sub(self.tickets.available_permits())
    }
}
