//! What both processes say at a time, and what keys have them do.

use std::net::IpAddr;

use jiff::Timestamp;

use super::model::Act;
use crate::cli::explain::sentences;
use crate::cli::gate::change_line;
use crate::cli::status;
use crate::config::Config;
use crate::control::client::{AskError, ask};
use crate::control::health::Judgement;
use crate::control::wire::{Change, Explanation, GateRequest, GateStatus, RelayStatus};
use crate::event::alert::Alert;
use crate::net::routes::RouteState;

/// What both processes say at a time.
#[derive(Debug)]
pub struct Sample {
    /// When they were asked.
    pub at: Timestamp,
    /// How well the appliance serves.
    pub judgement: Judgement,
    /// What the gate says, if it does.
    pub gate: Option<GateStatus>,
    /// What the relay says, if it does.
    pub relay: Option<RelayStatus>,
    /// The routes; none if the relay does not say.
    pub routes: Vec<RouteState>,
    /// What is wrong as people were told it; none if the relay does not say.
    pub alerts: Vec<Alert>,
}

impl Sample {
    /// Asks both processes.
    pub fn ask(config: &Config) -> Self {
        let status::Whole { health, problems, gate, relay, routes, alerts } = status::look(config);
        let judgement = Judgement { health, problems };
        Self { at: Timestamp::now(), judgement, gate, relay, routes, alerts }
    }
}

/// Has the gate do what a key said; returns what came of it, a line or a few.
pub fn act(config: &Config, act: &Act) -> String {
    let done = match act {
        Act::Quit => return String::new(),
        Act::Change(change) => changed(config, &change.request()),
        Act::Explain(source) => explain(config, *source),
    };
    done.unwrap_or_else(|problem| problem.to_string())
}

fn changed(config: &Config, request: &GateRequest) -> Result<String, AskError> {
    let changes: Vec<Change> = ask(&config.gate.socket, "gate", request)?;
    let lines: Vec<_> = changes.iter().map(change_line).collect();
    Ok(lines.join("; "))
}

fn explain(config: &Config, source: IpAddr) -> Result<String, AskError> {
    let request = GateRequest::Explain { source, port: None };
    let found: Explanation = ask(&config.gate.socket, "gate", &request)?;
    Ok(sentences(&found))
}
