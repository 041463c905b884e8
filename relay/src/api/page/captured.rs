//! Captured mail: the list, one message for people, its source, its HTML and its parts.
//!
//! Other mail is not shown: it is its recipients' business. Who looks is written into the life of the message.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::Page;
use super::entrance::Viewer;
use super::letter::{self, HTML_POLICY, Heading, LETTER_MAX, Letter};
use super::refusal::Refusal;
use crate::history::Fact;
use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;
use crate::spool::{Newest, Place, StoreError, Summary};

/// The messages of one part of the list.
const MESSAGES: usize = 50;
/// The most headings that are remembered.
const HEADINGS_MAX: usize = 1000;

/// What a browser may do with a text or a part that it opens by itself: nothing.
const NOTHING: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// Which part of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Older {
    before: Option<MessageId>,
}

/// A part of the list.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    messages: Vec<Line>,
    has_more: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    summary: Summary,
    #[serde(flatten)]
    heading: Heading,
}

/// Answers with a part of the list, the newest first.
pub(super) async fn list(
    State(page): State<Page>,
    Query(Older { before }): Query<Older>,
) -> Result<Json<Listed>, Refusal> {
    let Newest { messages: found, has_more } =
        page.spool().newest_captured(before, MESSAGES).await?;
    let mut messages = Vec::with_capacity(found.len());
    for summary in found {
        let heading = heading(&page, summary.id).await;
        messages.push(Line { summary, heading });
    }
    Ok(Json(Listed { messages, has_more }))
}

/// Returns the heading of a message; an empty one if it cannot be read.
async fn heading(page: &Page, id: MessageId) -> Heading {
    let headings = || page.shared.headings.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(heading) = headings().get(&id) {
        return heading.clone();
    }
    let Ok(piece) = page.spool().read_piece(id, 0).await else { return Heading::default() };
    // Elsewhere, as all that was written by others: a fault of the parser costs this line and nothing else.
    let read = spawn_blocking(move || letter::heading(&piece.octets)).await;
    let heading = read.unwrap_or_default();
    let mut headings = headings();
    if headings.len() >= HEADINGS_MAX {
        headings.pop_first();
    }
    headings.insert(id, heading.clone());
    heading
}

/// A message for people, and its envelope.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    summary: Summary,
    envelope: Envelope,
    /// None: the message is too large to be taken apart.
    letter: Option<Letter>,
}

/// Answers with one message.
pub(super) async fn show(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<MessageId>,
) -> Result<Json<Shown>, Refusal> {
    let (summary, envelope) = find(&page, id).await?;
    let letter = match apart(&page, id, |raw| letter::letter(&raw)).await {
        Ok(letter) => letter,
        Err(Apart::TooLarge) => None,
        Err(Apart::Refused(refusal)) => return Err(refusal),
    };
    enter(&page, &viewer, id);
    Ok(Json(Shown { summary, envelope, letter }))
}

/// Answers with the HTML of a message.
pub(super) async fn html(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<MessageId>,
) -> Result<Response, Refusal> {
    find(&page, id).await?;
    let html = apart(&page, id, |raw| letter::html(&raw)).await?;
    let html = html.ok_or_else(|| Refusal::missing("the message has no HTML"))?;
    enter(&page, &viewer, id);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, HTML_POLICY),
    ];
    Ok((headers, html).into_response())
}

/// Answers with a part of a message, to be saved and never to be opened in place.
pub(super) async fn part(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path((id, number)): Path<(MessageId, usize)>,
) -> Result<Response, Refusal> {
    find(&page, id).await?;
    let part = apart(&page, id, move |raw| letter::part(&raw, number)).await?;
    let (name, octets) = part.ok_or_else(|| Refusal::missing("the message has no such part"))?;
    enter(&page, &viewer, id);
    Ok(saved("application/octet-stream", &name, octets.into()))
}

/// Answers with a message as it was taken, octet by octet.
pub(super) async fn source(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<MessageId>,
) -> Result<Response, Refusal> {
    find(&page, id).await?;
    enter(&page, &viewer, id);
    let pieces = stream::try_unfold(Some(0), move |next| {
        let page = page.clone();
        async move {
            let Some(number) = next else { return Ok::<_, StoreError>(None) };
            let piece = page.spool().read_piece(id, number).await?;
            Ok(Some((Bytes::from(piece.octets), piece.next)))
        }
    });
    Ok(saved("text/plain; charset=utf-8", &format!("{id}.eml"), Body::from_stream(pieces)))
}

/// Makes an answer that a browser saves under a name (RFC 6266, RFC 8187).
fn saved(kind: &'static str, name: &str, body: Body) -> Response {
    let mut escaped = String::from("attachment; filename*=UTF-8''");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing into a text never fails.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_SECURITY_POLICY, NOTHING.to_owned()),
        (header::CONTENT_DISPOSITION, escaped),
    ];
    (headers, body).into_response()
}

/// Writes down who looked.
fn enter(page: &Page, viewer: &Viewer, id: MessageId) {
    let Viewer { login, source } = viewer.clone();
    page.shared.sources.journal.history().enter(id, Fact::Viewed { login, source });
}

/// Finds a captured message.
async fn find(page: &Page, id: MessageId) -> Result<(Summary, Envelope), Refusal> {
    let details = page.spool().show(id).await?;
    match details.summary.place {
        Place::Captured => Ok((details.summary, details.envelope)),
        Place::Waiting | Place::Claimed | Place::Damaged | Place::Held => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "only captured mail is shown; this one is on its way: `sallyport queue show` tells",
        )),
    }
}

/// Why a message is not taken apart.
#[derive(Debug)]
pub(super) enum Apart {
    TooLarge,
    Refused(Refusal),
}

impl From<StoreError> for Apart {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Apart> for Refusal {
    fn from(apart: Apart) -> Self {
        match apart {
            Apart::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the message is too large to be taken apart: save its source",
            ),
            Apart::Refused(refusal) => refusal,
        }
    }
}

/// Does something with the whole of a message, when it is its turn.
pub(super) async fn apart<T: Send + 'static>(
    page: &Page,
    id: MessageId,
    work: impl FnOnce(Vec<u8>) -> T + Send + 'static,
) -> Result<T, Apart> {
    let closed = |problem: String| Apart::Refused(Refusal::unavailable(problem));
    let letters = Arc::clone(&page.shared.letters);
    let turn = letters.acquire_owned().await.map_err(|error| closed(error.to_string()))?;
    let (mut raw, mut next) = (Vec::new(), Some(0));
    while let Some(number) = next {
        let piece = page.spool().read_piece(id, number).await?;
        if raw.len() + piece.octets.len() > LETTER_MAX {
            return Err(Apart::TooLarge);
        }
        raw.extend_from_slice(&piece.octets);
        next = piece.next;
    }
    // The turn ends with the work: nothing stops it when whoever asked has gone away.
    let done = spawn_blocking(move || {
        let done = work(raw);
        drop(turn);
        done
    });
    let done = done.await;
    // Whoever wrote the message may have found a fault of the parser; that is not to be more than this.
    done.map_err(|_| closed("the message cannot be taken apart: save its source".to_owned()))
}
