//! `[[route]]`, `[capture]` and `[retry]`.

use std::time::Duration;

use super::{DAY, GIB, HOUR, MIB, MINUTE, NAME_MAX, SECOND, size, unit};
use crate::config::raw::{Presence, Table};
use crate::config::{Capture, Retry, Route, RouteLogin, RouteTls};

/// The most waits between attempts that are named.
const WAITS_MAX: usize = 100;

/// Reads a `[[route]]`.
pub(super) fn route(table: &Table<'_>) -> Option<Route> {
    let ways = &[
        ("required", RouteTls::Required),
        ("implicit", RouteTls::Implicit),
        ("none", RouteTls::None),
    ];
    let login = table.optional_table("login").map(|login| {
        let user = login.required("user", unit::short(256));
        let password_file = login.required("password-file", unit::path);
        login.finish();
        user.zip(password_file).map(|(user, password_file)| RouteLogin { user, password_file })
    });
    let name = table.required("name", unit::short(NAME_MAX));
    let capture = table.or("capture", false, unit::truth);
    let presence = if capture { Presence::Optional } else { Presence::Required };
    Some(Route {
        default: table.or("default", false, unit::truth),
        domains: table.list("domains", Presence::Optional, unit::domain),
        capture,
        hosts: table.list("hosts", presence, unit::next_hop),
        tls: table.or("tls", RouteTls::Required, unit::word(ways)),
        ca_file: table.optional("ca-file", unit::path),
        login: login.flatten(),
        connections: size(table.or("connections", 10, unit::count(1..=1000))),
        timeout: table.or("timeout", 5 * MINUTE, unit::duration),
        name: name?,
    })
}

/// Reads `[capture]`.
pub(super) fn capture(table: &Table<'_>) -> Capture {
    let capture = Capture {
        keep: table.or("keep", 7 * DAY, unit::duration),
        size_bytes: table.or("size", GIB, unit::size(MIB..=1 << 40)),
    };
    table.finish();
    capture
}

/// Reads `[retry]`.
pub(super) fn retry(table: &Table<'_>) -> Retry {
    let written = table.list("after", Presence::Defaulted, unit::duration);
    let after = if written.is_empty() {
        [1, 5, 15, 30, 60].map(|minutes| minutes * MINUTE).to_vec()
    } else {
        written
    };
    let expire = table.or("expire", 5 * DAY, unit::duration);
    let delay_report = table.or("delay-report", 4 * HOUR, unit::duration);
    let retry = Retry { after, expire, delay_report };
    check_waits(table, "after", &retry.after);
    table.finish();
    retry
}

/// Checks the waits between attempts.
pub(super) fn check_waits(table: &Table<'_>, key: &str, waits: &[Duration]) {
    if waits.iter().any(|wait| *wait < SECOND) {
        table.report(key, "a wait is at least a second");
    }
    if waits.len() > WAITS_MAX {
        table.report(key, &format!("at most {WAITS_MAX} waits are named; the last one repeats"));
    }
}
