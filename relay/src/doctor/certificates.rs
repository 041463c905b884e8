//! What the listeners show: certificates in force, for the hostname, with their keys.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::{Case, Cause, Finding, Looked, Severity};
use crate::acme::failed::Failed;
use crate::net::tls::{keys_of, overdue, soon};
use crate::smtp::answer::printable;

/// The most names that are told.
const NAMES_MAX: usize = 8;
/// The most of a name that is told, octets: the longest that DNS has (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;

/// What to do about a certificate that comes by ACME.
const RENEW: &str = "sudo sallyport tls renew, which says what is in the way; journalctl -u sallyport-certificate has what \
                     the timer met";

/// What was read of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Its DNS names, in lower case.
    pub names: Vec<String>,
    /// Whether each certificate of the file was signed by the one after it.
    pub is_in_order: bool,
    /// Why the key cannot be used with it.
    pub key: Result<(), String>,
}

/// A pair of the listeners, as read; none if this user may not read it.
type Read<'a> = (&'a Path, &'a Path, Result<Option<Seen>, String>);

pub(super) fn look(case: &Case) -> Looked {
    let tls = &case.config.tls;
    let pairs = [(tls.certificate.as_path(), tls.key.as_path())].into_iter();
    let pairs = pairs.chain(tls.also.iter().map(|also| (&*also.certificate, &*also.key)));
    let pairs: Vec<Read<'_>> =
        pairs.map(|(certificate, key)| (certificate, key, read(certificate, key))).collect();
    let mut looked = Looked::default();
    let now = Timestamp::now();
    for (place, (certificate, key, read)) in pairs.iter().enumerate() {
        let is_ordered = place == 0 && tls.acme.is_some();
        match read {
            Ok(Some(seen)) => {
                let found = judge(certificate, key, seen, now).into_iter();
                looked.findings.extend(found.map(|one| if is_ordered { renewed(one) } else { one }));
            }
            Ok(None) => looked.left_out.push(format!(
                "certificates: {} or its key may not be read by this user",
                certificate.display()
            )),
            Err(problem) => looked.findings.push(Finding::new(
                Cause::CertificateUnreadable,
                format!("{}: {problem}, so no client gets TLS after a start", certificate.display()),
                if is_ordered {
                    "sudo sallyport tls obtain has another one signed; tls.certificate names one that is there"
                } else {
                    "sallyport tls init makes a certificate and its key; tls.certificate names another one"
                },
            )),
        }
    }
    if tls.acme.is_some() {
        looked.findings.extend(failing(&tls.certificate));
    }
    looked.findings.extend(misnamed(&pairs, &case.config.hostname));
    looked
}

/// Says that the renewal of a certificate fails, and why.
fn failing(certificate: &Path) -> Option<Finding> {
    let Failed { since, why, .. } = Failed::read(certificate)?;
    let says = format!("the renewal of {} fails since {since:.0}: {why}", certificate.display());
    Some(Finding::new(Cause::RenewalFails, says, RENEW))
}

/// Names the command that renews a certificate, where renewal is what it wants.
fn renewed(finding: Finding) -> Finding {
    let ends = [
        Cause::CertificateExpired,
        Cause::CertificateOverdue,
        Cause::CertificateEnds,
        Cause::KeyUnfit,
    ];
    if ends.contains(&finding.cause) {
        Finding { remedy: RENEW.to_owned(), ..finding }
    } else {
        finding
    }
}

/// Returns what is wrong with a certificate and its key for a host of this name: a sentence each; none: they can
/// be shown to clients.
#[must_use]
pub fn faults(certificate: &Path, key: &Path, hostname: &str) -> Vec<String> {
    match read(certificate, key) {
        Ok(Some(seen)) => {
            let mut found = judge(certificate, key, &seen, Timestamp::now());
            found.extend(misnamed(&[(certificate, key, Ok(Some(seen)))], hostname));
            let found = found.into_iter().filter(|one| one.cause.severity() == Severity::Fault);
            found.map(|one| one.says).collect()
        }
        Ok(None) => {
            vec![format!("{} or its key may not be read by this user", certificate.display())]
        }
        Err(problem) => vec![format!("{}: {problem}", certificate.display())],
    }
}

/// Looks at the certificate that a route shows to its next hops.
pub(super) fn own_certificate(
    route: &str,
    certificate: &Path,
    key: &Path,
    now: Timestamp,
) -> Looked {
    let told = |says: String| {
        Finding::new(
            Cause::RouteCertificate,
            format!("route {route}: {says}"),
            "renew client-certificate and client-key of the route; the relay reads them again with the next \
             connection",
        )
    };
    match read(certificate, key) {
        Ok(None) => Looked::left_out(format!(
            "routes: {} or its key may not be read by this user",
            certificate.display()
        )),
        // A file that is not there is told with the files.
        Err(_) if !certificate.exists() => Looked::default(),
        Err(problem) => vec![told(format!("{}: {problem}", certificate.display()))].into(),
        Ok(Some(seen)) => judge(certificate, key, &seen, now)
            .into_iter()
            .map(|found| match found.cause.severity() {
                Severity::Fault => told(found.says),
                Severity::WorthKnowing => found,
            })
            .collect::<Vec<_>>()
            .into(),
    }
}

/// Says that no certificate is for the hostname, if each could be read: a client that asks for it by name gets
/// whichever is (RFC 6066, section 3).
fn misnamed(pairs: &[Read<'_>], hostname: &str) -> Option<Finding> {
    let mut all: Vec<&String> = Vec::new();
    for (_, _, read) in pairs {
        match read {
            Ok(Some(seen)) => all.extend(&seen.names),
            // Told as left out; it may be the one.
            Ok(None) => return None,
            // Told by itself.
            Err(_) => {}
        }
    }
    let (file, _, default) = pairs.first()?;
    if default.is_err() || all.iter().any(|name| is_for(name, hostname)) {
        return None;
    }
    let names = listed(all);
    Some(Finding::new(
        Cause::CertificateName,
        format!(
            "{} is for {names}, and not for the hostname {hostname}: clients that connect by that name refuse it",
            file.display()
        ),
        "have one issued for the name that clients use (sallyport tls init --name NAME makes a private one), or set hostname to it",
    ))
}

/// Reads both files; none if this user may not. Blocks on the disk.
///
/// # Errors
///
/// If the certificate is missing, or is none, a sentence without its name.
pub fn read(certificate: &Path, key: &Path) -> Result<Option<Seen>, String> {
    let open = |path: &Path| match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
        Ok(octets) => Ok(Some(octets)),
    };
    let Some(pem) = open(certificate).map_err(|error| error.to_string())? else { return Ok(None) };
    let key = match open(key) {
        Ok(None) => return Ok(None),
        Ok(Some(pem)) => keys_of(&pem).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    seen(chain(&pem)?, key).map(Some)
}

/// Reads a certificate with its chain, and its key, both PEM.
///
/// # Errors
///
/// If there is no certificate in the first.
pub fn of_pem(certificate: &[u8], key: &[u8]) -> Result<Seen, String> {
    seen(chain(certificate)?, keys_of(key).map_err(|error| error.to_string()))
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain.map_err(|error| error.to_string())
}

fn seen(
    chain: Vec<CertificateDer<'static>>,
    keys: Result<Vec<Zeroizing<PrivateKeyDer<'static>>>, String>,
) -> Result<Seen, String> {
    let parse = |der: &CertificateDer<'static>| -> Result<Parsed, String> {
        let (_, leaf) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        Ok(Parsed::of(&leaf))
    };
    let parsed: Vec<Parsed> = chain.iter().map(parse).collect::<Result<_, _>>()?;
    let Some(leaf) = parsed.first().cloned() else {
        return Err("holds no certificate in PEM".to_owned());
    };
    let is_in_order = parsed.windows(2).all(|pair| pair[0].issuer == pair[1].subject);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let fits = |key: &PrivateKeyDer<'static>| {
        let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider);
        certified.map(drop).map_err(|error| error.to_string())
    };
    let key = keys.and_then(|keys| {
        let mut tried = keys.iter().map(|key| fits(key));
        let first = tried.next().unwrap_or_else(|| Err("holds no key".to_owned()));
        first.or_else(|problem| tried.find_map(Result::ok).ok_or(problem))
    });
    Ok(Seen { from: leaf.from, until: leaf.until, names: leaf.names, is_in_order, key })
}

#[derive(Clone)]
struct Parsed {
    issuer: Vec<u8>,
    subject: Vec<u8>,
    from: Timestamp,
    until: Timestamp,
    names: Vec<String>,
}

impl Parsed {
    fn of(leaf: &X509Certificate<'_>) -> Self {
        let time = |second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        let names = leaf.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        Self {
            issuer: leaf.issuer().as_raw().to_vec(),
            subject: leaf.subject().as_raw().to_vec(),
            from: time(leaf.validity().not_before.timestamp()),
            until: time(leaf.validity().not_after.timestamp()),
            names: names.collect(),
        }
    }
}

fn judge(certificate: &Path, key: &Path, seen: &Seen, now: Timestamp) -> Vec<Finding> {
    let file = certificate.display();
    let mut found = Vec::new();
    if let Err(problem) = &seen.key {
        found.push(Finding::new(
            Cause::KeyUnfit,
            format!("{}, the key for {file}, cannot be used with it: {problem}", key.display()),
            "name the pair that belongs together in [tls], or renew both; the old pair stays in use until then",
        ));
    }
    let Seen { from, until, .. } = seen;
    if now > *until {
        found.push(Finding::new(
            Cause::CertificateExpired,
            format!("{file} expired at {until:.0}: clients that verify it refuse to connect"),
            "renew it; the relay reads the file again within seconds",
        ));
    } else if now < *from {
        found.push(Finding::new(
            Cause::CertificateFuture,
            format!("{file} is not valid before {from:.0}, and this host's clock says {now:.0}"),
            "set the clock if it is wrong (timedatectl), else wait or have it issued anew",
        ));
    } else {
        let (left, life) = (until.duration_since(now), until.duration_since(*from));
        let cause = match (left < overdue(life), left < soon(life)) {
            (true, _) => Some(Cause::CertificateOverdue),
            (false, true) => Some(Cause::CertificateEnds),
            (false, false) => None,
        };
        found.extend(cause.map(|cause| {
            let left = match left.as_hours() {
                ..2 => "less than 2 hours".to_owned(),
                hours @ 2..48 => format!("{hours} hours"),
                hours => format!("{} days", hours / 24),
            };
            let says = format!("{file} expires in {left}, at {until:.0}");
            Finding::new(cause, says, "renew it, and see why nothing did so by itself")
        }));
    }
    if !seen.is_in_order {
        found.push(Finding::new(
            Cause::CertificateOrder,
            format!("{file}: its certificates are not in order: each must be followed by the one that signed it"),
            "write the certificate first, then its intermediates upwards",
        ));
    }
    found
}

/// Returns names of certificates for people, at most eight: whoever signed them wrote what he liked.
#[must_use]
pub fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names = names.into_iter();
    let told = names.by_ref().take(NAMES_MAX);
    let told: Vec<_> = told.map(|name| printable(name.as_bytes(), NAME_MAX)).collect();
    match (told.is_empty(), names.count()) {
        (true, _) => "no name".to_owned(),
        (false, 0) => told.join(", "),
        (false, more) => format!("{} and {more} more", told.join(", ")),
    }
}

/// Tells whether a name of a certificate stands for a host (RFC 9525, section 6.3).
#[must_use]
pub fn is_for(name: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    }
}

#[cfg(test)]
mod tests;
