//! The gate in the kernel: load, fill, attach, change, ask.
//!
//! The tables outlive the process, since they are pinned, and so does the attachment. So a start is
//! always an adoption: [`load`] opens what is pinned (or makes it), [`Loaded::fill`] brings it to the
//! wanted state without a moment that admits a stranger, and only then [`Filled::attach`] attaches the
//! programs, or exchanges those that already stand. The types allow no other order.
//!
//! What is *wanted* is decided by [`allowlist`] and [`bans`], and written down by [`record`].

/// The allowlist as its owner sees it.
pub mod allowlist;
/// Whether clients can come by an interface.
pub mod approach;
/// The log of every change.
pub mod audit;
/// The bans as their owner sees them.
pub mod bans;
/// Between written and looked-up networks.
pub mod cidr;
/// Who is connected to the guarded ports.
pub mod clients;
/// Between the wall clock and the boot clock.
pub mod clocks;
/// An entry with all that is known of it.
pub mod entry;
/// The numbers of entries.
pub mod ids;
/// One list as the memory that the kernel looks it up in.
pub mod list;
/// The file that replaces the run-time list.
pub mod listfile;
/// Ports of outgoing connections.
pub mod local_ports;
/// What the kernel says of interfaces.
pub mod netlink;
/// The two files of the gate's state.
pub mod record;
/// One file of records, replaced whole.
pub mod store;

#[cfg(not(feature = "xdp"))]
mod absent;
mod count;
mod error;
mod off;
mod offloads;
#[cfg(feature = "xdp")]
mod sys;
mod words;
#[cfg(feature = "xdp")]
mod xdp;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use relay_common::addr::{Net, NetError};
use relay_common::bucket::Rate;
use relay_common::state::{self, Alone, OwnHost, Scope};
use relay_common::table::{EntryId, Sample, Sketch, TagName};
use relay_common::verdict::Verdict;

use approach::Approaches;

#[cfg(not(feature = "xdp"))]
pub use absent::{
    Door, Filled, Loaded, View, clock_is_kept, detach, examine, lacking, load, queue,
};
pub use count::{Busy, CountRow, Counters, EntryCounts, Queue, Survey, TagCounts};
pub use error::GateError;
pub use off::Off;
pub use offloads::{Offloads, offloads};
#[cfg(feature = "xdp")]
pub use sys::{clock_is_kept, queue};
#[cfg(feature = "xdp")]
pub use xdp::{Door, EntryPoint, Filled, Loaded, Run, Took, View, detach, examine, lacking, load};

/// Where the gate keeps its pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A folder on a BPF file system, for instance `/sys/fs/bpf/sallyport`. The pins lie in a folder of
    /// it that is named after the layout of the tables.
    pub pins: PathBuf,
    /// The group that may read the tables (mode 0640); none: root's.
    pub group: Option<u32>,
}

/// An entry of the allowlist, as the kernel needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The network.
    pub net: Net,
    /// Its number, less than [`ENTRIES_MAX`](relay_common::table::ENTRIES_MAX) and no other entry's:
    /// counters, rate and tag are kept under it.
    pub id: EntryId,
    /// The tag that joins its clients to policies.
    pub tag: Option<TagName>,
    /// The rate of its connection attempts; none: no limit.
    pub rate: Option<Rate>,
    /// The rate of the attempts of each of its sources; none: no limit.
    pub source_rate: Option<Rate>,
    /// When it ends, in nanoseconds of the boot clock; none: never. The kernel keeps to it by itself.
    pub until_ns: Option<u64>,
}

/// Everything that the kernel is told: what it should be, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// The guarded ports.
    pub ports: Vec<u16>,
    /// Which segments to them are looked at.
    pub scope: Scope,
    /// What becomes of connections of the host to itself.
    pub own_host: OwnHost,
    /// The allowlist: no network and no number twice.
    pub entries: Vec<Entry>,
    /// Banned networks, each until a time of the boot clock in nanoseconds.
    pub bans: Vec<(Net, u64)>,
}

/// The gate while it stands.
///
/// Every change is effective when its method returns, for the next frame on every CPU.
pub trait Gate: Send {
    /// Brings every table to `ruleset`. The list takes the place of the former one at one moment for both
    /// families; what else it admits is there before, what it no longer admits goes after.
    ///
    /// # Errors
    ///
    /// [`GateError::TooMany`] and [`GateError::Entry`] before anything was changed; else what the kernel
    /// refused, with the former list in force.
    fn replace(&mut self, ruleset: &Ruleset) -> Result<(), GateError>;

    /// Adds an entry, or changes the one of the same network. It touches what belongs to that entry alone,
    /// unless the list's memory is full: then the list is built anew in more.
    ///
    /// # Errors
    ///
    /// [`GateError::Full`] if the allowlist has no room, with nothing changed.
    fn insert(&mut self, entry: &Entry) -> Result<(), GateError>;

    /// Takes the entry of exactly this network away; returns its number, none if there was none.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn remove(&mut self, net: &Net) -> Result<Option<EntryId>, GateError>;

    /// Bans networks, each until a time of the boot clock in nanoseconds, see [`Gate::now_ns`]. An earlier
    /// ban of exactly the same network is replaced.
    ///
    /// # Errors
    ///
    /// [`GateError::Full`] if the table of bans has no room; those before it stand.
    fn ban(&mut self, bans: &[(Net, u64)]) -> Result<(), GateError>;

    /// Lifts the ban of exactly this network; returns whether there was one.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn unban(&mut self, net: &Net) -> Result<bool, GateError>;

    /// Returns what is switched as a whole.
    fn switched(&self) -> Switched;

    /// Lets everything pass until a time of the boot clock, and counts what should have been dropped; none
    /// ends that.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn observe(&mut self, until_ns: Option<u64>) -> Result<(), GateError>;

    /// Tells the second door whether the first stands.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn leave_alone(&mut self, alone: Alone) -> Result<(), GateError>;

    /// Puts a candidate list beside the one that counts, where it judges nobody: attempts that it would drop
    /// are counted under their entries. None takes it away. The counts begin at zero each time.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn shadow(&mut self, candidate: Option<&[Net]>) -> Result<(), GateError>;

    /// Returns the allowlist, in the order of its networks.
    fn entries(&self) -> Vec<(Net, EntryId)>;

    /// Returns the bans in the order of their networks, also those that are over and were not lifted yet.
    fn bans(&self) -> Vec<(Net, u64)>;

    /// Returns what was counted since the tables were made, of all CPUs together. It is cheap: a call for
    /// each pair of interface and port.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn counters(&self) -> Result<Counters, GateError>;

    /// Returns the counters of every entry, of all CPUs together. It takes a call an entry.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn entry_counts(&self) -> Result<BTreeMap<EntryId, EntryCounts>, GateError>;

    /// Returns the counters of the entry of exactly this network; none if there is no such entry.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn entry_count(&self, net: &Net) -> Result<Option<EntryCounts>, GateError>;

    /// Returns the sums of refused frames by the networks of their sources, of all CPUs together.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn refused(&self) -> Result<Box<Sketch>, GateError>;

    /// Returns the samples of refused frames and of admitted attempts since the last call, and permits as many again.
    fn samples(&mut self) -> Vec<Sample>;

    /// Asks the loaded program about a SYN from `source` to `port`, without recording anything.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    fn explain(&self, source: IpAddr, port: u16) -> Result<Explanation, GateError>;

    /// Returns how each interface stands that the gate was attached to, in that order.
    fn health(&self) -> Vec<Health>;

    /// Returns whether clients can come by each of these interfaces, in the order of [`Gate::health`], and at all.
    fn approaches(&self) -> Approaches;

    /// Attaches again wherever the gate's program is missing, for instance after an interface came back, and
    /// pins again what is not pinned any more. Returns how each interface stands then.
    fn repair(&mut self) -> Vec<Health>;

    /// Returns what is wrong with the pins, as [`Gate::repair`] found them last: a sentence.
    fn pins_problem(&self) -> Option<String>;

    /// Returns the kernel's rare diagnostics since the last call; at most 64.
    fn diagnostics(&mut self) -> Vec<String>;

    /// Returns the boot clock in nanoseconds, the clock of every time in the tables.
    fn now_ns(&self) -> u64;

    /// Returns the second door, to put it on sockets; none where there is no gate.
    fn door(&self) -> Option<Door>;

    /// Detaches the gate from every interface, opens the second door and takes the pins away: this opens the
    /// host.
    ///
    /// # Errors
    ///
    /// What the kernel refused; then it may be half done.
    fn detach(&mut self) -> Result<(), GateError>;
}

/// What is switched as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switched {
    /// What becomes of what should be dropped.
    pub mode: state::Mode,
    /// Until when the mode "observe" holds, in nanoseconds of the boot clock; 0 for never.
    pub observe_until_ns: u64,
    /// The number of the list that counts.
    pub generation: u32,
}

/// What the loaded program answered, and what the tables say of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// The network of the entry that lists the source; none for a stranger.
    pub entry: Option<Net>,
    /// The entry's tag.
    pub tag: Option<String>,
    /// Until when the source is banned, in nanoseconds of the boot clock, if it is.
    pub banned_until_ns: Option<u64>,
    /// The generation of the list that was asked.
    pub generation: u32,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before the stack sees the frame.
    Native,
    /// In the stack, before its protocols: slower, and behind what the driver merged. Degraded.
    Generic,
}

impl XdpMode {
    /// Returns the word for people: `native` or `generic`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// How an interface stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The interface's name.
    pub interface: String,
    /// What stands on it.
    pub state: InterfaceState,
}

/// What stands on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceState {
    /// Our program.
    Guarded {
        /// How.
        mode: XdpMode,
        /// Whether it stood there already when this process attached it.
        adopted: bool,
        /// The name that the interface has now, if it is another: it goes on being guarded.
        renamed: Option<String>,
    },
    /// No program.
    Missing,
    /// Another program than ours.
    Foreign {
        /// Its number, for `bpftool prog show id`.
        program_id: u32,
    },
    /// There is no such interface.
    NoInterface,
    /// The kernel would not say, or would not attach.
    Unknown {
        /// What it said instead.
        problem: String,
    },
    /// This build has no gate.
    Off,
}

/// Who a source is, for the process that only reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The entry that lists it.
    pub entry: EntryId,
    /// The entry's network; none while the entry is being changed.
    pub net: Option<Net>,
    /// The entry's tag.
    pub tag: Option<String>,
    /// What was counted of the entry; nothing while it cannot be read.
    pub counts: EntryCounts,
}

/// Returns the gate's form of a network of the configuration. A network inside `::ffff:0:0/96` becomes
/// the IPv4 network it stands for.
///
/// # Errors
///
/// [`NetError::HostBits`] if bits after the prefix are set.
pub fn net(network: IpNetwork) -> Result<Net, NetError> {
    Net::new(network.ip(), network.prefix())
}

/// Returns the boot clock in nanoseconds: it goes on during suspend and no step of the wall clock moves it.
#[must_use]
pub fn boot_clock_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanoseconds
}
