//! The way that a message goes first, for its place in the spool's queue.

use crate::config::Config;
use crate::mail::envelope::Envelope;
use crate::policy::permit::Client;
use crate::policy::relaying::route_for;
use crate::spool::Way;

/// Returns the way of the first recipient's route. The others may go other ways: where they go is
/// found out when the message is claimed.
pub(super) fn way_of(config: &Config, envelope: &Envelope) -> Way {
    let client = Client { login: envelope.login.as_deref(), tag: envelope.tag.as_deref() };
    let first = envelope.recipients.first();
    let route = first.and_then(|recipient| route_for(config, client, recipient));
    route.map_or(Way::NONE, |route| Way::of(&route.name))
}
