//! Pins that somebody took away: they are made again, and told.

use super::Xdp;

/// What is to be told of the pins, each once.
#[derive(Default)]
pub(super) struct Said {
    pub(super) waiting: Vec<String>,
    pub(super) problem: Option<String>,
}

impl Xdp {
    /// Pins again what somebody took away, and says so.
    pub(super) fn pin_again(&mut self) {
        let made = self.pins.make_folders();
        let pinned = made.and_then(|()| Ok(self.tables.pin_again()? + self.links.pin_again()?));
        let problem = match pinned {
            Ok(0) => None,
            Ok(some) => {
                let place = self.pins.top().display();
                self.said.waiting.push(format!("{place}: {some} pins were gone and are back"));
                None
            }
            Err(error) => Some(format!(
                "pins are gone and do not come back: the relay takes no clients after the next change of a list. \
                 {}: {error}",
                self.pins.remedy()
            )),
        };
        if problem.is_some() && problem != self.said.problem {
            self.said.waiting.extend(problem.clone());
        }
        self.said.problem = problem;
    }
}
