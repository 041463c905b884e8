//! The classes of alerts, by which people silence alerts and choose what a channel tells.

/// Every class that an alert can have, as `config/docs/alerts.md` explains them.
pub const CLASSES: [&str; 32] = [
    "alerts-lost",
    "allow-rolled-back",
    "bounce-dropped",
    "certificate-ends",
    "client-banned",
    "gate-bypass",
    "gate-detached",
    "gate-missing",
    "gate-silent",
    "host-down",
    "interface-down",
    "listener-down",
    "login-failed",
    "logins-failed",
    "mode-observe",
    "next-hop-unproved",
    "not-serving",
    "process-broken",
    "relay-silent",
    "route-down",
    "route-held",
    "route-suspended",
    "share-used",
    "spike-entry",
    "spike-forged",
    "spike-prefix",
    "spike-refused",
    "spike-sources",
    "spool-damaged",
    "spool-full",
    "test",
    "trouble",
];

/// Returns the class that looks most like a text: the fewest letters differ, are missing or are too many.
#[must_use]
pub fn nearest(text: &str) -> &'static str {
    let near = CLASSES.into_iter().min_by_key(|class| distance(text, class));
    near.expect("there are classes")
}

/// Returns how many octets must be changed, put in or taken out to make one text of the other (Levenshtein).
#[must_use]
pub fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, octet) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for (at, wanted) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(octet != wanted);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::spike::Class;

    #[test]
    fn the_classes_are_those_of_the_documentation_and_of_the_code() {
        let text = include_str!("../../../config/docs/alerts.md");
        let table = text.split("\n## ").find(|part| part.starts_with("Classes\n")).unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split(" | ").next());
        let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let mut told: Vec<_> = names.filter_map(|name| name.split('/').next()).collect();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told, CLASSES);
        for class in Class::ALL.map(Class::name) {
            assert!(CLASSES.contains(&class), "{class}");
        }
    }

    #[test]
    fn the_nearest_class_is_the_one_that_was_meant() {
        for (written, meant) in [
            ("host-dwn", "host-down"),
            ("hostdown", "host-down"),
            ("route-suspend", "route-suspended"),
            ("spool-ful", "spool-full"),
            ("login-fail", "login-failed"),
            ("tests", "test"),
        ] {
            assert_eq!(nearest(written), meant, "{written}");
        }
        assert_eq!(
            [distance("", "abc"), distance("abc", "abc"), distance("abc", "xbcd")],
            [3, 0, 2]
        );
    }
}
