//! What issuers gave, in memory and on disk. All who ask the same issuer share it: routes, and a lane
//! that ends beside the one that takes its place. A refresh token may be good only once, and an issuer
//! that sees it twice may take all of them back (RFC 6749, section 10.4).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Mutex;

use super::issuer::Denied;
use crate::config::TokenIssuer;
use crate::delivery::health::Fingerprint;
use crate::delivery::login::Secret;

/// What an issuer gave.
#[derive(Default)]
pub(super) struct Issued {
    pub(super) token: Option<Current>,
    /// A refresh token that took the place of the one in the file (RFC 6749, section 6).
    pub(super) rotated: Option<Rotated>,
    /// Until when it is left alone, with what it was asked, and what it answered.
    pub(super) failed: Option<(Instant, Fingerprint, Denied)>,
}

/// A token in use.
pub(super) struct Current {
    pub(super) token: Secret,
    pub(super) renew_at: Instant,
    /// Of what it was got by: other secrets get another token.
    pub(super) by: Fingerprint,
}

pub(super) struct Rotated {
    /// What the file held instead.
    pub(super) former: Secret,
    pub(super) token: Secret,
}

/// What the issuers gave to the logins of the process; each is forgotten with its last login.
#[derive(Default)]
pub(in crate::net) struct Issuers(std::sync::Mutex<Vec<(TokenIssuer, Weak<Mutex<Issued>>)>>);

impl Issuers {
    /// Returns what this issuer gave, for every login that has it.
    pub(super) fn of(&self, issuer: &TokenIssuer) -> Arc<Mutex<Issued>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, issued)| issued.strong_count() > 0);
        let found = known.iter().find(|(of, _)| of == issuer);
        if let Some(issued) = found.and_then(|(_, issued)| issued.upgrade()) {
            return issued;
        }
        let issued = Arc::default();
        known.push((issuer.clone(), Arc::downgrade(&issued)));
        issued
    }
}

impl std::fmt::Debug for Issuers {
    /// Says nothing: what they gave is secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Issuers")
    }
}

/// Puts a secret into the place of a file: the old one or the new one is there, whatever happens.
pub(super) fn keep(path: &Path, secret: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // What is left of an earlier try has rights that are not known.
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(secret)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
