//! The allowlist as its owner sees it: who put an entry there, when, until when, and why.
//!
//! Entries come from two places that are kept apart: *declared* ones from the configuration, *added*
//! ones from the command line. The kernel has one entry a network, and there the declared one wins.
//! This file decides what changes; it reads no clock, writes no file and speaks to no kernel. Ends are times
//! of the boot clock, in nanoseconds.

mod wish;

use std::collections::{BTreeMap, BTreeSet};

use relay_common::addr::Net;
use relay_common::table::{ENTRIES_MAX, EntryId};

use super::cidr::ancestry;
use super::entry::{Entry, Origin};
use super::ids::Ids;
use crate::config;

pub use self::wish::{Author, NOTE_MAX, Refusal, Wish};

use self::wish::{Omitted, check, same, unchanged_if_declared, wished};

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

/// One change of the added entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// This entry stands in place of the network's former one.
    Put(Entry),
    /// The network has no added entry.
    Take(Net),
}

impl Edit {
    /// Returns the network that it is about.
    #[must_use]
    pub const fn net(&self) -> Net {
        match self {
            Self::Put(entry) => entry.net,
            Self::Take(net) => *net,
        }
    }
}

/// One change that the kernel's table needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Insert the entry of this network, or change it.
    Insert(Net),
    /// Remove the entry of this network.
    Remove(Net),
}

/// Changes that were decided and not yet made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to change.
    pub edits: Vec<Edit>,
    /// What to tell, one for each network asked about, or for each that a file changes.
    pub did: Vec<(Net, Did)>,
}

/// What a file keeps of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
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
    ids: Ids,
    /// The ends of added entries.
    ends: BTreeSet<(u64, Net)>,
}

impl Allowlist {
    /// Returns the list of what was kept and what is declared. Entries that ended by `now_ns` are left
    /// out; declared networks keep the number they had.
    #[must_use]
    pub fn new(kept: Kept, declared: &[config::Allow], now_ns: u64) -> Self {
        let mut list = Self::default();
        let live =
            kept.added.into_iter().filter(|entry| entry.until_ns.is_none_or(|end| end > now_ns));
        list.added = live.map(|entry| (entry.net, entry)).collect();
        let mut homeless = Vec::new();
        for entry in list.added.values() {
            list.ends.extend(entry.until_ns.map(|end| (end, entry.net)));
            if !list.ids.take(entry.id) {
                homeless.push(entry.net);
            }
        }
        for net in homeless {
            // Two entries of one number: a file that was put together by hand.
            if let (Some(entry), Some(id)) = (list.added.get_mut(&net), list.ids.take_lowest()) {
                entry.id = id;
            }
        }
        list.declare(declared, &kept.declared);
        list
    }

    /// Takes the declared entries of a new configuration in place of the former ones.
    pub fn redeclare(&mut self, declared: &[config::Allow]) {
        let former: BTreeMap<Net, EntryId> =
            self.declared.iter().map(|(net, entry)| (*net, entry.id)).collect();
        for (net, id) in &former {
            if self.added.get(net).is_none_or(|entry| entry.id != *id) {
                self.ids.free(*id);
            }
        }
        self.declare(declared, &former);
    }

    fn declare(&mut self, declared: &[config::Allow], former: &BTreeMap<Net, EntryId>) {
        self.declared.clear();
        let mut unnumbered = Vec::new();
        for allow in declared {
            // The configuration's reader refuses networks with host bits.
            let Ok(net) = super::net(allow.cidr) else { continue };
            let shared = self.added.get(&net).map(|entry| entry.id);
            let known =
                shared.or_else(|| former.get(&net).copied().filter(|id| self.ids.take(*id)));
            match known {
                Some(id) => drop(self.declared.insert(net, of_declared(allow, net, id))),
                None => unnumbered.push((net, allow)),
            }
        }
        for (net, allow) in unnumbered {
            // A list of more entries than there are numbers is refused before it comes here.
            if let Some(id) = self.ids.take_lowest() {
                self.declared.insert(net, of_declared(allow, net, id));
            }
        }
    }

    /// Returns what a file must keep.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept {
            declared: self.declared.iter().map(|(net, entry)| (*net, entry.id)).collect(),
            added: self.added.values().cloned().collect(),
        }
    }

    /// Returns the entries that count, in the order of their networks.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let mut declared = self.declared.values().peekable();
        let mut added = self.added.values().peekable();
        std::iter::from_fn(move || match (declared.peek(), added.peek()) {
            (Some(one), Some(other)) if one.net == other.net => {
                added.next();
                declared.next()
            }
            (Some(one), Some(other)) if one.net < other.net => declared.next(),
            (Some(_), None) => declared.next(),
            (_, Some(_)) => added.next(),
            (None, None) => None,
        })
    }

    /// Returns how many entries count.
    #[must_use]
    pub fn len(&self) -> usize {
        let hidden = self.declared.keys().filter(|net| self.added.contains_key(net)).count();
        self.declared.len() + self.added.len() - hidden
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.declared.is_empty() && self.added.is_empty()
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
        let within = |entries: &BTreeMap<Net, Entry>| -> BTreeSet<Net> {
            let inner = entries.range(net..).map(|(inner, _)| *inner);
            inner.take_while(|inner| net.covers(inner)).filter(|inner| inner != net).collect()
        };
        within(&self.declared).union(&within(&self.added)).count()
    }

    /// Decides what it takes to admit networks.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], and then for all of them.
    pub fn add(&self, wishes: &[Wish], author: Author) -> Result<Plan, Refusal> {
        let mut plan = Plan::default();
        let mut unused = self.ids.unused();
        let mut seen: BTreeMap<Net, Entry> = BTreeMap::new();
        let mut new = 0;
        for wish in wishes {
            check(wish)?;
            let net = wish.net;
            if let Some(declared) = self.declared.get(&net) {
                plan.did.push((net, unchanged_if_declared(declared, wish)?));
                continue;
            }
            let former = seen.get(&net).or_else(|| self.added.get(&net));
            new += usize::from(former.is_none());
            let id = former.map(|entry| entry.id).or_else(|| unused.next());
            let wanted = self.len() + new;
            let id = id.filter(|_| former.is_some() || wanted <= ENTRIES_MAX as usize);
            let id = id.ok_or(Refusal::Full { wanted })?;
            let entry = wished(wish, former, id, author, Omitted::Stays);
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
        Ok(plan)
    }

    /// Decides what it takes to make `wishes`, each of another network, the whole of the added entries.
    ///
    /// # Errors
    ///
    /// The place of the wish that is refused, and why; nothing for a list that is too long as a whole.
    pub fn replace(
        &self,
        wishes: &[Wish],
        author: Author,
    ) -> Result<Plan, (Option<usize>, Refusal)> {
        let mut plan = Plan::default();
        let mut unused = self.ids.unused();
        let mut wanted: BTreeSet<Net> = BTreeSet::new();
        for (place, wish) in wishes.iter().enumerate() {
            let refused = |refusal| (Some(place), refusal);
            check(wish).map_err(refused)?;
            if let Some(declared) = self.declared.get(&wish.net) {
                unchanged_if_declared(declared, wish).map_err(refused)?;
                continue;
            }
            wanted.insert(wish.net);
            let former = self.added.get(&wish.net);
            let full = Refusal::Full { wanted: self.declared.len() + wishes.len() };
            let id = former.map(|entry| entry.id).or_else(|| unused.next());
            let id = id.ok_or((None, full))?;
            let entry = wished(wish, former, id, author, Omitted::Goes);
            match former {
                Some(former) if same(former, &entry) => {}
                Some(_) => {
                    plan.did.push((wish.net, Did::Updated));
                    plan.edits.push(Edit::Put(entry));
                }
                None => {
                    plan.did.push((wish.net, Did::Added));
                    plan.edits.push(Edit::Put(entry));
                }
            }
        }
        for net in self.added.keys().filter(|net| !wanted.contains(net)) {
            // One that a declared entry hides stays for the time after that.
            if !self.declared.contains_key(net) {
                plan.did.push((*net, Did::Removed));
                plan.edits.push(Edit::Take(*net));
            }
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

    /// Decides which added entries end by `now_ns`.
    #[must_use]
    pub fn expire(&self, now_ns: u64) -> Plan {
        let over = self.ends.iter().take_while(|(end, _)| *end <= now_ns);
        let nets: Vec<Net> = over.map(|(_, net)| *net).collect();
        Plan {
            edits: nets.iter().copied().map(Edit::Take).collect(),
            did: nets.into_iter().map(|net| (net, Did::Removed)).collect(),
        }
    }

    /// Makes the changes. Returns what the kernel's table needs for it, and the edits that would take
    /// all of it back.
    pub fn apply(&mut self, edits: &[Edit]) -> (Vec<Step>, Vec<Edit>) {
        let mut undo = Vec::new();
        // Numbers are given back first: an edit may give one of them to another network.
        for edit in edits {
            if let Some(former) = self.added.remove(&edit.net()) {
                self.leave(&former);
                undo.push(Edit::Put(former));
            } else {
                undo.push(Edit::Take(edit.net()));
            }
        }
        for edit in edits {
            if let Edit::Put(entry) = edit {
                let mut entry = entry.clone();
                // Its number may have gone to another network meanwhile, as when a former list comes back.
                let shared = self.declared.get(&entry.net).is_some_and(|one| one.id == entry.id);
                if !self.ids.take(entry.id) && !shared {
                    entry.id = self.ids.take_lowest().unwrap_or(entry.id);
                }
                self.ends.extend(entry.until_ns.map(|end| (end, entry.net)));
                let earlier = self.added.insert(entry.net, entry.clone());
                // Named twice in one request: the last word counts.
                if let Some(end) = earlier.and_then(|earlier| earlier.until_ns)
                    && entry.until_ns != Some(end)
                {
                    self.ends.remove(&(end, entry.net));
                }
            }
        }
        undo.reverse();
        let step = |net: Net| match self.entry(&net) {
            Some(_) => Step::Insert(net),
            None => Step::Remove(net),
        };
        // A declared entry hides the change from the kernel.
        let nets = edits.iter().map(Edit::net).filter(|net| !self.declared.contains_key(net));
        (nets.map(step).collect(), undo)
    }

    fn leave(&mut self, former: &Entry) {
        if let Some(end) = former.until_ns {
            self.ends.remove(&(end, former.net));
        }
        if self.declared.get(&former.net).is_none_or(|declared| declared.id != former.id) {
            self.ids.free(former.id);
        }
    }
}

fn of_declared(allow: &config::Allow, net: Net, id: EntryId) -> Entry {
    Entry {
        net,
        id,
        tag: allow.tag.clone(),
        note: allow.note.clone(),
        connect_rate: allow.connect_rate,
        source_rate: allow.source_rate,
        until_ns: None,
        origin: Origin::Declared { line: allow.line },
    }
}

#[cfg(test)]
mod tests;
