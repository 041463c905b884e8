//! Reads a frame down to its TCP header, and says plainly when it cannot.
//!
//! The reading follows what Linux does with a frame that no filter stands before, not what the RFCs wish:
//! a shape that Linux takes for a connection attempt must be found here, and a shape that cannot be read
//! is [`Content::Undecidable`], never "something else". Nothing beyond the length that the IP header gives
//! counts, since Linux cuts it off: bytes there are the sender's choice and would hide the truth.
//!
//! It is not a firewall's parser: tunnels, ICMP errors that quote a segment and everything that is not
//! IP are other content.

mod chain;
mod plain;
mod tags;

pub use chain::{ChainEnd, ChainStart, HEADERS_MAX, Whole, walk};
pub use plain::{Look, glance};
pub use tags::{TAGS_MAX, Untagged, untag};

use crate::addr::{Addr, Family};
use chain::AUTHENTICATION;

/// Where a frame's type, or its first tag, stands (IEEE 802.3, clause 3).
const ETHERTYPE_AT: u32 = 12;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// The protocol number of TCP (RFC 9293).
const TCP: u8 = 6;
/// The shortest IPv4 header and the only IPv6 header, in bytes.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// The bytes of a TCP header up to and with its flags, and the two flags that matter.
const TCP_TO_FLAGS: usize = 14;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Fragments are cut at multiples of this many bytes (RFC 791, section 3.2; RFC 8200, section 4.5).
const FRAGMENT_UNIT: usize = 8;

/// The bytes of one Ethernet frame.
pub trait Frame {
    /// Returns the `N` bytes at `offset`, at least two; `None` if the frame ends before them.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Returns the first `N` bytes, if they can be had at once: `None` says nothing.
    fn near<const N: usize>(&self) -> Option<&[u8; N]>;

    /// Takes off the tags, the first of which has its type at `at`.
    ///
    /// The kernel overrides this and [`chain`](Self::chain): there each is a function that the verifier
    /// looks at once, by itself, and whose result it knows nothing of. Otherwise it would look at
    /// everything that follows once for every number of tags and every way through the chain.
    #[inline(always)]
    fn untag(&self, at: u32) -> Untagged {
        untag(self, at)
    }

    /// Follows a chain of extension headers to its end.
    #[inline(always)]
    fn chain(&self, start: ChainStart) -> ChainEnd {
        walk(self, start)
    }
}

impl Frame for [u8] {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn near<const N: usize>(&self) -> Option<&[u8; N]> {
        self.first_chunk()
    }
}

/// Why a frame could not be read down to its TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More than [`TAGS_MAX`] VLAN tags.
    TagsTooDeep,
    /// The frame or its IP packet ends before the header that should follow.
    Truncated,
    /// A header contradicts itself: a wrong version, a length that leaves no room for the header.
    Malformed,
    /// More than [`HEADERS_MAX`] extension headers.
    ChainTooLong,
    /// The first fragment does not reach the TCP port (RFC 7112, section 5 forbids to send that).
    Hidden,
}

/// What a TCP segment may be, as far as its flags can be seen and trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// SYN set and ACK clear, whatever else is set: that is what a listener answers.
    Syn,
    /// Any other flags.
    Other,
    /// The first of several fragments. Linux may take flags that stand in it from a later one, so they
    /// are not looked at.
    Fragment,
    /// The port is there, the flags are not.
    Short,
}

impl Segment {
    /// Returns what a segment with these flags is, the last byte of them.
    #[inline(always)]
    pub const fn of_flags(flags: u8) -> Self {
        if flags & (SYN | ACK) == SYN { Self::Syn } else { Self::Other }
    }
}

/// The place of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    family: Family,
    at: usize,
}

impl Network {
    /// Returns the family of the header.
    #[inline(always)]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Returns the source as it stands in the frame; `None` if the frame ends before it.
    ///
    /// It is read late, so that traffic to other ports never pays for it.
    #[inline(always)]
    pub fn source<F: Frame + ?Sized>(&self, frame: &F) -> Option<Addr> {
        match self.family {
            Family::V4 => frame.bytes(self.at + 12).map(Addr::v4),
            Family::V6 => frame.bytes(self.at + 8).map(Addr::v6_on_the_wire),
        }
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing that Linux could take for a TCP segment.
    Other,
    /// A fragment that is not the first: without its first, which is judged, it is nothing.
    LaterFragment,
    /// A TCP segment, or the first fragment of one.
    Tcp {
        /// The IP header.
        network: Network,
        /// The destination port.
        port: u16,
        /// What the segment may be.
        segment: Segment,
    },
    /// It may be a TCP segment to any port.
    Undecidable {
        /// The IP header, if one was reached.
        network: Option<Network>,
        /// Why nothing more is known.
        fault: Fault,
    },
}

/// Returns what `frame` holds.
#[inline(always)]
pub fn read<F: Frame + ?Sized>(frame: &F) -> Content {
    let undecidable = |fault| Content::Undecidable { network: None, fault };
    let Some(ethertype) = frame.bytes(ETHERTYPE_AT as usize).map(u16::from_be_bytes) else {
        return undecidable(Fault::Truncated);
    };
    let untagged = if tags::is_tag(ethertype) {
        frame.untag(ETHERTYPE_AT)
    } else {
        Untagged::Type { ethertype, at: ETHERTYPE_AT + 2 }
    };
    let (ethertype, at) = match untagged {
        Untagged::Type { ethertype, at } => (ethertype, at as usize),
        Untagged::Fault(fault) => return undecidable(fault),
    };
    match ethertype {
        IPV4 => read_ipv4(frame, Network { family: Family::V4, at }),
        IPV6 => read_ipv6(frame, Network { family: Family::V6, at }),
        _ => Content::Other,
    }
}

#[inline(always)]
fn read_ipv4<F: Frame + ?Sized>(frame: &F, network: Network) -> Content {
    let undecidable = |fault| Content::Undecidable { network: Some(network), fault };
    let Some(header) = frame.bytes::<IPV4_HEADER>(network.at) else {
        return undecidable(Fault::Truncated);
    };
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < IPV4_HEADER || total_len < header_len {
        return undecidable(Fault::Malformed);
    }
    let protocol = header[9];
    if protocol != TCP && protocol != AUTHENTICATION {
        return Content::Other;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & 0x1fff != 0 {
        return Content::LaterFragment;
    }
    let at = network.at + header_len;
    let end = network.at + total_len;
    let (whole, end) = if fragment & 0x2000 == 0 {
        (Whole::Packet, end)
    } else {
        (Whole::FirstFragment, at + (end - at) / FRAGMENT_UNIT * FRAGMENT_UNIT)
    };
    if protocol == TCP {
        return read_tcp(frame, network, Reach { at, end, whole });
    }
    let start = ChainStart { at: at as u32, end: end as u32, next: protocol, whole };
    upper(frame, network, frame.chain(start))
}

#[inline(always)]
fn read_ipv6<F: Frame + ?Sized>(frame: &F, network: Network) -> Content {
    let undecidable = |fault| Content::Undecidable { network: Some(network), fault };
    let Some(header) = frame.bytes::<8>(network.at) else {
        return undecidable(Fault::Truncated);
    };
    if header[0] >> 4 != 6 {
        return undecidable(Fault::Malformed);
    }
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let next = header[6];
    let at = network.at + IPV6_HEADER;
    // A payload length of zero before hop-by-hop options stands for a jumbogram (RFC 2675, section 2).
    // Linux then cuts nothing off, even if no jumbo option follows: the packet is as long as the frame.
    let end = if payload_len == 0 && next == chain::HOP_BY_HOP {
        u32::MAX as usize
    } else {
        at + payload_len
    };
    if next == TCP {
        return read_tcp(frame, network, Reach { at, end, whole: Whole::Packet });
    }
    if !chain::is_extension(next) {
        return Content::Other;
    }
    let start = ChainStart { at: at as u32, end: end as u32, next, whole: Whole::Packet };
    upper(frame, network, frame.chain(start))
}

/// Reads what stands at the end of a chain.
#[inline(always)]
fn upper<F: Frame + ?Sized>(frame: &F, network: Network, chain: ChainEnd) -> Content {
    match chain {
        ChainEnd::Upper { protocol: TCP, at, end, whole } => {
            read_tcp(frame, network, Reach { at: at as usize, end: end as usize, whole })
        }
        ChainEnd::Upper { .. } => Content::Other,
        ChainEnd::LaterFragment => Content::LaterFragment,
        ChainEnd::Fault(fault) => Content::Undecidable { network: Some(network), fault },
    }
}

/// Where a TCP header begins, and where what Linux will see of its packet ends.
struct Reach {
    at: usize,
    end: usize,
    whole: Whole,
}

#[inline(always)]
fn read_tcp<F: Frame + ?Sized>(frame: &F, network: Network, reach: Reach) -> Content {
    let Reach { at, end, whole } = reach;
    let ports = if at + 4 <= end { frame.bytes::<2>(at + 2) } else { None };
    let Some(port) = ports.map(u16::from_be_bytes) else {
        return Content::Undecidable { network: Some(network), fault: whole.cut_short() };
    };
    let segment = match whole {
        Whole::FirstFragment => Segment::Fragment,
        Whole::Packet if at + TCP_TO_FLAGS > end => Segment::Short,
        Whole::Packet => match frame.bytes::<2>(at + TCP_TO_FLAGS - 2) {
            Some([_, flags]) => Segment::of_flags(flags),
            None => Segment::Short,
        },
    };
    Content::Tcp { network, port, segment }
}
