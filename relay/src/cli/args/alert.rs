//! The verbs of alerts.

use std::path::PathBuf;

use clap::Subcommand;

use super::OutputChoice;

/// Verbs of `sallyport alert`.
#[derive(Debug, Subcommand)]
pub enum AlertVerb {
    /// Tell which spikes recorded samples give by the configuration at hand: what other values of [spikes]
    /// would have told.
    ///
    /// The gate keeps samples if spikes.record says how much; the watch begins knowing nothing.
    #[command(
        after_help = "Example:\n  sudo sallyport alert replay /var/lib/sallyport/gate/samples.before.txt \
                            /var/lib/sallyport/gate/samples.txt"
    )]
    Replay {
        /// The files, the oldest first.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
}
