//! What the service manager keeps of the sockets, as far as it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::BorrowedFd;

use crate::appliance::inherited::Inherited;
use crate::appliance::notify;

/// What one that has no time, or is not there, is told later: nobody waits for it, least of all while the sockets
/// are locked.
#[derive(Debug)]
pub(super) struct Store {
    manager: Option<OsString>,
    /// The names of what it has.
    kept: BTreeSet<String>,
}

impl Store {
    /// Returns the store of a `manager` that passed these sockets on, and has them still.
    pub(super) fn new(manager: Option<OsString>, kept: &[Inherited]) -> Self {
        Self { manager, kept: kept.iter().map(|kept| kept.name.clone()).collect() }
    }

    /// Notes that a socket did not listen any more: the service manager lets such a one go by itself.
    pub(super) fn lost(&mut self, name: &str) {
        self.kept.remove(name);
    }

    /// Has exactly these sockets kept, by their names. The first word that finds no room is the last one this time.
    pub(super) fn settle(&mut self, held: &BTreeMap<String, BorrowedFd<'_>>) {
        let Some(manager) = &self.manager else { return };
        let gone: Vec<String> =
            self.kept.iter().filter(|name| !held.contains_key(*name)).cloned().collect();
        for name in gone {
            if notify::forget(manager, &name).is_err() {
                return;
            }
            self.kept.remove(&name);
        }
        for (name, socket) in held {
            if self.kept.contains(name) {
                continue;
            }
            if notify::keep(manager, name, *socket).is_err() {
                return;
            }
            self.kept.insert(name.clone());
        }
    }
}
