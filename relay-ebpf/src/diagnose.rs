//! Rare words to the journal, over aya-log's ring buffer.
//!
//! A stranger decides how many frames are dropped, so each reason is said once since the relay last cleared
//! the word that remembers it, which it does when it starts: at most one line a reason and start.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use relay_common::verdict::Reason;

use crate::tables;

/// Tells of the first drop with a reason that no ordinary client, stranger or not, gives cause for.
#[inline(always)]
pub fn drop_seen(ctx: &XdpContext, reason: Reason) {
    let odd = match reason {
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
        | Reason::OverRate => false,
    };
    if odd && tables::first_diagnostic(1 << reason.index()) {
        warn!(ctx, "first frame dropped for reason {} since the gate started", reason.index());
    }
}
