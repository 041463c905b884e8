//! The PEM files of a route.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::TlsClientError;
use crate::config::RouteCertificate;
use crate::file;
use crate::net::certified::certified;
use crate::net::tls::keys_of;

/// The largest file of a route, octets.
const FILE_MAX: u64 = 4 << 20;

/// Reads the authorities of a route.
pub(in crate::net) fn authorities(
    route: &str,
    path: &Path,
) -> Result<RootCertStore, TlsClientError> {
    let unreadable = unreadable("ca-file", route, path);
    let pem = read(path).map_err(&unreadable)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|problem| unreadable(problem.to_string()))?;
        roots.add(certificate).map_err(|problem| unreadable(problem.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsClientError::NoAuthority { route: route.to_owned(), path: path.to_owned() });
    }
    Ok(roots)
}

/// Reads our own certificate for a route, with the chain that leads to its authority, and its key.
pub(super) fn identity(
    route: &str,
    files: &RouteCertificate,
) -> Result<CertifiedKey, TlsClientError> {
    let unreadable = unreadable("client-certificate", route, &files.certificate);
    let pem = read(&files.certificate).map_err(&unreadable)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|problem| unreadable(problem.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable("it holds no certificate".to_owned()));
    }
    let unreadable = self::unreadable("client-key", route, &files.key);
    let pem = read(&files.key).map_err(&unreadable)?;
    let keys = keys_of(&pem).map_err(|problem| unreadable(problem.to_string()))?;
    // While a key is exchanged there are two, and the certificate's may be the second.
    let mut tried = keys.iter().map(|key| certified(chain.clone(), key));
    let first = tried.next().expect("invariant: there is a key, or an error");
    first.or_else(|problem| tried.find_map(Result::ok).ok_or(problem)).map_err(|problem| {
        let (route, problem) = (route.to_owned(), problem.to_string());
        TlsClientError::Identity { route, problem }
    })
}

fn unreadable(key: &'static str, route: &str, path: &Path) -> impl Fn(String) -> TlsClientError {
    move |problem| TlsClientError::Unreadable {
        key,
        route: route.to_owned(),
        path: path.to_owned(),
        problem,
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    file::read(path, FILE_MAX).map_err(|problem| problem.to_string())
}
