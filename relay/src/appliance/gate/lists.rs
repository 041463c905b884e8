//! Both lists, read at the start from their files and from what an earlier gate left in the kernel.

use relay_common::addr::Net;
use relay_common::table::EntryId;

use crate::config::Config;
use crate::gate::allowlist::Allowlist;
use crate::gate::bans::{Ban, Bans};
use crate::gate::clocks::Moment;
use crate::gate::record::{Files, Former};
use crate::gate::store::StoreError;

/// The allowlist and the bans.
#[derive(Debug, Default)]
pub struct Lists {
    /// The allowlist.
    pub allow: Allowlist,
    /// The bans.
    pub bans: Bans,
    /// The list that comes back unless the one that counts is confirmed.
    pub former: Option<Former>,
    /// What was damaged and is set aside, for people.
    pub damages: Vec<String>,
}

/// What an earlier gate left in the kernel.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// The networks of its entries, and their numbers.
    pub entries: Vec<(Net, EntryId)>,
    /// Its bans, each until a time of the boot clock in nanoseconds.
    pub bans: Vec<(Net, u64)>,
}

impl Lists {
    /// Reads both lists, and says what was damaged: a damaged allowlist admits nobody but declared
    /// entries, and bans of a damaged file are taken from the kernel.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if a file cannot be read at all, or is of a later version.
    pub fn read(
        config: &Config,
        files: &Files,
        left: &Left,
        now: Moment,
    ) -> Result<Self, StoreError> {
        let mut allow = files.allowlist(now)?;
        // Numbers only: what the kernel admits beyond the file goes.
        for (net, id) in &left.entries {
            allow.kept.declared.entry(*net).or_insert(*id);
        }
        let mut bans = files.bans(now)?;
        if bans.damage.is_some() {
            let alive = left.bans.iter().filter(|(_, until_ns)| *until_ns > now.boot_ns);
            bans.kept.0 = alive
                .map(|(net, until_ns)| Ban {
                    net: *net,
                    until_ns: *until_ns,
                    note: Some("found in the kernel".into()),
                    uid: 0,
                    at: now.wall,
                    repeats: 0,
                })
                .collect();
        }
        let former = files.former(now)?;
        let (kept_bans, past) = bans.kept;
        Ok(Self {
            allow: Allowlist::new(allow.kept, &config.gate.allow, now.boot_ns),
            bans: Bans::new(kept_bans, past, now.boot_ns),
            former: former.kept,
            damages: [allow.damage, bans.damage, former.damage].into_iter().flatten().collect(),
        })
    }
}
