//! `sallyport allow|ban|explain …`: what is asked of the gate.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnetwork::IpNetwork;

use super::args::{AllowVerb, BanVerb};
use super::print::{self, Output};
use super::queue::at;
use crate::control::client::{AskError, ask};
use crate::control::wire::{Ban, Change, Did, Entry, Explanation, GateRequest};

/// Does what a verb of `sallyport allow` says.
///
/// # Errors
///
/// If the gate does not run, or refuses; then nothing was changed.
pub fn allow(socket: &Path, verb: AllowVerb) -> Result<(), AskError> {
    match verb {
        AllowVerb::Add { networks, tag, ttl, note } => {
            let ttl_ms = ttl.map(millis);
            change(socket, &GateRequest::AllowAdd { networks, tag, note, ttl_ms })?;
        }
        AllowVerb::Remove { networks } => {
            change(socket, &GateRequest::AllowRemove { networks })?;
        }
        AllowVerb::List { output } => {
            let entries: Vec<Entry> = ask(socket, "gate", &GateRequest::AllowList)?;
            list(&entries, output.form());
        }
    }
    Ok(())
}

/// Does what a verb of `sallyport ban` says.
///
/// # Errors
///
/// As [`allow`].
pub fn ban(socket: &Path, verb: BanVerb) -> Result<(), AskError> {
    match verb {
        BanVerb::Add { networks, ttl, note } => {
            let ttl_ms = millis(ttl);
            change(socket, &GateRequest::BanAdd { networks, ttl_ms, note })?;
        }
        BanVerb::Remove { networks } => {
            change(socket, &GateRequest::BanRemove { networks })?;
        }
        BanVerb::List { output } => {
            let bans: Vec<Ban> = ask(socket, "gate", &GateRequest::BanList)?;
            list_bans(&bans, output.form());
        }
    }
    Ok(())
}

/// `sallyport explain`: asks the loaded program.
///
/// # Errors
///
/// If the gate does not run, or the port is not guarded.
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Asks for a change and prints a line a network.
fn change(socket: &Path, request: &GateRequest) -> Result<(), AskError> {
    let changes: Vec<Change> = ask(socket, "gate", request)?;
    for change in changes {
        let did = match change.did {
            Did::Added => "added",
            Did::Updated => "updated",
            Did::Unchanged => "unchanged",
            Did::Removed => "removed",
        };
        let remark = change.remark.as_ref().map(|remark| format!(" ({remark})"));
        print::say(format!("{} {did}{}", change.cidr, remark.unwrap_or_default()));
    }
    Ok(())
}

fn list(entries: &[Entry], output: Output) {
    if output == Output::Json {
        print::json(&entries);
        return;
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            [
                entry.cidr.to_string(),
                entry.tag.clone().unwrap_or_else(none),
                entry.until.map_or_else(none, at),
                entry.connections.to_string(),
                origin(entry),
                entry.note.clone().unwrap_or_else(none),
            ]
        })
        .collect();
    print::table(["NETWORK", "TAG", "UNTIL", "CONNECTS", "FROM", "NOTE"], &rows);
}

fn none() -> String {
    "-".to_owned()
}

fn origin(entry: &Entry) -> String {
    match (entry.declared_in_line, entry.added_by_uid, entry.added_at) {
        (Some(line), _, _) => format!("configuration, line {line}"),
        (None, Some(uid), Some(time)) => format!("uid {uid}, {}", at(time)),
        (None, _, _) => none(),
    }
}

fn list_bans(bans: &[Ban], output: Output) {
    if output == Output::Json {
        print::json(&bans);
        return;
    }
    let rows: Vec<_> = bans
        .iter()
        .map(|ban| {
            let note = ban.note.clone().unwrap_or_else(none);
            [ban.cidr.to_string(), at(ban.until), format!("uid {}", ban.by_uid), note]
        })
        .collect();
    print::table(["NETWORK", "UNTIL", "BY", "NOTE"], &rows);
}

/// Says in words what the program answered, why, and what to do about it.
fn sentences(answer: &Explanation) -> String {
    let Explanation { source, port, verdict, reason, entry, tag, banned_until } = answer;
    let mut lines = vec![format!("{source} to port {port}: {verdict} ({reason})")];
    lines.push(match (entry, tag) {
        (None, _) => format!(
            "It is not listed. To admit it: sallyport allow add {}",
            IpNetwork::from(*source)
        ),
        (Some(network), Some(tag)) => format!("It is listed by {network} with tag {tag}."),
        (Some(network), None) => format!("It is listed by {network} without a tag."),
    });
    lines.extend(banned_until.map(|until| {
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
        };
        assert_eq!(
            sentences(&answer),
            "192.0.2.7 to port 2525: drop (unlisted_syn)\n\
             It is not listed. To admit it: sallyport allow add 192.0.2.7/32"
        );
        answer.entry = Some("192.0.2.0/24".parse().unwrap());
        answer.tag = Some("billing".into());
        answer.banned_until = Some(jiff::Timestamp::UNIX_EPOCH);
        let text = sentences(&answer);
        assert!(text.contains("listed by 192.0.2.0/24 with tag billing"), "{text}");
        assert!(text.contains("banned until 1970-01-01T00:00:00Z"), "{text}");
    }
}
