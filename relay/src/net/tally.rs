//! What the gate is told of clients: who completed a handshake, and whose login failed.
//!
//! The kernel sees connection attempts, which anybody can forge in the name of a listed client; only who accepts
//! knows that a handshake was completed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// The addresses that are told by name in one tally, of each kind; what others did is added up.
pub const NAMED_MAX: usize = 256;

/// What was counted since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Accepted connections, by the other end.
    pub completed: Named,
    /// Failed logins, by the client.
    pub failed: Named,
}

/// Numbers by address, and one for all addresses beyond [`NAMED_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The numbers.
    pub by: BTreeMap<IpAddr, u64>,
    /// What the others come to.
    #[serde(default)]
    pub others: u64,
}

impl Named {
    fn add(&mut self, address: IpAddr) {
        if self.by.len() < NAMED_MAX || self.by.contains_key(&address) {
            *self.by.entry(address).or_default() += 1;
        } else {
            self.others += 1;
        }
    }

    /// Returns the sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.by.values().fold(self.others, |sum, count| sum.saturating_add(*count))
    }
}

/// Counts for the gate. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Arc<Mutex<Tally>>);

impl Tallies {
    /// Counts a connection that was accepted.
    pub fn completed(&self, peer: IpAddr) {
        self.held().completed.add(peer);
    }

    /// Counts a login that failed.
    pub fn failed(&self, client: IpAddr) {
        self.held().failed.add(client);
    }

    /// Returns what was counted since the last call.
    #[must_use]
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.held())
    }

    fn held(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_names_so_many_and_adds_the_others_up() {
        let tallies = Tallies::default();
        for number in 0..1_000_u32 {
            tallies.completed(IpAddr::from(number.to_be_bytes()));
            tallies.completed(IpAddr::from([0, 0, 0, 7]));
        }
        tallies.failed(IpAddr::from([0, 0, 0, 7]));
        let tally = tallies.take();
        assert_eq!(tally.completed.by.len(), NAMED_MAX);
        assert_eq!(tally.completed.by[&IpAddr::from([0, 0, 0, 7])], 1_001);
        assert_eq!((tally.completed.sum(), tally.failed.sum()), (2_000, 1));
        assert!(serde_json::to_vec(&tally).unwrap().len() < 32 << 10);
        assert_eq!(tallies.take(), Tally::default());
    }
}
