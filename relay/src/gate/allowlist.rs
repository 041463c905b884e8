//! The allowlist as its owner sees it: who put an entry there, when, until when, and why.
//!
//! Entries come from two places that are kept apart: *declared* ones from the configuration, *added*
//! ones from the command line. The kernel has one entry a network, and there the declared one wins.
//! This file decides what changes; it reads no clock, writes no file and speaks to no kernel.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use relay_common::addr::Net;
use relay_common::table::{ENTRIES_MAX, EntryId, TagName};

use super::cidr::ancestry;
use super::entry::{Entry, Origin};
use crate::config;

/// The longest note, octets.
pub const NOTE_MAX: usize = 256;

/// The wish of an operator to admit one network. What it leaves out, an existing entry keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The network.
    pub net: Net,
    /// The tag.
    pub tag: Option<String>,
    /// The note.
    pub note: Option<String>,
    /// The end.
    pub until: Option<Timestamp>,
}

/// What became of one network of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// It has an entry now.
    Added,
    /// Its entry says something else now.
    Updated,
    /// All was as asked for before.
    Unchanged,
    /// It has no entry any more.
    Removed,
}

/// Why a change is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The entry is the configuration's.
    #[error("{net} is declared in line {line} of the configuration")]
    Declared {
        /// The network.
        net: Net,
        /// The line that declares it.
        line: usize,
    },
    /// The tag cannot be kept.
    #[error("tag {0:?}: at most 32 octets, none of them zero or a control character")]
    Tag(String),
    /// The note cannot be kept.
    #[error("note: at most {NOTE_MAX} octets, none of them a control character")]
    Note,
    /// The list is full.
    #[error("the allowlist has room for {ENTRIES_MAX} entries, {wanted} are wanted")]
    Full {
        /// How many there would be.
        wanted: usize,
    },
}

/// One change of the added entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// This entry stands in place of the network's former one.
    Put(Entry),
    /// The network has no added entry.
    Take(Net),
}

/// One change that the kernel's table needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Insert this entry, or change the one of its network.
    Insert(super::Entry),
    /// Remove the entry of this network.
    Remove(Net),
}

/// Changes that were decided and not yet made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to change.
    pub edits: Vec<Edit>,
    /// What to tell, one for each network asked about.
    pub did: Vec<(Net, Did)>,
}

/// What a file keeps of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The last number that was given away.
    pub last_id: u32,
    /// The numbers of declared entries.
    pub declared: BTreeMap<Net, EntryId>,
    /// The added entries.
    pub added: Vec<Entry>,
}

/// The whole list.
#[derive(Debug, Default)]
pub struct Allowlist {
    declared: BTreeMap<Net, Entry>,
    added: BTreeMap<Net, Entry>,
    last_id: u32,
    /// The earliest end of an added entry.
    next_end: Option<Timestamp>,
}

impl Allowlist {
    /// Returns the list of what was kept and what is declared. Entries that ended by `now` are left
    /// out; declared networks keep the number they had.
    #[must_use]
    pub fn new(kept: Kept, declared: &[config::Allow], now: Timestamp) -> Self {
        let mut list = Self { last_id: kept.last_id, ..Self::default() };
        let live = kept.added.into_iter().filter(|entry| entry.until.is_none_or(|end| end > now));
        list.added = live.map(|entry| (entry.net, entry)).collect();
        let highest =
            list.added.values().map(|entry| entry.id).chain(kept.declared.values().copied());
        list.last_id = highest.map(|id| id.0).fold(list.last_id, u32::max);
        list.next_end = list.earliest_end();
        list.declare(declared, &kept.declared);
        list
    }

    /// Takes the declared entries of a new configuration in place of the former ones.
    pub fn redeclare(&mut self, declared: &[config::Allow]) {
        let former = self.declared.iter().map(|(net, entry)| (*net, entry.id)).collect();
        self.declare(declared, &former);
    }

    fn declare(&mut self, declared: &[config::Allow], former: &BTreeMap<Net, EntryId>) {
        self.declared.clear();
        for allow in declared {
            // The configuration's reader refuses networks with host bits.
            let Ok(net) = super::net(allow.cidr) else { continue };
            let known = self.added.get(&net).map(|entry| entry.id).or(former.get(&net).copied());
            let id = known.unwrap_or_else(|| self.take_id());
            let entry = Entry {
                net,
                id,
                tag: allow.tag.clone(),
                note: allow.note.clone(),
                connect_rate: allow.connect_rate,
                until: None,
                origin: Origin::Declared { line: allow.line },
            };
            self.declared.insert(net, entry);
        }
    }

    /// Returns what a file must keep.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept {
            last_id: self.last_id,
            declared: self.declared.iter().map(|(net, entry)| (*net, entry.id)).collect(),
            added: self.added.values().cloned().collect(),
        }
    }

    /// Returns the entries that count, in the order of their networks.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let hidden = |net: &Net| self.declared.contains_key(net);
        let added = self.added.values().filter(move |entry| !hidden(&entry.net));
        let mut all: Vec<&Entry> = self.declared.values().chain(added).collect();
        all.sort_unstable_by_key(|entry| entry.net);
        all.into_iter()
    }

    /// Returns the entry of exactly this network.
    #[must_use]
    pub fn entry(&self, net: &Net) -> Option<&Entry> {
        self.declared.get(net).or_else(|| self.added.get(net))
    }

    /// Returns the entry that admits every address of `net`: the narrowest that covers it.
    #[must_use]
    pub fn admitting(&self, net: Net) -> Option<&Entry> {
        ancestry(net).find_map(|net| self.entry(&net))
    }

    /// Returns how many entries lie inside `net`, itself not counted.
    #[must_use]
    pub fn inside(&self, net: &Net) -> usize {
        self.entries().filter(|entry| entry.net != *net && net.covers(&entry.net)).count()
    }

    /// Decides what it takes to admit networks.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], and then for all of them.
    pub fn add(&self, wishes: &[Wish], uid: u32, now: Timestamp) -> Result<Plan, Refusal> {
        let mut plan = Plan::default();
        let mut last_id = self.last_id;
        let mut seen: BTreeMap<Net, Entry> = BTreeMap::new();
        for wish in wishes {
            check(wish)?;
            let net = wish.net;
            if let Some(declared) = self.declared.get(&net) {
                plan.did.push((net, unchanged_if_declared(declared, wish)?));
                continue;
            }
            let former = seen.get(&net).or_else(|| self.added.get(&net));
            let id = former.map_or_else(|| self.id_after(&mut last_id), |entry| entry.id);
            let entry = wished(wish, former, id, Origin::Added { uid, at: now });
            let did = match former {
                None => Did::Added,
                Some(former) if same(former, &entry) => Did::Unchanged,
                Some(_) => Did::Updated,
            };
            plan.did.push((net, did));
            if did != Did::Unchanged {
                plan.edits.push(Edit::Put(entry.clone()));
                seen.insert(net, entry);
            }
        }
        let new = seen.keys().filter(|net| !self.added.contains_key(net)).count();
        let wanted = self.entries().count() + new;
        if new > 0 && wanted > ENTRIES_MAX as usize {
            return Err(Refusal::Full { wanted });
        }
        Ok(plan)
    }

    /// Decides what it takes to shut networks out.
    ///
    /// # Errors
    ///
    /// [`Refusal::Declared`], and then for all of them.
    pub fn remove(&self, nets: &[Net]) -> Result<Plan, Refusal> {
        let mut plan = Plan::default();
        let mut taken = BTreeSet::new();
        for net in nets {
            if let Some(Entry { origin: Origin::Declared { line }, .. }) = self.declared.get(net) {
                return Err(Refusal::Declared { net: *net, line: *line });
            }
            if self.added.contains_key(net) && taken.insert(*net) {
                plan.edits.push(Edit::Take(*net));
                plan.did.push((*net, Did::Removed));
            } else {
                plan.did.push((*net, Did::Unchanged));
            }
        }
        Ok(plan)
    }

    /// Decides which added entries end by `now`.
    #[must_use]
    pub fn expire(&self, now: Timestamp) -> Plan {
        if self.next_end.is_none_or(|end| end > now) {
            return Plan::default();
        }
        let over = self.added.values().filter(|entry| entry.until.is_some_and(|end| end <= now));
        let nets: Vec<Net> = over.map(|entry| entry.net).collect();
        Plan {
            edits: nets.iter().copied().map(Edit::Take).collect(),
            did: nets.into_iter().map(|net| (net, Did::Removed)).collect(),
        }
    }

    /// Makes the changes. Returns what the kernel's table needs for it, and the edits that would take
    /// all of it back.
    pub fn apply(&mut self, edits: &[Edit]) -> (Vec<Step>, Vec<Edit>) {
        let mut undo = Vec::new();
        for edit in edits {
            let (net, former) = match edit {
                Edit::Put(entry) => {
                    self.last_id = self.last_id.max(entry.id.0);
                    (entry.net, self.added.insert(entry.net, entry.clone()))
                }
                Edit::Take(net) => (*net, self.added.remove(net)),
            };
            undo.push(former.map_or(Edit::Take(net), Edit::Put));
        }
        undo.reverse();
        self.next_end = self.earliest_end();
        let nets = edits.iter().map(|edit| match edit {
            Edit::Put(entry) => entry.net,
            Edit::Take(net) => *net,
        });
        let step = |net: Net| match self.entry(&net) {
            Some(entry) => Step::Insert(entry.for_kernel()),
            None => Step::Remove(net),
        };
        // A declared entry hides the change from the kernel.
        (nets.filter(|net| !self.declared.contains_key(net)).map(step).collect(), undo)
    }

    fn earliest_end(&self) -> Option<Timestamp> {
        self.added.values().filter_map(|entry| entry.until).min()
    }

    fn take_id(&mut self) -> EntryId {
        let mut last = self.last_id;
        let id = self.id_after(&mut last);
        self.last_id = last;
        id
    }

    /// Numbers are not used again until all were: a counter never speaks of two entries.
    fn id_after(&self, last: &mut u32) -> EntryId {
        loop {
            *last = last.wrapping_add(1).max(1);
            let id = EntryId(*last);
            // Only after four thousand million entries can a number be taken.
            let wrapped = *last < self.last_id;
            let taken = || self.declared.values().chain(self.added.values()).any(|e| e.id == id);
            if !(wrapped && taken()) {
                return id;
            }
        }
    }
}

fn check(wish: &Wish) -> Result<(), Refusal> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    if let Some(tag) = &wish.tag
        && (tag.is_empty() || TagName::new(tag).is_none() || !printable(tag))
    {
        return Err(Refusal::Tag(tag.clone()));
    }
    if wish.note.as_ref().is_some_and(|note| note.len() > NOTE_MAX || !printable(note)) {
        return Err(Refusal::Note);
    }
    Ok(())
}

fn unchanged_if_declared(declared: &Entry, wish: &Wish) -> Result<Did, Refusal> {
    let asks_for_more = wish.until.is_some()
        || (wish.tag.is_some() && wish.tag != declared.tag)
        || (wish.note.is_some() && wish.note != declared.note);
    match declared.origin {
        Origin::Declared { line } if asks_for_more => {
            Err(Refusal::Declared { net: declared.net, line })
        }
        Origin::Declared { .. } | Origin::Added { .. } => Ok(Did::Unchanged),
    }
}

fn wished(wish: &Wish, former: Option<&Entry>, id: EntryId, origin: Origin) -> Entry {
    let kept = |of: fn(&Entry) -> Option<String>| former.and_then(of);
    Entry {
        net: wish.net,
        id,
        tag: wish.tag.clone().or_else(|| kept(|entry| entry.tag.clone())),
        note: wish.note.clone().or_else(|| kept(|entry| entry.note.clone())),
        connect_rate: None,
        until: wish.until.or_else(|| former.and_then(|entry| entry.until)),
        origin,
    }
}

/// Who asked, and when, is no part of what an entry says.
fn same(former: &Entry, entry: &Entry) -> bool {
    let with_origin = Entry { origin: former.origin, ..entry.clone() };
    *former == with_origin
}

#[cfg(test)]
mod tests;
