//! The verbs of `sallyport alert`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::OutputChoice;
use crate::config::unit;
use crate::event::class::CLASSES;
use crate::event::pattern::Pattern;

/// Says what can be silenced.
fn classes() -> String {
    format!(
        "The class, or class and subject; * means any text. The classes: {}",
        CLASSES.join(", ")
    )
}

/// Verbs of `sallyport alert`.
#[derive(Debug, Subcommand)]
pub enum AlertVerb {
    /// Show what is wrong, what was told last, what is silenced, and how each channel fares.
    #[command(after_help = "Example:\n  sallyport alert list --json")]
    List {
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Tell a test by each channel, or by one, and say what became of it. Exit code 1: one did not take it.
    #[command(after_help = "Examples:\n  sallyport alert test\n  sallyport alert test ops")]
    Test {
        /// The channel, as `sallyport alert list` names it.
        channel: Option<String>,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Tell nothing of a class, or of one of its subjects, for a time. What is still wrong then is told then.
    #[command(
        after_help = "Examples:\n  sallyport alert silence 'host-down/smarthost/*' --for 2h --note \"they \
                      move\"\n  sallyport alert silence --remove 'host-down/smarthost/*'"
    )]
    Silence {
        /// The class, or class and subject.
        #[arg(value_name = "CLASS[/SUBJECT]", help = classes())]
        pattern: Pattern,
        /// For how long: 30m, 8h, at most 30d.
        #[arg(long = "for", value_parser = unit::time, value_name = "DURATION", required_unless_present = "remove")]
        time: Option<Duration>,
        /// A remark for people: at most 256 octets.
        #[arg(long)]
        note: Option<String>,
        /// End the silence instead.
        #[arg(long, conflicts_with_all = ["time", "note"])]
        remove: bool,
    },
    /// Tell which spikes recorded samples give by the configuration at hand: what other settings of spikes
    /// would have told.
    ///
    /// The gate keeps samples if spikes.record says how much. Without --usual the watch begins knowing nothing, and
    /// what the host always does is told as its first spike.
    #[command(
        after_help = "Example:\n  sudo sallyport alert replay /var/lib/sallyport/gate/samples.before.txt \
                            /var/lib/sallyport/gate/samples.txt\n  sallyport --config trial.toml alert replay \
                      --usual usual.jsonl samples.txt"
    )]
    Replay {
        /// The files, the oldest first.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Begin with what was usual: usual.jsonl of gate.state, or a copy that is as old as the first sample.
        #[arg(long, value_name = "FILE")]
        usual: Option<PathBuf>,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
}
