//! What is still to be told, by channel. An entry leaves when its channel took it, when it is refused for good,
//! or when it is too old. Time comes as an argument.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::alert::Alert;

/// The most entries of one channel.
pub const ENTRIES_MAX: usize = 200;

/// The most octets of one channel's entries, as JSON: some five hundred of today's alerts, and of 32 channels no more
/// than half of what the file may have.
pub const OCTETS_MAX: usize = 1 << 20;

/// The waits after a failure, until the last one, which repeats.
const WAITS_SECONDS: [u64; 6] = [5, 15, 60, 180, 600, 900];

/// The longest wait that a receiver may ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);

/// An alert on its way to a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, never used again.
    pub number: u64,
    /// The channel.
    pub channel: String,
    /// What is told.
    pub alert: Alert,
    /// Since when.
    pub queued: Timestamp,
    /// When it is due.
    pub due: Timestamp,
    /// How often it was tried.
    pub tries: u32,
}

/// What is still to be told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outbox {
    entries: VecDeque<Entry>,
    last_number: u64,
}

impl Outbox {
    /// Adds an alert for a channel. Returns the oldest of that channel that had to leave.
    pub fn push(&mut self, channel: &str, alert: Alert, now: Timestamp) -> Vec<Entry> {
        self.last_number += 1;
        let number = self.last_number;
        let mut numbers: VecDeque<u64> = self.of(channel).map(|entry| entry.number).collect();
        let mut sizes: VecDeque<usize> =
            self.of(channel).map(|entry| octets(&entry.alert)).collect();
        let mut left = Vec::new();
        let most = OCTETS_MAX.saturating_sub(octets(&alert));
        while numbers.len() >= ENTRIES_MAX || sizes.iter().sum::<usize>() > most {
            sizes.pop_front();
            let Some(oldest) = numbers.pop_front() else { break };
            left.extend(self.take(oldest));
        }
        let channel = channel.to_owned();
        self.entries.push_back(Entry { number, channel, alert, queued: now, due: now, tries: 0 });
        left
    }

    /// Returns the entries of a channel, the oldest first.
    pub fn of(&self, channel: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.channel == channel)
    }

    /// Returns the entries of a channel that it was told and did not take.
    pub fn tried(&self, channel: &str) -> impl Iterator<Item = &Entry> {
        self.of(channel).filter(|entry| entry.tries > 0)
    }

    /// Makes the entries of a channel due that it did not take: what was in the way is not any more.
    pub fn bring_forward(&mut self, channel: &str, now: Timestamp) {
        for entry in self.entries.iter_mut().filter(|entry| entry.channel == channel) {
            entry.due = entry.due.min(now);
        }
    }

    /// Returns the first entry of a channel that is due. What is said of one trouble goes in its order: an
    /// end never overtakes its beginning.
    #[must_use]
    pub fn due(&self, channel: &str, now: Timestamp) -> Option<&Entry> {
        let mut waiting = BTreeSet::new();
        self.of(channel).find(|entry| {
            let is_first = waiting.insert(entry.alert.key());
            is_first && entry.due <= now
        })
    }

    /// Takes an entry out: it was told, or never will be.
    pub fn take(&mut self, number: u64) -> Option<Entry> {
        let place = self.entries.iter().position(|entry| entry.number == number)?;
        self.entries.remove(place)
    }

    /// Puts an entry off that was not taken, by what the receiver asked for or by what is usual; `chance` of
    /// 0 to 1 spreads it by a fifth, so that many relays do not come at once.
    pub fn put_off(&mut self, number: u64, asked: Option<Duration>, chance: f64, now: Timestamp) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) else {
            return;
        };
        let place = (entry.tries as usize).min(WAITS_SECONDS.len() - 1);
        let usual = Duration::from_secs(WAITS_SECONDS[place]);
        let wait = asked.map_or(usual, |asked| asked.max(usual));
        let wait = wait.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 5.0);
        entry.tries = entry.tries.saturating_add(1);
        entry.due = now.checked_add(wait).unwrap_or(now);
    }

    /// Makes up for a clock that was set back: nothing was queued later than now, and nothing waits longer than it
    /// may.
    pub fn set_clock(&mut self, now: Timestamp) {
        let latest = now.checked_add(WAIT_MAX.mul_f64(1.2)).unwrap_or(now);
        for entry in &mut self.entries {
            entry.queued = entry.queued.min(now);
            if entry.due > latest {
                entry.due = now;
            }
        }
    }

    /// Takes out what is older than `keep`, and what is for no channel that there is.
    pub fn expire(&mut self, keep: Duration, channels: &[&str], now: Timestamp) -> Vec<Entry> {
        let is_over = |entry: &Entry| {
            let age = now.duration_since(entry.queued);
            age.unsigned_abs() > keep || !channels.contains(&entry.channel.as_str())
        };
        let (over, entries) = std::mem::take(&mut self.entries).into_iter().partition(is_over);
        self.entries = entries;
        Vec::from(over)
    }
}

/// Returns how long an alert is in the file.
fn octets(alert: &Alert) -> usize {
    serde_json::to_vec(alert).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::alert::DETAILS_MAX;
    use crate::event::wording::{closed, noted, opened};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_end_never_overtakes_its_beginning_and_others_do() {
        let mut outbox = Outbox::default();
        outbox.push("a", opened("x", "").at(at(0)), at(0));
        outbox.push("a", closed("x", "").at(at(0)), at(0));
        outbox.push("a", noted("y", "").at(at(0)), at(0));
        outbox.push("b", noted("z", "").at(at(0)), at(0));
        let number =
            |outbox: &Outbox, second| outbox.due("a", at(second)).map(|entry| entry.number);
        assert_eq!(number(&outbox, 0), Some(1));
        outbox.put_off(1, None, 0.0, at(0));
        assert_eq!(number(&outbox, 0), Some(3));
        assert_eq!(number(&outbox, 5), Some(1));
        outbox.put_off(1, None, 0.0, at(5));
        assert_eq!(outbox.tried("a").map(|entry| entry.number).collect::<Vec<_>>(), [1]);
        outbox.bring_forward("a", at(6));
        assert_eq!(number(&outbox, 6), Some(1), "what was in the way is not any more");
        outbox.take(1);
        assert_eq!(number(&outbox, 0), Some(2));
    }

    #[test]
    fn waits_grow_and_what_the_receiver_asks_for_counts_if_it_is_more() {
        let mut outbox = Outbox::default();
        outbox.push("a", noted("x", "").at(at(0)), at(0));
        for (asked, chance, wait) in [
            (None, 0.0, 5),
            (Some(Duration::from_secs(1)), 0.0, 15),
            (Some(Duration::from_secs(600)), 0.0, 600),
            (None, 1.0, 216),
            (None, 0.0, 600),
            (None, 0.0, 900),
            (None, 0.0, 900),
        ] {
            outbox.put_off(1, asked, chance, at(0));
            assert_eq!(outbox.of("a").next().unwrap().due, at(wait));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_neither_holds_nor_loses_what_is_to_be_told() {
        let mut outbox = Outbox::default();
        let (keep, ahead) = (Duration::from_secs(86_400), 10 * 86_400);
        outbox.push("a", noted("x", "").at(at(ahead)), at(ahead));
        outbox.put_off(1, None, 0.0, at(ahead));
        outbox.push("a", noted("y", "").at(at(0)), at(0));
        outbox.put_off(2, Some(WAIT_MAX), 1.0, at(0));
        outbox.set_clock(at(0));
        assert_eq!(outbox.expire(keep, &["a"], at(0)), []);
        assert_eq!(outbox.due("a", at(0)).map(|entry| entry.number), Some(1));
        let asked = outbox.of("a").nth(1).unwrap().due;
        assert_eq!(asked, at(4320), "what a receiver asked for counts");
    }

    #[test]
    fn a_channel_is_bounded_by_number_and_age_and_the_others_are_not_touched() {
        let mut outbox = Outbox::default();
        outbox.push("b", noted("z", "").at(at(0)), at(50));
        for number in 0..ENTRIES_MAX {
            assert_eq!(outbox.push("a", noted("x", number.to_string()).at(at(0)), at(0)), []);
        }
        let left = outbox.push("a", noted("x", "new").at(at(0)), at(50));
        assert_eq!((left.len(), left[0].alert.summary.as_str()), (1, "0"));
        assert_eq!(outbox.of("a").count(), ENTRIES_MAX);
        let over = outbox.expire(Duration::from_secs(60), &["a", "b"], at(61));
        assert_eq!(over.len(), ENTRIES_MAX - 1);
        assert_eq!(outbox.expire(Duration::from_secs(60), &["a"], at(61)).len(), 1);
    }
    #[test]
    fn a_channel_is_bounded_by_octets_so_that_the_file_of_all_can_be_read() {
        let mut outbox = Outbox::default();
        // As much as an alert may have: 32 details of 500 octets, each of which JSON writes as two.
        let detail = "\"".repeat(500);
        let details = (0..DETAILS_MAX).map(|place| (place.to_string(), detail.clone())).collect();
        let alert = Alert { details, ..noted("x", "y").at(at(0)) };
        let left = (0..100).map(|_| outbox.push("a", alert.clone(), at(0)).len()).sum::<usize>();
        let octets: usize = outbox.of("a").map(|entry| octets(&entry.alert)).sum();
        assert!((OCTETS_MAX / 2..=OCTETS_MAX).contains(&octets), "{octets}");
        assert_eq!(left + outbox.of("a").count(), 100);
        // One alone is kept whatever it has.
        let alert = Alert { summary: "z".repeat(2 * OCTETS_MAX), ..alert };
        outbox.push("a", alert, at(0));
        assert_eq!(outbox.of("a").count(), 1);
    }
}
