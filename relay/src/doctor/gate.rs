//! The gate: what the kernel needs for it, its program on each interface, its tables, its process.

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::geteuid;

use super::life::Life;
use super::listeners::found_out;
use super::{Case, Cause, Finding, Looked, Process};
use crate::appliance::folders::BPF_FS_MAGIC;
use crate::bound::NOT_HERE;
use crate::config::OnLoss;
use crate::control::wire::GateStatus;
use crate::gate::{
    GateError, Health, InterfaceState, View, XdpMode, lacking, local_ports, netlink,
};

/// What a kernel with types of its own shows.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What was seen of the gate.
#[derive(Clone, Debug)]
struct Seen {
    is_required: bool,
    on_loss: OnLoss,
    /// Whether the pins' folder lies on a BPF file system; none if that is not known.
    is_on_bpf: Option<bool>,
    has_btf: bool,
    lacking: Vec<String>,
    process: Life,
    tables: Tables,
    /// How every guarded interface stands.
    interfaces: Vec<Health>,
    /// What its process says of itself.
    says: Option<Says>,
    /// Which guarded ports the system gives to connections of its own.
    local_ports: Option<String>,
}

/// Whether the pinned tables can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tables {
    Read,
    Missing(String),
    /// For want of rights.
    Shut,
}

#[derive(Clone, Debug, Default)]
struct Says {
    mode: String,
    problems: Vec<String>,
    bypasses: Vec<String>,
}

pub(super) fn look(case: &Case) -> Looked {
    let gate = &case.config.gate;
    let mut left_out = Vec::new();
    if let Process::Unasked(why) = &case.gate {
        left_out.push(format!("gate: its process did not say how it is: {why}"));
    }
    let (tables, interfaces) =
        if case.is_guarded() { stands(case) } else { (Tables::Read, Vec::new()) };
    let is_missing = interfaces.iter().any(|one| one.state == InterfaceState::Missing);
    let is_root = geteuid().is_root();
    if is_missing && !is_root {
        left_out.push(
            "gate: whether the kernel has all that it needs is asked as root only".to_owned(),
        );
    }
    let unknown = interfaces.iter().filter_map(|one| match &one.state {
        InterfaceState::Unknown { problem } => {
            Some(format!("gate: whose program stands on {}: {problem}", one.interface))
        }
        InterfaceState::Guarded { .. }
        | InterfaceState::Missing
        | InterfaceState::Foreign { .. }
        | InterfaceState::NoInterface
        | InterfaceState::Off => None,
    });
    left_out.extend(unknown);
    let ports: Vec<u16> =
        case.config.listeners.iter().filter(|one| one.gate).map(|one| one.address.port()).collect();
    let seen = Seen {
        is_required: gate.required,
        on_loss: gate.on_loss,
        is_on_bpf: is_on_bpf(&gate.pins),
        has_btf: Path::new(BTF).exists(),
        lacking: if is_missing && is_root { lacking() } else { Vec::new() },
        process: Life::of(&case.gate),
        tables,
        interfaces,
        says: case.gate.says().map(|status| says(status, || found_out(case))),
        local_ports: local_ports::problem(&ports),
    };
    let findings =
        if case.is_guarded() { judge(&seen, &gate.pins) } else { vec![unguarded(gate.required)] };
    Looked { findings, left_out }
}

/// `found_out` looks for the listeners of which their own check says what is wrong.
fn says(status: &GateStatus, found_out: impl Fn() -> Vec<SocketAddr>) -> Says {
    let bypasses = status.bypasses.iter().map(|bypass| {
        format!("{} attempts by {}, the last from {}", bypass.attempts, bypass.path, bypass.source)
    });
    Says {
        mode: status.mode.clone(),
        problems: left(&status.problems, found_out),
        bypasses: bypasses.collect(),
    }
}

/// Returns the problems that are not told by the listeners' own check.
fn left(problems: &[String], found_out: impl Fn() -> Vec<SocketAddr>) -> Vec<String> {
    let listener = |problem: &String| -> Option<SocketAddr> {
        problem.strip_prefix("listener ")?.split_once(": ")?.0.parse().ok()
    };
    let of_listeners = problems.iter().any(|problem| listener(problem).is_some());
    let told = if of_listeners { found_out() } else { Vec::new() };
    let is_told = |problem: &&String| {
        problem.contains(NOT_HERE) || listener(problem).is_some_and(|one| told.contains(&one))
    };
    problems.iter().filter(|problem| !is_told(problem)).cloned().collect()
}

fn is_on_bpf(pins: &Path) -> Option<bool> {
    let existing = pins.ancestors().find(|path| path.exists())?;
    Some(rustix::fs::statfs(existing).ok()?.f_type == BPF_FS_MAGIC)
}

/// Returns whether the tables can be read, and how every interface stands.
fn stands(case: &Case) -> (Tables, Vec<Health>) {
    let gate = &case.config.gate;
    let tables = match View::open(&gate.pins) {
        Ok(view) => return (Tables::Read, view.health(&gate.interfaces)),
        Err(GateError::NotPermitted { .. }) => Tables::Shut,
        Err(error) => Tables::Missing(error.to_string()),
    };
    let health = |name: &String| {
        let state = match (netlink::interface(name), &tables) {
            (Ok(None), _) => InterfaceState::NoInterface,
            (Ok(Some(found)), tables) => match (found.program, tables) {
                (None, _) => InterfaceState::Missing,
                (Some((program_id, _)), Tables::Missing(_)) => {
                    InterfaceState::Foreign { program_id }
                }
                (Some((id, _)), Tables::Read | Tables::Shut) => InterfaceState::Unknown {
                    problem: format!("one stands there (id {id}), and only root can tell whose"),
                },
            },
            (Err(error), _) => InterfaceState::Unknown { problem: error.to_string() },
        };
        Health { interface: name.clone(), state }
    };
    // A gate that runs knows its own program, which looks like another's where the tables are not.
    let told = case.gate.says().map_or(&[][..], |status| &status.interfaces);
    let is_vouched = |name: &str| told.iter().any(|one| one.name == name && one.problem.is_none());
    let is_seen = |name: &&String| !matches!(tables, Tables::Missing(_)) || !is_vouched(name);
    let interfaces = gate.interfaces.iter().filter(is_seen).map(health).collect();
    (tables, interfaces)
}

fn unguarded(is_required: bool) -> Finding {
    let why = if is_required { "gate.interfaces names none" } else { "gate.required is false" };
    Finding::new(
        Cause::Unguarded,
        format!("no gate stands before the listeners ({why}): everybody reaches them"),
        "nothing, if that is meant; else name the interfaces in gate.interfaces and set required = true",
    )
}

fn judge(seen: &Seen, pins: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let pins = pins.display();
    if !seen.lacking.is_empty() {
        found.push(Finding::new(
            Cause::KernelLacks,
            format!("this kernel lacks {}", seen.lacking.join(", ")),
            "boot a newer kernel, or one built with them",
        ));
    }
    if !seen.has_btf {
        found.push(Finding::new(
            Cause::NoBtf,
            format!("{BTF} is missing, without which the gate's program cannot be loaded"),
            "mount sysfs at /sys, or boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        ));
    }
    if seen.is_on_bpf == Some(false) {
        found.push(Finding::new(
            Cause::NoBpffs,
            format!("gate.pins, {pins}, does not lie on a BPF file system, so nothing can be pinned there"),
            "mount -t bpf bpf /sys/fs/bpf, and name a folder below it in gate.pins",
        ));
        // Without it neither tables nor programs can be where they are looked for.
        found.extend(seen.process.finding());
        return found;
    }
    found.extend(seen.process.finding());
    let is_open = seen.says.as_ref().is_some_and(|says| says.mode == "open");
    if !is_open {
        found.extend(seen.interfaces.iter().filter_map(|one| program(one, seen)));
        if let Tables::Missing(why) = &seen.tables {
            found.push(Finding::new(
                Cause::TablesMissing,
                format!("the gate's tables cannot be opened: {why}"),
                "start the gate, or start it anew: systemctl restart sallyport-gate, or sallyport run",
            ));
        }
    }
    if !seen.is_required {
        found.push(unguarded(false));
    }
    found.extend(seen.says.iter().flat_map(|says| words(says, seen.local_ports.as_deref())));
    found.extend(seen.local_ports.as_ref().map(|problem| {
        let (says, remedy) = problem.split_once("; ").unwrap_or((problem, ""));
        Finding::new(Cause::LocalPorts, says, remedy)
    }));
    found
}

fn program(one: &Health, seen: &Seen) -> Option<Finding> {
    let name = &one.interface;
    let then = match (seen.is_required, seen.on_loss) {
        (true, OnLoss::Refuse) => "nobody gets in (on-loss = \"refuse\")",
        (true, OnLoss::SecondDoor) => "the second door judges alone (on-loss = \"second-door\")",
        (false, _) => "the relay serves on unguarded (required = false)",
    };
    match &one.state {
        InterfaceState::Missing => Some(Finding::new(
            Cause::GateMissing,
            format!("the gate's program does not stand on {name}: {then}"),
            "systemctl restart sallyport-gate, or sallyport run; a gate that runs puts it back within a second \
             or says in its log why not",
        )),
        InterfaceState::Foreign { program_id } => Some(Finding::new(
            Cause::GateForeign,
            format!("another XDP program (id {program_id}) stands on {name} in place of the gate's: {then}"),
            format!(
                "bpftool prog show id {program_id} names it; ip link set dev {name} xdp off takes it away, then \
                 restart the gate"
            ),
        )),
        InterfaceState::Guarded { mode: XdpMode::Generic, .. } => Some(Finding::new(
            Cause::GateGeneric,
            format!("the gate stands on {name} in generic mode: in the stack, slower and behind what the driver merged"),
            "a driver with native XDP (`ethtool -i`), a smaller MTU, or fewer queues: the gate's log says why \
             native was refused",
        )),
        InterfaceState::Guarded { mode: XdpMode::Native, .. }
        // Told by the interfaces' own check.
        | InterfaceState::NoInterface
        // Told as left out.
        | InterfaceState::Unknown { .. }
        | InterfaceState::Off => None,
    }
}

fn words(says: &Says, told: Option<&str>) -> Vec<Finding> {
    let mut found = Vec::new();
    match says.mode.as_str() {
        "open" => found.push(Finding::new(
            Cause::GateOpen,
            "the host is open: somebody ran `sallyport detach`, which `sallyport audit` names",
            "restart the gate: systemctl restart sallyport-gate, or sallyport run",
        )),
        "observe" => found.push(Finding::new(
            Cause::GateObserves,
            "the gate only observes: everybody gets in, and is counted",
            "sallyport mode enforce",
        )),
        _ => {}
    }
    let problems = says.problems.iter().filter(|problem| Some(problem.as_str()) != told);
    found.extend(problems.map(|problem| {
        Finding::new(
            Cause::GateTroubled,
            format!("the gate says: {problem}"),
            "sallyport status shows it until it is over",
        )
    }));
    found.extend(says.bypasses.iter().map(|way| {
        Finding::new(
            Cause::GateBypass,
            format!("strangers came around the first door and were stopped by the second: {way}"),
            "guard that interface (gate.interfaces), or end that redirection or tunnel",
        )
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Seen {
        let state =
            InterfaceState::Guarded { mode: XdpMode::Native, adopted: false, renamed: None };
        Seen {
            is_required: true,
            on_loss: OnLoss::Refuse,
            is_on_bpf: Some(true),
            has_btf: true,
            lacking: Vec::new(),
            process: Life::Runs,
            tables: Tables::Read,
            interfaces: vec![Health { interface: "eth0".into(), state }],
            says: Some(Says { mode: "enforce".into(), ..Says::default() }),
            local_ports: None,
        }
    }

    fn on(state: InterfaceState) -> Vec<Health> {
        vec![Health { interface: "eth0".into(), state }]
    }

    fn mode(mode: &str) -> Says {
        Says { mode: mode.into(), ..Says::default() }
    }

    #[test]
    fn each_state_of_the_gate_has_its_cause() {
        let generic =
            InterfaceState::Guarded { mode: XdpMode::Generic, adopted: true, renamed: None };
        let foreign = || on(InterfaceState::Foreign { program_id: 7 });
        let gone = || Tables::Missing("no".into());
        let trouble = Says { problems: vec!["x".into()], ..mode("enforce") };
        let bypass = Says { bypasses: vec!["x".into()], ..mode("enforce") };
        let rows: [(&str, Seen, &[&str]); 17] = [
            ("healthy", healthy(), &[]),
            ("an old kernel", Seen { lacking: vec!["x".into()], ..healthy() }, &["kernel-lacks"]),
            ("no BTF", Seen { has_btf: false, ..healthy() }, &["no-btf"]),
            (
                "no bpffs",
                Seen { is_on_bpf: Some(false), tables: gone(), interfaces: foreign(), ..healthy() },
                &["no-bpffs"],
            ),
            ("unknown whether", Seen { is_on_bpf: None, ..healthy() }, &[]),
            ("dead", Seen { process: Life::Dead, says: None, ..healthy() }, &["gate-not-running"]),
            ("hangs", Seen { process: Life::Hangs, says: None, ..healthy() }, &["gate-hangs"]),
            ("not asked", Seen { process: Life::Unknown, says: None, ..healthy() }, &[]),
            (
                "missing",
                Seen { interfaces: on(InterfaceState::Missing), ..healthy() },
                &["gate-missing"],
            ),
            ("foreign", Seen { interfaces: foreign(), ..healthy() }, &["gate-foreign"]),
            ("generic", Seen { interfaces: on(generic), ..healthy() }, &["gate-generic"]),
            (
                "no interface",
                Seen { interfaces: on(InterfaceState::NoInterface), ..healthy() },
                &[],
            ),
            ("no tables", Seen { tables: gone(), ..healthy() }, &["tables-missing"]),
            ("shut tables", Seen { tables: Tables::Shut, ..healthy() }, &[]),
            (
                "open",
                Seen {
                    says: Some(mode("open")),
                    tables: gone(),
                    interfaces: on(InterfaceState::Missing),
                    ..healthy()
                },
                &["gate-open"],
            ),
            ("trouble", Seen { says: Some(trouble), ..healthy() }, &["gate-troubled"]),
            ("bypass", Seen { says: Some(bypass), ..healthy() }, &["gate-bypass"]),
        ];
        for (row, seen, wanted) in rows {
            let found = judge(&seen, Path::new("/sys/fs/bpf/sallyport"));
            let found: Vec<_> = found.iter().map(|found| found.cause.id()).collect();
            assert_eq!(found, wanted, "{row}");
        }
    }

    #[test]
    fn what_a_listeners_own_check_finds_is_not_told_again() {
        let said = ["listener 192.0.2.1:25: in use", "listener [::]:26: in use", "a disk is full"];
        let told = || vec!["192.0.2.1:25".parse().unwrap()];
        assert_eq!(left(&said.map(str::to_owned), told), said[1..]);
    }

    #[test]
    fn what_is_meant_so_is_worth_knowing() {
        let observing = Seen { says: Some(mode("observe")), ..healthy() };
        let optional = Seen { is_required: false, ..healthy() };
        let says = Some(Says { problems: vec!["a; b".into()], ..mode("enforce") });
        let ports = Seen { local_ports: Some("a; b".into()), says, ..healthy() };
        for (seen, wanted) in
            [(observing, "gate-observes"), (optional, "unguarded"), (ports, "local-ports")]
        {
            let found = judge(&seen, Path::new("/"));
            assert_eq!(found.len(), 1, "{wanted}");
            assert_eq!(found[0].cause.id(), wanted);
            assert_eq!(found[0].cause.severity(), super::super::Severity::WorthKnowing);
        }
    }
}
