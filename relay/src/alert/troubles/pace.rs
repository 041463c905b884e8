//! How often something is told: what comes and goes is held down, and what becomes critical is heard all the same.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::is_past;
use crate::event::alert::{Alert, Severity, Stage};

/// How often in [`PACE`] one name is told.
pub(super) const NAME_MAX: usize = 6;
/// How often in [`PACE`] one class is told.
pub(super) const CLASS_MAX: usize = 30;
/// The time over which is counted how often something is told.
const PACE: Duration = Duration::from_secs(3600);
/// How often in [`LOUD`] a name is told beyond that, if it is critical and people were not told so.
const NAME_MORE: usize = 1;
/// How often in [`LOUD`] the names of one class are told beyond that: strangers choose some of them.
pub(super) const CLASS_MORE: usize = 6;
/// The time over which is counted what is told beyond, and for which a name that was critical may be so again.
pub(super) const LOUD: Duration = Duration::from_secs(600);
/// How long a trouble stays that no longer comes and goes.
const STAYS: Duration = Duration::from_secs(60);

/// When names and classes were told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pace {
    told: BTreeMap<String, VecDeque<Timestamp>>,
    /// The same, of what was told beyond.
    #[serde(default)]
    beyond: BTreeMap<String, VecDeque<Timestamp>>,
    /// When a name was told last to be critical.
    #[serde(default)]
    critical: BTreeMap<String, Timestamp>,
}

/// What a telling is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// One of those of the hour.
    Usual,
    /// One beyond them.
    Beyond,
}

impl Pace {
    /// Returns how an alert may be told now, of which people know that it is as bad as `known`; none: it may not.
    pub fn turn(&self, alert: &Alert, known: Option<Severity>, now: Timestamp) -> Option<Turn> {
        let (name, class) = (name_of(alert), &alert.class);
        if count(&self.told, &name, PACE, now) < NAME_MAX
            && count(&self.told, class, PACE, now) < CLASS_MAX
        {
            return Some(Turn::Usual);
        }
        let is_worse = alert.stage != Stage::Noted
            && alert.severity == Severity::Critical
            && known != Some(Severity::Critical);
        // Who was woken for this name lately is woken again if it is not what comes and goes.
        let is_new = self.critical.get(&name).is_none_or(|at| is_past(*at, LOUD, now))
            || is_past(alert.since, STAYS, now);
        let has_room = count(&self.beyond, &name, LOUD, now) < NAME_MORE
            && count(&self.beyond, class, LOUD, now) < CLASS_MORE;
        (is_worse && is_new && has_room).then_some(Turn::Beyond)
    }

    /// Counts an alert that is told.
    pub fn count(&mut self, alert: &Alert, turn: Turn, now: Timestamp) {
        let name = name_of(alert);
        if alert.severity == Severity::Critical {
            self.critical.insert(name.clone(), now);
        }
        let (counts, name_most, class_most) = match turn {
            Turn::Usual => (&mut self.told, NAME_MAX, CLASS_MAX),
            Turn::Beyond => (&mut self.beyond, NAME_MORE, CLASS_MORE),
        };
        for (name, most) in [(name, name_most), (alert.class.clone(), class_most)] {
            let told = counts.entry(name).or_default();
            told.push_back(now);
            while told.len() > most {
                told.pop_front();
            }
        }
    }

    /// Forgets what no longer counts.
    pub fn forget(&mut self, now: Timestamp) {
        self.told.retain(|_, told| told.iter().any(|at| !is_past(*at, PACE, now)));
        self.beyond.retain(|_, told| told.iter().any(|at| !is_past(*at, LOUD, now)));
        self.critical.retain(|_, at| !is_past(*at, LOUD, now));
    }
}

fn count(
    counts: &BTreeMap<String, VecDeque<Timestamp>>,
    name: &str,
    time: Duration,
    now: Timestamp,
) -> usize {
    let told = counts.get(name);
    told.map_or(0, |told| told.iter().filter(|at| !is_past(**at, time, now)).count())
}

/// The name under which is counted how often a trouble is told: never that of a class.
fn name_of(alert: &Alert) -> String {
    format!("{}/{}", alert.class, alert.subject)
}
