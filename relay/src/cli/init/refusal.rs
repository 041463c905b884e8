//! What a first set-up must not do: cut off the operator's own session, or a service that is there.

use std::net::SocketAddr;

use super::host::{Listener, Seen};
use crate::doctor::holders::Holder;

/// The name of our own processes, as the kernel has it.
const OURS: &str = "sallyport";

/// Whether a relay of ours may be running already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// A configuration is there: what listens under our name is ours.
    SetUp,
    /// Nothing is there.
    Nothing,
}

/// Returns why the port `listen` must not be guarded, or the interfaces cannot be: a sentence each.
#[must_use]
pub fn refusals(listen: SocketAddr, seen: &Seen, before: Before) -> Vec<String> {
    let (port, mut found) = (listen.port(), Vec::new());
    if let Some(session) = seen.session.filter(|session| session.port == port) {
        found.push(format!(
            "--listen: port {port} is the one of your own session from {}: the gate would cut it; choose another",
            session.client
        ));
    }
    for listener in &seen.listeners {
        if before == Before::SetUp && is_ours(listener) {
            continue;
        }
        let holders: Vec<_> = listener.holders.iter().map(ToString::to_string).collect();
        let who = if holders.is_empty() {
            "a program that only root sees".to_owned()
        } else {
            holders.join(", ")
        };
        found.push(format!(
            "--listen: {who} listens on {} already: the gate would cut off its clients; choose another port, or \
             stop it",
            listener.address
        ));
    }
    if let Some(why) = &seen.address {
        found.push(format!(
            "--listen: {} cannot be had here ({why}): name an address of this host, or [::]",
            listen.ip()
        ));
    }
    for (name, interface) in &seen.interfaces {
        match interface {
            None => found.push(format!(
                "--interface: there is no interface {name}: `ip link` shows those that there are"
            )),
            Some(interface) if !interface.ethernet => found.push(format!(
                "--interface: the frames of {name} have no header of Ethernet, so the gate cannot stand there: \
                 leave it out, the second door judges what comes by it"
            )),
            Some(interface) if interface.program.is_some() && !seen.guarded.contains(name) => {
                found.push(format!(
                    "--interface: another XDP program stands on {name} already: `ip -d link show {name}` names it; \
                     take it away first"
                ));
            }
            Some(_) => {}
        }
    }
    found
}

/// Tells whether a relay of ours holds a socket. systemd has it too, in the store of our gate's unit.
fn is_ours(listener: &Listener) -> bool {
    let is_our_name = |holder: &Holder| holder.name == OURS;
    listener.holders.iter().any(is_our_name)
        && listener.holders.iter().all(|holder| is_our_name(holder) || holder.pid == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::host::Session;
    use crate::gate::netlink::{Carries, Interface};

    fn interface(ethernet: bool, program: Option<u32>) -> Vec<(String, Option<Interface>)> {
        let program = program.map(|id| (id, None));
        let found = Interface {
            index: 2,
            name: "eth0".into(),
            kind: None,
            ethernet,
            carries: Carries::Frames,
            program,
        };
        vec![("eth0".into(), Some(found))]
    }

    fn good() -> Seen {
        Seen { interfaces: interface(true, None), ..Seen::default() }
    }

    fn listener(names: &[&str]) -> Vec<Listener> {
        let pid = |name: &str| if name == "systemd" { 1 } else { 812 };
        let holders = names.iter().map(|name| Holder { pid: pid(name), name: (*name).into() });
        vec![Listener { address: "0.0.0.0:2525".parse().unwrap(), holders: holders.collect() }]
    }

    #[test]
    fn what_would_cut_somebody_off_or_cannot_stand_is_refused() {
        let session = |port| Some(Session { client: "203.0.113.7".parse().unwrap(), port });
        let rows: [(&str, Seen, Before, &[&str]); 14] = [
            ("a free port", good(), Before::Nothing, &[]),
            (
                "a session by another port",
                Seen { session: session(22), ..good() },
                Before::Nothing,
                &[],
            ),
            (
                "the own session",
                Seen { session: session(2525), ..good() },
                Before::SetUp,
                &["port 2525 is the one of your own session from 203.0.113.7"],
            ),
            (
                "a service",
                Seen { listeners: listener(&["master"]), ..good() },
                Before::SetUp,
                &["master (pid 812) listens on 0.0.0.0:2525 already"],
            ),
            (
                "a service that is not seen",
                Seen { listeners: listener(&[]), ..good() },
                Before::SetUp,
                &["a program that only root sees listens"],
            ),
            (
                "a service beside ours",
                Seen { listeners: listener(&["sallyport", "master"]), ..good() },
                Before::SetUp,
                &["sallyport (pid 812), master (pid 812)"],
            ),
            ("our own", Seen { listeners: listener(&["sallyport"]), ..good() }, Before::SetUp, &[]),
            (
                "our own, with the store of its unit",
                Seen { listeners: listener(&["systemd", "sallyport"]), ..good() },
                Before::SetUp,
                &[],
            ),
            (
                "a socket of systemd's own",
                Seen { listeners: listener(&["systemd"]), ..good() },
                Before::SetUp,
                &["systemd (pid 1) listens"],
            ),
            (
                "another's program beside a configuration",
                Seen { interfaces: interface(true, Some(7)), ..Seen::default() },
                Before::SetUp,
                &["another XDP program stands on eth0"],
            ),
            (
                "our own without a configuration",
                Seen { listeners: listener(&["sallyport"]), ..good() },
                Before::Nothing,
                &["sallyport (pid 812) listens"],
            ),
            (
                "no such interface",
                Seen { interfaces: vec![("eth9".into(), None)], ..Seen::default() },
                Before::Nothing,
                &["there is no interface eth9"],
            ),
            (
                "a tunnel, and an address that is not there",
                Seen {
                    interfaces: interface(false, None),
                    address: Some("no".into()),
                    ..Seen::default()
                },
                Before::Nothing,
                &["[::]", "no header of Ethernet"],
            ),
            (
                "another's program",
                Seen { interfaces: interface(true, Some(7)), ..Seen::default() },
                Before::Nothing,
                &["another XDP program stands on eth0"],
            ),
        ];
        for (row, seen, before, wanted) in rows {
            let found = refusals("[::]:2525".parse().unwrap(), &seen, before);
            assert_eq!(found.len(), wanted.len(), "{row}: {found:?}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!(found.contains(wanted), "{row}: {found}");
            }
        }
        let guarded = vec!["eth0".to_owned()];
        let held = Seen { interfaces: interface(true, Some(7)), guarded, ..Seen::default() };
        for before in [Before::SetUp, Before::Nothing] {
            assert!(refusals("[::]:2525".parse().unwrap(), &held, before).is_empty(), "ours");
        }
    }
}
