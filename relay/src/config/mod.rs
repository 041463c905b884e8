//! The configuration: one TOML file, checked whole, then immutable.
//!
//! [`Config`] is what is meant. `raw` reads what is written and knows where it stands; `check`
//! looks at it as a whole. All problems of a file come in one go, with line and column.

mod check;
mod raw;
mod read;
mod tls;
pub mod unit;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;

pub use raw::Problem;
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
    /// When a deferred message is tried again.
    pub retry: Retry,
    /// Where messages are kept.
    pub spool: Spool,
    /// When connection attempts are called a spike.
    pub spikes: Spikes,
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
    /// The largest header section, octets.
    pub header_size_bytes: usize,
    /// The most header fields in a message.
    pub header_fields: usize,
    /// The most Received fields before a message is called a loop (RFC 5321, section 6.3).
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

/// `[[policy]]`: what clients of a tag or a login may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Whose policy it is.
    pub who: Who,
    /// Senders that may be used in the envelope, From and Sender.
    pub senders: Vec<SenderPattern>,
    /// Recipients that may be named; none: everybody.
    pub recipients: Option<Vec<AddressPattern>>,
    /// Recipients its clients may name in a time, with a burst of ten seconds; none: no limit.
    pub rate: Option<Rate>,
    /// Recipients its clients may name in an hour or a day, all at once if they like; none: no limit.
    pub quota: Option<Rate>,
    /// The largest message, octets; the lower one of this and [`Limits`] counts.
    pub message_size_bytes: Option<u64>,
    /// Recipients in one transaction; the lower one of this and [`Limits`] counts.
    pub recipients_per_message: Option<usize>,
    /// Sessions at a time of all its clients.
    pub sessions: Option<usize>,
    /// When mail is given up; the lower one of this and [`Retry`] counts.
    pub expire: Option<Duration>,
    /// The name of the route; none: by recipient domain, then the default.
    pub route: Option<String>,
    /// Whether the relay may ban clients of the tag by itself; none: where the entry is a single
    /// address. A login's policy says nothing about it.
    pub auto_ban: Option<bool>,
}

/// Whom a policy speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Clients admitted by entries with this tag.
    Tag(String),
    /// Sessions authenticated as this login.
    Login(String),
}

/// A sender that a policy permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderPattern {
    /// `"<>"`: the null sender.
    Null,
    /// Mailboxes.
    Address(AddressPattern),
}

/// Mailboxes that a policy permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPattern {
    /// `"*"`: every mailbox.
    Any,
    /// `"@example.net"`: every mailbox of exactly this domain; lower case.
    Domain(String),
    /// `"news@example.net"`: one mailbox.
    Mailbox(Address),
}

impl fmt::Display for SenderPattern {
    /// Writes it as the configuration does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Address(pattern) => pattern.fmt(f),
        }
    }
}

impl fmt::Display for AddressPattern {
    /// Writes it as the configuration does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Domain(domain) => write!(f, "@{domain}"),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// `[[route]]`: where mail goes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name; unique.
    pub name: String,
    /// Whether it takes what no other route takes.
    pub default: bool,
    /// Recipient domains it takes, lower case, exact.
    pub domains: Vec<String>,
    /// Next hops in order of preference, each a host and a port; at least one.
    pub hosts: Vec<NextHop>,
    /// How the connection is secured.
    pub tls: RouteTls,
    /// PEM file of the authorities that may sign the next hop's certificate; none: the public ones.
    pub ca_file: Option<PathBuf>,
    /// The login at the next hop.
    pub login: Option<RouteLogin>,
    /// Connections at a time.
    pub connections: usize,
    /// How long the next hop may take for a reply, but for the reply to the final dot.
    pub timeout: Duration,
}

/// A host to hand mail to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// A domain name or an IP address; the certificate must be for it.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// How the connection to a next hop is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTls {
    /// STARTTLS with a verified certificate, or the mail waits.
    Required,
    /// TLS from the first octet, verified.
    Implicit,
    /// In the clear: only for next hops on loopback.
    None,
}

/// A login at a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLogin {
    /// The user name.
    pub user: String,
    /// The file that holds the password in its first line.
    pub password_file: PathBuf,
}

/// `[retry]`: when deferred mail is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The waits after the first attempts; the last repeats. At least one.
    pub after: Vec<Duration>,
    /// When the sender gets a failure report instead of another attempt.
    pub expire: Duration,
}

/// `[spool]`: where messages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The folder.
    pub path: PathBuf,
    /// Free space that is kept for outcomes and reports, octets: 5 % of the file system, at least
    /// this much.
    pub reserve_bytes: u64,
    /// The most messages kept at a time.
    pub messages: usize,
}

/// `[spikes]`: when refused connection attempts are called a spike.
#[derive(Clone, Debug, PartialEq)]
pub struct Spikes {
    /// Attempts a second below which nothing is called a spike.
    pub floor_per_second: u64,
    /// Deviations above the usual rate that make a spike.
    pub deviations: f64,
    /// How long the rate must stay below 60 % of the opening level until the spike is over.
    pub quiet: Duration,
}
