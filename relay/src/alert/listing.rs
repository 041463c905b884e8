//! What operators see of the room.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::silences::Silence;
use super::troubles::Trouble;
use crate::event::alert::Alert;

/// The open troubles of now, in the order of their names; looking waits for nothing.
pub type Open = watch::Receiver<Arc<[Trouble]>>;

/// How all this stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listing {
    /// What is wrong now.
    pub open: Vec<Trouble>,
    /// What was told last, the newest first.
    pub recent: Vec<Alert>,
    /// What nobody wants to hear of.
    pub silences: Vec<Silence>,
    /// Who is told.
    pub channels: Vec<ChannelState>,
    /// Alerts for which there was no room since the start.
    pub lost: u64,
}

/// How a channel stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChannelState {
    /// Its name.
    pub name: String,
    /// `webhook`, `mail`, `exec` or `journal`.
    pub kind: String,
    /// Alerts that it has not taken yet.
    pub waiting: usize,
    /// When it took something last, since the start.
    pub last_taken: Option<Timestamp>,
    /// Why it did not take what it was told last; none if it did.
    pub fault: Option<String>,
    /// When it failed last, since the start.
    pub last_fault: Option<Timestamp>,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tested {
    /// The channel.
    pub channel: String,
    /// What it is.
    pub kind: String,
    /// Whether it took the test.
    pub taken: bool,
    /// What it said.
    pub words: String,
}
