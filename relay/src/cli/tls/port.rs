//! Who has the port on which an authority asks for its proofs.

use std::net::SocketAddr;

use anyhow::anyhow;

use crate::acme::AcmeError;
use crate::bound::is_in_the_way;
use crate::doctor::holders::holders;
use crate::gate::clients::listening;

/// Says who has the port, if that is why.
pub(super) fn told(error: AcmeError) -> anyhow::Error {
    let AcmeError::Port { address, .. } = &error else { return error.into() };
    let remedy = held(*address).map_or_else(
        || "name an address of this host by tls.acme.address".to_owned(),
        |held| format!("{held}: {PASS_ON}"),
    );
    anyhow!("{error}; {remedy}")
}

/// What to do about another server on port 80.
const PASS_ON: &str = "stop it for the time of the order, or have it pass /.well-known/acme-challenge/ on to another \
                       port of this host, and name that by tls.acme.address";

/// Says which programs listen where nobody else can listen on an address; none: nobody does.
fn held(address: SocketAddr) -> Option<String> {
    let all = listening().unwrap_or_default();
    let all: Vec<_> = all.into_iter().filter(|one| is_in_the_way(one.address, address)).collect();
    let names: Vec<_> = holders(&all).into_values().flatten().map(|one| one.to_string()).collect();
    match (all.first(), names.is_empty()) {
        (None, _) => None,
        (Some(one), true) => {
            Some(format!("a program that only root sees listens on {}", one.address))
        }
        (Some(one), false) => Some(format!("{} listens on {}", names.join(", "), one.address)),
    }
}

/// Says why proofs cannot be answered at an address, and what to do; none: they can.
#[must_use]
pub fn port_trouble(address: SocketAddr) -> Option<String> {
    held(address).map(|held| format!("{held}, where the authority asks for its proofs: {PASS_ON}"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;

    #[test]
    fn whoever_has_the_port_is_named_with_what_to_do() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let cause = TcpListener::bind(address).unwrap_err();
        let said = told(AcmeError::Port { address, cause }).to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(said.contains(&pid) && said.contains("tls.acme.address"), "{said}");
        assert!(port_trouble(address).unwrap().contains(&pid));
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        assert!(port_trouble(any).unwrap().contains(&pid));
        let other = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), address.port());
        assert_eq!(port_trouble(other), None, "nobody has this one");
        drop(held);
        assert_eq!(port_trouble(address), None);
    }
}
