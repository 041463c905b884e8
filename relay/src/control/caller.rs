//! Who speaks on a control socket, and what he may do (DESIGN: processes).

use std::ffi::CString;
use std::fmt;
use std::fs;

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// The number that the kernel gives to a process for every user whom its user namespace has no number for
/// (user_namespaces(7)). It is nobody's as well.
const OVERFLOW: u32 = 65534;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// His user.
    pub uid: u32,
    /// What he may do.
    pub right: Right,
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "uid {}", self.uid)?;
        if self.uid == OVERFLOW {
            // Who is in the group and is refused must learn why.
            formatter
                .write_str(" (nobody, or a user whom the user namespace of this process hides)")?;
        }
        Ok(())
    }
}

/// What a caller may do, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look.
    Look,
    /// Look, and what the relay's process needs: the listening sockets, bans of single addresses.
    Relay,
    /// Change everything.
    Change,
}

/// Whom a socket trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The group whose members may change everything, besides root.
    pub admin_group: Option<u32>,
    /// The relay's user.
    pub relay_uid: Option<u32>,
    /// The user that the process runs as: it trusts itself and root.
    pub own_uid: u32,
    /// The number that may be anybody's here, so that it gives no right.
    pub hidden_uid: Option<u32>,
}

impl Trust {
    /// Returns the right of a peer. The groups that count are the account's, since a socket names
    /// only the primary one.
    #[must_use]
    pub fn of(&self, uid: u32, gid: u32) -> Right {
        let is_admin = |wanted: u32| gid == wanted || groups(uid, gid).contains(&wanted);
        if self.hidden_uid == Some(uid) {
            // Before all others: where it is the process's own number too, a stranger would be trusted for it.
            Right::Look
        } else if uid == 0 || uid == self.own_uid {
            Right::Change
        } else if self.relay_uid == Some(uid) {
            // Before the group: a relay's user that somebody put there must still not open the gate.
            Right::Relay
        } else if self.admin_group.is_some_and(is_admin) {
            Right::Change
        } else {
            Right::Look
        }
    }
}

/// Returns the number by which this process sees users whom its user namespace has no number for; none: it has one
/// for each. A process that cannot find out takes it that there are such users.
#[must_use]
pub fn hidden_uid() -> Option<u32> {
    match fs::read_to_string("/proc/self/uid_map") {
        Ok(map) if has_all(&map) => None,
        Ok(_) | Err(_) => Some(OVERFLOW),
    }
}

/// Tells whether a user namespace has a number for every user. The ranges of a map do not overlap; the last number
/// is nobody's at all.
fn has_all(map: &str) -> bool {
    let counts = map.lines().filter_map(|line| line.split_whitespace().nth(2));
    counts.filter_map(|count| count.parse::<u64>().ok()).sum::<u64>() >= u64::from(u32::MAX)
}

/// Returns the groups of the account with this number; none if there is no account.
fn groups(uid: u32, gid: u32) -> Vec<u32> {
    let account = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = account.and_then(|account| CString::new(account.name).ok());
    let groups = name.and_then(|name| getgrouplist(&name, Gid::from_raw(gid)).ok());
    groups.unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_follow_user_and_group() {
        let trust = Trust {
            admin_group: Some(4_000_001),
            relay_uid: Some(4_000_002),
            own_uid: 9,
            hidden_uid: None,
        };
        let rows = [
            ("root", 0, 0, Right::Change),
            ("the process's own user", 9, 9, Right::Change),
            ("a member of the admin group", 4_000_003, 4_000_001, Right::Change),
            ("the relay", 4_000_002, 4_000_002, Right::Relay),
            ("the relay, put into the admin group", 4_000_002, 4_000_001, Right::Relay),
            ("anybody", 4_000_004, 4_000_004, Right::Look),
        ];
        for (who, uid, gid, right) in rows {
            assert_eq!(trust.of(uid, gid), right, "{who}");
        }
        let closed = Trust { admin_group: None, relay_uid: None, own_uid: 0, hidden_uid: None };
        assert_eq!(closed.of(4_000_002, 4_000_001), Right::Look);
    }

    #[test]
    fn a_number_that_may_be_anybodys_gives_no_right() {
        let nobody = |hidden_uid| Trust {
            admin_group: Some(OVERFLOW),
            relay_uid: Some(OVERFLOW),
            own_uid: OVERFLOW,
            hidden_uid,
        };
        assert_eq!(nobody(Some(OVERFLOW)).of(OVERFLOW, OVERFLOW), Right::Look);
        assert_eq!(nobody(None).of(OVERFLOW, OVERFLOW), Right::Change);
        assert_eq!(nobody(Some(OVERFLOW)).of(0, 0), Right::Change, "root is always known");
    }

    #[test]
    fn a_user_namespace_is_seen_to_have_a_number_for_every_user_or_not() {
        for (map, all) in [
            ("         0          0 4294967295\n", true),
            ("         0          0          1\n         1          1 4294967294\n", true),
            ("         0          0      65536\n", false),
            ("         0     100000      65536\n", false),
            ("         0          0          1\n       998        998          1\n", false),
            ("", false),
        ] {
            assert_eq!(has_all(map), all, "{map}");
        }
    }
}
