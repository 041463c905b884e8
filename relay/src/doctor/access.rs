//! Whether the relay's user may do something to a file or a folder.
//!
//! A check may run as root, who may do everything: so owner, groups and mode are compared instead
//! (path_resolution(7)). What they do not tell is neither granted nor refused.

use std::ffi::CString;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, getgrouplist};
use rustix::fs::getxattr;
use rustix::io::Errno;

use crate::appliance::privilege::{Identity, PrivilegeError};

/// Where a file system keeps an access control list (acl(5)).
const ACL: &str = "system.posix_acl_access";

/// What the holder of an identity asks of a file or a folder, as bits of each digit of its mode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    Read = 0o4,
    Enter = 0o1,
    /// To make, read and remove what is in a folder.
    Keep = 0o7,
}

/// Whether a wish is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    Yes,
    No,
    /// It cannot be told from here: why.
    Unknown(&'static str),
}

/// The relay's user, with its groups.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    identity: Identity,
    further: Further,
}

/// The groups besides the primary one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Further {
    /// The running relay has these.
    Has(Vec<u32>),
    /// The account has these. systemd gives them to the relay, `sallyport run` does not.
    May(Vec<u32>),
}

impl Reader {
    /// Returns the user of a name or a number, with the groups of the relay that runs as process `pid`, if one
    /// does as this user, else with those of the account.
    ///
    /// # Errors
    ///
    /// If the name is unknown.
    pub(super) fn of(user: &str, pid: Option<u32>) -> Result<Self, PrivilegeError> {
        let identity = Identity::of(user)?;
        let status = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let running = status.and_then(|status| running(&status, identity));
        let further = running.unwrap_or_else(|| Further::May(of_account(identity)));
        Ok(Self { identity, further })
    }

    /// Tells whether a wish is granted to this user.
    pub(super) fn may(&self, path: &Path, found: &Metadata, wish: Wish) -> Grant {
        let (mode, owner) = (found.permissions().mode(), (found.uid(), found.gid()));
        let granted = self.granted(mode, owner, wish);
        // An owner is judged by his digit alone, whatever the list says.
        if granted == Grant::No && self.identity.uid != owner.0 && has_list(path) {
            return Grant::Unknown(
                "it has an access control list (getfacl), which is not followed",
            );
        }
        granted
    }

    fn granted(&self, mode: u32, owner: (u32, u32), wish: Wish) -> Grant {
        let by = |groups: &[u32]| grants(mode, owner, self.identity, groups, wish);
        let as_known = |is_granted| if is_granted { Grant::Yes } else { Grant::No };
        match &self.further {
            Further::Has(groups) => as_known(by(groups)),
            Further::May(groups) if by(groups) == by(&[]) => as_known(by(&[])),
            Further::May(_) => Grant::Unknown(
                "that hangs on a further group of the user, which systemd gives and `sallyport run` does not",
            ),
        }
    }
}

/// Reads the groups of a process, if it runs as this user (proc_pid_status(5)).
fn running(status: &str, identity: Identity) -> Option<Further> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    let is_it = |name: &str, id: u32| field(name).is_some_and(|ids| ids.get(1) == Some(&id));
    let runs = is_it("Uid:", identity.uid) && is_it("Gid:", identity.gid);
    field("Groups:").filter(|_| runs).map(Further::Has)
}

fn of_account(identity: Identity) -> Vec<u32> {
    // A number without an account has no further groups.
    let account = User::from_uid(Uid::from_raw(identity.uid)).ok().flatten();
    let name = account.and_then(|account| CString::new(account.name).ok());
    let groups = name.and_then(|name| getgrouplist(&name, Gid::from_raw(identity.gid)).ok());
    groups.unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}

fn has_list(path: &Path) -> bool {
    match getxattr(path, ACL, &mut [0u8; 1024]) {
        Ok(length) => length > 0,
        // It is longer.
        Err(error) => error == Errno::RANGE,
    }
}

fn grants(
    mode: u32,
    (uid, gid): (u32, u32),
    reader: Identity,
    further: &[u32],
    wish: Wish,
) -> bool {
    // The owner is judged by his digit alone, and then the group, also where the others grant more.
    let digit = if reader.uid == uid {
        mode >> 6
    } else if reader.gid == gid || further.contains(&gid) {
        mode >> 3
    } else {
        mode
    };
    reader.uid == 0 || digit & wish as u32 == wish as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use Grant::{No, Yes};

    #[test]
    fn a_mode_grants_by_owner_then_group_then_all() {
        let reader = |uid, gid| Identity { uid, gid };
        for (row, mode, reader, read, enter) in [
            ("the owner", 0o500, reader(7, 9), true, true),
            ("the group", 0o640, reader(1, 8), true, false),
            ("nobody of them", 0o640, reader(1, 2), false, false),
            ("all", 0o604, reader(1, 2), true, false),
            ("the owner's digit alone counts for him", 0o044, reader(7, 8), false, false),
            ("the group's for the group", 0o604, reader(1, 8), false, false),
            ("a folder that can be passed", 0o711, reader(1, 2), false, true),
            ("root", 0o000, reader(0, 0), true, true),
        ] {
            assert_eq!(grants(mode, (7, 8), reader, &[], Wish::Read), read, "{row}");
            assert_eq!(grants(mode, (7, 8), reader, &[], Wish::Enter), enter, "{row}");
        }
    }

    #[test]
    fn further_groups_count_if_the_relay_has_them_and_are_left_open_if_it_may() {
        let identity = Identity { uid: 1, gid: 2 };
        let of = |further| Reader { identity, further };
        let (has, may) = (Further::Has(vec![8]), Further::May(vec![8]));
        for (row, further, mode, wanted) in [
            ("it has the group", has.clone(), 0o640, Some(Yes)),
            ("it has another", Further::Has(vec![9]), 0o640, Some(No)),
            ("the group is kept out, all are not", has, 0o604, Some(No)),
            ("the account has the group", may.clone(), 0o640, None),
            ("the same without it", may.clone(), 0o644, Some(Yes)),
            ("nobody may", may, 0o600, Some(No)),
        ] {
            let granted = of(further).granted(mode, (7, 8), Wish::Read);
            match wanted {
                Some(wanted) => assert_eq!(granted, wanted, "{row}"),
                None => assert!(matches!(granted, Grant::Unknown(_)), "{row}: {granted:?}"),
            }
        }
    }

    #[test]
    fn the_groups_of_the_relay_are_read_only_if_it_runs_as_the_user() {
        let status = "Name:\tsallyport\nUid:\t33\t33\t33\t33\nGid:\t34\t34\t34\t34\nFDSize:\t64\nGroups:\t34 110 \n";
        let of = |uid, gid| running(status, Identity { uid, gid });
        assert_eq!(of(33, 34), Some(Further::Has(vec![34, 110])));
        assert_eq!(of(34, 34), None);
        assert_eq!(running("", Identity { uid: 33, gid: 34 }), None);
        let own = Identity { uid: Uid::effective().as_raw(), gid: Gid::effective().as_raw() };
        assert!(running(&fs::read_to_string("/proc/self/status").unwrap(), own).is_some());
    }

    #[test]
    fn a_file_with_a_list_of_its_own_is_left_open() {
        use rustix::fs::{XattrFlags, setxattr};
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let identity = Identity { uid: 3_999_999_999, gid: 3_999_999_999 };
        let reader = Reader { identity, further: Further::Has(Vec::new()) };
        let may = || reader.may(file.path(), &file.path().metadata().unwrap(), Wish::Read);
        assert_eq!(may(), No);
        // Version 2; then owner, a user, the group, the mask, others: tag, permissions, id (posix_acl_xattr.h).
        let entries: [(u16, u16, u32); 5] = [
            (1, 6, u32::MAX),
            (2, 4, identity.uid),
            (4, 0, u32::MAX),
            (16, 4, u32::MAX),
            (32, 0, u32::MAX),
        ];
        let entries = entries.into_iter().flat_map(|(tag, may, id)| {
            [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat()
        });
        let list: Vec<u8> = 2u32.to_le_bytes().into_iter().chain(entries).collect();
        match setxattr(file.path(), ACL, &list, XattrFlags::empty()) {
            Ok(()) => assert!(matches!(may(), Grant::Unknown(_)), "{:?}", may()),
            // A file system without such lists has no file with one.
            Err(error) => assert_eq!(error, Errno::OPNOTSUPP),
        }
    }
}
