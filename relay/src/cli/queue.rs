//! `sallyport queue …`: the messages in the spool.

use std::path::Path;

use jiff::Timestamp;

use super::args::{QueueVerb, Which};
use super::print::{self, Output};
use crate::control::client::{AskError, ask};
use crate::control::wire::RelayRequest;
use crate::spool::{Details, Filter, Page, Place, Standing, Summary};

/// Does what a verb says, through the relay's socket.
///
/// # Errors
///
/// If the relay does not run, or refuses.
pub fn queue(socket: &Path, verb: QueueVerb) -> Result<(), AskError> {
    match verb {
        QueueVerb::List { sender, recipient, login, limit, output } => {
            let filter = Filter { sender, recipient, login, ..Filter::default() };
            let page: Page = ask(socket, "relay", &RelayRequest::QueueList { filter, limit })?;
            list(&page, output.form());
        }
        QueueVerb::Show { id, output } => {
            let details: Details = ask(socket, "relay", &RelayRequest::QueueShow { id })?;
            show(&details, output.form());
        }
        QueueVerb::Retry { which: Which { ids, all } } => {
            let ids = (!all).then_some(ids);
            let count: usize = ask(socket, "relay", &RelayRequest::QueueRetry { ids })?;
            print::say(format!("{} due now", messages(count)));
        }
        QueueVerb::Drop { ids } => {
            let count: usize = ask(socket, "relay", &RelayRequest::QueueDrop { ids })?;
            print::say(format!("{} dropped", messages(count)));
        }
    }
    Ok(())
}

fn messages(count: usize) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

fn list(page: &Page, output: Output) {
    match output {
        Output::Json => print::json(&page.messages),
        Output::Text if page.messages.is_empty() && page.next.is_none() => {
            print::say("no messages");
        }
        Output::Text => {
            let rows: Vec<_> = page.messages.iter().map(row).collect();
            print::table(["ID", "ACCEPTED", "SIZE", "TRIES", "NEXT", "FROM", "TO"], &rows);
            if page.next.is_some() {
                print::say("… and more: narrow the list or raise --limit");
            }
        }
    }
}

fn row(summary: &Summary) -> [String; 7] {
    let more = (summary.pending as usize).saturating_sub(1);
    let first = summary.recipients.first().cloned().unwrap_or_default();
    [
        summary.id.to_string(),
        at(summary.accepted_at),
        summary.size_bytes.to_string(),
        summary.attempts.to_string(),
        standing(summary),
        format!("<{}>", summary.sender.as_deref().unwrap_or("?")),
        if more > 0 { format!("<{first}> and {more} more") } else { format!("<{first}>") },
    ]
}

fn standing(summary: &Summary) -> String {
    match (summary.place, summary.due_at) {
        (Place::Waiting, Some(due)) => at(due),
        (Place::Waiting, None) | (Place::Claimed, _) => "now".to_owned(),
        (Place::Damaged, _) => "damaged".to_owned(),
        (Place::Held, _) => "held".to_owned(),
        (Place::Captured, _) => "captured".to_owned(),
    }
}

/// Returns a time without its fraction of a second.
pub(super) fn at(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn show(details: &Details, output: Output) {
    if output == Output::Json {
        print::json(details);
        return;
    }
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
