//! Who speaks on a control socket, and what he may do (DESIGN: processes).

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// His user.
    pub uid: u32,
    /// What he may do.
    pub right: Right,
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
}

impl Trust {
    /// Returns the right of a peer. The groups that count are the account's, since a socket names
    /// only the primary one.
    #[must_use]
    pub fn of(&self, uid: u32, gid: u32) -> Right {
        let is_admin = |wanted: u32| gid == wanted || groups(uid, gid).contains(&wanted);
        if uid == 0 || uid == self.own_uid {
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
        let trust = Trust { admin_group: Some(4_000_001), relay_uid: Some(4_000_002), own_uid: 9 };
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
        let closed = Trust { admin_group: None, relay_uid: None, own_uid: 0 };
        assert_eq!(closed.of(4_000_002, 4_000_001), Right::Look);
    }
}
