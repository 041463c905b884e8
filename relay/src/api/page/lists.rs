//! The allowlist and the queue, a part at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::Page;
use super::refusal::Refusal;
use crate::control::client::ask_within;
use crate::control::wire::{AllowPage, Entry, GateRequest};
use crate::mail::message::MessageId;
use crate::spool::{self, Filter, Place, Stretch};

/// The entries of one part.
const ENTRIES: usize = 100;
/// The messages of one part.
const MESSAGES: usize = 100;
/// The longest text to look for, octets.
const SOUGHT_MAX: usize = 256;
/// How long the gate may take to list entries.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entries {
    /// A part of network, tag or note, or an address.
    find: Option<String>,
    /// How many are passed over.
    #[serde(default)]
    from: usize,
}

/// A part of the allowlist, and who the users are that added to it.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    entries: Vec<Entry>,
    found: usize,
    from: usize,
    /// The names of users by their numbers.
    users: BTreeMap<u32, String>,
}

/// Answers with a part of the allowlist.
pub(super) async fn allow(
    State(page): State<Page>,
    Query(Entries { find, from }): Query<Entries>,
) -> Result<Json<Listed>, Refusal> {
    let Some(socket) = &page.shared.gate else {
        return Err(Refusal::unavailable("no gate is configured: gate.interfaces names none"));
    };
    let find = sought(find)?;
    let question = GateRequest::AllowPage { find, from, limit: ENTRIES };
    let asked = ask_within(PATIENCE, socket, "gate", &question).await;
    let AllowPage { entries, found } =
        asked.map_err(|error| Refusal::unavailable(error.to_string()))?;
    let uids: Vec<u32> = entries.iter().filter_map(|entry| entry.added_by_uid).collect();
    let users = spawn_blocking(move || names(uids)).await.unwrap_or_default();
    Ok(Json(Listed { entries, found, from, users }))
}

/// Looks up the names of users. May block on the system's databases.
fn names(mut uids: Vec<u32>) -> BTreeMap<u32, String> {
    uids.sort_unstable();
    uids.dedup();
    let name = |uid: u32| Some((uid, User::from_uid(Uid::from_raw(uid)).ok()??.name));
    uids.into_iter().filter_map(name).collect()
}

/// Which messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Messages {
    #[serde(default)]
    by: Field,
    find: Option<String>,
    place: Option<Place>,
    after: Option<MessageId>,
    up_to: Option<MessageId>,
}

/// What is looked for a text.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Field {
    #[default]
    Recipient,
    Sender,
    Domain,
    Login,
    Tag,
}

/// Answers with a part of the queue.
pub(super) async fn queue(
    State(page): State<Page>,
    Query(Messages { by, find, place, after, up_to }): Query<Messages>,
) -> Result<Json<spool::Page>, Refusal> {
    let text = sought(find)?;
    let mut filter = Filter { places: place.into_iter().collect(), ..Filter::default() };
    match by {
        Field::Recipient => filter.recipient = text,
        Field::Sender => filter.sender = text,
        Field::Domain => filter.domain = text,
        Field::Login => filter.login = text,
        Field::Tag => filter.tag = text,
    }
    Ok(Json(page.spool().list(filter, Stretch { after, up_to }, MESSAGES).await?))
}

/// Returns the text to look for; none where it is empty.
fn sought(text: Option<String>) -> Result<Option<String>, Refusal> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match text {
        Some(text) if text.len() > SOUGHT_MAX => {
            let problem = format!("a text to look for has at most {SOUGHT_MAX} octets");
            Err(Refusal::new(StatusCode::BAD_REQUEST, problem))
        }
        text => Ok(text),
    }
}
