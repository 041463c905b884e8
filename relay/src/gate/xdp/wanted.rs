//! What is wanted of the tables, looked at before anything is changed.

use relay_common::addr::Net;
use relay_common::bucket::Rate;
use relay_common::table::{BANS, BANS_MAX, ENTRIES, ENTRIES_MAX, PORT_WORDS};

use crate::gate::{Entry, GateError, Ruleset};

/// Returns a rate that limits.
pub fn limited(rate: Option<Rate>) -> Option<Rate> {
    rate.filter(|rate| !rate.is_unlimited())
}

/// Returns the guarded ports as the words that have a bit for each.
pub fn port_words(ports: &[u16]) -> Vec<u64> {
    let mut words = vec![0; PORT_WORDS];
    for port in ports {
        words[usize::from(port / 64)] |= 1 << (port % 64);
    }
    words
}

/// Checks what every table can hold.
pub fn check(ruleset: &Ruleset) -> Result<(), GateError> {
    let fits = |table: &'static str, wanted: usize, capacity: u32| {
        (wanted <= capacity as usize).then_some(()).ok_or(GateError::TooMany {
            table,
            wanted,
            capacity,
        })
    };
    fits(ENTRIES.name, ruleset.entries.len(), ENTRIES_MAX)?;
    fits(BANS.name, ruleset.bans.len(), BANS_MAX)?;
    ruleset.entries.iter().try_for_each(check_entry)?;
    let mut nets: Vec<Net> = ruleset.entries.iter().map(|entry| entry.net).collect();
    if !nets.is_sorted() {
        nets.sort_unstable();
    }
    if let Some(pair) = nets.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(GateError::Entry { entry: pair[0], problem: "the network is listed twice" });
    }
    let mut taken = vec![false; ENTRIES_MAX as usize];
    let twice = |entry: &&Entry| std::mem::replace(&mut taken[entry.id.0 as usize], true);
    match ruleset.entries.iter().find(twice) {
        None => Ok(()),
        Some(entry) => Err(GateError::Entry { entry: entry.net, problem: NUMBER_TAKEN }),
    }
}

/// What is wrong with an entry whose number is another's.
pub const NUMBER_TAKEN: &str = "its number is another entry's";

/// Checks the number of an entry.
pub const fn check_entry(entry: &Entry) -> Result<(), GateError> {
    if entry.id.0 < ENTRIES_MAX {
        Ok(())
    } else {
        Err(GateError::Entry { entry: entry.net, problem: "its number has no row" })
    }
}
