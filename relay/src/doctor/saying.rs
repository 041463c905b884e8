//! What the relay says is wrong, where no other check sees it by itself.

use std::collections::BTreeSet;

use super::routes::{DKIM, ROUTE};
use super::{Case, Cause, Finding, Looked, certificates, logins};
use crate::control::wire::FULL;

/// How words of the relay on an alert's channel begin.
const CHANNEL: &str = "alert channel ";

/// What stands in words on certificates, on logins, on tokens and on sessions, and the findings that say more of them.
/// What is asked for with a new configuration is looked at by that one.
const ELSEWHERE: [(&str, &[Cause]); 4] = [
    (
        "certificate",
        &[
            Cause::CertificateUnreadable,
            Cause::KeyUnfit,
            Cause::CertificateExpired,
            Cause::CertificateFuture,
            Cause::CertificateOverdue,
            Cause::CertificateEnds,
            Cause::FileUnreadable,
        ],
    ),
    ("the users: ", &[Cause::UsersDamaged, Cause::FileUnreadable]),
    ("[oauth]", &[Cause::FileUnreadable]),
    (FULL, &[Cause::SessionsFull]),
];

pub(super) fn look(case: &Case) -> Looked {
    let troubled = case.relay.says().map(|status| status.troubled.as_slice()).unwrap_or_default();
    let left: Vec<&str> = troubled.iter().map(String::as_str).filter(|one| is_ours(one)).collect();
    if left.is_empty() {
        return Looked::default();
    }
    // What those could not look at they say themselves.
    let beside = [certificates::look(case), logins::look(case)];
    let told = beside.iter().flat_map(|looked| &looked.findings).map(|found| found.cause).collect();
    judge(&left, &told).into()
}

/// Tells whether words are neither of a route nor of a key that signs mail, which the routes' check tells.
fn is_ours(words: &str) -> bool {
    !words.starts_with(ROUTE) && !words.starts_with(DKIM)
}

/// `told` is what other checks found.
fn judge(words: &[&str], told: &BTreeSet<Cause>) -> Vec<Finding> {
    let is_told = |words: &str| {
        let said = ELSEWHERE.iter().filter(|(part, _)| words.contains(part));
        said.flat_map(|(_, causes)| causes.iter()).any(|cause| told.contains(cause))
    };
    let left = words.iter().filter(|words| !is_told(words));
    let finding = |words: &&str| {
        let remedy = if words.starts_with(CHANNEL) {
            "sallyport alert list says why"
        } else {
            "journalctl -u sallyport-relay says since when; mend what it names, then: sallyport reload"
        };
        Finding::new(Cause::RelayTroubled, format!("the relay says: {words}"), remedy)
    };
    left.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_check_tells_is_not_told_again() {
        const STAY: &str = "the old certificates stay in use: /k: the key does not fit";
        for (words, told, wanted) in [
            (STAY, &[Cause::KeyUnfit][..], None),
            (STAY, &[Cause::FileUnreadable], None),
            (STAY, &[Cause::NoLogins], Some("journalctl")),
            ("/c: the certificate expired at 1 and is shown", &[Cause::CertificateExpired], None),
            ("the users: /u: no; the old ones count", &[Cause::UsersDamaged], None),
            ("the users: /u: no; the old ones count", &[Cause::KeyUnfit], Some("journalctl")),
            ("alert channel webhook 1: it has failed for 60 minutes", &[], Some("sallyport alert")),
            (FULL, &[Cause::SessionsFull], None),
            ("[[alerts.exec]]: it takes a restart", &[Cause::KeyUnfit], Some("journalctl")),
        ] {
            let found = judge(&[words], &told.iter().copied().collect());
            let remedy = found.first().map(|found| found.remedy.as_str());
            assert_eq!(remedy.is_some(), wanted.is_some(), "{words}: {told:?}");
            let begins = |wanted| remedy.is_some_and(|remedy| remedy.starts_with(wanted));
            assert!(wanted.is_none_or(begins), "{words}: {remedy:?}");
        }
    }

    #[test]
    fn what_is_said_of_routes_and_their_keys_is_not_told_here() {
        for words in ["route a: a host is down", "the DKIM key of example.net, /k: no"] {
            assert!(!is_ours(words), "{words}");
        }
    }
}
