//! Spikes as they are told: what the watch found, with who it was and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use relay_common::addr::Net;
use relay_common::table::Sample as Frame;
use relay_common::verdict::Reason;

use super::banning::own_addresses;
use super::busy::Doer;
use super::keeper::Keeper;
use super::reasons::CONNECTED;
use super::remedy::command;
use super::shares::bound;
use super::unanswered::passed;
use super::watching::Watching;
use crate::control::wire;
use crate::event::Event;
use crate::event::spike::{Class, Share, Spike, TOP_MAX};
use crate::gate::cidr::network;
use crate::gate::clocks::Moment;
use crate::gate::{Counters, netlink};
use crate::watch::talkers::{Talker, source};
use crate::watch::{Alert, Stage, WINDOWS};

/// The spikes that status shows.
const SPIKES_SHOWN: usize = 16;
/// So many attempts from each source, or fewer, are a scan.
const SCAN: u64 = 50;

fn address(frame: &Frame) -> Option<IpAddr> {
    source(frame.family, frame.source).map(IpAddr::from)
}

fn wall(at: Duration, now: Moment) -> jiff::Timestamp {
    now.wall_of(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns whether a class is about strangers, whose networks are estimates.
const fn is_of_strangers(class: Class) -> bool {
    match class {
        Class::Refused | Class::Prefix | Class::Sources => true,
        Class::Entry | Class::Forged | Class::Bypass | Class::Missing | Class::Logins => false,
    }
}

/// How often what is shown of an open spike is looked at again, and of how many in a tick.
const LOOKED_EVERY: Duration = Duration::from_secs(1);
const LOOKED_MAX: usize = 4;

/// What is shown of a spike besides its numbers: who had a part in it, and why they were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    /// When that was.
    at: Duration,
    /// Since when the spike is open, as it was told first: the two clocks differ by a little each time.
    since: Option<jiff::Timestamp>,
    top: Vec<Share>,
    reasons: BTreeMap<&'static str, u64>,
    sample: Option<String>,
    /// Whom the sample names.
    named: Option<IpAddr>,
}

impl Picture {
    /// Takes over what was shown before, as far as it is known no better.
    fn go_on(&mut self, before: Option<Self>) {
        let Some(before) = before else { return };
        self.since = before.since;
        if self.sample.is_none() {
            (self.sample, self.named) = (before.sample, before.named);
        }
    }
}

impl Keeper {
    /// Writes an alert of the watch into the journal. Of a bypass and of a gate that is missing other events tell
    /// at once.
    pub(super) fn tell(&mut self, alert: &Alert, counters: &Counters, now: Moment) {
        let spike = match alert.class {
            Class::Bypass | Class::Missing => return,
            Class::Refused
            | Class::Prefix
            | Class::Entry
            | Class::Sources
            | Class::Forged
            | Class::Logins => Box::new(self.spike(alert, counters, now)),
        };
        self.journal.write(match alert.stage {
            Stage::Opened => Event::SpikeOpened(spike),
            Stage::Grew(times) => Event::SpikeGrew { times, spike },
            Stage::Closed => Event::SpikeClosed(spike),
        });
    }

    fn spike(&mut self, alert: &Alert, counters: &Counters, now: Moment) -> Spike {
        let of = (alert.class, alert.net);
        let picture = match alert.stage {
            Stage::Opened | Stage::Grew(_) => {
                let mut picture = self.picture(alert, alert.window, counters);
                let Watching { watch, pictures, .. } = &mut self.watching;
                let before = pictures.remove(&of);
                // A spike of which there are too many ends untold.
                let open: BTreeSet<_> = watch.open().map(|open| (open.class, open.net)).collect();
                pictures.retain(|of, _| open.contains(of));
                picture.go_on(before);
                picture.since = picture.since.or_else(|| Some(wall(alert.since, now)));
                pictures.insert(of, picture.clone());
                picture
            }
            // Whoever came since had no part in it.
            Stage::Closed => self.watching.pictures.remove(&of).unwrap_or_default(),
        };
        let Picture { top, reasons, sample, named, since, .. } = picture;
        let is_crowd = top.is_empty() && matches!(alert.class, Class::Refused | Class::Sources);
        let crowd = is_crowd.then(|| self.crowd(alert));
        let remark: Vec<_> = self.remark(alert, counters).into_iter().chain(crowd).collect();
        let remark = Some(remark.join("; ")).filter(|remark| !remark.is_empty());
        let spared = match alert.class {
            Class::Entry => self.spared(),
            Class::Refused
            | Class::Prefix
            | Class::Sources
            | Class::Forged
            | Class::Bypass
            | Class::Missing
            | Class::Logins => Vec::new(),
        };
        let plain = alert.spike(since.unwrap_or_else(|| wall(alert.since, now)));
        let command = command(alert.class, alert.stage, &top, named, &spared);
        let command = command.unwrap_or_else(|| plain.command.clone());
        Spike { top, reasons, sample, remark, command, ..plain }
    }

    /// Returns the networks that no command is to ban: proxies, and this host.
    fn spared(&self) -> Vec<Net> {
        let own = own_addresses().into_iter().map(Net::from);
        self.protected().into_iter().chain(own).collect()
    }

    /// Looks who has a part in a spike, by what came in the time `told` up to now.
    fn picture(&self, alert: &Alert, told: Duration, counters: &Counters) -> Picture {
        let mut top = self.top(alert, told);
        let reasons = self.reasons(alert, counters);
        if matches!(alert.class, Class::Refused | Class::Sources) {
            bound(&mut top, &reasons);
        }
        // A network that may have sent nothing is not named.
        top.retain(|share| share.error < share.count || !is_of_strangers(alert.class));
        let frame = self.frame(alert, &top);
        let sample = match alert.class {
            Class::Logins => self.watching.failure.clone(),
            Class::Refused
            | Class::Prefix
            | Class::Entry
            | Class::Sources
            | Class::Forged
            | Class::Bypass
            | Class::Missing => frame.map(in_words),
        };
        let named = frame.and_then(address);
        Picture { at: alert.at, since: None, top, reasons, sample, named }
    }

    /// Looks again at spikes that are loud at this moment: at the end that is what is shown of them.
    pub(super) fn look_at_spikes(&mut self, at: Duration, counters: &Counters) {
        let Watching { watch, pictures, .. } = &self.watching;
        let open: Vec<Alert> = watch.open().collect();
        let is_due = |alert: &&Alert| {
            let last = pictures.get(&(alert.class, alert.net));
            let is_loud = alert.since + alert.lasted == at;
            is_loud && last.is_some_and(|last| at.saturating_sub(last.at) >= LOOKED_EVERY)
        };
        let due: Vec<Alert> = open.iter().filter(is_due).take(LOOKED_MAX).copied().collect();
        for alert in due {
            let told = at.saturating_sub(alert.since) + alert.window;
            let mut now = self.picture(&Alert { at, ..alert }, told, counters);
            let of = (alert.class, alert.net);
            now.go_on(self.watching.pictures.remove(&of));
            self.watching.pictures.insert(of, now);
        }
    }

    /// Returns what was counted since the spike began, by reason: of a network as its samples share it out.
    fn reasons(&self, alert: &Alert, counters: &Counters) -> BTreeMap<&'static str, u64> {
        let watching = &self.watching;
        match alert.class {
            Class::Refused | Class::Sources | Class::Forged | Class::Logins => {
                watching.reasons.since(alert.class, &watching.counted(counters))
            }
            Class::Prefix => {
                let shares = alert.net.map(|net| watching.talkers.reasons(&net, alert.total));
                let named = |(reason, count): (u8, u64)| {
                    Some((Reason::from_index(reason.into())?.name(), count))
                };
                shares.into_iter().flatten().filter_map(named).collect()
            }
            Class::Entry => BTreeMap::from([(CONNECTED, alert.total)]),
            Class::Bypass | Class::Missing => BTreeMap::new(),
        }
    }

    /// Returns who it was, the loudest first.
    fn top(&self, alert: &Alert, told: Duration) -> Vec<Share> {
        let watching = &self.watching;
        let refused = |talker: Talker| Share {
            net: network(talker.net),
            count: talker.frames,
            error: talker.error,
            reason: Reason::from_index(talker.reason.into()).map_or("?", Reason::name),
        };
        let busy = |reason: &'static str| {
            move |Doer { address, count, error }: Doer| Share {
                net: address.into(),
                count,
                error,
                reason,
            }
        };
        let named = |limit| watching.talkers.named(told, limit);
        let begun = alert.at.saturating_sub(told);
        match alert.class {
            Class::Refused | Class::Sources => named(TOP_MAX).into_iter().map(refused).collect(),
            Class::Prefix => {
                let inside = |talker: &Talker| alert.net.is_some_and(|net| net.covers(&talker.net));
                let inside = named(usize::MAX).into_iter().filter(inside);
                inside.take(TOP_MAX).map(refused).collect()
            }
            Class::Entry => {
                let top = watching.connecting.top(alert.net, begun, TOP_MAX);
                top.into_iter().map(busy(CONNECTED)).collect()
            }
            Class::Logins => {
                let top = watching.failing.top(None, begun, TOP_MAX);
                top.into_iter().map(busy("login_failed")).collect()
            }
            Class::Forged => {
                let waiting = watching.handshakes.waiting();
                watching.unanswered.top(waiting, |entry| passed(self.gate.as_ref(), entry))
            }
            Class::Bypass | Class::Missing => Vec::new(),
        }
    }

    /// Returns the latest frame from a network of `top`, the first one's before the others'; where sources are so many
    /// that none of these is among the frames, the latest from the network of the spike, or of all. Of forged attempts
    /// one whose source completed no handshake of late is preferred.
    fn frame(&self, alert: &Alert, top: &[Share]) -> Option<&Frame> {
        let watching = &self.watching;
        let (frames, is_forged) = match alert.class {
            Class::Refused | Class::Prefix | Class::Sources => (&watching.refused_frames, false),
            Class::Entry => (&watching.admitted_frames, false),
            Class::Forged => (&watching.admitted_frames, true),
            Class::Bypass | Class::Missing | Class::Logins => return None,
        };
        let connects = |from: IpAddr| is_forged && watching.connecting.knows(from);
        let of = |share: &Share| {
            let is_its = |from: &IpAddr| share.net.contains(*from);
            let mut its =
                frames.latest().filter(|frame| address(frame).is_some_and(|from| is_its(&from)));
            let latest = its.next()?;
            let others = std::iter::once(latest).chain(its);
            let mut unknown =
                others.filter(|frame| address(frame).is_some_and(|from| !connects(from)));
            Some(unknown.next().unwrap_or(latest))
        };
        let any = || {
            frames.latest().find(|frame| {
                let from = address(frame).map(Net::from);
                alert.net.is_none_or(|net| from.is_some_and(|from| net.covers(&from)))
            })
        };
        top.iter().find_map(of).or_else(any)
    }

    /// Says of a flood in which nobody stands out how many there were in its window. When it is over, that would be who
    /// came after it.
    fn crowd(&self, alert: &Alert) -> String {
        let is_open = alert.stage != Stage::Closed;
        let counted = WINDOWS.iter().zip(self.watching.crowd);
        let its = counted.into_iter().find(|(window, _)| is_open && **window == alert.window);
        let at_least = its.and_then(|(_, count)| count);
        let whom = match at_least {
            None | Some(0 | 1) => String::new(),
            Some(sources) => format!(" among at least {sources} different sources"),
        };
        format!("no network stands out{whom}")
    }

    fn remark(&self, alert: &Alert, counters: &Counters) -> Option<String> {
        match alert.class {
            Class::Sources if alert.count > 0 && alert.stage != Stage::Closed => {
                let begun = alert.at.saturating_sub(alert.window);
                let counted = self.watching.counted(counters);
                let refused = self.watching.reasons.refused_since(begun, &counted);
                let each = refused / alert.count;
                let what = match (alert.stage, each <= SCAN) {
                    // Of one that has just begun nobody knows yet.
                    (Stage::Opened, true) => "so far",
                    (Stage::Grew(_) | Stage::Closed, true) => "a scan:",
                    (_, false) => "a flood:",
                };
                Some(format!("{what} {each} attempts from each source or fewer"))
            }
            Class::Forged => Some(
                "somebody sends attempts in the name of listed clients, or answers do not reach them".to_owned(),
            ),
            Class::Refused
            | Class::Prefix
            | Class::Entry
            | Class::Sources
            | Class::Bypass
            | Class::Missing
            | Class::Logins => None,
        }
    }

    /// Returns open spikes and those that are over, the newest first. Of the open ones entries come first, of which
    /// each is a client that somebody else may drive; then the classes of the whole host, then strangers' networks,
    /// of which there may be many.
    pub(super) fn spikes(&self, now: Moment) -> Vec<wire::Spike> {
        let spike = |alert: &Alert, until| wire::Spike {
            class: alert.class.name().to_owned(),
            subject: alert.net.map(|net| network(net).to_string()),
            since: wall(alert.since, now),
            until,
            window_seconds: alert.window.as_secs(),
            peak: alert.count,
            usual: alert.usual,
            peak_per_second: alert.per_second(),
            usual_per_second: alert.usual_per_second(),
            total: alert.total,
        };
        let watch = &self.watching.watch;
        let mut open: Vec<Alert> = watch.open().collect();
        open.sort_by_key(|alert| match alert.class {
            Class::Entry => 0,
            Class::Refused
            | Class::Sources
            | Class::Forged
            | Class::Bypass
            | Class::Missing
            | Class::Logins => 1,
            Class::Prefix => 2,
        });
        let open = open.iter().map(|alert| spike(alert, None));
        let over = watch.recent().filter(|alert| alert.stage == Stage::Closed);
        let over: Vec<_> =
            over.map(|alert| spike(alert, Some(wall(alert.since + alert.lasted, now)))).collect();
        open.chain(over.into_iter().rev()).take(SPIKES_SHOWN).collect()
    }

    /// Returns how many spikes of each class are open.
    pub(super) fn open_spikes(&self) -> BTreeMap<String, u64> {
        let mut open = BTreeMap::new();
        for alert in self.watching.watch.open() {
            *open.entry(alert.class.name().to_owned()).or_default() += 1;
        }
        open
    }
}

/// Says where a frame came from and why it was refused, or passed.
fn in_words(frame: &Frame) -> String {
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
