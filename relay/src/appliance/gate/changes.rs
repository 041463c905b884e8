//! What operators and the relay may change: the allowlist and the bans.

use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use relay_common::addr::{Family, Net};

use super::clocks::boot_time;
use super::keeper::{Keeper, told};
use crate::control::caller::{Caller, Right};
use crate::control::wire::{self, Change};
use crate::event::Event;
use crate::gate::allowlist::{Did, Plan, Refusal, Step, Wish};
use crate::gate::bans::{self, Asker, Ban, LONGEST};
use crate::gate::cidr::{network, written};
use crate::gate::entry::Origin;

/// The networks that one request may name.
const NETWORKS_MAX: usize = 4_096;

/// What an operator says about networks to admit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub tag: Option<String>,
    pub note: Option<String>,
    pub ttl_ms: Option<u64>,
}

impl Keeper {
    /// Admits networks: all of them, or none.
    pub(super) fn allow_add(
        &mut self,
        networks: &[IpNetwork],
        terms: Terms,
        caller: Caller,
        now: Timestamp,
    ) -> Result<Vec<Change>, String> {
        let until = terms.ttl_ms.map(|ttl_ms| end(ttl_ms, now)).transpose()?;
        let wish = |net| Wish { net, tag: terms.tag.clone(), note: terms.note.clone(), until };
        let wishes: Vec<Wish> = nets(networks)?.into_iter().map(wish).collect();
        let plan = self.lists.allow.add(&wishes, caller.uid, now).map_err(|no| self.refused(no))?;
        self.widen(&plan, now)?;
        let mut changes = Vec::new();
        for (net, did) in plan.did {
            if did != Did::Unchanged {
                let tag = self.lists.allow.entry(&net).and_then(|entry| entry.tag.clone());
                self.journal.write(Event::AllowAdded { net: network(net), tag, uid: caller.uid });
            }
            changes.push(change(net, did, self.remark_added(net)));
        }
        Ok(changes)
    }

    /// Makes a change that admits more: the file first, then the kernel; if either fails, neither.
    fn widen(&mut self, plan: &Plan, now: Timestamp) -> Result<(), String> {
        if plan.edits.is_empty() {
            return Ok(());
        }
        let (steps, undo) = self.lists.allow.apply(&plan.edits);
        if let Err(error) = self.files.save_allowlist(&self.lists.allow.kept()) {
            self.lists.allow.apply(&undo);
            return Err(format!("nothing was changed: {error}"));
        }
        self.pending.allow_file = None;
        if let Err(error) = self.take_steps(&steps) {
            self.lists.allow.apply(&undo);
            self.save_allowlist();
            self.restore_tables(now);
            return Err(format!("nothing was changed: {error}"));
        }
        // An entry that took another tag is narrower for some.
        if plan.did.iter().any(|(_, did)| *did == Did::Updated) {
            self.admits_less();
        }
        Ok(())
    }

    /// Makes steps that admit less in the kernel; what fails is tried again each second.
    pub(super) fn narrow(&mut self, steps: &[Step], now: Timestamp) {
        if let Err(error) = self.take_steps(steps) {
            self.trouble(&error);
            self.restore_tables(now);
        }
    }

    fn take_steps(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            let done = match step {
                Step::Insert(entry) => self.gate.insert(entry),
                Step::Remove(net) => self.gate.remove(net).map(drop),
            };
            done.map_err(|error| told(&error))?;
        }
        Ok(())
    }

    /// Shuts networks out: all of them, or none.
    pub(super) fn allow_remove(
        &mut self,
        networks: &[IpNetwork],
        caller: Caller,
        now: Timestamp,
    ) -> Result<Vec<Change>, String> {
        let nets = nets(networks)?;
        let plan = self.lists.allow.remove(&nets).map_err(|no| self.refused(no))?;
        let (steps, _) = self.lists.allow.apply(&plan.edits);
        if !steps.is_empty() || !plan.edits.is_empty() {
            self.save_allowlist();
            self.narrow(&steps, now);
            self.admits_less();
        }
        let mut changes = Vec::new();
        for (net, did) in plan.did {
            if did == Did::Removed {
                self.journal.write(Event::AllowRemoved { net: network(net), uid: caller.uid });
            }
            let inside = if nets.len() == 1 { self.lists.allow.inside(&net) } else { 0 };
            changes.push(change(net, did, self.remark_removed(net, inside)));
        }
        match (&self.pending.tables, &self.pending.allow_file) {
            (Some(problem), _) => Err(format!("removed, but not effective yet: {problem}")),
            (None, Some(problem)) => Err(format!(
                "effective now, but a restart would forget it until this is mended: {problem}"
            )),
            (None, None) => Ok(changes),
        }
    }

    fn remark_added(&self, net: Net) -> Option<String> {
        let banned = self.lists.bans.covering(net).map(|ban| {
            format!("it stays banned by {} until {}", written(ban.net), whole_seconds(ban.until))
        });
        let everybody = (net.prefix() == 0).then(|| {
            let family = match net.family() {
                Family::V4 => "IPv4",
                Family::V6 => "IPv6",
            };
            format!("WARNING: this admits every {family} address")
        });
        everybody.or(banned)
    }

    fn remark_removed(&self, net: Net, inside: usize) -> Option<String> {
        let broader = self.lists.allow.admitting(net).map(|entry| {
            let place = match entry.origin {
                Origin::Declared { line } => {
                    format!(", declared in {}:{line}", self.file.display())
                }
                Origin::Added { .. } => String::new(),
            };
            format!("still admitted by {}{place}", network(entry.net))
        });
        let narrower =
            (inside > 0).then(|| format!("{inside} narrower entries still admit parts of it"));
        broader.or(narrower)
    }

    fn refused(&self, refusal: Refusal) -> String {
        match refusal {
            Refusal::Declared { net, line } => format!(
                "{} is declared in {}:{line}; change it there and reload",
                network(net),
                self.file.display()
            ),
            other @ (Refusal::Tag(_) | Refusal::Note | Refusal::Full { .. }) => other.to_string(),
        }
    }

    /// Bans networks. An operator's are in the file when this returns; the relay's are effective then,
    /// and in the file a tick later, so that ten a second cost no ten flushes.
    pub(super) fn ban_add(
        &mut self,
        networks: &[IpNetwork],
        terms: Terms,
        caller: Caller,
        now: Timestamp,
    ) -> Result<Vec<Change>, String> {
        let until = end(terms.ttl_ms.unwrap_or_default(), now)?;
        let (uid, at) = (caller.uid, now);
        let ban = |net| Ban { net, until, note: terms.note.clone(), uid, at };
        let wanted: Vec<Ban> = nets(networks)?.into_iter().map(ban).collect();
        let asker = match caller.right {
            Right::Change => Asker::Operator,
            Right::Relay | Right::Look => Asker::Relay,
        };
        let clock = Duration::from_nanos(self.gate.now_ns());
        if asker == Asker::Relay && !self.budget.take(wanted.len(), clock) {
            return Err(bans::Refusal::TooFast.to_string());
        }
        let protected = self.protected();
        let weighed: Result<Vec<Did>, _> =
            wanted.iter().map(|ban| self.lists.bans.weigh(ban, asker, &protected)).collect();
        let weighed = weighed.map_err(|refusal| refusal.to_string())?;
        let mut changes = Vec::new();
        let mut imposed = Ok(());
        for (ban, did) in wanted.into_iter().zip(weighed) {
            changes.push(change(ban.net, did, None));
            if did != Did::Unchanged && imposed.is_ok() {
                imposed = self.impose(ban, now);
            }
        }
        // Those before a failure stand, so they are kept and told like any other.
        if changes.iter().any(|change| change.did != wire::Did::Unchanged) {
            self.admits_less();
            match asker {
                Asker::Relay => drop(self.pending.bans_file.get_or_insert_default()),
                Asker::Operator => self.save_bans(),
            }
        }
        imposed?;
        match &self.pending.bans_file {
            Some(problem) if asker == Asker::Operator => Err(format!(
                "effective now, but a restart would forget it until this is mended: {problem}"
            )),
            Some(_) | None => Ok(changes),
        }
    }

    fn impose(&mut self, ban: Ban, now: Timestamp) -> Result<(), String> {
        let until_ns = boot_time(ban.until, self.gate.now_ns(), now);
        self.gate.ban(&ban.net, until_ns).map_err(|error| told(&error))?;
        let for_time = Duration::try_from(ban.until.duration_since(now)).unwrap_or_default();
        self.journal.write(Event::Banned { net: network(ban.net), for_time, uid: ban.uid });
        self.lists.bans.put(ban);
        Ok(())
    }

    /// Lifts bans. The file comes first: a ban must not be lifted that a restart would bring back
    /// without a word.
    pub(super) fn ban_remove(
        &mut self,
        networks: &[IpNetwork],
        caller: Caller,
    ) -> Result<Vec<Change>, String> {
        let nets = nets(networks)?;
        let lifted: Vec<Ban> = nets.iter().filter_map(|net| self.lists.bans.take(net)).collect();
        if !lifted.is_empty() {
            if let Err(error) = self.files.save_bans(self.lists.bans.iter()) {
                for ban in lifted {
                    self.lists.bans.put(ban);
                }
                return Err(format!("nothing was changed: {error}"));
            }
            self.pending.bans_file = None;
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
            let broader = self.lists.bans.covering(net);
            let remark = broader.map(|ban| format!("still banned by {}", written(ban.net)));
            changes.push(change(net, did, remark));
        }
        Ok(changes)
    }
}

fn nets(networks: &[IpNetwork]) -> Result<Vec<Net>, String> {
    if networks.is_empty() || networks.len() > NETWORKS_MAX {
        return Err(format!("name 1 to {NETWORKS_MAX} networks, not {}", networks.len()));
    }
    let net = |network: &IpNetwork| {
        crate::gate::net(*network).map_err(|error| format!("{network}: {error}"))
    };
    networks.iter().map(net).collect()
}

fn end(ttl_ms: u64, now: Timestamp) -> Result<Timestamp, String> {
    let ttl = Duration::from_millis(ttl_ms);
    if ttl.is_zero() || ttl > LONGEST {
        return Err("the time to live is more than nothing and at most ten years".to_owned());
    }
    now.checked_add(ttl).map_err(|error| error.to_string())
}

fn change(net: Net, did: Did, remark: Option<String>) -> Change {
    let did = match did {
        Did::Added => wire::Did::Added,
        Did::Updated => wire::Did::Updated,
        Did::Unchanged => wire::Did::Unchanged,
        Did::Removed => wire::Did::Removed,
    };
    Change { cidr: network(net), did, remark }
}

/// Returns the time without the part that nobody reads.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
