//! Whether the sender of a message wants to hear what became of a recipient (RFC 3461, section
//! 4.1).

use crate::mail::envelope::{Envelope, Wish};
use crate::smtp::address::Address;
use crate::smtp::parameter::Notify;

/// Why there could be a report about a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It was given up.
    Failure,
    /// It waits for longer than the configuration finds usual.
    Delay,
    /// It waits past the time that the sender had set (RFC 2852, section 4).
    Deadline,
    /// It was passed on to a hop that sends no reports.
    Success,
    /// It was passed on, and the sender asked to be told by every hop (RFC 2852, section 4).
    Trace,
}

/// Returns what was asked for `recipient`.
pub(super) fn wish<'a>(envelope: &'a Envelope, recipient: &Address) -> Option<&'a Wish> {
    envelope.terms.wishes.iter().find(|wish| wish.recipient == *recipient)
}

/// Tells whether there is to be a report about `recipient`.
///
/// Without NOTIFY the sender hears of failures and delays (RFC 3461, section 4.1, leaves delays to
/// us). What he asked for by BY= he gets unless he said NEVER. A message from nobody is never
/// answered (RFC 3461, section 6.1); only the failure of a report of our own is told, to the
/// postmaster.
#[must_use]
pub fn is_wanted(envelope: &Envelope, recipient: &Address, occasion: Occasion) -> bool {
    if envelope.sender.mailbox().is_none() {
        return envelope.login.is_none() && occasion == Occasion::Failure;
    }
    let notify = wish(envelope, recipient).and_then(|wish| wish.notify);
    match (notify, occasion) {
        (Some(Notify::Never), _) | (None, Occasion::Success) => false,
        (_, Occasion::Deadline | Occasion::Trace) | (None, Occasion::Failure | Occasion::Delay) => {
            true
        }
        (Some(Notify::On { failure, .. }), Occasion::Failure) => failure,
        (Some(Notify::On { delay, .. }), Occasion::Delay) => delay,
        (Some(Notify::On { success, .. }), Occasion::Success) => success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::report::tests::envelope;
    use crate::smtp::address::ReversePath;

    #[test]
    fn a_sender_hears_of_what_he_asked_for_and_nobody_of_nothing() {
        let on = |success, failure, delay| Some(Notify::On { success, failure, delay });
        // Failure, delay, deadline, success, trace.
        let rows = [
            ("nothing was said", "s@example.net", None, "fdD-T"),
            ("never", "s@example.net", Some(Notify::Never), "-----"),
            ("of failures", "s@example.net", on(false, true, false), "f-D-T"),
            ("of delays", "s@example.net", on(false, false, true), "-dD-T"),
            ("of success", "s@example.net", on(true, false, false), "--DST"),
            ("of all", "s@example.net", on(true, true, true), "fdDST"),
            ("from nobody, by a client", "", on(true, true, true), "-----"),
        ];
        for (row, sender, notify, expected) in rows {
            assert_eq!(heard(&asking(sender, notify)), expected, "{row}");
        }
        let mut ours = envelope("");
        ours.login = None;
        assert_eq!(heard(&ours), "f----", "a report of our own: the postmaster hears of it");
        assert_eq!(ours.sender, ReversePath::Null);
    }

    #[test]
    fn a_wish_is_for_its_recipient_alone() {
        let asking = asking("s@example.net", Some(Notify::Never));
        let other = "b@example.com".parse().unwrap();
        assert!(is_wanted(&asking, &other, Occasion::Failure));
    }

    fn asking(sender: &str, notify: Option<Notify>) -> Envelope {
        let mut envelope = envelope(sender);
        let recipient = envelope.recipients[0].clone();
        envelope.terms.wishes = vec![Wish { recipient, notify, original: None }];
        envelope
    }

    fn heard(envelope: &Envelope) -> String {
        let recipient = &envelope.recipients[0];
        let occasions = [
            ('f', Occasion::Failure),
            ('d', Occasion::Delay),
            ('D', Occasion::Deadline),
            ('S', Occasion::Success),
            ('T', Occasion::Trace),
        ];
        let show = |(letter, occasion)| {
            if is_wanted(envelope, recipient, occasion) { letter } else { '-' }
        };
        occasions.map(show).into_iter().collect()
    }
}
