//! The way that a message goes next, for its place in the spool's queue.

use crate::config::Config;
use crate::delivery::settlement::Settlement;
use crate::mail::envelope::Envelope;
use crate::policy::permit::Client;
use crate::policy::relaying::{Onward, onward};
use crate::spool::{Claim, Way};

/// Returns the way of the first recipient's route; none if its mail is captured, which waits for no
/// room. The others may go other ways: where they go is found out when the message is claimed.
#[must_use]
pub fn way_of(config: &Config, envelope: &Envelope) -> Way {
    let onward = |to| onward(config, Client::of(envelope), to);
    match envelope.recipients.first().and_then(onward) {
        Some(Onward::Sent(route)) => Way::of(&route.name),
        Some(Onward::Captured(_)) | None => Way::NONE,
    }
}

/// Has a message wait for the route of a recipient who is still open: else it would wait for one by which
/// nobody goes any more. If some were not asked at all it waits for theirs already.
pub(super) fn steer(claim: &Claim, settlement: &Settlement) {
    if settlement.results().count() < claim.pending().len() {
        return;
    }
    if let Some((route, _)) = settlement.results().find(|(_, outcome)| !outcome.fate.is_done()) {
        claim.steer(if route.is_empty() { Way::NONE } else { Way::of(route) });
    }
}
