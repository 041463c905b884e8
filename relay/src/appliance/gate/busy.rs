//! Who does something most of late: completes connections, fails to log in.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use relay_common::addr::Net;

/// The addresses that are remembered.
const ADDRESSES_MAX: usize = 128;
/// Every so often half of it is forgotten.
const HALVED_EVERY: Duration = Duration::from_secs(60);

/// How often an address did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doer {
    pub address: IpAddr,
    /// How often, at most; what is older than a minute counts half, and half of that after each minute more.
    pub count: u64,
    /// By how much that may be too high: what the one did whose place it took.
    pub error: u64,
}

/// Addresses by the Space-Saving rule (Metwally, Agrawal and El Abbadi 2005): a newcomer takes the place and the
/// number of the one that did it least.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// Count and error.
    of: BTreeMap<IpAddr, (u64, u64)>,
    halved: Duration,
}

impl Busy {
    /// Counts what an address did.
    pub fn add(&mut self, address: IpAddr, count: u64, at: Duration) {
        if at.saturating_sub(self.halved) >= HALVED_EVERY {
            self.halved = at;
            self.of.retain(|_, (count, error)| {
                (*count, *error) = (*count / 2, *error / 2);
                *count > 0
            });
        }
        let mut before = 0;
        if !self.of.contains_key(&address) && self.of.len() >= ADDRESSES_MAX {
            let least = self.of.iter().min_by_key(|(_, (count, _))| *count);
            if let Some((least, count)) = least.map(|(address, (count, _))| (*address, *count)) {
                self.of.remove(&least);
                before = count;
            }
        }
        self.of.entry(address).or_insert((before, before)).0 += count;
    }

    /// Returns whether an address did it of late.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.of.contains_key(&address)
    }

    /// Returns at most `limit` addresses inside a network, or of all: those first that certainly did it most, so
    /// that nobody is named first for what another did.
    pub fn top(&self, within: Option<Net>, limit: usize) -> Vec<Doer> {
        let inside = |address: &IpAddr| within.is_none_or(|net| net.contains((*address).into()));
        let inside = self.of.iter().filter(|(address, _)| inside(address));
        let mut top: Vec<_> = inside
            .map(|(address, (count, error))| Doer {
                address: *address,
                count: *count,
                error: *error,
            })
            .collect();
        top.sort_by_key(|doer| {
            (Reverse(doer.count - doer.error), Reverse(doer.count), doer.address)
        });
        top.truncate(limit);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn the_busiest_are_named_first_and_the_memory_of_them_is_bounded() {
        let mut busy = Busy::default();
        let at = Duration::from_secs(61);
        for number in 0..1_000 {
            busy.add(address(number), 1, at);
            busy.add(address(7), 1, at);
        }
        assert_eq!(busy.of.len(), ADDRESSES_MAX);
        assert_eq!(busy.top(None, 1), [Doer { address: address(7), count: 1_001, error: 0 }]);
        let net = Net::new(address(7), 32).unwrap();
        assert_eq!(busy.top(Some(net), 5).len(), 1);
        (2..20).for_each(|minute| busy.add(address(1), 1, HALVED_EVERY * minute));
        assert_eq!(busy.of.len(), 1, "who is idle is forgotten");
    }

    #[test]
    fn a_newcomer_is_not_named_first_for_what_it_took_over() {
        let mut busy = Busy::default();
        let at = Duration::from_secs(61);
        (0..128).for_each(|number| busy.add(address(number), 50, at));
        busy.add(address(999), 1, at);
        let top = busy.top(None, ADDRESSES_MAX);
        assert_eq!(top.last(), Some(&Doer { address: address(999), count: 51, error: 50 }));
        assert_eq!((top[0].count, top[0].error), (50, 0));
    }
}
