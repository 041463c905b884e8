//! What the listeners show: certificates in force, for the hostname, with their keys.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::{Case, Cause, Finding, Looked, Severity};

/// How long before its end a certificate is worth knowing of.
const SOON: SignedDuration = SignedDuration::from_hours(24 * 14);
/// The most names that are told.
const NAMES_MAX: usize = 8;

/// What was read of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    from: Timestamp,
    until: Timestamp,
    names: Vec<String>,
    /// Whether each certificate of the file was signed by the one after it.
    is_in_order: bool,
    /// Why the key cannot be used with it.
    key: Result<(), String>,
}

/// Whether the certificate must be for the hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Clients that name nobody else see it.
    Default,
    Also,
}

pub(super) fn look(case: &Case) -> Looked {
    let tls = &case.config.tls;
    let pairs = [(&tls.certificate, &tls.key, Role::Default)].into_iter();
    let pairs = pairs.chain(tls.also.iter().map(|also| (&also.certificate, &also.key, Role::Also)));
    let mut looked = Looked::default();
    let now = Timestamp::now();
    for (certificate, key, role) in pairs {
        match read(certificate, key) {
            Ok(Some(seen)) => looked.findings.extend(judge(certificate, key, &seen, role, &case.config.hostname, now)),
            Ok(None) => looked.left_out.push(format!(
                "certificates: {} or its key may not be read by this user",
                certificate.display()
            )),
            Err(problem) => looked.findings.push(Finding::new(
                Cause::CertificateUnreadable,
                format!("{}: {problem}, so no client gets TLS after a start", certificate.display()),
                "sallyport tls init makes a certificate and its key; tls.certificate names another one",
            )),
        }
    }
    looked
}

/// Returns what is wrong with a certificate and its key for a host of this name: a sentence each; none: they can
/// be shown to clients.
#[must_use]
pub fn faults(certificate: &Path, key: &Path, hostname: &str) -> Vec<String> {
    match read(certificate, key) {
        Ok(Some(seen)) => {
            let found = judge(certificate, key, &seen, Role::Default, hostname, Timestamp::now());
            let found = found.into_iter().filter(|one| one.cause.severity() == Severity::Fault);
            found.map(|one| one.says).collect()
        }
        Ok(None) => {
            vec![format!("{} or its key may not be read by this user", certificate.display())]
        }
        Err(problem) => vec![format!("{}: {problem}", certificate.display())],
    }
}

/// Reads both; none if this user may not.
fn read(certificate: &Path, key: &Path) -> Result<Option<Seen>, String> {
    let open = |path: &Path| match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
        Ok(octets) => Ok(Some(octets)),
    };
    let Some(pem) = open(certificate).map_err(|error| error.to_string())? else { return Ok(None) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    let key = match open(key) {
        Ok(None) => return Ok(None),
        Ok(Some(pem)) => PrivateKeyDer::from_pem_slice(&pem).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    seen(chain, key).map(Some)
}

fn seen(
    chain: Vec<CertificateDer<'static>>,
    key: Result<PrivateKeyDer<'static>, String>,
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
    let key = key.and_then(|key| {
        CertifiedKey::from_der(chain, key, &provider).map(drop).map_err(|error| error.to_string())
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

fn judge(
    certificate: &Path,
    key: &Path,
    seen: &Seen,
    role: Role,
    hostname: &str,
    now: Timestamp,
) -> Vec<Finding> {
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
    } else if until.duration_since(now) < SOON {
        let days = until.duration_since(now).as_hours() / 24;
        found.push(Finding::new(
            Cause::CertificateEnds,
            format!("{file} expires in {days} days, at {until:.0}"),
            "renew it, and see why nothing did so by itself",
        ));
    }
    if role == Role::Default && !seen.names.iter().any(|name| is_for(name, hostname)) {
        let names = seen.names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { "no name".to_owned() } else { names };
        found.push(Finding::new(
            Cause::CertificateName,
            format!("{file} is for {names}, and not for the hostname {hostname}: clients that connect by that name refuse it"),
            "have one issued for the name that clients use (sallyport tls init --name NAME makes a private one), or set hostname to it",
        ));
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

/// Tells whether a name of a certificate stands for a host (RFC 9525, section 6.3).
fn is_for(name: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn good() -> Seen {
        Seen {
            from: Timestamp::from_second(1000).unwrap(),
            until: Timestamp::from_second(100_000_000).unwrap(),
            names: vec!["relay.example.net".into()],
            is_in_order: true,
            key: Ok(()),
        }
    }

    fn causes(seen: &Seen, role: Role, now: i64) -> Vec<&'static str> {
        let (file, now) = (Path::new("/x"), Timestamp::from_second(now).unwrap());
        let found = judge(file, file, seen, role, "relay.example.net", now);
        found.iter().map(|found| found.cause.id()).collect()
    }

    #[test]
    fn each_state_of_a_certificate_has_its_cause() {
        let named = |name: &str| Seen { names: vec![name.into()], ..good() };
        let rows: [(&str, Seen, Role, i64, &[&str]); 11] = [
            ("good", good(), Role::Default, 2000, &[]),
            ("expired", good(), Role::Default, 100_000_001, &["certificate-expired"]),
            ("not yet", good(), Role::Default, 999, &["certificate-not-yet-valid"]),
            ("soon over", good(), Role::Default, 99_000_000, &["certificate-ends-soon"]),
            (
                "another name",
                named("other.example.net"),
                Role::Default,
                2000,
                &["certificate-name"],
            ),
            (
                "no name",
                Seen { names: vec![], ..good() },
                Role::Default,
                2000,
                &["certificate-name"],
            ),
            ("another name, beside", named("other.example.net"), Role::Also, 2000, &[]),
            ("a wildcard", named("*.example.net"), Role::Default, 2000, &[]),
            ("a wildcard too high", named("*.net"), Role::Default, 2000, &["certificate-name"]),
            (
                "another key",
                Seen { key: Err("x".into()), ..good() },
                Role::Default,
                2000,
                &["key-unfit"],
            ),
            (
                "out of order",
                Seen { is_in_order: false, ..good() },
                Role::Default,
                2000,
                &["certificate-order"],
            ),
        ];
        for (row, seen, role, now, wanted) in rows {
            assert_eq!(causes(&seen, role, now), wanted, "{row}");
        }
    }

    #[test]
    fn a_chain_and_its_key_are_read() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let own = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["Relay.example.net".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&own, &authority).unwrap();
        let chain = [leaf.der().clone(), authority.der().clone()];
        let key = |pair: &KeyPair| Ok(PrivateKeyDer::try_from(pair.serialize_der()).unwrap());
        let right = seen(chain.to_vec(), key(&own)).unwrap();
        assert_eq!((right.names, right.is_in_order), (vec!["relay.example.net".to_owned()], true));
        assert_eq!(right.key, Ok(()));
        let [leaf, authority] = chain;
        assert!(!seen(vec![authority, leaf.clone()], key(&own)).unwrap().is_in_order);
        assert!(seen(vec![leaf], key(&KeyPair::generate().unwrap())).unwrap().key.is_err());
        assert!(seen(Vec::new(), key(&own)).is_err());
    }
}
