//! What whoever takes mail asks first: whether there is room for it.

use std::time::Instant;

use super::{Spool, StoreError};

impl Spool {
    /// Tells whether a submission of `login` would be taken now.
    ///
    /// # Errors
    ///
    /// As [`Spool::draft`]; [`StoreError::Failed`] while the operating system does not tell the free
    /// space.
    pub fn has_room_for(&self, login: Option<&str>) -> Result<(), StoreError> {
        self.shared.admit_of(login)
    }

    /// Tells whether there is room for submissions at all, whosoever; nothing is said of it.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    /// Looks whether there is room for submissions, and says so when it begins to be missing, and when there is
    /// some again: on a quiet relay no submission would. It is `now`; costs a system call.
    pub fn look_for_room(&self, now: Instant) {
        self.shared.look_for_room(now);
    }
}
