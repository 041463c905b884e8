//! The command to run first about a spike.

use std::net::IpAddr;

use relay_common::addr::Net;

use crate::event::spike::{Class, Share};
use crate::gate::net;
use crate::watch::Stage;

/// Returns the command to run first; none if nobody is named. Whoever is refused, or fails to log in, does no harm meanwhile, and may be a
/// client of ours: what helps is to learn who it is. A client that somebody else may drive is let in: it is banned while it goes on. Not
/// this host itself, nor a proxy: that would cut off all who come by it. Who stands in a forged attempt is a client of
/// ours, and `doctor` sees whether answers reach it. `shown` is whom the frame names that is shown: of a network it is
/// the one address that is known to have sent something.
pub(super) fn command(
    class: Class,
    stage: Stage,
    top: &[Share],
    shown: Option<IpAddr>,
    protected: &[Net],
) -> Option<String> {
    let is_spared = |share: &Share| {
        let own = share.net.ip();
        let meets = |net: Net| protected.iter().any(|one| one.covers(&net) || net.covers(one));
        own.is_loopback() || own.is_unspecified() || net(share.net).is_ok_and(meets)
    };
    match (class, top.first()) {
        (Class::Entry, Some(loudest)) if stage != Stage::Closed && !is_spared(loudest) => {
            Some(format!("sallyport ban add {}", loudest.net.ip()))
        }
        (
            Class::Refused | Class::Prefix | Class::Sources | Class::Logins | Class::Entry,
            Some(loudest),
        ) => {
            let known = shown.filter(|from| loudest.net.contains(*from));
            Some(format!("sallyport explain {}", known.unwrap_or_else(|| loudest.net.ip())))
        }
        (Class::Forged, loudest) => {
            let from = shown.or_else(|| loudest.map(|share| share.net.ip()))?;
            Some(format!("sallyport doctor --from {from}"))
        }
        (Class::Refused | Class::Prefix | Class::Sources | Class::Logins | Class::Entry, None)
        | (Class::Bypass | Class::Missing, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_is_let_in_is_to_be_banned_at_once_and_not_this_host_or_a_proxy() {
        let protected = ["192.0.2.1/32", "198.51.100.0/29"]
            .map(|written: &str| net(written.parse().unwrap()).unwrap());
        for (loudest, class, reason, suggested) in [
            ("10.0.0.0/8", Class::Refused, "over_rate", "sallyport explain 10.0.0.0"),
            ("10.0.0.0/8", Class::Prefix, "source_over_rate", "sallyport explain 10.0.0.0"),
            ("10.0.0.0/8", Class::Sources, "unlisted_syn", "sallyport explain 10.0.0.0"),
            ("203.0.113.7/32", Class::Logins, "login_failed", "sallyport explain 203.0.113.7"),
            ("127.0.0.1/32", Class::Logins, "login_failed", "sallyport explain 127.0.0.1"),
            ("203.0.113.7/32", Class::Entry, "connected", "sallyport ban add 203.0.113.7"),
            ("127.0.0.9/32", Class::Entry, "connected", "sallyport explain 127.0.0.9"),
            ("::1/128", Class::Entry, "connected", "sallyport explain ::1"),
            ("192.0.2.1/32", Class::Entry, "connected", "sallyport explain 192.0.2.1"),
            ("198.51.100.2/32", Class::Entry, "connected", "sallyport explain 198.51.100.2"),
        ] {
            let share = Share { net: loudest.parse().unwrap(), count: 9, error: 0, reason };
            if class == Class::Refused {
                let shown = |from: [u8; 4]| {
                    let top = std::slice::from_ref(&share);
                    command(class, Stage::Opened, top, Some(from.into()), &[]).unwrap()
                };
                assert_eq!(shown([10, 2, 3, 4]), "sallyport explain 10.2.3.4");
                assert_eq!(shown([192, 0, 2, 9]), suggested, "a frame of somebody else");
            }
            let over =
                command(class, Stage::Closed, std::slice::from_ref(&share), None, &protected);
            assert!(over.unwrap().starts_with("sallyport explain "), "it is over: {loudest}");
            let first = command(class, Stage::Opened, &[share], None, &protected);
            assert_eq!(first.as_deref(), Some(suggested), "{loudest}");
        }
    }
}
