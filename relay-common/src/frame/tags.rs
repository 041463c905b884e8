//! Takes VLAN tags off (IEEE 802.1Q).
//!
//! Like the walk over extension headers it has a form that the kernel's verifier can look at by itself.

use super::{Fault, Frame};

/// The most VLAN tags that are read. Linux takes off any number of priority tags (20 were seen to get
/// through); nobody honest stacks more than two.
pub const TAGS_MAX: usize = 8;

/// The bytes of a tag: its type and its VLAN.
const TAG: u32 = 4;

/// What stands below the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// A type that is no tag's.
    Type {
        /// The type (RFC 9542, appendix B).
        ethertype: u16,
        /// The offset behind it.
        at: u32,
    },
    /// The frame ends inside its tags, or has too many.
    Fault(Fault),
}

/// Returns whether `ethertype` is that of a VLAN tag: 802.1Q, 802.1ad, and the two that older switches put
/// in front.
///
/// Which VLAN a tag names does not matter: a tag that the network card took off was never seen here, so no
/// rule may hang on it.
#[inline(always)]
pub(super) const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100 | 0x9200)
}

/// Takes off at most [`TAGS_MAX`] tags, the first of which has its type at `at`.
#[inline(always)]
pub fn untag<F: Frame + ?Sized>(frame: &F, at: u32) -> Untagged {
    let mut at = at;
    for _ in 0..=TAGS_MAX {
        let Some(ethertype) = frame.bytes(at as usize).map(u16::from_be_bytes) else {
            return Untagged::Fault(Fault::Truncated);
        };
        if !is_tag(ethertype) {
            return Untagged::Type { ethertype, at: at + 2 };
        }
        at += TAG;
    }
    Untagged::Fault(Fault::TagsTooDeep)
}

/// The mark of a packed fault: no frame is so long that an offset reaches this bit.
const TRUNCATED: u64 = 1 << 62;
const TOO_DEEP: u64 = 1 << 63;

impl Untagged {
    /// Returns this in one word: the type (16 bits) and the offset (32), or a fault.
    #[inline(always)]
    pub const fn pack(&self) -> u64 {
        match *self {
            Self::Type { ethertype, at } => ethertype as u64 | (at as u64) << 16,
            Self::Fault(Fault::TagsTooDeep) => TOO_DEEP,
            Self::Fault(
                Fault::Truncated | Fault::Malformed | Fault::ChainTooLong | Fault::Hidden,
            ) => TRUNCATED,
        }
    }

    /// Returns what [`pack`](Self::pack) packed.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        match word {
            _ if word & TOO_DEEP != 0 => Self::Fault(Fault::TagsTooDeep),
            _ if word & TRUNCATED != 0 => Self::Fault(Fault::Truncated),
            _ => Self::Type { ethertype: word as u16, at: (word >> 16) as u32 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_survives_the_word_it_is_packed_in() {
        let faults = [Fault::TagsTooDeep, Fault::Truncated].map(Untagged::Fault);
        let types = [(0x0800, 14), (0xffff, u32::MAX), (0, 0)]
            .map(|(ethertype, at)| Untagged::Type { ethertype, at });
        for untagged in faults.into_iter().chain(types) {
            assert_eq!(Untagged::unpack(untagged.pack()), untagged);
        }
    }
}
