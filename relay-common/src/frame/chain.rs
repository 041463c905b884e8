//! Follows a chain of extension headers (RFC 8200, section 4) to the header above them.
//!
//! The walk has a form that the kernel's verifier can look at by itself: plain numbers in, one packed
//! number out.

use super::{Fault, Frame};

/// The most extension headers that are walked. Linux was seen to accept a hundred.
pub const HEADERS_MAX: usize = 100;

/// The numbers of the headers that Linux walks over to find TCP, and of those that RFC 7045 counts as
/// extension headers and that have the common form.
pub(super) const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
pub(super) const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Whether a packet is all there, or the first of its fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// The frame carries the whole packet.
    Packet,
    /// The frame carries the first fragment of it.
    FirstFragment,
}

impl Whole {
    /// Returns the fault of a header that ends too early.
    #[inline(always)]
    pub(super) const fn cut_short(self) -> Fault {
        match self {
            Self::Packet => Fault::Truncated,
            Self::FirstFragment => Fault::Hidden,
        }
    }
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainStart {
    /// The offset of the first header in the frame.
    pub at: u32,
    /// The offset behind the last byte that the IP header vouches for.
    pub end: u32,
    /// The number of the first header.
    pub next: u8,
    /// Whether the packet was already found to be a first fragment.
    pub whole: Whole,
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// At a header that is no extension header.
    Upper {
        /// Its protocol number.
        protocol: u8,
        /// Its offset in the frame.
        at: u32,
        /// The offset behind the last byte of the packet that Linux will see.
        end: u32,
        /// Whether the packet is a first fragment.
        whole: Whole,
    },
    /// At the header of a fragment that is not the first.
    LaterFragment,
    /// Before the end of the chain.
    Fault(Fault),
}

/// Returns whether `number` is that of a header which [`walk`] steps over.
#[inline(always)]
pub(super) const fn is_extension(number: u8) -> bool {
    matches!(
        number,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

/// Walks from `start` over at most [`HEADERS_MAX`] extension headers.
///
/// Headers may stand in any order and any number of times: Linux refuses some orders, and a stranger gains
/// nothing if they are judged like the others.
#[inline(always)]
pub fn walk<F: Frame + ?Sized>(frame: &F, start: ChainStart) -> ChainEnd {
    let ChainStart { mut at, mut end, mut next, mut whole } = start;
    let mut fragment_headers = 0u32;
    for _ in 0..=HEADERS_MAX {
        if !is_extension(next) {
            return ChainEnd::Upper { protocol: next, at, end, whole };
        }
        // Every extension header has at least eight bytes, of which the first four say all.
        let within = at <= end && end - at >= 8;
        let Some(head) = (if within { frame.bytes::<4>(at as usize) } else { None }) else {
            return ChainEnd::Fault(whole.cut_short());
        };
        let length = match next {
            FRAGMENT => {
                let position = u16::from_be_bytes([head[2], head[3]]);
                fragment_headers += 1;
                // Linux takes a packet's second fragment header for an error. It could hide what the
                // first one cut off, so it is none of the cases below.
                if fragment_headers > 1 || matches!(whole, Whole::FirstFragment) {
                    return ChainEnd::Fault(Fault::Malformed);
                }
                if position & 0xfff8 != 0 {
                    return ChainEnd::LaterFragment;
                }
                // Without more to follow it is an atomic fragment, a whole packet (RFC 6946).
                if position & 1 != 0 {
                    whole = Whole::FirstFragment;
                    end = at + ((end - at) & !7);
                }
                // Its second byte is reserved and may hold anything: the length is fixed.
                8
            }
            AUTHENTICATION => (u32::from(head[1]) + 2) * 4,
            _ => (u32::from(head[1]) + 1) * 8,
        };
        next = head[0];
        at += length;
    }
    ChainEnd::Fault(Fault::ChainTooLong)
}

impl ChainStart {
    /// Returns the next header and the state of the packet in one word, for a function that takes
    /// numbers only.
    #[inline(always)]
    pub const fn pack(&self) -> u32 {
        let whole = match self.whole {
            Whole::Packet => 0,
            Whole::FirstFragment => 1 << 8,
        };
        self.next as u32 | whole
    }

    /// Returns the start that [`pack`](Self::pack) made `word` of, at the given offsets.
    #[inline(always)]
    pub const fn unpack(at: u32, end: u32, word: u32) -> Self {
        let whole = if word & 1 << 8 == 0 { Whole::Packet } else { Whole::FirstFragment };
        Self { at, end, next: word as u8, whole }
    }
}

/// The kinds of a packed [`ChainEnd`], in its bits 8 to 15.
const UPPER_PACKET: u64 = 0;
const UPPER_FIRST: u64 = 1;
const LATER: u64 = 2;
const TRUNCATED: u64 = 3;
const HIDDEN: u64 = 4;
const MALFORMED: u64 = 5;
const TOO_LONG: u64 = 6;

impl ChainEnd {
    /// Returns the end in one word: protocol (8 bits), kind (8), reach from `at` to `end` (16), `at` (32).
    ///
    /// The reach is cut at 65,535 bytes, which is more than the TCP header that is looked for.
    #[inline(always)]
    pub const fn pack(&self) -> u64 {
        match *self {
            Self::Upper { protocol, at, end, whole } => {
                let reach = end.saturating_sub(at);
                let reach = if reach > 0xffff { 0xffff } else { reach };
                let kind = match whole {
                    Whole::Packet => UPPER_PACKET,
                    Whole::FirstFragment => UPPER_FIRST,
                };
                protocol as u64 | kind << 8 | (reach as u64) << 16 | (at as u64) << 32
            }
            Self::LaterFragment => LATER << 8,
            Self::Fault(Fault::Truncated) => TRUNCATED << 8,
            Self::Fault(Fault::Hidden) => HIDDEN << 8,
            Self::Fault(Fault::Malformed) => MALFORMED << 8,
            Self::Fault(Fault::ChainTooLong | Fault::TagsTooDeep) => TOO_LONG << 8,
        }
    }

    /// Returns the end that `word` packs; a word that packs none is a chain that was too long.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        let at = (word >> 32) as u32;
        let end = at + (word >> 16 & 0xffff) as u32;
        let protocol = word as u8;
        match word >> 8 & 0xff {
            UPPER_PACKET => Self::Upper { protocol, at, end, whole: Whole::Packet },
            UPPER_FIRST => Self::Upper { protocol, at, end, whole: Whole::FirstFragment },
            LATER => Self::LaterFragment,
            TRUNCATED => Self::Fault(Fault::Truncated),
            HIDDEN => Self::Fault(Fault::Hidden),
            MALFORMED => Self::Fault(Fault::Malformed),
            _ => Self::Fault(Fault::ChainTooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_survives_the_word_it_is_packed_in() {
        let uppers = [Whole::Packet, Whole::FirstFragment].map(|whole| ChainEnd::Upper {
            protocol: 6,
            at: 54,
            end: 94,
            whole,
        });
        let faults = [Fault::Truncated, Fault::Hidden, Fault::Malformed, Fault::ChainTooLong]
            .map(ChainEnd::Fault);
        for end in uppers.into_iter().chain(faults).chain([ChainEnd::LaterFragment]) {
            assert_eq!(ChainEnd::unpack(end.pack()), end);
        }
        let jumbo = ChainEnd::Upper { protocol: 6, at: 62, end: u32::MAX, whole: Whole::Packet };
        let ChainEnd::Upper { at, end, .. } = ChainEnd::unpack(jumbo.pack()) else {
            panic!("{jumbo:?}")
        };
        assert_eq!((at, end), (62, 62 + 0xffff));
    }

    #[test]
    fn every_start_survives_the_word_it_is_packed_in() {
        for whole in [Whole::Packet, Whole::FirstFragment] {
            let start = ChainStart { at: 54, end: 100, next: DESTINATION, whole };
            assert_eq!(ChainStart::unpack(54, 100, start.pack()), start);
        }
    }
}
