//! What networks reached above what is usual of them, by the day: what one did on three days is usual of it.

use std::collections::BTreeMap;

use relay_common::addr::Net;

use super::Peaks;

/// The networks that are remembered; the one whose last day is the oldest leaves first.
const NETWORKS_MAX: usize = 256;
/// So many days make a rate usual.
const DAYS: usize = 3;
/// How long a day counts.
const LASTS_DAYS: i64 = 21;

/// The highest rates of days, by window, with the day from that of the epoch (UTC).
pub type Days = Vec<(i64, Peaks)>;

/// The networks.
#[derive(Debug, Default)]
pub(super) struct Reached {
    of: BTreeMap<Net, Days>,
}

impl Reached {
    /// Notes the rates that a network has on a day; zero where they are usual.
    pub fn note(&mut self, net: Net, day: i64, rates: Peaks) {
        if self.of.len() >= NETWORKS_MAX && !self.of.contains_key(&net) {
            self.make_room();
        }
        let days = self.of.entry(net).or_default();
        if !days.iter().any(|(known, _)| *known == day) {
            days.retain(|(known, _)| (0..=LASTS_DAYS).contains(&day.saturating_sub(*known)));
            days.push((day, Peaks::default()));
        }
        let today = days.iter_mut().filter(|(known, _)| *known == day);
        for (peak, rate) in today.flat_map(|(_, peaks)| peaks.iter_mut().zip(rates)) {
            *peak = peak.max(rate);
        }
    }

    /// Returns, for each window, the rate that a network reached on at least three of the days before `day`; zero
    /// where there is none.
    pub fn usual(&self, net: &Net, day: i64) -> Peaks {
        let mut usual = Peaks::default();
        let Some(days) = self.of.get(net).filter(|days| days.len() >= DAYS) else { return usual };
        let counts = |known: i64| (1..=LASTS_DAYS).contains(&day.saturating_sub(known));
        for (window, usual) in usual.iter_mut().enumerate() {
            let before = days.iter().filter(|(known, _)| counts(*known));
            let mut rates: Vec<f32> = before.map(|(_, peaks)| peaks[window]).collect();
            rates.sort_by(|one, other| other.total_cmp(one));
            *usual = rates.get(DAYS - 1).copied().unwrap_or(0.0);
        }
        usual
    }

    /// Returns what was noted of a network.
    pub fn days(&self, net: &Net) -> Days {
        self.of.get(net).cloned().unwrap_or_default()
    }

    /// Puts what was noted earlier in place. Numbers that cannot be are left out.
    pub fn restore(&mut self, net: Net, days: Days) {
        let is_sound = |peaks: &Peaks| peaks.iter().all(|peak| peak.is_finite() && *peak >= 0.0);
        for (day, peaks) in days.into_iter().filter(|(_, peaks)| is_sound(peaks)) {
            self.note(net, day, peaks);
        }
    }

    fn make_room(&mut self) {
        let last = |days: &Days| days.iter().map(|(day, _)| *day).max();
        let oldest = self.of.iter().min_by_key(|(_, days)| last(days)).map(|(net, _)| *net);
        if let Some(oldest) = oldest {
            self.of.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::samples::net;
    use super::*;

    #[test]
    fn what_was_reached_on_three_days_is_usual_and_the_memory_is_bounded() {
        let mut reached = Reached::default();
        for (day, rate) in [(0, 40.0), (1, 900.0), (2, 50.0)] {
            reached.note(net(1), day, [rate / 2.0, 0.0, 0.0, 0.0]);
            reached.note(net(1), day, [rate, 0.0, 0.0, 0.0]);
        }
        for (day, wanted) in [(2, 0.0), (3, 40.0), (21, 40.0), (22, 0.0)] {
            let usual = reached.usual(&net(1), day).to_vec();
            assert_eq!(usual, vec![wanted, 0.0, 0.0, 0.0], "day {day}");
        }
        for day in 0..100 {
            reached.note(net(2), day, [1.0; 4]);
        }
        assert_eq!(reached.days(&net(2)).len(), 22);
        let mut again = Reached::default();
        again.restore(net(2), reached.days(&net(2)));
        again.restore(net(3), vec![(0, [f32::NAN; 4])]);
        assert_eq!(again.days(&net(2)), reached.days(&net(2)));
        assert_eq!(again.of.len(), 1);
        (10..1_000).for_each(|number| reached.note(net(number), 99, [1.0; 4]));
        assert_eq!(reached.of.len(), NETWORKS_MAX);
        assert!(reached.days(&net(1)).is_empty(), "it was the one seen longest ago");
    }
}
