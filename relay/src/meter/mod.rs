//! What is counted, and how Prometheus reads it.
//!
//! A [`Meter`] counts what happens in the relay's process: it hears every event, and rooms count in it what
//! a peer can cause at will, which is no event. [`catalogue`] names every metric with its labels, its unit
//! and its meaning; [`text`] writes them. Nothing here reads a clock: times come as arguments.
//!
//! Every set of labels is bounded: beyond its limit rows are counted together as [`OTHER`].

/// Every metric.
pub mod catalogue;
/// Counts by labels, up to a limit.
pub mod family;
/// Times by buckets.
pub mod histogram;
/// The text that Prometheus reads.
pub mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{Event, Level};
use crate::mail::message::MessageId;
use family::{Counts, Times};
use histogram::{Histogram, LONG, SHORT};

pub use family::OTHER;

/// The most listeners, routes and mechanisms that are told apart.
const FEW: usize = 128;
/// The most tags that are told apart.
const TAGS: usize = 512;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many there were.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the relay's process has counted since its start.
#[derive(Debug)]
pub struct Meter {
    /// Connections that got a session, by listener.
    pub sessions: Counts,
    /// Connections that got none, by reason.
    pub turned_away: Counts,
    /// Replies to clients, by code.
    pub replies: Counts,
    /// TLS handshakes with clients, by version.
    pub handshakes: Counts,
    /// TLS handshakes with clients that failed.
    pub handshakes_failed: Counter,
    /// Logins of clients, by mechanism and result.
    pub logins: Counts,
    /// What clients did that no well-behaved one does, by kind.
    pub offences: Counts,
    /// From MAIL to the 250 after the message.
    pub accepting: Histogram,
    cut: Counter,
    accepted: Counts,
    recipients: Counts,
    octets: Counts,
    repeated: Counter,
    outcomes: Counts,
    delivering: Times,
    reports: Counts,
    events: Counts,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            sessions: Counts::up_to(FEW),
            turned_away: Counts::up_to(FEW),
            replies: Counts::up_to(FEW),
            handshakes: Counts::up_to(FEW),
            handshakes_failed: Counter::default(),
            logins: Counts::up_to(FEW),
            offences: Counts::up_to(FEW),
            accepting: Histogram::of(SHORT),
            cut: Counter::default(),
            accepted: Counts::up_to(TAGS),
            recipients: Counts::up_to(TAGS),
            octets: Counts::up_to(TAGS),
            repeated: Counter::default(),
            outcomes: Counts::up_to(4 * FEW),
            delivering: Times::up_to(FEW, LONG),
            reports: Counts::up_to(FEW).expecting(&[&["failure"], &["dropped"]]),
            events: Counts::up_to(FEW).expecting(&[
                &[level(Level::Error)],
                &[level(Level::Warn)],
                &[level(Level::Info)],
                &[level(Level::Debug)],
            ]),
        }
    }
}

impl Meter {
    /// Counts an event that is written at `now`.
    pub fn hear(&self, event: &Event, now: Timestamp) {
        self.events.count(&[level(event.level())]);
        match event {
            Event::Accepted { tag, recipients, size_bytes, .. } => {
                let tag = [tag.as_deref().unwrap_or_default()];
                self.accepted.count(&tag);
                self.recipients.add(&tag, *recipients as u64);
                self.octets.add(&tag, *size_bytes);
            }
            Event::Repeated { .. } => self.repeated.count(),
            Event::Delivered { id, route, .. } => {
                self.outcomes.count(&[route, "delivered"]);
                self.delivering.observe(route, since(*id, now));
            }
            Event::Deferred { route, .. } => self.outcomes.count(&[route, "deferred"]),
            Event::Failed { route, .. } => self.outcomes.count(&[route, "failed"]),
            Event::Captured { route, .. } => self.outcomes.count(&[route, "captured"]),
            Event::Bounced { .. } => self.reports.count(&["failure"]),
            Event::Notified { news, .. } => self.reports.count(&[news]),
            Event::BounceDropped { .. } => self.reports.count(&["dropped"]),
            Event::SessionCut { .. } => self.cut.count(),
            Event::Started { .. }
            | Event::Stopped { .. }
            | Event::Trouble { .. }
            | Event::Broken { .. }
            | Event::GateAttached { .. }
            | Event::GateLost { .. }
            | Event::InterfaceDown { .. }
            | Event::InterfaceUp { .. }
            | Event::ListenerDown { .. }
            | Event::ListenerUp { .. }
            | Event::GateSilent { .. }
            | Event::GateHeard
            | Event::Unserved { .. }
            | Event::Served
            | Event::RelaySilent { .. }
            | Event::RelayHeard
            | Event::GateBypass { .. }
            | Event::GateBypassOver { .. }
            | Event::ModeChanged { .. }
            | Event::Detached { .. }
            | Event::AllowReplaced { .. }
            | Event::AllowRolledBack { .. }
            | Event::GateRestored { .. }
            | Event::Kernel { .. }
            | Event::AllowAdded { .. }
            | Event::AllowRemoved { .. }
            | Event::AllowExpired { .. }
            | Event::Banned { .. }
            | Event::Offender { .. }
            | Event::Unbanned { .. }
            | Event::SpikeOpened { .. }
            | Event::SpikeGrew { .. }
            | Event::SpikeClosed { .. }
            | Event::LoginFailed { .. }
            | Event::LoginFailedMore { .. }
            | Event::CaptureEnded { .. }
            | Event::RouteSuspended { .. }
            | Event::RouteHeld { .. }
            | Event::RouteResumed { .. }
            | Event::RouteRenewed { .. }
            | Event::HostDown { .. }
            | Event::HostUp { .. }
            | Event::RouteDown { .. }
            | Event::RouteUp { .. }
            | Event::NextHopUnproved { .. }
            | Event::RouteUnverified { .. }
            | Event::QueueChanged { .. }
            | Event::Dropped { .. }
            | Event::SpoolFull { .. }
            | Event::SpoolRoom
            | Event::CertificateEnds { .. }
            | Event::CertificateGood { .. }
            | Event::ShareUsed { .. }
            | Event::SpoolDamaged { .. }
            | Event::Settled(_)
            | Event::Told { .. } => {}
        }
    }

    /// Writes everything that was counted.
    pub fn write(&self, text: &mut text::Text) {
        self.sessions.write(text, &catalogue::SESSIONS_TOTAL);
        self.turned_away.write(text, &catalogue::TURNED_AWAY);
        text.one(&catalogue::SESSIONS_CUT, self.cut.total());
        self.replies.write(text, &catalogue::REPLIES);
        self.handshakes.write(text, &catalogue::HANDSHAKES);
        text.one(&catalogue::HANDSHAKES_FAILED, self.handshakes_failed.total());
        self.logins.write(text, &catalogue::LOGINS);
        self.offences.write(text, &catalogue::OFFENCES);
        self.accepted.write(text, &catalogue::ACCEPTED);
        self.recipients.write(text, &catalogue::RECIPIENTS);
        self.octets.write(text, &catalogue::RECEIVED_BYTES);
        text.one(&catalogue::REPEATED, self.repeated.total());
        text.histogram(&catalogue::ACCEPT_SECONDS, &[], &self.accepting);
        self.outcomes.write(text, &catalogue::OUTCOMES);
        self.delivering.write(text, &catalogue::DELIVERY_SECONDS);
        self.reports.write(text, &catalogue::REPORTS);
        self.events.write(text, &catalogue::EVENTS);
    }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

/// Returns how long ago an id was made: it is the microsecond of its making.
fn since(id: MessageId, now: Timestamp) -> Duration {
    let now = u64::try_from(now.as_microsecond()).unwrap_or(0);
    Duration::from_micros(now.saturating_sub(id.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(meter: &Meter) -> String {
        let mut text = text::Text::default();
        meter.write(&mut text);
        text.into_string()
    }

    #[test]
    fn a_message_is_counted_from_its_acceptance_to_its_outcome() {
        let (meter, id) = (Meter::default(), MessageId(1_000_000));
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let accepted = Event::Accepted {
            id,
            source: [192, 0, 2, 1].into(),
            login: None,
            tag: Some("billing".into()),
            recipients: 2,
            size_bytes: 700,
        };
        meter.hear(&accepted, at(1));
        let delivered = Event::Delivered {
            id,
            domain: "example.com".into(),
            route: "smarthost".into(),
            next_hop: "smtp.example.net:587".into(),
            reply: "250 2.0.0 yes".into(),
        };
        meter.hear(&delivered, at(4));
        let text = written(&meter);
        for line in [
            r#"sallyport_messages_accepted_total{tag="billing"} 1"#,
            r#"sallyport_recipients_accepted_total{tag="billing"} 2"#,
            r#"sallyport_received_bytes_total{tag="billing"} 700"#,
            r#"sallyport_outcomes_total{route="smarthost",outcome="delivered"} 1"#,
            r#"sallyport_delivery_seconds_bucket{route="smarthost",le="2.5"} 0"#,
            r#"sallyport_delivery_seconds_bucket{route="smarthost",le="5"} 1"#,
            r#"sallyport_delivery_seconds_sum{route="smarthost"} 3"#,
            r#"sallyport_events_total{level="debug"} 2"#,
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn an_id_of_tomorrow_is_no_negative_time() {
        let now = Timestamp::from_second(1).unwrap();
        assert_eq!(since(MessageId(2_000_000), now), Duration::ZERO);
        assert_eq!(since(MessageId(1), now), Duration::from_micros(999_999));
    }
}
