//! What stood above the usual, by the hour of the day: what did on three days of the last three weeks is usual there.
//!
//! A flood teaches the watch nothing while it lasts, nor on the next day. But what comes every day at the same hour is
//! no news: a rise of the morning that is steeper than what was learned, a rate that has been high from the first
//! start on. Of the days that were noted the third highest counts, so that one flood among them does not.

use std::time::Duration;

use super::usual::{HOUR, Level, Levels};

/// The hours of a day.
pub const HOURS: usize = 24;
/// So many days make a rate usual.
const DAYS: usize = 3;
/// How long a day counts: a rate that comes once a week is usual in the fourth.
const LASTS_DAYS: i64 = 21;
/// A rate in one hour of one day is learned as a whole.
const MEMORY: Duration = Duration::from_secs(HOUR.unsigned_abs());

/// What stood above the usual in one hour of a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noted {
    /// The day, from that of the epoch (UTC).
    pub day: i64,
    /// What stood in each window.
    pub levels: Levels,
}

/// What was noted, by the hour of the day: of each at most one more than the days that count.
#[derive(Clone, Debug, Default)]
pub(super) struct High {
    hours: [Vec<Noted>; HOURS],
}

impl High {
    /// Takes a rate that stood for `time` in an hour, which is counted from the epoch.
    pub fn note(&mut self, window: usize, hour: i64, per_second: f64, time: Duration) {
        let (day, of_day) = split(hour);
        let noted = &mut self.hours[of_day];
        let place = noted.iter().position(|noted| noted.day == day).unwrap_or_else(|| {
            noted.retain(|noted| (0..=LASTS_DAYS).contains(&day.saturating_sub(noted.day)));
            noted.push(Noted { day, levels: Levels::default() });
            noted.len() - 1
        });
        // A pause of the sampler is longer than the hour.
        noted[place].levels[window].learn(per_second, time.min(MEMORY), MEMORY);
    }

    /// Returns the level that was reached in this hour on at least three of the days before, if there is one.
    pub fn level(&self, window: usize, hour: i64) -> Option<Level> {
        let (day, of_day) = split(hour);
        let noted = &self.hours[of_day];
        if noted.len() < DAYS {
            return None;
        }
        let counts = |noted: &&Noted| (1..=LASTS_DAYS).contains(&day.saturating_sub(noted.day));
        let levels = noted.iter().filter(counts).map(|noted| noted.levels[window]);
        let mut levels: Vec<Level> = levels.filter(|level| level.learned > 0.0).collect();
        levels.sort_by(|one, other| other.mean.total_cmp(&one.mean));
        levels.get(DAYS - 1).copied()
    }

    /// Returns what was noted, with the hour of the day.
    pub fn noted(&self) -> impl Iterator<Item = (usize, &Noted)> {
        let hours = self.hours.iter().enumerate();
        hours.flat_map(|(hour, noted)| noted.iter().map(move |noted| (hour, noted)))
    }

    /// Puts what was noted earlier in place. Numbers that cannot be are left out.
    pub fn restore(&mut self, hour: usize, noted: Noted) {
        let most = usize::try_from(LASTS_DAYS).unwrap_or(0);
        if let Some(mine) = self.hours.get_mut(hour)
            && noted.levels.iter().all(Level::is_sound)
            && mine.len() <= most
            && mine.iter().all(|known| known.day != noted.day)
        {
            mine.push(noted);
        }
    }
}

/// Returns the day and the hour of it.
fn split(hour: i64) -> (i64, usize) {
    (hour.div_euclid(24), usize::try_from(hour.rem_euclid(24)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::pace::WINDOWS;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// What was noted at ten o'clock of so many days, with the rate of each.
    fn noted(days: &[(i64, f64)]) -> High {
        let mut high = High::default();
        for (day, rate) in days {
            (0..5).for_each(|_| high.note(0, day * 24 + 10, *rate, MINUTE));
        }
        high
    }

    #[test]
    fn three_days_make_a_rate_usual_in_their_hour_and_the_third_highest_counts() {
        let at = |high: &High, day: i64, hour: i64| {
            high.level(0, day * 24 + hour).map(|level| level.mean.round())
        };
        let high = noted(&[(0, 400.0), (1, 9_000.0), (2, 500.0)]);
        for (day, hour, wanted) in [
            (2, 10, None),
            (3, 10, Some(400.0)),
            (3, 11, None),
            (21, 10, Some(400.0)),
            (22, 10, None),
            (-1, 10, None),
        ] {
            assert_eq!(at(&high, day, hour), wanted, "day {day}, hour {hour}");
        }
        assert_eq!(at(&noted(&[(0, 400.0), (7, 400.0), (14, 400.0)]), 21, 10), Some(400.0));
        assert_eq!(at(&noted(&[(0, 400.0), (1, 400.0)]), 2, 10), None);
    }

    #[test]
    fn the_memory_is_bounded_and_survives() {
        let days: Vec<_> = (0..100).map(|day| (day, 7.0)).collect();
        let high = noted(&days);
        let kept: Vec<_> = high.noted().map(|(hour, noted)| (hour, *noted)).collect();
        assert_eq!(kept.len(), 22);
        let mut again = High::default();
        for (hour, noted) in kept.iter().chain(&kept) {
            again.restore(*hour, *noted);
            again.restore(HOURS, *noted);
        }
        let kept_again: Vec<_> = again.noted().map(|(hour, noted)| (hour, *noted)).collect();
        assert_eq!(kept_again, kept);
        let bad = Level { mean: f32::NAN, ..Level::default() };
        again.restore(3, Noted { day: 0, levels: [bad; WINDOWS.len()] });
        assert_eq!(again.noted().count(), kept.len());
        // A clock that was far ahead leaves nothing behind that could count again.
        again.note(0, 10, 7.0, MINUTE);
        assert_eq!(again.noted().count(), 1);
    }
}
