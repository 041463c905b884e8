//! What the service manager kept over a restart (sd_listen_fds(3), the file descriptor store).
//!
//! The gate puts its listening sockets there, see [`super::notify`]. They outlive gate and relay both, with
//! their doors and with the clients that wait in their backlogs.
#![expect(unsafe_code, reason = "descriptors that come by number, from outside the program")]

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};

/// The number of the first descriptor that is passed (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// The most that are taken: as many as a unit may have kept by its `FileDescriptorStoreMax=`, and more.
const MOST: usize = 256;

/// A socket that came from the service manager.
#[derive(Debug)]
pub struct Inherited {
    /// The name that it goes by there.
    pub name: String,
    /// The socket. Nobody has looked yet which it is.
    pub socket: OwnedFd,
}

/// Takes the sockets that the service manager passed to this process; none the second time, and none in a
/// process that was started otherwise. What is no socket stays where it is.
#[must_use]
pub fn take() -> Vec<Inherited> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let said = |name| std::env::var(name).unwrap_or_default();
    let passed = passed(
        std::process::id(),
        &said("LISTEN_PID"),
        &said("LISTEN_FDS"),
        &said("LISTEN_FDNAMES"),
    );
    passed.into_iter().filter_map(|(number, name)| own(number, name)).collect()
}

fn own(number: RawFd, name: String) -> Option<Inherited> {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    if !link.as_os_str().as_encoded_bytes().starts_with(b"socket:") {
        return None;
    }
    // SAFETY: the number is open, as /proc has just shown. The service manager opened it for this very
    // process (LISTEN_PID names it) before its first instruction, so nothing in the program owns it; and
    // `TAKEN` lets nobody come here twice.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    // Children must not inherit it. A kernel that refuses that would have refused the number.
    let _ = fcntl_setfd(&socket, FdFlags::CLOEXEC);
    Some(Inherited { name, socket })
}

/// Returns number and name of each descriptor that the environment tells of, if it speaks to this process.
fn passed(own: u32, to: &str, count: &str, names: &str) -> Vec<(RawFd, String)> {
    if to.parse() != Ok(own) {
        return Vec::new();
    }
    let count = count.parse().map_or(0, |count: usize| count.min(MOST));
    let names = names.split(':').chain(std::iter::repeat(""));
    (FIRST..).zip(names).take(count).map(|(number, name)| (number, name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_is_known_by_number_and_name_and_meant_for_one_process() {
        let named = |names: &[(RawFd, &str)]| -> Vec<(RawFd, String)> {
            names.iter().map(|(number, name)| (*number, (*name).to_owned())).collect()
        };
        for (row, to, count, names, wanted) in [
            ("two", "7", "2", "a:b", named(&[(3, "a"), (4, "b")])),
            ("fewer names", "7", "2", "a", named(&[(3, "a"), (4, "")])),
            ("more names", "7", "1", "a:b", named(&[(3, "a")])),
            ("no names", "7", "1", "", named(&[(3, "")])),
            ("for another process", "8", "2", "a:b", named(&[])),
            ("for nobody", "", "2", "a:b", named(&[])),
            ("no number", "7", "-1", "a:b", named(&[])),
        ] {
            assert_eq!(passed(7, to, count, names), wanted, "{row}");
        }
        assert_eq!(passed(7, "7", "100000", "").len(), MOST);
    }

    #[test]
    fn a_process_that_nothing_was_passed_to_takes_nothing() {
        assert!(take().is_empty());
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert!(own(number, String::new()).is_none(), "a file is no socket");
        assert!(own(i32::MAX, String::new()).is_none(), "nor is a number that is not open");
    }
}
