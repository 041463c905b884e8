//! What operators change an entry at a time: the allowlist.

use std::time::Duration;

use ipnetwork::IpNetwork;
use relay_common::addr::{Family, Net};

use super::applying::word;
use super::keeper::Keeper;
use super::telling::told;
use crate::config::unit;
use crate::control::caller::Caller;
use crate::control::wire::Change;
use crate::event::Event;
use crate::gate::allowlist::{Author, Did, Plan, Refusal, Step, Wish};
use crate::gate::audit;
use crate::gate::bans::LONGEST;
use crate::gate::cidr::{network, written};
use crate::gate::clocks::Moment;
use crate::gate::entry::Origin;

/// The networks that one request may name.
const NETWORKS_MAX: usize = 4_096;

/// What an operator says about networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub tag: Option<String>,
    pub note: Option<String>,
    pub ttl_ms: Option<u64>,
    pub connect_rate: Option<String>,
    pub source_rate: Option<String>,
}

impl Keeper {
    /// Admits networks: all of them, or none.
    pub(super) fn allow_add(
        &mut self,
        networks: &[IpNetwork],
        terms: &Terms,
        caller: Caller,
        now: Moment,
    ) -> Result<Vec<Change>, String> {
        self.require_confirmed()?;
        let until_ns = terms.ttl_ms.map(|ttl_ms| end(ttl_ms, now)).transpose()?;
        let rate = |text: &Option<String>| text.as_deref().map(unit::rate_text).transpose();
        let (connect_rate, source_rate) = (rate(&terms.connect_rate)?, rate(&terms.source_rate)?);
        let (tag, note) = (&terms.tag, &terms.note);
        let wish = |net| Wish {
            net,
            tag: tag.clone(),
            note: note.clone(),
            connect_rate,
            source_rate,
            until_ns,
        };
        let wishes: Vec<Wish> = nets(networks)?.into_iter().map(wish).collect();
        let author = Author { uid: caller.uid, at: now.wall };
        let plan = self.lists.allow.add(&wishes, author).map_err(|no| self.refused(no))?;
        let changed: Vec<Net> = plan
            .did
            .iter()
            .filter(|(_, did)| *did != Did::Unchanged)
            .map(|(net, _)| *net)
            .collect();
        if !changed.is_empty() {
            let networks = changed.iter().map(|net| network(*net).to_string()).collect();
            let detail = Some(terms.detail(until_ns, now)).filter(|detail| !detail.is_empty());
            let change = audited(Some(caller.uid), "allow add", networks, detail, now);
            self.audit.append(change).map_err(|error| format!("nothing was changed: {error}"))?;
        }
        self.widen(&plan, now)?;
        let mut changes = Vec::new();
        for (net, did) in plan.did {
            if did != Did::Unchanged {
                let tag = self.lists.allow.entry(&net).and_then(|entry| entry.tag.clone());
                self.journal.write(Event::AllowAdded { net: network(net), tag, uid: caller.uid });
            }
            changes.push(change(net, did, self.remark_added(net, now)));
        }
        Ok(changes)
    }

    /// Makes a change that admits more: the file first, then the kernel; if either fails, neither.
    fn widen(&mut self, plan: &Plan, now: Moment) -> Result<(), String> {
        if plan.edits.is_empty() {
            return Ok(());
        }
        let (steps, undo) = self.lists.allow.apply(&plan.edits);
        let written = if self.files.allow_is_long() || self.pending.allow_file.is_some() {
            self.files.save_allowlist(&self.lists.allow.kept(), now)
        } else {
            self.files.append_allow(&plan.edits, now)
        };
        if let Err(error) = written {
            self.lists.allow.apply(&undo);
            return Err(format!("nothing was changed: {error}"));
        }
        self.pending.allow_file = None;
        if let Err(error) = self.take_steps(&steps) {
            self.lists.allow.apply(&undo);
            self.save_allowlist(now);
            self.restore_tables();
            return Err(format!("nothing was changed: {error}"));
        }
        // An entry that took another tag is narrower for some.
        if plan.did.iter().any(|(_, did)| *did == Did::Updated) {
            self.admits_less();
        }
        self.note_change();
        Ok(())
    }

    /// Makes steps that admit less in the kernel; what fails is tried again each second.
    pub(super) fn narrow(&mut self, steps: &[Step]) {
        if let Err(error) = self.take_steps(steps) {
            self.trouble(&error);
            self.restore_tables();
        }
    }

    fn take_steps(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            let done = match step {
                Step::Insert(net) => match self.lists.allow.entry(net) {
                    Some(entry) => self.gate.insert(&entry.for_kernel()),
                    None => self.gate.remove(net).map(drop),
                },
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
        now: Moment,
    ) -> Result<Vec<Change>, String> {
        self.require_confirmed()?;
        let nets = nets(networks)?;
        let plan = self.lists.allow.remove(&nets).map_err(|no| self.refused(no))?;
        let (steps, _) = self.lists.allow.apply(&plan.edits);
        if !plan.edits.is_empty() {
            let appends = !self.files.allow_is_long() && self.pending.allow_file.is_none();
            if !(appends && self.files.append_allow(&plan.edits, now).is_ok()) {
                self.save_allowlist(now);
            }
            self.narrow(&steps);
            self.list_changed();
            let networks = plan.edits.iter().map(|edit| network(edit.net()).to_string()).collect();
            self.note(Some(caller.uid), "allow remove", networks, None, now);
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

    fn remark_added(&self, net: Net, now: Moment) -> Option<String> {
        let banned = self.lists.bans.covering(net).map(|ban| {
            let until = now.wall_of(ban.until_ns);
            format!("it stays banned by {} until {until:.0}", written(ban.net))
        });
        let everybody = (net.prefix() == 0).then(|| {
            let family = match net.family() {
                Family::V4 => "IPv4",
                Family::V6 => "IPv6",
            };
            format!("WARNING: this admits every {family} address")
        });
        let ends = self.lists.allow.entry(&net).and_then(|entry| entry.until_ns);
        let ends = ends.map(|until_ns| format!("until {:.0}", now.wall_of(until_ns)));
        everybody.or(banned).or(ends)
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
        let narrower = match inside {
            0 => None,
            1 => Some("1 narrower entry still admits a part of it".to_owned()),
            _ => Some(format!("{inside} narrower entries still admit parts of it")),
        };
        broader.or(narrower)
    }

    pub(super) fn refused(&self, refusal: Refusal) -> String {
        match refusal {
            Refusal::Declared { net, line } => format!(
                "{} is declared in {}:{line}; change it there and reload",
                network(net),
                self.file.display()
            ),
            other @ (Refusal::Tag(_) | Refusal::Note | Refusal::Full { .. }) => other.to_string(),
        }
    }
}

impl Terms {
    /// Says in one line what was asked for beside the networks.
    fn detail(&self, until_ns: Option<u64>, now: Moment) -> String {
        let until = until_ns.map(|until_ns| format!("{:.0}", now.wall_of(until_ns)));
        let parts = [
            ("tag", self.tag.clone()),
            ("connect-rate", self.connect_rate.clone()),
            ("source-rate", self.source_rate.clone()),
            ("until", until),
            ("note", self.note.clone()),
        ];
        let said = parts.into_iter().filter_map(|(key, value)| Some(format!("{key} {}", value?)));
        said.collect::<Vec<_>>().join(", ")
    }
}

/// Returns a line for the audit log.
pub(super) fn audited(
    uid: Option<u32>,
    verb: &str,
    networks: Vec<String>,
    detail: Option<String>,
    now: Moment,
) -> audit::Change {
    let (at, verb, removed) = (now.wall, verb.to_owned(), Vec::new());
    audit::Change { at, uid, verb, networks, removed, detail }
}

pub(super) fn nets(networks: &[IpNetwork]) -> Result<Vec<Net>, String> {
    if networks.is_empty() || networks.len() > NETWORKS_MAX {
        return Err(format!("name 1 to {NETWORKS_MAX} networks, not {}", networks.len()));
    }
    let net = |network: &IpNetwork| {
        crate::gate::net(*network).map_err(|error| format!("{network}: {error}"))
    };
    networks.iter().map(net).collect()
}

/// Returns the end of a time to live.
pub(super) fn end(ttl_ms: u64, now: Moment) -> Result<u64, String> {
    let ttl = Duration::from_millis(ttl_ms);
    if ttl.is_zero() || ttl > LONGEST {
        return Err("the time to live is more than nothing and at most ten years".to_owned());
    }
    Ok(now.after(ttl))
}

pub(super) fn change(net: Net, did: Did, remark: Option<String>) -> Change {
    Change { cidr: network(net), did: word(did), remark }
}
