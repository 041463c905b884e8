//! `[[dkim]]`.

use std::collections::BTreeMap;

use super::{Section, unit};
use crate::config::Dkim;
use crate::config::raw::Table;

/// The most keys in all.
const KEYS_MAX: usize = 256;
/// The most keys of one domain: each makes a signature on each of its messages.
const KEYS_OF_DOMAIN_MAX: usize = 4;

/// Reads a `[[dkim]]`.
pub(super) fn dkim(table: &Table<'_>) -> Option<Dkim> {
    let domain = table.required("domain", unit::domain);
    let selector = table.required("selector", unit::domain);
    let key_file = table.required("key-file", unit::path);
    Some(Dkim { domain: domain?, selector: selector?, key_file: key_file? })
}

/// Checks every `[[dkim]]`.
pub(super) fn check(keys: &[Section<'_, Dkim>]) {
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (place, (table, key)) in keys.iter().enumerate() {
        if place == KEYS_MAX {
            table.report("domain", &format!("at most {KEYS_MAX} keys sign"));
        }
        let Some(key) = key else { continue };
        let selectors = seen.entry(&key.domain).or_default();
        if selectors.contains(&key.selector.as_str()) {
            let (selector, domain) = (&key.selector, &key.domain);
            table.report("selector", &format!("\"{selector}\" of {domain} is named twice"));
        }
        if selectors.len() == KEYS_OF_DOMAIN_MAX {
            let most = format!("at most {KEYS_OF_DOMAIN_MAX} keys sign the mail of one domain");
            table.report("selector", &most);
        }
        selectors.push(&key.selector);
    }
}
