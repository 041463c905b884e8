//! One vocabulary for logs, metrics and the event stream: rooms return [`Event`]s, `journal`
//! writes them.
//!
//! What a peer can cause at will is not an event: it is counted. Full addresses of senders and
//! recipients do not appear here; the journal names ids, logins and domains.

/// What a person is to be told.
pub mod alert;
/// What alerts can be about.
pub mod class;
/// Which alerts somebody means.
pub mod pattern;
mod settled;
/// What is told of a spike.
pub mod spike;
/// Which events a person is told of.
pub mod telling;
/// How an alert is put together.
pub mod wording;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use self::alert::{Severity, Stage};
use self::spike::Spike;
use crate::mail::message::MessageId;

pub use settled::{End, Settled};

/// How loudly an event asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Wake somebody.
    Error,
    /// Look today.
    Warn,
    /// One line a message, a ban or a change.
    Info,
    /// A step in the life of a message, which the line at its end tells together.
    Debug,
}

impl Level {
    /// Returns the word that log lines carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }

    /// Returns the syslog priority (RFC 5424, section 6.2.1), for journald's `<N>` line prefix.
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warn => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// Something the appliance says about itself.
///
/// It serialises as one flat object whose `event` is the variant in kebab case; durations are
/// seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[expect(missing_docs, reason = "the sentence of a variant speaks of its fields")]
pub enum Event {
    /// A process serves from now on.
    Started { process: &'static str, detail: String },
    /// A process ends in order.
    Stopped { process: &'static str },
    /// A part of a process failed and what happens next.
    Trouble { room: &'static str, problem: String },
    /// A part of a process failed without which it is of no use: it ends, to be started anew.
    Broken { room: &'static str, problem: String },
    /// The gate stands on an interface; `mode` is `native` or `generic`.
    GateAttached { interface: String, mode: &'static str, adopted: bool },
    /// The gate's program is missing on an interface, or another one is in its place.
    GateLost { interface: String, problem: String },
    /// No client can come by a guarded interface, for some time now: it is switched off, has no carrier or no
    /// address. Critical if none can by any other.
    InterfaceDown {
        interface: String,
        severity: Severity,
        problem: String,
        #[serde(serialize_with = "seconds")]
        down_for: Duration,
    },
    /// Clients can come by that interface again.
    InterfaceUp { interface: String },
    /// No client is served at a listener, for some time now: another program took its address, the relay does not show its
    /// socket, or this host lost the address. Critical if clients of other hosts are served at no other.
    ListenerDown {
        listener: SocketAddr,
        severity: Severity,
        problem: String,
        #[serde(serialize_with = "seconds")]
        down_for: Duration,
    },
    /// Clients are served at that listener again.
    ListenerUp { listener: SocketAddr },
    /// The gate's process has been gone, or has answered nothing, for some seconds: nobody watches, and nothing
    /// can be changed. Its programs in the kernel go on.
    GateSilent { problem: String },
    /// The relay hears the gate's process again.
    GateHeard,
    /// The relay serves no client behind the gate, for some time now: it waits for the gate, or the gate's program is
    /// missing.
    Unserved {
        problem: String,
        #[serde(serialize_with = "seconds")]
        down_for: Duration,
    },
    /// The relay serves clients behind the gate again.
    Served,
    /// The gate has heard no relay for some time: mail is not taken, and nobody tells people what is wrong.
    RelaySilent { problem: String },
    /// The gate hears a relay again.
    RelayHeard,
    /// Something came around the first door and was refused by the second; `attempts` counts those by this
    /// path so far.
    GateBypass { path: String, vlan: Option<u16>, source: IpAddr, attempts: u64 },
    /// Nobody came by that path around the first door for an hour.
    GateBypassOver { path: String },
    /// The gate observes until a time, or enforces; `uid` asked for it, or time brought it.
    ModeChanged { mode: &'static str, until: Option<Timestamp>, uid: Option<u32> },
    /// The gate was taken away on purpose: the host is open.
    Detached { uid: u32 },
    /// A file replaced the run-time entries of the allowlist.
    AllowReplaced { entries: usize, added: usize, removed: usize, uid: u32 },
    /// A list that was not confirmed made way for the former one.
    AllowRolledBack { entries: usize, uid: Option<u32> },
    /// The gate's program is back on an interface.
    GateRestored { interface: String },
    /// A rare diagnostic of the kernel program, carried by aya-log.
    Kernel { message: String },
    /// An entry of the allowlist was added; `uid` asked for it.
    AllowAdded { net: IpNetwork, tag: Option<String>, uid: u32 },
    /// An entry of the allowlist was removed.
    AllowRemoved { net: IpNetwork, uid: u32 },
    /// A run-time entry reached its expiry.
    AllowExpired { net: IpNetwork },
    /// A source is dropped for a time.
    Banned {
        net: IpNetwork,
        #[serde(rename = "for-seconds", serialize_with = "seconds")]
        for_time: Duration,
        uid: u32,
    },
    /// The relay had a source banned for its conduct; `grounds` is the ban's remark.
    Offender { net: IpNetwork, grounds: String },
    /// A ban was lifted.
    Unbanned { net: IpNetwork, uid: u32 },
    /// Something rose far above what is usual.
    SpikeOpened(Box<Spike>),
    /// An open spike grew to `times` what it settled at.
    SpikeGrew {
        times: u32,
        #[serde(flatten)]
        spike: Box<Spike>,
    },
    /// A spike is over.
    SpikeClosed(Box<Spike>),
    /// A login has to wait, since it failed often; `failures` counts since its last wait, `cause` is that of the last.
    LoginFailed { source: IpAddr, login: String, cause: &'static str, failures: u32 },
    /// In a minute so many more logins had to wait than have lines; `source` is the address of the last.
    LoginFailedMore { logins: u64, failures: u64, source: IpAddr },
    /// A message is on disk and the client was told so.
    Accepted {
        id: MessageId,
        source: IpAddr,
        login: Option<String>,
        tag: Option<String>,
        recipients: usize,
        size_bytes: u64,
    },
    /// A message came again, since its client had not heard that it was accepted: it is known, and
    /// nothing was stored.
    Repeated { id: MessageId, source: IpAddr, login: Option<String> },
    /// A next hop took the message for some recipients.
    Delivered { id: MessageId, domain: String, route: String, next_hop: String, reply: String },
    /// Recipients wait for another attempt.
    Deferred {
        id: MessageId,
        domain: String,
        route: String,
        reason: String,
        #[serde(rename = "retry-in-seconds", serialize_with = "seconds")]
        retry_in: Duration,
    },
    /// A message has left the queue for good: nobody is open any more, or an operator removed it.
    Settled(Box<Settled>),
    /// Recipients were given up.
    Failed { id: MessageId, domain: String, route: String, reason: String },
    /// The message is kept for some recipients instead of sent.
    Captured { id: MessageId, domain: String, route: String },
    /// Captured messages were dropped at the end of their retention; `why` is `time`, `size` or `number`.
    CaptureEnded { messages: usize, why: &'static str },
    /// A report about mail went into the spool.
    Bounced { id: MessageId, about: MessageId },
    /// A report went into the spool that mail is late, or was passed on; `news` is the word for it.
    Notified { id: MessageId, about: MessageId, news: &'static str },
    /// A report could not be delivered anywhere.
    BounceDropped { id: MessageId, reason: String },
    /// A route cannot be used until somebody acts.
    RouteSuspended { route: String, reason: String },
    /// An operator suspended a route: its mail waits.
    RouteHeld { route: String, note: Option<String>, uid: u32 },
    /// A suspended route is used again; `uid` asked for it, or its login worked.
    RouteResumed { route: String, uid: Option<u32> },
    /// Another configuration has a route otherwise, or not at all (`gone`): what was wrong with it, and with
    /// these hosts of it, says nothing any more.
    RouteRenewed { route: String, gone: bool, hosts: Vec<String> },
    /// A host of a route failed and is passed by.
    HostDown { route: String, host: String, reason: String },
    /// A host of a route is used again.
    HostUp {
        route: String,
        host: String,
        #[serde(serialize_with = "seconds")]
        down_for: Duration,
    },
    /// No host of a route can be used any more: its mail waits. `reason` names the host that failed last.
    RouteDown { route: String, reason: String },
    /// A host of a route is used again that had none.
    RouteUp { route: String },
    /// A next hop took our login and did not prove that it knows our password: it may be somebody
    /// else. At most one an hour and route.
    NextHopUnproved { route: String, next_hop: String, reason: String },
    /// Mail along a route goes to whoever answers there, and in the clear if they have no TLS.
    RouteUnverified { route: String },
    /// An operator did something to messages: they are due now, held, released or dropped.
    QueueChanged { act: &'static str, messages: usize, uid: u32 },
    /// A message was removed by an operator.
    Dropped { id: MessageId, uid: u32 },
    /// A live session was cut because the other end of its connection is no longer admitted.
    SessionCut { source: IpAddr },
    /// Submissions are refused for want of room (452): so many messages are kept, so much of the disk is
    /// free, the reserve included.
    SpoolFull { messages: usize, free_bytes: u64 },
    /// Submissions find room again.
    SpoolRoom,
    /// Submissions of a login are refused: it takes its quarter of the spool. At most once an hour and login.
    ShareUsed { login: String },
    /// A certificate of the listeners ends soon and nothing renews it, or it is out of its time; `problem` is a
    /// sentence about it.
    CertificateEnds { file: String, until: Timestamp, severity: Severity, problem: String },
    /// Nothing is wrong any more with the time of a certificate, or nobody is shown it any more.
    CertificateGood { file: String },
    /// Something in the spool failed its check: `place` is a file of the log or a message, `became` what
    /// was done with it, `remedy` what to run.
    SpoolDamaged { place: String, problem: String, became: String, remedy: &'static str },
    /// People are told of something: a line for what the channels of `[alerts]` carry.
    Told {
        class: String,
        subject: String,
        #[serde(serialize_with = "stage_name")]
        stage: Stage,
        severity: Severity,
        summary: String,
        command: Option<String>,
    },
}

/// Writes a duration as seconds with milliseconds.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// Writes a stage as its word.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn stage_name<S: Serializer>(stage: &Stage, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(stage.name())
}

/// Returns the level of what begins or grows.
const fn level(severity: Severity) -> Level {
    match severity {
        Severity::Critical => Level::Error,
        Severity::Warning => Level::Warn,
    }
}

impl Event {
    /// Returns how loudly the event asks for attention.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::SpikeOpened(spike) => level(spike.class.severity(Stage::Opened)),
            Self::SpikeGrew { times, spike } => level(spike.class.severity(Stage::Grew(*times))),
            Self::CertificateEnds { severity, .. }
            | Self::InterfaceDown { severity, .. }
            | Self::ListenerDown { severity, .. } => level(*severity),
            Self::Told {
                severity: Severity::Critical,
                stage: Stage::Opened | Stage::Grew(_) | Stage::Noted,
                ..
            }
            | Self::Broken { .. }
            | Self::GateLost { .. }
            | Self::GateSilent { .. }
            | Self::Unserved { .. }
            | Self::RelaySilent { .. }
            | Self::GateBypass { .. }
            | Self::Detached { .. }
            | Self::RouteSuspended { .. }
            | Self::RouteDown { .. }
            | Self::NextHopUnproved { .. }
            | Self::SpoolFull { .. }
            | Self::SpoolDamaged { .. } => Level::Error,
            Self::Told {
                severity: Severity::Warning,
                stage: Stage::Opened | Stage::Grew(_) | Stage::Noted,
                ..
            }
            | Self::Trouble { .. }
            | Self::Kernel { .. }
            | Self::GateRestored { .. }
            | Self::GateBypassOver { .. }
            | Self::ModeChanged { .. }
            | Self::AllowRolledBack { .. }
            | Self::SpikeClosed(_)
            | Self::LoginFailed { .. }
            | Self::LoginFailedMore { .. }
            | Self::HostDown { .. }
            | Self::RouteUnverified { .. }
            | Self::RouteHeld { .. }
            | Self::SpoolRoom
            | Self::ShareUsed { .. }
            | Self::BounceDropped { .. } => Level::Warn,
            Self::Told { stage: Stage::Closed, .. }
            | Self::Started { .. }
            | Self::Stopped { .. }
            | Self::GateAttached { .. }
            | Self::InterfaceUp { .. }
            | Self::ListenerUp { .. }
            | Self::GateHeard
            | Self::Served
            | Self::RelayHeard
            | Self::CertificateGood { .. }
            | Self::AllowAdded { .. }
            | Self::AllowReplaced { .. }
            | Self::AllowRemoved { .. }
            | Self::AllowExpired { .. }
            | Self::Banned { .. }
            | Self::Offender { .. }
            | Self::Unbanned { .. }
            | Self::Repeated { .. }
            | Self::Settled(_)
            | Self::CaptureEnded { .. }
            | Self::Bounced { .. }
            | Self::RouteResumed { .. }
            | Self::RouteRenewed { .. }
            | Self::HostUp { .. }
            | Self::RouteUp { .. }
            | Self::QueueChanged { .. }
            | Self::Notified { .. }
            | Self::SessionCut { .. } => Level::Info,
            Self::Accepted { .. }
            | Self::Delivered { .. }
            | Self::Deferred { .. }
            | Self::Failed { .. }
            | Self::Captured { .. }
            | Self::Dropped { .. } => Level::Debug,
        }
    }
}
