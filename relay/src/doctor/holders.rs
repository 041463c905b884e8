//! Which programs hold a socket (proc(5), `/proc/PID/fd`).

use std::collections::BTreeMap;
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

/// Returns the programs that hold each of these sockets, by the socket's inode, in one walk over all processes; of
/// several processes of one name the first. Of other users' processes only root sees them.
#[must_use]
pub fn holders(sockets: &[Listening]) -> BTreeMap<u64, Vec<Holder>> {
    let wanted: BTreeMap<String, u64> =
        sockets.iter().map(|one| (format!("socket:[{}]", one.inode), one.inode)).collect();
    let mut held: BTreeMap<u64, Vec<Holder>> = BTreeMap::new();
    let mut budget = DESCRIPTORS_MAX;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // What is no process has no number.
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One of another user does not show its descriptors.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let mut name = None;
        for descriptor in descriptors.flatten() {
            budget = budget.saturating_sub(1);
            if budget == 0 {
                return held;
            }
            let link = fs::read_link(descriptor.path()).unwrap_or_default();
            let Some(inode) = link.to_str().and_then(|link| wanted.get(link)) else { continue };
            let name = name.get_or_insert_with(|| {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                name.trim().to_owned()
            });
            let all = held.entry(*inode).or_default();
            if all.iter().all(|one| one.name != *name) {
                all.push(Holder { pid, name: name.clone() });
            }
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::clients::listening;

    #[test]
    fn the_holder_of_each_socket_is_found_in_one_walk() {
        let mine = ["127.0.0.1:0"; 2].map(|any| std::net::TcpListener::bind(any).unwrap());
        let addresses = mine.each_ref().map(|one| one.local_addr().unwrap());
        let all = listening().unwrap();
        let own: Vec<_> = all.into_iter().filter(|one| addresses.contains(&one.address)).collect();
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let held = holders(&own);
        assert_eq!(own.len(), 2);
        for socket in own {
            // A child of another test may have it for a moment, between fork and exec.
            assert!(held[&socket.inode].iter().any(|one| one.name == name.trim()));
        }
    }
}
