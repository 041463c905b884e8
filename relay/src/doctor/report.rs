//! What the checks came to, the most likely cause on top.

use serde::Serialize;

use super::{Cause, Check, Finding, Looked, Place, Severity};

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walked {
    /// Where it looked.
    pub place: Place,
    /// At what.
    pub name: &'static str,
    /// What it saw, for people.
    pub result: String,
    /// How many faults it found.
    pub faults: usize,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Faults first: those that keep clients out, those that keep mail in, others; each in the order of
    /// the walk. So the most likely cause stands on top.
    pub findings: Vec<Finding>,
    /// Every check, from the wire to the next hop.
    pub walk: Vec<Walked>,
    /// What was not looked at, and why.
    pub left_out: Vec<String>,
}

impl Report {
    /// Returns the one of a configuration that cannot be read: everything else hangs on it.
    #[must_use]
    pub fn of_unreadable(problem: &str) -> Self {
        let findings = problem.lines().map(|line| {
            Finding::new(
                Cause::ConfigUnreadable,
                line,
                "sallyport config check FILE names every problem; --config names another file",
            )
        });
        Self { findings: findings.collect(), ..Self::default() }
    }

    /// Returns how many faults there are.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.findings.iter().filter(|found| found.cause.severity() == Severity::Fault).count()
    }

    pub(super) fn take(&mut self, check: &Check, looked: Option<Looked>) {
        let Some(Looked { findings, left_out }) = looked else {
            let after = check.deadline.as_secs();
            let why = format!("{}: no answer within {after} s, so it was given up", check.name);
            return self.take(check, Some(Looked::left_out(why)));
        };
        let is_fault = |found: &&Finding| found.cause.severity() == Severity::Fault;
        let faults = findings.iter().filter(is_fault).count();
        let result = match (faults, findings.len() - faults, left_out.len()) {
            (0, 0, 0) => check.good.to_owned(),
            (0, 0, _) => "not looked at, or in part; see below".to_owned(),
            (0, _, _) => "nothing wrong; something worth knowing".to_owned(),
            (1, _, _) => "1 fault".to_owned(),
            (many, _, _) => format!("{many} faults"),
        };
        self.walk.push(Walked { place: check.place, name: check.name, result, faults });
        self.findings.extend(findings);
        self.left_out.extend(left_out);
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|found| {
            (found.cause.severity(), found.cause.stops(), found.cause as usize)
        });
        self.findings.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::super::CHECKS;
    use super::*;

    fn found(cause: Cause) -> Finding {
        Finding::new(cause, "", "")
    }

    #[test]
    fn what_keeps_clients_out_stands_first_in_the_order_of_the_walk() {
        let mut report = Report::default();
        let some = [
            Cause::GateGeneric,
            Cause::HopSilent,
            Cause::NotFlushing,
            Cause::NotListening,
            Cause::InterfaceDown,
            Cause::InterfaceDown,
        ];
        report.findings = some.map(found).into();
        report.sort();
        let order: Vec<_> = report.findings.iter().map(|found| found.cause).collect();
        let wanted = [
            Cause::InterfaceDown,
            Cause::NotListening,
            Cause::HopSilent,
            Cause::NotFlushing,
            Cause::GateGeneric,
        ];
        assert_eq!(order, wanted);
        assert_eq!(report.faults(), 4);
    }

    #[test]
    fn a_check_that_hangs_is_left_out_by_name() {
        let mut report = Report::default();
        report.take(&CHECKS[0], None);
        assert_eq!(report.left_out, ["interfaces: no answer within 5 s, so it was given up"]);
        assert_eq!(report.walk[0].faults, 0);
    }
}
