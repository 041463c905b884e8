//! How much of the spool each login takes.
//!
//! Whose a message is must be known from its header alone, since recovery reads no bodies. So a
//! record carries a mark of 16 bits, and logins whose marks are equal share one share: that can only
//! make the limit stricter, and at most 65,535 counts are kept, however many logins there are.

use std::collections::HashMap;

/// The share that one login may take: one part in this many.
const PARTS: u64 = 4;

/// The mark of a login on its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u16);

impl Owner {
    /// The mark of messages that are nobody's: the relay's own reports.
    pub const NOBODY: Self = Self(0);

    /// Returns the mark of a login.
    pub fn of(login: Option<&str>) -> Self {
        login.map_or(Self::NOBODY, |login| {
            let sum = crc32c::crc32c(login.as_bytes());
            Self(((sum >> 16) as u16 ^ sum as u16).max(1))
        })
    }
}

/// What the messages of one owner take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    messages: u64,
    body_bytes: u64,
}

/// What the messages of every owner take. Owners without messages have no entry.
#[derive(Debug, Default)]
pub struct Shares {
    taken: HashMap<Owner, Share>,
}

impl Shares {
    /// Counts a message in.
    pub fn add(&mut self, owner: Owner, size_bytes: u64) {
        if owner == Owner::NOBODY {
            return;
        }
        let share = self.taken.entry(owner).or_default();
        share.messages += 1;
        share.body_bytes += size_bytes;
    }

    /// Counts a message out that was counted in with the same numbers.
    pub fn remove(&mut self, owner: Owner, size_bytes: u64) {
        let Some(share) = self.taken.get_mut(&owner) else { return };
        share.messages -= 1;
        share.body_bytes -= size_bytes;
        if share.messages == 0 {
            self.taken.remove(&owner);
        }
    }

    /// Tells whether `owner` may add a message to a spool that holds at most `messages`, in
    /// `usable_bytes` of room for bodies. Whoever has none may always add one.
    pub fn admits(&self, owner: Owner, messages: usize, usable_bytes: u64) -> bool {
        self.taken.get(&owner).is_none_or(|share| {
            share.messages < (messages as u64 / PARTS) && share.body_bytes < usable_bytes / PARTS
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_owner_gets_a_quarter_by_count_and_by_size_and_others_theirs() {
        let (app, web) = (Owner::of(Some("app")), Owner::of(Some("web")));
        for (row, sizes, messages, usable_bytes, admitted) in [
            ("nothing yet", &[][..], 8, 80, true),
            ("one below a quarter", &[1][..], 8, 80, true),
            ("a quarter of the messages", &[1, 1][..], 8, 80, false),
            ("a quarter of the octets", &[20][..], 8, 80, false),
            ("one octet less", &[19][..], 8, 80, true),
            ("the first into the smallest spool", &[][..], 1, 0, true),
            ("the second into the smallest spool", &[0][..], 1, 80, false),
        ] {
            let mut shares = Shares::default();
            for size in sizes {
                shares.add(app, *size);
            }
            assert_eq!(shares.admits(app, messages, usable_bytes), admitted, "{row}");
            assert!(shares.admits(web, messages, usable_bytes), "{row}: another login");
            assert!(shares.admits(Owner::NOBODY, messages, usable_bytes), "{row}: a report");
        }
    }

    proptest! {
        #[test]
        fn what_was_counted_out_leaves_nothing(
            messages in proptest::collection::vec((0..5_u16, 0..1000_u64), 0..50),
        ) {
            let mut shares = Shares::default();
            for (owner, size_bytes) in &messages {
                shares.add(Owner(*owner), *size_bytes);
            }
            for (owner, size_bytes) in &messages {
                shares.remove(Owner(*owner), *size_bytes);
            }
            prop_assert!(shares.taken.is_empty());
        }

        #[test]
        fn no_login_is_nobody(login in "[!-~]{1,64}") {
            prop_assert_ne!(Owner::of(Some(&login)), Owner::NOBODY);
        }
    }
}
