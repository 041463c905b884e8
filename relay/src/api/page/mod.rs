//! The status page: both doors, spool, routes and troubles live in a browser, the allowlist, the queue, and
//! captured mail.
//!
//! It only reads: it answers GET and HEAD. Who may look is `entrance`'s business; what a hostile message
//! may do to who looks at it (nothing) is `letter`'s. The page itself lies in `web/`: one document, its
//! style and its script, served as they are.

mod alerts;
mod captured;
mod entrance;
mod letter;
mod lists;
mod pulse;
mod refusal;
mod series;
mod structure;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, middleware};
use tokio::sync::{Semaphore, watch};

use crate::alert::listing::Open;
use crate::api::health::Look;
use crate::config::{self, Config};
use crate::journal::Journal;
use crate::mail::message::MessageId;
use crate::net::login::Logins;
use crate::net::routes::Routes;
use crate::spool::Spool;
use letter::Heading;
use pulse::Pulse;
use refusal::Refusal;

/// How many messages are taken apart at a time: each is in memory then, and its parts.
const LETTERS_AT_ONCE: usize = 2;

/// What the page is made of. Clones share everything.
#[derive(Clone)]
pub struct Sources {
    /// The messages.
    pub spool: Arc<Spool>,
    /// Where it is written down who looked at a message.
    pub journal: Journal,
    /// Who checks passwords.
    pub logins: Logins,
    /// The routes of the configuration in force.
    pub routes: watch::Receiver<Arc<Routes>>,
    /// Tells how the relay is now, at once.
    pub relay: Look,
    /// What people were told and is not over.
    pub open: Open,
}

/// The status page under one configuration. Clones are the same page.
#[derive(Clone)]
pub struct Page {
    shared: Arc<Shared>,
}

struct Shared {
    settings: config::Page,
    hostname: String,
    /// The gate's control socket; none where no gate is configured.
    gate: Option<PathBuf>,
    sources: Sources,
    pulse: Pulse,
    /// Of messages that were listed lately.
    headings: Mutex<BTreeMap<MessageId, Heading>>,
    letters: Arc<Semaphore>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Page {
    /// Returns the page that the configuration asks for; none if it asks for none.
    #[must_use]
    pub fn new(config: &Config, sources: Sources) -> Option<Self> {
        let settings = config.page.clone()?;
        let is_guarded = !config.gate.interfaces.is_empty();
        Some(Self {
            shared: Arc::new(Shared {
                settings,
                hostname: config.hostname.clone(),
                gate: is_guarded.then(|| config.gate.socket.clone()),
                sources,
                pulse: Pulse::default(),
                headings: Mutex::default(),
                letters: Arc::new(Semaphore::new(LETTERS_AT_ONCE)),
            }),
        })
    }

    /// Looks at gate and relay once a second, for ever.
    pub async fn watch(&self) {
        let Shared { pulse, gate, sources, .. } = &*self.shared;
        pulse.beat(gate.as_deref(), &*sources.relay).await;
    }

    /// Returns what the server serves. Requests must name their [`Visitor`](super::server::Visitor).
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(|| file(HTML, include_str!("web/page.html"))))
            .route("/page.css", get(|| file(STYLE, include_str!("web/page.css"))))
            .route("/draw.js", get(|| file(SCRIPT, include_str!("web/draw.js"))))
            .route("/lists.js", get(|| file(SCRIPT, include_str!("web/lists.js"))))
            .route("/mail.js", get(|| file(SCRIPT, include_str!("web/mail.js"))))
            .route("/page.js", get(|| file(SCRIPT, include_str!("web/page.js"))))
            .route("/icon.svg", get(|| file("image/svg+xml", include_str!("web/icon.svg"))))
            .route("/api/state", get(pulse::state))
            .route("/api/allow", get(lists::allow))
            .route("/api/queue", get(lists::queue))
            .route("/api/captured", get(captured::list))
            .route("/api/captured/{id}", get(captured::show))
            .route("/api/captured/{id}/source", get(captured::source))
            .route("/api/captured/{id}/html", get(captured::html))
            .route("/api/captured/{id}/part/{number}", get(captured::part))
            .fallback(|| async { Refusal::missing("there is no such thing on the page") })
            .layer(middleware::from_fn_with_state(self.clone(), entrance::enter))
            .with_state(self.clone())
    }

    /// Returns what the configuration says of it.
    #[must_use]
    pub fn settings(&self) -> &config::Page {
        &self.shared.settings
    }

    fn hostname(&self) -> &str {
        &self.shared.hostname
    }

    fn logins(&self) -> &Logins {
        &self.shared.sources.logins
    }

    fn spool(&self) -> &Arc<Spool> {
        &self.shared.sources.spool
    }
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    std::future::ready(([(header::CONTENT_TYPE, kind)], text)).await
}

#[cfg(test)]
mod tests;
