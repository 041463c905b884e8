//! What can go wrong between the gate and the kernel, each with the place and the remedy.

use std::io;
use std::path::PathBuf;

/// Why the gate could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// This build has no kernel program in it.
    #[error("this build has no gate: build with the feature `xdp`, or set gate.required = false")]
    NotBuilt,
    /// The process lacks a right.
    #[error(
        "{what}: not permitted; the gate needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON in the \
         first user namespace"
    )]
    NotPermitted {
        /// What was tried.
        what: String,
    },
    /// The relay could not read what is pinned.
    #[error(
        "gate.pins: {}: cannot be given to the relay's group for good; until it stands the gate needs CAP_CHOWN and \
         CAP_FSETID, too: add them to CapabilityBoundingSet= of its unit, or to the capabilities of its container",
        path.display()
    )]
    NotGiven {
        /// The folder or pin.
        path: PathBuf,
    },
    /// The pins' folder is on another file system.
    #[error(
        "gate.pins: {}: not on a BPF file system; run `mount -t bpf bpf /sys/fs/bpf` and put it below, or mount one \
         where it shall lie",
        path.display()
    )]
    NoBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// The kernel says nothing about its own types.
    #[error(
        "/sys/kernel/btf/vmlinux: missing; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y, and \
         its sysfs be mounted at /sys"
    )]
    NoBtf,
    /// The kernel is too old, or was built without something.
    #[error(
        "this kernel (Linux {release}) lacks {lacking}: the gate needs a newer one, or one built with it"
    )]
    Lacking {
        /// The kernel's release.
        release: String,
        /// What it lacks, each with the version of Linux that brought it.
        lacking: String,
    },
    /// The kernel program was refused.
    #[error("program {program}: this kernel refuses it; {log}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// The last lines of what the verifier said.
        log: String,
    },
    /// A pinned table has another shape than this build's.
    #[error(
        "{}: pinned with another shape ({found}, expected {expected}); run `sallyport detach` with the \
         version that made it, or remove that folder",
        path.display()
    )]
    Layout {
        /// The pin.
        path: PathBuf,
        /// What was found there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// There is no such interface.
    #[error("gate.interfaces: there is no interface {name:?}; see `ip link`")]
    UnknownInterface {
        /// Its name.
        name: String,
    },
    /// The interface's frames have no header of Ethernet, so the program would read them wrong.
    #[error(
        "gate.interfaces: the frames of {name:?} have no header of Ethernet, as those of a tunnel; leave it out: \
         the second door judges what comes by it"
    )]
    NoEthernet {
        /// Its name.
        name: String,
    },
    /// Somebody else's program stands on the interface.
    #[error(
        "interface {name}: another XDP program is attached (id {program_id}; see `bpftool prog show id \
         {program_id}`); detach it first, for instance with `ip link set dev {name} xdp off`"
    )]
    Foreign {
        /// The interface.
        name: String,
        /// The program's number.
        program_id: u32,
    },
    /// The kernel cannot attach by a link, which is the only way that outlives this process.
    #[error(
        "interface {name}: this kernel attaches XDP without a link; the gate needs Linux 5.9 or later"
    )]
    NoLink {
        /// The interface.
        name: String,
    },
    /// The interface takes the program neither in the driver nor in the stack.
    #[error("interface {name}: cannot attach: {refusals}")]
    Attach {
        /// The interface.
        name: String,
        /// What the kernel said to each way.
        refusals: String,
    },
    /// A table has no room.
    #[error("table {table}: full at {capacity} entries; take some away first")]
    Full {
        /// The table's name.
        table: &'static str,
        /// What it holds.
        capacity: u32,
    },
    /// A ruleset asks for more than a table holds. Nothing was changed.
    #[error("table {table}: {wanted} entries are more than the {capacity} it holds")]
    TooMany {
        /// The table's name.
        table: &'static str,
        /// What was asked for.
        wanted: usize,
        /// What it holds.
        capacity: u32,
    },
    /// Counters of their own cannot be given to so many.
    #[error("{count} {what} cannot be counted apart; guard fewer")]
    Spread {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A ruleset or entry contradicts itself. Nothing was changed.
    #[error("entry {entry}: {problem}")]
    Entry {
        /// The network.
        entry: relay_common::addr::Net,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The kernel refused a call.
    #[error("{what}")]
    Kernel {
        /// What was tried, and on what.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
