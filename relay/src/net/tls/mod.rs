//! The TLS side of the listeners: what they show, whom they believe, read again when files change.

mod binding;
mod ending;
mod files;
mod identity;
mod modes;
mod shown;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustls::{CommonState, ServerConfig};

use crate::acme::failed::Failed;
use crate::config::{self, ClientCertificates, Config};
use crate::event::Event;
use crate::journal::Journal;
use crate::net::stamp::Stamp;

pub use binding::exporter;
pub use ending::{Ending, Endings};
pub use files::{TlsError, end_of, keys_of};
pub use identity::{ClientIdentity, client_identity};
pub use shown::{overdue, soon};

use modes::Modes;

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The TLS side of all listeners.
///
/// A change of any file replaces everything, the keys of the tickets included: the next handshake of
/// every client is a whole one, so it sees the new certificate and is verified by the authorities of
/// now. Sessions that run keep the certificates that they began with, those of clients too; who must
/// go at once goes by `allow remove` or by `user remove`. Of files that cannot be used together none
/// is: the old state stays until they can.
#[derive(Debug)]
pub struct ServerTls {
    files: config::Tls,
    journal: Journal,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    modes: Modes,
    stamps: Vec<Option<Stamp>>,
    looked_at: Instant,
    /// Why the files as they are now cannot be used.
    problem: Option<String>,
}

impl ServerTls {
    /// Reads certificates, keys and authorities. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Names the file and what to do about it.
    pub fn load(config: &Config, journal: Journal) -> Result<Self, TlsError> {
        let files = config.tls.clone();
        let asks = config.listeners.iter().any(|listener| listener.client_certificates.asks());
        if asks && files.client_ca.is_none() {
            return Err(TlsError::NoClientCa);
        }
        // Looked at before they are read: what changes in between is read once more.
        let stamps = files::stamps(&files);
        let modes = Modes::load(&files)?;
        let current = Current { modes, stamps, looked_at: Instant::now(), problem: None };
        Ok(Self { files, journal, current: Mutex::new(current) })
    }

    /// Returns what the next handshake shows on a listener that treats certificates of clients this
    /// way; none if it asks for them and there is no `client-ca`. If the files have changed since the
    /// last look, they are read first; if they cannot be used, the old ones stay and that is said
    /// once.
    pub fn current(&self, certificates: ClientCertificates) -> Option<Arc<ServerConfig>> {
        self.looked().modes.of(certificates).cloned()
    }

    /// Says what is wrong at `now`: certificates that are out of their time, files that cannot be used. They
    /// are looked at as for a handshake.
    #[must_use]
    pub fn troubles(&self, now: Timestamp) -> Vec<String> {
        let current = self.looked();
        current.problem.iter().cloned().chain(current.modes.out_of_time(now)).collect()
    }

    /// Returns what is wrong at `now` with the time of each certificate, and why it is not renewed if that is known. The
    /// files are looked at as for a handshake.
    #[must_use]
    pub fn endings(&self, now: Timestamp) -> Vec<Ending> {
        let is_ordered = self.files.acme.is_some();
        let failed = is_ordered.then(|| Failed::read(&self.files.certificate)).flatten();
        self.looked().modes.endings(now, failed.as_ref())
    }

    fn looked(&self) -> MutexGuard<'_, Current> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked_at.elapsed() >= LOOK_EVERY {
            current.looked_at = Instant::now();
            self.look(&mut current);
        }
        current
    }

    fn look(&self, current: &mut Current) {
        let stamps = files::stamps(&self.files);
        if stamps == current.stamps {
            return;
        }
        current.stamps = stamps;
        match Modes::load(&self.files) {
            Ok(modes) => (current.modes, current.problem) = (modes, None),
            Err(problem) => {
                let problem = format!("the old certificates stay in use: {problem}");
                current.problem = Some(problem.clone());
                self.journal.write(Event::Trouble { room: "net", problem });
            }
        }
    }
}

/// Returns protocol version and cipher suite of a connection from either end, as trace headers show them.
#[must_use]
pub fn describe(connection: &CommonState) -> String {
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
mod tests;
