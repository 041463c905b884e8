//! How both processes are, second by second, whoever looks or not.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::Page;
use super::alerts::Alerts;
use super::entrance::Viewer;
use super::series::{EVERY, Lines, Series, Totals};
use crate::control::client::ask_within;
use crate::control::health::{Health, Judgement, judge};
use crate::control::wire::{GateRequest, GateStatus, RelayStatus};
use crate::net::routes::RouteState;

/// How long the gate may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was seen last, and the series.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    gate: Result<Option<Arc<GateStatus>>, String>,
    series: Series,
}

impl Default for Kept {
    fn default() -> Self {
        Self { gate: Err("the gate was not asked yet".to_owned()), series: Series::default() }
    }
}

impl Pulse {
    /// Asks the gate behind `socket` and looks at the relay once a second, for ever.
    pub(super) async fn beat(
        &self,
        socket: Option<&Path>,
        relay: &(dyn Fn() -> RelayStatus + Send + Sync),
    ) {
        let mut beats = interval(EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            beats.tick().await;
            let gate = match socket {
                None => Ok(None),
                Some(socket) => ask_within(PATIENCE, socket, "gate", &GateRequest::Status)
                    .await
                    .map(|status| Some(Arc::new(status)))
                    .map_err(|error| error.to_string()),
            };
            let relay = relay();
            let mut kept = self.kept();
            let known = gate.as_ref().ok().and_then(Option::as_deref);
            kept.series.add(Instant::now(), Totals::of(known, &relay), relay.sessions);
            kept.gate = gate;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything on the first view of the page.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    at: Timestamp,
    hostname: &'a str,
    version: &'static str,
    /// Who looks; none where the page asks for no login.
    viewer: Option<String>,
    health: Health,
    problems: Vec<String>,
    /// None: no gate is configured, or it does not answer.
    gate: Option<&'a GateStatus>,
    relay: RelayStatus,
    routes: Vec<RouteState>,
    alerts: Alerts,
    series: Lines,
}

/// Answers how everything is.
pub(super) async fn state(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
) -> Response {
    let shared = &page.shared;
    let relay = (shared.sources.relay)();
    let routes = shared.sources.routes.borrow().clone();
    let open = shared.sources.open.borrow().clone();
    let (gate, series) = {
        let kept = shared.pulse.kept();
        (kept.gate.clone(), kept.series.lines())
    };
    let said = gate.as_ref().map(Option::as_deref).map_err(String::as_str);
    let Judgement { health, problems } = judge(said, Ok(&relay));
    Json(Whole {
        at: Timestamp::now(),
        hostname: &shared.hostname,
        version: env!("CARGO_PKG_VERSION"),
        viewer: viewer.login,
        health,
        problems,
        gate: said.ok().flatten(),
        relay,
        routes: routes.list(),
        alerts: Alerts::of(&open),
        series,
    })
    .into_response()
}
