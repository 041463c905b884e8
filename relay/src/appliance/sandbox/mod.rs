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

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope, make_bitflags,
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
    /// Too little holds.
    #[error(
        "sandbox = \"required\" in the configuration, but {0}; \"best-effort\" starts with that"
    )]
    Required(String),
}

/// How far landlock holds.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The kernel was built without it, or started without, or a rule was refused for this reason.
    Not(Option<String>),
}

/// Whether calls are filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Calls {
    /// By both filters.
    Filtered,
    /// They are not, for this reason.
    Not(String),
}

/// What holds.
#[derive(Debug)]
pub struct Held {
    /// What of landlock; none if the configuration wants nothing held.
    files: Option<Files>,
    /// Whether calls are filtered.
    calls: Calls,
    /// What may be reached.
    grounds: Grounds,
    /// The places that were permitted, open without a right. A rule holds for what stood there then: in `/proc`
    /// that would be another thing as soon as the kernel forgets the name.
    places: Vec<(PathBuf, PathFd)>,
    /// Whether sockets without a file can be reached, since systemd waits at one.
    is_abstract_open: bool,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let calls = match self.calls {
            Calls::Filtered => "seccomp",
            Calls::Not(_) => "no seccomp",
        };
        match &self.files {
            None => f.write_str("off"),
            Some(Files::All { abi }) => write!(f, "landlock (ABI {abi}), {calls}"),
            Some(Files::Some { abi }) => {
                write!(f, "landlock in part (ABI {abi} of {ABI_WANTED}), {calls}")
            }
            Some(Files::Not(_)) => write!(f, "no landlock, {calls}"),
        }
    }
}

/// The version of landlock's interface that knows everything which is asked of it (Linux 6.12). Of later ones
/// nothing is asked before it was tried.
const ABI_WANTED: i32 = ABI::V6 as i32;

impl Held {
    /// Returns that of a process that was told to do without.
    fn off(grounds: Grounds) -> Self {
        let calls = Calls::Not("the configuration says so".to_owned());
        Self { files: None, calls, grounds, places: Vec::new(), is_abstract_open: true }
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
        let what = match &self.files {
            None => return Some("off: sandbox = \"off\" in the configuration says so".to_owned()),
            Some(Files::All { .. }) if self.is_abstract_open => Some(
                "it may reach sockets without a file, since NOTIFY_SOCKET names one".to_owned(),
            ),
            Some(Files::All { .. }) => None,
            Some(Files::Some { abi }) if *abi < ABI::V4 as i32 => Some(format!(
                "{ports} and reach devices and sockets without a file; Linux 6.12 or newer holds all"
            )),
            Some(Files::Some { .. }) => Some(
                "it may reach sockets without a file, or devices; Linux 6.12 or newer holds all"
                    .to_owned(),
            ),
            Some(Files::Not(Some(why))) => Some(format!(
                "it can reach every file that its user can, and {ports}: landlock was refused: {why}"
            )),
            Some(Files::Not(None)) => Some(format!(
                "it can reach every file that its user can, and {ports}; Linux 5.13 or newer holds it, with \
                 landlock in its list of security modules (lsm= on its command line) and no filter of a \
                 container's in the way"
            )),
        };
        let calls = match &self.calls {
            Calls::Filtered => None,
            Calls::Not(why) => Some(format!("its calls are not filtered: {why}")),
        };
        let lacks: Vec<_> = what.into_iter().chain(calls).collect();
        (!lacks.is_empty()).then(|| format!("{self}: {}", lacks.join("; ")))
    }

    /// Names what `wanted` has that lies outside, if files are held at all.
    ///
    /// A sandbox never grows: whoever has taken a process over could have it do that.
    #[must_use]
    pub fn lacks(&self, wanted: &Grounds) -> Option<String> {
        match self.files {
            None | Some(Files::Not(_)) => None,
            Some(Files::All { .. } | Files::Some { .. }) => {
                wanted.beyond(&self.grounds).or_else(|| self.replaced())
            }
        }
    }

    /// Names the folders in whose place another one stands now, which is not permitted.
    fn replaced(&self) -> Option<String> {
        let is_other = |path: &PathBuf, place: &PathFd| {
            let (Ok(then), Ok(now)) = (rustix::fs::fstat(place), rustix::fs::stat(path)) else {
                return false;
            };
            (then.st_dev, then.st_ino) != (now.st_dev, now.st_ino)
        };
        let others = self.places.iter().filter(|(path, place)| is_other(path, place));
        let mut others: Vec<_> = others.map(|(path, _)| path.display().to_string()).collect();
        others.dedup();
        (!others.is_empty()).then(|| {
            format!(
                "{} was replaced since the sandbox was entered, which leaves no way to the new one: restart \
                 the relay",
                others.join(", ")
            )
        })
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
    let scopes = scopes();
    let mut places = Vec::new();
    let files = match restrict(&grounds, scopes, &mut places) {
        Ok(status) => held(&status),
        Err(error) => Files::Not(Some(error.to_string())),
    };
    // After landlock, whose calls it refuses.
    let calls = match filter::install(role) {
        Ok(true) => Calls::Filtered,
        Ok(false) => Calls::Not("no filter is known for this kind of processor".to_owned()),
        Err(error) => Calls::Not(format!("{error}: does a container or a unit forbid seccomp?")),
    };
    let is_abstract_open = !scopes.contains(Scope::AbstractUnixSocket);
    let held = Held { files: Some(files), calls, grounds, places, is_abstract_open };
    match (wish, held.weakness()) {
        (config::Sandbox::Required, Some(weakness)) => Err(SandboxError::Required(weakness)),
        (config::Sandbox::Required | config::Sandbox::BestEffort | config::Sandbox::Off, _) => {
            Ok(held)
        }
    }
}

fn held(status: &RestrictionStatus) -> Files {
    let abi = match status.landlock {
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => return Files::Not(None),
        LandlockStatus::Available { kernel_abi: Some(abi), .. } => abi,
        LandlockStatus::Available { effective_abi, kernel_abi: None } => effective_abi as i32,
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => Files::All { abi },
        RulesetStatus::PartiallyEnforced => Files::Some { abi },
        RulesetStatus::NotEnforced => Files::Not(None),
    }
}

/// Enters landlock, and leaves open in `places` what was permitted.
fn restrict(
    grounds: &Grounds,
    scopes: BitFlags<Scope>,
    places: &mut Vec<(PathBuf, PathFd)>,
) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::BindTcp)?
        .scope(scopes)?
        .create()?;
    for right in Right::ALL {
        for path in grounds.under(right) {
            // What went away since is not permitted.
            let Ok(place) = PathFd::new(path) else { continue };
            let all = accesses(right);
            let fit = if path.is_file() { all & AccessFs::from_file(ABI::V6) } else { all };
            ruleset = ruleset.add_rule(PathBeneath::new(&place, fit))?;
            places.push((path.to_owned(), place));
        }
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

    #[test]
    fn what_does_not_hold_is_said() {
        let filtered = || Calls::Filtered;
        let refused = || Calls::Not("Function not implemented".to_owned());
        let rows = [
            (None, refused(), "off", "the configuration says so"),
            (Some(Files::All { abi: 7 }), filtered(), "landlock (ABI 7), seccomp", ""),
            (
                Some(Files::Some { abi: 3 }),
                filtered(),
                "landlock in part (ABI 3 of 6), seccomp",
                "any port and reach devices and sockets without a file; Linux 6.12",
            ),
            (
                Some(Files::Some { abi: 5 }),
                filtered(),
                "landlock in part (ABI 5 of 6), seccomp",
                "reach sockets without",
            ),
            (
                Some(Files::Not(None)),
                filtered(),
                "no landlock, seccomp",
                "every file that its user",
            ),
            (
                Some(Files::Not(Some("E2BIG".to_owned()))),
                filtered(),
                "no landlock, seccomp",
                "landlock was refused: E2BIG",
            ),
            (
                Some(Files::All { abi: 6 }),
                refused(),
                "landlock (ABI 6), no seccomp",
                "not filtered: Function not implemented",
            ),
        ];
        for (files, calls, words, weakness) in rows {
            let mut held = Held {
                files,
                calls,
                grounds: Grounds::default(),
                places: Vec::new(),
                is_abstract_open: false,
            };
            assert_eq!(held.to_string(), words);
            let said = held.weakness().unwrap_or_default();
            assert_eq!(said.is_empty(), weakness.is_empty(), "{said}");
            assert!(said.contains(weakness), "{said}");
            held.is_abstract_open = true;
            assert!(held.weakness().is_some(), "{words}");
        }
    }

    #[test]
    fn a_folder_that_was_replaced_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::create_dir(&path).unwrap();
        let held = Held {
            files: Some(Files::All { abi: 6 }),
            calls: Calls::Filtered,
            grounds: Grounds::default(),
            places: vec![(path.clone(), PathFd::new(&path).unwrap())],
            is_abstract_open: false,
        };
        assert_eq!(held.lacks(&Grounds::default()), None);
        std::fs::remove_dir(&path).unwrap();
        assert_eq!(held.lacks(&Grounds::default()), None, "what is gone is not missed");
        std::fs::create_dir(&path).unwrap();
        let said = held.lacks(&Grounds::default()).unwrap();
        assert!(
            said.contains("keys was replaced") && said.ends_with("restart the relay"),
            "{said}"
        );
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
