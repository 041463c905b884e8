//! Bans: asked for by operators and by the relay.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use relay_common::addr::Net;

use super::changes::{Terms, change, end, nets};
use super::keeper::Keeper;
use super::lists::Lists;
use super::telling::told;
use crate::control::caller::{Caller, Right};
use crate::control::wire::Change;
use crate::event::Event;
use crate::gate::allowlist::Did;
use crate::gate::bans::{self, Asker, Ban};
use crate::gate::cidr::{network, written};
use crate::gate::clocks::Moment;
use crate::gate::net;

/// What is said of a network that is banned no more, and admitted by nothing.
const NOT_LISTED: &str = "still kept out: no entry of the allowlist admits it";

/// Returns the addresses of this host's interfaces; none where the system does not tell.
pub(super) fn own_addresses() -> Vec<IpAddr> {
    let Ok(found) = getifaddrs() else { return Vec::new() };
    let address = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    };
    found.filter_map(|found| found.address.and_then(address)).collect()
}

impl Keeper {
    /// Returns what the relay may not ban: the addresses that this host listens on, and those that speak
    /// for others. A ban of a proxy would shut out all of its clients.
    pub(super) fn protected(&self) -> Vec<Net> {
        let listeners = self.config.listeners.iter();
        let own = listeners.clone().map(|listener| Net::from(listener.address.ip()));
        let proxies = listeners.flat_map(|listener| listener.proxy.iter().chain(&listener.xclient));
        // What is no network for the kernel is no source that could be banned.
        own.chain(proxies.filter_map(|network| net(*network).ok())).collect()
    }

    /// Bans networks. An operator's are in the file when this returns; the relay's are effective then,
    /// and in the file a tick later, so that ten a second cost no ten flushes.
    pub(super) fn ban_add(
        &mut self,
        networks: &[IpNetwork],
        terms: &Terms,
        caller: Caller,
        now: Moment,
    ) -> Result<Vec<Change>, String> {
        let asker = match caller.right {
            Right::Change => Asker::Operator,
            Right::Relay | Right::Look => Asker::Relay,
        };
        let nets = nets(networks)?;
        let clock = Duration::from_nanos(now.boot_ns);
        if asker == Asker::Relay && !self.budget.take(nets.len(), clock) {
            return Err(bans::Refusal::TooFast.to_string());
        }
        let named = terms.ttl_ms.map(|ttl_ms| end(ttl_ms, now)).transpose()?;
        let mut wanted = Vec::new();
        for net in nets {
            let (repeats, doubled) = self.lists.bans.next_time(&net, now.boot_ns);
            let until_ns = named.unwrap_or_else(|| now.after(doubled));
            let (note, uid, at) = (terms.note.clone(), caller.uid, now.wall);
            wanted.push(Ban { net, until_ns, note, uid, at, repeats });
        }
        let protected = self.protected();
        let weigh = |ban| self.lists.bans.weigh(ban, asker, &protected, now.boot_ns);
        let weighed: Result<Vec<Did>, _> = wanted.iter().map(weigh).collect();
        let weighed = weighed.map_err(|refusal| refusal.to_string())?;
        let changes: Vec<Change> = wanted
            .iter()
            .zip(&weighed)
            .map(|(ban, did)| change(ban.net, *did, Some(lasts(ban, now))))
            .collect();
        let new: Vec<Ban> = wanted
            .into_iter()
            .zip(weighed)
            .filter(|(_, did)| *did != Did::Unchanged)
            .map(|(ban, _)| ban)
            .collect();
        if !new.is_empty() {
            self.impose(new, asker, now)?;
        }
        match &self.pending.bans_file {
            Some(problem) if asker == Asker::Operator => Err(format!(
                "effective now, but a restart would forget it until this is mended: {problem}"
            )),
            Some(_) | None => Ok(changes),
        }
    }

    fn impose(&mut self, new: Vec<Ban>, asker: Asker, now: Moment) -> Result<(), String> {
        let rows: Vec<_> = new.iter().map(|ban| (ban.net, ban.until_ns)).collect();
        let imposed = self.gate.ban(&rows).map_err(|error| told(&error));
        // Those before a failure stand in the kernel, so the kernel says which are kept and told.
        let standing: std::collections::BTreeMap<_, _> = match &imposed {
            Ok(()) => rows.into_iter().collect(),
            Err(_) => self.gate.bans().into_iter().collect(),
        };
        let stands = |ban: &Ban| standing.get(&ban.net) == Some(&ban.until_ns);
        let new: Vec<Ban> = new.into_iter().filter(stands).collect();
        for ban in &new {
            let for_time = Duration::from_nanos(ban.until_ns.saturating_sub(now.boot_ns));
            self.journal.write(Event::Banned { net: network(ban.net), for_time, uid: ban.uid });
            self.lists.bans.put(ban.clone());
        }
        if let Some(first) = new.first() {
            let networks = new.iter().map(|ban| network(ban.net).to_string()).collect();
            let lasts = lasts(first, now);
            let note = first.note.as_ref().map(|note| format!("{lasts}: {note}"));
            // Their sessions end before the disk is waited for.
            self.list_changed();
            self.note(Some(first.uid), "ban add", networks, note.or(Some(lasts)), now);
        }
        match asker {
            Asker::Relay => self.unsaved_bans.extend(new),
            Asker::Operator => self.append_bans(&new, now),
        }
        imposed
    }

    /// Lifts bans. The file comes first: a ban must not be lifted that a restart would bring back
    /// without a word.
    pub(super) fn ban_remove(
        &mut self,
        networks: &[IpNetwork],
        caller: Caller,
        now: Moment,
    ) -> Result<Vec<Change>, String> {
        let nets = nets(networks)?;
        // What the relay asked for last is written before anything of it is lifted.
        self.flush_bans(now);
        let lifted: Vec<Ban> = nets.iter().filter_map(|net| self.lists.bans.take(net)).collect();
        if !lifted.is_empty() {
            let gone: Vec<_> = lifted.iter().map(|ban| ban.net).collect();
            let written = match self.files.append_bans(&[], &gone, now) {
                Err(_) => self.files.save_bans(self.lists.bans.iter(), self.lists.bans.past(), now),
                done => done,
            };
            if let Err(error) = written {
                for ban in lifted {
                    self.lists.bans.put(ban);
                }
                return Err(format!("nothing was changed: {error}"));
            }
            let networks = gone.iter().map(|net| network(*net).to_string()).collect();
            self.note(Some(caller.uid), "ban remove", networks, None, now);
        }
        let mut changes = Vec::new();
        for net in nets {
            let was_banned = self.gate.unban(&net).map_err(|error| {
                let problem = told(&error);
                // The file says so already; the tables follow within a second of being able to.
                self.pending.tables = Some(problem.clone());
                format!("lifted, but not effective yet: {problem}")
            })?;
            let did = if was_banned {
                self.journal.write(Event::Unbanned { net: network(net), uid: caller.uid });
                Did::Removed
            } else {
                Did::Unchanged
            };
            changes.push(change(net, did, self.remark_lifted(net, now)));
        }
        Ok(changes)
    }

    /// Says what keeps a network out still, the whole of it before parts.
    fn remark_lifted(&self, net: Net, now: Moment) -> Option<String> {
        let Lists { bans, allow, .. } = &self.lists;
        let broader = bans.covering(net).map(|ban| {
            let until = now.wall_of(ban.until_ns);
            format!("still banned by {} until {until:.0}", written(ban.net))
        });
        let is_open = self.mode().0 != "enforce";
        let is_listed = || is_open || allow.admitting(net).is_some() || allow.inside(&net) > 0;
        let narrower = || match bans.inside(&net) {
            0 => None,
            1 => Some("1 narrower ban still keeps a part of it out".to_owned()),
            inside => Some(format!("{inside} narrower bans still keep parts of it out")),
        };
        broader.or_else(|| (!is_listed()).then(|| NOT_LISTED.to_owned())).or_else(narrower)
    }

    /// Writes what the relay asked for since the last tick.
    pub(super) fn flush_bans(&mut self, now: Moment) {
        if !self.unsaved_bans.is_empty() {
            let new = std::mem::take(&mut self.unsaved_bans);
            self.append_bans(&new, now);
        }
    }

    fn append_bans(&mut self, new: &[Ban], now: Moment) {
        if self.files.bans_are_long() || self.files.append_bans(new, &[], now).is_err() {
            self.save_bans(now);
        }
    }

    /// Takes the bans away whose time is over. The kernel's clock ended them already; here they leave the
    /// tables, and are remembered.
    pub(super) fn expire_bans(&mut self, now: Moment) {
        let over = self.lists.bans.expire(now.boot_ns);
        for ban in &over {
            if let Err(error) = self.gate.unban(&ban.net) {
                self.pending.tables = Some(told(&error));
            }
        }
        // The file says the same when it is next written whole: a ban that is over is over there too.
    }
}

/// Says how long a ban lasts, and that it is longer for a repeat.
fn lasts(ban: &Ban, now: Moment) -> String {
    let until = format!("until {:.0}", now.wall_of(ban.until_ns));
    match ban.repeats {
        0 => until,
        repeats => format!("{until}, banned {repeats} times before"),
    }
}
