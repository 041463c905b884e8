//! What nobody wants to hear of for a time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::alert::Alert;
use crate::event::pattern::Pattern;

/// The most silences at a time.
pub const SILENCES_MAX: usize = 100;

/// A silence: alerts that are not told until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Which alerts.
    pub pattern: Pattern,
    /// Until when.
    pub until: Timestamp,
    /// Why, in the operator's words.
    pub note: Option<String>,
    /// The operator.
    pub uid: u32,
}

/// The silences.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Silences(Vec<Silence>);

impl Silences {
    /// Adds a silence, in place of one of the same pattern.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub fn add(&mut self, silence: Silence) -> Result<(), String> {
        self.0.retain(|other| other.pattern != silence.pattern);
        if self.0.len() >= SILENCES_MAX {
            return Err(format!("at most {SILENCES_MAX} silences may be there: remove one"));
        }
        self.0.push(silence);
        Ok(())
    }

    /// Removes the silence of a pattern; tells whether there was one.
    pub fn remove(&mut self, pattern: &Pattern) -> bool {
        let before = self.0.len();
        self.0.retain(|silence| silence.pattern != *pattern);
        self.0.len() < before
    }

    /// Removes those that are over; tells whether there were any.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.0.len();
        self.0.retain(|silence| silence.until > now);
        self.0.len() < before
    }

    /// Tells whether an alert is silenced.
    #[must_use]
    pub fn hold(&self, alert: &Alert, now: Timestamp) -> bool {
        self.0.iter().any(|silence| silence.until > now && silence.pattern.means(alert))
    }

    /// Returns all of them, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Silence> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::wording::noted;

    fn silence(pattern: &str, second: i64) -> Silence {
        let until = Timestamp::from_second(second).unwrap();
        Silence { pattern: pattern.parse().unwrap(), until, note: None, uid: 7 }
    }

    #[test]
    fn a_silence_holds_what_it_means_until_its_time_and_there_are_few() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let alert = noted("host-down", "x").about("r/h").at(at(0));
        let mut silences = Silences::default();
        silences.add(silence("host-down/other/*", 10)).unwrap();
        assert!(!silences.hold(&alert, at(1)));
        silences.add(silence("host-down", 5)).unwrap();
        silences.add(silence("host-down", 9)).unwrap();
        assert_eq!(silences.list().len(), 2);
        assert_eq!([silences.hold(&alert, at(8)), silences.hold(&alert, at(9))], [true, false]);
        assert!(silences.expire(at(9)) && !silences.expire(at(9)));
        assert!(silences.remove(&"host-down/other/*".parse().unwrap()));
        for number in 0..SILENCES_MAX {
            silences.add(silence(&format!("x{number}"), 9)).unwrap();
        }
        assert!(silences.add(silence("y", 9)).unwrap_err().contains("at most"));
    }
}
