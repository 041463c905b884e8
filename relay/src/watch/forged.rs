//! Attempts of listed sources that no handshake followed.
//!
//! A SYN with the source of a listed client passes the gate, whoever sent it; the handshake is only completed by who
//! gets the answer. So many attempts and few handshakes mean that sources are forged, or that answers get lost.

use super::lookout::{Lookout, Rules};
use super::pace::{Pace, Reading, WINDOWS};
use super::spike::Change;
use super::{Sample, Told};

/// A part of the attempts, one in so many, that may be on its way: a handshake takes its round trip, and is told
/// a tick after it.
const ON_THE_WAY: f64 = 4.0;

/// The first window that is looked at: in a second too much is on its way.
const FIRST: usize = 1;

/// The lookout for forged sources.
#[derive(Debug)]
pub(super) struct Forged {
    lookout: Lookout,
    attempts: [Pace; WINDOWS.len()],
    handshakes: [Pace; WINDOWS.len()],
}

impl Forged {
    pub fn new() -> Self {
        let paces = || [0, 1, 2, 3].map(Pace::new);
        Self { lookout: Lookout::new(), attempts: paces(), handshakes: paces() }
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
            self.restart();
            return None;
        };
        let mut change = None;
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
            let was_open = self.lookout.spike.is_open();
            change = change.or(self.lookout.judge(window, &reading, sample.wall, rules));
            if was_open && !self.lookout.spike.is_open() {
                self.restart();
                return change;
            }
        }
        change
    }

    fn restart(&mut self) {
        self.attempts.iter_mut().chain(&mut self.handshakes).for_each(Pace::restart);
    }
}

/// Returns the attempts that no handshake followed; none if that may be on its way.
fn missing(attempts: &Reading, handshakes: &Reading) -> Reading {
    let missing = |attempts: f64, handshakes: f64| {
        let missing = attempts - handshakes;
        if missing * ON_THE_WAY > attempts { missing } else { 0.0 }
    };
    Reading {
        count: attempts.count.saturating_sub(handshakes.count),
        count_before: attempts.count_before.saturating_sub(handshakes.count_before),
        per_second: missing(attempts.per_second, handshakes.per_second),
        per_second_now: missing(attempts.per_second, handshakes.per_second),
        ..*attempts
    }
}
