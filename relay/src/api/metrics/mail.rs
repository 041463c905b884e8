//! The metrics of the spool and of the routes.

use jiff::Timestamp;

use crate::meter::catalogue::{
    FLUSH_SECONDS, HOP_LIMIT, HOP_TRANSACTIONS, HOP_UP, Metric, ROUTE_CONNECTIONS,
    ROUTE_CONNECTIONS_MAX, ROUTE_MEMORY, ROUTE_STANDING, ROUTE_WAITING, SPOOL_BODIES,
    SPOOL_COMMITS, SPOOL_FREE, SPOOL_HAS_ROOM, SPOOL_LOG, SPOOL_MESSAGES, SPOOL_OLDEST,
    SPOOL_RESERVE, SPOOL_TROUBLED,
};
use crate::meter::text::Text;
use crate::net::routes::{HostState, RouteState, Standing};
use crate::spool::Spool;

const STANDINGS: [Standing; 5] =
    [Standing::Up, Standing::Degraded, Standing::Down, Standing::LoginRefused, Standing::Suspended];

/// Returns the label of a standing.
const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Up => "up",
        Standing::Degraded => "degraded",
        Standing::Down => "down",
        Standing::LoginRefused => "login-refused",
        Standing::Suspended => "suspended",
    }
}

/// Writes how the routes and their hosts stand.
pub(super) fn write_routes(text: &mut Text, routes: &[RouteState]) {
    let mut rows = text.rows(&ROUTE_STANDING);
    for route in routes {
        rows.states(&[&route.name], &STANDINGS.map(word), word(route.standing));
    }
    let mut rows = text.rows(&ROUTE_CONNECTIONS);
    for route in routes {
        rows.row(&[&route.name, "busy"], route.in_use);
        rows.row(&[&route.name, "idle"], route.idle);
    }
    let mut of_routes = |metric: &Metric, of: fn(&RouteState) -> usize| {
        let mut rows = text.rows(metric);
        for route in routes {
            rows.row(&[&route.name], of(route));
        }
    };
    of_routes(&ROUTE_CONNECTIONS_MAX, |route| route.connections);
    of_routes(&ROUTE_MEMORY, |route| route.in_memory);
    let mut rows = text.rows(&ROUTE_WAITING);
    for route in routes {
        if let Some(waiting) = route.waiting {
            rows.row(&[&route.name], waiting);
        }
    }
    let hosts =
        || routes.iter().flat_map(|route| route.hosts.iter().map(move |host| (route, host)));
    let mut rows = text.rows(&HOP_UP);
    for (route, host) in hosts() {
        rows.row(&[&route.name, &host.host], u8::from(host.health == "up"));
    }
    let mut rows = text.rows(&HOP_LIMIT);
    for (route, host) in hosts() {
        rows.row(&[&route.name, &host.host], host.limit);
    }
    let mut rows = text.rows(&HOP_TRANSACTIONS);
    for (route, host) in hosts() {
        let HostState { carried, put_off, throttled, failed, .. } = *host;
        let results = [
            ("carried", carried),
            ("put-off", put_off),
            ("throttled", throttled),
            ("failed", failed),
        ];
        for (result, count) in results {
            rows.row(&[&route.name, &host.host, result], count);
        }
    }
}

/// Writes how the spool fares; without its space if the operating system does not tell it.
pub(super) fn write_spool(text: &mut Text, spool: &Spool, now: Timestamp) {
    let age = spool.oldest().map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
    if let Ok(status) = spool.status() {
        let apart = status.held + status.captured + status.damaged;
        let mut rows = text.rows(&SPOOL_MESSAGES);
        rows.row(&["waiting"], status.messages.saturating_sub(apart));
        rows.row(&["held"], status.held);
        rows.row(&["captured"], status.captured);
        rows.row(&["damaged"], status.damaged);
        text.one(&SPOOL_OLDEST, age);
        text.one(&SPOOL_BODIES, status.body_bytes);
        text.one(&SPOOL_LOG, status.log_bytes);
        text.one(&SPOOL_FREE, status.free_bytes);
        text.one(&SPOOL_RESERVE, status.reserve_bytes);
        text.one(&SPOOL_TROUBLED, status.troubled_segments);
        text.one(&SPOOL_COMMITS, status.commits);
    }
    text.one(&SPOOL_HAS_ROOM, u8::from(spool.has_room()));
    text.histogram(&FLUSH_SECONDS, &[], spool.flush_times());
}
