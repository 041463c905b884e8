//! What next hops see.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::super::clock;
use super::super::report::Report;
use super::{Copy, CopyAt, EXPIRE, Ledger, Parcel, State};
use crate::mail::message::MessageId;

impl Ledger {
    pub(in crate::net::world) fn refuses(&mut self, recipients: &[String]) {
        self.refused.extend(recipients.iter().cloned());
    }

    pub(in crate::net::world) fn refuses_sender(&mut self, sender: String) {
        self.refused.insert(sender);
    }

    /// A next hop has taken a message; returns the copies.
    pub(in crate::net::world) fn takes(&mut self, parcel: Parcel<'_>) -> Vec<CopyAt> {
        let key = if parcel.sender.is_empty() {
            let report = Report::read(parcel.octets);
            let key = report.key.clone();
            self.reads(parcel.recipients, report);
            key
        } else {
            self.receives(&parcel).map_or_else(String::new, |id| id.to_string())
        };
        // The rest of the key of a report is random.
        let shown = key.trim_start_matches('<').split('.').next().unwrap_or_default();
        self.tell(|| format!("{shown} from <{}> taken for {:?}", parcel.sender, parcel.recipients));
        let wants = if parcel.keeps_dsn { BTreeSet::new() } else { self.wants_success() };
        let mut taken = Vec::new();
        for recipient in parcel.recipients {
            let key = (key.clone(), recipient.clone());
            let copies = self.copies.entry(key.clone()).or_default();
            let is_excused = copies.iter().all(|copy| !copy.is_certain);
            copies.push(Copy { is_certain: true, is_to_be_told: wants.contains(recipient) });
            taken.push((key, copies.len() - 1));
            self.ensure(is_excused, || format!("{recipient} got it twice without a cause"));
        }
        taken
    }

    /// Returns the recipients of whose success their sender wants to hear.
    fn wants_success(&self) -> BTreeSet<String> {
        let asked = self.submissions.iter().flat_map(|submission| &submission.letter.recipients);
        let wanted = asked.filter(|asked| asked.notify.contains("SUCCESS"));
        wanted.map(|asked| asked.address.clone()).collect()
    }

    /// The relay did not hear that these copies were taken.
    pub(in crate::net::world) fn uncertain(&mut self, copies: &[CopyAt]) {
        for (key, place) in copies {
            self.copies.get_mut(key).unwrap()[*place].is_certain = false;
            self.tell(|| format!("a copy for {} may not be known", key.1));
        }
    }

    /// Checks a client's message at a next hop.
    fn receives(&mut self, parcel: &Parcel<'_>) -> Option<MessageId> {
        let text = String::from_utf8(parcel.octets.to_vec()).unwrap();
        let Some((number, id)) = names(&text) else {
            self.fault(format!("a next hop got {text:?}"));
            return None;
        };
        let submission = &self.submissions[number];
        let own = submission.text.as_slice();
        let trace = parcel.octets.strip_suffix(own).map(<[u8]>::to_vec);
        let is_trace = trace.is_some_and(|trace| {
            let lines = trace.split_inclusive(|octet| *octet == b'\n');
            lines.clone().all(|l| l.starts_with(b"Received: ") || l.starts_with(b"\t"))
        });
        let letter = &submission.letter;
        let is_asked = |to: &String| {
            letter.recipients.iter().any(|asked| asked.address == *to && asked.is_allowed)
        };
        let wait = SignedDuration::from_secs(letter.hold_s.into());
        let has_failed = self.has_failed;
        let checks = [
            (is_trace, "is not what was accepted"),
            (parcel.recipients.iter().all(is_asked), "went to whom nobody asked for"),
            (parcel.sender == letter.sender, "has another sender"),
            (
                clock::now() >= submission.begun_at + wait || self.hastened.contains(&id),
                "was to be held",
            ),
            (submission.state != State::Begun, "never ended"),
            (submission.state != State::Refused || has_failed, "was refused"),
            (!self.gone.contains(&id), "was dropped"),
        ];
        for (is_so, fault) in checks {
            self.ensure(is_so, || format!("{id}, submission {number}: {fault}"));
        }
        self.is_the_same(number, id);
        Some(id)
    }

    /// Checks a report at a next hop.
    fn reads(&mut self, to: &[String], report: Report) {
        let Report { key, about, number, news } = report;
        self.ensure(!news.is_empty(), || format!("the report about {about} says nothing"));
        let number = number.or_else(|| self.by_id.get(&about).copied());
        for news in news {
            let recipient = news.recipient;
            self.tell(|| format!("{to:?} reads that {about} for {recipient} is {}", news.action));
            let copies = self.copies.get(&(about.to_string(), recipient.clone()));
            let (any, certain) = copies.map_or((false, false), |copies| {
                (!copies.is_empty(), copies.iter().any(|copy| copy.is_certain))
            });
            if let Some(submission) = number.and_then(|number| self.submissions.get(number)) {
                let asked = submission.letter.recipients.iter().find(|r| r.address == recipient);
                // A report about a report names the sender, who asked for nothing.
                let notify = asked.map_or("", |asked| asked.notify);
                let age = clock::now().duration_since(submission.begun_at);
                let is_old = age >= SignedDuration::try_from(EXPIRE).unwrap();
                let is_refused = self.refused.contains(&recipient)
                    || self.refused.contains(&submission.letter.sender);
                let (is_wanted, is_true) = match news.action.as_str() {
                    // A report may be older than what an attempt after a loss of power came to.
                    "failed" => {
                        let is_so = !certain || self.lost.contains_key(&about);
                        (notify != "NEVER", is_so && (is_old || is_refused))
                    }
                    "delayed" => (notify.is_empty() || notify.contains("DELAY"), true),
                    "relayed" => (notify.contains("SUCCESS"), any),
                    _ => (false, false),
                };
                // A report about a report has no submission of its own.
                let is_own = asked.is_some();
                self.ensure(is_wanted || !is_own, || {
                    format!("{recipient}: nobody asked to hear it")
                });
                self.ensure(is_true || !is_own, || format!("{recipient} is not {}", news.action));
            }
            if news.action == "failed" {
                self.failures.entry((about, recipient)).or_default().insert(key.clone());
            }
        }
    }
}

/// Returns the number and the id that a message names.
fn names(text: &str) -> Option<(usize, MessageId)> {
    let number = text.lines().find_map(|line| line.strip_prefix("X-World: "))?;
    let id = text.split(" id ").nth(1)?.split(';').next()?;
    Some((number.parse().ok()?, id.parse().ok()?))
}
