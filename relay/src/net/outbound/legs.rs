//! What is ruled of recipients whom no next hop is asked about.

use std::time::Duration;

use crate::delivery::ruling::Ruling;
use crate::delivery::settlement::Leg;
use crate::delivery::sorting;
use crate::net::signing::Unsigned;
use crate::net::{memory, recall};
use crate::smtp::address::Address;
use crate::smtp::reply::Enhanced;

/// How long mail waits for a key that cannot be used; a reload with a good one is looked at then.
const KEY_RETRY: Duration = Duration::from_secs(300);

/// Rules that mail is kept.
pub(in crate::net) fn captured_leg(load: sorting::Load<'_>) -> Leg {
    let words = "captured: a policy or the route keeps it instead of sending it";
    let (status, ruling) = (Enhanced(2, 0, 0), Ruling::Captured);
    Leg::by_us(&load.route.name, load.recipients, ruling, None, status, words)
}

/// Rules that recipients wait which no route takes.
///
/// They were accepted, so there was a route: the configuration has changed since. That is more
/// likely a slip than a wish, so the mail waits for the next change, and the sender is told when
/// it expires, as with every other obstacle of ours.
pub(super) fn leg_without_route(recipients: Vec<Address>) -> Leg {
    let words = "no route of the configuration takes this recipient any more";
    Leg::by_us("", recipients, Ruling::Deferred, None, Enhanced(4, 4, 4), words)
}

/// Rules that recipients wait for a signature. Without its key no mail is given up: that is no fault of
/// its sender.
pub(super) fn leg_without_signature(recipients: Vec<Address>, why: &Unsigned) -> Leg {
    let (ruling, hold, status, words) = match why {
        Unsigned::Message(words) => (Ruling::Deferred, None, Enhanced(4, 3, 0), words.as_str()),
        Unsigned::Key(words) => (Ruling::Held, Some(KEY_RETRY), Enhanced(4, 7, 5), words.as_str()),
        Unsigned::Crowded => {
            let words = "there was no room in memory to make the message 7-bit before it is signed";
            (Ruling::Postponed, Some(memory::PATIENCE), Enhanced(4, 3, 0), words)
        }
        Unsigned::Recalled => {
            (Ruling::Postponed, Some(recall::STAYS), Enhanced(4, 4, 1), recall::WORDS)
        }
    };
    Leg::by_us("", recipients, ruling, hold, status, words)
}
