//! `sallyport explain`: what the gate does with a source and why, and what the source may send.

mod session;

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;

use super::gate::is_wanted;
use super::print::{self, Output};
use super::queue::at;
use crate::config::Config;
use crate::control::client::{AskError, ask};
use crate::control::wire::{Explanation, GateRequest};

pub use session::Asked;
use session::Permitted;

/// Asks the loaded program about `source`; what its sessions may do comes from `config`, by the tag
/// that the gate names. On a host without a gate only the latter is told.
///
/// # Errors
///
/// If the gate does not run, or no port is guarded.
pub fn explain(
    config: &Config,
    source: IpAddr,
    port: Option<u16>,
    asked: &Asked,
    output: Output,
) -> Result<(), AskError> {
    let gate: Option<Explanation> = if is_wanted(config) {
        Some(ask(&config.gate.socket, "gate", &GateRequest::Explain { source, port })?)
    } else {
        None
    };
    let tag = gate.as_ref().and_then(|gate| gate.tag.as_deref());
    let policy = Permitted::of(config, tag, asked);
    match output {
        Output::Json => print::json(&Whole { gate: gate.as_ref(), policy: &policy }),
        Output::Text => {
            // A stranger sends nothing; who asks for a login wants to know all the same.
            let is_heard = gate.as_ref().is_none_or(is_heard) || asked.is_more();
            let said = gate.as_ref().map_or_else(|| NO_GATE.to_owned(), sentences);
            let policy = is_heard.then(|| policy.sentences());
            print::say([vec![said], policy.unwrap_or_default()].concat().join("\n"));
        }
    }
    Ok(())
}

/// What is said of every source where no gate stands.
pub(super) const NO_GATE: &str =
    "This host has no gate (gate.required = false, no interfaces): everybody reaches its ports.";

fn is_heard(gate: &Explanation) -> bool {
    gate.entry.is_some() || gate.verdict == "pass"
}

/// Both answers as one object.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    gate: Option<&'a Explanation>,
    policy: &'a Permitted,
}

/// Says in words what the program answered, why, and what to do about it.
fn sentences(answer: &Explanation) -> String {
    let Explanation { source, port, verdict, reason, entry, tag, generation, mode, .. } = answer;
    let mut lines = vec![format!(
        "{source} to port {port}: {verdict} ({reason}); mode {mode}, list {generation}"
    )];
    lines.push(match (entry, tag) {
        (None, _) if reason == "unguarded" => {
            "The gate does not guard this port: everybody reaches it.".to_owned()
        }
        (None, _) if mode == "open" => {
            "It is not listed, and the host is open (`sallyport detach`): start the gate to guard it."
                .to_owned()
        }
        (None, _) => format!(
            "It is not listed. To admit it: sallyport allow add {}",
            IpNetwork::from(*source)
        ),
        (Some(network), Some(tag)) => format!("It is listed by {network} with tag {tag}."),
        (Some(network), None) => format!("It is listed by {network} without a tag."),
    });
    lines.extend(answer.banned_until.map(|until| {
        format!(
            "It is banned until {}. `sallyport ban list` shows by which ban; to lift one of its \
             own: sallyport ban remove {source}",
            at(until)
        )
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (verdict, reason, mode, said) in [
            ("pass", "unguarded", "enforce", "The gate does not guard this port"),
            ("pass (observed)", "unlisted_syn", "open", "the host is open"),
        ] {
            let (verdict, reason, mode) = (verdict.into(), reason.into(), mode.into());
            let told = sentences(&Explanation { verdict, reason, mode, ..answer.clone() });
            assert!(told.contains(said) && !told.contains("allow add"), "{told}");
        }
        answer.entry = Some("192.0.2.0/24".parse().unwrap());
        answer.tag = Some("billing".into());
        answer.banned_until = Some(jiff::Timestamp::UNIX_EPOCH);
        let text = sentences(&answer);
        assert!(text.contains("listed by 192.0.2.0/24 with tag billing"), "{text}");
        assert!(text.contains("banned until 1970-01-01T00:00:00Z"), "{text}");
    }
}
