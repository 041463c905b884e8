//! The PEM files behind the listeners: read with a limit, and told apart from what they were.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use crate::config;
use crate::file;
use crate::net::stamp::Stamp;

/// The largest PEM file, octets.
const PEM_MAX: u64 = 4 << 20;
/// The most keys of a file that are tried: while a key is exchanged its file holds the next one and the one before.
const KEYS_MAX: usize = 2;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {cause}; {remedy}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
        /// Where such a file comes from.
        remedy: &'static str,
    },
    /// A file holds none of what it is for.
    #[error("{path}: holds no {what} in PEM")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A file is damaged.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The two do not belong together, or rustls knows no such key.
    #[error("{key} does not fit {certificate}: {problem}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        problem: rustls::Error,
    },
    /// A certificate beside the default one is for no name that a client could ask for.
    #[error("{path}: the certificate is for no DNS name, so no client would ever see it")]
    Nameless {
        /// The file.
        path: PathBuf,
    },
    /// A listener asks for certificates, and nobody is named who may sign them.
    #[error("a listener asks clients for certificates: name their authority, client-ca in [tls]")]
    NoClientCa,
    /// The library cannot be set up, for want of random numbers.
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

/// Where a file comes from, for the message that says it is not there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// The listeners' own.
    Own,
    /// The authority of clients.
    Authority,
}

impl Origin {
    fn remedy(self, cause: io::ErrorKind) -> &'static str {
        match (self, cause) {
            (_, io::ErrorKind::PermissionDenied) => {
                "the relay's user must be able to read it: `sallyport doctor` says what keeps it from that"
            }
            (Self::Own, _) => "`sallyport tls init` makes a certificate and its key",
            (Self::Authority, _) => "client-ca in [tls] names the authority that signs for clients",
        }
    }
}

/// Returns the stamps of all files, in order.
pub(super) fn stamps(files: &config::Tls) -> Vec<Option<Stamp>> {
    let also = files.also.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    let all = [&files.certificate, &files.key].into_iter().chain(also).chain(&files.client_ca);
    all.map(|path| Stamp::of(path)).collect()
}

/// Returns every certificate of a file; at least one.
pub(super) fn certificates(
    path: &Path,
    origin: Origin,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path, origin)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| malformed(path, &error))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

/// Returns when the first certificate of a file ends; none if it cannot be read. Blocks on the disk.
#[must_use]
pub fn end_of(path: &Path) -> Option<Timestamp> {
    let chain = certificates(path, Origin::Own).ok()?;
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    Timestamp::from_second(leaf.validity().not_after.timestamp()).ok()
}

/// Returns the private keys of a file, at least one. They are wiped when dropped.
pub(super) fn private_keys(
    path: &Path,
) -> Result<Vec<Zeroizing<PrivateKeyDer<'static>>>, TlsError> {
    keys_of(&read(path, Origin::Own)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Empty { path: path.to_owned(), what: "private key" },
        error => malformed(path, &error),
    })
}

/// Returns the first private keys of a text in PEM, at least one and at most two. Whoever wants a certificate's takes
/// the one that fits it: while a key is exchanged its file holds the next one and the one before, so that a crash
/// leaves no pair that cannot be shown.
///
/// # Errors
///
/// If there is none, or the first is damaged.
pub fn keys_of(text: &[u8]) -> Result<Vec<Zeroizing<PrivateKeyDer<'static>>>, pem::Error> {
    let mut all = PrivateKeyDer::pem_slice_iter(text);
    let first = all.next().ok_or(pem::Error::NoItemsFound)??;
    // What comes behind it was never looked at, and may be anything.
    let others = all.map_while(Result::ok).take(KEYS_MAX - 1);
    Ok([first].into_iter().chain(others).map(Zeroizing::new).collect())
}

fn read(path: &Path, origin: Origin) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let unread = |cause: io::Error| {
        let remedy = origin.remedy(cause.kind());
        TlsError::Read { path: path.to_owned(), cause, remedy }
    };
    file::read(path, PEM_MAX).map_err(unread)
}

/// Says what is wrong with a file.
pub(super) fn malformed(path: &Path, problem: &impl ToString) -> TlsError {
    TlsError::Malformed { path: path.to_owned(), problem: problem.to_string() }
}
