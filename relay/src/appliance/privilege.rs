//! The rights of each process (capabilities(7), prctl(2)): dropped in the program itself, whatever
//! started it.

use nix::unistd::{Group, Uid, User};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, getppid, getrlimit, setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// The environment variable by which `sallyport run` tells a child who its parent is.
pub const PARENT: &str = "SALLYPORT_PARENT";

/// The process ended up with rights it should not have, or without those it needs.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The kernel refused a change.
    #[error("{what}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The kernel's word.
        source: Errno,
    },
    /// The relay was started as root.
    #[error(
        "the relay must not run as root: start `sallyport run`, which gives it a user of its own, \
         or the systemd unit"
    )]
    Root,
    /// A configured user does not exist.
    #[error("relay.user: there is no user \"{0}\": make it with `useradd --system {0}`")]
    NoUser(String),
    /// The gate was started without a right that it keeps.
    #[error(
        "the gate needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and was started without {0}: add it to \
         CapabilityBoundingSet= of its unit, or to the capabilities of its container"
    )]
    Lacking(String),
    /// The parent ended before its child began.
    #[error("the parent process is gone")]
    Orphan,
}

/// What the gate keeps once it stands: loading, attaching and reading its own programs.
pub const GATE: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);

/// What the parent of both keeps: to start the relay as its user and to end its children.
pub const PARENT_OF_BOTH: CapabilitySet =
    CapabilitySet::SETUID.union(CapabilitySet::SETGID).union(CapabilitySet::KILL);

/// A user and its primary group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl Identity {
    /// Returns the user of a name or a number. A number needs no account: its group has the same.
    ///
    /// # Errors
    ///
    /// [`PrivilegeError::NoUser`] if a name is unknown.
    pub fn of(user: &str) -> Result<Self, PrivilegeError> {
        let account = match user.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)).ok().flatten(),
            Err(_) => User::from_name(user).ok().flatten(),
        };
        match (account, user.parse()) {
            (Some(user), _) => Ok(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
            (None, Ok(number)) => Ok(Self { uid: number, gid: number }),
            (None, Err(_)) => Err(PrivilegeError::NoUser(user.to_owned())),
        }
    }
}

/// Returns the number of a group, if it exists.
#[must_use]
pub fn group(name: &str) -> Option<u32> {
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

/// Lets the process open `wanted` files and sockets at a time, as far as it may (getrlimit(2)); the usual
/// limit of 1,024 is there for programs that use select(2). Returns how many it may open, if that
/// is fewer.
pub fn descriptors(wanted: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let may = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if current.is_some_and(|current| current < may) {
        // Where the kernel refuses, the limit that stands is the answer.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(may), maximum });
    }
    getrlimit(Resource::Nofile).current.filter(|current| *current < wanted)
}

/// Keeps `kept` of the capabilities this process has; the others are gone for good.
///
/// # Errors
///
/// If the kernel refuses.
pub fn keep_only(kept: CapabilitySet) -> Result<(), PrivilegeError> {
    let refused =
        |source| PrivilegeError::Refused { what: "capabilities could not be dropped", source };
    let now = rustix::thread::capabilities(None).map_err(refused)?;
    let kept = now.permitted & kept;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(refused)
}

/// Keeps `kept` of the capabilities this thread has, and takes every other out of what it, and those that it starts,
/// could ever gain: by no new privileges, and by the bounding set, as far as the thread may change that (it has
/// CAP_SETPCAP; a relay that was started as its user has not, and an empty set by its unit).
///
/// Not for whoever starts processes of root: those have what their parent's bounding set has, and without new
/// privileges what their parent has.
///
/// # Errors
///
/// If the kernel refuses.
pub fn keep_for_good(kept: CapabilitySet) -> Result<(), PrivilegeError> {
    let refused =
        |source| PrivilegeError::Refused { what: "the bounding set could not be reduced", source };
    let now = rustix::thread::capabilities(None).map_err(refused)?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        // Those too that have no name here yet.
        let all = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
        for capability in all.filter(|capability| !kept.contains(*capability)) {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) => {}
                // The last one that this kernel has came before.
                Err(Errno::INVAL) => break,
                Err(problem) => return Err(refused(problem)),
            }
        }
    }
    keep_only(kept)?;
    no_new_privileges()
}

/// Checks that the calling process has every right that the gate keeps.
///
/// # Errors
///
/// [`PrivilegeError::Lacking`] with the names of those that it has not.
pub fn has_those_of_the_gate() -> Result<(), PrivilegeError> {
    let refused =
        |source| PrivilegeError::Refused { what: "capabilities could not be read", source };
    let has = rustix::thread::capabilities(None).map_err(refused)?.permitted;
    match named(GATE - has) {
        lacking if lacking.is_empty() => Ok(()),
        lacking => Err(PrivilegeError::Lacking(lacking)),
    }
}

/// Names rights as capabilities(7) does.
fn named(rights: CapabilitySet) -> String {
    let names: Vec<String> = rights.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    names.join(" and ")
}

/// Makes the calling process the relay: not root, no capabilities, no way to regain any, and no
/// core dump that would hold keys and mail.
///
/// # Errors
///
/// [`PrivilegeError::Root`] if it was started as root, or if the kernel refuses.
pub fn become_relay() -> Result<(), PrivilegeError> {
    if rustix::process::geteuid().is_root() || rustix::process::getuid().is_root() {
        return Err(PrivilegeError::Root);
    }
    keep_for_good(CapabilitySet::empty())?;
    no_core_dumps()
}

/// Gains nothing by what this thread, and those that it starts, may ever execute (prctl(2)).
///
/// # Errors
///
/// If the kernel refuses.
pub fn no_new_privileges() -> Result<(), PrivilegeError> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|source| PrivilegeError::Refused { what: "no-new-privileges", source })
}

/// Writes no core dump of this process and lets no other process of its user look into it.
///
/// # Errors
///
/// If the kernel refuses.
pub fn no_core_dumps() -> Result<(), PrivilegeError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|source| PrivilegeError::Refused { what: "core dumps", source })
}

/// Binds the life of a child of `sallyport run` to its parent's: it gets SIGTERM when the parent
/// ends. Does nothing in a process that was started otherwise.
///
/// # Errors
///
/// [`PrivilegeError::Orphan`] if the parent is gone already.
pub fn follow_parent() -> Result<(), PrivilegeError> {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok()) else {
        return Ok(());
    };
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|source| PrivilegeError::Refused { what: "parent's death signal", source })?;
    if getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) == Some(parent) {
        Ok(())
    } else {
        Err(PrivilegeError::Orphan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_named_as_the_manual_has_them() {
        assert_eq!(named(GATE), "CAP_NET_ADMIN and CAP_PERFMON and CAP_BPF");
        assert_eq!(named(CapabilitySet::empty()), "");
    }

    #[test]
    fn a_user_is_a_name_or_a_number() {
        assert_eq!(Identity::of("root").unwrap(), Identity { uid: 0, gid: 0 });
        assert_eq!(Identity::of("0").unwrap(), Identity { uid: 0, gid: 0 });
        let number = Identity::of("3999999999").unwrap();
        assert_eq!(number, Identity { uid: 3_999_999_999, gid: 3_999_999_999 });
        let refusal = Identity::of("no such user").unwrap_err().to_string();
        assert!(refusal.contains("useradd --system"), "{refusal}");
    }
}
