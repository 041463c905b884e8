//! `sallyport queue …`: the messages in the spool.

mod show;

use std::path::Path;

use jiff::Timestamp;

use super::args::{QueueVerb, Which};
use super::print::{self, Output};
use crate::control::client::{AskError, ask};
use crate::control::wire::{self, Changed, Left, Meant, RelayRequest};
use crate::history::Act;
use crate::spool::{Filter, Page, Place, Stretch, Summary};

pub(super) use show::at;

/// The most ids of one question: so many fit into it.
const IDS_MAX: usize = 10_000;
/// The most messages that stay as they are and are named one by one.
const NAMED_MAX: usize = 20;

/// Does what a verb says, through the relay's socket.
///
/// # Errors
///
/// If the relay does not run, or refuses, or some of the messages stay as they are.
pub fn queue(socket: &Path, verb: QueueVerb) -> Result<(), AskError> {
    match verb {
        QueueVerb::List { choice, limit, output } => {
            list(socket, &choice.filter(Timestamp::now()), limit, output.form())
        }
        QueueVerb::Show { id, text, output } => show::show(socket, id, text, output.form()),
        QueueVerb::Retry(which) => change(socket, Act::Retry, which),
        QueueVerb::Hold(which) => change(socket, Act::Hold, which),
        QueueVerb::Release(which) => change(socket, Act::Release, which),
        QueueVerb::Drop(which) => change(socket, Act::Drop, which),
    }
}

fn messages(count: usize) -> String {
    print::count(count, "message")
}

/// Does something with messages, part by part: a million of them are not one question.
fn change(socket: &Path, act: Act, which: Which) -> Result<(), AskError> {
    let Which { ids, all: _, choice, dry_run } = which;
    let filter = choice.filter(Timestamp::now());
    if dry_run {
        let count = count(socket, act, &filter)?;
        print::say(format!("{} would be {}; nothing was done", messages(count), act.done()));
        return Ok(());
    }
    let (mut done, mut left) = (0, Vec::new());
    let mut enter = |changed: Changed| {
        done += changed.done;
        left.extend(changed.left);
        changed.next
    };
    for ids in ids.chunks(IDS_MAX) {
        let which = wire::Which::Ids(ids.to_vec());
        enter(ask(socket, "relay", &RelayRequest::QueueChange { act, which })?);
    }
    let mut stretch = ids.is_empty().then(Stretch::default);
    while let Some(part) = stretch {
        let which = wire::Which::Meant { filter: Box::new(filter.clone()), stretch: part };
        stretch = enter(ask(socket, "relay", &RelayRequest::QueueChange { act, which })?);
    }
    if done > 0 || left.is_empty() {
        print::say(format!("{} {}", messages(done), act.done()));
    }
    if left.is_empty() { Ok(()) } else { Err(AskError::Refused(why(&left))) }
}

fn count(socket: &Path, act: Act, filter: &Filter) -> Result<usize, AskError> {
    let (mut count, mut stretch) = (0, Some(Stretch::default()));
    while let Some(part) = stretch {
        let question = RelayRequest::QueueCount { act, filter: filter.clone(), stretch: part };
        let meant: Meant = ask(socket, "relay", &question)?;
        count += meant.messages;
        stretch = meant.next;
    }
    Ok(count)
}

/// Says why messages stay as they are.
fn why(left: &[Left]) -> String {
    let mut lines: Vec<&str> = left.iter().take(NAMED_MAX).map(|left| left.why.as_str()).collect();
    let more = left.len().saturating_sub(NAMED_MAX);
    let rest = format!("and {} more stay as they are", messages(more));
    if more > 0 {
        lines.push(&rest);
    }
    lines.join("\n")
}

/// Lists messages, page by page. One more than wanted is asked for, to know whether there are more.
fn list(socket: &Path, filter: &Filter, limit: usize, output: Output) -> Result<(), AskError> {
    let (mut found, mut stretch) = (Vec::new(), Some(Stretch::default()));
    while let Some(part) = stretch.filter(|_| found.len() <= limit) {
        let limit = limit + 1 - found.len();
        let question = RelayRequest::QueueList { filter: filter.clone(), stretch: part, limit };
        let page: Page = ask(socket, "relay", &question)?;
        found.extend(page.messages);
        stretch = page.next;
    }
    let are_all = found.len() <= limit;
    found.truncate(limit);
    match output {
        Output::Json => print::json(&found),
        Output::Text if found.is_empty() && are_all => print::say("no messages"),
        Output::Text => {
            let rows: Vec<_> = found.iter().map(row).collect();
            print::table(["ID", "ACCEPTED", "SIZE", "TRIES", "NEXT", "FROM", "TO"], &rows);
            if !are_all {
                print::say("… and more: narrow the list or raise --limit");
            }
        }
    }
    Ok(())
}

fn row(summary: &Summary) -> [String; 7] {
    [
        summary.id.to_string(),
        at(summary.accepted_at),
        summary.size_bytes.to_string(),
        summary.attempts.to_string(),
        standing(summary),
        format!("<{}>", summary.sender.as_deref().unwrap_or("?")),
        to(summary),
    ]
}

/// Names a recipient who waits, and says how many more do. Where nobody waits, or nobody knows who, it is the
/// first one.
fn to(summary: &Summary) -> String {
    let Summary { waiting, recipients, pending, .. } = summary;
    let first = waiting.first().or(recipients.first()).map_or("", String::as_str);
    match pending.saturating_sub(1) {
        0 => format!("<{first}>"),
        more => format!("<{first}> and {more} more"),
    }
}

fn standing(summary: &Summary) -> String {
    match (summary.place, summary.due_at) {
        (Place::Waiting, Some(due)) => at(due),
        (Place::Waiting, None) | (Place::Claimed, _) => "now".to_owned(),
        (Place::Held, _) => "held".to_owned(),
        (Place::Captured, _) => "captured".to_owned(),
        (Place::Damaged, _) => "damaged".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::message::MessageId;

    #[test]
    fn a_list_names_one_who_waits_and_how_many_more_do() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let summary = |recipients: &[&str], waiting: &[&str], pending| Summary {
            id: MessageId(1),
            place: Place::Waiting,
            accepted_at: Timestamp::UNIX_EPOCH,
            due_at: None,
            attempts: 1,
            size_bytes: 9,
            sender: None,
            recipients: names(recipients),
            waiting: names(waiting),
            pending,
        };
        for (named, wanted) in [
            (summary(&["a", "b", "c"], &["b"], 1), "<b>"),
            (summary(&["a", "b", "c"], &["b", "c"], 2), "<b> and 1 more"),
            (summary(&["a", "b"], &[], 0), "<a>"),
            (summary(&[], &[], 0), "<>"),
        ] {
            assert_eq!(to(&named), wanted);
        }
    }

    #[test]
    fn what_stays_as_it_is_is_named_up_to_a_limit() {
        let left = |count: u64| -> Vec<Left> {
            (0..count).map(|id| Left { id: MessageId(id), why: format!("{id}: held") }).collect()
        };
        assert_eq!(why(&left(2)), "0: held\n1: held");
        assert_eq!(why(&left(20)).lines().count(), 20);
        assert!(why(&left(21)).ends_with("19: held\nand 1 message more stay as they are"));
    }
}
