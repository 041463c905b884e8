//! Whom misconduct counts against, and whom a ban shuts out.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// What one IPv6 host has as a rule, in bits (RFC 7421); the gate bans nothing wider for the relay.
const HOST_BITS_V6: u8 = 64;

/// Whoever can be behind one client's address.
///
/// Over IPv4 that is the address. Over IPv6 a host changes the last 64 bits at will, so it is the
/// /64. Where the allowlist entry is narrower it is the entry: the gate drops whatever lies beside
/// it, and its neighbours in the same /64 are other hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpNetwork);

impl Source {
    /// Returns the source of a client that this entry of the allowlist lists; none: nobody knows.
    #[must_use]
    pub fn of(client: IpAddr, entry: Option<IpNetwork>) -> Self {
        let client = client.to_canonical();
        let narrow = entry.filter(IpNetwork::is_ipv6).map_or(0, |entry| entry.prefix());
        match client {
            IpAddr::V4(_) => Self(client.into()),
            IpAddr::V6(_) => Self::cut(client, narrow.max(HOST_BITS_V6)),
        }
    }

    /// Returns the network to be banned.
    #[must_use]
    pub const fn network(self) -> IpNetwork {
        self.0
    }

    /// Returns the widest source that this one lies in, which may be itself.
    pub(super) fn around(self) -> Self {
        match self.0 {
            IpNetwork::V4(_) => self,
            IpNetwork::V6(_) => Self::cut(self.0.ip(), HOST_BITS_V6),
        }
    }

    fn cut(address: IpAddr, prefix: u8) -> Self {
        let whole = IpNetwork::new(address, prefix);
        let network = whole.and_then(|whole| IpNetwork::new(whole.network(), prefix));
        Self(network.expect("invariant: no entry's prefix is longer than its address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_what_one_ipv6_host_can_have() {
        for (client, entry, wanted) in [
            ("192.0.2.7", Some("192.0.2.7/32"), "192.0.2.7/32"),
            ("192.0.2.7", Some("192.0.2.0/24"), "192.0.2.7/32"),
            ("::ffff:192.0.2.7", Some("192.0.2.0/24"), "192.0.2.7/32"),
            ("192.0.2.7", None, "192.0.2.7/32"),
            ("2001:db8::7", Some("2001:db8::/32"), "2001:db8::/64"),
            ("2001:db8::7", Some("2001:db8::/64"), "2001:db8::/64"),
            ("2001:db8::7", Some("2001:db8::/112"), "2001:db8::/112"),
            ("2001:db8::7", Some("2001:db8::7/128"), "2001:db8::7/128"),
            ("2001:db8::7", None, "2001:db8::/64"),
        ] {
            let entry = entry.map(|entry| entry.parse().unwrap());
            let source = Source::of(client.parse().unwrap(), entry);
            assert_eq!(source.network(), wanted.parse().unwrap(), "{client} in {entry:?}");
        }
    }
}
