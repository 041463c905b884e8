//! The allowlist as it is shown: whole, or a part of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use relay_common::table::EntryId;

use super::keeper::Keeper;
use super::telling::told;
use crate::control::wire::{AllowPage, Entry};
use crate::gate::EntryCounts;
use crate::gate::cidr::network;
use crate::gate::clocks::Moment;
use crate::gate::entry::{self, Origin};

/// The most entries of one part.
const SHOWN_MAX: usize = 500;

/// What has been counted for each entry.
type Counts = BTreeMap<EntryId, EntryCounts>;

impl Keeper {
    /// Returns every entry.
    ///
    /// # Errors
    ///
    /// If the kernel's counters cannot be read.
    pub(super) fn entries(&self, now: Moment) -> Result<Vec<Entry>, String> {
        let counts = self.gate.entry_counts().map_err(|error| told(&error))?;
        Ok(self.lists.allow.entries().map(|entry| shown(entry, &counts, now)).collect())
    }

    /// Returns at most `limit` of the entries that are `sought`, after the first `from` of them.
    ///
    /// # Errors
    ///
    /// As [`Keeper::entries`].
    pub(super) fn allow_page(
        &self,
        sought: Option<&str>,
        from: usize,
        limit: usize,
        now: Moment,
    ) -> Result<AllowPage, String> {
        let counts = self.gate.entry_counts().map_err(|error| told(&error))?;
        let sought = Sought::of(sought.unwrap_or_default());
        let mut page = AllowPage::default();
        for entry in self.lists.allow.entries().filter(|entry| sought.is(entry)) {
            if page.found >= from && page.entries.len() < limit.min(SHOWN_MAX) {
                page.entries.push(shown(entry, &counts, now));
            }
            page.found += 1;
        }
        Ok(page)
    }
}

/// Which entries somebody looks for.
enum Sought {
    All,
    /// Those that hold this address.
    Holding(IpAddr),
    /// Those that have this text, in small letters.
    Text(String),
}

impl Sought {
    fn of(text: &str) -> Self {
        match text.trim().parse::<IpAddr>() {
            Ok(address) => Self::Holding(address.to_canonical()),
            Err(_) if text.trim().is_empty() => Self::All,
            Err(_) => Self::Text(text.trim().to_lowercase()),
        }
    }

    fn is(&self, entry: &entry::Entry) -> bool {
        match self {
            Self::All => true,
            Self::Holding(address) => network(entry.net).contains(*address),
            Self::Text(text) => {
                let has = |part: &Option<String>| {
                    part.as_ref().is_some_and(|part| part.to_lowercase().contains(text))
                };
                has(&entry.tag) || has(&entry.note) || network(entry.net).to_string().contains(text)
            }
        }
    }
}

fn shown(entry: &entry::Entry, counts: &Counts, now: Moment) -> Entry {
    let count: EntryCounts = counts.get(&entry.id).copied().unwrap_or_default();
    let (line, uid, at) = match entry.origin {
        Origin::Declared { line } => (Some(line), None, None),
        Origin::Added { uid, at } => (None, Some(uid), Some(at)),
    };
    Entry {
        cidr: network(entry.net),
        tag: entry.tag.clone(),
        note: entry.note.clone(),
        declared_in_line: line,
        added_by_uid: uid,
        added_at: at,
        until: entry.until_ns.map(|until_ns| now.wall_of(until_ns)),
        connect_rate: entry.connect_rate.map(|rate| rate.to_string()),
        source_rate: entry.source_rate.map(|rate| rate.to_string()),
        connections: count.passed,
        over_rate: count.over_rate,
        last_seen: (count.last_ns != 0).then(|| now.wall_of(count.last_ns)),
        would_drop: count.would_drop,
    }
}
