//! What the watch keeps over a restart: what was usual, as plain records.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use relay_common::addr::Net;
use serde::{Deserialize, Serialize};

use super::Watch;
use super::high::Noted;
use super::pace::WINDOWS;
use super::profile::{Days, Peaks};
use super::usual::{Level, Levels};
use crate::event::spike::Class;

/// The kind and the version of the file of records.
pub const KIND: &str = "usual";
/// See [`KIND`].
pub const VERSION: u32 = 1;

/// One record of what is usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Record {
    /// A class of the whole host.
    Hours {
        /// Its name.
        class: String,
        /// The hours of the week that were seen: the number (0 is Thursday, 00:00 UTC), and what was learned.
        hours: Vec<(usize, Learned)>,
        /// What stood above that: the hour of the day, the day from that of the epoch, and what was learned of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        high: Vec<(usize, i64, Learned)>,
    },
    /// A network.
    Network {
        /// The name of its class.
        class: String,
        /// The network.
        net: IpNetwork,
        /// Its highest usual rates a second, by window.
        peaks: Peaks,
        /// What it reached above that, by the day from that of the epoch.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        high: Days,
    },
}

/// For each window the mean a second, the mean deviation from it, and how many seconds they were learned.
pub type Learned = [(f32, f32, f32); WINDOWS.len()];

impl Watch {
    /// Returns what is usual: a record for each class, and one for each network that is known.
    pub fn usual(&self) -> Vec<Record> {
        let numbers = |level: Level| (level.mean, level.deviation, level.learned);
        let hours = |levels: &[Levels]| {
            let seen = levels
                .iter()
                .enumerate()
                .filter(|(_, levels)| levels[0].learned > 0.0 || levels[1].learned > 0.0);
            seen.map(|(hour, levels)| (hour, levels.map(numbers))).collect()
        };
        let classes = self.lookouts().into_iter().map(|(class, lookout)| {
            let high = lookout.high().noted();
            Record::Hours {
                class: class.name().to_owned(),
                hours: hours(lookout.hours()),
                high: high.map(|(hour, n)| (hour, n.day, n.levels.map(numbers))).collect(),
            }
        });
        let profiles = [(Class::Prefix, &self.prefixes), (Class::Entry, &self.entries)];
        let networks = profiles.into_iter().flat_map(|(class, profiles)| {
            profiles.known().filter_map(move |(net, peaks, high)| {
                let net = IpNetwork::new(IpAddr::from(net.addr()), net.prefix()).ok()?;
                Some(Record::Network { class: class.name().to_owned(), net, peaks, high })
            })
        });
        classes.chain(networks).collect()
    }

    /// Puts what was usual before in place. What it does not know or what cannot be it leaves out.
    pub fn recall(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            match record {
                Record::Hours { class, hours, high } => {
                    let lookout = match class_of(&class) {
                        Some(Class::Refused) => &mut self.refused,
                        Some(Class::Sources) => &mut self.sources.lookout,
                        Some(Class::Forged) => self.forged.lookout_mut(),
                        Some(Class::Bypass) => &mut self.bypassed,
                        Some(Class::Missing) => &mut self.missing,
                        Some(Class::Logins) => &mut self.logins,
                        Some(Class::Prefix | Class::Entry) | None => continue,
                    };
                    let level = |(mean, deviation, learned)| Level { mean, deviation, learned };
                    for (hour, levels) in hours {
                        lookout.restore(hour, levels.map(level));
                    }
                    for (hour, day, levels) in high {
                        let noted = Noted { day, levels: levels.map(level) };
                        lookout.high_mut().restore(hour, noted);
                    }
                }
                Record::Network { class, net, peaks, high } => {
                    let Ok(net) = Net::new(net.ip(), net.prefix()) else { continue };
                    match class_of(&class) {
                        Some(Class::Prefix) => self.prefixes.restore(net, peaks, high),
                        Some(Class::Entry) => self.entries.restore(net, peaks, high),
                        Some(
                            Class::Refused
                            | Class::Sources
                            | Class::Forged
                            | Class::Bypass
                            | Class::Missing
                            | Class::Logins,
                        )
                        | None => {}
                    }
                }
            }
        }
    }
}

fn class_of(name: &str) -> Option<Class> {
    Class::ALL.into_iter().find(|class| class.name() == name)
}
