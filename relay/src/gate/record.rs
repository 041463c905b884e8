//! How entries and bans stand in their files, and how the files are read at the start.
//!
//! Ends are kept on both clocks: in the boot that wrote them the boot clock's time counts, which no step of
//! the wall clock moves; in another boot the wall clock's.

mod line;

use std::path::Path;

use jiff::Timestamp;
use relay_common::addr::Net;
use relay_common::table::EntryId;

use super::allowlist::{Edit, Kept};
use super::bans::{Ban, Past};
use super::cidr::network;
use super::clocks::Moment;
use super::entry::{Entry, Origin};
use super::store::{Store, StoreError};
use crate::config::unit;
use line::{AllowRecord, BanRecord};

/// The version of both files' form.
const VERSION: u32 = 1;

/// The files of the gate's state.
#[derive(Debug)]
pub struct Files {
    allow: Store,
    /// The added entries as they were before a list that waits to be confirmed.
    before: Store,
    bans: Store,
    boot: String,
}

/// What a file said, and what went wrong with it if it was damaged.
#[derive(Debug)]
pub struct Found<T> {
    /// What it said; nothing if it was damaged.
    pub kept: T,
    /// Where a damaged file is now, and what is wrong with it.
    pub damage: Option<String>,
}

/// Bans and past bans.
pub type KeptBans = (Vec<Ban>, Vec<Past>);

/// A list that comes back unless the one that took its place is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// When, on the boot clock.
    pub until_ns: u64,
    /// Its added entries.
    pub added: Vec<Entry>,
}

/// Where the kernel names the boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns the name of this boot.
#[must_use]
pub fn this_boot() -> String {
    std::fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}

impl Files {
    /// Returns the files in the gate's state folder.
    #[must_use]
    pub fn within(state: &Path) -> Self {
        Self {
            allow: Store::new(state.join("allow.jsonl"), "allowlist", VERSION),
            before: Store::new(state.join("allow-before.jsonl"), "allowlist", VERSION),
            bans: Store::new(state.join("bans.jsonl"), "bans", VERSION),
            boot: this_boot(),
        }
    }

    /// Returns the same files as another boot sees them.
    #[cfg(test)]
    pub fn in_boot(self, boot: &str) -> Self {
        Self { boot: boot.to_owned(), ..self }
    }

    /// Lets no log take another line, as on a full disk.
    #[cfg(test)]
    pub fn fill_disk(&mut self) {
        self.allow.fill_disk();
        self.bans.fill_disk();
    }

    /// Reads the added entries. A damaged file is set aside, and then only declared entries count: a
    /// list that may be wrong admits nobody.
    ///
    /// # Errors
    ///
    /// [`StoreError`], but not `Damaged`.
    pub fn allowlist(&self, now: Moment) -> Result<Found<Kept>, StoreError> {
        let Found { kept, damage } = read(&self.allow, now, "only declared entries count")?;
        Ok(Found { kept: self.fold_allow(kept, now).0, damage })
    }

    /// Reads the list that comes back, if one waits for that.
    ///
    /// # Errors
    ///
    /// [`StoreError`], but not `Damaged`.
    pub fn former(&self, now: Moment) -> Result<Found<Option<Former>>, StoreError> {
        let consequence = "the list that it was to bring back stays replaced";
        let Found { kept, damage } = read(&self.before, now, consequence)?;
        let (kept, until_ns) = self.fold_allow(kept, now);
        let former = until_ns.map(|until_ns| Former { until_ns, added: kept.added });
        Ok(Found { kept: former, damage })
    }

    /// Reads the bans. A damaged file is set aside; the kernel may know more then.
    ///
    /// # Errors
    ///
    /// [`StoreError`], but not `Damaged`.
    pub fn bans(&self, now: Moment) -> Result<Found<KeptBans>, StoreError> {
        let Found { kept, damage } =
            read(&self.bans, now, "only bans that the kernel still knows count")?;
        Ok(Found { kept: self.fold_bans(kept, now), damage })
    }

    /// Writes the allowlist's file whole; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn save_allowlist(&mut self, kept: &Kept, now: Moment) -> Result<(), StoreError> {
        let declared = kept
            .declared
            .iter()
            .map(|(net, id)| AllowRecord::Declared { cidr: network(*net), id: id.0 });
        let added = kept.added.iter().filter_map(|entry| AllowRecord::of(entry, now));
        let boot = AllowRecord::Boot(self.boot.clone());
        self.allow.save([boot].into_iter().chain(declared).chain(added))
    }

    /// Writes changes of the added entries into the allowlist's log; they are on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; see [`Store::append`].
    pub fn append_allow(&mut self, edits: &[Edit], now: Moment) -> Result<(), StoreError> {
        let record = |edit: &Edit| match edit {
            Edit::Put(entry) => AllowRecord::of(entry, now),
            Edit::Take(net) => Some(AllowRecord::Removed { cidr: network(*net) }),
        };
        self.allow.append(&edits.iter().filter_map(record).collect::<Vec<_>>())
    }

    /// Returns whether the allowlist's file should be saved whole.
    #[must_use]
    pub fn allow_is_long(&self) -> bool {
        self.allow.is_long()
    }

    /// Writes down which list comes back, and when; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn save_former(&mut self, former: &Former, now: Moment) -> Result<(), StoreError> {
        let until_ns = former.until_ns;
        let until = AllowRecord::Until { until: now.wall_of(until_ns), until_ns };
        let added = former.added.iter().filter_map(|entry| AllowRecord::of(entry, now));
        let boot = AllowRecord::Boot(self.boot.clone());
        self.before.save([boot, until].into_iter().chain(added))
    }

    /// Forgets the list that would come back.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn remove_former(&mut self) -> Result<(), StoreError> {
        self.before.remove()
    }

    /// Writes the bans' file whole; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn save_bans<'a>(
        &mut self,
        bans: impl Iterator<Item = &'a Ban>,
        past: impl Iterator<Item = &'a Past>,
        now: Moment,
    ) -> Result<(), StoreError> {
        let bans = bans.map(|ban| BanRecord::of(ban, now));
        let past = past.map(|past| BanRecord::Past {
            cidr: network(past.net),
            ended: now.wall_of_past(past.ended_ns),
            ended_ns: past.ended_ns,
            times: past.times,
        });
        let boot = BanRecord::Boot(self.boot.clone());
        self.bans.save([boot].into_iter().chain(past).chain(bans))
    }

    /// Writes bans that were added or lifted into the bans' log; they are on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; see [`Store::append`].
    pub fn append_bans(
        &mut self,
        put: &[Ban],
        lifted: &[Net],
        now: Moment,
    ) -> Result<(), StoreError> {
        let put = put.iter().map(|ban| BanRecord::of(ban, now));
        let lifted = lifted.iter().map(|net| BanRecord::Lifted { cidr: network(*net) });
        self.bans.append(&put.chain(lifted).collect::<Vec<_>>())
    }

    /// Returns whether the bans' file should be saved whole.
    #[must_use]
    pub fn bans_are_long(&self) -> bool {
        self.bans.is_long()
    }

    /// Returns the end that was written as a time of both clocks.
    fn end(&self, boot: &str, wall: Timestamp, boot_ns: Option<u64>, now: Moment) -> u64 {
        let own = boot_ns.filter(|_| boot == self.boot && !boot.is_empty());
        own.unwrap_or_else(|| now.boot_of(wall))
    }

    /// The checksum held, so a network with host bits cannot stand there; should a later mistake of ours
    /// write one, it admits nobody.
    fn fold_allow(&self, records: Vec<AllowRecord>, now: Moment) -> (Kept, Option<u64>) {
        let mut kept = Kept::default();
        let mut added = std::collections::BTreeMap::new();
        let (mut boot, mut comes_back) = (String::new(), None);
        for record in records {
            match record {
                AllowRecord::Boot(name) => boot = name,
                AllowRecord::LastId(_) => {}
                AllowRecord::Declared { cidr, id } => {
                    let net = super::net(cidr).ok();
                    kept.declared.extend(net.map(|net| (net, EntryId(id))));
                }
                AllowRecord::Added {
                    cidr,
                    id,
                    tag,
                    note,
                    connect_rate,
                    source_rate,
                    until,
                    until_ns,
                    uid,
                    at,
                } => {
                    let rate = |text: Option<String>| unit::rate_text(&text?).ok();
                    let entry = super::net(cidr).ok().map(|net| Entry {
                        net,
                        id: EntryId(id),
                        tag,
                        note,
                        connect_rate: rate(connect_rate),
                        source_rate: rate(source_rate),
                        until_ns: until.map(|until| self.end(&boot, until, until_ns, now)),
                        origin: Origin::Added { uid, at },
                    });
                    added.extend(entry.map(|entry| (entry.net, entry)));
                }
                AllowRecord::Removed { cidr } => {
                    if let Ok(net) = super::net(cidr) {
                        added.remove(&net);
                    }
                }
                AllowRecord::Until { until, until_ns } => {
                    comes_back = Some(self.end(&boot, until, Some(until_ns), now));
                }
            }
        }
        kept.added = added.into_values().collect();
        (kept, comes_back)
    }

    fn fold_bans(&self, records: Vec<BanRecord>, now: Moment) -> KeptBans {
        let mut boot = String::new();
        let (mut bans, mut pasts) = (std::collections::BTreeMap::new(), Vec::new());
        for record in records {
            match record {
                BanRecord::Boot(name) => boot = name,
                BanRecord::Ban { cidr, until, until_ns, note, uid, at, repeats } => {
                    let until_ns = self.end(&boot, until, Some(until_ns), now);
                    if let Ok(net) = super::net(cidr) {
                        bans.insert(net, Ban { net, until_ns, note, uid, at, repeats });
                    }
                }
                BanRecord::Lifted { cidr } => {
                    if let Ok(net) = super::net(cidr) {
                        bans.remove(&net);
                    }
                }
                BanRecord::Past { cidr, ended, ended_ns, times } => {
                    let own = boot == self.boot && !boot.is_empty();
                    let ended_ns = if own { ended_ns } else { now.boot_of_past(ended) };
                    pasts.extend(super::net(cidr).ok().map(|net| Past { net, ended_ns, times }));
                }
            }
        }
        (bans.into_values().collect(), pasts)
    }
}

fn read<T: serde::de::DeserializeOwned>(
    store: &Store,
    now: Moment,
    consequence: &str,
) -> Result<Found<Vec<T>>, StoreError> {
    match store.load() {
        Ok(kept) => Ok(Found { kept: kept.unwrap_or_default(), damage: None }),
        Err(error @ StoreError::Damaged { .. }) => {
            let aside = store.set_aside(&error, now.wall.as_second())?;
            let damage = format!("{error}; it is {} now, and {consequence}", aside.display());
            Ok(Found { kept: Vec::new(), damage: Some(damage) })
        }
        Err(error @ (StoreError::Io { .. } | StoreError::Version { .. })) => Err(error),
    }
}

#[cfg(test)]
mod tests;
