//! One telling by one channel, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::format::{self, Message};
use super::runner::Programs;
use super::{mail, webhook};
use crate::config::Config;
use crate::config::alerts::{Channel, ChannelKind, Webhook};
use crate::event::alert::Alert;
use crate::spool::Spool;

/// What became of a telling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The channel took it; its words.
    Taken(String),
    /// Not now.
    Later {
        /// Why.
        why: String,
        /// What the receiver asks to wait.
        after: Option<Duration>,
    },
    /// Never.
    Refused(String),
}

/// The relay can start no process any more when a reload brings the first channel that runs a program.
pub(super) const NO_PROGRAMS: &str =
    "the process that runs programs is started with the relay: restart the relay";

/// What channels need of the relay.
#[derive(Clone, Debug)]
pub(super) struct Means {
    pub config: Arc<Config>,
    pub spool: Arc<Spool>,
    /// The way to the process that runs programs; none: there is none.
    pub programs: Option<Programs>,
}

/// What goes to a channel.
#[derive(Clone, Debug)]
pub(super) enum Cargo {
    /// An alert.
    Alert(Alert),
    /// The open troubles, for a receiver that forgets them.
    Open(Vec<Alert>),
    /// That the relay lives, told again within so many seconds.
    Heartbeat(u64),
}

/// Tells a channel. It ends within the limits of its kind, at most 5 minutes.
pub(super) async fn tell(means: Means, channel: Channel, id: String, cargo: Cargo) -> Outcome {
    let now = Timestamp::now();
    let host = means.config.hostname.clone();
    match (channel.kind, cargo) {
        (ChannelKind::Webhook(hook), cargo) => post(hook, id, host, cargo, now).await,
        (ChannelKind::Mail(to), Cargo::Alert(alert)) => {
            mail::submit(&means, to, Message { id: &id, host: &host, alert: &alert }, now).await
        }
        (ChannelKind::Exec(command), Cargo::Alert(alert)) => {
            let message = Message { id: &id, host: &host, alert: &alert };
            match &means.programs {
                Some(programs) => programs.run(&channel.name, &command, message).await,
                None => Outcome::Later { why: NO_PROGRAMS.to_owned(), after: None },
            }
        }
        (ChannelKind::Mail(_) | ChannelKind::Exec(_), Cargo::Open(_) | Cargo::Heartbeat(_)) => {
            Outcome::Refused("only webhooks take that".to_owned())
        }
    }
}

async fn post(hook: Webhook, id: String, host: String, cargo: Cargo, now: Timestamp) -> Outcome {
    let format = hook.format;
    let posted = tokio::task::spawn_blocking(move || {
        let body = |routing_key: &str| -> Value {
            match &cargo {
                Cargo::Alert(alert) => {
                    format::body(format, Message { id: &id, host: &host, alert }, routing_key, now)
                }
                Cargo::Open(alerts) => format::open_troubles(&host, alerts.iter(), now),
                Cargo::Heartbeat(every) => format::heartbeat(format, &id, &host, *every, now),
            }
        };
        webhook::post(&hook, &id, now, webhook::REQUEST, body)
    });
    posted.await.unwrap_or_else(|fault| Outcome::Later { why: fault.to_string(), after: None })
}
