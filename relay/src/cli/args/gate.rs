//! The verbs of the allowlist, the bans and the mode.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use ipnetwork::IpNetwork;

use super::OutputChoice;
use crate::config::unit;

/// Verbs of `sallyport allow`.
#[derive(Debug, Subcommand)]
pub enum AllowVerb {
    /// Admit networks; effective when the command returns.
    #[command(after_help = "Example:\n  sallyport allow add 192.0.2.0/24 2001:db8:5::/48 --tag \
                            billing --ttl 8h --note \"ticket 4711\"")]
    Add {
        /// The networks: 192.0.2.0/24, 2001:db8::/32, or single addresses.
        #[arg(required = true, value_parser = unit::network, value_name = "CIDR")]
        networks: Vec<IpNetwork>,
        /// Joins the clients to the policy of this tag.
        #[arg(long)]
        tag: Option<String>,
        /// The entry ends after this long: 30s, 5m, 8h, 7d.
        #[arg(long, value_parser = unit::time, value_name = "DURATION")]
        ttl: Option<Duration>,
        /// A remark for people.
        #[arg(long)]
        note: Option<String>,
        /// Connection attempts that each of the networks may make: 100/s, 600/min.
        #[arg(long, value_name = "RATE")]
        connect_rate: Option<String>,
        /// Connection attempts that each source in them may make.
        #[arg(long, value_name = "RATE")]
        source_rate: Option<String>,
    },
    /// Shut networks out again, their open sessions included.
    #[command(after_help = "Example:\n  sallyport allow remove 192.0.2.0/24")]
    Remove {
        /// The networks, as `allow list` shows them.
        #[arg(required = true, value_parser = unit::network, value_name = "CIDR")]
        networks: Vec<IpNetwork>,
    },
    /// List the entries, declared and added at run time.
    #[command(
        after_help = "Examples:\n  sallyport allow list --json\n  sallyport allow list --file \
                            > list.txt    # what `allow apply` reads"
    )]
    List {
        /// Print the entries that were added at run time as a file for `allow apply`.
        #[arg(long, conflicts_with = "json")]
        file: bool,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Make a file the whole of the entries that were added at run time, at one moment.
    ///
    /// A line an entry: the network, then tag=, note=, connect-rate=, source-rate= and ttl=, all of them
    /// optional. A list that would cut every client that is connected now is refused without --force.
    #[command(
        after_help = "Examples:\n  sallyport allow apply list.txt --dry-run\n  sallyport allow \
                            apply list.txt --confirm-within 60s && sallyport allow confirm"
    )]
    Apply {
        /// The file; - is standard input.
        #[arg(value_name = "FILE")]
        path: PathBuf,
        /// Only show what would change, and which open connections it would cut.
        #[arg(long)]
        dry_run: bool,
        /// Bring the former list back after this time unless `allow confirm` comes before.
        #[arg(long, value_parser = unit::time, value_name = "DURATION")]
        confirm_within: Option<Duration>,
        /// Also if no client that is connected now would be admitted any more.
        #[arg(long)]
        force: bool,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Keep the list that `allow apply --confirm-within` put in force.
    #[command(after_help = "Example:\n  sallyport allow confirm")]
    Confirm,
    /// Bring the list back that was in force before `allow apply --confirm-within`.
    #[command(after_help = "Example:\n  sallyport allow rollback")]
    Rollback,
    /// Judge by a file in shadow: `allow list` counts what it would drop, and nothing is dropped.
    #[command(
        after_help = "Examples:\n  sallyport allow shadow next.txt\n  sallyport allow shadow \
                            --end"
    )]
    Shadow {
        /// The file, as for `allow apply`; - is standard input.
        #[arg(value_name = "FILE", required_unless_present = "end", conflicts_with = "end")]
        path: Option<PathBuf>,
        /// Take the list in shadow away.
        #[arg(long)]
        end: bool,
    },
}

/// Verbs of `sallyport mode`.
#[derive(Debug, Subcommand)]
pub enum ModeVerb {
    /// Drop what should be dropped.
    #[command(after_help = "Example:\n  sallyport mode enforce")]
    Enforce,
    /// Let everything pass for a time and count what should have been dropped; both doors.
    #[command(after_help = "Example:\n  sallyport mode observe --for 1h")]
    Observe {
        /// How long: 30s, 5m, 8h, 7d. Then the gate enforces again by itself.
        #[arg(long = "for", value_parser = unit::time, value_name = "DURATION")]
        time: Duration,
    },
}

/// Verbs of `sallyport ban`.
#[derive(Debug, Subcommand)]
pub enum BanVerb {
    /// Drop everything from sources to guarded ports, listed or not.
    #[command(after_help = "Example:\n  sallyport ban add 192.0.2.7 --ttl 1h --note \"guessing \
                            passwords\"")]
    Add {
        /// Addresses or networks.
        #[arg(required = true, value_parser = unit::network, value_name = "ADDR|CIDR")]
        networks: Vec<IpNetwork>,
        /// How long: 30s, 5m, 8h, 7d. Without it 15 minutes, and twice as long as the last time for a
        /// network that was banned within the last week.
        #[arg(long, value_parser = unit::time, value_name = "DURATION")]
        ttl: Option<Duration>,
        /// A remark for people.
        #[arg(long)]
        note: Option<String>,
    },
    /// Lift bans.
    #[command(after_help = "Example:\n  sallyport ban remove 192.0.2.7")]
    Remove {
        /// Addresses or networks, as `ban list` shows them.
        #[arg(required = true, value_parser = unit::network, value_name = "ADDR|CIDR")]
        networks: Vec<IpNetwork>,
    },
    /// List the bans and when they end.
    #[command(after_help = "Example:\n  sallyport ban list --json")]
    List {
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
}
