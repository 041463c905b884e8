//! The addresses of one host: those that refuse while others work come last for a while.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long an address is put last after it failed while another one worked; each further time
/// doubles it, up to [`ASIDE_MAX`].
const ASIDE: Duration = Duration::from_secs(60);

/// The longest time.
const ASIDE_MAX: Duration = Duration::from_secs(3600);

/// The most addresses that are remembered; the oldest makes way.
const KNOWN_MAX: usize = 64;

/// What is known of the addresses of a host.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    aside: Vec<Aside>,
}

#[derive(Clone, Debug)]
struct Aside {
    address: SocketAddr,
    until: Instant,
    wait: Duration,
}

impl Addresses {
    /// Returns `found` in the order in which they are to be tried: as they were found (RFC 5321,
    /// section 5.1), but those that are set aside last. None is left out: a host is not down while
    /// an address of it has not been asked.
    #[must_use]
    pub fn in_order(&self, found: Vec<SocketAddr>, now: Instant) -> Vec<SocketAddr> {
        let is_aside = |address: &SocketAddr| {
            self.aside.iter().any(|aside| aside.address == *address && now < aside.until)
        };
        let (last, mut first): (Vec<_>, Vec<_>) = found.into_iter().partition(is_aside);
        first.extend(last);
        first
    }

    /// Learns that `worked` did after `failed` had not. If none works nothing is learnt: then the
    /// host is at fault.
    pub fn learn(&mut self, worked: SocketAddr, failed: &[SocketAddr], now: Instant) {
        self.aside.retain(|aside| aside.address != worked);
        for address in failed {
            let before = self.aside.iter().position(|aside| aside.address == *address);
            let before = before.map(|place| self.aside.remove(place));
            let wait = before.map_or(ASIDE, |aside| (aside.wait * 2).min(ASIDE_MAX));
            if self.aside.len() == KNOWN_MAX {
                self.aside.remove(0);
            }
            self.aside.push(Aside { address: *address, until: now + wait, wait });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 25))
    }

    #[test]
    fn an_address_that_refuses_while_another_works_is_asked_last_for_a_while() {
        let start = Instant::now();
        let found: Vec<_> = [1, 2, 3].map(address).into();
        let mut addresses = Addresses::default();
        let order = |addresses: &Addresses, now| addresses.in_order(found.clone(), now);
        assert_eq!(order(&addresses, start), found);
        addresses.learn(address(2), &[address(1)], start);
        assert_eq!(order(&addresses, start), [2, 3, 1].map(address));
        let later = start + ASIDE;
        assert_eq!(order(&addresses, later), found, "its time is over");
        addresses.learn(address(2), &[address(1)], later);
        assert_eq!(order(&addresses, later + ASIDE), [2, 3, 1].map(address), "twice as long");
        addresses.learn(address(1), &[], later + ASIDE);
        assert_eq!(order(&addresses, later + ASIDE), found, "it works again");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut addresses = Addresses::default();
        let now = Instant::now();
        for last in 0..=255 {
            addresses.learn(SocketAddr::from(([198, 51, 100, 1], 25)), &[address(last)], now);
        }
        assert_eq!(addresses.aside.len(), KNOWN_MAX);
    }
}
