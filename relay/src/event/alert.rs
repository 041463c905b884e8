//! What somebody is to be told, wherever they are: an event that asks for a person, or the end of one.
//!
//! An alert says the same to every channel: what, since when, how bad, and what to do. The gate hands its
//! alerts to the relay over the control connection, so an alert is plain text and numbers, and what a
//! reader of another version does not know it leaves out.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most details of an alert.
pub const DETAILS_MAX: usize = 32;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing today.
    Warning,
    /// Wake somebody.
    Critical,
}

/// Where a trouble stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It began.
    Opened,
    /// It grew to so many times what it was when it began.
    Grew(u32),
    /// It is over.
    Closed,
    /// It happened; nothing will say that it is over.
    Noted,
}

impl Stage {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Grew(_) => "grew",
            Self::Closed => "closed",
            Self::Noted => "noted",
        }
    }
}

/// One thing that a person is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Alert {
    /// The class, a word in kebab case, for instance `spike-refused` or `route-suspended`; the README says
    /// for each what it means and what to do.
    pub class: String,
    /// What it is about within the class: an interface, a route, a network; empty where there is but one.
    /// Class and subject together name a trouble from its beginning to its end.
    pub subject: String,
    /// Where it stands.
    pub stage: Stage,
    /// How bad it is.
    pub severity: Severity,
    /// How bad people were told it was, where this tells them that it is worse; in nothing that comes after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_severity: Option<Severity>,
    /// When this was said.
    pub at: Timestamp,
    /// When it began.
    pub since: Timestamp,
    /// One sentence for people, without a full stop.
    pub summary: String,
    /// Names and values, in the order of their names; at most [`DETAILS_MAX`].
    #[serde(default)]
    pub details: BTreeMap<String, String>,
    /// The command to run first, if there is one.
    #[serde(default)]
    pub command: Option<String>,
}

impl Alert {
    /// Returns its place among others that are open: the worst first, and of those the latest.
    #[must_use]
    pub const fn urgency(&self) -> Reverse<(Severity, Timestamp)> {
        Reverse((self.severity, self.since))
    }

    /// Returns the name of the trouble, from its beginning to its end: class and subject.
    #[must_use]
    pub fn key(&self) -> String {
        if self.subject.is_empty() {
            self.class.clone()
        } else {
            format!("{}/{}", self.class, self.subject)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(subject: &str) -> Alert {
        Alert {
            class: "route-suspended".into(),
            subject: subject.into(),
            stage: Stage::Grew(2),
            severity: Severity::Critical,
            former_severity: None,
            at: Timestamp::UNIX_EPOCH,
            since: Timestamp::UNIX_EPOCH,
            summary: "the login was refused".into(),
            details: BTreeMap::from([("reply".into(), "535 5.7.8".into())]),
            command: Some("sallyport route list".into()),
        }
    }

    #[test]
    fn a_trouble_has_one_name_from_its_beginning_to_its_end() {
        assert_eq!(alert("smarthost").key(), "route-suspended/smarthost");
        assert_eq!(alert("").key(), "route-suspended");
        let closed = Alert { stage: Stage::Closed, ..alert("smarthost") };
        assert_eq!(closed.key(), alert("smarthost").key());
    }

    #[test]
    fn what_is_written_is_read_and_unknown_members_are_passed_by() {
        let alert = alert("smarthost");
        let mut text = serde_json::to_string(&alert).unwrap();
        assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
        text.insert_str(1, r#""of-tomorrow":[1],"#);
        assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
    }
}
