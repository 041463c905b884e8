//! What is wrong with the time of certificates, told when it begins, when it becomes worse and when it is over.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::event::Event;
use crate::event::alert::Severity;

/// What is wrong with the time of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its file.
    pub file: String,
    /// When it ends.
    pub until: Timestamp,
    /// A warning: nothing renews it, and there is time to see why. Critical: clients refuse it, or will within days.
    pub severity: Severity,
    /// A sentence about it, with its file.
    pub problem: String,
}

/// What was told of the time of certificates.
#[derive(Clone, Debug, Default)]
pub struct Endings(BTreeMap<String, (Severity, Timestamp)>);

impl Endings {
    /// Takes what is wrong now; returns what is to be told because of it. Of a file that is named more than once, as
    /// one may serve two names, the worst counts.
    pub fn hear(&mut self, endings: Vec<Ending>) -> Vec<Event> {
        let mut over = std::mem::take(&mut self.0);
        let mut events = Vec::new();
        for Ending { file, until, severity, problem } in worst(endings) {
            // A certificate in the place of another may be no better, and is another all the same.
            if over.remove(&file) != Some((severity, until)) {
                let file = file.clone();
                events.push(Event::CertificateEnds { file, until, severity, problem });
            }
            self.0.insert(file, (severity, until));
        }
        events.extend(over.into_keys().map(|file| Event::CertificateGood { file }));
        events
    }
}

/// Returns one ending of each file, in their order.
fn worst(endings: Vec<Ending>) -> Vec<Ending> {
    let mut files: Vec<Ending> = Vec::new();
    for ending in endings {
        match files.iter_mut().find(|known| known.file == ending.file) {
            Some(known) if known.severity < ending.severity => *known = ending,
            Some(_) => {}
            None => files.push(ending),
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(file: &str, severity: Severity) -> Ending {
        let until = Timestamp::UNIX_EPOCH;
        Ending { file: file.into(), until, severity, problem: format!("{file} ends") }
    }

    #[test]
    fn what_is_wrong_is_told_once_and_when_it_is_worse_and_its_end() {
        let mut endings = Endings::default();
        let mut told = |now: &[(&str, Severity)]| {
            let now = now.iter().map(|(file, severity)| ending(file, *severity)).collect();
            let told = endings.hear(now).into_iter().map(|event| match event {
                Event::CertificateEnds { file, severity, .. } => format!("{file} {severity:?}"),
                Event::CertificateGood { file } => format!("{file} good"),
                other => panic!("{other:?}"),
            });
            told.collect::<Vec<_>>()
        };
        let (warning, critical) = (Severity::Warning, Severity::Critical);
        assert_eq!(told(&[]), [""; 0]);
        assert_eq!(told(&[("a", warning), ("b", critical)]), ["a Warning", "b Critical"]);
        assert_eq!(told(&[("a", warning), ("b", critical)]), [""; 0]);
        assert_eq!(told(&[("a", critical)]), ["a Critical", "b good"]);
        assert_eq!(told(&[]), ["a good"]);
        assert_eq!(told(&[]), [""; 0]);
        // One file that is named twice.
        assert_eq!(told(&[("a", warning), ("a", warning)]), ["a Warning"]);
        assert_eq!(told(&[("a", warning), ("a", warning)]), [""; 0]);
        assert_eq!(told(&[("a", warning), ("a", critical)]), ["a Critical"]);
        assert_eq!(told(&[("a", critical), ("a", warning)]), [""; 0]);
        assert_eq!(told(&[]), ["a good"]);
    }

    #[test]
    fn one_in_the_place_of_another_that_is_no_better_is_told_anew() {
        let mut endings = Endings::default();
        let one = |second| Ending {
            until: Timestamp::from_second(second).unwrap(),
            ..ending("a", Severity::Critical)
        };
        let told = [1, 1, 2, 2].map(|second| endings.hear(vec![one(second)]).len());
        assert_eq!(told, [1, 0, 1, 0]);
    }
}
