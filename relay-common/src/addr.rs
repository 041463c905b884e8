//! Addresses and networks of both IP families as one kind of number.
//!
//! A family never matches the other: each has tables of its own, and an IPv4 address in IPv6's clothes
//! (`::ffff:a.b.c.d`, RFC 4291, section 2.5.5.2) becomes the IPv4 address it is. So `::/0` never admits
//! IPv4.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4 (RFC 791).
    V4 = 4,
    /// IPv6 (RFC 8200).
    V6 = 6,
}

impl Family {
    /// Returns the bits of an address of this family: 32 or 128.
    #[inline(always)]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// An address of either family as one number of 128 bits in two words: IPv4 in the first 32 bits, the
/// rest zero.
///
/// It is not an enum, since the kernel's verifier refuses to read bits that were never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr {
    family: Family,
    high: u64,
    low: u64,
}

impl Addr {
    /// Returns the IPv4 address of these octets, in network order.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self { family: Family::V4, high: (u32::from_be_bytes(octets) as u64) << 32, low: 0 }
    }

    /// Returns the IPv6 address that stood in a frame, as it stood there.
    ///
    /// This is the one way to an IPv6 address that is [mapped](Self::is_mapped): nobody may send one
    /// (RFC 4291, section 2.5.5.2 gives it no place on the wire), and `judge` drops it. Everything that
    /// people write comes through `From<IpAddr>`.
    #[inline(always)]
    pub const fn v6_on_the_wire(octets: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(octets);
        Self { family: Family::V6, high: (number >> 64) as u64, low: number as u64 }
    }

    /// Returns the address of these two [words](Self::words).
    #[inline(always)]
    pub const fn from_words(family: Family, [high, low]: [u64; 2]) -> Self {
        Self { family, high, low }
    }

    /// Returns the address as two numbers, the more significant first.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// Returns whether this is an IPv4 address in IPv6's clothes.
    #[inline(always)]
    pub const fn is_mapped(&self) -> bool {
        matches!(self.family, Family::V6) && self.high == 0 && self.low >> 32 == 0xffff
    }

    /// Returns the family.
    #[inline(always)]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Returns the address's bytes in network order: for IPv4 the address and twelve zeros.
    #[inline(always)]
    pub const fn octets(&self) -> [u8; 16] {
        (((self.high as u128) << 64) | self.low as u128).to_be_bytes()
    }

    /// Returns the address with all but its first `prefix` bits cleared.
    #[inline(always)]
    pub const fn masked(self, prefix: u8) -> Self {
        let (high, low) = if prefix >= 64 {
            (self.high, self.low & first_bits(prefix - 64))
        } else {
            (self.high & first_bits(prefix), 0)
        };
        Self { family: self.family, high, low }
    }
}

/// Returns a word whose first `count` bits are set, at most 64.
#[inline(always)]
const fn first_bits(count: u8) -> u64 {
    match count {
        0 => 0,
        1..=63 => u64::MAX << (64 - count),
        64.. => u64::MAX,
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(address: Ipv4Addr) -> Self {
        Self::v4(address.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    /// A mapped address becomes the IPv4 address it stands for.
    fn from(address: Ipv6Addr) -> Self {
        address.to_ipv4_mapped().map_or(Self::v6_on_the_wire(address.octets()), Self::from)
    }
}

impl From<IpAddr> for Addr {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(address: Addr) -> Self {
        let Addr { family, high, low } = address;
        match family {
            Family::V4 => Ipv4Addr::from_bits((high >> 32) as u32).into(),
            Family::V6 => Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// A network: an address whose bits after the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    addr: Addr,
    prefix: u8,
}

/// Why an address and a prefix are no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetError {
    /// The prefix is longer than the family's addresses.
    PrefixTooLong {
        /// What was asked for, in bits.
        prefix: u8,
        /// What the family has, in bits.
        limit: u8,
    },
    /// Bits after the prefix are set; `network` is what was probably meant.
    HostBits {
        /// The same network with those bits cleared.
        network: Net,
    },
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrefixTooLong { prefix, limit } => {
                write!(f, "a prefix of {prefix} bits is longer than the {limit} bits of an address")
            }
            Self::HostBits { network } => {
                write!(f, "bits after the prefix are set; the network is {network}")
            }
        }
    }
}

impl core::error::Error for NetError {}

impl Net {
    /// Returns the network of `address` and `prefix` bits.
    ///
    /// A network inside `::ffff:0:0/96` becomes the IPv4 network it stands for. A shorter IPv6 prefix
    /// that merely covers that range stays IPv6 and matches no IPv4 address.
    ///
    /// # Errors
    ///
    /// [`NetError::PrefixTooLong`], and [`NetError::HostBits`] if a bit after the prefix is set.
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Result<Self, NetError> {
        let (addr, prefix) = match address.into() {
            IpAddr::V6(v6) if prefix >= 96 && v6.to_ipv4_mapped().is_some() => {
                (Addr::from(v6), prefix - 96)
            }
            IpAddr::V6(v6) => (Addr::v6_on_the_wire(v6.octets()), prefix),
            IpAddr::V4(v4) => (Addr::from(v4), prefix),
        };
        let limit = addr.family.bits();
        if prefix > limit {
            return Err(NetError::PrefixTooLong { prefix, limit });
        }
        let network = Self { addr: addr.masked(prefix), prefix };
        if network.addr == addr { Ok(network) } else { Err(NetError::HostBits { network }) }
    }

    /// Returns the network of this one address.
    pub const fn host(addr: Addr) -> Self {
        Self { addr, prefix: addr.family.bits() }
    }

    /// Returns the network's first address.
    pub const fn addr(&self) -> Addr {
        self.addr
    }

    /// Returns the family.
    pub const fn family(&self) -> Family {
        self.addr.family
    }

    /// Returns the length of the prefix in bits, at most the bits of the family.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Returns whether this network is one address.
    pub const fn is_host(&self) -> bool {
        self.prefix == self.addr.family.bits()
    }

    /// Returns whether `addr` lies in this network. An address of the other family never does.
    pub fn contains(&self, addr: Addr) -> bool {
        self.addr.family == addr.family && addr.masked(self.prefix) == self.addr
    }

    /// Returns whether every address of `other` lies in this network.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.addr)
    }

    /// Returns the smallest network that covers this one and is not it; none for a prefix of zero.
    pub fn parent(&self) -> Option<Self> {
        let prefix = self.prefix.checked_sub(1)?;
        Some(Self { addr: self.addr.masked(prefix), prefix })
    }
}

impl From<IpAddr> for Net {
    fn from(address: IpAddr) -> Self {
        Self::host(address.into())
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Result<Net, NetError> {
        let (address, prefix) = text.split_once('/').unwrap();
        Net::new(address.parse::<IpAddr>().unwrap(), prefix.parse().unwrap())
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(Addr::from(mapped), Addr::v4([192, 0, 2, 7]));
        assert!(!Addr::from(mapped).is_mapped());
        assert_eq!(net("::ffff:192.0.2.0/120"), net("192.0.2.0/24"));
        assert_eq!(net("::ffff:0:0/96"), net("0.0.0.0/0"));
    }

    #[test]
    fn only_the_96_bits_of_the_mapped_prefix_make_an_address_mapped() {
        for (text, mapped) in [
            ("::ffff:192.0.2.1", true),
            ("::fffe:192.0.2.1", false),
            ("::192.0.2.1", false),
            ("0:0:0:1:0:ffff:192.0.2.1", false),
            ("2001:db8::ffff:1:2", false),
        ] {
            let octets = text.parse::<Ipv6Addr>().unwrap().octets();
            assert_eq!(Addr::v6_on_the_wire(octets).is_mapped(), mapped, "{text}");
        }
        assert!(!Addr::v4([0, 0, 0, 0]).is_mapped());
    }

    #[test]
    fn a_prefix_of_zero_admits_its_own_family_only() {
        let (all_v4, all_v6) = (net("0.0.0.0/0").unwrap(), net("::/0").unwrap());
        let v4 = Addr::v4([198, 51, 100, 1]);
        let v6 = Addr::from("2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!([all_v4.contains(v4), all_v4.contains(v6)], [true, false]);
        assert_eq!([all_v6.contains(v4), all_v6.contains(v6)], [false, true]);
    }

    #[test]
    fn host_bits_and_long_prefixes_are_named() {
        assert_eq!(
            net("192.0.2.1/24"),
            Err(NetError::HostBits { network: net("192.0.2.0/24").unwrap() })
        );
        assert_eq!(
            net("2001:db8::1/32"),
            Err(NetError::HostBits { network: net("2001:db8::/32").unwrap() })
        );
        assert_eq!(net("192.0.2.1/33"), Err(NetError::PrefixTooLong { prefix: 33, limit: 32 }));
        assert_eq!(net("::1/129"), Err(NetError::PrefixTooLong { prefix: 129, limit: 128 }));
    }

    #[test]
    fn parents_cover_their_children_up_to_the_whole_family() {
        let mut at = net("203.0.113.255/32").unwrap();
        for prefix in (0..32).rev() {
            let parent = at.parent().unwrap();
            assert_eq!(parent.prefix(), prefix);
            assert!(parent.covers(&at) && !at.covers(&parent));
            at = parent;
        }
        assert_eq!(at.parent(), None);
        assert_eq!(at.to_string(), "0.0.0.0/0");
    }
}
