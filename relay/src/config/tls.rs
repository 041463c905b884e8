//! `[tls]`: what the listeners show, and whose certificates they believe.

use std::path::PathBuf;

use super::acme::Acme;

/// The most certificates besides the default one. All are read whenever one of their files changes.
pub const ALSO_MAX: usize = 256;

/// `[tls]`: what the listeners show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file: the certificate, then its intermediates. It is for clients that name no host, or
    /// one that no other certificate is for.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
    /// What clients see that name one of its hosts; at most [`ALSO_MAX`].
    pub also: Vec<Also>,
    /// PEM file: the authorities that sign clients' certificates. There if a listener asks for them.
    pub client_ca: Option<PathBuf>,
    /// Where the first certificate comes from, and is renewed from; none: operators see to it.
    pub acme: Option<Acme>,
}

/// `[[tls.also]]`: a certificate for the names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Also {
    /// PEM file: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
}

/// What a listener does about certificates of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It does not ask for them.
    None,
    /// It asks. A client without one is welcome, one that shows a certificate which does not verify
    /// is not.
    Optional,
    /// Without one that verifies there is no TLS, and so no mail.
    Required,
}

impl ClientCertificates {
    /// Tells whether clients are asked for a certificate.
    #[must_use]
    pub const fn asks(self) -> bool {
        match self {
            Self::None => false,
            Self::Optional | Self::Required => true,
        }
    }
}
