//! In whose name attempts come that no handshake follows: the entries of the allowlist.
//!
//! The kernel counts the attempts of each entry, and tells some of them; only entries that these name are looked
//! at, so that a long list costs no more than a short one. The relay tells whose handshakes were completed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use relay_common::addr::Net;

use crate::event::spike::{Share, TOP_MAX};
use crate::gate::Gate;
use crate::gate::cidr::network;

/// The entries that are looked at at a time: those named first, as long as attempts of theirs are not answered.
const ENTRIES_MAX: usize = 128;

/// How long entries are counted before all begin anew, unless a spike is open: its entries are counted from before it
/// began.
const SPAN: Duration = Duration::from_secs(10);

/// A part of an entry's attempts, one in so many, that may be on its way, or lost and sent again.
const ON_THE_WAY: u64 = 4;

/// Returns how many attempts of an entry the gate passed so far; none where there is no such entry, or nobody tells.
pub(super) fn passed(gate: &dyn Gate, entry: &Net) -> Option<u64> {
    gate.entry_count(entry).ok().flatten().map(|count| count.passed)
}

/// Of one entry.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// The attempts before.
    before: u64,
    /// The handshakes since.
    completed: u64,
    /// The attempts that were seen.
    seen: u64,
}

/// The counts of some entries.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    since: Duration,
    of: BTreeMap<Net, Count>,
    /// Handshakes since then of whom nobody told the address.
    unnamed: u64,
}

impl Unanswered {
    /// Notes that an attempt of an entry was seen; `passed` returns how many of them were counted so far, that one
    /// among them.
    pub fn see(&mut self, entry: Net, passed: impl FnOnce() -> Option<u64>) {
        if let Some(count) = self.of.get_mut(&entry) {
            count.seen += 1;
            return;
        }
        // A busy client that is answered makes room.
        if self.of.len() >= ENTRIES_MAX {
            let open = |count: &Count| count.seen.saturating_sub(count.completed);
            let least = self.of.iter().min_by_key(|(_, count)| open(count));
            match least.map(|(net, count)| (*net, open(count))) {
                Some((answered, 0)) => self.of.remove(&answered),
                Some(_) | None => return,
            };
        }
        if let Some(passed) = passed() {
            let before = passed.saturating_sub(1);
            self.of.insert(entry, Count { before, completed: 0, seen: 1 });
        }
    }

    /// Counts handshakes of an entry.
    pub fn complete(&mut self, entry: Net, handshakes: u64) {
        if let Some(count) = self.of.get_mut(&entry) {
            count.completed = count.completed.saturating_add(handshakes);
        }
    }

    /// Counts handshakes of nobody knows which entries.
    pub const fn complete_unnamed(&mut self, handshakes: u64) {
        self.unnamed = self.unnamed.saturating_add(handshakes);
    }

    /// Begins anew if it is time; `is_open` returns whether a spike is open that these entries belong to.
    pub fn age(&mut self, at: Duration, is_open: impl FnOnce() -> bool) {
        if at.saturating_sub(self.since) >= SPAN && !is_open() {
            *self = Self { since: at, ..Self::default() };
        }
    }

    /// Returns the entries in whose name most attempts came that no handshake followed, at most [`TOP_MAX`] of them;
    /// `passed` returns how many attempts of an entry were counted so far. So many completed handshakes are `waiting`
    /// to be told, nobody knows of which entries.
    pub fn top(&self, waiting: u64, passed: impl Fn(&Net) -> Option<u64>) -> Vec<Share> {
        let unnamed = self.unnamed.saturating_add(waiting);
        let missing = |(net, count): (&Net, &Count)| {
            let attempts = passed(net)?.saturating_sub(count.before);
            let missing = attempts.saturating_sub(count.completed);
            let is_much = missing.saturating_sub(waiting).saturating_mul(ON_THE_WAY) > attempts;
            is_much.then(|| Share {
                net: network(*net),
                count: missing,
                error: unnamed.min(missing),
                reason: "no_handshake",
            })
        };
        let mut top: Vec<Share> = self.of.iter().filter_map(missing).collect();
        top.sort_by_key(|share| Reverse(share.count));
        top.truncate(TOP_MAX);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u32) -> Net {
        Net::new(std::net::IpAddr::from(number.to_be_bytes()), 32).unwrap()
    }

    #[test]
    fn the_entry_in_whose_name_attempts_come_stands_first_and_busy_clients_are_not_named() {
        let mut unanswered = Unanswered::default();
        let seen = [(entry(1), 100), (entry(2), 5_000), (entry(3), 0)];
        for (net, before) in seen {
            unanswered.see(net, || Some(before + 1));
            unanswered.see(net, || panic!("it is known"));
        }
        unanswered.complete(entry(2), 990);
        unanswered.complete(entry(1), 2);
        unanswered.complete(entry(9), 7);
        unanswered.complete_unnamed(30);
        let now = BTreeMap::from([(entry(1), 302), (entry(2), 6_000), (entry(3), 10)]);
        let top = unanswered.top(0, |net| now.get(net).copied());
        let told: Vec<_> = top.iter().map(|share| (share.net, share.count, share.error)).collect();
        assert_eq!(told, [(network(entry(1)), 200, 30), (network(entry(3)), 10, 10)]);
    }

    #[test]
    fn an_entry_whose_clients_may_all_wait_for_the_relay_is_not_named() {
        let mut unanswered = Unanswered::default();
        unanswered.see(entry(1), || Some(1));
        unanswered.see(entry(2), || Some(1));
        let now = BTreeMap::from([(entry(1), 90), (entry(2), 900)]);
        let top = unanswered.top(90, |net| now.get(net).copied());
        let told: Vec<_> = top.iter().map(|share| (share.net, share.count, share.error)).collect();
        assert_eq!(told, [(network(entry(2)), 900, 90)]);
    }

    #[test]
    fn entries_are_bounded_and_begin_anew_unless_their_spike_is_open() {
        let mut unanswered = Unanswered::default();
        (0..1_000).for_each(|number| unanswered.see(entry(number), || Some(1)));
        assert_eq!(unanswered.of.len(), ENTRIES_MAX);
        unanswered.age(SPAN * 9 / 10, || panic!("it is not time"));
        unanswered.age(SPAN, || true);
        assert_eq!(unanswered.of.len(), ENTRIES_MAX);
        unanswered.age(SPAN, || false);
        assert_eq!((unanswered.of.len(), unanswered.since), (0, SPAN));
    }

    #[test]
    fn a_flood_in_the_name_of_an_idle_entry_is_seen_among_many_busy_clients() {
        let mut unanswered = Unanswered::default();
        for number in 0..300 {
            unanswered.see(entry(number), || Some(1));
            unanswered.complete(entry(number), 1);
        }
        for _ in 0..50 {
            unanswered.see(entry(999), || Some(1));
        }
        let top = unanswered.top(0, |net| Some(if *net == entry(999) { 50 } else { 1 }));
        let told: Vec<_> = top.iter().map(|share| (share.net, share.count)).collect();
        assert_eq!(told, [(network(entry(999)), 50)]);
    }

    #[test]
    fn an_entry_that_is_gone_or_began_anew_is_not_named() {
        let mut unanswered = Unanswered::default();
        unanswered.see(entry(1), || None);
        unanswered.see(entry(2), || Some(50));
        assert_eq!(unanswered.top(0, |_| Some(3)), []);
        assert_eq!(unanswered.top(0, |_| None), []);
    }
}
