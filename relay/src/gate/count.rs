//! What the gate counted.

use std::collections::BTreeMap;

use relay_common::addr::Net;
use relay_common::table::Counts;
use relay_common::verdict::Reason;

/// The counters of one interface and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountRow {
    /// The interface; none for the second door.
    pub interface: Option<String>,
    /// The guarded port; none for frames in which no port was reached.
    pub port: Option<u16>,
    /// What was counted.
    pub counts: Counts,
}

/// How many frames the gate saw. [`Reason::Unguarded`] is not counted and stays 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// A row for each interface and port, then those of the second door.
    pub rows: Vec<CountRow>,
}

/// Who completed a handshake and waits until somebody accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many connections.
    pub waiting: u64,
    /// Whether there is no room for another: then the kernel drops SYNs, and the last ACK of handshakes.
    pub is_full: bool,
}

impl Queue {
    /// Returns this queue and another as one.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            waiting: self.waiting.saturating_add(other.waiting),
            is_full: self.is_full || other.is_full,
        }
    }
}

impl Counters {
    /// Returns the frames with `reason`, at both doors.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        let of = |row: &CountRow| row.counts.by_reason()[reason as usize];
        self.rows.iter().map(of).sum()
    }

    /// Returns the frames by reason, at both doors.
    #[must_use]
    pub fn by_reason(&self) -> BTreeMap<Reason, u64> {
        Reason::ALL.into_iter().map(|reason| (reason, self.of(reason))).collect()
    }

    /// Returns the frames that were dropped, for any reason, at both doors.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        Reason::ALL.into_iter().filter(|reason| reason.drops()).map(|reason| self.of(reason)).sum()
    }

    /// Returns the connection attempts of listed sources that the first door passed.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.once(Reason::Admitted)
    }

    /// Returns the frames with `reason`, each once: what the first door passed comes to the second, which counts it too.
    #[must_use]
    pub fn once(&self, reason: Reason) -> u64 {
        let is_seen_twice = !reason.drops();
        let rows = self.rows.iter().filter(|row| !is_seen_twice || row.interface.is_some());
        rows.map(|row| row.counts.by_reason()[reason as usize]).sum()
    }

    /// Returns the frames that passed although they should have been dropped, at both doors.
    #[must_use]
    pub fn spared(&self) -> u64 {
        self.rows.iter().map(|row| row.counts.spared).sum()
    }

    /// Returns the rows of the second door.
    pub fn second_door(&self) -> impl Iterator<Item = &CountRow> {
        self.rows.iter().filter(|row| row.interface.is_none())
    }
}

/// What was counted of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCounts {
    /// Connection attempts that were passed.
    pub passed: u64,
    /// Connection attempts that were dropped because a rate was exceeded.
    pub over_rate: u64,
    /// The last connection attempt, in nanoseconds of the boot clock; 0 for none.
    pub last_ns: u64,
    /// Connection attempts that the candidate list in shadow would drop.
    pub would_drop: u64,
}

/// What the entries of one tag counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagCounts {
    /// How many there are.
    pub entries: u64,
    /// Connection attempts that they passed.
    pub passed: u64,
    /// Connection attempts that were dropped because a rate was exceeded.
    pub over_rate: u64,
    /// Connection attempts that the candidate list in shadow would drop.
    pub would_drop: u64,
}

/// What one of the entries counted that counted most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The network.
    pub net: Net,
    /// The tag; empty if it has none.
    pub tag: String,
    /// Connection attempts that it passed.
    pub passed: u64,
    /// Connection attempts that were dropped because a rate was exceeded.
    pub over_rate: u64,
}

/// What the whole gate counted, read without asking its process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The frames; none if the tables stand for other interfaces or ports than those asked about.
    pub counters: Option<Counters>,
    /// The entries by tag; the empty one for those without.
    pub by_tag: BTreeMap<String, TagCounts>,
    /// The entries that passed most, the busiest first.
    pub busiest: Vec<Busy>,
}
