//! Users of this host, by name: what the processes tell has their numbers.

use std::collections::BTreeMap;

use nix::unistd::{Uid, User};

/// The names that were looked up: each once, since a directory service may be asked for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Users(BTreeMap<u32, String>);

impl Users {
    /// Returns the name of a user, or `uid` and the number where the host knows none.
    pub(super) fn name(&mut self, uid: u32) -> String {
        let look = || {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            user.map_or_else(|| format!("uid {uid}"), |user| user.name)
        };
        self.0.entry(uid).or_insert_with(look).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_his_name_and_one_whom_the_host_does_not_know_his_number() {
        let mut users = Users::default();
        assert_eq!(
            [0, 0, 4_294_967_290].map(|uid| users.name(uid)),
            ["root", "root", "uid 4294967290"]
        );
    }
}
