//! Frames, byte by byte: what a sender who wants to get around a filter would send.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Who speaks with whom.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The hardware addresses of sender and receiver.
    pub hardware: [[u8; 6]; 2],
    /// The sender's addresses.
    pub source: (Ipv4Addr, Ipv6Addr),
    /// The receiver's addresses.
    pub target: (Ipv4Addr, Ipv6Addr),
    /// The sender's port: it tells one shape from another.
    pub source_port: u16,
    /// The guarded port.
    pub port: u16,
}

/// The EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// That of IPv6.
pub const IPV6: u16 = 0x86dd;
/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// That of a fragment header.
pub const FRAGMENT: u8 = 44;
/// That of destination options.
pub const DESTINATION: u8 = 60;
/// That of hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// That of a routing header.
pub const ROUTING: u8 = 43;
/// That of an authentication header.
pub const AUTHENTICATION: u8 = 51;
/// FIN, a flag of the TCP header.
pub const FIN: u8 = 0x01;
/// SYN, likewise.
pub const SYN: u8 = 0x02;
/// RST, likewise.
pub const RST: u8 = 0x04;
/// PSH, likewise.
pub const PSH: u8 = 0x08;
/// ACK, likewise.
pub const ACK: u8 = 0x10;
/// URG, likewise.
pub const URG: u8 = 0x20;
/// ECE, likewise.
pub const ECE: u8 = 0x40;
/// CWR, likewise.
pub const CWR: u8 = 0x80;

/// Returns a frame: hardware addresses, tags of four bytes each, type, packet.
pub fn ethernet(ends: &Ends, tags: &[[u8; 4]], kind: u16, packet: &[u8]) -> Vec<u8> {
    let [from, to] = ends.hardware;
    let mut frame = [to, from].concat();
    frame.extend(tags.as_flattened());
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// A TCP segment with what may be wrong about it.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The flags.
    pub flags: u8,
    /// The options, a multiple of four bytes.
    pub options: &'a [u8],
    /// What follows.
    pub data: &'a [u8],
    /// What the checksum is off by.
    pub off_by: u16,
}

/// A SYN and nothing else.
pub const PLAIN: Segment<'_> = Segment { flags: SYN, options: &[], data: &[], off_by: 0 };

impl Segment<'_> {
    /// Returns the segment as it travels over IPv4.
    pub fn over_v4(&self, ends: &Ends) -> Vec<u8> {
        let (source, target) = (ends.source.0.octets(), ends.target.0.octets());
        self.bytes(ends, &[source, target].concat())
    }

    /// Returns the segment as it travels over IPv6.
    pub fn over_v6(&self, ends: &Ends) -> Vec<u8> {
        let (source, target) = (ends.source.1.octets(), ends.target.1.octets());
        self.bytes(ends, &[source, target].concat())
    }

    /// RFC 9293, section 3.1; the addresses are part of the checksum.
    fn bytes(&self, ends: &Ends, addresses: &[u8]) -> Vec<u8> {
        let words = 5 + self.options.len() / 4;
        let mut bytes = [ends.source_port, ends.port].map(u16::to_be_bytes).concat();
        bytes.extend(7_u32.to_be_bytes());
        let acknowledges = u32::from(self.flags & ACK != 0);
        bytes.extend(acknowledges.to_be_bytes());
        bytes.extend([(words << 4) as u8, self.flags, 0x20, 0, 0, 0, 0, 0]);
        bytes.extend(self.options);
        bytes.extend(self.data);
        let length = u16::try_from(bytes.len()).expect("invariant: a shape's segment is short");
        let pseudo = [addresses, &[0, TCP], &length.to_be_bytes()].concat();
        let sum = checksum(&[&pseudo, &bytes]).wrapping_add(self.off_by);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// An IPv4 header with what may be wrong about it.
#[derive(Clone, Copy, Debug)]
pub struct V4<'a> {
    /// The version.
    pub version: u8,
    /// The options, a multiple of four bytes.
    pub options: &'a [u8],
    /// What the header's length in words is off by.
    pub words_off_by: i8,
    /// What the total length is off by.
    pub length_off_by: i16,
    /// Flags and offset.
    pub fragment: u16,
    /// What follows.
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// What the checksum is off by.
    pub off_by: u16,
}

/// A header without anything.
pub const V4: V4<'_> = V4 {
    version: 4,
    options: &[],
    words_off_by: 0,
    length_off_by: 0,
    fragment: 0,
    protocol: TCP,
    tos: 0,
    ttl: 64,
    off_by: 0,
};

impl V4<'_> {
    /// Returns the packet (RFC 791, section 3.1).
    pub fn packet(&self, ends: &Ends, payload: &[u8]) -> Vec<u8> {
        let words = 5 + (self.options.len() / 4) as u8;
        let total = usize::from(words) * 4 + payload.len();
        let total = u16::try_from(total).expect("invariant: a shape's packet is short");
        let total = total.wrapping_add_signed(self.length_off_by);
        let first = self.version << 4 | words.wrapping_add_signed(self.words_off_by);
        let mut header = vec![first, self.tos];
        header.extend(total.to_be_bytes());
        // The sender's port tells one packet from another, too.
        header.extend(ends.source_port.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(ends.source.0.octets());
        header.extend(ends.target.0.octets());
        header.extend(self.options);
        let sum = checksum(&[&header]).wrapping_add(self.off_by);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(payload);
        header
    }

    /// Returns the frame.
    pub fn frame(&self, ends: &Ends, payload: &[u8]) -> Vec<u8> {
        ethernet(ends, &[], IPV4, &self.packet(ends, payload))
    }
}

/// One extension header of IPv6: its number, and its bytes without the first, which says what follows.
pub type Extension<'a> = (u8, &'a [u8]);

/// An IPv6 header with a chain and what may be wrong about it.
#[derive(Clone, Copy, Debug)]
pub struct V6<'a> {
    /// The first four bytes.
    pub first: u32,
    /// The chain.
    pub chain: &'a [Extension<'a>],
    /// What the payload's length is off by.
    pub length_off_by: i16,
    /// What follows the chain.
    pub protocol: u8,
    /// The hop limit.
    pub hops: u8,
    /// Another source than that of the ends.
    pub source: Option<Ipv6Addr>,
}

/// A header without anything.
pub const V6: V6<'_> =
    V6 { first: 0x6000_0000, chain: &[], length_off_by: 0, protocol: TCP, hops: 64, source: None };

impl V6<'_> {
    /// Returns the packet (RFC 8200, section 3).
    pub fn packet(&self, ends: &Ends, payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        let numbers = self.chain.iter().map(|(number, _)| *number).chain([self.protocol]);
        let numbers: Vec<u8> = numbers.collect();
        for ((_, bytes), next) in self.chain.iter().zip(&numbers[1..]) {
            body.push(*next);
            body.extend(*bytes);
        }
        body.extend(payload);
        let length = u16::try_from(body.len()).expect("invariant: a shape's packet is short");
        let mut packet = self.first.to_be_bytes().to_vec();
        packet.extend(length.wrapping_add_signed(self.length_off_by).to_be_bytes());
        packet.extend([numbers[0], self.hops]);
        packet.extend(self.source.unwrap_or(ends.source.1).octets());
        packet.extend(ends.target.1.octets());
        packet.extend(body);
        packet
    }

    /// Returns the frame.
    pub fn frame(&self, ends: &Ends, payload: &[u8]) -> Vec<u8> {
        ethernet(ends, &[], IPV6, &self.packet(ends, payload))
    }
}

/// Returns the checksum of the Internet over these bytes in a row, each piece of an even length but the last
/// (RFC 1071).
fn checksum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let words = words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 1071, section 3: the sum of its example is ddf2.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0x01]]), !0x0100);
    }
}
