//! One message: what is known of it, or its text.

use std::io::{self, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::standing;
use crate::cli::args::TextChoice;
use crate::cli::print::{self, Output};
use crate::control::client::{AskError, ask};
use crate::control::wire::{RelayRequest, Text};
use crate::mail::came::Admission;
use crate::mail::message::MessageId;
use crate::spool::{Details, Standing};

/// Shows one message.
pub(super) fn show(
    socket: &Path,
    id: MessageId,
    text: TextChoice,
    output: Output,
) -> Result<(), AskError> {
    if text.headers || text.body {
        return read(socket, id, text);
    }
    let details: Details = ask(socket, "relay", &RelayRequest::QueueShow { id })?;
    match output {
        Output::Json => print::json(&details),
        Output::Text => facts(&details),
    }
    Ok(())
}

/// Prints the text of a message as it is, up to the empty line after its header section or to its end.
fn read(socket: &Path, id: MessageId, text: TextChoice) -> Result<(), AskError> {
    let (mut number, mut header) = (Some(0), Vec::new());
    while let Some(piece) = number {
        let question = RelayRequest::QueueRead { id, number: piece };
        let Text { base64, next } = ask(socket, "relay", &question)?;
        let octets = STANDARD.decode(base64);
        let octets = octets.map_err(|error| AskError::Refused(format!("{id}: {error}")))?;
        number = next;
        if text.body {
            // A reader that went away is not an error.
            let _ = io::stdout().lock().write_all(&octets);
            continue;
        }
        header.extend(octets);
        if let Some(end) = header.windows(4).position(|four| four == b"\r\n\r\n") {
            header.truncate(end + 2);
            number = None;
        }
    }
    let _ = io::stdout().lock().write_all(&header);
    Ok(())
}

/// Returns a time without its fraction of a second.
pub(in crate::cli) fn at(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn facts(details: &Details) {
    let Details { envelope, progress, .. } = details;
    let none = || "-".to_owned();
    print::table(["WHAT", "VALUE"], &rows(details));
    print::say("");
    let rows: Vec<[String; 4]> = envelope
        .recipients
        .iter()
        .zip(progress)
        .map(|(recipient, progress)| {
            let state = match progress.standing {
                Standing::Pending => "pending",
                Standing::Delivered => "delivered",
                Standing::Failed => "failed",
                Standing::Captured => "captured",
            };
            let last = progress.last.as_ref();
            [
                recipient.to_string(),
                state.to_owned(),
                last.map_or_else(none, |last| last.next_hop.clone()),
                last.map_or_else(none, |last| last.reply.clone()),
            ]
        })
        .collect();
    print::table(["RECIPIENT", "STATE", "NEXT HOP", "LAST REPLY"], &rows);
}

/// Returns what is known of the whole message, and of how it came.
fn rows(Details { summary, envelope, .. }: &Details) -> Vec<[String; 2]> {
    let none = || "-".to_owned();
    let mut rows: Vec<[String; 2]> = vec![
        ["message".into(), summary.id.to_string()],
        ["from".into(), format!("<{}>", envelope.sender)],
        ["login".into(), envelope.login.clone().unwrap_or_else(none)],
        ["tag".into(), envelope.tag.clone().unwrap_or_else(none)],
        ["client".into(), envelope.source.map_or_else(none, |source| source.to_string())],
        ["accepted".into(), at(summary.accepted_at)],
        ["size".into(), format!("{} octets", summary.size_bytes)],
        ["attempts".into(), summary.attempts.to_string()],
        ["next attempt".into(), standing(summary)],
    ];
    if let Some(came) = &envelope.came {
        let entry = came.entry.map(|Admission { network, passed, over_rate }| {
            format!("{network} ({passed} passed, {over_rate} over its rate)")
        });
        let name = came.server_name.as_ref().map(|name| format!(", for {name}"));
        let tls = came.tls.as_ref().map(|tls| format!("{tls}{}", name.unwrap_or_default()));
        let trace = envelope.trace.map(|context| context.trace.to_string());
        let known = [
            ("entry", entry),
            ("TLS", tls),
            ("proved by", came.mechanism.clone()),
            ("trace", trace),
        ];
        rows.extend(known.into_iter().filter_map(|(what, value)| Some([what.into(), value?])));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::came::Came;
    use crate::mail::envelope::{Body, Envelope, Terms};
    use crate::smtp::address::ReversePath;
    use crate::spool::{Place, Summary};

    fn details(came: Option<Came>) -> Details {
        let envelope = Envelope {
            sender: ReversePath::Null,
            recipients: Vec::new(),
            body: Body::SevenBit,
            login: Some("app".into()),
            tag: None,
            source: None,
            received_at: Timestamp::UNIX_EPOCH,
            terms: Terms::default(),
            trace: came.as_ref().map(|_| {
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap()
            }),
            came: came.map(Box::new),
        };
        let summary = Summary {
            id: MessageId(1),
            place: Place::Held,
            accepted_at: Timestamp::UNIX_EPOCH,
            due_at: None,
            attempts: 0,
            size_bytes: 9,
            sender: None,
            recipients: Vec::new(),
            waiting: Vec::new(),
            pending: 0,
        };
        Details { summary, envelope, progress: Vec::new() }
    }

    #[test]
    fn how_a_message_came_is_shown_as_far_as_it_is_known() {
        let came = Came {
            accepted_at: Timestamp::UNIX_EPOCH,
            listener: "[::]:2525".parse().unwrap(),
            peer: "192.0.2.7".parse().unwrap(),
            entry: Some(Admission {
                network: "192.0.2.0/24".parse().unwrap(),
                passed: 7,
                over_rate: 1,
            }),
            secured_at: None,
            tls: Some("TLSv1.3".into()),
            server_name: Some("relay.example.net".into()),
            logged_in_at: None,
            mechanism: None,
            earlier: 0,
        };
        let shown: Vec<String> =
            rows(&details(Some(came))).iter().map(|row| row.join(": ")).collect();
        assert_eq!(
            shown[9..],
            [
                "entry: 192.0.2.0/24 (7 passed, 1 over its rate)",
                "TLS: TLSv1.3, for relay.example.net",
                "trace: 4bf92f3577b34da6a3ce929d0e0e4736",
            ]
        );
        assert_eq!(rows(&details(None)).len(), 9, "a report of ours came by no connection");
    }
}
