//! Counts what test programs print: results, and the skips that a passed test hides.

use std::collections::BTreeMap;
use std::fmt;

/// How a whole run went.
#[derive(Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    ignored: usize,
    /// Programs that did not end well, by name.
    faults: Vec<String>,
    /// How often a reason to skip was printed.
    reasons: BTreeMap<String, usize>,
}

/// What a test that cannot run here prints, as `tests/src/need.rs` writes it.
const SKIPPED: &str = "SKIPPED (";

impl Tally {
    /// Counts one line of output.
    pub fn read(&mut self, line: &str) {
        // The test program may have written "test name ... " in front, without an end of line.
        if let Some(at) = line.find(SKIPPED) {
            let reason = line[at..].split(" [").next().unwrap_or_default();
            *self.reasons.entry(reason.to_owned()).or_default() += 1;
            self.skipped += 1;
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let Some(Ok(count)) = words.next().map(str::parse::<usize>) else { continue };
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.ignored += count,
                _ => {}
            }
        }
    }

    /// Notes a program that did not end well. One that reported no failed test ended before it
    /// could, and counts as one.
    pub fn fault(&mut self, program: &str, failed_before: usize, why: &str) {
        if self.failed == failed_before {
            self.failed += 1;
        }
        self.faults.push(format!("{program}: {why}"));
    }

    /// Returns the failed tests so far.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Tells whether every test that ran passed.
    pub fn is_good(&self) -> bool {
        self.failed == 0 && self.faults.is_empty()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, count) in &self.reasons {
            writeln!(out, "{count:>4} x {reason}")?;
        }
        if self.ignored > 0 {
            writeln!(out, "{:>4} x ignored in the source", self.ignored)?;
        }
        for fault in &self.faults {
            writeln!(out, "FAILED {fault}")?;
        }
        // A test that skipped returned, so its program counted it as passed.
        let passed = self.passed.saturating_sub(self.skipped);
        let skipped = self.skipped + self.ignored;
        write!(out, "{passed} passed, {} failed, {skipped} skipped", self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        tally
    }

    #[test]
    fn results_of_programs_add_up_and_skips_leave_the_passed() {
        let tally = tally(&[
            "running 3 tests",
            "test a ... SKIPPED (needs swaks): cargo xtask test --install [a]",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out",
        ]);
        assert!(!tally.is_good());
        let text = tally.to_string();
        assert!(text.contains("1 x SKIPPED (needs swaks): cargo xtask test --install\n"), "{text}");
        assert!(text.ends_with("\n3 passed, 2 failed, 2 skipped"), "{text}");
    }

    #[test]
    fn a_program_that_dies_without_a_result_is_a_failure() {
        let mut tally = tally(&["running 3 tests"]);
        tally.fault("root_gate", 0, "signal: 9");
        assert!(tally.to_string().ends_with("0 passed, 1 failed, 0 skipped"));
        assert!(!tally.is_good());
    }
}
