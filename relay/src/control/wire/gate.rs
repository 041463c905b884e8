//! What is said on the gate's socket.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Interface, Sandbox};

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
        /// Connection attempts that the entry may make, for instance `100/s`.
        #[serde(default)]
        connect_rate: Option<String>,
        /// Connection attempts that each of its sources may make.
        #[serde(default)]
        source_rate: Option<String>,
    },
    /// Remove entries. Answer: a list of [`Change`].
    AllowRemove {
        /// The networks.
        networks: Vec<IpNetwork>,
    },
    /// List the entries. Answer: a list of [`Entry`].
    AllowList,
    /// List a part of the entries. Answer: [`AllowPage`].
    AllowPage {
        /// Only entries that hold this address, if it is one, or whose network, tag or note has this text in it,
        /// without regard to case; none: all.
        #[serde(default)]
        find: Option<String>,
        /// How many of those are passed over first.
        #[serde(default)]
        from: usize,
        /// At most so many, and at most 500.
        limit: usize,
    },
    /// Make a file the whole of the entries that were added at run time. The file follows the question.
    /// Answer: [`Applied`].
    AllowApply {
        /// How long the file is, octets.
        bytes: usize,
        /// Only say what it would do.
        dry_run: bool,
        /// Milliseconds after which the former list comes back unless this one is confirmed.
        confirm_within_ms: Option<u64>,
        /// Also if no client that is connected now would be admitted any more.
        force: bool,
    },
    /// Keep the list that was applied. Answer: [`Confirmed`].
    AllowConfirm,
    /// Bring the former list back now. Answer: [`Confirmed`].
    AllowRollback,
    /// Judge by a file in shadow: count what it would drop, and drop nothing. The file follows the question;
    /// with 0 octets the one that stands in shadow is taken away. Answer: how many entries it has.
    AllowShadow {
        /// How long the file is, octets.
        bytes: usize,
    },
    /// Ban sources. Answer: a list of [`Change`].
    BanAdd {
        /// The networks.
        networks: Vec<IpNetwork>,
        /// Milliseconds until the ban ends; none: a quarter of an hour, and twice as long as the time before
        /// for one that was banned within the last week.
        ttl_ms: Option<u64>,
        /// The remark.
        note: Option<String>,
    },
    /// Lift bans. Answer: a list of [`Change`].
    BanRemove {
        /// The networks.
        networks: Vec<IpNetwork>,
    },
    /// List the bans. Answer: a list of [`super::Ban`].
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
    /// Let everything pass for a time and count what should have been dropped, or enforce. Answer: until when.
    Mode {
        /// Milliseconds to observe; none: enforce.
        observe_ms: Option<u64>,
    },
    /// Take the gate away and open the host. Answer: nothing.
    Detach,
    /// Read the configuration again. Answer: what takes a restart, if anything.
    Reload,
    /// Read the audit log. Answer: [`crate::gate::audit::Page`].
    Audit {
        /// Changes since this time.
        since: Timestamp,
        /// The newest of them, at most so many.
        limit: usize,
    },
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Connection attempts that it may make, for instance `100/s`.
    pub connect_rate: Option<String>,
    /// Connection attempts that each of its sources may make.
    pub source_rate: Option<String>,
    /// Connection attempts that passed since the entry was made.
    pub connections: u64,
    /// Connection attempts dropped because a rate was exceeded.
    pub over_rate: u64,
    /// When the last connection attempt came.
    pub last_seen: Option<Timestamp>,
    /// Connection attempts that the list in shadow would drop.
    pub would_drop: u64,
}

/// A part of the allowlist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowPage {
    /// In the order of the list.
    pub entries: Vec<Entry>,
    /// How many entries were found in all.
    pub found: usize,
}

/// What a list did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Whether it counts now.
    pub is_applied: bool,
    /// How many entries the list has that counts then, declared ones included.
    pub entries: usize,
    /// How many entries were added, updated and removed.
    pub counts: BTreeMap<Did, usize>,
    /// The first of these changes, at most a thousand.
    pub changes: Vec<Change>,
    /// Clients that are connected now and would not be admitted any more, each with its connections.
    pub cut: BTreeMap<IpAddr, usize>,
    /// Clients that are connected now.
    pub connected: usize,
    /// When the former list comes back unless this one is confirmed.
    pub confirm_until: Option<Timestamp>,
}

/// What became of a list that waited to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// How many entries the list has that counts now.
    pub entries: usize,
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
    /// The generation of the list that was asked.
    pub generation: u32,
    /// `enforce`, `observe` or `open`.
    pub mode: String,
}

/// What was counted on one interface for one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The interface; none for the second door.
    pub interface: Option<String>,
    /// The guarded port; none for frames in which none was reached.
    pub port: Option<u16>,
    /// Frames by reason, those that were seen.
    pub counts: BTreeMap<String, u64>,
    /// Frames that passed although they should have been dropped.
    pub spared: u64,
}

/// A network that was refused often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talker {
    /// The network.
    pub cidr: IpNetwork,
    /// Refused frames over the last minute, an estimate.
    pub frames: u64,
    /// How many fewer there may have been, but for one network in seven.
    pub error: u64,
    /// The reason of the last sample of it.
    pub reason: String,
}

/// A way around the first door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// By which way, for instance `wg0 (wireguard), which is not guarded`.
    pub path: String,
    /// When it was first and last seen.
    pub since: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// Attempts that were seen, all of them refused by the second door.
    pub attempts: u64,
    /// The source of the last one.
    pub source: IpAddr,
}

/// A spike, open or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spike {
    /// Its class, for instance `spike-refused`.
    pub class: String,
    /// The network, of a class that has a spike for each.
    pub subject: Option<String>,
    /// When it was noticed.
    pub since: Timestamp,
    /// When it was over; none while it is open.
    pub until: Option<Timestamp>,
    /// The time in which it was found to rise.
    #[serde(default)]
    pub window_seconds: u64,
    /// The most that were seen in so long.
    #[serde(default)]
    pub peak: u64,
    /// How many were usual in so long before.
    #[serde(default)]
    pub usual: u64,
    /// The highest rate seen, a second.
    pub peak_per_second: u64,
    /// What was usual before, a second.
    pub usual_per_second: u64,
    /// How many there were while it was open.
    pub total: u64,
}

/// How the gate is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateStatus {
    /// The process.
    pub pid: u32,
    /// Every configured interface.
    pub interfaces: Vec<Interface>,
    /// Whether no client can come from another host, neither by these interfaces nor by any other, or
    /// that the address of every listener is gone.
    #[serde(default)]
    pub cut_off: bool,
    /// The guarded ports.
    pub ports: Vec<u16>,
    /// Whether clients are served: false while the gate is lost and `on-loss` is `refuse`.
    pub serving: bool,
    /// `enforce`, `observe` or `open`.
    pub mode: String,
    /// When the mode `observe` ends.
    pub observe_until: Option<Timestamp>,
    /// The generation of the list that counts.
    pub generation: u32,
    /// How many listening sockets the second door stands on.
    pub second_door: usize,
    /// Whether connections of the host to itself are admitted.
    pub loopback: bool,
    /// When the former list comes back unless the one that counts is confirmed.
    pub confirm_until: Option<Timestamp>,
    /// How many entries the list in shadow has; none if there is none.
    pub shadow: Option<usize>,
    /// How many entries the allowlist has.
    pub entries: usize,
    /// How many bans are alive.
    pub bans: usize,
    /// Frames by reason, at both doors, since the tables were made.
    pub counters: BTreeMap<String, u64>,
    /// Frames that passed although they should have been dropped, while the gate observed.
    pub spared: u64,
    /// The same by interface and port.
    pub counted: Vec<Counted>,
    /// The networks that were refused most over the last minute.
    pub talkers: Vec<Talker>,
    /// At least how many different sources that were, or of a shorter time where that has not passed; none: unknown.
    pub sources: Option<u64>,
    /// Ways around the first door that were seen.
    pub bypasses: Vec<Bypass>,
    /// Refused connection attempts a second, over the last second.
    pub refused_per_second: u64,
    /// Open spikes, entries of the allowlist first, and the last ones that are over, the newest first; at most 16.
    pub spikes: Vec<Spike>,
    /// How many spikes are open, by class: all of them.
    #[serde(default)]
    pub open_spikes: BTreeMap<String, u64>,
    /// What is wrong besides interfaces and spikes, for people.
    pub problems: Vec<String>,
    /// What keeps the process in; none: an older version answers.
    pub sandbox: Option<Sandbox>,
}

impl GateStatus {
    /// Tells whether it keeps out whom it does not list, and whom it bans: it does not while it only observes, was taken
    /// away, or could not be loaded at all.
    #[must_use]
    pub fn keeps_out(&self) -> bool {
        self.mode == "enforce" && self.interfaces.iter().any(|one| one.mode != super::UNGUARDED)
    }

    /// Returns how many spikes are open, by class; none of one whose last is over.
    #[must_use]
    pub fn spikes_by_class(&self) -> BTreeMap<&str, u64> {
        let mut open: BTreeMap<&str, u64> = BTreeMap::new();
        for spike in &self.spikes {
            *open.entry(&spike.class).or_default() += u64::from(spike.until.is_none());
        }
        // The list may leave some out.
        open.extend(self.open_spikes.iter().map(|(class, count)| (class.as_str(), *count)));
        open
    }
}
