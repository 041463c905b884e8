//! Rare words to the journal, over aya-log's ring buffer.
//!
//! A stranger decides how many frames are dropped, so each reason is said once since the relay last cleared
//! the word that remembers it, which it does when it starts: at most one line a reason and start.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use relay_common::verdict::Reason;

use crate::tables::{DIAGNOSED, Word};

/// Tells of the first drop with a reason that no ordinary client, stranger or not, gives cause for. `reason` is
/// its number. Returns whether it did.
#[inline(always)]
pub fn drop_seen(reason: u32) -> bool {
    let bit = 1 << (reason & 63);
    let tells = ODD & bit != 0 && is_first(bit);
    if tells {
        // The macro wants a context and makes nothing of it.
        let none = XdpContext::new(core::ptr::null_mut());
        warn!(&none, "first frame dropped for reason {} since the gate started", reason);
    }
    tells
}

/// A bit for each of those reasons.
const ODD: u64 = {
    let mut bits = 0;
    let mut index = 0;
    while index < Reason::ALL.len() {
        bits |= (is_odd(Reason::ALL[index]) as u64) << index;
        index += 1;
    }
    bits
};

const fn is_odd(reason: Reason) -> bool {
    match reason {
        Reason::TagsTooDeep
        | Reason::Malformed
        | Reason::ChainTooLong
        | Reason::HiddenPort
        | Reason::MappedSource => true,
        Reason::Unguarded
        | Reason::LaterFragment
        | Reason::OutOfScope
        | Reason::Listed
        | Reason::Admitted
        | Reason::ListedUndecidable
        | Reason::UnlistedSyn
        | Reason::UnlistedSegment
        | Reason::UnlistedFragment
        | Reason::Truncated
        | Reason::Banned
        | Reason::OverRate
        | Reason::SourceOverRate
        | Reason::Shut
        | Reason::OwnHost => false,
    }
}

/// Returns whether this is the first diagnostic with `bit` since the relay last cleared the word.
#[inline(always)]
fn is_first(bit: u64) -> bool {
    let Some(word) = DIAGNOSED.get_ptr_mut(0).map(Word) else { return false };
    let said = word.read();
    said & bit == 0 && word.exchange(said, said | bit)
}
