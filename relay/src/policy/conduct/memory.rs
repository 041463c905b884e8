//! A map that forgets.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::Source;

/// What is known of sources, bounded: beyond its limit the one that was touched longest ago is
/// forgotten. Every operation takes the logarithm of the limit.
#[derive(Debug)]
pub(super) struct Memory<T> {
    most: usize,
    known: HashMap<Source, Known<T>>,
    /// When each was touched last.
    order: BTreeSet<(Instant, Source)>,
}

#[derive(Debug)]
struct Known<T> {
    touched: Instant,
    what: T,
}

impl<T: Default> Memory<T> {
    /// Returns a memory of at most so many sources, one at least.
    pub(super) fn new(most: usize) -> Self {
        Self { most, known: HashMap::new(), order: BTreeSet::new() }
    }

    /// Returns what is known of a source, to be changed at `now`; a new one takes the place of the
    /// oldest if there is no other.
    pub(super) fn touch(&mut self, source: Source, now: Instant) -> &mut T {
        if let Some(known) = self.known.get(&source) {
            self.order.remove(&(known.touched, source));
        } else if self.known.len() >= self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.known.remove(&oldest);
        }
        self.order.insert((now, source));
        let fresh = || Known { touched: now, what: T::default() };
        let known = self.known.entry(source).or_insert_with(fresh);
        known.touched = now;
        &mut known.what
    }

    /// Returns what is known of a source.
    pub(super) fn get(&self, source: Source) -> Option<&T> {
        self.known.get(&source).map(|known| &known.what)
    }

    /// Returns when a source was touched last.
    pub(super) fn touched(&self, source: Source) -> Option<Instant> {
        self.known.get(&source).map(|known| known.touched)
    }

    /// Forgets a source.
    pub(super) fn forget(&mut self, source: Source) {
        if let Some(known) = self.known.remove(&source) {
            self.order.remove(&(known.touched, source));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn source(number: u8) -> Source {
        Source::of([192, 0, 2, number].into(), None)
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Touch(u8),
        Forget(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![4 => (0..12_u8).prop_map(Step::Touch), 1 => (0..12_u8).prop_map(Step::Forget)]
    }

    proptest! {
        /// The model is a list in the order of the last touch.
        #[test]
        fn the_last_touched_are_known_and_nobody_else(
            steps in proptest::collection::vec(step(), 0..100),
        ) {
            let (begin, mut memory) = (Instant::now(), Memory::<u32>::new(5));
            let mut model: Vec<(u8, u32)> = Vec::new();
            for (seconds, step) in (0..).zip(steps) {
                match step {
                    Step::Touch(number) => {
                        let place = model.iter().position(|(known, _)| *known == number);
                        let count = place.map_or(0, |place| model.remove(place).1) + 1;
                        model.push((number, count));
                        let first = model.len().saturating_sub(5);
                        model.drain(..first);
                        *memory.touch(source(number), begin + Duration::from_secs(seconds)) += 1;
                    }
                    Step::Forget(number) => {
                        model.retain(|(known, _)| *known != number);
                        memory.forget(source(number));
                    }
                }
                prop_assert_eq!(memory.order.len(), model.len());
                prop_assert_eq!(memory.known.len(), model.len());
                for (number, count) in &model {
                    prop_assert_eq!(memory.get(source(*number)), Some(count));
                }
            }
        }
    }
}
