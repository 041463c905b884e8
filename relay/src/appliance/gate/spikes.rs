//! Spikes as they are told: what the watch found, with who it was and what to do.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use relay_common::table::Sample as Frame;
use relay_common::verdict::Reason;

use super::keeper::Keeper;
use crate::control::wire;
use crate::event::Event;
use crate::event::spike::{Class, Share, Spike, TOP_MAX};
use crate::gate::cidr::network;
use crate::gate::clocks::Moment;
use crate::gate::{Counters, netlink};
use crate::watch::talkers::source;
use crate::watch::{Alert, Sample, Stage};

/// The spikes that status shows.
const SPIKES_SHOWN: usize = 16;
/// The latest refused frames that are kept, for one of them to be shown.
const FRAMES_KEPT: usize = 16;

/// What an alert is told with.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    /// What was counted by reason when all was quiet last, at most a second before a spike.
    before: BTreeMap<Reason, u64>,
    taken: Duration,
    frames: VecDeque<Frame>,
}

/// How old the counts of a quiet moment may become.
const QUIET_COUNTS: Duration = Duration::from_secs(1);

impl Grounds {
    /// Keeps a refused frame.
    pub fn note(&mut self, frame: Frame) {
        if self.frames.len() == FRAMES_KEPT {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// Takes what is counted while no spike of refusals is open.
    fn calm(&mut self, counters: &Counters, at: Duration) {
        if self.before.is_empty() || at.saturating_sub(self.taken) >= QUIET_COUNTS {
            (self.before, self.taken) = (counters.by_reason(), at);
        }
    }

    /// Returns what was refused since, by reason.
    fn reasons(&self, counters: &Counters) -> BTreeMap<&'static str, u64> {
        let since = |(reason, count): (Reason, u64)| {
            let before = self.before.get(&reason).copied().unwrap_or(0);
            (reason.name(), count.saturating_sub(before))
        };
        let refused = counters.by_reason().into_iter().filter(|(reason, _)| reason.drops());
        refused.map(since).filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the latest frame from a network of `top`, the first one's before the others'.
    fn frame(&self, top: &[Share]) -> Option<&Frame> {
        let of = |share: &Share| {
            let from = |frame: &&Frame| address(frame).is_some_and(|from| share.net.contains(from));
            self.frames.iter().rev().find(from)
        };
        top.iter().find_map(of)
    }
}

fn address(frame: &Frame) -> Option<IpAddr> {
    source(frame.family, frame.source).map(IpAddr::from)
}

impl Keeper {
    /// Has the watch look at the counters, and tells what it found.
    pub(super) fn watch_counters(&mut self, counters: &Counters, now: Moment) {
        let at = Duration::from_nanos(now.boot_ns);
        let alerts = self.watch.take(Sample { at, counts: [counters.dropped()] });
        if !alerts.is_empty()
            && let Ok(sketch) = self.gate.refused()
        {
            self.talkers.take(at, &sketch);
        }
        for alert in alerts {
            let spike = Box::new(self.spike(&alert, counters, now));
            self.journal.write(match alert.stage {
                Stage::Opened => Event::SpikeOpened(spike),
                Stage::Grew(times) => Event::SpikeGrew { times, spike },
                Stage::Closed => Event::SpikeClosed(spike),
            });
        }
        if self.watch.open().next().is_none() {
            self.grounds.calm(counters, at);
        }
    }

    fn spike(&self, alert: &Alert, counters: &Counters, now: Moment) -> Spike {
        let top = self.top();
        let sample = self.grounds.frame(&top).map(shown);
        Spike {
            class: alert.class,
            subject: String::new(),
            since: now.wall_of(u64::try_from(alert.since.as_nanos()).unwrap_or(u64::MAX)),
            window: Duration::from_secs(1),
            count: alert.per_second,
            usual: alert.usual_per_second,
            total: alert.total,
            lasted: alert.lasted,
            command: command(alert.class, &top),
            reasons: self.grounds.reasons(counters),
            top,
            sample,
            remark: None,
        }
    }

    /// Returns who is refused most.
    fn top(&self) -> Vec<Share> {
        let share = |talker: crate::watch::talkers::Talker| Share {
            net: network(talker.net),
            count: talker.frames,
            error: talker.error,
            reason: Reason::from_index(talker.reason.into()).map_or("?", Reason::name),
        };
        self.talkers.named(TOP_MAX).into_iter().map(share).collect()
    }

    /// Returns open spikes and those that are over, the newest first.
    pub(super) fn spikes(&self, now: Moment) -> Vec<wire::Spike> {
        let wall = |at: Duration| now.wall_of(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        let spike = |alert: &Alert, until| wire::Spike {
            class: alert.class.name().to_owned(),
            since: wall(alert.since),
            until,
            peak_per_second: alert.per_second,
            usual_per_second: alert.usual_per_second,
            total: alert.total,
        };
        let open = self.watch.open().map(|alert| spike(&alert, None));
        let over = self.watch.recent().filter(|alert| alert.stage == Stage::Closed);
        let over: Vec<_> =
            over.map(|alert| spike(alert, Some(wall(alert.since + alert.lasted)))).collect();
        open.chain(over.into_iter().rev()).take(SPIKES_SHOWN).collect()
    }
}

/// Says where a refused frame came from and why it was refused.
fn shown(frame: &Frame) -> String {
    let from = address(frame).map_or_else(|| "?".to_owned(), |from| from.to_string());
    let port = match frame.port {
        0 => String::new(),
        port => format!(" to port {port}"),
    };
    let by = match netlink::by_index(frame.interface) {
        Ok(Some(interface)) => interface.name,
        Ok(None) | Err(_) => format!("interface number {}", frame.interface),
    };
    let reason = Reason::from_index(frame.reason.into()).map_or("?", Reason::name);
    format!("{from}{port} by {by}, {reason}")
}

/// Returns the command to run first. A stranger is refused already, so what helps is to learn why; a listed
/// source that is too fast can be banned.
fn command(class: Class, top: &[Share]) -> String {
    let Some(loudest) = top.first() else { return "sallyport status".to_owned() };
    let over_rate = [Reason::OverRate, Reason::SourceOverRate].map(Reason::name);
    match class {
        Class::Refused | Class::Prefix | Class::Sources if over_rate.contains(&loudest.reason) => {
            format!("sallyport ban add {}", loudest.net)
        }
        Class::Refused | Class::Prefix | Class::Sources => {
            format!("sallyport explain {}", loudest.net.ip())
        }
        Class::Entry | Class::Logins => format!("sallyport ban add {}", loudest.net),
        Class::Forged | Class::Bypass | Class::Missing => "sallyport status".to_owned(),
    }
}
