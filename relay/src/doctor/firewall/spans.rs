//! Sets of addresses: those of a rule, and those of whoever connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;

use super::truth::Truth;

/// Addresses of one family without a gap, the last included.
pub(super) type Span = RangeInclusive<IpAddr>;

/// Returns the addresses of a network.
pub(super) fn whole(network: IpNetwork) -> Span {
    let last = match network {
        IpNetwork::V4(network) => IpAddr::V4(network.broadcast()),
        IpNetwork::V6(network) => IpAddr::V6(network.broadcast()),
    };
    network.network()..=last
}

/// The addresses that a rule names: in order, no span meets or touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses(Vec<Span>);

impl FromIterator<Span> for Addresses {
    fn from_iter<T: IntoIterator<Item = Span>>(spans: T) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().filter(|span| !span.is_empty()).collect();
        spans.sort_unstable_by_key(|span| *span.start());
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            let (first, last) = span.into_inner();
            match merged.last_mut() {
                Some(before) if goes_on(*before.end(), first) => {
                    *before = *before.start()..=last.max(*before.end());
                }
                Some(_) | None => merged.push(first..=last),
            }
        }
        Self(merged)
    }
}

impl Addresses {
    /// Tells whether one of them is of a family.
    pub(super) fn has(&self, is_v4: bool) -> bool {
        self.0.iter().any(|span| span.start().is_ipv4() == is_v4)
    }

    /// Tells whether they are all of a family.
    pub(super) fn are_all(&self, is_v4: bool) -> bool {
        let all = if is_v4 {
            Ipv4Addr::UNSPECIFIED.into()..=Ipv4Addr::BROADCAST.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()..=Ipv6Addr::from_bits(u128::MAX).into()
        };
        self.hold(&all) == Truth::Yes
    }

    /// Returns one of them, of a family, and one that is none of them, as far as there are such.
    pub(super) fn one_and_another(&self, is_v4: bool) -> impl Iterator<Item = IpAddr> {
        let first = self.0.iter().find(|span| span.start().is_ipv4() == is_v4);
        // No span touches the next.
        first.into_iter().flat_map(|span| [Some(*span.start()), after(*span.end())]).flatten()
    }

    /// Tells whether an address of a span is one of them, whichever it is.
    pub(super) fn hold(&self, span: &Span) -> Truth {
        let (first, last) = (span.start(), span.end());
        let next = self.0.partition_point(|one| one.start() <= first);
        let before = next.checked_sub(1).and_then(|before| self.0.get(before));
        let is_met = before.is_some_and(|one| one.end() >= first)
            || self.0.get(next).is_some_and(|one| one.start() <= last);
        match before {
            Some(one) if one.end() >= last => Truth::Yes,
            Some(_) | None if is_met => Truth::Perhaps,
            Some(_) | None => Truth::No,
        }
    }
}

/// Tells whether what begins at `first` leaves no gap behind what ends at `last`, of the same family.
fn goes_on(last: IpAddr, first: IpAddr) -> bool {
    last.is_ipv4() == first.is_ipv4() && after(last).is_none_or(|next| first <= next)
}

/// Returns the next address; none after the last.
fn after(last: IpAddr) -> Option<IpAddr> {
    match last {
        IpAddr::V4(last) => Some(Ipv4Addr::from_bits(last.to_bits().checked_add(1)?).into()),
        IpAddr::V6(last) => Some(Ipv6Addr::from_bits(last.to_bits().checked_add(1)?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(written: &[&str]) -> Addresses {
        written.iter().map(|net| whole(net.parse().unwrap())).collect()
    }

    #[test]
    fn a_network_is_held_wholly_in_part_or_not_at_all() {
        let halves =
            nets(&["10.128.0.0/9", "192.0.2.7", "10.0.0.0/9", "10.1.0.0/16", "2001:db8::/32"]);
        for (net, held) in [
            ("10.0.0.0/8", Truth::Yes),
            ("10.1.2.3", Truth::Yes),
            ("10.0.0.0/7", Truth::Perhaps),
            ("192.0.2.0/24", Truth::Perhaps),
            ("192.0.2.8/29", Truth::No),
            ("0.0.0.0/0", Truth::Perhaps),
            ("2001:db8:7::/48", Truth::Yes),
            ("2001:db9::/48", Truth::No),
            ("::/0", Truth::Perhaps),
        ] {
            assert_eq!(halves.hold(&whole(net.parse().unwrap())), held, "{net}");
        }
        assert_eq!(
            (halves.has(true), halves.are_all(true), halves.are_all(false)),
            (true, false, false)
        );
        let all = nets(&["0.0.0.0/1", "128.0.0.0/1"]);
        assert_eq!((all.are_all(true), all.has(false), all.are_all(false)), (true, false, false));
    }

    proptest::proptest! {
        #[test]
        fn an_address_is_held_if_one_of_the_spans_has_it(
            spans in proptest::collection::vec((0_u8..40, 0_u8..8), 0..8),
            first in 0_u8..40,
            more in 0_u8..8,
        ) {
            let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
            let spans: Vec<Span> =
                spans.into_iter().map(|(first, more)| ip(first)..=ip(first + more)).collect();
            let held = |last: u8| spans.iter().any(|span| span.contains(&ip(last)));
            let asked = first..=first + more;
            let wanted = match (asked.clone().all(held), asked.clone().any(held)) {
                (true, _) => Truth::Yes,
                (false, true) => Truth::Perhaps,
                (false, false) => Truth::No,
            };
            let all: Addresses = spans.iter().cloned().collect();
            proptest::prop_assert_eq!(all.hold(&(ip(first)..=ip(first + more))), wanted);
        }
    }
}
