//! `sallyport explain`: what the gate does with a source and why, and what the source may send.

mod session;

use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;
use serde::Serialize;

use super::gate::is_wanted;
use super::print::{self, Output};
use super::queue::at;
use super::reach::Found;
use crate::control::client::{AskError, ask};
use crate::control::wire::{Ban, Explanation, GateRequest, RelayRequest};
use crate::event::wording::word;
use crate::net::login::Waiting;
use crate::net::routes::{RouteState, Standing};

pub use session::Asked;
use session::Permitted;

/// Asks the loaded program about `source`; what its sessions may do comes from the configuration, by
/// the tag that the gate names. On a host without a gate only the latter is told.
///
/// # Errors
///
/// If the gate does not run, with the command that looks without it, or no port is guarded.
pub fn explain(
    found: &Found,
    source: IpAddr,
    port: Option<u16>,
    asked: &Asked,
    output: Output,
) -> anyhow::Result<()> {
    let gate: Option<Explanation> = if is_wanted(&found.reach.gate) {
        let question = GateRequest::Explain { source, port };
        let answer = ask(&found.reach.gate.socket, "gate", &question);
        Some(answer.map_err(|error| looked_without(error, source))?)
    } else {
        None
    };
    let tag = gate.as_ref().and_then(|gate| gate.tag.as_deref());
    let policy = found.config.as_ref().map(|config| Permitted::of(config, tag, asked));
    let routes = policy.as_ref().map_or_else(Vec::new, Permitted::routes);
    let relay = &found.reach.relay.socket;
    let held_routes = held(relay, &routes);
    let waiting_logins = waiting(relay, source);
    let bans = gate.as_ref().map_or_else(Vec::new, |gate| bans(&found.reach.gate.socket, gate));
    match output {
        Output::Json => {
            print::json(&Whole {
                gate: gate.as_ref(),
                policy: policy.as_ref(),
                held_routes: &held_routes,
                waiting_logins: &waiting_logins,
                bans: &bans,
            });
        }
        Output::Text => {
            // A stranger sends nothing; who asks for a login wants to know all the same.
            let is_heard = gate.as_ref().is_none_or(is_heard) || asked.is_more();
            let said = gate.as_ref().map_or_else(|| NO_GATE.to_owned(), sentences);
            let mut lines = vec![said];
            if !bans.is_empty() {
                lines.push(format!(
                    "To lift it: sallyport ban remove {}",
                    bans.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                ));
            }
            if is_heard {
                match &policy {
                    Some(policy) => lines.extend(policy.sentences()),
                    None => lines.push(UNTOLD.to_owned()),
                }
                lines.extend(held_routes.iter().map(Held::sentence));
                lines.extend(waiting_logins.iter().map(wait));
            }
            print::say(lines.join("\n"));
        }
    }
    Ok(())
}

/// What is said of every source where no gate stands.
pub(super) const NO_GATE: &str =
    "This host has no gate (gate.required = false, no interfaces): everybody reaches its ports.";

/// What is said of its sessions where the file has problems.
const UNTOLD: &str = "What its sessions may send cannot be told: the configuration has problems.";

fn is_heard(gate: &Explanation) -> bool {
    gate.entry.is_some() || gate.verdict == "pass"
}

/// Both answers as one object.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    gate: Option<&'a Explanation>,
    /// None: the configuration has problems.
    policy: Option<&'a Permitted>,
    held_routes: &'a [Held],
    /// Those that failed too often from the source.
    waiting_logins: &'a [Waiting],
    /// The bans that hold it.
    bans: &'a [IpNetwork],
}

/// A route that its sessions may use, and whose mail waits for somebody. Another program reads this as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Held {
    route: String,
    standing: Standing,
    why: Option<String>,
}

impl Held {
    fn of(state: RouteState) -> Option<Self> {
        let RouteState { name, standing, reason, .. } = state;
        match standing {
            Standing::Suspended | Standing::LoginRefused => {
                Some(Self { route: name, standing, why: reason })
            }
            Standing::Up | Standing::Degraded | Standing::Down => None,
        }
    }

    fn sentence(&self) -> String {
        let Self { route, standing, why } = self;
        let what = match standing {
            Standing::LoginRefused => "cannot be used: our login was refused",
            Standing::Suspended | Standing::Up | Standing::Degraded | Standing::Down => {
                "is suspended"
            }
        };
        let why = why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        let name = word(route);
        let remedy = match standing {
            Standing::LoginRefused => {
                format!(
                    "A new password in its file is tried within seconds; if the next hop mended it, or the login is a \
                     certificate or a token of an issuer: sallyport route resume {name}"
                )
            }
            Standing::Suspended | Standing::Up | Standing::Degraded | Standing::Down => {
                format!("To let it go: sallyport route resume {name}")
            }
        };
        format!("Route {route} {what}{why}: its mail is taken and waits. {remedy}")
    }
}

/// Asks the relay which of these routes are held, or of all if none is named. Without a relay, or the right to
/// ask, nobody knows: who asks about a source is told the rest.
fn held(socket: &Path, routes: &[&str]) -> Vec<Held> {
    let states: Result<Vec<RouteState>, _> = ask(socket, "relay", &RelayRequest::RouteList);
    let is_meant = |state: &RouteState| routes.is_empty() || routes.contains(&&*state.name);
    states.unwrap_or_default().into_iter().filter(is_meant).filter_map(Held::of).collect()
}

/// Asks the relay which logins have to wait when they come from `source`; none where that cannot be told.
fn waiting(socket: &Path, source: IpAddr) -> Vec<Waiting> {
    ask(socket, "relay", &RelayRequest::LoginsWaiting { source }).unwrap_or_default()
}

fn wait(waiting: &Waiting) -> String {
    let Waiting { login, until } = waiting;
    format!(
        "Login {login} failed too often from there: until {} it gets 454, whatever it shows. It waits longer after each \
         further failure.",
        at(*until)
    )
}

/// Asks the gate which bans hold the source of its answer; none where that cannot be told.
fn bans(socket: &Path, answer: &Explanation) -> Vec<IpNetwork> {
    if answer.banned_until.is_none() {
        return Vec::new();
    }
    let all: Vec<Ban> = ask(socket, "gate", &GateRequest::BanList).unwrap_or_default();
    Ban::holding(&all, answer.source.to_canonical())
}

/// Says in words what the program answered, why, and what to do about it.
pub(super) fn sentences(answer: &Explanation) -> String {
    sentences_of(answer, IpNetwork::from(answer.source))
}

/// Says the same of the first address of a network, and what to do about all of that.
pub(super) fn sentences_of(answer: &Explanation, network: IpNetwork) -> String {
    let Explanation { source, port, verdict, reason, entry, tag, generation, mode, .. } = answer;
    let is_one = network == IpNetwork::from(*source);
    let of = if is_one { String::new() } else { format!(" (the first address of {network})") };
    let mut lines = vec![format!(
        "{source}{of} to port {port}: {verdict} ({reason}); mode {mode}, list {generation}"
    )];
    lines.push(match (entry, tag) {
        (None, _) if reason == "unguarded" => {
            "The gate does not guard this port: everybody reaches it.".to_owned()
        }
        (None, _) if mode == "open" => {
            "It is not listed, and the host is open (`sallyport detach`): start the gate to guard it."
                .to_owned()
        }
        (None, _) if source.is_loopback() => "It is this host itself, and nobody else comes from there: gate.loopback \
             says whether it is admitted without an entry, `sallyport status` whether it is now."
            .to_owned(),
        (None, _) if is_one => {
            format!("It is not listed. To admit it: sallyport allow add {network}")
        }
        (None, _) => format!(
            "It is not listed; others of the network may be. To admit the whole network: sallyport allow add {network}"
        ),
        (Some(listed), Some(tag)) => format!("It is listed by {listed} with tag {tag}."),
        (Some(listed), None) => format!("It is listed by {listed} without a tag."),
    });
    let rate = match reason.as_str() {
        "over_rate" => Some("--connect-rate"),
        "source_over_rate" => Some("--source-rate"),
        _ => None,
    };
    lines.extend(rate.zip(*entry).map(|(rate, listed)| {
        format!(
            "More attempts come in its name than that entry gives; `sallyport allow list` shows how many. To give more: \
             in the configuration, if it is declared there, else: sallyport allow add {listed} {rate} RATE. To keep it \
             out: sallyport ban add {network}"
        )
    }));
    lines.extend(answer.banned_until.map(|until| {
        format!(
            "It is banned until {}; `sallyport ban list` shows by which ban, by whom and why.",
            at(until)
        )
    }));
    lines.join("\n")
}

/// Says of a gate that does not answer what tells about a client all the same.
fn looked_without(error: AskError, source: IpAddr) -> anyhow::Error {
    match error {
        AskError::NotRunning { .. } | AskError::Hangs { .. } | AskError::Silent { .. } => {
            anyhow::anyhow!("{error}; sallyport doctor --from {source} looks without it")
        }
        AskError::Socket { .. } | AskError::Answer { .. } | AskError::Refused(_) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_whose_mail_waits_is_named_with_its_reason_and_remedy() {
        let state = |standing| RouteState {
            name: "slow".into(),
            standing,
            reason: Some("suspended by uid 0: they move".into()),
            since: None,
            until: None,
            hosts: Vec::new(),
            in_use: 0,
            idle: 0,
            connections: 1,
            in_memory: 0,
            waiting: None,
            rate: None,
            rate_per_second: None,
        };
        let told = Held::of(state(Standing::Suspended)).unwrap().sentence();
        assert_eq!(
            told,
            "Route slow is suspended (suspended by uid 0: they move): its mail is taken and waits. \
             To let it go: sallyport route resume slow"
        );
        let told = Held::of(state(Standing::LoginRefused)).unwrap().sentence();
        assert!(told.starts_with("Route slow cannot be used: our login was refused ("), "{told}");
        for standing in [Standing::Up, Standing::Degraded, Standing::Down] {
            assert_eq!(Held::of(state(standing)), None, "{standing:?}");
        }
    }

    #[test]
    fn an_explanation_names_verdict_reason_entry_and_remedy() {
        let mut answer = Explanation {
            source: "192.0.2.7".parse().unwrap(),
            port: 2525,
            verdict: "drop".into(),
            reason: "unlisted_syn".into(),
            entry: None,
            tag: None,
            banned_until: None,
            generation: 7,
            mode: "enforce".into(),
        };
        assert_eq!(
            sentences(&answer),
            "192.0.2.7 to port 2525: drop (unlisted_syn); mode enforce, list 7\n\
             It is not listed. To admit it: sallyport allow add 192.0.2.7/32"
        );
        let first = Explanation { source: "192.0.2.0".parse().unwrap(), ..answer.clone() };
        assert_eq!(
            sentences_of(&first, "192.0.2.0/24".parse().unwrap()),
            "192.0.2.0 (the first address of 192.0.2.0/24) to port 2525: drop (unlisted_syn); mode enforce, list 7\n\
             It is not listed; others of the network may be. To admit the whole network: sallyport allow add 192.0.2.0/24"
        );
        for (verdict, reason, mode, said) in [
            ("pass", "unguarded", "enforce", "The gate does not guard this port"),
            ("pass (observed)", "unlisted_syn", "open", "the host is open"),
        ] {
            let (verdict, reason, mode) = (verdict.into(), reason.into(), mode.into());
            let told = sentences(&Explanation { verdict, reason, mode, ..answer.clone() });
            assert!(told.contains(said) && !told.contains("allow add"), "{told}");
        }
        let own = Explanation { source: "127.0.0.1".parse().unwrap(), ..answer.clone() };
        let told = sentences(&own);
        assert!(told.contains("this host itself") && !told.contains("allow add"), "{told}");
        answer.entry = Some("192.0.2.0/24".parse().unwrap());
        answer.tag = Some("billing".into());
        answer.banned_until = Some(jiff::Timestamp::UNIX_EPOCH);
        let text = sentences(&answer);
        assert!(text.contains("listed by 192.0.2.0/24 with tag billing"), "{text}");
        assert!(text.contains("banned until 1970-01-01T00:00:00Z"), "{text}");
        for (reason, rate) in
            [("over_rate", "--connect-rate"), ("source_over_rate", "--source-rate")]
        {
            let text = sentences(&Explanation { reason: reason.into(), ..answer.clone() });
            let command = format!("sallyport allow add 192.0.2.0/24 {rate} RATE. ");
            assert!(text.contains(&command) && text.contains("ban add 192.0.2.7/32"), "{text}");
        }
    }

    #[test]
    fn where_no_gate_answers_it_says_what_looks_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let asked =
            ask::<_, Explanation>(&folder.path().join("gate"), "gate", &GateRequest::Status);
        let said = looked_without(asked.unwrap_err(), "192.0.2.7".parse().unwrap()).to_string();
        assert!(said.starts_with("the gate does not run"), "{said}");
        assert!(said.ends_with("; sallyport doctor --from 192.0.2.7 looks without it"), "{said}");
        let refused = looked_without(AskError::Refused("no".into()), "192.0.2.7".parse().unwrap());
        assert_eq!(refused.to_string(), "no");
    }
}
