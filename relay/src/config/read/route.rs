//! `[[route]]`, `[capture]` and `[retry]`.

use std::borrow::Cow;
use std::time::Duration;

use toml::de::DeValue;

use super::login::login;
use super::{MIB, NAME_MAX, SECOND, size, small, unit};
use crate::config::raw::{Presence, Table};
use crate::config::{Capture, NextHop, Retry, Route, RouteCertificate, RouteHost, RouteTls};

/// The highest order and the highest weight of a next hop.
const SHARE_MAX: u64 = 1000;

/// The waits between attempts where none are named.
const WAITS: [&str; 5] = ["1m", "5m", "15m", "30m", "1h"];

/// The most waits between attempts that are named.
const WAITS_MAX: usize = 100;

/// Reads a `[[route]]`.
pub(super) fn route(table: &Table<'_>) -> Option<Route> {
    let ways = &[
        ("required", RouteTls::Required),
        ("implicit", RouteTls::Implicit),
        ("opportunistic", RouteTls::Opportunistic),
        ("none", RouteTls::None),
    ];
    let certificate = certificate(table);
    let login = table.optional_table("login").map(|of_login| {
        let login = login(&of_login, certificate.as_ref());
        of_login.finish();
        login
    });
    let name = table.required("name", unit::short(NAME_MAX));
    let capture = table.or("capture", false, unit::truth);
    let presence = if capture { Presence::Optional } else { Presence::Required };
    Some(Route {
        default: table.or("default", false, unit::truth),
        domains: table.list("domains", Presence::Optional, unit::domain),
        capture,
        hosts: hosts(table, presence),
        tls: table.or("tls", "required", unit::word(ways)),
        ca_file: table.optional("ca-file", unit::path),
        server_name: table.optional("server-name", unit::server_name),
        pins: table.list("pin", Presence::Optional, unit::pin),
        certificate,
        login: login.flatten(),
        rate: table.optional("rate", unit::rate),
        connections: size(table.or("connections", 10, unit::count(1..=1000))),
        timeout: table.or("timeout", "5m", unit::duration),
        name: name?,
    })
}

/// Reads the next hops of a route. One whose order is not written has its place in the list.
fn hosts(table: &Table<'_>, presence: Presence) -> Vec<RouteHost> {
    let written = table.list("hosts", presence, host);
    let placed = (1..).zip(written).map(|(place, (hop, order, weight))| RouteHost {
        hop,
        order: order.unwrap_or(place),
        weight: weight.unwrap_or(1),
    });
    placed.collect()
}

/// A next hop with its order and its weight, where they are written.
type WrittenHost = (NextHop, Option<u32>, Option<u32>);

/// Reads one of `hosts`: `"host:port"`, or a table with `host`, and `order` and `weight` if it has
/// them.
fn host(value: &DeValue<'_>) -> Result<WrittenHost, Cow<'static, str>> {
    let Some(table) = value.as_table() else {
        return unit::next_hop(value).map(|hop| (hop, None, None));
    };
    let of = |key: &str| {
        let entry = table.iter().find(|(name, _)| name.get_ref() == key);
        entry.map(|(_, value)| value.get_ref())
    };
    let number = |key: &str| {
        let read = |value| unit::count(1..=SHARE_MAX)(value).map(small);
        of(key).map(read).transpose().map_err(|problem| Cow::from(format!("{key}: {problem}")))
    };
    let unknown = table.keys().find(|key| !["host", "order", "weight"].contains(&&**key.get_ref()));
    if let Some(key) = unknown {
        return Err(format!("{}: no such key; it may have order and weight", key.get_ref()).into());
    }
    let wanted = "a next hop needs a host, as in { host = \"smtp.example.net:587\", weight = 3 }";
    let hop = unit::next_hop(of("host").ok_or(wanted)?)?;
    Ok((hop, number("order")?, number("weight")?))
}

/// Reads `[capture]`.
pub(super) fn capture(table: &Table<'_>) -> Capture {
    let capture = Capture {
        keep: table.or("keep", "7d", unit::duration),
        size_bytes: table.or("size", "1GiB", unit::size(MIB..=1 << 40)),
    };
    table.finish();
    capture
}

/// Reads our own certificate and its key: both or neither.
fn certificate(table: &Table<'_>) -> Option<RouteCertificate> {
    let certificate = table.optional("client-certificate", unit::path);
    let key = table.optional("client-key", unit::path);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(RouteCertificate { certificate, key }),
        (Some(_), None) => {
            table.report("client-certificate", "it needs its key: set client-key");
            None
        }
        (None, Some(_)) => {
            table.report("client-key", "a key needs its certificate: set client-certificate");
            None
        }
        (None, None) => None,
    }
}

/// Reads `[retry]`.
pub(super) fn retry(table: &Table<'_>) -> Retry {
    let after = table.list_or("after", &WAITS, unit::duration);
    let expire = table.or("expire", "5d", unit::duration);
    let delay_report = table.or("delay-report", "4h", unit::duration);
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
