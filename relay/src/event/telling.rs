//! Which events a person is told of, and in which words.
//!
//! It sees one event at a time, so an end says `since` the moment at which it is over, unless the event knows
//! better: whoever keeps the troubles knows their beginnings. An end may come for what never began, and means
//! nothing then.

use jiff::Timestamp;

use super::Event;
use super::alert::{Alert, Stage};
use super::class::CLASSES;
use super::wording::{closed, noted, opened, way_of, word};

/// The class of alerts about interfaces by which no client can come.
const INTERFACE: &str = "interface-down";

/// The class of alerts about listeners at which no client is served.
const LISTENER: &str = "listener-down";

/// The class of alerts about the time of certificates.
const CERTIFICATE: &str = "certificate-ends";

/// The room whose troubles are nobody's alerts: it carries alerts, and would speak about itself for ever.
pub const OWN_ROOM: &str = "alert";

impl Event {
    /// Returns what a person is to be told because of this event, which happened `at`: mostly nothing, and two
    /// things where it ends two troubles.
    #[must_use]
    pub fn alerts(&self, at: Timestamp) -> Vec<Alert> {
        let alerts = self.told(at);
        debug_assert!(
            alerts.iter().all(|alert| CLASSES.contains(&&*alert.class)),
            "nobody could silence it: {alerts:?}"
        );
        alerts
    }

    fn told(&self, at: Timestamp) -> Vec<Alert> {
        let wording = match self {
            Self::GateLost { interface, problem } => {
                opened("gate-missing", format!("the gate does not stand on {interface}: {problem}"))
                    .about(interface)
                    .first("sallyport status")
                    .with("problem", problem)
            }
            Self::GateRestored { interface } => gate_stands(interface),
            Self::GateAttached { interface, .. } => {
                let over = closed("gate-detached", "the gate guards this host again");
                return vec![gate_stands(interface).at(at), over.at(at)];
            }
            Self::InterfaceDown { interface, severity, problem, down_for } => {
                opened(INTERFACE, format!("interface {interface}: {problem}"))
                    .of(*severity)
                    .about(interface)
                    .first("sallyport doctor")
                    .with("problem", problem)
                    .lasted(*down_for)
            }
            Self::InterfaceUp { interface } => {
                closed(INTERFACE, format!("clients can come by {interface} again")).about(interface)
            }
            Self::ListenerDown { listener, severity, problem, down_for } => {
                opened(LISTENER, format!("no client is served at {listener}: {problem}"))
                    .of(*severity)
                    .about(listener.to_string())
                    .first("sallyport doctor")
                    .with("problem", problem)
                    .lasted(*down_for)
            }
            Self::ListenerUp { listener } => {
                closed(LISTENER, format!("clients are served at {listener} again")).about(listener.to_string())
            }
            Self::GateSilent { problem } => opened(
                "gate-silent",
                format!("the gate's process does not answer, so nobody watches: {problem}"),
            )
            .first("sallyport doctor")
            .with("problem", problem),
            Self::GateHeard => closed("gate-silent", "the gate's process answers again"),
            Self::Unserved { problem, down_for } => {
                opened("not-serving", format!("no client is served behind the gate: {problem}"))
                    .first("sallyport doctor")
                    .with("problem", problem)
                    .lasted(*down_for)
            }
            Self::Served => closed("not-serving", "clients are served behind the gate again"),
            Self::RelaySilent { problem } => {
                opened("relay-silent", format!("the gate hears no relay: {problem}"))
                    .first("sallyport doctor")
                    .with("problem", problem)
            }
            Self::RelayHeard => closed("relay-silent", "the gate hears the relay again"),
            Self::Detached { uid } => opened(
                "gate-detached",
                "the gate was taken away: nothing keeps strangers from the ports",
            )
            .first("sallyport audit --since 1d")
            .with("uid", uid),
            Self::GateBypass { path, vlan, source, attempts } => opened(
                "gate-bypass",
                format!("connection attempts come around the first door: by {path}"),
            )
            .about(way_of(path))
            .first("sallyport status")
            .with("path", path)
            // Whoever sends chooses it: in the sentence it would make each attempt something new.
            .with_some("vlan", *vlan)
            .with("source", source)
            .with("attempts", attempts),
            Self::GateBypassOver { path } => {
                closed("gate-bypass", "nobody came by this way for an hour").about(way_of(path))
            }
            Self::ModeChanged { mode: "enforce", .. } => {
                closed("mode-observe", "the gate enforces again").warns()
            }
            Self::ModeChanged { until, uid, .. } => opened(
                "mode-observe",
                "the gate only observes: everybody reaches the guarded ports",
            )
            .warns()
            .first("sallyport mode enforce")
            .with_some("until", until.map(|until| format!("{until:.0}")))
            .with_some("uid", *uid),
            Self::AllowRolledBack { entries, uid: None } => noted(
                "allow-rolled-back",
                "an allowlist was not confirmed in time and made way for the former one",
            )
            .warns()
            .first("sallyport allow list")
            .with("entries", entries),
            Self::SpikeOpened(spike) => return vec![spike.alert(Stage::Opened, at)],
            Self::SpikeGrew { times, spike } => return vec![spike.alert(Stage::Grew(*times), at)],
            Self::SpikeClosed(spike) => return vec![spike.alert(Stage::Closed, at)],
            Self::RouteSuspended { route, reason } => opened(
                "route-suspended",
                format!("the route {route} is suspended, its mail waits: {reason}"),
            )
            .about(route)
            // `route resume` would send the same password again.
            .first("sallyport route list")
            .with("reason", reason),
            Self::RouteHeld { route, note, uid } => opened(
                "route-held",
                format!("an operator suspended the route {route}: its mail waits"),
            )
            .warns()
            .about(route)
            .first(format!("sallyport route resume {}", word(route)))
            .with_some("note", note.as_ref())
            .with("uid", uid),
            Self::RouteResumed { route, .. } => {
                let over = |class| {
                    closed(class, format!("the route {route} is used again")).about(route)
                };
                return vec![over("route-suspended").at(at), over("route-held").warns().at(at)];
            }
            Self::RouteRenewed { route, gone, hosts } => return renewed(route, *gone, hosts, at),
            Self::HostDown { route, host, reason } => {
                opened("host-down", format!("{host} of the route {route} is down: {reason}"))
                    .warns()
                    .about(format!("{route}/{host}"))
                    .first("sallyport route list")
                    .with("reason", reason)
            }
            Self::HostUp { route, host, down_for } => {
                closed("host-down", format!("{host} of the route {route} is used again"))
                    .warns()
                    .about(format!("{route}/{host}"))
                    .lasted(*down_for)
            }
            Self::RouteDown { route, reason } => opened(
                "route-down",
                format!("no host of the route {route} can be used, its mail waits: {reason}"),
            )
            .about(route)
            .first("sallyport route list")
            .with("reason", reason),
            Self::RouteUp { route } => {
                closed("route-down", format!("the route {route} carries mail again")).about(route)
            }
            Self::NextHopUnproved { route, next_hop, reason } => noted(
                "next-hop-unproved",
                format!(
                    "{next_hop} of the route {route} took our login and did not prove that it knows our \
                     password: it may be somebody else"
                ),
            )
            .about(format!("{route}/{next_hop}"))
            .first(format!("sallyport route suspend {}", word(route)))
            .with("reason", reason),
            Self::Trouble { room, .. } if *room == OWN_ROOM => return Vec::new(),
            Self::Trouble { room, problem } => {
                noted("trouble", problem.clone()).warns().about(*room).first("sallyport status")
            }
            Self::Broken { room, problem } => {
                let first = format!("journalctl -u sallyport-{room}");
                noted("process-broken", problem.clone()).about(*room).first(first)
            }
            Self::Offender { net, grounds } => {
                noted("client-banned", format!("the relay had {net} banned: {grounds}"))
                    .warns()
                    .about(net.to_string())
                    .first(format!("sallyport explain {}", net.ip()))
                    .with("grounds", grounds)
            }
            Self::LoginFailed { source, login, cause, failures } => {
                noted("login-failed", format!("logins from {source} fail again and again"))
                    .warns()
                    .about(source.to_string())
                    .first(format!("sallyport explain {source}"))
                    .with("login", login)
                    .with("cause", cause)
                    .with("failures", failures)
            }
            Self::BounceDropped { id, reason } => noted(
                "bounce-dropped",
                "a report about mail could be delivered to nobody and was dropped",
            )
            .warns()
            .first(format!("sallyport trace {id}"))
            .with("id", id)
            .with("reason", reason),
            Self::SpoolFull { messages, free_bytes } => {
                opened("spool-full", "the spool is full: clients are told to come back later (452)")
                    .first("sallyport queue list")
                    .with("messages", messages)
                    .with("free-bytes", free_bytes)
            }
            Self::SpoolRoom => closed("spool-full", "the spool has room again"),
            Self::CertificateEnds { file, until, severity, problem } => {
                let ends = opened(CERTIFICATE, problem.clone()).about(file).of(*severity);
                // Renewed by ACME or not, it says what is in the way.
                ends.first("sallyport doctor").with("until", format!("{until:.0}"))
            }
            Self::CertificateGood { file } => {
                closed(CERTIFICATE, format!("nothing is wrong any more with the time of {file}"))
                    .about(file)
            }
            Self::ShareUsed { login } => noted(
                "share-used",
                format!("the login {login} takes its quarter of the spool and is refused more"),
            )
            .warns()
            .about(login)
            .first(format!("sallyport queue list --login {}", word(login))),
            Self::SpoolDamaged { place, problem, became, remedy } => noted(
                "spool-damaged",
                format!("{place} in the spool is damaged ({problem}): {became}"),
            )
            .first("sallyport spool check")
            .with("place", place)
            .with("problem", problem)
            .with("remedy", remedy),
            // An operator who brings the former list back knows it.
            Self::AllowRolledBack { uid: Some(_), .. }
            | Self::Started { .. }
            | Self::Stopped { .. }
            | Self::AllowReplaced { .. }
            | Self::Kernel { .. }
            | Self::AllowAdded { .. }
            | Self::AllowRemoved { .. }
            | Self::AllowExpired { .. }
            | Self::Banned { .. }
            | Self::Unbanned { .. }
            | Self::Accepted { .. }
            | Self::Repeated { .. }
            | Self::Settled(_)
            | Self::Delivered { .. }
            | Self::Deferred { .. }
            | Self::Failed { .. }
            | Self::Captured { .. }
            | Self::CaptureEnded { .. }
            | Self::Bounced { .. }
            | Self::Notified { .. }
            // It is what the configuration asks for.
            | Self::RouteUnverified { .. }
            // The gate tells of it, as the spike that it is.
            | Self::LoginFailedMore { .. }
            | Self::QueueChanged { .. }
            | Self::Dropped { .. }
            | Self::SessionCut { .. }
            | Self::Told { .. } => return Vec::new(),
        };
        vec![wording.at(at)]
    }
}

/// Ends what was wrong with a route that another configuration has otherwise.
fn renewed(route: &str, gone: bool, hosts: &[String], at: Timestamp) -> Vec<Alert> {
    let words = if gone {
        format!("the configuration has no route {route} any more")
    } else {
        format!("the configuration of the route {route} changed: it begins anew")
    };
    let down = hosts.iter().map(|host| {
        closed("host-down", words.clone()).warns().about(format!("{route}/{host}")).at(at)
    });
    let mut over = vec![closed("route-suspended", words.clone()).about(route).at(at)];
    over.extend(down);
    // Where no host was down, or they are down still, this says nothing of them.
    if gone || !hosts.is_empty() {
        over.push(closed("route-down", words.clone()).about(route).at(at));
    }
    if gone {
        over.push(closed("route-held", words.clone()).warns().about(route).at(at));
    }
    over
}

fn gate_stands(interface: &str) -> super::wording::Wording {
    closed("gate-missing", format!("the gate stands on {interface}")).about(interface)
}

#[cfg(test)]
mod tests;
