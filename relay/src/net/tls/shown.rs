//! Which certificate a client sees: by the name that it asks for (RFC 6066, section 3).
//!
//! A name that nobody's certificate is for gets the default one and no alert: clients that verify
//! then say which name was wrong, and those that connect by an address name none at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::ending::Ending;
use super::files::{self, Origin, TlsError};
use crate::acme::failed::Failed;
use crate::config;
use crate::event::alert::Severity;
use crate::net::certified::certified;

/// Returns how long before its end a certificate of such a life is a trouble: 72 hours, or the last tenth of a short
/// life. Whoever renews should have done so long before.
#[must_use]
pub fn overdue(life: SignedDuration) -> SignedDuration {
    SignedDuration::from_hours(72).min(life / 10)
}

/// Returns how long before its end a certificate that nobody has renewed is worth knowing of: 14 days, or the last
/// quarter of a short life. By ACME it is due in its last third.
#[must_use]
pub fn soon(life: SignedDuration) -> SignedDuration {
    SignedDuration::from_hours(14 * 24).min(life / 4)
}

/// How long its renewal may fail before that is worth knowing: longer than the timer waits between two tries, since an
/// authority, or the way to it, is away now and then.
const FAILING: SignedDuration = SignedDuration::from_hours(30);

/// The certificates of the listeners. Of two that are for one name the first is shown, the default
/// before all others.
#[derive(Debug)]
pub(super) struct Shown {
    default: Arc<CertifiedKey>,
    exact: BTreeMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: BTreeMap<String, Arc<CertifiedKey>>,
    validities: Vec<Validity>,
}

/// From when to when a certificate is believed.
#[derive(Clone, Debug)]
struct Validity {
    path: PathBuf,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// One certificate as read.
struct Pair {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    validity: Validity,
}

impl Shown {
    /// Reads every certificate and key.
    pub(super) fn load(files: &config::Tls) -> Result<Self, TlsError> {
        let default = pair(&files.certificate, &files.key)?;
        let mut shown = Self {
            default: Arc::clone(&default.certified),
            exact: BTreeMap::new(),
            wildcard: BTreeMap::new(),
            validities: Vec::new(),
        };
        shown.add(default);
        for also in &files.also {
            let pair = pair(&also.certificate, &also.key)?;
            if pair.names.is_empty() {
                return Err(TlsError::Nameless { path: also.certificate.clone() });
            }
            shown.add(pair);
        }
        Ok(shown)
    }

    fn add(&mut self, pair: Pair) {
        self.validities.push(pair.validity);
        for name in pair.names {
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent.to_owned()),
                None => (&mut self.exact, name),
            };
            names.entry(name).or_insert_with(|| Arc::clone(&pair.certified));
        }
    }

    /// Says of every certificate that is not valid at `now`, or soon will not be, why clients will not believe it.
    pub(super) fn out_of_time(&self, now: Timestamp) -> impl Iterator<Item = String> + '_ {
        self.validities.iter().filter_map(move |validity| validity.out_of_time(now))
    }

    /// Returns what is wrong at `now` with the time of each certificate; `failed` is what is known of the renewal of the
    /// default one.
    pub(super) fn endings(&self, now: Timestamp, failed: Option<&Failed>) -> Vec<Ending> {
        let mut endings = Vec::new();
        for (place, validity) in self.validities.iter().enumerate() {
            endings.extend(validity.ending(now, failed.filter(|_| place == 0)));
        }
        endings
    }

    /// Returns what a client sees that asks for `name`, which is in lower case. The asterisk of a
    /// wildcard stands for one whole label (RFC 9525, section 6.3).
    pub(super) fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let wildcard =
            |name: &str| name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        name.and_then(|name| self.exact.get(name).or_else(|| wildcard(name)))
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

fn pair(certificate: &Path, key: &Path) -> Result<Pair, TlsError> {
    let chain = files::certificates(certificate, Origin::Own)?;
    let private = files::private_keys(key)?;
    let mut tried = private.iter().map(|private| certified(chain.clone(), private));
    let first = tried.next().expect("invariant: there is a key, or an error");
    let fitting = first.or_else(|problem| tried.find_map(Result::ok).ok_or(problem));
    let certified = fitting.map_err(|problem| TlsError::Mismatch {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        problem,
    })?;
    let leaf = certified.end_entity_cert().map_err(TlsError::Library)?;
    let (_, leaf) = X509Certificate::from_der(leaf)
        .map_err(|problem| files::malformed(certificate, &problem))?;
    let date =
        |time: ASN1Time, unknown| Timestamp::from_second(time.timestamp()).unwrap_or(unknown);
    let validity = Validity {
        path: certificate.to_owned(),
        not_before: date(leaf.validity().not_before, Timestamp::MIN),
        not_after: date(leaf.validity().not_after, Timestamp::MAX),
    };
    let names = dns_names(&leaf);
    Ok(Pair { certified: Arc::new(certified), names, validity })
}

/// Returns the DNS names of a certificate in lower case. The subject's common name is none of them
/// (RFC 9525, section 2).
fn dns_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

impl Validity {
    /// Returns what is wrong with its time at `now`.
    fn ending(&self, now: Timestamp, failed: Option<&Failed>) -> Option<Ending> {
        let Self { path, not_before, not_after } = self;
        let life = not_after.duration_since(*not_before);
        let is_soon = not_after.duration_since(now) < soon(life);
        let fails = failed.is_some_and(|failed| now.duration_since(failed.since) >= FAILING);
        let (severity, mut problem) = match self.out_of_time(now) {
            Some(problem) => (Severity::Critical, problem),
            None if is_soon || fails => {
                let path = path.display();
                let problem = format!(
                    "{path}: the certificate ends at {not_after:.0} and is not renewed yet"
                );
                (Severity::Warning, problem)
            }
            None => return None,
        };
        if let Some(Failed { since, why, .. }) = failed {
            problem = format!("{problem}; its renewal fails since {since:.0}: {why}");
        }
        Some(Ending { file: path.display().to_string(), until: *not_after, severity, problem })
    }

    /// Says that the certificate is not valid at `now`, or that nobody has renewed it in time. It is shown all the
    /// same: a client that pins its key does not mind, and one that does says more clearly what is wrong than no TLS at
    /// all could.
    fn out_of_time(&self, now: Timestamp) -> Option<String> {
        let Self { path, not_before, not_after } = self;
        let path = path.display();
        if now > *not_after {
            Some(format!(
                "{path}: the certificate expired at {not_after} and is shown all the same: renew it"
            ))
        } else if now < *not_before {
            Some(format!(
                "{path}: the certificate is not valid before {not_before}: look at the clock"
            ))
        } else if not_after.duration_since(now) < overdue(not_after.duration_since(*not_before)) {
            Some(format!(
                "{path}: the certificate ends at {not_after}, when clients begin to refuse it, and nothing has renewed \
                 it: renew it (by ACME: sallyport tls renew)"
            ))
        } else {
            None
        }
    }
}
