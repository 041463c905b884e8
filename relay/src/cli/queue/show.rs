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
    let Details { summary, envelope, progress } = details;
    let none = || "-".to_owned();
    let facts: [[String; 2]; 9] = [
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
    print::table(["WHAT", "VALUE"], &facts);
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
