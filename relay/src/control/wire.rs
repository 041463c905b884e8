//! What is said on the control sockets. The names of verbs and fields are a contract: other
//! programs speak them too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::mail::message::MessageId;
use crate::spool::{Filter, Status};

/// The longest line in either direction, octets.
pub const LINE_MAX: usize = 16 << 20;

/// The longest question, octets: questions are small, answers may list 65,536 entries.
pub const QUESTION_MAX: usize = 1 << 20;

/// What can be asked of the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GateRequest {
    /// Admit networks. Answer: a list of [`Change`].
    AllowAdd {
        /// The networks.
        networks: Vec<IpNetwork>,
        /// The tag; none keeps that of an existing entry.
        tag: Option<String>,
        /// The remark; none keeps that of an existing entry.
        note: Option<String>,
        /// Milliseconds until the entry ends; none: it stays.
        ttl_ms: Option<u64>,
    },
    /// Remove entries. Answer: a list of [`Change`].
    AllowRemove {
        /// The networks.
        networks: Vec<IpNetwork>,
    },
    /// List the entries. Answer: a list of [`Entry`].
    AllowList,
    /// Ban sources. Answer: a list of [`Change`].
    BanAdd {
        /// The networks.
        networks: Vec<IpNetwork>,
        /// Milliseconds until the ban ends.
        ttl_ms: u64,
        /// The remark.
        note: Option<String>,
    },
    /// Lift bans. Answer: a list of [`Change`].
    BanRemove {
        /// The networks.
        networks: Vec<IpNetwork>,
    },
    /// List the bans. Answer: a list of [`Ban`].
    BanList,
    /// Ask the loaded program about a SYN. Answer: [`Explanation`].
    Explain {
        /// The source address.
        source: IpAddr,
        /// The destination port; none: the first guarded one.
        port: Option<u16>,
    },
    /// How the gate is. Answer: [`GateStatus`].
    Status,
    /// The relay asks for the listening sockets and stays for notices.
    Attach {
        /// How many listening sockets come with the question, for a gate that was restarted.
        sockets: usize,
    },
}

/// What became of one network of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The network.
    pub cidr: IpNetwork,
    /// `added`, `updated`, `unchanged` or `removed`.
    pub did: Did,
    /// What the operator should know, for instance that a broader entry still admits the source.
    pub remark: Option<String>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Did {
    /// It stands now.
    Added,
    /// It says something else now.
    Updated,
    /// All was as asked for before.
    Unchanged,
    /// It is gone.
    Removed,
}

/// An entry of the allowlist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The network.
    pub cidr: IpNetwork,
    /// The tag that joins its clients to policies.
    pub tag: Option<String>,
    /// The remark.
    pub note: Option<String>,
    /// The line of the configuration that declares it; none if it was added at run time.
    pub declared_in_line: Option<usize>,
    /// Who added it at run time.
    pub added_by_uid: Option<u32>,
    /// When it was added at run time.
    pub added_at: Option<Timestamp>,
    /// When it ends.
    pub until: Option<Timestamp>,
    /// Connection attempts that passed since the tables were made.
    pub connections: u64,
    /// Connection attempts dropped by the entry's connect rate.
    pub over_rate: u64,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The network.
    pub cidr: IpNetwork,
    /// When it ends.
    pub until: Timestamp,
    /// The remark.
    pub note: Option<String>,
    /// Who asked for it.
    pub by_uid: u32,
}

/// What the loaded program answers about a source, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The source.
    pub source: IpAddr,
    /// The port asked about.
    pub port: u16,
    /// `pass` or `drop`.
    pub verdict: String,
    /// The name of the reason, as counters have it.
    pub reason: String,
    /// The entry that lists the source.
    pub entry: Option<IpNetwork>,
    /// The entry's tag.
    pub tag: Option<String>,
    /// When the ban of the source ends.
    pub banned_until: Option<Timestamp>,
}

/// How an interface stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native`, `generic`, or `missing`.
    pub mode: String,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
}

/// A spike, open or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spike {
    /// Its class, for instance `refused`.
    pub class: String,
    /// When it was noticed.
    pub since: Timestamp,
    /// When it was over; none while it is open.
    pub until: Option<Timestamp>,
    /// The highest rate seen, attempts a second.
    pub peak_per_second: u64,
    /// What was usual before, attempts a second.
    pub usual_per_second: u64,
    /// All attempts while it was open.
    pub total: u64,
}

/// How the gate is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateStatus {
    /// The process.
    pub pid: u32,
    /// Every configured interface.
    pub interfaces: Vec<Interface>,
    /// The guarded ports.
    pub ports: Vec<u16>,
    /// Whether clients are served: false while the gate is lost and `on-loss` is `refuse`.
    pub serving: bool,
    /// How many entries the allowlist has.
    pub entries: usize,
    /// How many bans are alive.
    pub bans: usize,
    /// Frames by reason, since the tables were made.
    pub counters: BTreeMap<String, u64>,
    /// Refused connection attempts a second, over the last second.
    pub refused_per_second: u64,
    /// Open spikes and the last ones that are over, the newest first; at most 16.
    pub spikes: Vec<Spike>,
    /// What is wrong besides interfaces and spikes, for people.
    pub problems: Vec<String>,
}

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

/// What can be asked of the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RelayRequest {
    /// How the relay is. Answer: [`RelayStatus`].
    Status,
    /// List messages, the oldest first. Answer: [`crate::spool::Page`].
    QueueList {
        /// Which.
        filter: Filter,
        /// At most so many.
        limit: usize,
    },
    /// Show one message. Answer: [`crate::spool::Details`].
    QueueShow {
        /// Its id.
        id: MessageId,
    },
    /// Try messages again now. Answer: how many.
    QueueRetry {
        /// Which; none: all.
        ids: Option<Vec<MessageId>>,
    },
    /// Remove messages for good. Answer: how many.
    QueueDrop {
        /// Which.
        ids: Vec<MessageId>,
    },
}

/// The word of [`RelayStatus::guard`] where nothing guards the listeners.
pub const UNGUARDED: &str = "UNGUARDED";

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
