//! The way that a message goes first, for its place in the spool's queue.

use crate::config::Config;
use crate::mail::envelope::Envelope;
use crate::policy::permit::Client;
use crate::policy::relaying::{Onward, onward};
use crate::spool::Way;

/// Returns the way of the first recipient's route; none if its mail is captured, which waits for no
/// room. The others may go other ways: where they go is found out when the message is claimed.
pub(super) fn way_of(config: &Config, envelope: &Envelope) -> Way {
    let onward = |to| onward(config, Client::of(envelope), to);
    match envelope.recipients.first().and_then(onward) {
        Some(Onward::Sent(route)) => Way::of(&route.name),
        Some(Onward::Captured(_)) | None => Way::NONE,
    }
}
