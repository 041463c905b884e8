//! `sallyport route …`: how mail leaves, and whether it may.

use std::path::Path;

use super::args::RouteVerb;
use super::print::{self, Output};
use super::queue::at;
use crate::control::client::{AskError, ask};
use crate::control::wire::RelayRequest;
use crate::net::routes::{HostState, RouteState, Standing};

/// Does what a verb says, through the relay's socket.
///
/// # Errors
///
/// If the relay does not run, or refuses.
pub fn route(socket: &Path, verb: RouteVerb) -> Result<(), AskError> {
    match verb {
        RouteVerb::List { output } => {
            let routes: Vec<RouteState> = ask(socket, "relay", &RelayRequest::RouteList)?;
            list(&routes, output.form());
        }
        RouteVerb::Suspend { name, note } => {
            let request = RelayRequest::RouteSuspend { route: name.clone(), note };
            ask::<_, ()>(socket, "relay", &request)?;
            print::say(format!("{name} is suspended: `sallyport route resume {name}` ends it"));
        }
        RouteVerb::Resume { name } => {
            let request = RelayRequest::RouteResume { route: name.clone() };
            let due: Option<usize> = ask(socket, "relay", &request)?;
            print::say(match due {
                Some(0) => format!("{name} is in use"),
                Some(1) => format!("{name} is in use; 1 message need not wait any longer"),
                Some(due) => format!("{name} is in use; {due} messages need not wait any longer"),
                None => format!("{name} is in use; all messages in the spool are due now"),
            });
        }
    }
    Ok(())
}

fn list(routes: &[RouteState], output: Output) {
    match output {
        Output::Json => print::json(&routes),
        Output::Text if routes.is_empty() => print::say("no routes"),
        Output::Text => {
            let rows: Vec<_> = routes.iter().map(route_row).collect();
            let heads = ["ROUTE", "STATE", "SINCE", "IN USE", "IDLE", "IN MEMORY", "RATE", "WHY"];
            print::table(heads, &rows);
            print::say("");
            let rows: Vec<_> = routes.iter().flat_map(host_rows).collect();
            let heads =
                ["ROUTE", "HOST", "ORDER", "HEALTH", "NEXT TRY", "IN USE", "DID", "LAST FAULT"];
            print::table(heads, &rows);
        }
    }
}

fn none() -> String {
    "-".to_owned()
}

fn route_row(route: &RouteState) -> [String; 8] {
    let standing = match route.standing {
        Standing::Up => "up",
        Standing::Degraded => "degraded",
        Standing::Down => "down",
        Standing::LoginRefused => "login refused",
        Standing::Suspended => "suspended",
    };
    let rate = match (&route.rate, route.rate_per_second) {
        (Some(rate), Some(now)) => format!("{rate}, now {now:.2}/s"),
        (Some(rate), None) => rate.clone(),
        (None, _) => none(),
    };
    let why = route.reason.clone().unwrap_or_else(none);
    let until = route.until.map_or_else(String::new, |until| format!("; tried at {}", at(until)));
    [
        route.name.clone(),
        standing.to_owned(),
        route.since.map_or_else(none, at),
        format!("{}/{}", route.in_use, route.connections),
        route.idle.to_string(),
        route.in_memory.to_string(),
        rate,
        why + &until,
    ]
}

fn host_rows(route: &RouteState) -> Vec<[String; 8]> {
    route.hosts.iter().map(|host| host_row(&route.name, host)).collect()
}

fn host_row(route: &str, host: &HostState) -> [String; 8] {
    let health = match host.paused_until {
        Some(until) => format!("{}, paused until {}", host.health, at(until)),
        None => host.health.clone(),
    };
    let HostState { carried, put_off, throttled, failed, .. } = host;
    [
        route.to_owned(),
        host.host.clone(),
        format!("{}, weight {}", host.order, host.weight),
        health,
        host.next_probe.map_or_else(none, at),
        format!("{}/{}", host.in_use, host.limit),
        format!("carried {carried}, put off {put_off}, throttled {throttled}, failed {failed}"),
        host.reason.clone().unwrap_or_else(none),
    ]
}
