//! The client of HTTP for those who name the authorities that they trust.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts};

use crate::file;
use crate::http::client;

pub use crate::http::Wire;

/// The largest file of authorities, octets.
const CA_FILE_MAX: u64 = 4 << 20;

/// Returns a client that trusts the authorities of a file, or the public ones, and takes at most `within` for a
/// whole request. A status of failure is an answer, no error. Blocks on the disk.
///
/// # Errors
///
/// If the file cannot be read, a sentence that names it.
pub fn agent(ca_file: Option<&Path>, wire: Wire, within: Duration) -> Result<Agent, String> {
    let roots = match ca_file {
        None => RootCerts::WebPki,
        Some(path) => {
            let pem = file::read(path, CA_FILE_MAX).map_err(|error| error.to_string());
            let certificates = pem.and_then(|pem| authorities(&pem)).map_err(|problem| {
                format!("ca-file {} cannot be read: {problem}", path.display())
            })?;
            RootCerts::Specific(Arc::new(certificates))
        }
    };
    Ok(client(roots, wire, within))
}

fn authorities(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut roots = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|problem| problem.to_string())?;
        roots.add(certificate.clone()).map_err(|problem| problem.to_string())?;
        certificates.push(Certificate::from_der(&certificate).to_owned());
    }
    if certificates.is_empty() {
        Err("it holds no certificate".to_owned())
    } else {
        Ok(certificates)
    }
}
