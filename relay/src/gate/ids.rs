//! The numbers of entries: which are taken.

use relay_common::table::{ENTRIES_MAX, EntryId};

/// A bit for each number, set while an entry has it. The lowest free one is given next, so that the kernel's
/// rows stay close together.
#[derive(Clone, Debug)]
pub struct Ids {
    words: Vec<u64>,
    /// Below this word all numbers are taken.
    first: usize,
}

impl Default for Ids {
    fn default() -> Self {
        Self { words: vec![0; ENTRIES_MAX as usize / 64], first: 0 }
    }
}

impl Ids {
    /// Takes a number; returns whether it was free and is one that an entry may have.
    pub fn take(&mut self, id: EntryId) -> bool {
        let Some(word) = self.words.get_mut(id.0 as usize / 64) else { return false };
        let bit = 1 << (id.0 % 64);
        let was_free = *word & bit == 0;
        *word |= bit;
        was_free
    }

    /// Gives a number back.
    pub fn free(&mut self, id: EntryId) {
        let place = id.0 as usize / 64;
        if let Some(word) = self.words.get_mut(place) {
            *word &= !(1 << (id.0 % 64));
            self.first = self.first.min(place);
        }
    }

    /// Returns the free numbers, the lowest first.
    pub fn unused(&self) -> impl Iterator<Item = EntryId> + '_ {
        let words = self.words.iter().enumerate().skip(self.first);
        let ids = words.filter(|(_, word)| **word != u64::MAX).flat_map(|(place, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 0).map(move |bit| place * 64 + bit)
        });
        ids.map(|id| EntryId(u32::try_from(id).expect("invariant: fewer than ENTRIES_MAX")))
    }

    /// Takes the lowest free number; none if all are taken.
    pub fn take_lowest(&mut self) -> Option<EntryId> {
        let id = self.unused().next()?;
        self.take(id);
        self.first = id.0 as usize / 64;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_next_and_none_is_given_twice() {
        let mut ids = Ids::default();
        assert!(ids.take(EntryId(1)));
        assert!(!ids.take(EntryId(1)));
        assert_eq!(ids.take_lowest(), Some(EntryId(0)));
        assert_eq!(ids.take_lowest(), Some(EntryId(2)));
        ids.free(EntryId(1));
        assert_eq!(ids.unused().take(2).collect::<Vec<_>>(), [EntryId(1), EntryId(3)]);
        assert_eq!(ids.take_lowest(), Some(EntryId(1)));
        assert!(!ids.take(EntryId(ENTRIES_MAX)));
    }

    #[test]
    fn there_are_as_many_as_the_kernel_has_rows() {
        let mut ids = Ids::default();
        let count = std::iter::from_fn(|| ids.take_lowest()).count();
        assert_eq!(count, ENTRIES_MAX as usize);
        ids.free(EntryId(77));
        assert_eq!((ids.take_lowest(), ids.take_lowest()), (Some(EntryId(77)), None));
    }
}
