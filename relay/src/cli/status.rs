//! `sallyport status`: both processes on one screen, and their health as an exit code.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gate::is_wanted;
use super::print::{self, Output, Paint};
use super::queue::at;
use crate::alert::listing::Listing;
use crate::alert::troubles::Trouble;
use crate::config::Reach;
use crate::control::client::{AskError, ask_soon};
use crate::control::health::{Judgement, judge};
use crate::control::wire::{GateRequest, GateStatus, RelayRequest, RelayStatus};
use crate::event::alert::Alert;
use crate::net::routes::RouteState;

mod layout;
pub(super) mod screen;

/// How long a process may take for each answer, as at `/health`: whoever checks waits for no process that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The detail that names the start since which nothing was heard of a trouble.
const UNHEARD: &str = "unheard-since";

/// What both processes say.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    /// How well the appliance serves.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What the gate says, if it does.
    pub gate: Option<GateStatus>,
    /// What the relay says, if it does.
    pub relay: Option<RelayStatus>,
    /// The routes; none if the relay does not tell.
    pub routes: Vec<RouteState>,
    /// What is wrong as people were told it; none if the relay does not tell.
    pub alerts: Vec<Alert>,
}

impl Whole {
    /// Returns what people were told, the worst first and of those the latest.
    pub fn worst_first(&self) -> Vec<&Alert> {
        let mut told: Vec<_> = self.alerts.iter().collect();
        told.sort_by_key(|alert| alert.urgency());
        told
    }
}

/// Prints the health of both processes. With `check` a word and the reasons for it, and the exit code tells, too:
/// 0 good, 1 degraded, 2 not serving.
#[must_use]
pub fn status(reach: &Reach, check: Check, output: Output) -> ExitCode {
    match (check, output) {
        (Check::Yes, _) => {
            let Judgement { health, problems } = ask_both(reach).0;
            print::say(health.word());
            problems.iter().for_each(print::say);
            return ExitCode::from(health as u8);
        }
        (Check::No, Output::Json) => print::json(&look(reach)),
        (Check::No, Output::Text) => {
            print::say(screen::screen(
                &look(reach),
                Paint::of_output(),
                Timestamp::now(),
                print::room(),
            ));
        }
    }
    ExitCode::SUCCESS
}

/// Whether the health is wanted as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `--check` was given.
    Yes,
    /// It was not.
    No,
}

/// Asks both processes how they are, side by side: a question each.
fn ask_both(reach: &Reach) -> (Judgement, Option<GateStatus>, Option<RelayStatus>) {
    let (gate, relay) = side_by_side(
        || ask_soon(PATIENCE, &reach.gate.socket, "gate", &GateRequest::Status),
        || ask_relay(&reach.relay.socket, &RelayRequest::Status),
    );
    let gate: Result<Option<GateStatus>, String> = match gate {
        Ok(gate) => Ok(Some(gate)),
        Err(_) if !is_wanted(&reach.gate) => Ok(None),
        Err(error) => Err(error.advice()),
    };
    let relay: Result<RelayStatus, String> = relay.map_err(|error| error.advice());
    let said_by_gate = gate.as_ref().map(Option::as_ref).map_err(String::as_str);
    let judgement = judge(said_by_gate, relay.as_ref().map_err(String::as_str));
    (judgement, gate.ok().flatten(), relay.ok())
}

/// Asks both processes how they are, and the relay how mail leaves and what people were told.
pub(super) fn look(reach: &Reach) -> Whole {
    let (judgement, gate, relay) = ask_both(reach);
    let (routes, alerts) = match relay {
        Some(_) => {
            let socket = &reach.relay.socket;
            let (routes, listing) = side_by_side(
                || ask_relay(socket, &RelayRequest::RouteList),
                || ask_relay::<Listing>(socket, &RelayRequest::AlertList),
            );
            let open = listing.map_or_else(|_| Vec::new(), |listing| listing.open);
            (routes.unwrap_or_default(), open.into_iter().map(told).collect())
        }
        None => (Vec::new(), Vec::new()),
    };
    Whole { judgement, gate, relay, routes, alerts }
}

/// Returns what was said of a trouble last; of one that nobody has heard of since a process started anew, with
/// the time of that among its details: it may be over.
pub fn told(trouble: Trouble) -> Alert {
    let Trouble { mut alert, unconfirmed, .. } = trouble;
    if let Some(since) = unconfirmed {
        alert.details.insert(UNHEARD.to_owned(), at(since));
    }
    alert
}

fn ask_relay<A: DeserializeOwned>(socket: &Path, question: &RelayRequest) -> Result<A, AskError> {
    ask_soon(PATIENCE, socket, "relay", question)
}

/// Does both at a time.
fn side_by_side<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().expect("asking does not panic"), other)
    })
}

#[cfg(test)]
mod tests;
