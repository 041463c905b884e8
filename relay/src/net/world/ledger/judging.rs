//! The end: whether everybody got what was promised.

use std::collections::BTreeSet;

use super::{Copy, Ledger, State};
use crate::mail::message::MessageId;
use crate::spool::{Details, Place, Standing};

impl Ledger {
    /// A message is kept for good.
    pub(in crate::net::world) fn kept(&mut self, details: &Details, id: MessageId) {
        self.kept.insert(id);
        for (to, progress) in details.envelope.recipients.iter().zip(&details.progress) {
            if progress.standing == Standing::Captured {
                self.captured.insert((id, to.to_string()));
            }
        }
    }

    /// After a last loss of power this is there.
    pub(in crate::net::world) fn found(&mut self, places: &[(MessageId, Place)]) {
        let found: BTreeSet<_> = places.iter().map(|(id, _)| *id).collect();
        let kept = std::mem::take(&mut self.kept);
        self.ensure(found == kept, || format!("at the end there is {places:?}, not {kept:?}"));
    }

    /// Looks whether everybody got what was promised.
    pub(in crate::net::world) fn judge(&mut self) {
        for number in 0..self.submissions.len() {
            let submission = &self.submissions[number];
            let (State::Told, Some(id)) = (submission.state, submission.id) else { continue };
            for recipient in submission.accepted.clone() {
                let is_so = self.is_accounted(id, &recipient, number);
                self.ensure(is_so, || format!("{id} for {recipient} is lost"));
            }
        }
        let is_told = |id: &MessageId| {
            self.relayed.contains(id) || self.lost.contains_key(id) || self.dropped.contains(id)
        };
        let untold = |((id, to), copies): (&(String, String), &Vec<Copy>)| {
            let is_owed = copies.iter().any(|copy| copy.is_certain && copy.is_to_be_told);
            let is_told = id.parse().is_ok_and(|id| is_told(&id));
            (is_owed && !is_told).then(|| format!("nobody heard that {id} was passed on for {to}"))
        };
        let too_many = |((about, to), keys): (&(MessageId, String), &BTreeSet<String>)| {
            let excused = self.lost.get(about).copied().unwrap_or(0);
            (keys.len() > 1 + excused).then(|| format!("{about} for {to}: {} reports", keys.len()))
        };
        let faults = self.failures.iter().filter_map(too_many);
        let faults: Vec<_> = faults.chain(self.copies.iter().filter_map(untold)).collect();
        for fault in faults {
            self.fault(fault);
        }
    }

    fn is_accounted(&self, id: MessageId, recipient: &str, number: usize) -> bool {
        let own = (id, recipient.to_owned());
        let asked = self.submissions[number].letter.recipients.iter();
        let is_silent = asked.clone().any(|r| r.address == recipient && r.notify == "NEVER");
        self.copies.contains_key(&(id.to_string(), recipient.to_owned()))
            || self.failures.contains_key(&own)
            || self.captured.contains(&own)
            || self.dropped.contains(&id)
            || (is_silent && self.silent.contains(&own))
            || self.is_report_accounted(id)
    }

    /// Tells whether a report about a message has itself come to an end that is allowed.
    fn is_report_accounted(&self, about: MessageId) -> bool {
        let mut reports = self.reports.iter().filter(|(_, of)| *of == about);
        reports.any(|(report, _)| {
            self.dropped.contains(report)
                || self.untold.contains(report)
                || self.failures.keys().any(|(of, _)| of == report)
                || self.is_report_accounted(*report)
        })
    }
}

/// What all runs together came to.
#[derive(Debug, Default)]
pub(in crate::net::world) struct Sum {
    runs: usize,
    told: usize,
    copies: usize,
    uncertain: usize,
    twice: usize,
    failures: usize,
    captured: usize,
    dropped: usize,
    refused: usize,
}

impl Sum {
    pub(in crate::net::world) fn add(&mut self, ledger: &Ledger) {
        let of = |state| ledger.submissions.iter().filter(|s| s.state == state).count();
        self.runs += 1;
        self.told += of(State::Told);
        self.refused += of(State::Refused);
        self.copies += ledger.copies.values().map(Vec::len).sum::<usize>();
        self.uncertain += ledger.copies.values().flatten().filter(|copy| !copy.is_certain).count();
        self.twice += ledger.copies.values().filter(|copies| copies.len() > 1).count();
        self.failures += ledger.failures.len();
        self.captured += ledger.captured.len();
        self.dropped += ledger.gone.len();
    }

    /// Checks that many runs were about something.
    pub(in crate::net::world) fn check(&self) {
        let Self { runs, told, copies, uncertain, twice, failures, captured, dropped, refused } =
            *self;
        let all = [told, copies, uncertain, twice, failures, captured, dropped, refused];
        assert!(runs < 100 || all.iter().all(|count| *count > 0), "{self:?}");
    }
}
