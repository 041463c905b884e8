//! The configuration: one TOML file, checked whole, then immutable.
//!
//! [`Config`] is what is meant. `raw` reads what is written and knows where it stands; `check`
//! looks at it as a whole. All problems of a file come in one go, with line and column.

/// Where the certificate comes from.
pub mod acme;
/// Who is told of what.
pub mod alerts;
mod caution;
mod check;
mod dkim;
mod log;
mod login;
mod page;
mod policy;
mod raw;
mod reach;
mod read;
mod route;
mod shown;
mod tls;
pub mod unit;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;

pub use dkim::Dkim;
pub use log::{Log, LogFormat, Traces};
pub use login::{Mechanism, Mechanisms, ProofKind, RouteLogin, RouteProof, TokenIssuer};
pub use page::Page;
pub use policy::{AddressPattern, Policy, SenderPattern, Who};
pub use raw::Problem;
pub use reach::Reach;
pub use route::{Capture, NextHop, Pin, Retry, Route, RouteCertificate, RouteHost, RouteTls};
pub use shown::Shown;
pub use tls::{ALSO_MAX, Also, ClientCertificates, Tls};

use crate::smtp::address::Address;

/// The file that is read if no other is named.
pub const DEFAULT_PATH: &str = "/etc/sallyport/sallyport.toml";

/// Everything that the configuration file says, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name in the banner, in EHLO and in trace headers: a domain name.
    pub hostname: String,
    /// Where reports go that cannot be delivered to their sender.
    pub postmaster: Address,
    /// How far gate and relay must be able to shut themselves in.
    pub sandbox: Sandbox,
    /// The gate process.
    pub gate: Gate,
    /// The relay process.
    pub relay: Relay,
    /// Where the relay listens; at least one.
    pub listeners: Vec<Listener>,
    /// What every listener shows, and whose certificates it believes.
    pub tls: Tls,
    /// Whose tokens are taken for logins; none: nobody's.
    pub oauth: Option<OAuth>,
    /// What a client may take.
    pub limits: Limits,
    /// What clients may send, by login and by tag.
    pub policies: Vec<Policy>,
    /// Where mail goes next; at most one is the default.
    pub routes: Vec<Route>,
    /// Who signs the mail of which domain.
    pub dkim: Vec<Dkim>,
    /// When a deferred message is tried again.
    pub retry: Retry,
    /// Where messages are kept.
    pub spool: Spool,
    /// For how long mail is kept that is not sent.
    pub capture: Capture,
    /// What is kept of the life of each message.
    pub history: History,
    /// When connection attempts are called a spike.
    pub spikes: Spikes,
    /// Where metrics and health are told; none: nowhere.
    pub metrics: Option<Metrics>,
    /// How events are written.
    pub log: Log,
    /// Who gets the spans of messages that belong to a trace; none: nobody.
    pub traces: Option<Traces>,
    /// The status page; none: there is none.
    pub page: Option<Page>,
    /// Who is told of what.
    pub alerts: alerts::Alerts,
}

impl Config {
    /// Reads and checks the text of a configuration file.
    ///
    /// # Errors
    ///
    /// Every problem of the file, in the order of its lines. At least one.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        read::config(text)
    }

    /// Reads and checks the text of a configuration file as [`Config::parse`] does, and returns every key with what it
    /// comes to and where that is from: the file, or a default. No secrets are in it.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn shown(text: &str) -> Result<Shown, Vec<Problem>> {
        read::shown(text)
    }

    /// Returns what is permitted and should be meant: a sentence each, beginning with the key.
    #[must_use]
    pub fn cautions(&self) -> Vec<String> {
        caution::cautions(self)
    }
}

/// How far a process must be able to shut itself in before it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// As far as it is meant to, or it does not start.
    Required,
    /// As far as this kernel can; what it cannot is said.
    BestEffort,
    /// Not at all.
    Off,
}

/// `[gate]`: the kernel filter and the process that owns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// If false, the relay serves although no gate stands, and status says UNGUARDED.
    pub required: bool,
    /// The interfaces to guard, by name; at most 64.
    pub interfaces: Vec<String>,
    /// If true, every TCP segment to a guarded port from an unlisted source is dropped, else only
    /// connection attempts.
    pub strict: bool,
    /// What to do while the gate's program is missing from an interface.
    pub on_loss: OnLoss,
    /// Whether connections of the host to itself are admitted, whatever the allowlist says.
    pub loopback: bool,
    /// The folder of the files that survive a restart.
    pub state: PathBuf,
    /// The folder on a BPF file system under which programs and maps are pinned.
    pub pins: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The group that may change the allowlist, besides root.
    pub admin_group: String,
    /// The declared entries of the allowlist.
    pub allow: Vec<Allow>,
}

/// What the gate does while its program is missing from an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Serve nobody until it is back.
    Refuse,
    /// Serve on behind the socket filter alone, degraded.
    SecondDoor,
}

/// `[[gate.allow]]`: a declared entry of the allowlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Allow {
    /// The network, host bits zero.
    pub cidr: IpNetwork,
    /// The tag that joins its clients to policies: at most 32 octets.
    pub tag: Option<String>,
    /// A remark for people: at most 256 octets.
    pub note: Option<String>,
    /// Connection attempts that the entry may make; none: no limit.
    pub connect_rate: Option<Rate>,
    /// Connection attempts that each source of the entry may make; none: no limit.
    pub source_rate: Option<Rate>,
    /// Whether the relay may ban its clients by itself; none: as the policy of its tag says, else if
    /// it is a single address.
    pub auto_ban: Option<bool>,
    /// The line of the file that declares it, counted from 1.
    pub line: usize,
}

/// So many per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1, at most 1,000,000.
    pub count: u32,
    /// Per how long: a second, a minute, an hour or a day.
    pub per: Duration,
}

impl fmt::Display for Rate {
    /// Writes it as the configuration does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            3600 => "h",
            _ => "d",
        };
        write!(f, "{}/{per}", self.count)
    }
}

/// `[relay]`: the process that speaks SMTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// The user that it runs as under `sallyport run`: a name or a number.
    pub user: String,
    /// The control socket.
    pub socket: PathBuf,
    /// The file of logins and stored keys.
    pub users: PathBuf,
}

/// `[[listener]]`: an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; `[::]` takes IPv4 clients too.
    pub address: SocketAddr,
    /// How TLS begins.
    pub tls: ListenerTls,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// Whether the gate guards its port. If not, it is served whatever becomes of the gate.
    pub gate: bool,
    /// Load balancers: their connections begin with a PROXY header, which says who the client is. At
    /// most 64; none: nobody is believed.
    pub proxy: Vec<IpNetwork>,
    /// Clients that are offered XCLIENT, to say for whom they speak. At most 64; none: nobody is believed.
    pub xclient: Vec<IpNetwork>,
}

/// How TLS begins on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    /// By STARTTLS, required before AUTH and MAIL (RFC 3207).
    Starttls,
    /// With the first octet (RFC 8314, section 3.3).
    Implicit,
}

/// `[oauth]`: whose tokens are taken for logins (RFC 7628).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth {
    /// The file of the issuer's public keys (RFC 7517).
    pub keys: PathBuf,
    /// The issuer, as its tokens name it.
    pub issuer: String,
    /// For whom the tokens must be: this relay.
    pub audience: String,
    /// The claim that is the login.
    pub login_claim: String,
}

/// The highest limit of recipients that can be configured: the envelope with so many of the longest
/// addresses fits into a record of the spool, so that nobody is told 250 for each of them and then
/// 451 for the message, for ever.
pub const RECIPIENTS_MAX: u64 = 3000;

/// The highest limit of a header section that can be configured, octets. No message that was taken has
/// a larger one, whatever the limit is by now.
pub const HEADER_SIZE_MAX: u64 = 16 << 20;

/// The same of its fields.
pub const HEADER_FIELDS_MAX: u64 = 10_000;

/// The same of its Received fields.
pub const RECEIVED_FIELDS_MAX: u64 = 1000;

/// `[limits]`: what a client may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time, over all.
    pub sessions: usize,
    /// Sessions at a time from one address.
    pub sessions_per_source: usize,
    /// Sessions at a time from one network: an IPv4 /24, an IPv6 /64.
    pub sessions_per_network: usize,
    /// The largest message, octets after dot-unstuffing (RFC 1870).
    pub message_size_bytes: u64,
    /// The largest header section, octets, at most [`HEADER_SIZE_MAX`].
    pub header_size_bytes: usize,
    /// The most header fields in a message, at most [`HEADER_FIELDS_MAX`].
    pub header_fields: usize,
    /// The most Received fields before a message is called a loop (RFC 5321, section 6.3), at most
    /// [`RECEIVED_FIELDS_MAX`].
    pub received_fields: usize,
    /// Recipients in one transaction, at most [`RECIPIENTS_MAX`].
    pub recipients: usize,
    /// Erroneous commands in one session before it is closed.
    pub errors: u32,
    /// Failed logins in one session before it is closed.
    pub login_failures: u32,
    /// How long a client may be silent (RFC 5321, section 4.5.3.2.7: at least 5 minutes).
    pub idle: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a session may last in all.
    pub session: Duration,
    /// The slowest acceptable body, octets a second on average after the first minute.
    pub body_rate_bytes: u64,
}

/// `[spool]`: where messages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The folder.
    pub path: PathBuf,
    /// Free space that is kept for outcomes and reports, octets: 5 % of the file system but not over 2 GiB, and at
    /// least this much.
    pub reserve_bytes: u64,
    /// The most messages kept at a time.
    pub messages: usize,
}

/// `[history]`: what is kept of the life of each message, for `sallyport trace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The folder.
    pub path: PathBuf,
    /// For how long: whole days; zero keeps nothing.
    pub keep: Duration,
    /// The most octets in all; one day takes at most half of them.
    pub size_bytes: u64,
}

/// `[spikes]`: when a rate is called a spike. A floor is a rate a second below which nothing is; in longer windows it
/// is lower, by the root of their length.
#[derive(Clone, Debug, PartialEq)]
pub struct Spikes {
    /// The floor of refused attempts, of all and of one network.
    pub floor_per_second: u64,
    /// The floor of different refused sources.
    pub sources_per_second: u64,
    /// The floor of completed connections of one listed entry.
    pub connections_per_second: u64,
    /// The floor of admitted attempts that no handshake followed.
    pub forged_per_second: u64,
    /// The floor of failed logins.
    pub logins_per_second: u64,
    /// Deviations above the usual rate that make a spike.
    pub deviations: f64,
    /// How long the rate must stay below 60 % of the way from what is usual to the spike until it is over.
    pub quiet: Duration,
    /// The most octets of samples that the gate keeps for `sallyport alert replay`; 0 keeps none.
    pub record_bytes: u64,
}

/// `[metrics]`: where metrics and health are told over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where to listen.
    pub address: SocketAddr,
    /// How many entries of the allowlist have series of their own; the others are counted by tag only.
    pub entries: usize,
}
