//! A client of HTTP that is generous in nothing: no redirect carries our secrets elsewhere, no proxy of the
//! environment sees them, and a request has an end. It blocks.

mod authorization;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::file;

pub use authorization::authorization;

/// The largest file of authorities, octets.
const CA_FILE_MAX: u64 = 4 << 20;

/// Whether TLS is a must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Nothing is sent without it.
    Tls,
    /// The address says so: `http://` is without.
    AsAddressed,
}

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
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(roots)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .https_only(wire == Wire::Tls)
        .max_redirects(0)
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(within))
        .user_agent("sallyport")
        .build();
    Ok(config.into())
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

#[cfg(test)]
mod tests;
