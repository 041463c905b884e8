//! The verbs of the log of messages.

use clap::Subcommand;

use super::OutputChoice;

/// Verbs of `sallyport spool`.
#[derive(Debug, Subcommand)]
pub enum SpoolVerb {
    /// Read every record of the log and say what is sound, what counts no more and what is damaged.
    ///
    /// While the relay runs its log is read and never changed. Exit code 0: nothing is damaged.
    #[command(after_help = "Examples:\n  sallyport spool check --json\n  systemctl stop \
                            sallyport-relay && sallyport spool check --mend")]
    Check {
        /// Copy on what is sound, set damaged files aside and take messages that cannot be read out of
        /// the queue; what is left of them is kept. A file whose head is lost twice over is set aside
        /// whole, with the messages in it. The relay must not run.
        #[arg(long)]
        mend: bool,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Have the relay give back the space of messages that are gone, now instead of by and by.
    #[command(after_help = "Example:\n  sallyport spool compact")]
    Compact {
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
}
