//! The verbs of `sallyport route`.

use clap::Subcommand;

use super::OutputChoice;

/// Verbs of `sallyport route`.
#[derive(Debug, Subcommand)]
pub enum RouteVerb {
    /// Show how every route stands: its hosts, their health and what they carried, connections, rate.
    #[command(after_help = "Example:\n  sallyport route list --json")]
    List {
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Hold the mail of a route back until it is resumed, also over a restart. Nothing bounces meanwhile.
    #[command(
        after_help = "Example:\n  sallyport route suspend smarthost --note \"they move today\""
    )]
    Suspend {
        /// The route.
        name: String,
        /// A remark for people: at most 256 octets.
        #[arg(long)]
        note: Option<String>,
    },
    /// Let the mail of a route go, at once. Ends a suspension by a refused login too.
    #[command(after_help = "Example:\n  sallyport route resume smarthost")]
    Resume {
        /// The route.
        name: String,
    },
}
