//! Settings of a route's TLS and login that contradict each other.

use crate::config::raw::Table;
use crate::config::{Route, RouteTls};

/// The most pins of a route: the key in use, the next one, and some for further hosts.
const PINS_MAX: usize = 16;

/// Reports keys that `route.tls` gives no meaning, and a login without proved TLS.
pub(super) fn security(table: &Table<'_>, route: &Route) {
    if route.pins.len() > PINS_MAX {
        table.report("pin", &format!("at most {PINS_MAX} keys are pinned"));
    }
    let (login, proof) = match route.tls {
        RouteTls::Required | RouteTls::Implicit => return,
        RouteTls::Opportunistic => (
            "a login needs a next hop that is proved: set tls = \"required\" or \"implicit\"",
            "with tls = \"opportunistic\" no certificate is verified: set tls = \"required\"",
        ),
        RouteTls::None => (
            "no login goes over a connection without TLS: set tls = \"required\" or \"implicit\"",
            "with tls = \"none\" there is no certificate: set tls = \"required\" or leave it out",
        ),
    };
    if route.login.is_some() {
        table.report("login", login);
    }
    let set = [
        ("ca-file", route.ca_file.is_some()),
        ("server-name", route.server_name.is_some()),
        ("pin", !route.pins.is_empty()),
        ("client-certificate", route.certificate.is_some()),
    ];
    set.iter().filter(|(_, is_set)| *is_set).for_each(|(key, _)| table.report(key, proof));
}
