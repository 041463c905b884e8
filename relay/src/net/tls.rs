//! What the listeners show: certificate and key, read again when their files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::config;
use crate::event::Event;
use crate::journal::Journal;

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The one protocol name that a client may ask for by ALPN, so that a browser's handshake with us
/// is no handshake with us (RFC 7301, section 3.2). A client that asks for none is welcome.
const ALPN: &[u8] = b"smtp";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {cause}; `sallyport tls init` makes a certificate and its key")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
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
}

/// The TLS side of all listeners. Sessions keep the certificate that they began with.
#[derive(Debug)]
pub struct ServerTls {
    files: config::Tls,
    journal: Journal,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    stamp: Option<[SystemTime; 2]>,
    looked_at: Instant,
}

impl ServerTls {
    /// Reads certificate and key. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Names the file and what to do about it.
    pub fn load(files: &config::Tls, journal: Journal) -> Result<Self, TlsError> {
        let stamp = stamp(files);
        let config = Arc::new(server_config(files)?);
        let current = Mutex::new(Current { config, stamp, looked_at: Instant::now() });
        Ok(Self { files: files.clone(), journal, current })
    }

    /// Returns what the next handshake shows. If the files have changed since the last look, they
    /// are read first; if they cannot be used, the old ones stay and that is said once.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked_at.elapsed() >= LOOK_EVERY {
            current.looked_at = Instant::now();
            let stamp = stamp(&self.files);
            if stamp != current.stamp {
                current.stamp = stamp;
                match server_config(&self.files) {
                    Ok(config) => current.config = Arc::new(config),
                    Err(problem) => self.journal.write(Event::Trouble {
                        room: "net",
                        problem: format!("the old certificate stays in use: {problem}"),
                    }),
                }
            }
        }
        Arc::clone(&current.config)
    }
}

/// Returns when the files were changed last; none if one of them is away.
fn stamp(files: &config::Tls) -> Option<[SystemTime; 2]> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    Some([changed(&files.certificate)?, changed(&files.key)?])
}

/// TLS 1.2 and 1.3 with aws-lc-rs, X25519MLKEM768 first, tickets that rotate.
fn server_config(files: &config::Tls) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
    let mismatch = |problem| TlsError::Mismatch {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        problem,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(mismatch)?;
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(mismatch)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| malformed(path, &error))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Empty { path: path.to_owned(), what: "private key" },
        error => malformed(path, &error),
    })
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, TlsError> {
    std::fs::read(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|cause| TlsError::Read { path: path.to_owned(), cause })
}

fn malformed(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::Malformed { path: path.to_owned(), problem: error.to_string() }
}

/// Returns protocol version and cipher suite of a connection, as trace headers show them.
#[must_use]
pub fn describe(connection: &ServerConnection) -> String {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(_) | None => "TLS",
    };
    match connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()) {
        Some(suite) => format!("{version}, {suite}"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        folder: tempfile::TempDir,
        tls: config::Tls,
    }

    fn files() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let tls = config::Tls {
            certificate: folder.path().join("chain.pem"),
            key: folder.path().join("key.pem"),
        };
        write(&tls);
        Files { folder, tls }
    }

    fn write(tls: &config::Tls) {
        let made = rcgen::generate_simple_self_signed(["relay.example.net".to_owned()]).unwrap();
        std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
        std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_file() {
        let Files { folder, tls } = files();
        let load = || ServerTls::load(&tls, Journal::memory()).map(|_| ()).unwrap_err();
        std::fs::write(&tls.key, "nothing").unwrap();
        assert!(matches!(load(), TlsError::Empty { what: "private key", .. }));
        write(&tls);
        let key = std::fs::read(&tls.key).unwrap();
        write(&tls);
        std::fs::write(&tls.key, key).unwrap();
        assert!(matches!(load(), TlsError::Mismatch { .. }), "{}", load());
        std::fs::remove_file(&tls.certificate).unwrap();
        let problem = load().to_string();
        assert!(problem.contains("chain.pem") && problem.contains("tls init"), "{problem}");
        drop(folder);
    }

    #[test]
    fn changed_files_are_shown_and_bad_ones_are_not() {
        let Files { folder, tls } = files();
        let journal = Journal::memory();
        let server = ServerTls::load(&tls, journal.clone()).unwrap();
        let first = server.current();
        let look_again = || {
            server.current.lock().unwrap().looked_at -= LOOK_EVERY;
            server.current.lock().unwrap().stamp = None;
            server.current()
        };
        write(&tls);
        let second = look_again();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::write(&tls.key, "nothing").unwrap();
        assert!(Arc::ptr_eq(&second, &look_again()));
        let events = journal.take();
        assert!(matches!(&events[..], [Event::Trouble { .. }]), "{events:?}");
        drop(folder);
    }
}
