//! The keys that sign mail, and the signing: at the point of sending, so that what a next hop gets
//! is what was signed, with the keys of today.

use std::path::Path;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::memory::{Room, SIGNED, aside};
use crate::config::{Config, Dkim, HEADER_FIELDS_MAX, HEADER_SIZE_MAX, RECEIVED_FIELDS_MAX};
use crate::delivery::carriage::{GROWS_TO, HELD_MAX};
use crate::file;
use crate::mail::convert;
use crate::mail::dkim::{Algorithm, BodyHash, Draft, Signer, signing_domain};
use crate::mail::envelope::Body;
use crate::mail::header::{Collected, HeaderCollector, HeaderLimits, HeaderSection};
use crate::smtp::address::Charset;
use crate::spool::{BodyReader, Claim, StoreError};

/// The largest key file, octets.
const PEM_MAX: u64 = 64 * 1024;

/// What our own fields may add to a header section that came within the limits.
const OWN_FIELDS: usize = 16;
/// The same in octets.
const OWN_OCTETS: usize = 64 * 1024;

/// All keys of a configuration.
pub struct Keys {
    keys: Vec<Entry>,
    limits: HeaderLimits,
}

struct Entry {
    domain: String,
    selector: String,
    /// Or why it cannot be used.
    key: Result<Key, String>,
}

enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A message whose header section was read: what was read behind it, and what is left to read.
struct Opened {
    header: HeaderSection,
    behind: Vec<u8>,
    rest: BodyReader,
}

/// Why a message is not signed, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// A key that should sign it cannot be used: ours to mend, however long that takes.
    Key(String),
    /// It cannot be read.
    Message(String),
    /// There was no memory in which to make it 7-bit.
    Crowded,
    /// An operator asked for it meanwhile.
    Recalled,
}

impl Keys {
    /// Reads every key that `config` names.
    #[must_use]
    pub fn load(config: &Config) -> Self {
        let entry = |Dkim { domain, selector, key_file }: &Dkim| {
            let key = read(key_file).map_err(|problem| {
                format!("the DKIM key of {domain}, {}: {problem}", key_file.display())
            });
            Entry { domain: domain.clone(), selector: selector.clone(), key }
        };
        // Not those of `config`: mail that waits came within the limits of its time, and would leave
        // without a signature when they were lowered since.
        let size = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let limits = HeaderLimits {
            size_bytes: size(HEADER_SIZE_MAX).saturating_add(OWN_OCTETS),
            fields: size(HEADER_FIELDS_MAX).saturating_add(OWN_FIELDS),
            received: size(RECEIVED_FIELDS_MAX).saturating_add(OWN_FIELDS),
        };
        Self { keys: config.dkim.iter().map(entry).collect(), limits }
    }

    /// Returns what is wrong with keys that cannot be used.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|entry| entry.key.as_ref().err().map(String::as_str))
    }

    /// Says which keys cannot be used, and what that means for mail.
    pub fn unsigned(&self) -> impl Iterator<Item = String> {
        self.problems().map(|problem| format!("{problem}; the mail that it signs waits"))
    }

    /// Puts the signatures of a message in front of it; none if no domain is its authors'. Waits for
    /// room if the message has to be held for that; the room is to be kept as long as the claim.
    ///
    /// # Errors
    ///
    /// Why the message must wait.
    pub(super) async fn sign(
        &self,
        claim: &mut Claim,
        now: Timestamp,
    ) -> Result<Option<Room>, Unsigned> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let Some(Opened { header, behind, mut rest }) = self.open(claim).await.map_err(unread)?
        else {
            return Ok(None);
        };
        let domains = self.keys.iter().map(|entry| entry.domain.as_str());
        let Some(domain) = signing_domain(domains, header.from()) else { return Ok(None) };
        if let Some((message, kind, mut room)) = seven_bit(claim).await? {
            let (header, body) = split(&message);
            let mut hash = BodyHash::default();
            hash.push(body);
            let mut signed = self.fields(domain, header, hash.finish(), now)?;
            signed.extend_from_slice(&message);
            room.shrink(signed.len() as u64);
            claim.put_in_place(signed, kind);
            return Ok(Some(room));
        }
        let mut hash = BodyHash::default();
        hash.push(&behind);
        while let Some(piece) = rest.read_chunk().await.map_err(unread)? {
            hash.push(&piece);
        }
        claim.put_in_front(self.fields(domain, header.octets(), hash.finish(), now)?);
        Ok(None)
    }

    /// Returns the signatures of a message by every key of `domain`.
    fn fields(
        &self,
        domain: &str,
        header: &[u8],
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Vec<u8>, Unsigned> {
        let mut fields = Vec::new();
        for entry in self.keys.iter().filter(|entry| entry.domain == domain) {
            fields.extend(entry.sign(header, hash, now).map_err(Unsigned::Key)?);
        }
        Ok(fields)
    }

    /// Reads the header section; none if it is not one that we would ever take, so that it has no
    /// author to sign for.
    async fn open(&self, claim: &Claim) -> Result<Option<Opened>, StoreError> {
        let mut rest = claim.body();
        let mut collector = HeaderCollector::new(self.limits);
        let mut behind = Vec::new();
        while let Some(piece) = rest.read_chunk().await? {
            match collector.push(&piece) {
                Collected::More => {}
                Collected::TooLarge => return Ok(None),
                Collected::Complete(end) => {
                    behind = piece[end..].to_vec();
                    break;
                }
            }
        }
        Ok(collector.read(claim.envelope().terms.charset()).ok().map(|header| Opened {
            header,
            behind,
            rest,
        }))
    }
}

/// Returns 8-bit mail as 7-bit mail, and what it is then: else the first hop on the way that takes no
/// other has to change it, and breaks the signature (RFC 6376, section 5.3); or we have to, and must
/// not. None if it is 7-bit, not to be changed, or too large for us to convert at any hop; then it is
/// signed as it is.
async fn seven_bit(claim: &Claim) -> Result<Option<(Vec<u8>, Body, Room)>, Unsigned> {
    let is_large = claim.size_bytes() > HELD_MAX;
    match claim.envelope().body {
        Body::EightBit | Body::Binary if !is_large => {}
        Body::SevenBit | Body::EightBit | Body::Binary => return Ok(None),
    }
    let room = SIGNED.room(claim.size_bytes() * GROWS_TO).await.ok_or(Unsigned::Crowded)?;
    let size = usize::try_from(claim.size_bytes()).unwrap_or(0);
    let (mut body, mut message) = (claim.body(), Vec::with_capacity(size));
    while let Some(piece) = body.read_chunk().await.map_err(unread)? {
        message.extend_from_slice(&piece);
    }
    let headers = claim.envelope().terms.charset();
    let made = aside(message.len(), move || converted(&message, headers)).await.flatten();
    Ok(made.map(|(message, kind)| (message, kind, room)))
}

fn unread(problem: StoreError) -> Unsigned {
    Unsigned::Message(format!("the message cannot be read: {problem}"))
}

/// Returns a message with bodies of US-ASCII, and what it is: 8-bit still if its headers are UTF-8.
fn converted(message: &[u8], headers: Charset) -> Option<(Vec<u8>, Body)> {
    let message = convert::to_seven_bit(message, headers).ok()?;
    let kind = if message.is_ascii() { Body::SevenBit } else { Body::EightBit };
    Some((message, kind))
}

/// Splits a message at the empty line behind its header section.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memmem::find(message, b"\r\n\r\n") {
        Some(end) => (&message[..end + 2], &message[end + 4..]),
        None => (message, b""),
    }
}

impl Entry {
    fn sign(&self, header: &[u8], hash: [u8; 32], now: Timestamp) -> Result<Vec<u8>, String> {
        let key = self.key.as_ref().map_err(Clone::clone)?;
        let algorithm = match key {
            Key::Rsa(_) => Algorithm::RsaSha256,
            Key::Ed25519(_) => Algorithm::Ed25519Sha256,
        };
        let (domain, selector) = (&self.domain, &self.selector);
        let draft = Draft::new(Signer { domain, selector, algorithm, at: now }, header, hash);
        let signature = match key {
            Key::Ed25519(key) => key.sign(draft.digest().as_ref()).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), draft.input(), &mut signature)
                    .map_err(|_| format!("the DKIM key of {domain} signs nothing"))?;
                signature
            }
        };
        Ok(draft.signed(&signature).into_bytes())
    }
}

/// Reads a key. RSA below 2048 bits is refused: verifiers need not take less than 1024 (RFC 8301,
/// section 3.2), and 1024 is too little to be trusted.
fn read(path: &Path) -> Result<Key, String> {
    let text = file::read(path, PEM_MAX)
        .map_err(|error| format!("{error}; the relay's user must be able to read it"))?;
    let der = PrivateKeyDer::from_pem_slice(&text).map(Zeroizing::new);
    let der =
        der.map_err(|_| "holds no private key in PEM (`openssl genpkey` makes one)".to_owned())?;
    let unfit = |problem: KeyRejected| {
        format!("cannot be used ({problem}): RSA of 2048 bits or more, or Ed25519, is needed")
    };
    match &*der {
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                Ok(key) => Ok(Key::Ed25519(key)),
                Err(_) => RsaKeyPair::from_pkcs8(der).map(Key::Rsa).map_err(unfit),
            }
        }
        PrivateKeyDer::Pkcs1(der) => {
            RsaKeyPair::from_der(der.secret_pkcs1_der()).map(Key::Rsa).map_err(unfit)
        }
        _ => Err("is neither RSA nor Ed25519".to_owned()),
    }
}

#[cfg(test)]
mod tests;
