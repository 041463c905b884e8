//! Completed handshakes of listed clients: those that the relay took, and those that wait for it.
//!
//! Only who accepts knows whose handshake is completed, and a busy relay accepts late. A client that waits in the
//! queue of a listening socket has completed its own, so it counts as soon as it waits: else a busy hour would look
//! like forged attempts. A queue that is full takes no handshake whatever, so of that time nothing can be said, and
//! every attempt counts as if it were answered.
//!
//! Whoever waits is told by nobody: he may be of this host, or give up. So what is counted may be too much for as many
//! as wait, and is too little for no more than what is accepted in a tick: that is told after it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::gate::Queue;

/// How long a client that was accepted may take to be told: what waits no more and was not told yet counts on for
/// so long.
const TOLD_LATE: Duration = Duration::from_secs(1);
/// The looks that are kept, some that came early among them.
const KEPT: usize = 16;

/// Counts completed handshakes, since some fixed moment.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// The accepted clients of entries, and all of them.
    of_entries: u64,
    all: u64,
    /// How many were accepted or waited, of late.
    looks: VecDeque<(Duration, u64)>,
    /// What was counted for whoever waited and was of no entry, or went, and while no handshake could be completed.
    settled: u64,
    counted: u64,
}

impl Handshakes {
    /// Counts accepted clients as the relay tells them: those of entries, and all.
    pub const fn accept(&mut self, of_entries: u64, all: u64) {
        self.of_entries = self.of_entries.saturating_add(of_entries);
        self.all = self.all.saturating_add(all);
    }

    /// Takes how many clients wait at `at`, and how many attempts there were since the last look.
    pub fn look(&mut self, at: Duration, queue: Queue, attempts: u64) {
        self.looks.push_back((at, self.all.saturating_add(queue.waiting)));
        while self.looks.len() > KEPT
            || self.looks.front().is_some_and(|(then, _)| at.saturating_sub(*then) > TOLD_LATE)
        {
            self.looks.pop_front();
        }
        let sum = self.of_entries.saturating_add(self.waiting()).saturating_add(self.settled);
        // As many as before, and while the queue is full as many more as there were attempts.
        let least = self.counted.saturating_add(if queue.is_full { attempts } else { 0 });
        self.settled = self.settled.saturating_add(least.saturating_sub(sum));
        self.counted = least.max(sum);
    }

    /// Returns how many clients wait, or were accepted and are not told yet.
    pub fn waiting(&self) -> u64 {
        let most = self.looks.iter().map(|(_, count)| *count).max();
        most.unwrap_or(0).saturating_sub(self.all)
    }

    /// Returns how many handshakes were completed up to the last look; never fewer than before.
    pub const fn counted(&self) -> u64 {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    const fn queue(waiting: u64) -> Queue {
        Queue { waiting, is_full: false }
    }

    proptest! {
        #[test]
        fn every_handshake_counts_when_it_waits_and_once_however_late_it_is_accepted(
            load in prop::collection::vec((0..200_u64, 0..400_u64), 1..80),
        ) {
            let mut handshakes = Handshakes::default();
            let (mut waiting, mut told, mut accepted, mut completed) = (0, 0, 0, 0);
            let mut before = 0;
            for (tick, (new, room)) in (0_u32..).zip(load) {
                // The relay tells a tick later.
                handshakes.accept(told, told);
                told = waiting.min(room);
                accepted += told;
                waiting = waiting + new - told;
                completed += new;
                handshakes.look(TICK * tick, queue(waiting), new);
                let counted = handshakes.counted();
                prop_assert!(counted <= completed && counted + told >= completed && counted >= before);
                before = counted;
            }
            handshakes.accept(told, told);
            handshakes.look(TICK * 90, queue(waiting), 0);
            prop_assert_eq!((handshakes.counted(), accepted + waiting), (completed, completed));
        }
    }

    #[test]
    fn who_waited_and_was_of_no_entry_hides_no_handshake_that_comes_later() {
        let mut handshakes = Handshakes::default();
        handshakes.look(TICK, queue(50), 0);
        assert_eq!(handshakes.counted(), 50);
        // The host itself: accepted, and in no entry.
        handshakes.accept(0, 50);
        handshakes.look(TICK * 2, queue(0), 0);
        assert_eq!((handshakes.counted(), handshakes.waiting()), (50, 0));
        handshakes.accept(7, 7);
        handshakes.look(TICK * 3, queue(0), 7);
        assert_eq!(handshakes.counted(), 57);
    }

    #[test]
    fn who_waited_and_went_with_the_relay_counts_on() {
        let mut handshakes = Handshakes::default();
        handshakes.look(TICK, queue(50), 50);
        for tick in 2..20 {
            handshakes.accept(1, 1);
            handshakes.look(TICK * tick, queue(0), 1);
        }
        assert_eq!(handshakes.waiting(), 0);
        handshakes.accept(9, 9);
        handshakes.look(TICK * 20, queue(0), 9);
        let counted = handshakes.counted();
        assert!((59..=77).contains(&counted), "{counted}");
    }

    #[test]
    fn while_the_queue_is_full_every_attempt_counts_as_answered() {
        let mut handshakes = Handshakes::default();
        handshakes.look(TICK, Queue { waiting: 100, is_full: true }, 300);
        handshakes.look(TICK * 2, Queue { waiting: 100, is_full: true }, 300);
        assert_eq!((handshakes.counted(), handshakes.waiting()), (600, 100));
    }
}
