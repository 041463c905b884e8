//! What people are told where no client is served behind the gate.

use std::time::Duration;

use crate::appliance::guard::Guard;
use crate::appliance::lasting::{Lasting, Looks};
use crate::event::Event;

/// How long nobody is served before people are told: a gate that is started again takes less.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same of a relay that has served nobody yet: at a boot the gate waits for the network.
const NEVER: Duration = Duration::from_secs(180);

/// For how long nobody was served.
#[derive(Debug, Default)]
pub(super) struct Unserved {
    looks: Looks,
    lasting: Lasting,
}

impl Unserved {
    /// Takes a look `at` this moment of the boot clock. Returns what is to be told now.
    pub(super) fn look(&mut self, guard: Guard, at: Duration) -> Option<Event> {
        let passed = self.looks.begin(at);
        if guard.serves() {
            return self.lasting.note_well().then_some(Event::Served);
        }
        let patience = if self.lasting.was_well() { PATIENCE } else { NEVER };
        let down_for = self.lasting.note_wrong(passed, at, patience)?;
        Some(Event::Unserved { problem: guard.words().to_owned(), down_for })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_with_its_end_and_a_gate_that_is_back_soon_is_not() {
        let mut unserved = Unserved::default();
        let mut told = |seconds: std::ops::Range<u64>, guard: Guard| -> Vec<(u64, Event)> {
            let look = |second| Some((second, unserved.look(guard, Duration::from_secs(second))?));
            seconds.filter_map(look).collect()
        };
        assert_eq!(told(0..19, Guard::Waiting), [], "a boot takes its time");
        assert_eq!(told(19..20, Guard::Guarded), []);
        assert_eq!(told(20..28, Guard::Refusing), []);
        assert_eq!(told(28..30, Guard::Degraded), [], "it serves on");
        let problem = "the gate is missing".to_owned();
        let lasts = Event::Unserved { problem, down_for: Duration::from_secs(9) };
        assert_eq!(told(30..90, Guard::Refusing), [(39, lasts)]);
        assert_eq!(told(90..95, Guard::Guarded), [(90, Event::Served)]);
    }
}
