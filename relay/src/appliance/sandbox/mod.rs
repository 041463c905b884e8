//! What is left to a process of ours that serves, whoever has taken it over: files and ports by landlock(7), calls
//! of the kernel by seccomp(2).
//!
//! It is entered once, before the process has a second thread: both hold for the thread that enters and for
//! those that it starts. What a kernel cannot hold is said, in the journal and by `sallyport status`, and the
//! rest is held all the same.
//!
//! ```text
//! grounds    which files and ports a configuration asks for
//! calls      which calls of the kernel a process has a use for
//! filter     the same as programs for the kernel
//! ```

mod calls;
mod filter;
mod grounds;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, RestrictionStatus,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    make_bitflags, path_beneath_rules,
};

pub use self::grounds::{Grounds, Right};
use crate::config;
use crate::control::wire::Sandbox;

/// Which process enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Speaks to clients and next hops, and only reads the gate's tables.
    Relay,
    /// Owns the filter in the kernel.
    Gate,
}

/// What cannot be held although the configuration requires it, or goes wrong on the way.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The process has threads already, which would go on without.
    #[error("the process has {0} threads already, and the sandbox would hold for one")]
    Threads(usize),
    /// The number of threads cannot be read.
    #[error("/proc/self/task: {0}: is /proc mounted?")]
    Proc(std::io::Error),
    /// Landlock refused a rule.
    #[error("landlock: {0}: sandbox = \"off\" in the configuration starts without")]
    Landlock(#[from] RulesetError),
    /// The filter was refused.
    #[error("seccomp: {0}: sandbox = \"off\" in the configuration starts without")]
    Seccomp(#[from] seccompiler::Error),
    /// This kernel holds too little.
    #[error(
        "sandbox = \"required\" in the configuration, but of it holds: {0}; take a newer kernel, or set \
         \"best-effort\""
    )]
    Required(Held),
}

/// How far landlock holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// Everything that is asked of it.
    All {
        /// The version of the kernel's interface.
        abi: i32,
    },
    /// What this kernel knows.
    Some {
        /// The version of the kernel's interface.
        abi: i32,
    },
    /// The kernel was built without it, or started without.
    Not,
}

/// What holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What of landlock; none if the configuration wants nothing held.
    files: Option<Files>,
    /// Whether calls are filtered.
    calls: bool,
    /// What may be reached.
    grounds: Grounds,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let calls = if self.calls { "seccomp" } else { "no seccomp" };
        match self.files {
            None => f.write_str("off"),
            Some(Files::All { abi }) => write!(f, "landlock (ABI {abi}), {calls}"),
            Some(Files::Some { abi }) => {
                write!(f, "landlock in part (ABI {abi} of {ABI_WANTED}), {calls}")
            }
            Some(Files::Not) => write!(f, "no landlock, {calls}"),
        }
    }
}

/// The version of landlock's interface that knows everything which is asked of it (Linux 6.12). Of later ones
/// nothing is asked before it was tried.
const ABI_WANTED: i32 = ABI::V6 as i32;

impl Held {
    /// Returns that of a process that was told to do without.
    const fn off(grounds: Grounds) -> Self {
        Self { files: None, calls: false, grounds }
    }

    /// Returns all that for `status`.
    #[must_use]
    pub fn told(&self) -> Sandbox {
        Sandbox { holds: self.to_string(), lacks: self.weakness() }
    }

    /// Returns what does not hold although it was meant to: a sentence with the remedy.
    #[must_use]
    pub fn weakness(&self) -> Option<String> {
        let ports = "it may bind any port";
        let what = match self.files {
            None => Some("off: sandbox = \"off\" in the configuration says so".to_owned()),
            Some(Files::All { .. }) => None,
            Some(Files::Some { abi }) if abi < ABI::V4 as i32 => {
                Some(format!("{self}: {ports} and reach devices; Linux 6.12 or newer holds all"))
            }
            Some(Files::Some { .. }) => Some(format!(
                "{self}: it may signal processes of its user, or reach devices; Linux 6.12 or newer \
                 holds all"
            )),
            Some(Files::Not) => Some(format!(
                "{self}: it can reach every file that its user can, and {ports}; Linux 5.13 or newer with \
                 landlock in its list of security modules (lsm= on its command line) holds it"
            )),
        };
        let without = || format!("{self}: no filter is known for this kind of processor");
        what.or_else(|| (!self.calls).then(without))
    }

    /// Names what `wanted` has that lies outside, if files are held at all.
    ///
    /// A sandbox never grows: whoever has taken a process over could have it do that.
    #[must_use]
    pub fn lacks(&self, wanted: &Grounds) -> Option<String> {
        match self.files {
            None | Some(Files::Not) => None,
            Some(Files::All { .. } | Files::Some { .. }) => wanted.beyond(&self.grounds),
        }
    }
}

/// Shuts the process in: from here on it reaches `grounds`, makes the calls of its `role`, and gains no
/// privileges by what it executes.
///
/// # Errors
///
/// If the process has a second thread, the kernel refuses, or less holds than `wish` requires.
pub fn enter(grounds: Grounds, role: Role, wish: config::Sandbox) -> Result<Held, SandboxError> {
    if wish == config::Sandbox::Off {
        return Ok(Held::off(grounds));
    }
    let threads = std::fs::read_dir("/proc/self/task").map_err(SandboxError::Proc)?.count();
    if threads != 1 {
        return Err(SandboxError::Threads(threads));
    }
    let files = held(&restrict(&grounds)?);
    // After landlock, whose calls it refuses.
    let calls = filter::install(role)?;
    let held = Held { files: Some(files), calls, grounds };
    match wish {
        config::Sandbox::Required if held.weakness().is_some() => Err(SandboxError::Required(held)),
        config::Sandbox::Required | config::Sandbox::BestEffort | config::Sandbox::Off => Ok(held),
    }
}

const fn held(status: &RestrictionStatus) -> Files {
    let abi = match status.landlock {
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => return Files::Not,
        LandlockStatus::Available { kernel_abi: Some(abi), .. } => abi,
        LandlockStatus::Available { effective_abi, kernel_abi: None } => effective_abi as i32,
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => Files::All { abi },
        RulesetStatus::PartiallyEnforced => Files::Some { abi },
        RulesetStatus::NotEnforced => Files::Not,
    }
}

fn restrict(grounds: &Grounds) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::BindTcp)?
        .scope(scopes())?
        .create()?;
    for right in Right::ALL {
        ruleset = ruleset.add_rules(path_beneath_rules(grounds.under(right), accesses(right)))?;
    }
    let ports = grounds.ports();
    ruleset
        .add_rules(ports.map(|port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::BindTcp))))?
        .restrict_self()
}

/// Signals go to nobody outside. Neither do words to sockets without a file, unless systemd has one.
fn scopes() -> BitFlags<Scope> {
    use std::os::unix::ffi::OsStrExt as _;
    let notify = std::env::var_os("NOTIFY_SOCKET");
    if notify.is_some_and(|name| name.as_bytes().starts_with(b"@")) {
        Scope::Signal.into()
    } else {
        Scope::Signal | Scope::AbstractUnixSocket
    }
}

fn accesses(right: Right) -> BitFlags<AccessFs> {
    match right {
        Right::Read => AccessFs::ReadFile.into(),
        Right::List => AccessFs::ReadFile | AccessFs::ReadDir,
        Right::Keep => make_bitflags!(AccessFs::{
            ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
        }),
        Right::Serve => AccessFs::MakeSock | AccessFs::RemoveFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [(Option<Files>, bool, &str, &str); 6] = [
        (None, false, "off", "the configuration says so"),
        (Some(Files::All { abi: 7 }), true, "landlock (ABI 7), seccomp", ""),
        (
            Some(Files::Some { abi: 3 }),
            true,
            "landlock in part (ABI 3 of 6), seccomp",
            "any port and reach devices; Linux 6.12",
        ),
        (
            Some(Files::Some { abi: 5 }),
            true,
            "landlock in part (ABI 5 of 6), seccomp",
            "signal processes",
        ),
        (Some(Files::Not), true, "no landlock, seccomp", "every file that its user can"),
        (Some(Files::All { abi: 6 }), false, "landlock (ABI 6), no seccomp", "processor"),
    ];

    #[test]
    fn what_does_not_hold_is_said() {
        for (files, calls, words, weakness) in ROWS {
            let held = Held { files, calls, grounds: Grounds::default() };
            assert_eq!(held.to_string(), words);
            let said = held.weakness().unwrap_or_default();
            assert_eq!(said.is_empty(), weakness.is_empty(), "{said}");
            assert!(said.contains(weakness), "{said}");
        }
    }

    #[test]
    fn a_process_with_threads_is_not_shut_in_by_halves() {
        std::thread::scope(|scope| {
            let (release, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            let entered =
                enter(Grounds::default(), Role::Relay, config::Sandbox::BestEffort).unwrap_err();
            assert!(matches!(entered, SandboxError::Threads(2..)), "{entered}");
            drop(release);
        });
        let off = enter(Grounds::default(), Role::Relay, config::Sandbox::Off).unwrap();
        assert_eq!(off.to_string(), "off");
    }
}
