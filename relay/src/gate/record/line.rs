//! One line of a file, or of its log.

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::bans::Ban;
use super::super::cidr::network;
use super::super::clocks::Moment;
use super::super::entry::{Entry, Origin};

/// One line of the allowlist's file, or of its log.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AllowRecord {
    /// The boot in which the lines that follow were written.
    Boot(String),
    /// What an earlier version wrote; it says nothing any more.
    LastId(#[serde(default)] u32),
    /// The number of a declared entry.
    #[serde(rename_all = "kebab-case")]
    Declared { cidr: IpNetwork, id: u32 },
    /// An added entry.
    #[serde(rename_all = "kebab-case")]
    Added {
        cidr: IpNetwork,
        id: u32,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        tag: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        connect_rate: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        source_rate: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        until: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        until_ns: Option<u64>,
        uid: u32,
        at: Timestamp,
    },
    /// An added entry is gone.
    #[serde(rename_all = "kebab-case")]
    Removed { cidr: IpNetwork },
    /// The list waits to be confirmed: the former one comes back at this time.
    #[serde(rename_all = "kebab-case")]
    Until { until: Timestamp, until_ns: u64 },
}

/// One line of the bans' file, or of its log.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BanRecord {
    /// The boot in which the lines that follow were written.
    Boot(String),
    /// A ban.
    #[serde(rename_all = "kebab-case")]
    Ban {
        cidr: IpNetwork,
        until: Timestamp,
        until_ns: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<String>,
        uid: u32,
        at: Timestamp,
        #[serde(default)]
        repeats: u32,
    },
    /// A ban was lifted.
    #[serde(rename_all = "kebab-case")]
    Lifted { cidr: IpNetwork },
    /// A ban that ended and is remembered.
    #[serde(rename_all = "kebab-case")]
    Past { cidr: IpNetwork, ended: Timestamp, ended_ns: i64, times: u32 },
}

impl AllowRecord {
    /// Returns the line of it.
    pub fn of(entry: &Entry, now: Moment) -> Option<Self> {
        let Origin::Added { uid, at } = entry.origin else { return None };
        Some(Self::Added {
            cidr: network(entry.net),
            id: entry.id.0,
            tag: entry.tag.clone(),
            note: entry.note.clone(),
            connect_rate: entry.connect_rate.map(|rate| rate.to_string()),
            source_rate: entry.source_rate.map(|rate| rate.to_string()),
            until: entry.until_ns.map(|until_ns| now.wall_of(until_ns)),
            until_ns: entry.until_ns,
            uid,
            at,
        })
    }
}

impl BanRecord {
    /// Returns the line of it.
    pub fn of(ban: &Ban, now: Moment) -> Self {
        let Ban { net, until_ns, note, uid, at, repeats } = ban.clone();
        let until = now.wall_of(until_ns);
        Self::Ban { cidr: network(net), until, until_ns, note, uid, at, repeats }
    }
}
