//! `sallyport explain`: what the gate does with a source, and why.

use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;

use super::print::{self, Output};
use super::queue::at;
use crate::control::client::{AskError, ask};
use crate::control::wire::{Explanation, GateRequest, SessionPolicy};

/// Asks the loaded program.
///
/// # Errors
///
/// If the gate does not run, or no port is guarded.
pub fn explain(
    socket: &Path,
    source: IpAddr,
    port: Option<u16>,
    output: Output,
) -> Result<(), AskError> {
    let answer: Explanation = ask(socket, "gate", &GateRequest::Explain { source, port })?;
    match output {
        Output::Json => print::json(&answer),
        Output::Text => print::say(sentences(&answer)),
    }
    Ok(())
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
    lines.extend(answer.session.as_ref().map(session));
    lines.join("\n")
}

/// Says what a session may do.
fn session(policy: &SessionPolicy) -> String {
    if !policy.is_tagged {
        return "No policy has its tag: what its login permits decides alone.".to_owned();
    }
    let rate = policy.rate.as_ref().map(|rate| format!(", {rate} recipients"));
    let route = policy.route.as_ref().map(|route| format!(", by route {route}"));
    format!(
        "Its sessions may send as {}{}{}, as far as their login permits that too.",
        if policy.senders.is_empty() { "nobody".to_owned() } else { policy.senders.join(", ") },
        rate.unwrap_or_default(),
        route.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_names_verdict_reason_entry_policy_and_remedy() {
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
            session: None,
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
        answer.session = Some(SessionPolicy {
            is_tagged: true,
            senders: vec!["@billing.example.net".into(), "<>".into()],
            rate: Some("600/min".into()),
            route: Some("smarthost".into()),
        });
        let text = sentences(&answer);
        assert!(text.contains("listed by 192.0.2.0/24 with tag billing"), "{text}");
        assert!(text.contains("banned until 1970-01-01T00:00:00Z"), "{text}");
        let policy = "as @billing.example.net, <>, 600/min recipients, by route smarthost, as far";
        assert!(text.contains(policy), "{text}");
        answer.session =
            Some(SessionPolicy { is_tagged: false, senders: Vec::new(), rate: None, route: None });
        assert!(sentences(&answer).contains("No policy has its tag"));
    }
}
