//! An entry of the allowlist with all that is known of it.

use jiff::Timestamp;
use relay_common::addr::Net;
use relay_common::bucket;
use relay_common::table::{EntryId, TagName};

use crate::config;

/// An entry: a network whose clients are admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The network.
    pub net: Net,
    /// Its number, which stays its own until the network has no entry any more.
    pub id: EntryId,
    /// The tag that joins its clients to policies.
    pub tag: Option<String>,
    /// A remark for people.
    pub note: Option<String>,
    /// Connection attempts it may make; none: no limit.
    pub connect_rate: Option<config::Rate>,
    /// Connection attempts that each of its sources may make; none: no limit.
    pub source_rate: Option<config::Rate>,
    /// When it ends, in nanoseconds of the boot clock; none: it stays.
    pub until_ns: Option<u64>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Declared {
        /// The line that declares it, counted from 1.
        line: usize,
    },
    /// The command line.
    Added {
        /// The user who added it.
        uid: u32,
        /// When.
        at: Timestamp,
    },
}

impl Entry {
    /// Returns the part of the entry that the kernel needs.
    #[must_use]
    pub fn for_kernel(&self) -> super::Entry {
        super::Entry {
            net: self.net,
            id: self.id,
            tag: self.tag.as_deref().and_then(TagName::new),
            rate: self.connect_rate.and_then(with_burst),
            source_rate: self.source_rate.and_then(with_burst),
            until_ns: self.until_ns,
        }
    }
}

/// Returns a rate of which ten seconds' worth may come at once, as with the rates of policies.
fn with_burst(rate: config::Rate) -> Option<bucket::Rate> {
    let per_burst = u64::from(rate.count) * 10_000 / millis(rate).max(1);
    let burst = u32::try_from(per_burst.max(1)).unwrap_or(u32::MAX);
    bucket::Rate::new(rate.count, rate.per, burst)
}

fn millis(rate: config::Rate) -> u64 {
    u64::try_from(rate.per.as_millis()).unwrap_or(u64::MAX)
}
