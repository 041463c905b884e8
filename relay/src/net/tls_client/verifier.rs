//! Whose certificate is believed where the authorities do not decide alone.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::Pin;

/// Whom to believe. That the next hop holds the key of its certificate is proved in any case.
#[derive(Debug)]
pub(super) enum Verifier {
    /// Who has one of these keys; if `also` is there, by its authorities and names too.
    Pins {
        /// At least one.
        pins: Vec<Pin>,
        /// What must hold besides.
        also: Option<Arc<WebPkiServerVerifier>>,
        /// How handshakes may be signed.
        algorithms: WebPkiSupportedAlgorithms,
    },
    /// Everybody: against those who listen, not against those who stand in between.
    Anybody(WebPkiSupportedAlgorithms),
}

/// A key that is not among the pins.
#[derive(Debug)]
pub(super) struct NotPinned(pub(super) Pin);

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key {} is not pinned", self.0)
    }
}

impl std::error::Error for NotPinned {}

/// Returns the pin of a certificate's key.
pub(super) fn pin_of(certificate: &CertificateDer<'_>) -> Result<Pin, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let hash = digest::digest(&digest::SHA256, parsed.public_key().raw);
    let octets = hash.as_ref().try_into();
    Ok(Pin(octets.expect("invariant: SHA-256 has 32 octets")))
}

impl Verifier {
    const fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        match self {
            Self::Pins { algorithms, .. } | Self::Anybody(algorithms) => algorithms,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (pins, also) = match self {
            Self::Anybody(_) => return Ok(ServerCertVerified::assertion()),
            Self::Pins { pins, also, .. } => (pins, also),
        };
        let seen = pin_of(shown)?;
        if !pins.contains(&seen) {
            let error = OtherError(Arc::new(NotPinned(seen)));
            return Err(Error::InvalidCertificate(CertificateError::Other(error)));
        }
        match also {
            Some(authorities) => authorities.verify_server_cert(shown, chain, name, ocsp, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}
