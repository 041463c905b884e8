//! Which programs hold a socket (proc(5), `/proc/PID/fd`).

use std::fmt;
use std::fs;

use crate::gate::clients::Listening;

/// The most descriptors of other processes that are looked at.
const DESCRIPTORS_MAX: usize = 1_000_000;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// The name of its program, at most 15 octets.
    pub name: String,
}

impl fmt::Display for Holder {
    /// Writes both, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Returns the programs that hold these sockets, of several processes of one name the first; of other users'
/// processes only root sees them.
#[must_use]
pub fn holders(sockets: &[Listening]) -> Vec<Holder> {
    let wanted: Vec<String> = sockets.iter().map(|one| format!("socket:[{}]", one.inode)).collect();
    let mut found: Vec<Holder> = Vec::new();
    let mut budget = DESCRIPTORS_MAX;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // What is no process has no number.
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One of another user does not show its descriptors.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            budget = budget.saturating_sub(1);
            if budget == 0 {
                return found;
            }
            let holds = fs::read_link(descriptor.path()).is_ok_and(|link| {
                link.to_str().is_some_and(|link| wanted.iter().any(|one| one == link))
            });
            if holds {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                let name = name.trim().to_owned();
                if found.iter().all(|one| one.name != name) {
                    found.push(Holder { pid, name });
                }
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::clients::listening;

    #[test]
    fn the_holder_of_a_socket_is_found() {
        let mine = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = mine.local_addr().unwrap();
        let all = listening().unwrap();
        let own: Vec<_> = all.into_iter().filter(|one| one.address == address).collect();
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        // A child of another test may have it for a moment, between fork and exec.
        assert!(holders(&own).iter().any(|one| one.name == name.trim()));
    }
}
