//! What both processes say at a time, and what keys have them do.

use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::Timestamp;

use super::model::Act;
use crate::cli::explain::sentences_of;
use crate::cli::gate::change_line;
use crate::cli::status::{self, Whole};
use crate::config::Reach;
use crate::control::client::{AskError, ask_soon};
use crate::control::wire::{Change, Explanation, GateRequest};

/// How long the gate may take for what a key wants: meanwhile nothing new is shown.
const PATIENCE: Duration = Duration::from_secs(5);

/// What both processes say at a time.
#[derive(Debug)]
pub struct Sample {
    /// When they were asked.
    pub at: Timestamp,
    /// What they said.
    pub whole: Whole,
}

impl Sample {
    /// Asks both processes.
    pub fn ask(reach: &Reach) -> Self {
        Self { whole: status::look(reach), at: Timestamp::now() }
    }
}

/// Has the gate do what a key said; returns what came of it, a line or a few.
pub fn act(reach: &Reach, act: &Act) -> String {
    let done = match act {
        Act::Quit => return String::new(),
        Act::Change(change) => changed(reach, &change.request()),
        Act::Explain(network) => explain(reach, *network),
    };
    done.unwrap_or_else(|problem| match problem {
        AskError::Silent { .. } | AskError::Hangs { .. } => {
            format!("{problem}; it may yet do it: sallyport audit tells")
        }
        AskError::NotRunning { .. }
        | AskError::Socket { .. }
        | AskError::Answer { .. }
        | AskError::Refused(_) => problem.to_string(),
    })
}

fn changed(reach: &Reach, request: &GateRequest) -> Result<String, AskError> {
    let changes: Vec<Change> = ask_soon(PATIENCE, &reach.gate.socket, "gate", request)?;
    let lines: Vec<_> = changes.iter().map(change_line).collect();
    Ok(lines.join("; "))
}

fn explain(reach: &Reach, network: IpNetwork) -> Result<String, AskError> {
    let request = GateRequest::Explain { source: network.network(), port: None };
    let found: Explanation = ask_soon(PATIENCE, &reach.gate.socket, "gate", &request)?;
    Ok(sentences_of(&found, network))
}
