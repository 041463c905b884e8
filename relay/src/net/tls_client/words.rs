//! What is wrong with a handshake, in the words of whoever has to mend it.

use std::io;

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use super::verifier::NotPinned;
use crate::smtp::answer::printable;

/// The most names of a certificate that are told, and the most octets of each.
const NAMES_MAX: usize = 8;
const NAME_MAX: usize = 80;

/// Says what is wrong with a handshake with `host`, and what to do about it. `name` is what the
/// certificate had to be for.
pub(super) fn explain(route: &str, host: &str, name: &str, error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(problem)) => certificate(route, host, name, problem),
        Some(Error::AlertReceived(alert)) if is_about_ours(*alert) => format!(
            "{host} wants another certificate of ours ({alert:?}): set `client-certificate` and \
             `client-key` of route {route} to one that it accepts"
        ),
        _ => format!("the TLS handshake with {host} failed: {error}"),
    }
}

fn certificate(route: &str, host: &str, name: &str, problem: &CertificateError) -> String {
    match problem {
        CertificateError::NotValidForName => format!(
            "the certificate of {host} is not for {name}: ask its operator whether it is theirs; if so, set \
             `server-name` of route {route} to the name that it is for"
        ),
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the certificate that {host} shows is for {}, and {name} was wanted: ask its operator whether it is theirs; \
             if so, set `server-name` of route {route} to the right one of its names",
            names(presented)
        ),
        // A bad signature is an authority of the same name with another key: made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the certificate of {host} is signed by nobody we trust: set `ca-file` of route {route} \
             to the authority that signed it"
        ),
        CertificateError::Expired => {
            format!("the certificate of {host} has expired: it must be renewed there")
        }
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the certificate of {host} has expired on {}: it must be renewed there",
            day(*not_after)
        ),
        CertificateError::NotValidYet => {
            format!(
                "the certificate of {host} is not valid yet: are the clocks right, here and there?"
            )
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the certificate of {host} is not valid before {}: are the clocks right, here and there?",
            day(*not_before)
        ),
        CertificateError::Other(other) => match other.0.downcast_ref::<NotPinned>() {
            Some(NotPinned(seen)) => format!(
                "{host} has the key {seen}, which is not among the `pin`s of route {route}: if it is \
                 its new key, add it there"
            ),
            // webpki takes no certificate that may sign others for a server's, whoever vouches for it.
            None if other.to_string() == "CaUsedAsEndEntity" => format!(
                "the certificate of {host} is self-signed or an authority's own, and such a one is never \
                 verified as a server's: set `pin` of route {route} to its key and leave out `ca-file`, or \
                 have {host} show a certificate that an authority signed and set `ca-file` to that one"
            ),
            None => format!("the certificate of {host} does not verify: {other}"),
        },
        // rustls may learn to name more.
        _ => format!("the certificate of {host} does not verify: {problem}"),
    }
}

/// Tells whether an alert speaks of the certificate that we showed, or did not (RFC 8446, section
/// 6.2).
fn is_about_ours(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// Lists the names of a certificate. webpki writes them as `DnsName("mx.example.net")`.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name".to_owned();
    }
    let name = |written: &String| {
        let inner = written.split_once('(').map_or(written.as_str(), |(_, inner)| inner);
        printable(inner.trim_matches([')', '"']).as_bytes(), NAME_MAX)
    };
    let mut names: Vec<_> = presented.iter().take(NAMES_MAX).map(name).collect();
    if presented.len() > NAMES_MAX {
        names.push(format!("and {} more", presented.len() - NAMES_MAX));
    }
    names.join(", ")
}

fn day(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).ok();
    second
        .and_then(|second| Timestamp::from_second(second).ok())
        .map_or_else(|| "a day out of reach".to_owned(), |time| time.to_string())
}
