//! The flags of `sallyport init`: every question has one.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use ipnetwork::IpNetwork;

use crate::cli::init::client::Client;
use crate::config::acme::DIRECTORY;
use crate::config::unit;

/// What may be said of a first set-up. What is not said is asked for on a terminal.
#[derive(Debug, Args)]
pub struct InitFlags {
    /// The name of this host, as clients call it; it stands in the certificate.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Where reports go that cannot be delivered to their sender.
    #[arg(long, value_name = "ADDRESS")]
    pub postmaster: Option<String>,
    /// The interface to guard; may be given more than once. Without it the one of the default route.
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// Where clients connect: address and port. `[::]` takes IPv4 clients too.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// A certificate that is there already, PEM, with its intermediates. Without it a private authority is
    /// made, as `tls init` does.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// A further name or address for the certificate that is made or signed; may be given more than once.
    #[arg(long = "name", value_name = "NAME|ADDR", conflicts_with = "certificate")]
    pub names: Vec<String>,
    /// Have the certificate signed by an authority by ACME, and renewed: Let's Encrypt, or the one of
    /// --acme-directory. Port 80 of every name must lead to this host.
    #[arg(long, conflicts_with_all = ["certificate", "key"])]
    pub acme: bool,
    /// The directory of that authority.
    #[arg(long, value_name = "URL", requires = "acme", default_value = DIRECTORY)]
    pub acme_directory: String,
    /// Who signed for that directory's own server, PEM. Without it the public authorities.
    #[arg(long, value_name = "FILE", requires = "acme")]
    pub acme_ca: Option<PathBuf>,
    /// Where that authority may write to, or none.
    #[arg(long, value_name = "ADDRESS", requires = "acme")]
    pub acme_contact: Option<String>,
    /// Agree to the terms of that authority: there is no account without.
    #[arg(long, requires = "acme")]
    pub acme_agree_terms: bool,
    /// Where its proofs are answered; it connects to port 80 of every name. Without it port 80 of all addresses.
    #[arg(long, value_name = "ADDR:PORT", requires = "acme")]
    pub acme_address: Option<SocketAddr>,
    /// The first login.
    #[arg(long)]
    pub login: Option<String>,
    /// What that login may send as: news@example.net, or @example.net for all of a domain; may be given more
    /// than once.
    #[arg(long = "sender", value_name = "SENDER")]
    pub senders: Vec<String>,
    /// A network that may connect; may be given more than once. With --yes and without this nobody but the
    /// host itself may.
    #[arg(long = "allow", value_parser = unit::network, value_name = "CIDR")]
    pub allow: Vec<IpNetwork>,
    /// Where mail goes next: smtp.example.net:587, over STARTTLS; may be given more than once, in order of
    /// preference.
    #[arg(long = "smarthost", value_name = "HOST:PORT")]
    pub smarthosts: Vec<String>,
    /// Keep all mail instead of sending it on, to try things out.
    #[arg(long, conflicts_with_all = ["smarthosts", "smarthost_ca", "smarthost_login", "smarthost_password"])]
    pub capture: bool,
    /// The authorities that signed the smarthost's certificate, PEM. Without it the public ones.
    #[arg(long, value_name = "FILE")]
    pub smarthost_ca: Option<PathBuf>,
    /// Our login at the smarthost.
    #[arg(long, value_name = "LOGIN", requires = "smarthost_password")]
    pub smarthost_login: Option<String>,
    /// The file whose first line is the password for it; - is standard input. It is copied to where only root
    /// and the relay read it.
    #[arg(long = "smarthost-password-file", value_name = "FILE", requires = "smarthost_login")]
    pub smarthost_password: Option<PathBuf>,
    /// The folder of messages.
    #[arg(long, value_name = "FOLDER")]
    pub spool: Option<PathBuf>,
    /// The folder of what else survives a restart: run-time entries, bans, history.
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/sallyport")]
    pub state: PathBuf,
    /// The folder of the control sockets.
    #[arg(long, value_name = "FOLDER", default_value = "/run/sallyport")]
    pub sockets: PathBuf,
    /// The folder on a BPF file system for programs and tables.
    #[arg(long, value_name = "FOLDER", default_value = "/sys/fs/bpf/sallyport")]
    pub pins: PathBuf,
    /// The user that the relay runs as, a name or a number; a name that nobody has is made.
    #[arg(long, value_name = "USER", default_value = "sallyport")]
    pub user: String,
    /// The group that may change the allowlist; made if it is not there.
    #[arg(long, value_name = "GROUP", default_value = "sallyport-admin")]
    pub admin_group: String,
    /// Ask nothing: what is not said is as the question would have offered it.
    #[arg(long, short)]
    pub yes: bool,
    /// Only show what would be done, and the configuration that would be written.
    #[arg(long)]
    pub dry_run: bool,
    /// Replace a configuration that is there; the old one stays beside it under the time of the day.
    /// Certificates and logins that are there are kept, with or without it, but for a login that a set-up was cut off
    /// after: nobody has seen its password, and it gets another one.
    #[arg(long)]
    pub force: bool,
    /// Start gate and relay by systemd when all is written, now and at every boot.
    #[arg(long, conflicts_with = "dry_run")]
    pub start: bool,
    /// Only print what to paste into a client, or into all of them, for the configuration that is there.
    #[arg(long, value_name = "CLIENT", num_args = 0..=1, default_missing_value = "all")]
    pub clients: Option<Client>,
}
