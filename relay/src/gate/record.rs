//! How entries and bans stand in their files, and how the files are read at the start.

use std::collections::BTreeMap;
use std::path::Path;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use relay_common::addr::Net;
use relay_common::table::EntryId;
use serde::{Deserialize, Serialize};

use super::allowlist::Kept;
use super::bans::Ban;
use super::cidr::network;
use super::entry::{Entry, Origin};
use super::store::{Store, StoreError};

/// The version of both files' form.
const VERSION: u32 = 1;

/// One line of the allowlist's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum AllowRecord {
    /// The last number that was given away.
    LastId(u32),
    /// The number of a declared entry.
    #[serde(rename_all = "kebab-case")]
    Declared { cidr: IpNetwork, id: u32 },
    /// An added entry.
    #[serde(rename_all = "kebab-case")]
    Added {
        cidr: IpNetwork,
        id: u32,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        tag: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        until: Option<Timestamp>,
        uid: u32,
        at: Timestamp,
    },
}

/// One line of the bans' file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BanRecord {
    cidr: IpNetwork,
    until: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
    uid: u32,
    at: Timestamp,
}

/// Both files of the gate's state.
#[derive(Clone, Debug)]
pub struct Files {
    allow: Store,
    bans: Store,
}

/// What a file said, and what went wrong with it if it was damaged.
#[derive(Debug)]
pub struct Found<T> {
    /// What it said; nothing if it was damaged.
    pub kept: T,
    /// Where a damaged file is now, and what is wrong with it.
    pub damage: Option<String>,
}

impl Files {
    /// Returns the files in the gate's state folder.
    #[must_use]
    pub fn within(state: &Path) -> Self {
        Self {
            allow: Store::new(state.join("allow.jsonl"), "allowlist", VERSION),
            bans: Store::new(state.join("bans.jsonl"), "bans", VERSION),
        }
    }

    /// Reads the added entries. A damaged file is set aside, and then only declared entries count: a
    /// list that may be wrong admits nobody.
    ///
    /// # Errors
    ///
    /// [`StoreError`], but not `Damaged`.
    pub fn allowlist(&self, now: Timestamp) -> Result<Found<Kept>, StoreError> {
        let Found { kept, damage } = read(&self.allow, now, "only declared entries count")?;
        Ok(Found { kept: kept.into_iter().fold(Kept::default(), AllowRecord::fold), damage })
    }

    /// Reads the bans. A damaged file is set aside; the kernel may know more then.
    ///
    /// # Errors
    ///
    /// [`StoreError`], but not `Damaged`.
    pub fn bans(&self, now: Timestamp) -> Result<Found<Vec<Ban>>, StoreError> {
        let Found { kept, damage } =
            read(&self.bans, now, "only bans that the kernel still knows count")?;
        Ok(Found { kept: kept.into_iter().filter_map(BanRecord::ban).collect(), damage })
    }

    /// Writes the allowlist's file; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn save_allowlist(&self, kept: &Kept) -> Result<(), StoreError> {
        let declared =
            |(net, id): (&Net, &EntryId)| AllowRecord::Declared { cidr: network(*net), id: id.0 };
        let mut records = vec![AllowRecord::LastId(kept.last_id)];
        records.extend(kept.declared.iter().map(declared));
        records.extend(kept.added.iter().filter_map(AllowRecord::of));
        self.allow.save(&records)
    }

    /// Writes the bans' file; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn save_bans<'a>(&self, bans: impl Iterator<Item = &'a Ban>) -> Result<(), StoreError> {
        let records: Vec<BanRecord> = bans.map(BanRecord::of).collect();
        self.bans.save(&records)
    }
}

fn read<T: serde::de::DeserializeOwned>(
    store: &Store,
    now: Timestamp,
    consequence: &str,
) -> Result<Found<Vec<T>>, StoreError> {
    match store.load() {
        Ok(kept) => Ok(Found { kept: kept.unwrap_or_default(), damage: None }),
        Err(error @ StoreError::Damaged { .. }) => {
            let aside = store.set_aside(now.as_second())?;
            let damage = format!("{error}; it is {} now, and {consequence}", aside.display());
            Ok(Found { kept: Vec::new(), damage: Some(damage) })
        }
        Err(error @ (StoreError::Io { .. } | StoreError::Version { .. })) => Err(error),
    }
}

impl AllowRecord {
    fn of(entry: &Entry) -> Option<Self> {
        let Origin::Added { uid, at } = entry.origin else { return None };
        Some(Self::Added {
            cidr: network(entry.net),
            id: entry.id.0,
            tag: entry.tag.clone(),
            note: entry.note.clone(),
            until: entry.until,
            uid,
            at,
        })
    }

    /// The checksum held, so a network with host bits or a number of zero cannot stand there; should a
    /// later mistake of ours write one, it admits nobody.
    fn fold(mut kept: Kept, record: Self) -> Kept {
        match record {
            Self::LastId(last_id) => kept.last_id = last_id,
            Self::Declared { cidr, id } => {
                let known = super::net(cidr).ok().map(|net| (net, EntryId(id)));
                kept.declared.extend(known.into_iter().collect::<BTreeMap<_, _>>());
            }
            Self::Added { cidr, id, tag, note, until, uid, at } => {
                let origin = Origin::Added { uid, at };
                let entry = super::net(cidr).ok().map(|net| Entry {
                    net,
                    id: EntryId(id),
                    tag,
                    note,
                    connect_rate: None,
                    until,
                    origin,
                });
                kept.added.extend(entry.filter(|entry| entry.id.0 != 0));
            }
        }
        kept
    }
}

impl BanRecord {
    fn of(ban: &Ban) -> Self {
        let Ban { net, until, note, uid, at } = ban.clone();
        Self { cidr: network(net), until, note, uid, at }
    }

    fn ban(self) -> Option<Ban> {
        let Self { cidr, until, note, uid, at } = self;
        super::net(cidr).ok().map(|net| Ban { net, until, note, uid, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn kept() -> Kept {
        let net = |text: &str| super::super::net(text.parse().unwrap()).unwrap();
        let entry = |text: &str, id, until| Entry {
            net: net(text),
            id: EntryId(id),
            tag: Some("billing".into()),
            note: Some("a \"quoted\" note".into()),
            connect_rate: None,
            until,
            origin: Origin::Added { uid: 1000, at: moment(5) },
        };
        Kept {
            last_id: 9,
            declared: [(net("10.0.0.0/8"), EntryId(1))].into(),
            added: vec![
                entry("192.0.2.0/24", 2, None),
                entry("2001:db8::/32", 9, Some(moment(90))),
            ],
        }
    }

    #[test]
    fn both_files_are_read_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::within(folder.path());
        let nothing = files.allowlist(moment(0)).unwrap();
        assert_eq!((nothing.kept, nothing.damage), (Kept::default(), None));
        files.save_allowlist(&kept()).unwrap();
        assert_eq!(files.allowlist(moment(0)).unwrap().kept, kept());
        let net = kept().added[0].net;
        let ban = Ban { net, until: moment(60), note: None, uid: 0, at: moment(1) };
        files.save_bans([&ban].into_iter()).unwrap();
        assert_eq!(files.bans(moment(0)).unwrap().kept, [ban]);
    }

    #[test]
    fn a_damaged_allowlist_is_set_aside_with_a_word_and_admits_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::within(folder.path());
        files.save_allowlist(&kept()).unwrap();
        let path = folder.path().join("allow.jsonl");
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        let found = files.allowlist(moment(77)).unwrap();
        assert_eq!(found.kept, Kept::default());
        let damage = found.damage.unwrap();
        assert!(
            damage.contains("allow.damaged-77") && damage.contains("only declared"),
            "{damage}"
        );
        assert_eq!(
            std::fs::read(folder.path().join("allow.damaged-77")).unwrap().len(),
            text.len() / 2
        );
    }
}
