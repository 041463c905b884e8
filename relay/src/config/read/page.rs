//! Reads `[page]`.

use super::NAME_MAX;
use crate::config::Page;
use crate::config::raw::{Presence, Table};
use crate::config::unit;

/// The most viewers, and the most names.
const NAMED_MAX: usize = 64;

/// Reads the section.
pub(super) fn page(table: &Table<'_>) -> Option<Page> {
    let address = table.required("address", unit::socket);
    let viewers = table.list("viewers", Presence::Optional, unit::short(NAME_MAX));
    let names = table.list_or("names", &[], unit::domain);
    table.finish();
    let page = Page { address: address?, viewers, names };
    check(table, &page);
    Some(page)
}

fn check(table: &Table<'_>, page: &Page) {
    let Page { address, viewers, names } = page;
    if address.port() == 0 {
        table.report("address", "the port must not be 0");
    }
    if page.is_secured() && viewers.is_empty() {
        table.report(
            "viewers",
            &format!(
                "name the logins that may look, or everybody who reaches {address} could; without a login the \
                 page is served on loopback only"
            ),
        );
    }
    for (key, list) in [("viewers", viewers), ("names", names)] {
        if list.len() > NAMED_MAX {
            table.report(key, &format!("at most {NAMED_MAX} are named"));
        }
    }
}
