//! `sallyport trace`: the life of one message as a story, from the lines that the history kept.

mod story;

use crate::config::Reach;
use crate::control::client::{AskError, ask};
use crate::control::wire::RelayRequest;
use crate::history::{self, Cursor, Found, Line};
use crate::mail::message::MessageId;

use super::print::{self, Output};

/// Tells the life of a message: asks the relay, or reads the files if that does not run or hangs.
///
/// # Errors
///
/// If nothing is known of the message, no history is kept, or the caller may not read it.
pub fn trace(reach: &Reach, id: MessageId, output: Output) -> anyhow::Result<()> {
    let mut lines: Vec<Line> = Vec::new();
    let (mut from, mut unread) = (None, 0);
    loop {
        let Found { lines: found, unread: more, next } = part(reach, id, from)?;
        lines.extend(found);
        unread += more;
        match next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    if !lines.iter().any(|line| line.id == Some(id)) {
        let days = reach.history.keep.as_secs() / (24 * 3600);
        anyhow::bail!(
            "{id}: nothing is known of such a message: it is older than {days} days, or the id is mistyped"
        );
    }
    if unread > 0 {
        // Beside the story, or the JSON, and not in it.
        eprintln!(
            "sallyport: {unread} lines of it cannot be read: a later version wrote them, or a crash cut them off"
        );
    }
    // Two who tell of one moment may have come to the buffer the other way round.
    lines.sort_by_key(|line| line.at);
    match output {
        Output::Json => print::json(&lines),
        Output::Text => story::tell(id, &lines),
    }
    Ok(())
}

fn part(reach: &Reach, id: MessageId, from: Option<Cursor>) -> anyhow::Result<Found> {
    match ask(&reach.relay.socket, "relay", &RelayRequest::Trace { id, from }) {
        Ok(found) => Ok(found),
        Err(stopped @ (AskError::NotRunning { .. } | AskError::Hangs { .. })) => {
            let folder = &reach.history.path;
            history::search(folder, id, from).map_err(|error| {
                let folder = folder.display();
                anyhow::anyhow!("{stopped}; its history in {folder} cannot be read either: {error}")
            })
        }
        Err(error) => Err(error.into()),
    }
}
