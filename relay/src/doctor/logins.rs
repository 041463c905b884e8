//! Who may log in, who may send, and the files that the relay needs for that.

use std::io;

use super::files::{self, Certainty, Need, Troubled};
use super::{Case, Cause, Finding, Looked};
use crate::users::{Store, UsersError};

/// What was seen of the logins.
#[derive(Clone, Debug)]
struct Seen {
    users: Users,
    /// Whether clients may log in by certificate or token.
    has_other_ways: bool,
    policies: usize,
    /// The files that the relay cannot read.
    files: Vec<Troubled>,
    /// Live sessions and how many there may be; none if the relay does not say.
    sessions: Option<(usize, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Users {
    Some(usize),
    Missing,
    Damaged(String),
    Unknown,
}

pub(super) fn look(case: &Case) -> Looked {
    let config = &case.config;
    let mut left_out = Vec::new();
    let users = match Store::load(&config.relay.users) {
        Ok(store) => Users::Some(store.logins().count()),
        Err(UsersError::Missing(_)) => Users::Missing,
        Err(UsersError::Io { path, cause }) if cause.kind() == io::ErrorKind::PermissionDenied => {
            left_out.push(format!("logins: {} may not be read by this user", path.display()));
            Users::Unknown
        }
        Err(error) => Users::Damaged(error.to_string()),
    };
    let asks = config.listeners.iter().any(|listener| listener.client_certificates.asks());
    // A missing certificate of the listeners is told with the certificates.
    let told_elsewhere = |key: &str| {
        ["tls.certificate", "tls.key", "tls.also.certificate", "tls.also.key"].contains(&key)
    };
    let told =
        |file: &Troubled| file.certainty == Certainty::Missing && told_elsewhere(file.key.as_str());
    let files = files::troubles(config, case.relay.says().map(|status| status.pid));
    let (unseen, files): (Vec<_>, Vec<_>) = files
        .into_iter()
        .filter(|file| !told(file))
        .partition(|file| file.certainty == Certainty::Unseen);
    let unseen = unseen.iter().map(|file| format!("logins: {}: {}", file.key, file.says));
    left_out.extend(unseen);
    let seen = Seen {
        users,
        has_other_ways: asks || config.oauth.is_some(),
        policies: config.policies.len(),
        files,
        sessions: case.relay.says().map(|status| (status.sessions, config.limits.sessions)),
    };
    Looked { findings: judge(&seen), left_out }
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let mut found: Vec<_> = seen
        .files
        .iter()
        .map(|Troubled { key, says, need, .. }| {
            let without = match need {
                Need::Clients => "for its clients",
                Need::Mail => "to send mail on",
                Need::Telling => "to tell of what it does",
            };
            Finding::new(
                need.cause(),
                format!("the relay cannot read a file that it needs {without}: {key}: {says}"),
                "mend the file's owner, group or mode as said, or name the right file under that key",
            )
        })
        .collect();
    match &seen.users {
        Users::Damaged(why) => found.push(Finding::new(
            Cause::UsersDamaged,
            format!("the file of logins cannot be used: {why}"),
            "put its last good copy back, or remove it and add the logins anew: sallyport user add LOGIN",
        )),
        Users::Some(0) | Users::Missing if !seen.has_other_ways => found.push(Finding::new(
            Cause::NoLogins,
            "there is no login, so no client can log in, and without a login nobody sends",
            "sallyport user add LOGIN prints its password once",
        )),
        Users::Some(_) | Users::Missing | Users::Unknown => {}
    }
    if seen.policies == 0 {
        found.push(Finding::new(
            Cause::NoPolicy,
            "the configuration has no [[policy]], and without one nobody may send",
            "[[policy]] with tag or login, and the senders that they may use; then sallyport reload",
        ));
    }
    if let Some((sessions, limit)) = seen.sessions
        && sessions >= limit
    {
        found.push(Finding::new(
            Cause::SessionsFull,
            format!("{sessions} sessions are open, which is the limit: further clients are turned away with 421"),
            "raise limits.sessions, or see who holds them: ss -tn; sallyport status",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Seen {
        Seen {
            users: Users::Some(1),
            has_other_ways: false,
            policies: 1,
            files: Vec::new(),
            sessions: Some((3, 100)),
        }
    }

    #[test]
    fn each_state_of_logins_and_policies_has_its_cause() {
        let file = |need| {
            let (key, says) = ("k".to_owned(), "/x cannot be read".to_owned());
            vec![Troubled { key, says, need, certainty: Certainty::Shut }]
        };
        let rows: [(&str, Seen, &[&str]); 12] = [
            ("healthy", healthy(), &[]),
            ("nothing known", Seen { users: Users::Unknown, sessions: None, ..healthy() }, &[]),
            ("no file", Seen { users: Users::Missing, ..healthy() }, &["no-logins"]),
            ("no login", Seen { users: Users::Some(0), ..healthy() }, &["no-logins"]),
            (
                "no login but tokens",
                Seen { users: Users::Missing, has_other_ways: true, ..healthy() },
                &[],
            ),
            (
                "damaged",
                Seen { users: Users::Damaged("x".into()), ..healthy() },
                &["users-damaged"],
            ),
            ("no policy", Seen { policies: 0, ..healthy() }, &["no-policy"]),
            (
                "a file for clients",
                Seen { files: file(Need::Clients), ..healthy() },
                &["file-unreadable"],
            ),
            (
                "a file for mail",
                Seen { files: file(Need::Mail), ..healthy() },
                &["route-file-unreadable"],
            ),
            (
                "a file for alerts",
                Seen { files: file(Need::Telling), ..healthy() },
                &["telling-file-unreadable"],
            ),
            ("full", Seen { sessions: Some((100, 100)), ..healthy() }, &["sessions-full"]),
            ("nearly full", Seen { sessions: Some((99, 100)), ..healthy() }, &[]),
        ];
        for (row, seen, wanted) in rows {
            let found: Vec<_> = judge(&seen).iter().map(|found| found.cause.id()).collect();
            assert_eq!(found, wanted, "{row}");
        }
    }
}
