//! The commonest frames, read at a glance: no tags, no IPv4 options, no extension headers, no fragments.

use super::{ETHERTYPE_AT, Frame, IPV4, IPV6, Segment, TCP, TCP_TO_FLAGS, chain};
use crate::addr::Addr;

/// What is made of a frame at a glance. Each family of addresses gets code of its own, so that the kernel's
/// program never asks twice which one it is.
pub trait Look {
    /// What is made of it.
    type Answer;

    /// The frame must be read.
    fn unclear(&self) -> Self::Answer;

    /// It is nothing that Linux could take for a TCP segment.
    fn other(&self) -> Self::Answer;

    /// It is a TCP segment from `source` to `port` that is all there: SYN or not.
    fn tcp(&self, source: Addr, port: u16, segment: Segment) -> Self::Answer;
}

/// Where the IP header begins behind an Ethernet header without tags.
const IP_AT: usize = ETHERTYPE_AT as usize + 2;
/// The Ethernet and IP headers, and those with TCP's up to its flags.
const V4: usize = IP_AT + 20;
const V4_TCP: usize = V4 + TCP_TO_FLAGS;
const V6: usize = IP_AT + 40;
const V6_TCP: usize = V6 + TCP_TO_FLAGS;

/// Looks at `frame`.
#[inline(always)]
pub fn glance<F: Frame + ?Sized, L: Look>(frame: &F, look: &L) -> L::Answer {
    let Some(bytes) = frame.near::<V4>() else { return look.unclear() };
    match u16::from_be_bytes([bytes[12], bytes[13]]) {
        IPV4 => glance_ipv4(frame, bytes, look),
        IPV6 => glance_ipv6(frame, look),
        _ => look.unclear(),
    }
}

#[inline(always)]
fn glance_ipv4<F: Frame + ?Sized, L: Look>(frame: &F, bytes: &[u8; V4], look: &L) -> L::Answer {
    let total_len = u16::from_be_bytes([bytes[16], bytes[17]]);
    if bytes[IP_AT] != 0x45 || total_len < 20 {
        return look.unclear();
    }
    match bytes[23] {
        TCP => {}
        chain::AUTHENTICATION => return look.unclear(),
        _ => return look.other(),
    }
    // Neither a first fragment nor a later one; a segment up to its flags.
    let fragment = u16::from_be_bytes([bytes[20], bytes[21]]);
    if fragment & 0x3fff != 0 || usize::from(total_len) < V4_TCP - IP_AT {
        return look.unclear();
    }
    let Some(bytes) = frame.near::<V4_TCP>() else { return look.unclear() };
    let source = Addr::v4([bytes[26], bytes[27], bytes[28], bytes[29]]);
    let port = u16::from_be_bytes([bytes[V4 + 2], bytes[V4 + 3]]);
    look.tcp(source, port, Segment::of_flags(bytes[V4_TCP - 1]))
}

#[inline(always)]
fn glance_ipv6<F: Frame + ?Sized, L: Look>(frame: &F, look: &L) -> L::Answer {
    let Some(bytes) = frame.near::<V6>() else { return look.unclear() };
    let next = bytes[20];
    if bytes[IP_AT] >> 4 != 6 || (next != TCP && chain::is_extension(next)) {
        return look.unclear();
    }
    if next != TCP {
        return look.other();
    }
    let Some(bytes) = frame.near::<V6_TCP>() else { return look.unclear() };
    if usize::from(u16::from_be_bytes([bytes[18], bytes[19]])) < TCP_TO_FLAGS {
        return look.unclear();
    }
    let (_, source) = bytes.split_at(22);
    let Some(source) = source.first_chunk::<16>() else { return look.unclear() };
    let source = Addr::v6_on_the_wire(*source);
    let port = u16::from_be_bytes([bytes[V6 + 2], bytes[V6 + 3]]);
    look.tcp(source, port, Segment::of_flags(bytes[V6_TCP - 1]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Content, Network, read};
    use super::*;

    /// Tells what was seen in the words of [`read`], and the source.
    struct Tell;

    impl Look for Tell {
        type Answer = Option<(Content, Option<Addr>)>;

        fn unclear(&self) -> Self::Answer {
            None
        }

        fn other(&self) -> Self::Answer {
            Some((Content::Other, None))
        }

        fn tcp(&self, source: Addr, port: u16, segment: Segment) -> Self::Answer {
            let network = Network { family: source.family(), at: IP_AT };
            Some((Content::Tcp { network, port, segment }, Some(source)))
        }
    }

    /// A frame near one that a glance understands: a few bytes of a plain one are others.
    fn nearly_plain() -> impl Strategy<Value = Vec<u8>> {
        let v4 = [&[0; 12][..], &[8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6], &[7; 30]].concat();
        let v6 = [&[0; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64], &[7; 52]].concat();
        let bases = prop_oneof![Just(v4), Just(v6)];
        let changes = prop::collection::vec((12usize..72, any::<u8>()), 0..4);
        (bases, changes, 0usize..80).prop_map(|(mut frame, changes, length)| {
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            frame.truncate(length.max(14));
            frame
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn a_glance_says_what_reading_says(frame in nearly_plain()) {
            if let Some((content, source)) = glance(&frame[..], &Tell) {
                prop_assert_eq!(content, read(&frame[..]));
                if let Content::Tcp { network, .. } = content {
                    prop_assert_eq!(network.source(&frame[..]), source);
                }
            }
        }
    }

    #[test]
    fn the_commonest_frames_need_no_more_than_a_glance() {
        let mut v4 = [0; 54];
        v4[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
        v4[26..30].copy_from_slice(&[192, 0, 2, 7]);
        v4[36..38].copy_from_slice(&2525u16.to_be_bytes());
        v4[47] = 0x02;
        let source = Addr::v4([192, 0, 2, 7]);
        assert_eq!(glance(&v4[..], &Tell), Tell.tcp(source, 2525, Segment::Syn));
        v4[23] = 17;
        assert_eq!(glance(&v4[..], &Tell), Tell.other());
    }
}
