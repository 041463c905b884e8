//! A spike as it is told: what rose, how far, who it was, and the command to run first.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::alert::{Alert, Severity, Stage};
use super::wording::{self, estimate};

/// The most networks that a spike names.
pub const TOP_MAX: usize = 5;

/// What can rise far above what is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Frames to guarded ports that were dropped, whatever the reason.
    Refused,
    /// The same from one network.
    Prefix,
    /// Completed handshakes of one listed entry.
    Entry,
    /// Different sources of refused frames.
    Sources,
    /// Admitted connection attempts that no handshake followed: their sources are forged.
    Forged,
    /// Attempts that came around the first door.
    Bypass,
    /// Moments in which the gate's program was missing from an interface.
    Missing,
    /// Failed logins.
    Logins,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Prefix,
        Self::Entry,
        Self::Sources,
        Self::Forged,
        Self::Bypass,
        Self::Missing,
        Self::Logins,
    ];

    /// Returns the class that alerts carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "spike-refused",
            Self::Prefix => "spike-prefix",
            Self::Entry => "spike-entry",
            Self::Sources => "spike-sources",
            Self::Forged => "spike-forged",
            Self::Bypass => "gate-bypass",
            Self::Missing => "gate-missing",
            Self::Logins => "logins-failed",
        }
    }

    /// Returns what is counted, as the plural of a sentence.
    #[must_use]
    pub const fn counted(self) -> &'static str {
        match self {
            Self::Refused => "refused attempts",
            Self::Prefix => "refused attempts from one network",
            Self::Entry => "connections of one listed entry",
            Self::Sources => "refused sources",
            Self::Forged => "admitted attempts without a handshake",
            Self::Bypass => "attempts around the first door",
            Self::Missing => "moments without the gate's program",
            Self::Logins => "failed logins",
        }
    }

    /// Tells whether the counts of windows add up to a total. Of sources only so many are known to be different.
    #[must_use]
    pub const fn adds_up(self) -> bool {
        match self {
            Self::Sources => false,
            Self::Refused
            | Self::Prefix
            | Self::Entry
            | Self::Forged
            | Self::Bypass
            | Self::Missing
            | Self::Logins => true,
        }
    }

    /// Returns the command to run first where nobody is named.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Entry => "sallyport allow list",
            Self::Forged => "sallyport doctor",
            Self::Refused
            | Self::Prefix
            | Self::Sources
            | Self::Bypass
            | Self::Missing
            | Self::Logins => "sallyport status",
        }
    }

    /// Returns how bad it is that a spike of this class reached a stage.
    #[must_use]
    pub const fn severity(self, stage: Stage) -> Severity {
        match (self, stage) {
            (Self::Entry | Self::Bypass | Self::Missing, _)
            | (
                Self::Refused | Self::Prefix | Self::Sources | Self::Forged | Self::Logins,
                Stage::Grew(10..),
            ) => Severity::Critical,
            (
                Self::Refused | Self::Prefix | Self::Sources | Self::Forged | Self::Logins,
                Stage::Opened | Stage::Grew(_) | Stage::Closed | Stage::Noted,
            ) => Severity::Warning,
        }
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A network's share in a spike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The network.
    pub net: IpNetwork,
    /// How many of what is counted came from it, an estimate: of refused frames within the window, or in all of a spike
    /// that is over (a minute at most); of connections and failed logins at most so many in the same time (a quarter of
    /// an hour at most); of attempts without a handshake at most so many since the spike began.
    pub count: u64,
    /// How many fewer there may have been; 0 where each was counted. Of refused frames it is less than the count: who
    /// may have sent none is not named.
    pub error: u64,
    /// The reason of its last refusal, as counters name it; for others a word.
    pub reason: &'static str,
}

/// What is told of a spike when it opens, when it grows and when it closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spike {
    /// The class.
    pub class: Class,
    /// The network of a class that has one spike a network; else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// When it was noticed.
    pub since: Timestamp,
    /// The time in which it was found to rise: one second to a quarter of an hour.
    #[serde(rename = "window-seconds", serialize_with = "whole_seconds")]
    pub window: Duration,
    /// The rate, as so many in a window: if it opens now, of the last tick where that is more; at the peak if it is
    /// over. Of a flood that
    /// has not filled its window yet it is more than there were.
    pub count: u64,
    /// How many were usual before.
    pub usual: u64,
    /// How many were counted since it began.
    pub total: u64,
    /// How long it has lasted, up to the last moment in which it was loud.
    #[serde(rename = "lasted-seconds", serialize_with = "super::seconds")]
    pub lasted: Duration,
    /// Who it was, the loudest first; at most [`TOP_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Share>,
    /// How many there were since the spike began, by reason: of refused frames why they were refused, of one network's
    /// as its samples share it out; of attempts without a handshake how many the gate passed, and how many handshakes
    /// followed; of failed logins their causes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<&'static str, u64>,
    /// One of the frames: source, port, interface, reason; of failed logins the last: address, login, cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// What else is known of it, in one sentence without a full stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// The command to run first.
    pub command: String,
}

/// What stands before a count that may be more.
const LEAST: &str = "at least ";

fn whole_seconds<S: Serializer>(window: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(window.as_secs())
}

/// Returns a duration in seconds, to the nearest one, and below ten to the nearest tenth.
fn rounded(duration: Duration) -> String {
    let millis = duration.as_millis();
    match (millis + 50) / 100 {
        tenths @ ..100 => format!("{}.{}", tenths / 10, tenths % 10),
        100.. => ((millis + 500) / 1000).to_string(),
    }
}

impl Spike {
    /// Returns what people are to be told of it at `at`, when it reached `stage`.
    #[must_use]
    pub fn alert(&self, stage: Stage, at: Timestamp) -> Alert {
        Alert {
            class: self.class.name().to_owned(),
            subject: self.subject.clone(),
            stage,
            severity: self.class.severity(stage),
            former_severity: None,
            at,
            since: self.since,
            summary: self.summary(stage),
            details: self.details(stage),
            command: Some(self.command.clone()).filter(|command| !command.is_empty()),
        }
    }

    /// Returns one sentence for people, without a full stop.
    #[must_use]
    pub fn summary(&self, stage: Stage) -> String {
        let counted = self.class.counted();
        let whose = match self.subject.as_str() {
            "" => String::new(),
            subject => format!(" ({subject})"),
        };
        let (least, total) = if self.class.adds_up() {
            ("", format!("{} {counted}{whose} in all, ", self.total))
        } else {
            (LEAST, String::new())
        };
        let rose = format!("{least}{} {counted}{whose} {}", self.count, self.within());
        match stage {
            Stage::Opened | Stage::Noted => format!("{rose} where {} are usual", self.usual),
            Stage::Grew(times) => {
                format!(
                    "{rose} where {} are usual: at least {times} times as many as at first",
                    self.usual
                )
            }
            Stage::Closed => {
                let peak = if total.is_empty() {
                    rose
                } else {
                    format!("{} {}", self.count, self.within())
                };
                format!("over after {} s: {total}{peak} at the peak", rounded(self.lasted))
            }
        }
    }

    fn within(&self) -> String {
        wording::within(self.window.as_secs())
    }

    fn details(&self, stage: Stage) -> BTreeMap<String, String> {
        let count = match stage {
            Stage::Opened | Stage::Grew(_) | Stage::Noted => "now",
            Stage::Closed => "peak",
        };
        let least = if self.class.adds_up() { "" } else { LEAST };
        let mut details = BTreeMap::from([
            (count.to_owned(), format!("{least}{} {}", self.count, self.within())),
            ("usual".to_owned(), format!("{} {}", self.usual, self.within())),
        ]);
        if self.class.adds_up() {
            details.insert("total".to_owned(), self.total.to_string());
        }
        for (place, Share { net, count, error, reason }) in (1..).zip(&self.top) {
            let about = estimate(*count, *error);
            details.insert(format!("top-{place}"), format!("{net}: {about}, {reason}"));
        }
        if !self.reasons.is_empty() {
            let reasons = self.reasons.iter().map(|(reason, count)| format!("{reason} {count}"));
            details.insert("reasons".to_owned(), reasons.collect::<Vec<_>>().join(", "));
        }
        let words = [("sample", &self.sample), ("remark", &self.remark)];
        for (name, text) in words {
            details.extend(text.as_ref().map(|text| (name.to_owned(), text.clone())));
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::super::alert::DETAILS_MAX;
    use super::*;

    fn spike() -> Spike {
        Spike {
            class: Class::Refused,
            subject: String::new(),
            since: Timestamp::UNIX_EPOCH,
            window: Duration::from_secs(1),
            count: 12_000,
            usual: 10,
            total: 40_000,
            lasted: Duration::from_secs(31),
            top: vec![Share {
                net: "198.51.100.7/32".parse().unwrap(),
                count: 39_000,
                error: 250,
                reason: "unlisted_syn",
            }],
            reasons: BTreeMap::from([("unlisted_syn", 39_900), ("banned", 100)]),
            sample: Some("198.51.100.7 to port 2525 by eth0, unlisted_syn".to_owned()),
            remark: None,
            command: "sallyport explain 198.51.100.7".to_owned(),
        }
    }

    #[test]
    fn a_spike_is_told_in_one_sentence_and_its_details() {
        let at = Timestamp::from_second(1).unwrap();
        let alert = spike().alert(Stage::Opened, at);
        assert_eq!(alert.key(), "spike-refused");
        assert_eq!(alert.summary, "12000 refused attempts a second where 10 are usual");
        assert_eq!((alert.severity, alert.at), (Severity::Warning, at));
        assert_eq!(alert.details["top-1"], "198.51.100.7/32: 39000 (at least 38750), unlisted_syn");
        assert_eq!(alert.details["reasons"], "banned 100, unlisted_syn 39900");
        assert_eq!(alert.details["now"], "12000 a second");
        assert_eq!(alert.command.as_deref(), Some("sallyport explain 198.51.100.7"));
        let entry = Spike {
            class: Class::Entry,
            subject: "192.0.2.0/24".to_owned(),
            window: Duration::from_secs(60),
            ..spike()
        };
        let closed = entry.alert(Stage::Closed, at);
        assert_eq!(
            (closed.key(), closed.severity),
            ("spike-entry/192.0.2.0/24".into(), Severity::Critical)
        );
        assert_eq!(
            closed.summary,
            "over after 31 s: 40000 connections of one listed entry (192.0.2.0/24) in all, 12000 \
             in 60 s at the peak"
        );
        assert_eq!(closed.details["peak"], "12000 in 60 s");
        let grown = spike().alert(Stage::Grew(10), at);
        assert_eq!(grown.severity, Severity::Critical);
        let words = "where 10 are usual: at least 10 times as many as at first";
        assert!(grown.summary.ends_with(words), "{}", grown.summary);
    }

    #[test]
    fn what_lasted_nearly_eight_seconds_is_not_over_after_seven() {
        for (millis, wanted) in [
            (0, "0.0"),
            (949, "0.9"),
            (7_960, "8.0"),
            (9_949, "9.9"),
            (9_950, "10"),
            (10_499, "10"),
            (31_500, "32"),
        ] {
            assert_eq!(rounded(Duration::from_millis(millis)), wanted, "{millis}");
        }
        let spike = Spike { lasted: Duration::from_millis(7_960), ..spike() };
        assert!(spike.summary(Stage::Closed).starts_with("over after 8.0 s: "));
    }

    #[test]
    fn details_are_fewer_than_an_alert_may_have() {
        let full = Spike { top: vec![spike().top[0].clone(); TOP_MAX], ..spike() };
        assert!(full.alert(Stage::Closed, Timestamp::UNIX_EPOCH).details.len() <= DETAILS_MAX);
    }

    #[test]
    fn no_two_classes_have_one_name() {
        let names: std::collections::BTreeSet<_> = Class::ALL.map(Class::name).into();
        assert_eq!(names.len(), Class::ALL.len());
    }
}
