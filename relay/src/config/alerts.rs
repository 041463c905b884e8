//! `[alerts]`: who is told of what, and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::alert::{Alert, Severity};
use crate::event::pattern::Pattern;
use crate::smtp::address::Address;

/// The most channels.
pub const CHANNELS_MAX: usize = 32;

/// `[alerts]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    /// Whether what is told stands in the journal too, beside the events that it comes from.
    pub journal: bool,
    /// How often an open trouble is told again; none: never.
    pub remind: Option<Duration>,
    /// For how long an alert is tried that a channel does not take.
    pub keep: Duration,
    /// Where alerts go; at most [`CHANNELS_MAX`], no two of the same name.
    pub channels: Vec<Channel>,
}

/// One way to tell people.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name, for people: at most 64 octets.
    pub name: String,
    /// The least severity that it takes.
    pub min_severity: Severity,
    /// The classes that it takes; none: nothing but the heartbeat.
    pub classes: Vec<Pattern>,
    /// What it is.
    pub kind: ChannelKind,
}

impl Channel {
    /// Tells whether it takes an alert.
    #[must_use]
    pub fn takes(&self, alert: &Alert) -> bool {
        alert.severity >= self.min_severity && self.classes.iter().any(|one| one.means(alert))
    }
}

/// What a channel is.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelKind {
    /// `[[alerts.webhook]]`.
    Webhook(Webhook),
    /// `[[alerts.mail]]`: the mailboxes; at least one.
    Mail(Vec<Address>),
    /// `[[alerts.exec]]`.
    Exec(Exec),
}

impl ChannelKind {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Mail(_) => "mail",
            Self::Exec(_) => "exec",
        }
    }
}

/// An address on the web that takes alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to, `https://…` or `http://…`.
    pub url: String,
    /// What it is told in.
    pub format: WebhookFormat,
    /// The file of the key that signs what is told; for PagerDuty, of the routing key.
    pub secret_file: Option<PathBuf>,
    /// The authorities that may sign the receiver's certificate; none: the public ones.
    pub ca_file: Option<PathBuf>,
    /// The file of what goes with each request as its field Authorization.
    pub authorization_file: Option<PathBuf>,
    /// How often it is told that the relay lives.
    pub heartbeat: Option<Duration>,
}

/// What a webhook is told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFormat {
    /// The alert as it is.
    Json,
    /// What Slack's incoming webhooks take.
    Slack,
    /// What Microsoft Teams takes: a card.
    Teams,
    /// The events of PagerDuty, version 2.
    PagerDuty,
    /// What Alertmanager takes from Prometheus.
    Alertmanager,
}

/// A program that is run for each alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The program and its arguments; at least one, the first an absolute path.
    pub command: Vec<String>,
    /// How long it may take; then it and its children are killed.
    pub time_limit: Duration,
}
