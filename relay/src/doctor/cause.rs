//! Everything that can be found, from the wire to the next hop: one row each.

use serde::Serialize;

/// Where something is found, in the order in which a connection passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Between the client and the interface.
    Wire,
    /// The interfaces of this host and their addresses.
    Interface,
    /// The filter in the kernel and its process.
    Gate,
    /// The allowlist and the bans.
    Allowlist,
    /// The host's own packet filter.
    Firewall,
    /// The sockets that clients connect to, and the process behind them.
    Listener,
    /// Certificates and keys of the listeners.
    Tls,
    /// Who may log in and send.
    Session,
    /// The disk that a 250 stands for.
    Spool,
    /// Where mail goes next.
    Route,
    /// The server that mail is handed to.
    NextHop,
    /// The host as a whole.
    Host,
}

impl Place {
    /// Returns its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Interface => "interface",
            Self::Gate => "gate",
            Self::Allowlist => "allowlist",
            Self::Firewall => "firewall",
            Self::Listener => "listener",
            Self::Tls => "tls",
            Self::Session => "session",
            Self::Spool => "spool",
            Self::Route => "route",
            Self::NextHop => "next hop",
            Self::Host => "host",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something does not work, or what was promised is not kept.
    Fault,
    /// It may be meant so; whoever looks for a fault should know it.
    WorthKnowing,
}

/// What it keeps from happening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stops {
    /// Clients cannot connect, log in or hand over mail.
    Clients,
    /// Mail that was taken does not leave.
    Mail,
    /// Neither.
    Nothing,
}

/// What is wrong.
#[expect(
    missing_docs,
    reason = "the table below names each, and config/docs/doctor.md explains it"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    ConfigUnreadable,
    InterfaceMissing,
    InterfaceDown,
    NoCarrier,
    NotEthernet,
    NoAddress,
    DuplicateAddress,
    NoRouteBack,
    ReversePath,
    InterfaceUnguarded,
    TunnelAround,
    LroOn,
    TagsStripped,
    KernelLacks,
    NoBtf,
    NoBpffs,
    GateNotRunning,
    GateMissing,
    GateForeign,
    TablesMissing,
    GateOpen,
    GateHangs,
    GateTroubled,
    Unguarded,
    GateGeneric,
    GateObserves,
    GateBypass,
    LocalPorts,
    ListEmpty,
    Banned,
    EntryExpired,
    EntryRemoved,
    NotListed,
    OverRate,
    SpikeOpen,
    Firewall,
    RedirectedAway,
    FirewallPerhaps,
    RedirectedHere,
    AddressMissing,
    PortTaken,
    RelayNotRunning,
    RelayHangs,
    NotListening,
    ListensElsewhere,
    FamilyNotServed,
    OnlyLoopback,
    RelayNotServing,
    RelayTroubled,
    BacklogFull,
    Unanswered,
    OwnStopped,
    NoGreeting,
    GreetingRefuses,
    CertificateUnreadable,
    KeyUnfit,
    CertificateExpired,
    CertificateFuture,
    CertificateName,
    CertificateOrder,
    CertificateOverdue,
    CertificateEnds,
    RenewalFails,
    FileUnreadable,
    UsersDamaged,
    NoLogins,
    LoginWaits,
    NoPolicy,
    TagWithoutPolicy,
    SessionsFull,
    SpoolMissing,
    SpoolReadOnly,
    SpoolUnwritable,
    DiskFull,
    InodesFull,
    SpoolFull,
    SpoolInMemory,
    NotFlushing,
    FlushSlow,
    SpoolDamaged,
    NoRoute,
    RouteHeld,
    RouteFileUnreadable,
    RouteCertificate,
    DkimKey,
    HopName,
    HopUnreachable,
    HopRefuses,
    FirewallOut,
    Port25Closed,
    HopSilent,
    HopGreeting,
    HopSlow,
    HopNoStarttls,
    HopCertificate,
    HopLogin,
    HopOther,
    RouteTroubled,
    TellingFileUnreadable,
    UserMissing,
    Descriptors,
    SandboxWeak,
    ClockBehind,
    ClockUnsynchronised,
    GroupMissing,
    HostnameUnresolved,
    HostnameElsewhere,
}

/// One row of the table.
struct Row {
    cause: Cause,
    id: &'static str,
    place: Place,
    severity: Severity,
    stops: Stops,
}

const fn fault(cause: Cause, id: &'static str, place: Place, stops: Stops) -> Row {
    Row { cause, id, place, severity: Severity::Fault, stops }
}

const fn known(cause: Cause, id: &'static str, place: Place) -> Row {
    Row { cause, id, place, severity: Severity::WorthKnowing, stops: Stops::Nothing }
}

/// Every cause in the order of the walk. Where one brings another about it stands before it.
const TABLE: [Row; 107] = {
    use Cause as C;
    use Place as P;
    use Stops::{Clients, Mail, Nothing};
    [
        fault(C::ConfigUnreadable, "config-unreadable", P::Host, Clients),
        fault(C::InterfaceMissing, "interface-missing", P::Interface, Clients),
        fault(C::InterfaceDown, "interface-down", P::Interface, Clients),
        fault(C::NoCarrier, "no-carrier", P::Wire, Clients),
        fault(C::NotEthernet, "not-ethernet", P::Interface, Clients),
        fault(C::NoAddress, "no-address", P::Interface, Clients),
        fault(C::DuplicateAddress, "duplicate-address", P::Interface, Clients),
        fault(C::NoRouteBack, "no-route-back", P::Wire, Clients),
        fault(C::ReversePath, "reverse-path", P::Wire, Clients),
        known(C::InterfaceUnguarded, "interface-unguarded", P::Interface),
        known(C::TunnelAround, "tunnel-around", P::Interface),
        known(C::LroOn, "lro-on", P::Interface),
        known(C::TagsStripped, "tags-stripped", P::Interface),
        fault(C::KernelLacks, "kernel-lacks", P::Gate, Clients),
        fault(C::NoBtf, "no-btf", P::Gate, Clients),
        fault(C::NoBpffs, "no-bpffs", P::Gate, Clients),
        fault(C::GateNotRunning, "gate-not-running", P::Gate, Clients),
        fault(C::GateMissing, "gate-missing", P::Gate, Clients),
        fault(C::GateForeign, "gate-foreign", P::Gate, Clients),
        fault(C::TablesMissing, "tables-missing", P::Gate, Clients),
        fault(C::GateOpen, "gate-open", P::Gate, Clients),
        fault(C::GateHangs, "gate-hangs", P::Gate, Nothing),
        fault(C::GateTroubled, "gate-troubled", P::Gate, Nothing),
        known(C::Unguarded, "unguarded", P::Gate),
        known(C::GateGeneric, "gate-generic", P::Gate),
        known(C::GateObserves, "gate-observes", P::Gate),
        known(C::GateBypass, "gate-bypass", P::Gate),
        known(C::LocalPorts, "local-ports", P::Gate),
        fault(C::ListEmpty, "list-empty", P::Allowlist, Clients),
        fault(C::Banned, "banned", P::Allowlist, Clients),
        fault(C::EntryExpired, "entry-expired", P::Allowlist, Clients),
        fault(C::EntryRemoved, "entry-removed", P::Allowlist, Clients),
        fault(C::NotListed, "not-listed", P::Allowlist, Clients),
        fault(C::OverRate, "over-rate", P::Allowlist, Clients),
        known(C::SpikeOpen, "spike-open", P::Allowlist),
        fault(C::Firewall, "firewall", P::Firewall, Clients),
        fault(C::RedirectedAway, "redirected-away", P::Firewall, Clients),
        known(C::FirewallPerhaps, "firewall-perhaps", P::Firewall),
        known(C::RedirectedHere, "redirected-here", P::Firewall),
        fault(C::AddressMissing, "address-missing", P::Listener, Clients),
        fault(C::PortTaken, "port-taken", P::Listener, Clients),
        fault(C::RelayNotRunning, "relay-not-running", P::Listener, Clients),
        fault(C::RelayHangs, "relay-hangs", P::Listener, Clients),
        fault(C::NotListening, "not-listening", P::Listener, Clients),
        fault(C::ListensElsewhere, "listens-elsewhere", P::Listener, Clients),
        fault(C::FamilyNotServed, "family-not-served", P::Listener, Clients),
        fault(C::OnlyLoopback, "only-loopback", P::Listener, Clients),
        fault(C::RelayNotServing, "relay-not-serving", P::Listener, Clients),
        fault(C::RelayTroubled, "relay-troubled", P::Listener, Nothing),
        fault(C::BacklogFull, "backlog-full", P::Listener, Clients),
        fault(C::Unanswered, "unanswered", P::Listener, Clients),
        known(C::OwnStopped, "own-attempt-stopped", P::Listener),
        fault(C::NoGreeting, "no-greeting", P::Listener, Clients),
        fault(C::GreetingRefuses, "greeting-refuses", P::Listener, Clients),
        fault(C::CertificateUnreadable, "certificate-unreadable", P::Tls, Clients),
        fault(C::KeyUnfit, "key-unfit", P::Tls, Clients),
        fault(C::CertificateExpired, "certificate-expired", P::Tls, Clients),
        fault(C::CertificateFuture, "certificate-not-yet-valid", P::Tls, Clients),
        fault(C::CertificateName, "certificate-name", P::Tls, Clients),
        fault(C::CertificateOrder, "certificate-order", P::Tls, Clients),
        fault(C::CertificateOverdue, "certificate-overdue", P::Tls, Clients),
        known(C::CertificateEnds, "certificate-ends-soon", P::Tls),
        known(C::RenewalFails, "renewal-fails", P::Tls),
        fault(C::FileUnreadable, "file-unreadable", P::Session, Clients),
        fault(C::UsersDamaged, "users-damaged", P::Session, Clients),
        fault(C::NoLogins, "no-logins", P::Session, Clients),
        fault(C::LoginWaits, "login-waits", P::Session, Clients),
        fault(C::NoPolicy, "no-policy", P::Session, Clients),
        known(C::TagWithoutPolicy, "tag-without-policy", P::Session),
        fault(C::SessionsFull, "sessions-full", P::Session, Clients),
        fault(C::SpoolMissing, "spool-missing", P::Spool, Clients),
        fault(C::SpoolReadOnly, "spool-read-only", P::Spool, Clients),
        fault(C::SpoolUnwritable, "spool-unwritable", P::Spool, Clients),
        fault(C::DiskFull, "disk-full", P::Spool, Clients),
        fault(C::InodesFull, "inodes-full", P::Spool, Clients),
        fault(C::SpoolFull, "spool-full", P::Spool, Clients),
        fault(C::SpoolInMemory, "spool-in-memory", P::Spool, Nothing),
        fault(C::NotFlushing, "not-flushing", P::Spool, Nothing),
        known(C::FlushSlow, "flush-slow", P::Spool),
        known(C::SpoolDamaged, "spool-damaged", P::Spool),
        fault(C::NoRoute, "no-route", P::Route, Clients),
        fault(C::RouteHeld, "route-held", P::Route, Mail),
        fault(C::RouteFileUnreadable, "route-file-unreadable", P::Route, Mail),
        fault(C::RouteCertificate, "route-certificate", P::Route, Mail),
        fault(C::DkimKey, "dkim-key", P::Route, Mail),
        fault(C::HopName, "hop-name", P::NextHop, Mail),
        fault(C::HopUnreachable, "hop-unreachable", P::NextHop, Mail),
        fault(C::HopRefuses, "hop-refuses", P::NextHop, Mail),
        fault(C::FirewallOut, "firewall-out", P::NextHop, Mail),
        fault(C::Port25Closed, "port-25-closed", P::NextHop, Mail),
        fault(C::HopSilent, "hop-silent", P::NextHop, Mail),
        fault(C::HopGreeting, "hop-greeting", P::NextHop, Mail),
        known(C::HopSlow, "hop-slow", P::NextHop),
        fault(C::HopNoStarttls, "hop-no-starttls", P::NextHop, Mail),
        fault(C::HopCertificate, "hop-certificate", P::NextHop, Mail),
        fault(C::HopLogin, "hop-login", P::NextHop, Mail),
        fault(C::HopOther, "hop-other", P::NextHop, Mail),
        fault(C::RouteTroubled, "route-troubled", P::NextHop, Mail),
        fault(C::TellingFileUnreadable, "telling-file-unreadable", P::Host, Nothing),
        fault(C::UserMissing, "user-missing", P::Host, Clients),
        fault(C::Descriptors, "descriptors", P::Host, Clients),
        known(C::SandboxWeak, "sandbox-weak", P::Host),
        fault(C::ClockBehind, "clock-behind", P::Host, Nothing),
        known(C::ClockUnsynchronised, "clock-unsynchronised", P::Host),
        known(C::GroupMissing, "group-missing", P::Host),
        known(C::HostnameUnresolved, "hostname-unresolved", P::Host),
        known(C::HostnameElsewhere, "hostname-elsewhere", P::Host),
    ]
};

impl Cause {
    /// Returns every cause, in the order of the walk.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.cause)
    }

    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Returns its name: one word for programs and for config/docs/doctor.md.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.row().id
    }

    /// Returns where it is found.
    #[must_use]
    pub const fn place(self) -> Place {
        self.row().place
    }

    /// Returns how bad it is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        self.row().severity
    }

    /// Returns what it keeps from happening.
    #[must_use]
    pub const fn stops(self) -> Stops {
        self.row().stops
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_every_cause_at_its_number_and_no_name_twice() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.cause as usize, at, "{}", row.id);
        }
        assert_eq!(Cause::HostnameElsewhere as usize + 1, TABLE.len());
        let names: BTreeSet<&str> = Cause::all().map(Cause::id).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn the_manual_explains_every_cause_and_no_other() {
        let manual = include_str!("../../../config/docs/doctor.md");
        let explained: BTreeSet<&str> =
            manual.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let all: BTreeSet<&str> = Cause::all().map(Cause::id).collect();
        let missing: Vec<_> = all.difference(&explained).collect();
        let unknown: Vec<_> = explained.difference(&all).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "missing {missing:?}, no cause {unknown:?}"
        );
    }
}
