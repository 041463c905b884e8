//! What the tables of bans must hold, given which bans were asked for.
//!
//! The kernel finds the longest banned prefix of a source and obeys the time that stands there. So each
//! ban carries the latest time of its own and of every ban around it; else the short ban of an address
//! would end the long ban of its network.

use std::collections::BTreeMap;

use relay_common::addr::Net;
use relay_common::table::Ban;

/// The bans that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    own: BTreeMap<Net, u64>,
}

impl Bans {
    /// Returns the bans that a table holds.
    pub fn of(table: impl IntoIterator<Item = (Net, Ban)>) -> Self {
        Self { own: table.into_iter().map(|(net, ban)| (net, ban.own_until_ns)).collect() }
    }

    /// Returns the networks in order, each with the time it was banned until.
    pub fn list(&self) -> Vec<(Net, u64)> {
        self.own.iter().map(|(net, until_ns)| (*net, *until_ns)).collect()
    }

    /// Returns the time that was asked for exactly this network.
    pub fn own_until_ns(&self, net: &Net) -> Option<u64> {
        self.own.get(net).copied()
    }

    /// Adds a ban, and returns what must be written: its own row first, then rows inside it.
    pub fn add(&mut self, net: Net, until_ns: u64) -> Vec<(Net, Ban)> {
        self.own.insert(net, until_ns);
        self.rows_within(&net)
    }

    /// Takes a ban away, and returns the rows inside it that must be written anew; `None` if there was none.
    pub fn take(&mut self, net: &Net) -> Option<Vec<(Net, Ban)>> {
        self.own.remove(net)?;
        Some(self.rows_within(net))
    }

    /// Returns the row of every ban of and inside `net`. In the order of networks (address, then prefix)
    /// these stand together, `net` first.
    fn rows_within(&self, net: &Net) -> Vec<(Net, Ban)> {
        let inside = self.own.range(net..).take_while(|(other, _)| net.covers(other));
        inside.map(|(other, own_until_ns)| (*other, self.row(other, *own_until_ns))).collect()
    }

    fn row(&self, net: &Net, own_until_ns: u64) -> Ban {
        let around = std::iter::successors(net.parent(), Net::parent);
        let longest = around.filter_map(|net| self.own.get(&net)).copied().max().unwrap_or(0);
        Ban { until_ns: own_until_ns.max(longest), own_until_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use relay_common::addr::Addr;
    use std::net::Ipv4Addr;

    fn net(text: &str) -> Net {
        super::super::super::net(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_short_ban_inside_a_long_one_does_not_end_it() {
        let mut bans = Bans::default();
        bans.add(net("192.0.2.0/24"), 100);
        let rows = bans.add(net("192.0.2.7/32"), 10);
        assert_eq!(rows, [(net("192.0.2.7/32"), Ban { until_ns: 100, own_until_ns: 10 })]);
    }

    #[test]
    fn a_ban_of_a_network_reaches_the_bans_inside_it_and_leaves_with_it() {
        let mut bans = Bans::default();
        bans.add(net("192.0.2.7/32"), 10);
        bans.add(net("2001:db8::/32"), 50);
        let rows = bans.add(net("192.0.2.0/24"), 100);
        assert_eq!(
            rows,
            [
                (net("192.0.2.0/24"), Ban { until_ns: 100, own_until_ns: 100 }),
                (net("192.0.2.7/32"), Ban { until_ns: 100, own_until_ns: 10 }),
            ]
        );
        let rows = bans.take(&net("192.0.2.0/24")).unwrap();
        assert_eq!(rows, [(net("192.0.2.7/32"), Ban { until_ns: 10, own_until_ns: 10 })]);
        assert_eq!(bans.take(&net("192.0.2.0/24")), None);
    }

    proptest! {
        /// However bans come and go, the longest row that holds a source says what all bans of it say.
        #[test]
        fn the_longest_row_always_tells_the_latest_time(
            changes in prop::collection::vec((0u32..16, 28u8..=32, 1u64..100, any::<bool>()), 1..60)
        ) {
            let mut bans = Bans::default();
            let mut table = BTreeMap::new();
            for (host, prefix, until_ns, add) in changes {
                let base = host & (u32::MAX << (32 - prefix));
                let net = Net::new(Ipv4Addr::from(0xc000_0200 | base), prefix).unwrap();
                let rows = if add {
                    bans.add(net, until_ns)
                } else {
                    table.remove(&net);
                    bans.take(&net).unwrap_or_default()
                };
                table.extend(rows);
            }
            for host in 0..16u32 {
                let source = Addr::from(Ipv4Addr::from(0xc000_0200 | host));
                let holding = || table.iter().filter(|(net, _)| net.contains(source));
                let found = holding().max_by_key(|(net, _)| net.prefix()).map(|(_, ban)| ban.until_ns);
                let latest = holding().map(|(_, ban)| ban.own_until_ns).max();
                prop_assert_eq!(found, latest);
            }
        }
    }
}
