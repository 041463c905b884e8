//! What operators see of the room.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::silences::Silence;
use super::troubles::Trouble;
use crate::event::alert::Alert;

/// How long a channel may fail until that is a trouble of the appliance: by then it was tried six times.
const FAILS_LONG: Duration = Duration::from_secs(15 * 60);

/// The open troubles of now, in the order of their names; looking waits for nothing.
pub type Open = watch::Receiver<Arc<[Trouble]>>;

/// How each channel fares, in the order of the configuration; looking waits for nothing.
pub type Fares = watch::Receiver<Arc<[Fare]>>;

/// How a channel fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fare {
    /// Its name.
    pub channel: String,
    /// Since when something waits that it was told and did not take, or since when it did not take what it was told
    /// last; none if it took or refused for good whatever it was told.
    pub failing_since: Option<Timestamp>,
}

impl Fare {
    /// Says what somebody should know of a channel that has failed for long. Not why: its words may name what is
    /// secret, as an address of the web.
    #[must_use]
    pub fn trouble(&self, now: Timestamp) -> Option<String> {
        // A clock that was set back begins anew.
        let failing = Duration::try_from(now.duration_since(self.failing_since?)).ok()?;
        let (channel, minutes) = (&self.channel, failing.as_secs() / 60);
        let words = "`sallyport alert list` says why";
        (failing >= FAILS_LONG).then(|| {
            format!("alert channel {channel}: it has failed for {minutes} minutes: {words}")
        })
    }
}

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
    /// When the next of those is tried again that it was told and did not take; none: there are none.
    pub next_try: Option<Timestamp>,
    /// When it took something last, since the start.
    pub last_taken: Option<Timestamp>,
    /// Why it did not take what it was told last, or else a test; none if it took something since.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_trouble_when_it_has_failed_for_a_quarter_of_an_hour() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let fare = |failing_since| Fare { channel: "ops".to_owned(), failing_since };
        assert_eq!(fare(None).trouble(at(10_000)), None);
        assert_eq!(fare(Some(at(100))).trouble(at(999)), None);
        let said = fare(Some(at(100))).trouble(at(1_000)).unwrap();
        assert!(said.starts_with("alert channel ops: it has failed for 15 minutes"), "{said}");
    }
}
