//! A list as a set of networks, and what must be known of how they lie in each other.

use std::collections::BTreeMap;

use relay_common::addr::{Family, Net};
use relay_common::table::{EntryId, family_index};

use crate::gate::cidr::ancestry;

/// The lengths that a prefix may have.
const LENGTHS: usize = 129;

/// The networks of a list with their numbers, in order, and how many there are of each length.
#[derive(Clone, Debug)]
pub struct Roll {
    entries: BTreeMap<Net, EntryId>,
    /// How many there are by family and length.
    counts: [[u32; LENGTHS]; 2],
}

impl Default for Roll {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), counts: [[0; LENGTHS]; 2] }
    }
}

impl FromIterator<(Net, EntryId)> for Roll {
    fn from_iter<I: IntoIterator<Item = (Net, EntryId)>>(entries: I) -> Self {
        let mut roll = Self { entries: entries.into_iter().collect(), ..Self::default() };
        for net in roll.entries.keys() {
            *place(&mut roll.counts, net) += 1;
        }
        roll
    }
}

fn place<'a>(counts: &'a mut [[u32; LENGTHS]; 2], net: &Net) -> &'a mut u32 {
    &mut counts[family_index(net.family())][usize::from(net.prefix())]
}

impl Roll {
    /// Returns how many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many entries of a family there are.
    #[must_use]
    pub fn count(&self, family: Family) -> usize {
        self.counts[family_index(family)].iter().map(|count| *count as usize).sum()
    }

    /// Returns the entries in order: a network before those that lie in it.
    pub fn iter(&self) -> impl Iterator<Item = (Net, EntryId)> + '_ {
        self.entries.iter().map(|(net, id)| (*net, *id))
    }

    /// Returns the number of the entry of exactly this network.
    #[must_use]
    pub fn id(&self, net: &Net) -> Option<EntryId> {
        self.entries.get(net).copied()
    }

    /// Returns the lengths that entries of a family have.
    pub fn lengths(&self, family: Family) -> impl Iterator<Item = u8> + '_ {
        let counted = (0u8..).zip(&self.counts[family_index(family)]);
        counted.filter(|(_, count)| **count > 0).map(|(prefix, _)| prefix)
    }

    /// Returns whether another entry holds all of `net`.
    #[must_use]
    pub fn is_covered(&self, net: &Net) -> bool {
        ancestry(*net).skip(1).any(|around| self.entries.contains_key(&around))
    }

    /// Returns the entries inside `net` that no other entry holds but, perhaps, that of `net` itself, in
    /// order.
    pub fn outermost_inside<'a>(&'a self, net: &Net) -> impl Iterator<Item = Net> + 'a {
        let net = *net;
        let inside = self.entries.range(net..).map(|(inner, _)| *inner);
        let inside = inside.take_while(move |inner| net.covers(inner)).filter(move |i| *i != net);
        Outermost { inside, holder: None }
    }

    /// Returns the entries of a family that no other entry holds, in order.
    pub fn outermost(&self, family: Family) -> impl Iterator<Item = Net> + '_ {
        let inside = self.entries.keys().copied().filter(move |net| net.family() == family);
        Outermost { inside, holder: None }
    }

    /// Adds an entry; returns the number that its network had.
    pub fn insert(&mut self, net: Net, id: EntryId) -> Option<EntryId> {
        let former = self.entries.insert(net, id);
        if former.is_none() {
            *place(&mut self.counts, &net) += 1;
        }
        former
    }

    /// Takes an entry away; returns its number.
    pub fn remove(&mut self, net: &Net) -> Option<EntryId> {
        let id = self.entries.remove(net)?;
        *place(&mut self.counts, net) -= 1;
        Some(id)
    }
}

/// Leaves out what lies in something that was given before.
struct Outermost<I> {
    inside: I,
    holder: Option<Net>,
}

impl<I: Iterator<Item = Net>> Iterator for Outermost<I> {
    type Item = Net;

    fn next(&mut self) -> Option<Net> {
        let held = |net: &Net| self.holder.is_some_and(|holder| holder.covers(net));
        let net = self.inside.find(|net| !held(net))?;
        self.holder = Some(net);
        Some(net)
    }
}
