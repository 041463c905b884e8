//! Open spikes that are about a client.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use jiff::Timestamp;

use super::{Cause, Finding};
use crate::control::wire::Spike;
use crate::event::spike::Class;

/// An open spike that a client may have a part in, or may suffer from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loud {
    /// Attempts in the name of listed clients that no handshake follows.
    Forged { since: Timestamp },
    /// Connections of an entry that the client is in.
    Entry { since: Timestamp, entry: IpNetwork },
}

/// Returns the open spikes that a client may have a part in, or may suffer from.
pub(super) fn loud(spikes: &[Spike], client: IpAddr) -> Vec<Loud> {
    let of = |spike: &Spike| {
        let since = spike.since;
        if spike.class == Class::Forged.name() {
            return Some(Loud::Forged { since });
        }
        let entry: IpNetwork = spike.subject.as_ref()?.parse().ok()?;
        let is_its = spike.class == Class::Entry.name() && entry.contains(client);
        is_its.then_some(Loud::Entry { since, entry })
    };
    spikes.iter().filter(|spike| spike.until.is_none()).filter_map(of).collect()
}

/// Says what an open spike means for a listed client.
pub(super) fn spiking(client: IpAddr, spike: &Loud) -> Finding {
    match spike {
        Loud::Forged { since } => Finding::new(
            Cause::SpikeOpen,
            format!(
                "since {since:.0} attempts come in the name of listed clients that no handshake follows (spike-forged): \
                 what comes in the name of {client} it need not have sent, and that counts towards the rate of its entry"
            ),
            "connections work meanwhile, by SYN cookies; have the provider filter forged sources (BCP 38), and if \
             answers do not reach clients mend what is said of the way back",
        ),
        Loud::Entry { since, entry } => Finding::new(
            Cause::SpikeOpen,
            format!(
                "since {since:.0} clients of {entry} connect far more than they did before (spike-entry)"
            ),
            format!(
                "sallyport explain {client}; if somebody else drives it, sallyport ban add {client} and ask its owner"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_spike_that_is_open_and_about_the_client_is_told() {
        let spike = |class: &str, subject: Option<&str>, until| Spike {
            class: class.into(),
            subject: subject.map(str::to_owned),
            since: Timestamp::UNIX_EPOCH,
            until,
            window_seconds: 1,
            peak: 900,
            usual: 0,
            peak_per_second: 900,
            usual_per_second: 0,
            total: 900,
        };
        let entry: IpNetwork = "192.0.2.0/24".parse().unwrap();
        let spikes = [
            spike("spike-forged", None, Some(Timestamp::UNIX_EPOCH)),
            spike("spike-entry", Some("192.0.2.0/24"), None),
            spike("spike-entry", Some("198.51.100.0/24"), None),
            spike("spike-refused", None, None),
        ];
        let since = Timestamp::UNIX_EPOCH;
        let told = loud(&spikes, "192.0.2.7".parse().unwrap());
        assert_eq!(told, [Loud::Entry { since, entry }]);
        let told = loud(&[spike("spike-forged", None, None)], "192.0.2.7".parse().unwrap());
        assert_eq!(told, [Loud::Forged { since }]);
    }
}
