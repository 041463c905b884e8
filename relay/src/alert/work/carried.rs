//! What the gate hands over: each alert once, and what it could not keep for this relay counted.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::Work;
use crate::alert::troubles::{Origin, Trouble};
use crate::event::Event;
use crate::event::alert::Alert;

impl Work {
    /// Takes an alert of the gate's, which stands for these numbers, unless it was heard before. What is missing before
    /// them is lost.
    pub(super) fn carry(
        &mut self,
        series: Timestamp,
        numbers: &RangeInclusive<u64>,
        alert: Alert,
        now: Timestamp,
    ) {
        let (first, number) = (*numbers.start(), *numbers.end());
        self.end_silence(now);
        let last = match self.kept.heard {
            Some((known, last)) if known == series && number <= last => return,
            Some((known, last)) if known == series => last,
            heard => {
                self.kept.troubles.restarted(Origin::Gate, now);
                // Who knows of no gate does not know what was told before: its file is new, or was lost.
                if heard.is_some() { 0 } else { first.saturating_sub(1) }
            }
        };
        // The gate keeps so many for a relay that is away, and numbers each.
        self.lost.fetch_add(first.saturating_sub(last + 1), Ordering::Relaxed);
        self.kept.heard = Some((series, number));
        self.is_written = false;
        self.hear(alert, Origin::Gate, now);
    }

    /// Ends the gate's silence if a process before this one told of it, which nobody says to be over now: a gate that
    /// rings its alerts, as it does for each relay that comes, is there.
    fn end_silence(&mut self, now: Timestamp) {
        for over in Event::GateHeard.alerts(now) {
            let key = over.key();
            let is_left =
                |trouble: &Trouble| trouble.unconfirmed.is_some() && trouble.alert.key() == key;
            if self.kept.troubles.open().any(is_left) {
                self.hear(over, Origin::Relay, now);
            }
        }
    }
}
