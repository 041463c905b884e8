//! What rustls is told, once for every way to treat certificates of clients.
//!
//! Nothing is shared between the ways but the certificates that they show. A ticket stands for the
//! handshake that it came from, a verified client included, and is believed without asking again:
//! with common keys a client could get its ticket where nobody asks for a certificate and resume
//! where one is required.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::ending::Ending;
use super::files::{self, Origin, TlsError};
use super::shown::Shown;
use crate::acme::failed::Failed;
use crate::config::{self, ClientCertificates};

/// The one protocol name that a client may ask for by ALPN, so that a browser's handshake with us
/// is no handshake with us (RFC 7301, section 3.2). A client that asks for none is welcome.
const ALPN: &[u8] = b"smtp";

/// One state of the files, as all listeners need it.
#[derive(Debug)]
pub(super) struct Modes {
    shown: Arc<Shown>,
    silent: Arc<ServerConfig>,
    asking: Option<Asking>,
}

/// For listeners that ask for certificates.
#[derive(Debug)]
struct Asking {
    optional: Arc<ServerConfig>,
    required: Arc<ServerConfig>,
}

impl Modes {
    /// Reads all files.
    pub(super) fn load(files: &config::Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let shown = Arc::new(Shown::load(files)?);
        let config = |verifier| server_config(&provider, &shown, verifier);
        let silent = config(WebPkiClientVerifier::no_client_auth())?;
        let asking = match &files.client_ca {
            None => None,
            Some(path) => {
                let authorities = Arc::new(authorities(path)?);
                let verifier = || {
                    let (authorities, provider) = (Arc::clone(&authorities), Arc::clone(&provider));
                    WebPkiClientVerifier::builder_with_provider(authorities, provider)
                };
                let unusable = |problem| files::malformed(path, &problem);
                let optional = verifier().allow_unauthenticated().build().map_err(unusable)?;
                let required = verifier().build().map_err(unusable)?;
                Some(Asking { optional: config(optional)?, required: config(required)? })
            }
        };
        Ok(Self { shown, silent, asking })
    }

    /// Says of every certificate that is not valid at `now` why clients will not believe it.
    pub(super) fn out_of_time(&self, now: Timestamp) -> impl Iterator<Item = String> + '_ {
        self.shown.out_of_time(now)
    }

    /// Returns what is wrong at `now` with the time of each certificate.
    pub(super) fn endings(&self, now: Timestamp, failed: Option<&Failed>) -> Vec<Ending> {
        self.shown.endings(now, failed)
    }

    /// Returns what a listener shows; none if it asks for certificates that nobody could verify.
    pub(super) fn of(&self, certificates: ClientCertificates) -> Option<&Arc<ServerConfig>> {
        let asking = self.asking.as_ref();
        match certificates {
            ClientCertificates::None => Some(&self.silent),
            ClientCertificates::Optional => asking.map(|asking| &asking.optional),
            ClientCertificates::Required => asking.map(|asking| &asking.required),
        }
    }
}

/// TLS 1.2 and 1.3 with aws-lc-rs, X25519MLKEM768 first, tickets whose keys rotate. There is no early
/// data: what could be sent twice by anybody is no mail (RFC 8446, section 8).
fn server_config(
    provider: &Arc<CryptoProvider>,
    shown: &Arc<Shown>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Library)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(shown) as _);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Library)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in files::certificates(path, Origin::Authority)? {
        roots.add(certificate).map_err(|problem| files::malformed(path, &problem))?;
    }
    Ok(roots)
}
