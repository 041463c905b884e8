//! What shows only when the file is looked at as a whole: repeated names, references to nothing,
//! settings that contradict each other.

mod security;

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use super::raw::Table;
use super::read::Section;
use super::{Allow, Gate, Listener, NextHop, Policy, Route, RouteTls, Who};
use security::security;

/// The most interfaces that are guarded.
const INTERFACES_MAX: usize = 64;
/// The most networks whose word is taken for who a client is, for each key.
const BELIEVED_MAX: usize = 64;

/// The most next hops of a route.
const HOSTS_MAX: usize = 64;

/// Checks `[gate]` and its entries.
pub(super) fn gate(table: &Table<'_>, gate: &Gate, allow: &[Section<'_, Allow>]) {
    if gate.required && gate.interfaces.is_empty() {
        table.report(
            "interfaces",
            "name the interfaces to guard, as in [\"eth0\"], or set required = false to serve \
             unguarded",
        );
    }
    if gate.interfaces.len() > INTERFACES_MAX {
        table.report("interfaces", &format!("at most {INTERFACES_MAX} interfaces are guarded"));
    }
    for (place, name) in gate.interfaces.iter().enumerate() {
        if name.contains(['/', ' ']) || name == "." || name == ".." {
            table.report("interfaces", &format!("\"{name}\" is not the name of an interface"));
        }
        if gate.interfaces[..place].contains(name) {
            table.report("interfaces", &format!("\"{name}\" is named twice"));
        }
    }
    unique(allow, "cidr", |entry| Some(entry.cidr.to_string()));
}

/// Checks every `[[listener]]`.
pub(super) fn listeners(root: &Table<'_>, listeners: &[Section<'_, Listener>]) {
    if listeners.is_empty() {
        root.report(
            "listener",
            "at least one is required: [[listener]] with address = \"[::]:2525\"",
        );
    }
    unique(listeners, "address", |listener| Some(listener.address.to_string()));
    for (table, listener) in listeners {
        let Some(listener) = listener else { continue };
        if listener.address.port() == 0 {
            table.report("address", "the port must not be 0");
        }
        believed(table, "proxy", &listener.proxy);
        believed(table, "xclient", &listener.xclient);
    }
}

/// Checks a list of those who may say who a client is.
fn believed(table: &Table<'_>, key: &str, networks: &[IpNetwork]) {
    if networks.len() > BELIEVED_MAX {
        table.report(key, &format!("at most {BELIEVED_MAX} networks are named"));
    }
    if networks.iter().any(|network| network.prefix() == 0) {
        table.report(key, "everybody could choose the address to go by: name the proxies");
    }
}

/// Checks every `[[policy]]`.
pub(super) fn policies(policies: &[Section<'_, Policy>], routes: &[Section<'_, Route>]) {
    unique(policies, "tag", |policy| match &policy.who {
        Who::Tag(tag) => Some(tag.clone()),
        Who::Login(_) => None,
    });
    unique(policies, "login", |policy| match &policy.who {
        Who::Tag(_) => None,
        Who::Login(login) => Some(login.clone()),
    });
    for (table, policy) in policies {
        let Some(name) = policy.as_ref().and_then(|policy| policy.route.as_deref()) else {
            continue;
        };
        if !routes.iter().any(|(_, route)| route.as_ref().is_some_and(|r| r.name == name)) {
            table.report("route", &format!("there is no [[route]] with the name \"{name}\""));
        }
    }
}

/// Checks every `[[route]]`.
pub(super) fn routes(routes: &[Section<'_, Route>]) {
    unique(routes, "name", |route| Some(route.name.clone()));
    unique(routes, "default", |route| route.default.then(|| "true".to_owned()));
    let mut domains: BTreeMap<&str, &str> = BTreeMap::new();
    for (table, route) in routes {
        let Some(route) = route else { continue };
        if route.hosts.is_empty() && !route.capture {
            table.report("hosts", "a route needs at least one next hop, or capture = true");
        }
        if !route.hosts.is_empty() && route.capture {
            table
                .report("hosts", "a route that captures sends nothing: take away hosts or capture");
        }
        if route.hosts.len() > HOSTS_MAX {
            table.report("hosts", &format!("a route has at most {HOSTS_MAX} next hops"));
        }
        for (place, host) in route.hosts.iter().enumerate() {
            if route.hosts[..place].iter().any(|other| other.hop == host.hop) {
                let NextHop { host, port } = &host.hop;
                table.report("hosts", &format!("{host}:{port} is named twice: give it a weight"));
            }
        }
        if route.tls == RouteTls::None {
            for host in route.hosts.iter().filter(|host| !is_loopback(&host.hop.host)) {
                let message = format!(
                    "mail goes to {} in the clear: only a next hop on loopback may have no TLS",
                    host.hop.host
                );
                table.report("tls", &message);
            }
        }
        security(table, route);
        for domain in &route.domains {
            if let Some(other) = domains.insert(domain, &route.name) {
                table.report("domains", &format!("\"{domain}\" goes to route \"{other}\" already"));
            }
        }
    }
}

/// Tells whether a configured host is this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Reports every table whose `key` says what an earlier table's said.
fn unique<T>(sections: &[Section<'_, T>], key: &str, name: impl Fn(&T) -> Option<String>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (table, value) in sections {
        let Some(name) = value.as_ref().and_then(&name) else { continue };
        if let Some(line) = seen.get(&name) {
            table.report(key, &format!("\"{name}\" stands in line {line} already"));
        } else {
            seen.insert(name, table.line());
        }
    }
}
