//! What may be typed: the verbs, their arguments and the help texts.

mod alert;
#[cfg(test)]
mod contract;
mod gate;
mod init;
mod queue;
mod route;
mod spool;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::explain::Asked;
use super::print::Output;
use crate::config::{self, unit};
use crate::mail::message::MessageId;

pub use alert::AlertVerb;
pub use gate::{AllowVerb, BanVerb, ModeVerb};
pub use init::InitFlags;
pub use queue::{Choice, QueueVerb, TextChoice, Which};
pub use route::RouteVerb;
pub use spool::SpoolVerb;

/// A mail relay behind a gate in the kernel.
///
/// Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "sallyport", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run gate and relay, the relay as an unprivileged child.
    #[command(after_help = "Example:\n  sallyport run --config /etc/sallyport/sallyport.toml")]
    Run,
    /// Run the process that owns the kernel filter.
    #[command(after_help = "Example:\n  sallyport gate --config /etc/sallyport/sallyport.toml")]
    Gate,
    /// Run the process that speaks SMTP.
    #[command(after_help = "Example:\n  sallyport relay --config /etc/sallyport/sallyport.toml")]
    Relay,
    /// Run the programs of alerts for the relay, which starts this by itself and speaks to it on standard input.
    #[command(hide = true, after_help = "Example:\n  sallyport relay    # starts it")]
    Programs,
    /// Look at a configuration file.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Change or list the allowlist.
    #[command(subcommand)]
    Allow(AllowVerb),
    /// Change or list the bans.
    #[command(subcommand)]
    Ban(BanVerb),
    /// Enforce, or observe for a time: let everything pass and count what should have been dropped.
    #[command(subcommand)]
    Mode(ModeVerb),
    /// Take the gate away from every interface: this opens the host. Starting the gate again guards it.
    #[command(after_help = "Example:\n  sallyport detach")]
    Detach,
    /// Have the gate and the relay read the configuration again. What takes a restart is named.
    #[command(after_help = "Example:\n  sallyport reload")]
    Reload,
    /// Show who changed what, from the audit log.
    #[command(after_help = "Example:\n  sallyport audit --since 7d")]
    Audit {
        /// Changes of the last 30s, 5m, 8h, 7d.
        #[arg(long, value_parser = unit::time, value_name = "DURATION", default_value = "7d")]
        since: Duration,
        /// The newest of them, at most so many.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Tell what the gate does with connection attempts from an address and why, and what its
    /// sessions may send.
    #[command(after_help = "Examples:\n  sallyport explain 192.0.2.7\n  sallyport explain \
                            192.0.2.7 --login app --sender news@example.net --recipient \
                            a@example.com")]
    Explain {
        /// The source address.
        source: IpAddr,
        /// The destination port; without it the first guarded one.
        #[arg(long)]
        port: Option<u16>,
        /// What is asked besides.
        #[command(flatten)]
        asked: Asked,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Show the health of both processes, counters, spool and alerts on one screen.
    #[command(after_help = "Examples:\n  sallyport status\n  sallyport status --check    # exit \
                            code: 0 good, 1 degraded, 2 not serving")]
    Status {
        /// Print a word and the reasons for it; the exit code tells, too: 0 good, 1 degraded, 2 not serving.
        #[arg(long)]
        check: bool,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Find out why a client cannot connect or mail does not leave: look at everything from the wire to the
    /// next hop, say what is wrong and what to do. It changes nothing. Exit code 0: no fault, 1: faults.
    #[command(after_help = "Examples:\n  sudo sallyport doctor\n  sudo sallyport doctor --from \
                            192.0.2.7     # follow one client in\n  sudo sallyport doctor --to \
                            example.com     # follow mail out, the login included")]
    Doctor {
        /// A client to follow in: its entry, ban, policy, the firewall's rules for it, the way back.
        #[arg(long, value_name = "ADDR")]
        from: Option<IpAddr>,
        /// Follow mail to this domain, or by this route, up to where a message would begin: the login of
        /// the route is tried, too.
        #[arg(long, value_name = "DOMAIN|ROUTE")]
        to: Option<String>,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Watch both doors, rates, the networks that are refused most, mail and alerts; keys ban, allow and
    /// explain.
    #[cfg(feature = "tui")]
    #[command(after_help = "Example:\n  sallyport top    # ? shows the keys, q ends")]
    Top,
    /// Change or list logins. The file holds stored keys, never passwords.
    #[command(subcommand)]
    User(UserVerb),
    /// Look at the messages in the spool, retry, hold, release or drop them.
    #[command(subcommand)]
    Queue(QueueVerb),
    /// Look at what is wrong and who is told, try the channels, silence what is known.
    #[command(subcommand)]
    Alert(AlertVerb),
    /// Look at the routes, suspend or resume them.
    #[command(subcommand)]
    Route(RouteVerb),
    /// Check the log of messages, mend it, give its space back.
    #[command(subcommand)]
    Spool(SpoolVerb),
    /// Tell the life of a message: how it came, every attempt, what the next hops said, what operators did.
    #[command(after_help = "Example:\n  sallyport trace 06G3T7K9Q2M4X")]
    Trace {
        /// The id, as the client was told it after its message.
        id: MessageId,
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Set up a first relay on this host: asks, or takes flags, and leaves a configuration, a certificate, a
    /// login and a route that work. It starts nothing unless told to, and overwrites nothing.
    #[command(
        after_help = "Examples:\n  sudo sallyport init\n  sudo sallyport init --yes --hostname \
                            relay.example.net --smarthost smtp.example.net:587 --allow 192.0.2.0/24\n  \
                            sallyport init --clients python"
    )]
    Init(Box<InitFlags>),
    /// Set up TLS.
    #[command(subcommand)]
    Tls(TlsVerb),
    /// Try whether anything gets around the gate on this kernel: more than a hundred crafted shapes of a
    /// connection attempt, sent at the real program in network namespaces of their own. Exit code 0: nothing
    /// does. Needs root.
    #[cfg(feature = "xdp")]
    #[command(after_help = "Example:\n  sudo sallyport selftest")]
    Selftest {
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Print what a shell completes after `sallyport`.
    #[command(after_help = "Examples:\n  sallyport completions bash > \
                            /usr/share/bash-completion/completions/sallyport\n  sallyport completions \
                            zsh > /usr/share/zsh/vendor-completions/_sallyport")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages: one for each verb, and one for the configuration.
    #[command(
        after_help = "Example:\n  sallyport man /usr/local/share/man && man sallyport-allow-add"
    )]
    Man {
        /// The folder, in which man1 and man5 are made.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Show the whole product at work in network namespaces of its own. Needs root.
    #[command(after_help = "Example:\n  sudo sallyport demo")]
    Demo,
}

/// Whether a listing is for people or for programs.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputChoice {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl OutputChoice {
    /// Returns the chosen form.
    #[must_use]
    pub const fn form(self) -> Output {
        if self.json { Output::Json } else { Output::Text }
    }
}

/// Verbs of `sallyport config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Name every problem of a file, with line and column.
    #[command(after_help = "Example:\n  sallyport config check /etc/sallyport/sallyport.toml")]
    Check {
        /// The file; without it the one of --config.
        file: Option<PathBuf>,
    },
    /// Show what a file comes to: every key with its value, and whether that stands in the file, and where, or is
    /// the default. What is printed can be read again.
    ///
    /// Files of secrets are named and not read; of a webhook's address the host is shown only. Exit code 1: the file
    /// has problems, and they are named. A process that runs goes by the file as it was at its start or the last
    /// `sallyport reload`.
    #[command(
        after_help = "Examples:\n  sallyport config show\n  sallyport config show --config trial.toml --json | \
                            jq '.gate.\"on-loss\".value'"
    )]
    Show {
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
}

/// Verbs of `sallyport user`.
#[derive(Debug, Subcommand)]
pub enum UserVerb {
    /// Add a login and print its new password once.
    #[command(
        after_help = "Examples:\n  sallyport user add app\n  pass show app | sallyport user \
                            add app --stdin"
    )]
    Add {
        /// The login: 1 to 64 octets.
        login: String,
        /// Read the password from the first line of standard input instead of making one.
        #[arg(long)]
        stdin: bool,
    },
    /// Give a login a new password and print it once.
    #[command(after_help = "Example:\n  sallyport user passwd app")]
    Passwd {
        /// The login.
        login: String,
        /// Read the password from the first line of standard input instead of making one.
        #[arg(long)]
        stdin: bool,
    },
    /// Remove a login.
    #[command(after_help = "Example:\n  sallyport user remove app")]
    Remove {
        /// The login.
        login: String,
    },
    /// List the logins.
    #[command(after_help = "Example:\n  sallyport user list --json")]
    List {
        /// Print JSON.
        #[command(flatten)]
        output: OutputChoice,
    },
}

/// Verbs of `sallyport tls`.
#[derive(Debug, Subcommand)]
pub enum TlsVerb {
    /// Make a small private CA, a server certificate and the file that clients need.
    #[command(after_help = "Example:\n  sallyport tls init --name relay.example.net")]
    Init {
        /// Names and addresses that clients connect to; without it the configured hostname.
        #[arg(long = "name", value_name = "NAME|ADDR")]
        names: Vec<String>,
        /// The folder; without it the folder of the configured certificate.
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
    },
    /// Have a certificate signed by the authority of [tls.acme], now; the first time it makes the account there.
    /// It listens on port 80 for as long. What it replaces stays beside it; if it fails, the old files stay.
    #[command(after_help = "Example:\n  sudo sallyport tls obtain --agree-terms")]
    Obtain {
        /// Agree to the authority's terms: there is no account without.
        #[arg(long)]
        agree_terms: bool,
        /// Make a new key, too. Without it the one that is there is used.
        #[arg(long)]
        new_key: bool,
    },
    /// Have the certificate signed anew by the authority of [tls.acme], if less than a third of its time is left or it
    /// cannot be used; else do nothing. The timer sallyport-certificate.timer runs it hourly.
    #[command(after_help = "Example:\n  sudo sallyport tls renew")]
    Renew {
        /// Make a new key, too. Without it the one that is there is used.
        #[arg(long)]
        new_key: bool,
        /// After a try that failed wait before the next: an eighth of the time that is left, at most a day.
        #[arg(long)]
        by_timer: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_verb_has_a_help_text_with_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no help text");
            if command.get_subcommands().next().is_none() {
                let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(
                    example.contains("  sallyport") || example.contains("sudo sallyport"),
                    "{path}"
                );
            }
            command.get_subcommands().for_each(|inner| visit(inner, &path));
        }
        Arguments::command().get_subcommands().for_each(|verb| visit(verb, "sallyport"));
    }

    #[test]
    fn the_file_to_check_need_not_be_named_beside_the_flag_for_it() {
        for (line, wanted) in [
            ("sallyport --config a.toml config check", (None, "a.toml")),
            ("sallyport config check --config a.toml", (None, "a.toml")),
            ("sallyport config check", (None, config::DEFAULT_PATH)),
            ("sallyport config check b.toml", (Some("b.toml"), config::DEFAULT_PATH)),
        ] {
            let read = Arguments::try_parse_from(line.split(' ')).unwrap();
            let Verb::Config(ConfigVerb::Check { file }) = read.verb else { panic!("{line}") };
            let (named, by_flag) = wanted;
            assert_eq!((file, read.config), (named.map(PathBuf::from), by_flag.into()), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_named() {
        for (line, wanted) in [
            ("sallyport allow add 10.1.2.3/8", "write 10.0.0.0/8"),
            ("sallyport allow add", "CIDR"),
            ("sallyport queue retry", "--all"),
            ("sallyport queue drop", "--recipient"),
            ("sallyport queue drop 06G3T7K9Q2M4X --all", "cannot be used with"),
            ("sallyport queue hold 06G3T7K9Q2M4X --sender a", "cannot be used with"),
            ("sallyport queue hold --place here", "waiting"),
            ("sallyport queue drop --sender ", "a value is required for '--sender"),
            ("sallyport queue drop --recipient= --dry-run", "a value is required for '--recipient"),
            ("sallyport queue list --domain ", "a value is required for '--domain"),
            ("sallyport queue retry --login=", "a value is required for '--login"),
            ("sallyport queue hold --tag ", "a value is required for '--tag"),
            ("sallyport queue show 06G3T7K9Q2M4X --body --json", "cannot be used with"),
            ("sallyport ban add 192.0.2.1 --ttl 5x", "write 500ms, 30s"),
            ("sallyport queue show X", "13 letters"),
        ] {
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
