//! The calls as two programs for the kernel: one lets pass what is called, the other, over it, refuses by name.
//!
//! Where both object, the newer one's answer is told (seccomp(2)): EPERM, before the ENOSYS for what is unknown.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use super::Role;
use super::calls::{COMMON, GATE, OLDER, REFUSED};

/// Which calls are met, and with which arguments; with any, where there is no rule.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Filters the calls of this thread and of those that it starts. Returns false where nobody knows the numbers of
/// this processor's calls.
///
/// # Errors
///
/// If the kernel refuses, or a program is too long for it.
pub(super) fn install(role: Role) -> Result<bool, Error> {
    let Ok(processor) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    for program in programs(role, processor)? {
        apply_filter(&program)?;
    }
    Ok(true)
}

fn programs(role: Role, processor: TargetArch) -> Result<[BpfProgram; 2], BackendError> {
    let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let used = SeccompFilter::new(used(role), missing, SeccompAction::Allow, processor)?;
    let bad = SeccompFilter::new(bad(role)?, SeccompAction::Allow, refused, processor)?;
    Ok([used.try_into()?, bad.try_into()?])
}

fn used(role: Role) -> Rules {
    let own: &[libc::c_long] = match role {
        Role::Relay => &[],
        Role::Gate => GATE,
    };
    COMMON.iter().chain(OLDER).chain(own).map(|call| (*call, Vec::new())).collect()
}

/// What of bpf(2) the relay has a use for: it opens pins, looks into tables and at what they are.
const LOOKS: [u64; 5] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    7,  // BPF_OBJ_GET
    15, // BPF_OBJ_GET_INFO_BY_FD
    24, // BPF_MAP_LOOKUP_BATCH
];

/// What of prctl(2) is used: names of threads and of memory, and what the filter itself asks for.
const SELF: [libc::c_int; 4] =
    [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_NO_NEW_PRIVS, libc::PR_SET_VMA];

/// The families of sockets that are used.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Options of a socket by which filters, the second door among them, are put on, locked and taken away.
const FILTERS: [libc::c_int; 6] = [
    libc::SO_ATTACH_FILTER,
    libc::SO_DETACH_FILTER,
    libc::SO_LOCK_FILTER,
    libc::SO_ATTACH_BPF,
    libc::SO_ATTACH_REUSEPORT_CBPF,
    libc::SO_ATTACH_REUSEPORT_EBPF,
];

/// The parts of a socket's type that are no flags (socket(2)).
const TYPE: u64 = 0xf;

fn bad(role: Role) -> Result<Rules, BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let mut rules: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let mut refuse = |call, ways: Vec<SeccompRule>| drop(rules.insert(call, ways));
    let is = |place, value| word(place, Eq, bits(value));
    // A process of its own would be beside the threads that are watched.
    let threads = bits(libc::CLONE_THREAD);
    refuse(libc::SYS_clone, vec![all([word(0, MaskedEq(threads), 0)])?]);
    let own = u64::from(std::process::id());
    refuse(libc::SYS_tgkill, vec![all([word(0, Ne, own)])?]);
    // Memory that is written is not executed. Code of modules for names is mapped from their files.
    let (both, execute) = (bits(libc::PROT_WRITE | libc::PROT_EXEC), bits(libc::PROT_EXEC));
    refuse(libc::SYS_mmap, vec![all([word(2, MaskedEq(both), both)])?]);
    refuse(libc::SYS_mprotect, vec![all([word(2, MaskedEq(execute), execute)])?]);
    refuse(libc::SYS_prctl, vec![none_of(0, &SELF.map(bits))?]);
    let mut sockets = vec![none_of(0, &FAMILIES.map(bits))?];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let raw = word(1, MaskedEq(TYPE), bits(libc::SOCK_RAW));
        sockets.push(all([is(0, family), raw])?);
    }
    refuse(libc::SYS_socket, sockets);
    refuse(libc::SYS_socketpair, vec![none_of(0, &[bits(libc::AF_UNIX)])?]);
    match role {
        // It reads limits and has none to change; the gate hangs the second door on sockets and changes tables.
        Role::Relay => {
            refuse(libc::SYS_bpf, vec![none_of(0, &LOOKS)?]);
            let filter = |option| all([is(1, libc::SOL_SOCKET), is(2, option)]);
            refuse(
                libc::SYS_setsockopt,
                FILTERS.into_iter().map(filter).collect::<Result<_, _>>()?,
            );
        }
        Role::Gate => {}
    }
    let change = SeccompCondition::new(2, SeccompCmpArgLen::Qword, Ne, 0);
    refuse(libc::SYS_prlimit64, vec![all([change])?]);
    Ok(rules)
}

/// A condition about one argument, or what is wrong with it.
type Condition = Result<SeccompCondition, BackendError>;

/// Returns an int as the kernel compares it.
const fn bits(value: libc::c_int) -> u64 {
    value.cast_unsigned() as u64
}

/// Compares the lower half of an argument: the kernel takes these for an int.
fn word(place: u8, how: SeccompCmpOp, value: u64) -> Condition {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, how, value)
}

fn all<const N: usize>(conditions: [Condition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

fn none_of(place: u8, values: &[u64]) -> Result<SeccompRule, BackendError> {
    let other = |value: &u64| word(place, SeccompCmpOp::Ne, *value);
    SeccompRule::new(values.iter().map(other).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_fit_for_every_role_and_processor() {
        for processor in [TargetArch::x86_64, TargetArch::aarch64] {
            for role in [Role::Relay, Role::Gate] {
                for program in programs(role, processor).unwrap() {
                    assert!((50..4096).contains(&program.len()), "{}", program.len());
                }
            }
        }
    }

    #[test]
    fn only_the_gate_changes_tables_and_sockets_filters() {
        let (relay, gate) = (bad(Role::Relay).unwrap(), bad(Role::Gate).unwrap());
        for call in [libc::SYS_bpf, libc::SYS_setsockopt] {
            assert!(relay.contains_key(&call) && !gate.contains_key(&call), "{call}");
        }
    }
}
