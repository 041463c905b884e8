//! `/metrics`: everything that is counted, as text for Prometheus.
//!
//! The gate's counters come from the pinned tables, so they are told while its process is dead too; what only
//! that process knows is asked of it. One scrape is answered at a time.

mod alerts;
mod certificates;
mod gate;
mod mail;
mod process;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};

use super::health::{Gate, Look};
use crate::alert::listing::{Fares, Open};
use crate::control::health::{Health, Judgement, judge};
use crate::control::wire::GateStatus;
use crate::gate::Survey;
use crate::meter::Meter;
use crate::meter::catalogue::{BUILD, HEALTH, SESSIONS};
use crate::meter::text::{CONTENT_TYPE, Text};
use crate::net::routes::Routes;
use crate::spool::Spool;
use certificates::Certificates;
use gate::Totals;

/// Reads what the gate counted, with this many of its busiest entries; none where no gate stands. It may take
/// some hundred milliseconds.
pub type Count = Arc<dyn Fn(usize) -> Option<Survey> + Send + Sync>;

/// What the page is made of.
pub struct Sources {
    /// Tells how the relay is.
    pub relay: Look,
    /// The gate's process.
    pub gate: Arc<Gate>,
    /// What the gate counted.
    pub survey: Count,
    /// How many entries of the allowlist have series of their own.
    pub entries: usize,
    /// The messages.
    pub spool: Arc<Spool>,
    /// The routes of the configuration in force.
    pub routes: watch::Receiver<Arc<Routes>>,
    /// What the relay counted.
    pub meter: Arc<Meter>,
    /// What people were told and is not over.
    pub open: Open,
    /// How the channels of alerts fare.
    pub fares: Fares,
    /// The files of certificates.
    pub certificates: Vec<PathBuf>,
    /// When the process started.
    pub started_at: Timestamp,
}

/// The sources, and what is kept from one scrape to the next.
struct Page {
    sources: Sources,
    totals: std::sync::Mutex<Totals>,
    certificates: Certificates,
    turn: Mutex<()>,
}

/// Returns the page `/metrics`.
pub fn page(mut sources: Sources) -> Router {
    let certificates = Certificates::of(std::mem::take(&mut sources.certificates));
    let totals = std::sync::Mutex::default();
    let page = Page { sources, totals, certificates, turn: Mutex::default() };
    Router::new().route("/metrics", get(metrics)).with_state(Arc::new(page))
}

async fn metrics(State(page): State<Arc<Page>>) -> Response {
    let gate = page.sources.gate.status().await;
    let turn = Arc::clone(&page);
    let _turn = turn.turn.lock().await;
    // Reading the tables of a long list, the disk and the certificates may all take their time.
    let written = tokio::task::spawn_blocking(move || page.write(&gate)).await;
    match written {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Page {
    fn write(&self, gate: &Result<Option<Arc<GateStatus>>, String>) -> String {
        let (sources, now) = (&self.sources, Timestamp::now());
        let (mut text, relay) = (Text::default(), (sources.relay)());
        let said_by_gate = gate.as_ref().map(Option::as_deref).map_err(String::as_str);
        let Judgement { health, .. } = judge(said_by_gate, Ok(&relay));
        text.rows(&BUILD).row(&[env!("CARGO_PKG_VERSION")], 1);
        text.rows(&HEALTH).states(&[], &HEALTHS.map(word), word(health));
        gate::write_status(&mut text, said_by_gate);
        if let Some(survey) = (sources.survey)(sources.entries) {
            let mut totals = self.totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            gate::write_survey(&mut text, &survey, &mut totals);
        }
        alerts::write_open(&mut text, &sources.open.borrow().clone());
        alerts::write_channels(&mut text, &sources.fares.borrow().clone());
        text.one(&SESSIONS, relay.sessions);
        sources.meter.write(&mut text);
        let routes = Arc::clone(&sources.routes.borrow());
        mail::write_routes(&mut text, &routes.list_with(&sources.spool));
        mail::write_spool(&mut text, &sources.spool, now);
        self.certificates.write(&mut text);
        process::write(&mut text, sources.started_at);
        text.into_string()
    }
}

const HEALTHS: [Health; 3] = [Health::Good, Health::Degraded, Health::NotServing];

/// Returns the label of a health.
const fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Degraded => "degraded",
        Health::NotServing => "not-serving",
    }
}
