//! What is wrong now, and what of it was told: alerts in, alerts to tell out. Time comes as an argument.
//!
//! - A trouble is told when it opens, when it grows, as often as the reminder says while it stays, and when it
//!   is over. Its opening again while it is open is no news.
//! - What only happened is told once; the same again, with the same words, after the time of a reminder.
//! - A trouble that comes and goes is held down: a name is told 6 times an hour, a class 30 times. What is open
//!   then is told when there is room; what is over by then is not. What is critical breaks through.
//! - Whatever is said of a trouble's end is as bad as people were told that it was.
//! - A silenced trouble is told when the silence ends, if it is still open.

mod pace;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::pace::{Pace, Turn};
use crate::event::alert::{Alert, Severity, Stage};

/// The most open troubles, and the most things that happened, that are known at a time. One more trouble is lost;
/// one more thing that happened makes the oldest of the class that has most forgotten, so that no class, whoever
/// fills it, mutes another one.
pub const KNOWN_MAX: usize = 1000;
/// The alerts that were told last, for people to look at.
const RECENT_MAX: usize = 50;
/// How long a trouble from before a start waits to be heard of again, until it is taken for over.
const GRACE: Duration = Duration::from_secs(600);
/// After how long a thing that happened may be told again with the same words, where nobody wants reminders.
const AGAIN: Duration = Duration::from_secs(4 * 3600);

/// The class of alerts about alerts that found no room; there is always room for it.
pub const LOST: &str = "alerts-lost";

/// Which process said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The relay.
    Relay,
    /// The gate.
    Gate,
}

/// A trouble that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Trouble {
    /// What was said of it last.
    pub alert: Alert,
    /// By whom.
    pub origin: Origin,
    /// When it was told last; none: it is silenced or held down.
    pub told: Option<Timestamp>,
    /// How bad people were told that it is, at most; none: they were never told, and hear nothing of its end.
    pub known: Option<Severity>,
    /// How often it was told again.
    pub reminders: u32,
    /// Since when it waits to be heard of again, after a start of whoever said it.
    pub unconfirmed: Option<Timestamp>,
}

/// A trouble as it is kept. Relays before kept only whether people know of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    alert: Alert,
    origin: Origin,
    told: Option<Timestamp>,
    is_known: bool,
    #[serde(default)]
    known: Option<Severity>,
    reminders: u32,
    unconfirmed: Option<Timestamp>,
}

impl From<Kept> for Trouble {
    fn from(kept: Kept) -> Self {
        let Kept { alert, origin, told, is_known, known, reminders, unconfirmed } = kept;
        let known = known.or_else(|| is_known.then_some(alert.severity));
        Self { alert, origin, told, known, reminders, unconfirmed }
    }
}

impl From<Trouble> for Kept {
    fn from(trouble: Trouble) -> Self {
        let Trouble { alert, origin, told, known, reminders, unconfirmed } = trouble;
        let is_known = known.is_some();
        Self { alert, origin, told, is_known, known, reminders, unconfirmed }
    }
}

impl Trouble {
    /// Returns what was said of it last, no worse than people were told; none if they were never told.
    #[must_use]
    pub fn as_known(&self) -> Option<Alert> {
        let severity = self.known?.min(self.alert.severity);
        Some(Alert { severity, ..self.alert.clone() })
    }
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    #[serde(default)]
    class: String,
    summary: String,
    told: Option<Timestamp>,
    at: Timestamp,
    unsaid: u32,
}

/// What is wrong now, and what was told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Troubles {
    open: BTreeMap<String, Trouble>,
    notes: BTreeMap<String, Note>,
    #[serde(flatten)]
    pace: Pace,
    recent: VecDeque<Alert>,
    /// How many alerts found no room among those known.
    overflow: u64,
}

/// What decides whether something is told.
pub struct Terms<'a> {
    /// How often an open trouble is told again; none: never.
    pub remind: Option<Duration>,
    /// Tells whether an alert is silenced.
    pub is_silenced: &'a dyn Fn(&Alert) -> bool,
}

impl Troubles {
    /// Takes an alert; returns what to tell because of it.
    pub fn hear(
        &mut self,
        alert: Alert,
        origin: Origin,
        terms: &Terms<'_>,
        now: Timestamp,
    ) -> Option<Alert> {
        match alert.stage {
            Stage::Opened | Stage::Grew(_) => self.opened(alert, origin, terms, now),
            Stage::Closed => self.closed(alert),
            Stage::Noted => self.noted(alert, terms, now),
        }
    }

    fn opened(
        &mut self,
        alert: Alert,
        origin: Origin,
        terms: &Terms<'_>,
        now: Timestamp,
    ) -> Option<Alert> {
        let key = alert.key();
        let Some(trouble) = self.open.get_mut(&key) else {
            if self.open.len() >= KNOWN_MAX {
                self.overflow += 1;
                return None;
            }
            let trouble =
                Trouble { alert, origin, told: None, known: None, reminders: 0, unconfirmed: None };
            self.open.insert(key.clone(), trouble);
            return self.tell_open(&key, terms, now);
        };
        let has_grown = match alert.stage {
            Stage::Grew(_) => trouble.alert.stage != alert.stage,
            Stage::Opened | Stage::Closed | Stage::Noted => false,
        };
        let is_news = has_grown || alert.severity > trouble.alert.severity;
        trouble.origin = origin;
        let is_confirmed = trouble.unconfirmed.take().is_some();
        let was = &trouble.alert;
        let severity = alert.severity.max(was.severity);
        // Said again as at first, it stays what it grew to; its numbers are those of now. Whoever started anew counts
        // its growth from here.
        let stage = if is_news || is_confirmed { alert.stage } else { was.stage };
        trouble.alert = Alert { since: was.since, severity, stage, ..alert };
        if !is_news {
            return None;
        }
        trouble.told = None;
        self.tell_open(&key, terms, now)
    }

    /// Tells an open trouble if it may be told now.
    fn tell_open(&mut self, key: &str, terms: &Terms<'_>, now: Timestamp) -> Option<Alert> {
        let trouble = self.open.get_mut(key)?;
        let (alert, known) = (trouble.alert.clone(), trouble.known);
        if (terms.is_silenced)(&alert) {
            return None;
        }
        let turn = self.pace.turn(&alert, known, now)?;
        (trouble.told, trouble.known) = (Some(now), known.max(Some(alert.severity)));
        let former_severity = known.filter(|former| *former < alert.severity);
        Some(self.tell(Alert { former_severity, ..alert }, turn, now))
    }

    /// Ends a trouble; what was told of it gets its end, silenced or not, so that nobody waits for it. It is as bad
    /// as people were told: who was not woken for it is not woken for its end.
    fn closed(&mut self, alert: Alert) -> Option<Alert> {
        let trouble = self.open.remove(&alert.key())?;
        let Alert { severity, since, .. } = trouble.as_known()?;
        Some(self.remember(Alert { severity, since, ..alert }))
    }

    fn noted(&mut self, alert: Alert, terms: &Terms<'_>, now: Timestamp) -> Option<Alert> {
        let key = alert.key();
        if self.notes.len() >= KNOWN_MAX && !self.notes.contains_key(&key) {
            self.forget_one();
        }
        let again = terms.remind.unwrap_or(AGAIN);
        let unsaid = self.notes.get(&key).map_or(0, |note| note.unsaid);
        let is_same = self.notes.get(&key).is_some_and(|note| {
            note.summary == alert.summary
                && note.told.is_some_and(|told| !is_past(told, again, now))
        });
        let may_tell = !is_same && !(terms.is_silenced)(&alert);
        let turn = self.pace.turn(&alert, None, now).filter(|_| may_tell);
        let note = self.notes.entry(key).or_insert_with(|| Note {
            class: alert.class.clone(),
            summary: alert.summary.clone(),
            told: None,
            at: now,
            unsaid: 0,
        });
        note.at = now;
        let Some(turn) = turn else {
            note.unsaid = unsaid.saturating_add(1);
            return None;
        };
        (note.summary, note.told, note.unsaid) = (alert.summary.clone(), Some(now), 0);
        let mut alert = alert;
        if unsaid > 0 {
            alert.details.insert("not-told-before".to_owned(), unsaid.to_string());
        }
        Some(self.tell(alert, turn, now))
    }

    /// Forgets the oldest thing that happened of the class that has most of them.
    fn forget_one(&mut self) {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for note in self.notes.values() {
            *sizes.entry(&note.class).or_default() += 1;
        }
        let largest = sizes.into_iter().max_by_key(|(_, size)| *size).map(|(class, _)| class);
        let of_it = self.notes.iter().filter(|(_, note)| Some(&*note.class) == largest);
        let oldest = of_it.min_by_key(|(_, note)| note.at).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            self.notes.remove(&oldest);
        }
    }

    /// Does what time brings: reminders, what was silenced or held down, what is over without a word. Returns
    /// what to tell.
    pub fn tick(&mut self, terms: &Terms<'_>, now: Timestamp) -> Vec<Alert> {
        self.notes.retain(|_, note| !is_past(note.at, Duration::from_secs(86_400), now));
        self.pace.forget(now);
        let mut tell = Vec::new();
        let keys: Vec<String> = self.open.keys().cloned().collect();
        for key in keys {
            let Some(trouble) = self.open.get(&key) else { continue };
            if trouble.unconfirmed.is_some_and(|since| is_past(since, GRACE, now)) {
                let summary = "nothing was heard of it since the process that said it started anew";
                let over = Alert {
                    stage: Stage::Closed,
                    at: now,
                    summary: summary.to_owned(),
                    command: None,
                    ..trouble.alert.clone()
                };
                tell.extend(self.closed(over));
                continue;
            }
            match (trouble.told, terms.remind) {
                (None, _) => tell.extend(self.tell_open(&key, terms, now)),
                (Some(told), Some(every)) if is_past(told, every, now) => {
                    tell.extend(self.remind(&key, terms, now));
                }
                (Some(_), _) => {}
            }
        }
        tell
    }

    fn remind(&mut self, key: &str, terms: &Terms<'_>, now: Timestamp) -> Option<Alert> {
        let mut alert = self.tell_open(key, terms, now)?;
        let trouble = self.open.get_mut(key)?;
        trouble.reminders = trouble.reminders.saturating_add(1);
        alert.at = now;
        alert.details.insert("reminder".to_owned(), trouble.reminders.to_string());
        Some(alert)
    }

    /// Takes note that a process started anew: its open troubles are over unless it says them again.
    pub fn restarted(&mut self, origin: Origin, now: Timestamp) {
        for trouble in self.open.values_mut() {
            if trouble.origin == origin && trouble.unconfirmed.is_none() {
                trouble.unconfirmed = Some(now);
            }
        }
    }

    /// Returns the open troubles, in the order of their names.
    pub fn open(&self) -> impl Iterator<Item = &Trouble> {
        self.open.values()
    }

    /// Returns what was told last, the newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Alert> {
        self.recent.iter().rev()
    }

    /// Returns how many alerts found no room so far, and begins to count anew.
    pub fn take_overflow(&mut self) -> u64 {
        std::mem::take(&mut self.overflow)
    }

    fn tell(&mut self, alert: Alert, turn: Turn, now: Timestamp) -> Alert {
        self.pace.count(&alert, turn, now);
        self.remember(alert)
    }

    fn remember(&mut self, alert: Alert) -> Alert {
        self.recent.push_back(alert.clone());
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        alert
    }
}

/// Tells whether a time has passed since. A clock that was set back makes nothing wait for ever.
fn is_past(since: Timestamp, time: Duration, now: Timestamp) -> bool {
    let passed = now.duration_since(since);
    passed.is_negative() && passed.unsigned_abs() > time
        || !passed.is_negative() && passed.unsigned_abs() >= time
}

#[cfg(test)]
mod tests;
