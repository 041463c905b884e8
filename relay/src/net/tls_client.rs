//! TLS towards next hops: the certificate must be for the host of the configuration.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Route;

/// The largest file of authorities, octets.
const CA_FILE_MAX: u64 = 4 << 20;

/// Why a route has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsClientError {
    /// The route's `ca-file` cannot be read.
    #[error("ca-file {} of route {route} cannot be read: {problem}", path.display())]
    Unreadable {
        /// The route's name.
        route: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The route's `ca-file` holds no certificate that can sign others.
    #[error("ca-file {} of route {route} holds no usable certificate", path.display())]
    NoAuthority {
        /// The route's name.
        route: String,
        /// The file.
        path: PathBuf,
    },
    /// The host is neither a name nor an address.
    #[error("{host} is no name that a certificate could be for")]
    NoName {
        /// The host of the configuration.
        host: String,
    },
    /// The handshake failed, or proved that the next hop is somebody else.
    #[error("{0}")]
    Handshake(String),
}

/// What a route trusts.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    route: String,
}

impl TlsClient {
    /// Reads what `route` trusts: its `ca-file` alone, or the public authorities. Blocks on the
    /// file.
    ///
    /// # Errors
    ///
    /// [`TlsClientError::Unreadable`], [`TlsClientError::NoAuthority`].
    pub fn for_route(route: &Route) -> Result<Self, TlsClientError> {
        let roots = match &route.ca_file {
            Some(path) => read_authorities(&route.name, path)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("invariant: the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, route: route.name.clone() })
    }

    /// Does the handshake, and proves that the next hop is `host`.
    ///
    /// # Errors
    ///
    /// [`TlsClientError::NoName`]; [`TlsClientError::Handshake`] with the remedy where there is
    /// one.
    pub async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsClientError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TlsClientError::NoName { host: host.to_owned() })?;
        let handshake = self.connector.connect(name, stream).await;
        handshake.map_err(|error| TlsClientError::Handshake(self.explain(host, &error)))
    }

    /// Says what is wrong with a handshake, and what to do about it.
    fn explain(&self, host: &str, error: &std::io::Error) -> String {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(problem)) = cause else {
            return format!("the TLS handshake with {host} failed: {error}");
        };
        let route = &self.route;
        match problem {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "the certificate of {host} is for another name: write the name that the \
                     certificate is for into `hosts` of route {route} ({problem})"
                )
            }
            // A bad signature is an authority of the same name with another key: made anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the certificate of {host} is signed by nobody we trust: set `ca-file` of route \
                 {route} to the authority that signed it"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!(
                    "the certificate of {host} has expired: it must be renewed there ({problem})"
                )
            }
            // rustls may learn to name more.
            _ => format!("the certificate of {host} does not verify: {problem}"),
        }
    }
}

fn read_authorities(route: &str, path: &Path) -> Result<RootCertStore, TlsClientError> {
    let unreadable = |problem: String| TlsClientError::Unreadable {
        route: route.to_owned(),
        path: path.to_owned(),
        problem,
    };
    let mut pem = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(CA_FILE_MAX).read_to_end(&mut pem))
        .map_err(|problem| unreadable(problem.to_string()))?;
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
