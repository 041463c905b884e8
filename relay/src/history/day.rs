//! The days of the history: one file each, and which of them have had their time. Pure.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use crate::mail::message::MessageId;

/// How the name of a day's file ends.
const ENDING: &str = ".jsonl";

/// A day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(Date);

impl Day {
    /// Returns the day of a time.
    pub fn of(time: Timestamp) -> Self {
        Self(time.to_zoned(TimeZone::UTC).date())
    }

    /// Returns the first day on which something can have happened to a message: the day before its id was
    /// made, in case the clock was set back meanwhile.
    pub fn before(id: MessageId) -> Self {
        let made = i64::try_from(id.0).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        let day = Self::of(made.unwrap_or(Timestamp::UNIX_EPOCH));
        Self(day.0.saturating_sub(1.day()))
    }

    /// Returns the name of the day's file.
    pub fn file_name(self) -> String {
        format!("{}{ENDING}", self.0)
    }

    /// Reads the name of a day's file; none for other files.
    pub fn of_file(name: &str) -> Option<Self> {
        let day = Self(name.strip_suffix(ENDING)?.parse().ok()?);
        (day.file_name() == name).then_some(day)
    }

    /// Returns the day that lies so many whole days before this one; a part of a day counts as one.
    fn less(self, time: Duration) -> Self {
        let days = time.as_secs().div_ceil(24 * 3600);
        Self(self.0.saturating_sub(i64::try_from(days).unwrap_or(i64::MAX).min(36_600).days()))
    }
}

/// Returns which of `days`, given oldest first with their lengths, have had their time: those older than
/// `keep`, then the oldest until what is left takes at most `room_bytes`. Today stays.
pub fn spent(days: &[(Day, u64)], today: Day, keep: Duration, room_bytes: u64) -> Vec<Day> {
    let first = today.less(keep);
    let mut left: u64 = days.iter().map(|(_, size)| size).sum();
    let mut spent = Vec::new();
    for (day, size) in days {
        if *day >= today || (*day >= first && left <= room_bytes) {
            continue;
        }
        left -= size;
        spent.push(*day);
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day(text.parse().unwrap())
    }

    #[test]
    fn the_oldest_days_go_first_and_today_stays() {
        let days = [
            (day("2026-01-01"), 10),
            (day("2026-01-10"), 10),
            (day("2026-01-14"), 10),
            (day("2026-01-15"), 50),
        ];
        let two_weeks = Duration::from_secs(14 * 24 * 3600);
        for (row, today, keep, room, gone) in [
            ("all fit", "2026-01-15", two_weeks, 80, 0),
            ("one is too old", "2026-01-16", two_weeks, 1000, 1),
            ("a part of a day counts as one", "2026-01-15", Duration::from_secs(1), 1000, 2),
            ("one octet too much", "2026-01-15", two_weeks, 79, 1),
            ("two have to go", "2026-01-15", two_weeks, 69, 2),
            ("today stays, whatever it takes", "2026-01-15", two_weeks, 0, 3),
            ("a day of the future stays", "2026-01-14", two_weeks, 0, 2),
        ] {
            let spent = spent(&days, day(today), keep, room);
            let expected: Vec<Day> = days[..gone].iter().map(|(day, _)| *day).collect();
            assert_eq!(spent, expected, "{row}");
        }
    }

    #[test]
    fn a_file_is_named_by_its_day_and_other_files_are_none() {
        assert_eq!(day("2026-01-02").file_name(), "2026-01-02.jsonl");
        assert_eq!(Day::of_file("2026-01-02.jsonl"), Some(day("2026-01-02")));
        for name in ["2026-01-02", "2026-1-2.jsonl", "notes.jsonl", "2026-01-02.jsonl.gz"] {
            assert_eq!(Day::of_file(name), None, "{name}");
        }
    }

    #[test]
    fn a_message_is_looked_for_from_the_day_before_its_id() {
        let made: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let id = MessageId(u64::try_from(made.as_microsecond()).unwrap());
        assert_eq!(Day::before(id), day("2026-01-01"));
        assert_eq!(Day::before(MessageId(u64::MAX)), day("1969-12-31"));
    }
}
