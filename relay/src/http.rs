//! A client of HTTP that is generous in nothing: no redirect carries our secrets elsewhere, no proxy of the
//! environment sees them, and a request has an end. It blocks.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

/// Whether TLS is a must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Nothing is sent without it.
    Tls,
    /// The address says so: `http://` is without.
    AsAddressed,
}

/// Returns a client that trusts these authorities and takes at most `within` for a whole request. A status of
/// failure is an answer, no error.
#[must_use]
pub fn client(roots: RootCerts, wire: Wire, within: Duration) -> Agent {
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
    config.into()
}
