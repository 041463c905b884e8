//! `sallyport route …`: how mail leaves, and whether it may.

use std::path::Path;

use super::args::RouteVerb;
use super::print::{self, Output};
use super::queue::at;
use crate::control::client::{AskError, ask};
use crate::control::wire::RelayRequest;
use crate::event::wording::word;
use crate::net::routes::{HostState, RouteState};

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
            print::say(format!(
                "{name} is suspended. To end that: sallyport route resume {}",
                word(&name)
            ));
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
            let heads = [
                "ROUTE",
                "STATE",
                "SINCE",
                "WAITING",
                "IN USE",
                "IDLE",
                "IN MEMORY",
                "RATE",
                "WHY",
            ];
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

fn route_row(route: &RouteState) -> [String; 9] {
    let rate = match (&route.rate, route.rate_per_second) {
        (Some(rate), Some(now)) => format!("{rate}, now {now:.2}/s"),
        (Some(rate), None) => rate.clone(),
        (None, _) => none(),
    };
    let why = route.reason.clone().unwrap_or_else(none);
    let until = route.until.map_or_else(String::new, |until| format!("; tried at {}", at(until)));
    [
        route.name.clone(),
        route.standing.words().to_owned(),
        route.since.map_or_else(none, at),
        route.waiting.map_or_else(none, |waiting| waiting.to_string()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::routes::Standing;

    #[test]
    fn a_route_and_its_hosts_are_one_row_each() {
        let host = HostState {
            host: "smtp.example.net:587".into(),
            order: 1,
            weight: 3,
            health: "down".into(),
            reason: Some("refused".into()),
            since: "2026-01-31T12:00:00Z".parse().ok(),
            next_probe: "2026-01-31T12:00:10Z".parse().ok(),
            paused_until: None,
            in_use: 1,
            limit: 2,
            carried: 5,
            put_off: 4,
            throttled: 3,
            failed: 2,
        };
        let route = RouteState {
            name: "smarthost".into(),
            standing: Standing::Down,
            reason: Some("smtp.example.net:587 is down: refused".into()),
            since: host.since,
            until: None,
            hosts: vec![host],
            in_use: 1,
            idle: 0,
            connections: 10,
            in_memory: 7,
            waiting: Some(12),
            rate: Some("20/s".into()),
            rate_per_second: Some(10.0),
        };
        let why = "smtp.example.net:587 is down: refused";
        let row = ["smarthost", "down", "2026-01-31T12:00:00Z", "12", "1/10", "0", "7"];
        assert_eq!(route_row(&route)[..7], row);
        assert_eq!(route_row(&route)[7..], ["20/s, now 10.00/s", why]);
        let row = ["smarthost", "smtp.example.net:587", "1, weight 3", "down"];
        assert_eq!(host_rows(&route)[0][..4], row);
        let did = "carried 5, put off 4, throttled 3, failed 2";
        assert_eq!(host_rows(&route)[0][4..], ["2026-01-31T12:00:10Z", "1/2", did, "refused"]);
        let read: RouteState =
            serde_json::from_str(&serde_json::to_string(&route).unwrap()).unwrap();
        assert_eq!(read, route, "other programs read what is said");
    }
}
