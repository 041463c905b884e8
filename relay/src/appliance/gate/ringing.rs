//! The gate's alerts, kept until a relay takes them: it attaches, or attaches anew, and hears all that are
//! still there. The journal has every one of them anyway.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::control::wire::Passed;
use crate::event::Event;

/// The alerts that are kept; the oldest leaves first.
const KEPT_MAX: usize = 256;

/// The last alerts of this process. A relay knows by series and number which of them it heard before.
#[derive(Debug)]
pub struct Ring {
    series: Timestamp,
    kept: Mutex<VecDeque<Passed>>,
    newest: watch::Sender<u64>,
}

impl Ring {
    /// Returns an empty ring whose series began at this moment.
    #[must_use]
    pub fn new(series: Timestamp) -> Self {
        Self { series, kept: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Keeps what a person is to be told of an event that happened `at`. Waits for nothing.
    pub fn hear(&self, event: &Event, at: Timestamp) {
        for alert in event.alerts(at) {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT_MAX {
                kept.pop_front();
            }
            let number = *self.newest.borrow() + 1;
            kept.push_back(Passed { series: self.series, number, alert });
            self.newest.send_replace(number);
        }
    }

    /// Returns what tells that there are new ones: the number of the newest.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Returns those after a number, the oldest first.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<Passed> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|passed| passed.number > number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_numbered_and_the_oldest_leaves() {
        let ring = Ring::new(Timestamp::UNIX_EPOCH);
        ring.hear(&Event::Stopped { process: "gate" }, Timestamp::UNIX_EPOCH);
        assert_eq!(ring.after(0), []);
        for uid in 0..300 {
            ring.hear(&Event::Detached { uid }, Timestamp::UNIX_EPOCH);
        }
        let kept = ring.after(0);
        assert_eq!((kept.len(), kept[0].number, kept[255].number), (256, 45, 300));
        assert_eq!(ring.after(298).iter().map(|one| one.number).collect::<Vec<_>>(), [299, 300]);
        assert_eq!(*ring.subscribe().borrow(), 300);
    }
}
