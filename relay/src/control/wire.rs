//! What is said on the control sockets. The names of verbs and fields are a contract: other
//! programs speak them too.

mod ban;
mod gate;
mod interface;
mod queue;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::alert::Alert;
use crate::event::pattern::Pattern;
use crate::history::{Act, Cursor};
use crate::mail::message::MessageId;
use crate::spool::{Filter, Status, Stretch};

pub use ban::Ban;
pub use gate::{
    AllowPage, Applied, Bypass, Change, Confirmed, Counted, Did, Entry, Explanation, GateRequest,
    GateStatus, Spike, Talker,
};
pub use interface::Interface;
pub use queue::{Changed, Left, Meant, Text, Which};

/// The longest answer, octets: it may list a million entries.
pub const LINE_MAX: usize = 1 << 30;

/// The longest question, octets. A file that goes with one follows it and does not count.
pub const QUESTION_MAX: usize = 1 << 20;

/// The question whether a process lives, as it is sent. Its socket answers it at once, whatever the process has to do;
/// the answer is nothing.
pub const PING: &[u8] = b"{\"verb\":\"ping\"}\n";

/// What the gate tells the relay on a connection that attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A source may no longer be admitted: look at the live sessions.
    ListChanged,
    /// The gate is missing: serve nobody.
    Refuse,
    /// The gate is back: serve.
    Serve,
}

/// An alert of the gate's. Series and number name it, so that a relay which hears it twice, over another
/// connection or after a start of its own, knows that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// When the gate's process began to count.
    pub series: Timestamp,
    /// Its number in the series, from 1.
    pub number: u64,
    /// So many numbers right before its own will not come: what they said is said by one that comes later.
    #[serde(default)]
    pub replaced: u64,
    /// What a person is to be told.
    pub alert: Alert,
}

impl Passed {
    /// Returns the numbers that this one stands for: its own, and those before it that will not come.
    #[must_use]
    pub const fn numbers(&self) -> RangeInclusive<u64> {
        self.number.saturating_sub(self.replaced)..=self.number
    }
}

/// A line that the gate writes to a relay that attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word {
    /// Something that changed.
    Notice(Notice),
    /// Something that a person is to be told.
    Alert(Box<Passed>),
}

/// What can be asked of the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RelayRequest {
    /// How the relay is. Answer: [`RelayStatus`].
    Status,
    /// Read the configuration again. Answer: a sentence about what takes a restart, if anything does.
    Reload,
    /// List messages, the oldest first. Answer: [`crate::spool::Page`].
    QueueList {
        /// Which.
        filter: Filter,
        /// Where to look.
        #[serde(default)]
        stretch: Stretch,
        /// At most so many, and at most 1000.
        limit: usize,
    },
    /// Show one message. Answer: [`crate::spool::Details`].
    QueueShow {
        /// Its id.
        id: MessageId,
    },
    /// Read a piece of a message's text. Answer: [`Text`].
    QueueRead {
        /// Its id.
        id: MessageId,
        /// Which piece, counted from 0.
        number: usize,
    },
    /// Give space back now. Answer: [`crate::spool::Compacted`].
    SpoolCompact,
    /// Count the messages that [`RelayRequest::QueueChange`] would be for. Answer: [`Meant`].
    QueueCount {
        /// What would be done.
        act: Act,
        /// To which.
        filter: Filter,
        /// Where to look.
        #[serde(default)]
        stretch: Stretch,
    },
    /// Do something with messages. Answer: [`Changed`].
    QueueChange {
        /// What.
        act: Act,
        /// With which.
        which: Which,
    },
    /// Tell the life of a message. Answer: [`crate::history::Found`].
    Trace {
        /// Its id.
        id: MessageId,
        /// Where to go on; none: from its beginning.
        #[serde(default)]
        from: Option<Cursor>,
    },
    /// List the logins that have to wait when they come from an address, at most 16. Answer:
    /// [`crate::net::login::Waiting`] of each.
    LoginsWaiting {
        /// The address.
        source: IpAddr,
    },
    /// List the routes. Answer: [`crate::net::routes::RouteState`] of each.
    RouteList,
    /// Suspend a route: its mail waits. Answer: nothing.
    RouteSuspend {
        /// Its name.
        route: String,
        /// A remark for people.
        note: Option<String>,
    },
    /// List troubles, silences and channels. Answer: [`crate::alert::listing::Listing`].
    AlertList,
    /// Tell a test. Answer: [`crate::alert::listing::Tested`] of each channel.
    AlertTest {
        /// The channel; none: all.
        channel: Option<String>,
    },
    /// Tell no alert that a pattern means, for a time. Answer: nothing.
    AlertSilence {
        /// Which.
        pattern: Pattern,
        /// Milliseconds from now.
        for_ms: u64,
        /// A remark for people.
        note: Option<String>,
    },
    /// End a silence. Answer: nothing.
    AlertUnsilence {
        /// Its pattern.
        pattern: Pattern,
    },
    /// End the suspension of a route. Answer: how many of its messages are due now; none: all messages.
    RouteResume {
        /// Its name.
        route: String,
    },
}

/// The word of [`RelayStatus::guard`] where nothing guards the listeners.
pub const UNGUARDED: &str = "UNGUARDED";

/// What a relay says of its guard where none of its listeners stands.
pub const DEAF: &str = "no listener stands";

/// What a relay says where it has no place for one more session.
pub const FULL: &str =
    "sessions: as many are open as limits.sessions allows: further clients get 421";

/// How the relay is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// The process.
    pub pid: u32,
    /// Whether clients are accepted.
    pub serving: bool,
    /// How the gate guards the listeners: `guarded`, [`UNGUARDED`], or what it is waited for.
    pub guard: String,
    /// Live sessions.
    pub sessions: usize,
    /// How the spool fares; none if the operating system does not tell.
    pub spool: Option<Status>,
    /// Whether submissions find room in it.
    #[serde(default)]
    pub has_room: bool,
    /// What keeps mail from leaving, a sentence a route; keys, certificates and other files that cannot be
    /// used, or are out of their time, a sentence each.
    #[serde(default)]
    pub troubled: Vec<String>,
    /// What keeps the process in; none: an older version answers.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
}

/// What keeps a process in, whoever has taken it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// What holds, as `landlock (ABI 7), seccomp`.
    pub holds: String,
    /// What does not although it was meant to, with the remedy.
    pub lacks: Option<String>,
}

/// An answer: what was asked for, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// What was asked for.
    Ok(T),
    /// A sentence for the operator: what is wrong and what to do.
    Error(String),
}

impl<T: DeserializeOwned> Answer<T> {
    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// If the line is no answer of this kind.
    pub fn read(line: &[u8]) -> serde_json::Result<Result<T, String>> {
        serde_json::from_slice(line).map(|answer| match answer {
            Self::Ok(value) => Ok(value),
            Self::Error(message) => Err(message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_flat_object_with_its_verb() {
        let question = r#"{"verb":"allow-add","networks":["192.0.2.0/24"],"tag":"a"}"#;
        assert_eq!(
            serde_json::from_str::<GateRequest>(question).unwrap(),
            GateRequest::AllowAdd {
                networks: vec!["192.0.2.0/24".parse().unwrap()],
                tag: Some("a".into()),
                note: None,
                ttl_ms: None,
                connect_rate: None,
                source_rate: None,
            }
        );
        let answer = Answer::<u32>::read(br#"{"error":"no"}"#).unwrap();
        assert_eq!(answer, Err("no".to_owned()));
    }

    #[test]
    fn what_is_not_understood_is_refused_whole() {
        for question in [
            r#"{"verb":"allow-add","networks":["192.0.2.0/24"],"tagg":"a"}"#,
            r#"{"verb":"open"}"#,
            r#"{"verb":"allow-remove","networks":"192.0.2.0/24"}"#,
            r#"{"verb":"explain","source":"192.0.2.0/24"}"#,
            "[]",
            "",
        ] {
            assert!(serde_json::from_str::<GateRequest>(question).is_err(), "{question}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_the_reader_panic(octets: Vec<u8>) {
            let _ = serde_json::from_slice::<GateRequest>(&octets);
            let _ = serde_json::from_slice::<RelayRequest>(&octets);
        }
    }
}
