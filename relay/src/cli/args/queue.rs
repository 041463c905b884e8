//! `sallyport queue`: its verbs, and the ways to say which messages are meant.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::OutputChoice;
use crate::config::unit;
use crate::mail::message::MessageId;
use crate::spool::{Filter, Place};

/// Where a message may stand, as it is typed.
const PLACES: [(&str, Place); 5] = [
    ("waiting", Place::Waiting),
    ("in-delivery", Place::Claimed),
    ("held", Place::Held),
    ("captured", Place::Captured),
    ("damaged", Place::Damaged),
];

fn place(written: &str) -> Result<Place, String> {
    let found = PLACES.iter().find(|(name, _)| *name == written);
    found.map(|(_, place)| *place).ok_or_else(|| {
        let names: Vec<&str> = PLACES.iter().map(|(name, _)| *name).collect();
        format!("write {}", names.join(", "))
    })
}

/// Which messages are meant; all that is typed must hold.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "choice", multiple = true)]
pub struct Choice {
    /// Only messages whose sender contains this.
    #[arg(long, value_name = "PART", value_parser = NonEmptyStringValueParser::new())]
    pub sender: Option<String>,
    /// Only messages with a recipient that contains this.
    #[arg(long, value_name = "PART", value_parser = NonEmptyStringValueParser::new())]
    pub recipient: Option<String>,
    /// Only messages with a recipient in this domain.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub domain: Option<String>,
    /// Only messages of this login.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub login: Option<String>,
    /// Only messages of clients with this tag.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub tag: Option<String>,
    /// Only messages with a recipient who is still open and goes by this route.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub route: Option<String>,
    /// Only messages accepted longer ago than 30s, 5m, 8h, 7d.
    #[arg(long, value_parser = unit::time, value_name = "DURATION")]
    pub older: Option<Duration>,
    /// Only messages accepted since then.
    #[arg(long, value_parser = unit::time, value_name = "DURATION")]
    pub younger: Option<Duration>,
    /// Only messages that stand here: waiting, in-delivery, held, captured or damaged; may be given again.
    #[arg(long = "place", value_parser = place, value_name = "PLACE")]
    pub places: Vec<Place>,
}

impl Choice {
    /// Returns the filter that is meant at `now`.
    #[must_use]
    pub fn filter(self, now: Timestamp) -> Filter {
        let Self { sender, recipient, domain, login, tag, route, older, younger, places } = self;
        let before = |age| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let (accepted_before, accepted_since) = (older.map(before), younger.map(before));
        Filter {
            sender,
            recipient,
            domain,
            login,
            tag,
            route,
            accepted_before,
            accepted_since,
            places,
            tried_or_due_by: None,
        }
    }
}

/// Which messages a change is for: some by id, some by what they are, or all.
#[derive(Clone, Debug, Args)]
#[group(
    id = "which",
    required = true,
    multiple = true,
    args = [
        "ids", "all", "sender", "recipient", "domain", "login", "tag", "route", "older", "younger", "places",
    ]
)]
pub struct Which {
    /// The ids, as `queue list` shows them.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "choice", "dry_run"])]
    pub ids: Vec<MessageId>,
    /// All messages.
    #[arg(long)]
    pub all: bool,
    /// Which.
    #[command(flatten)]
    pub choice: Choice,
    /// Only say how many it would be; not with ids.
    #[arg(long)]
    pub dry_run: bool,
}

/// Which text of a message is printed.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
pub struct TextChoice {
    /// Print its header section as it is, and nothing else.
    #[arg(long, conflicts_with = "json")]
    pub headers: bool,
    /// Print the whole message as it is, and nothing else.
    #[arg(long, conflicts_with = "json")]
    pub body: bool,
}

/// Verbs of `sallyport queue`.
#[derive(Debug, Subcommand)]
pub enum QueueVerb {
    /// List messages, the oldest first.
    #[command(after_help = "Examples:\n  sallyport queue list --domain example.com --limit 50\n  \
                            sallyport queue list --place held --older 2h")]
    List {
        /// Which messages.
        #[command(flatten)]
        choice: Choice,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Show one message: envelope, recipients and what their last attempts brought.
    #[command(after_help = "Examples:\n  sallyport queue show 06G3T7K9Q2M4X\n  \
                            sallyport queue show 06G3T7K9Q2M4X --body > message.eml")]
    Show {
        /// The id.
        id: MessageId,
        /// Its text.
        #[command(flatten)]
        text: TextChoice,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Try messages again now: those that wait, or those named. A captured one cannot be tried. One that its
    /// client wants to leave later (FUTURERELEASE) goes early by its id only.
    #[command(after_help = "Examples:\n  sallyport queue retry --all\n  \
                            sallyport queue retry --domain example.com")]
    Retry(Which),
    /// Hold messages that wait: they are not tried until they are released, restarts or not.
    #[command(after_help = "Examples:\n  sallyport queue hold 06G3T7K9Q2M4X\n  \
                            sallyport queue hold --route smarthost --dry-run")]
    Hold(Which),
    /// Release messages that are held: they go on as if they had not been.
    #[command(after_help = "Example:\n  sallyport queue release --all")]
    Release(Which),
    /// Remove messages for good, without a report to anybody.
    #[command(after_help = "Examples:\n  sallyport queue drop 06G3T7K9Q2M4X\n  \
                            sallyport queue drop --sender news@ --older 2d --dry-run")]
    Drop(Which),
}
