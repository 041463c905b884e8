//! Attempts of listed sources that no handshake followed.
//!
//! A SYN with the source of a listed client passes the gate, whoever sent it; the handshake is only completed by who
//! gets the answer. So many attempts and few handshakes mean that sources are forged, or that answers get lost.

use std::time::Duration;

use super::lookout::{Lookout, Rules};
use super::overdue::Overdue;
use super::pace::{Pace, Reading, WINDOWS};
use super::spike::Change;
use super::{Sample, Told};

/// A part of the attempts, one in so many, that may be on its way: a handshake takes its round trip, and is told
/// a tick after it.
const ON_THE_WAY: f64 = 4.0;

/// The first window that counts all attempts: in a second too many are on their way, so of that one only what is
/// overdue is looked at.
const FIRST: usize = 1;

/// How many times the floor it takes in the window of a second: a handful of clients far away that begin at once is
/// less.
const CAUTION: f64 = 4.0;

/// A relay that tells nothing for so long is gone.
const GONE: Duration = Duration::from_secs(3);

/// The lookout for forged sources.
#[derive(Debug)]
pub(super) struct Forged {
    lookout: Lookout,
    /// When handshakes were told last.
    told: Option<Duration>,
    overdue: Overdue,
    attempts: [Pace; WINDOWS.len()],
    handshakes: [Pace; WINDOWS.len()],
}

impl Forged {
    pub fn new() -> Self {
        let paces = || [0, 1, 2, 3].map(Pace::new);
        Self {
            lookout: Lookout::cautious(CAUTION),
            told: None,
            overdue: Overdue::default(),
            attempts: paces(),
            handshakes: paces(),
        }
    }

    pub const fn lookout(&self) -> &Lookout {
        &self.lookout
    }

    pub const fn lookout_mut(&mut self) -> &mut Lookout {
        &mut self.lookout
    }

    /// Takes attempts and handshakes. While no relay tells of handshakes nothing can be said.
    pub fn take(&mut self, sample: &Sample, rules: Rules) -> Option<Change> {
        let Some(Told { completed, .. }) = sample.told else {
            self.overdue.restart();
            if self.told.is_none_or(|told| sample.at.saturating_sub(told) > GONE) {
                self.restart();
            }
            return None;
        };
        let was_gone = |told| sample.at.saturating_sub(told) > GONE;
        if self.told.replace(sample.at).is_some_and(was_gone) {
            self.lookout.spike.seen_again(sample.at);
        }
        let mut change = None;
        if let Some((mut reading, attempts, handshakes)) =
            self.overdue.take(sample.at, sample.admitted, completed)
        {
            if !is_much(super::rate_of(attempts), super::rate_of(handshakes)) {
                (reading.per_second, reading.per_second_now) = (0.0, 0.0);
            }
            if self.judge(0, &reading, sample, rules, &mut change) {
                return change;
            }
        }
        for window in FIRST..WINDOWS.len() {
            let attempts = self.attempts[window].take(sample.at, sample.admitted);
            let handshakes = self.handshakes[window].take(sample.at, completed);
            let (attempts, handshakes) = match (attempts, handshakes) {
                (Some(attempts), Some(handshakes)) => (attempts, handshakes),
                (None, None) => continue,
                // One of the counts began anew.
                (Some(_), None) | (None, Some(_)) => {
                    self.restart();
                    return change;
                }
            };
            let reading = missing(&attempts, &handshakes);
            // Within a second a busier hour hides what is missing long before it does so here.
            if window == FIRST {
                self.lookout.go_on(window, &reading, sample.wall, rules);
            }
            if self.judge(window, &reading, sample, rules, &mut change) {
                return change;
            }
        }
        change
    }

    /// Takes a reading of a window. Returns whether the spike is over with it: then every window begins anew.
    fn judge(
        &mut self,
        window: usize,
        reading: &Reading,
        sample: &Sample,
        rules: Rules,
        change: &mut Option<Change>,
    ) -> bool {
        let was_open = self.lookout.spike.is_open();
        let found = self.lookout.judge(window, reading, sample.wall, rules);
        *change = change.or(found);
        let is_over = was_open && !self.lookout.spike.is_open();
        if is_over {
            self.restart();
        }
        is_over
    }

    fn restart(&mut self) {
        self.overdue.restart();
        self.attempts.iter_mut().chain(&mut self.handshakes).for_each(Pace::restart);
    }
}

/// Returns whether more are missing than may be on their way, or lost.
fn is_much(attempts: f64, handshakes: f64) -> bool {
    (attempts - handshakes) * ON_THE_WAY > attempts
}

/// Returns the attempts that no handshake followed; none if that may be on its way.
fn missing(attempts: &Reading, handshakes: &Reading) -> Reading {
    let at_most = (attempts.per_second - handshakes.per_second).max(0.0);
    let is_much = is_much(attempts.per_second, handshakes.per_second);
    let per_second = if is_much { at_most } else { 0.0 };
    Reading {
        count: attempts.count.saturating_sub(handshakes.count),
        count_before: attempts.count_before.saturating_sub(handshakes.count_before),
        per_second,
        per_second_now: per_second,
        at_most,
        ..*attempts
    }
}
