//! Which logins that have to wait have a line in the journal.
//!
//! Whoever is listed can fail with as many names as he can think of, so lines are bounded: the first of a client and
//! the first of all, and then how many more there were.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Source;

/// The time over which lines are counted.
const SPAN: Duration = Duration::from_secs(60);
/// The lines of one client in [`SPAN`].
const OF_ONE: usize = 3;
/// The lines of all clients in it.
const OF_ALL: usize = 30;

/// The lines of the last minute: at most 30, and what was left out is added up.
#[derive(Debug, Default)]
pub struct FailureLines {
    begun: Option<Instant>,
    written: Vec<Source>,
    left_out: Option<LeftOut>,
}

/// What has no lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// How often a login had to wait.
    pub logins: u64,
    /// How many failures that were.
    pub failures: u64,
    /// The address of the last of them.
    pub last: IpAddr,
}

impl FailureLines {
    /// Returns what was left out of a minute that is over, once.
    pub fn over(&mut self, now: Instant) -> Option<LeftOut> {
        let begun = self.begun?;
        if now.saturating_duration_since(begun) < SPAN {
            return None;
        }
        std::mem::take(self).left_out()
    }

    /// Returns what was left out so far of a minute that is not over.
    #[must_use]
    pub fn left_out(self) -> Option<LeftOut> {
        self.left_out
    }

    /// Returns whether a login that failed so often from `source`, and has to wait now, has a line of its own. A minute
    /// begins with the first.
    pub fn has_line(&mut self, source: IpAddr, failures: u32, now: Instant) -> bool {
        self.begun.get_or_insert(now);
        let client = Source::of(source, None);
        let its = self.written.iter().filter(|written| **written == client).count();
        if its < OF_ONE && self.written.len() < OF_ALL {
            self.written.push(client);
            return true;
        }
        let left_out = LeftOut { logins: 0, failures: 0, last: source };
        let left_out = self.left_out.get_or_insert(left_out);
        left_out.logins += 1;
        left_out.failures += u64::from(failures);
        left_out.last = source;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[test]
    fn a_client_has_a_few_lines_a_minute_and_what_it_did_besides_is_told_in_one() {
        let mut lines = FailureLines::default();
        let start = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(lines.over(start), None);
            lines.has_line(address(1), 5, start);
        }
        assert!(lines.has_line(address(2), 5, start), "another one has its own");
        assert_eq!(lines.over(start + SPAN / 2), None);
        let told = LeftOut { logins: 997, failures: 4_985, last: address(1) };
        assert_eq!(lines.over(start + SPAN), Some(told));
        assert_eq!(lines.over(start + SPAN), None, "once");
        assert!(lines.has_line(address(1), 5, start + SPAN), "the next minute");
        assert_eq!(lines.over(start + SPAN * 2), None, "nothing was left out");
        (0..4).for_each(|_| _ = lines.has_line(address(1), 1, start + SPAN * 3));
        let last = LeftOut { logins: 1, failures: 1, last: address(1) };
        assert_eq!(lines.left_out(), Some(last), "a minute that is cut short");
    }

    #[test]
    fn all_together_have_so_many_lines_and_no_more_is_remembered() {
        let mut lines = FailureLines::default();
        let start = Instant::now();
        let count = (0..=255).filter(|number| lines.has_line(address(*number), 5, start)).count();
        assert_eq!((count, lines.written.len()), (OF_ALL, OF_ALL));
        let left_out = lines.over(start + SPAN).unwrap();
        assert_eq!((left_out.logins, left_out.last), (226, address(255)));
    }
}
