//! TLS towards next hops: what a route trusts, and what it shows.
//!
//! Without pins the certificate must be for the host (or `server-name`) by an authority that is
//! trusted. With pins the next hop's key must be one of them, and that proves it: neither names nor
//! dates nor authorities are looked at, since a pinned certificate is most often one that its server
//! signed itself. Only with `ca-file` beside the pins both must hold. `tls = "opportunistic"` trusts
//! anybody.

mod files;
#[cfg(test)]
mod tests;
mod verifier;
mod words;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::stamp::Stamp;
use super::tls::{describe, exporter};
use crate::config::{Route, RouteTls};
use crate::delivery::login::Fresh;
use crate::event::Event;
use crate::journal::Journal;
use verifier::Verifier;

/// Why a route has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsClientError {
    /// A file of the route cannot be read.
    #[error("{key} {} of route {route} cannot be read: {problem}", path.display())]
    Unreadable {
        /// The key that names the file.
        key: &'static str,
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
    /// The key is not that of the certificate, or of a kind that is not known.
    #[error("client-certificate and client-key of route {route} do not fit: {problem}")]
    Identity {
        /// The route's name.
        route: String,
        /// What is wrong with them.
        problem: String,
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
    server_name: Option<String>,
    trusts: Trusts,
}

/// Whether a handshake proves who the next hop is.
#[derive(Clone, Copy)]
enum Trusts {
    TheProved,
    Anybody,
}

impl TlsClient {
    /// Reads what `route` trusts: its `ca-file` alone, or the public authorities; and its own
    /// certificate. Blocks on the files.
    ///
    /// # Errors
    ///
    /// [`TlsClientError::Unreadable`], [`TlsClientError::NoAuthority`], [`TlsClientError::Identity`].
    pub fn for_route(route: &Route) -> Result<Self, TlsClientError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let roots = match &route.ca_file {
            Some(path) => Some(files::authorities(&route.name, path)?),
            None => None,
        };
        let by_authorities = |roots: RootCertStore| {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build();
            built.expect("invariant: there is an authority, and no list of revocations")
        };
        let verifier: Arc<dyn ServerCertVerifier> = match (route.tls, route.pins.is_empty()) {
            (RouteTls::Opportunistic, _) => Arc::new(Verifier::Anybody(algorithms)),
            (RouteTls::Required | RouteTls::Implicit | RouteTls::None, false) => {
                let also = roots.map(by_authorities);
                Arc::new(Verifier::Pins { pins: route.pins.clone(), also, algorithms })
            }
            (RouteTls::Required | RouteTls::Implicit | RouteTls::None, true) => {
                let public = || RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
                by_authorities(roots.unwrap_or_else(public))
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("invariant: the provider has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &route.certificate {
            None => config.with_no_client_auth(),
            Some(files) => {
                let shown = files::identity(&route.name, files)?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
            }
        };
        let connector = TlsConnector::from(Arc::new(config));
        let server_name = route.server_name.clone();
        let trusts = match route.tls {
            RouteTls::Opportunistic => Trusts::Anybody,
            RouteTls::Required | RouteTls::Implicit | RouteTls::None => Trusts::TheProved,
        };
        Ok(Self { connector, route: route.name.clone(), server_name, trusts })
    }

    /// Returns version and cipher suite of a connection, and whether nobody was proved by it.
    #[must_use]
    pub fn describe(&self, connection: &ClientConnection) -> String {
        let words = describe(connection);
        match self.trusts {
            Trusts::TheProved => words,
            Trusts::Anybody => format!("{words}, not verified"),
        }
    }

    /// Does the handshake, and proves that the next hop is `host`, or has the route's `server-name`.
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
        let name = self.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsClientError::NoName { host: name.to_owned() })?;
        let handshake = self.connector.connect(server, stream).await;
        handshake.map_err(|error| {
            TlsClientError::Handshake(words::explain(&self.route, host, name, &error))
        })
    }
}

/// Returns what a handshake that has succeeded gives a login: a nonce of 144 random bits, and the
/// channel binding.
pub(super) fn fresh(connection: &ClientConnection) -> Fresh {
    let mut octets = [0; 18];
    // The operating system's generator seeded the library's; it does not fail after that.
    aws_lc_rs::rand::fill(&mut octets).expect("invariant: the generator was seeded");
    Fresh { nonce: STANDARD.encode(octets), binding: exporter(connection) }
}

/// What a route trusts, as its files are now: they are read again when they have changed.
pub(super) struct Trust {
    route: Route,
    read: Mutex<Option<(Vec<Option<Stamp>>, TlsClient)>>,
}

impl Trust {
    /// Returns that of a route; nothing is read yet. That a route trusts anybody is told.
    pub(super) fn of(route: &Route, journal: &Journal) -> Arc<Self> {
        if route.tls == RouteTls::Opportunistic {
            journal.write(Event::RouteUnverified { route: route.name.clone() });
        }
        Arc::new(Self { route: route.clone(), read: Mutex::default() })
    }

    /// Returns what is trusted now.
    ///
    /// # Errors
    ///
    /// As [`TlsClient::for_route`], in words. Nothing is trusted that a file said earlier.
    pub(super) async fn now(self: &Arc<Self>) -> Result<TlsClient, String> {
        let trust = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || trust.read());
        read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn read(&self) -> Result<TlsClient, TlsClientError> {
        // Held while the files are read, so that they are read once for all connections.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = self.route.certificate.as_ref();
        let paths = [
            self.route.ca_file.as_ref(),
            identity.map(|files| &files.certificate),
            identity.map(|files| &files.key),
        ];
        let stamps: Vec<_> = paths.into_iter().flatten().map(|path| Stamp::of(path)).collect();
        if let Some((of, client)) = &*read
            && *of == stamps
        {
            return Ok(client.clone());
        }
        *read = None;
        let client = TlsClient::for_route(&self.route)?;
        *read = Some((stamps, client.clone()));
        Ok(client)
    }
}
