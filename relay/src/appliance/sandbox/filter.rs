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

/// What is spoken over the network. Others than TCP are not held to the ports that landlock permits, and
/// multipath TCP would serve clients of TCP.
const PROTOCOLS: [libc::c_int; 3] = [libc::IPPROTO_IP, libc::IPPROTO_TCP, libc::IPPROTO_UDP];

/// Requests of ioctl(2) by which a terminal that was open at the start is made to say what nobody typed, or a
/// descriptor sends signals to whom one likes.
const REQUESTS: [u64; 7] = [
    0x5412, // TIOCSTI (asm-generic/ioctls.h)
    0x541c, // TIOCLINUX
    0x541d, // TIOCCONS
    0x5423, // TIOCSETD
    0x5452, // FIOASYNC
    0x8901, // FIOSETOWN (asm-generic/sockios.h)
    0x8902, // SIOCSPGRP
];

/// What of fcntl(2) sends signals to whom one likes.
const OWNERS: [libc::c_int; 3] = [
    libc::F_SETOWN,
    10, // F_SETSIG (asm-generic/fcntl.h)
    15, // F_SETOWN_EX
];

/// Bits of a file's mode by which whoever executes it becomes somebody else (chmod(2)).
const MODES: [libc::mode_t; 2] = [libc::S_ISUID, libc::S_ISGID];

/// Calls that change a file's mode, with the place of that.
#[cfg(target_arch = "x86_64")]
const CHANGES: &[(libc::c_long, u8)] =
    &[(libc::SYS_chmod, 1), (libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2)];
/// Calls that change a file's mode, with the place of that.
#[cfg(not(target_arch = "x86_64"))]
const CHANGES: &[(libc::c_long, u8)] = &[(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2)];

/// Calls that open a file, with the place of their flags; the mode of one that they make stands after these.
#[cfg(target_arch = "x86_64")]
const OPENS: &[(libc::c_long, u8)] = &[(libc::SYS_open, 1), (libc::SYS_openat, 2)];
/// Calls that open a file, with the place of their flags; the mode of one that they make stands after these.
#[cfg(not(target_arch = "x86_64"))]
const OPENS: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2)];

/// Flags with which they make one: `O_CREAT`, and the part of `O_TMPFILE` that is its own.
const MAKES: [libc::c_int; 2] = [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY];

fn bad(role: Role) -> Result<Rules, BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let mut rules: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let mut refuse = |call, ways: Vec<SeccompRule>| drop(rules.insert(call, ways));
    let is = |place, value| word(place, Eq, bits(value));
    let has = |place, bits| word(place, MaskedEq(bits), bits);
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
        let [ip, tcp, udp] = PROTOCOLS.map(|protocol| word(2, Ne, bits(protocol)));
        sockets.push(all([is(0, family), ip, tcp, udp])?);
    }
    refuse(libc::SYS_socket, sockets);
    refuse(libc::SYS_socketpair, vec![none_of(0, &[bits(libc::AF_UNIX)])?]);
    let request = |request: &u64| all([word(1, Eq, *request)]);
    refuse(libc::SYS_ioctl, REQUESTS.iter().map(request).collect::<Result<_, _>>()?);
    let owner = |command: &libc::c_int| all([is(1, *command)]);
    refuse(libc::SYS_fcntl, OWNERS.iter().map(owner).collect::<Result<_, _>>()?);
    match role {
        // It reads limits and has none to change; the gate hangs the second door on sockets and changes tables.
        Role::Relay => {
            refuse(libc::SYS_bpf, vec![none_of(0, &LOOKS)?]);
            let filter = |option| all([is(1, libc::SOL_SOCKET), is(2, option)]);
            refuse(
                libc::SYS_setsockopt,
                FILTERS.into_iter().map(filter).collect::<Result<_, _>>()?,
            );
            // The gate's folders give what is made in them to a group.
            for (call, place) in CHANGES {
                let bit = |bit: libc::mode_t| all([has(*place, bit.into())]);
                refuse(*call, MODES.into_iter().map(bit).collect::<Result<_, _>>()?);
            }
            for (call, flags) in OPENS {
                let mut ways = Vec::new();
                for make in MAKES {
                    for bit in MODES {
                        ways.push(all([has(*flags, bits(make)), has(flags + 1, bit.into())])?);
                    }
                }
                refuse(*call, ways);
            }
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

    /// Returns what the kernel would answer to a call: what the classic BPF of both programs says.
    fn answer(role: Role, call: libc::c_long, args: [u64; 6]) -> u32 {
        let processor = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        // As linux/audit.h numbers them.
        let architecture: u32 =
            if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let mut data = i32::try_from(call).unwrap().to_le_bytes().to_vec();
        data.extend(architecture.to_le_bytes());
        data.extend([0; 8]);
        data.extend(args.iter().flat_map(|value| value.to_le_bytes()));
        let [used, bad] = programs(role, processor).unwrap().map(|program| run(&program, &data));
        // The lower of two actions counts; ERRNO of the newer program before that of the older.
        if bad == ALLOW { used } else { bad }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    const MISSING: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

    /// A machine for classic BPF, as far as filters for calls need it (linux/filter.h).
    fn run(program: &BpfProgram, data: &[u8]) -> u32 {
        let (mut at, mut word) = (0, 0_u32);
        loop {
            let step = &program[at];
            let jump = |does| usize::from(if does { step.jt } else { step.jf });
            at += 1;
            match step.code {
                0x20 => {
                    let from = step.k as usize;
                    word = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x05 => at += step.k as usize,
                0x15 => at += jump(word == step.k),
                0x25 => at += jump(word > step.k),
                0x35 => at += jump(word >= step.k),
                0x54 => word &= step.k,
                0x06 => return step.k,
                code => panic!("{code:#x} is not known here"),
            }
        }
    }

    #[test]
    fn each_call_is_answered_by_what_it_is_asked_for() {
        use Role::{Gate, Relay};
        let (own, inet) = (u64::from(std::process::id()), bits(libc::AF_INET));
        let (stream, tcp) = (bits(libc::SOCK_STREAM | libc::SOCK_CLOEXEC), bits(libc::IPPROTO_TCP));
        let socket = |family, kind, protocol| (libc::SYS_socket, vec![family, kind, protocol]);
        let map = |protection| (libc::SYS_mmap, vec![0, 4096, bits(protection)]);
        let open = |flags: libc::c_int, mode| (libc::SYS_openat, vec![0, 0, bits(flags), mode]);
        let option = |option| (libc::SYS_setsockopt, vec![3, bits(libc::SOL_SOCKET), bits(option)]);
        let rows = [
            (Relay, (libc::SYS_read, vec![]), ALLOW),
            (Relay, (libc::SYS_execve, vec![]), REFUSED),
            (Relay, (libc::SYS_openat2, vec![]), MISSING),
            (Relay, (libc::SYS_clone3, vec![]), MISSING),
            (Relay, (libc::SYS_clone, vec![bits(libc::CLONE_THREAD | libc::CLONE_VM)]), ALLOW),
            (Relay, (libc::SYS_clone, vec![bits(libc::SIGCHLD)]), REFUSED),
            (Relay, (libc::SYS_tgkill, vec![own, 1, 6]), ALLOW),
            (Relay, (libc::SYS_tgkill, vec![own + 1, 1, 6]), REFUSED),
            (Relay, map(libc::PROT_READ | libc::PROT_WRITE), ALLOW),
            (Relay, map(libc::PROT_READ | libc::PROT_EXEC), ALLOW),
            (Relay, map(libc::PROT_WRITE | libc::PROT_EXEC), REFUSED),
            (Relay, (libc::SYS_mprotect, vec![0, 4096, bits(libc::PROT_EXEC)]), REFUSED),
            (Relay, (libc::SYS_mprotect, vec![0, 4096, bits(libc::PROT_READ)]), ALLOW),
            (Relay, (libc::SYS_prctl, vec![bits(libc::PR_SET_NAME)]), ALLOW),
            (Relay, (libc::SYS_prctl, vec![bits(libc::PR_SET_DUMPABLE), 1]), REFUSED),
            (Relay, socket(inet, stream, tcp), ALLOW),
            (Relay, socket(inet, stream, 0), ALLOW),
            (Relay, socket(inet, stream, 262), REFUSED),
            (Relay, socket(inet, bits(libc::SOCK_RAW), 1), REFUSED),
            (Relay, socket(bits(libc::AF_INET6), stream, 262), REFUSED),
            (Relay, socket(bits(libc::AF_NETLINK), bits(libc::SOCK_RAW), 4), ALLOW),
            (Relay, socket(bits(libc::AF_PACKET), bits(libc::SOCK_RAW), 0), REFUSED),
            (Relay, (libc::SYS_ioctl, vec![0, 0x5421]), ALLOW),
            (Relay, (libc::SYS_ioctl, vec![0, 0x5412]), REFUSED),
            // The kernel looks at the lower half alone.
            (Gate, (libc::SYS_ioctl, vec![0, 0x1_0000_5412]), REFUSED),
            (Relay, (libc::SYS_fcntl, vec![0, bits(libc::F_SETFL), 0]), ALLOW),
            (Relay, (libc::SYS_fcntl, vec![0, bits(libc::F_SETOWN), 1]), REFUSED),
            (Relay, (libc::SYS_fchmod, vec![3, 0o600]), ALLOW),
            (Relay, (libc::SYS_fchmod, vec![3, 0o4755]), REFUSED),
            (Relay, (libc::SYS_fchmod, vec![3, 0o2755]), REFUSED),
            (Gate, (libc::SYS_fchmod, vec![3, 0o2750]), ALLOW),
            (Relay, open(libc::O_WRONLY | libc::O_CREAT, 0o600), ALLOW),
            (Relay, open(libc::O_WRONLY | libc::O_CREAT, 0o4700), REFUSED),
            (Relay, open(libc::O_WRONLY | libc::O_TMPFILE, 0o4700), REFUSED),
            (Relay, open(libc::O_RDONLY | libc::O_DIRECTORY, 0o4700), ALLOW),
            (Relay, (libc::SYS_bpf, vec![1]), ALLOW),
            (Relay, (libc::SYS_bpf, vec![2]), REFUSED),
            (Gate, (libc::SYS_bpf, vec![2]), ALLOW),
            (Relay, option(libc::SO_REUSEADDR), ALLOW),
            (Relay, option(libc::SO_DETACH_FILTER), REFUSED),
            (Gate, option(libc::SO_ATTACH_FILTER), ALLOW),
            (Relay, (libc::SYS_prlimit64, vec![0, 7, 0, 1]), ALLOW),
            (Relay, (libc::SYS_prlimit64, vec![0, 7, 1, 0]), REFUSED),
            (Relay, (libc::SYS_seccomp, vec![1]), REFUSED),
        ];
        for (row, (role, (call, few), wanted)) in rows.into_iter().enumerate() {
            let mut args = [0; 6];
            args[..few.len()].copy_from_slice(&few);
            assert_eq!(answer(role, call, args), wanted, "row {row}: {role:?} {call} {few:x?}");
        }
    }
}
