//! Whether a certificate is to be renewed.

use jiff::Timestamp;

use crate::doctor::certificates::{Seen, is_for};

/// When a certificate is to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// At once, for this reason.
    Now(String),
    /// From then on.
    From(Timestamp),
}

/// Decides by what was read of a certificate and its key, and the names that it is wanted for: it is due when less than
/// a third of its time is left, whatever that time is.
pub(super) fn due(read: Result<&Seen, &str>, names: &[String], now: Timestamp) -> Due {
    let seen = match read {
        Ok(seen) => seen,
        Err(problem) => return Due::Now(format!("it cannot be used: {problem}")),
    };
    if let Err(problem) = &seen.key {
        return Due::Now(format!("the key does not fit it: {problem}"));
    }
    let missing = names.iter().find(|name| !seen.names.iter().any(|one| is_for(one, name)));
    if let Some(missing) = missing {
        return Due::Now(format!("it is not for {missing}"));
    }
    let from = seen.until - seen.until.duration_since(seen.from) / 3;
    if now < from { Due::From(from) } else { Due::Now(format!("it ends at {:.0}", seen.until)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(names: &[&str]) -> Seen {
        Seen {
            from: Timestamp::from_second(0).unwrap(),
            until: Timestamp::from_second(90_000).unwrap(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            is_in_order: true,
            key: Ok(()),
        }
    }

    #[test]
    fn a_certificate_is_due_in_its_last_third_and_when_it_is_of_no_use() {
        let good = seen(&["relay.example.net", "*.example.org"]);
        let unfit = Seen { key: Err("x".into()), ..good.clone() };
        let one = ["relay.example.net".to_owned()];
        let two = ["relay.example.net".to_owned(), "mx.example.org".to_owned()];
        let three = ["relay.example.net".to_owned(), "mail.example.net".to_owned()];
        for (row, read, names, now, wanted) in [
            ("new", Ok(&good), &one[..], 0, None),
            ("the last moment", Ok(&good), &one[..], 59_999, None),
            (
                "the last third",
                Ok(&good),
                &one[..],
                60_000,
                Some("it ends at 1970-01-02T01:00:00Z"),
            ),
            ("over", Ok(&good), &one[..], 90_001, Some("it ends at")),
            ("covered by a wildcard", Ok(&good), &two[..], 0, None),
            ("another name", Ok(&good), &three[..], 0, Some("it is not for mail.example.net")),
            ("another key", Ok(&unfit), &one[..], 0, Some("the key does not fit it: x")),
            ("nothing", Err("no such file"), &one[..], 0, Some("it cannot be used: no such file")),
        ] {
            match (due(read, names, Timestamp::from_second(now).unwrap()), wanted) {
                (Due::From(from), None) => assert_eq!(from.as_second(), 60_000, "{row}"),
                (Due::Now(why), Some(wanted)) => assert!(why.starts_with(wanted), "{row}: {why}"),
                (found, _) => panic!("{row}: {found:?}"),
            }
        }
    }
}
