//! The client of SCRAM (RFC 5802, RFC 7677), with channel binding by `tls-exporter` (RFC 9266).

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Exchange, Fresh, REASON_MAX, Secret, Turn, Unbound, line};
use crate::config::Mechanism;
use crate::policy::credential::Hash;
use crate::smtp::answer::printable;

/// The fewest iterations that a next hop may ask for (RFC 7677, section 4): with fewer, whoever reads
/// the exchange finds the password sooner.
pub const ITERATIONS_MIN: u32 = 4096;
/// The most iterations that a next hop may ask for: about a second of one core.
pub const ITERATIONS_MAX: u32 = 1_000_000;

/// How far SCRAM has got.
#[derive(Debug)]
pub struct Scram {
    hash: Hash,
    stage: Stage,
}

enum Stage {
    /// The server's first message is due.
    First(Beginning),
    /// The password is being hashed.
    Salting { without_proof: String, signed: String },
    /// The server's final message is due: it must hold this signature.
    Final(Vec<u8>),
    /// It proved that it knows the password's keys.
    Proved,
}

/// What the first message said, and what the next one needs.
struct Beginning {
    password: Secret,
    nonce: String,
    /// `client-first-message-bare`.
    bare: String,
    /// What `c=` repeats: the header, and the binding after it.
    header: Vec<u8>,
}

impl fmt::Debug for Stage {
    /// Shows where it stands; no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First(_) => "First",
            Self::Salting { .. } => "Salting",
            Self::Final(_) => "Final",
            Self::Proved => "Proved",
        })
    }
}

/// A password to be hashed as often as the next hop says: it takes time on purpose, so it is done
/// where it holds nobody up.
#[derive(PartialEq, Eq)]
pub struct Derivation {
    hash: Hash,
    password: Secret,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

/// SaltedPassword of RFC 5802, section 3. It is wiped when dropped.
pub struct Salted(Secret);

impl Derivation {
    /// Hashes; up to about a second.
    #[must_use]
    pub fn run(self) -> Salted {
        let algorithm = match self.hash {
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = Secret::new(vec![0; self.hash.octets()]);
        pbkdf2::derive(algorithm, self.iterations, &self.salt, &self.password, &mut salted);
        Salted(salted)
    }
}

impl fmt::Debug for Derivation {
    /// Shows no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derivation").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Scram {
    /// Begins, and returns the first message. `mechanism` is one of SCRAM's.
    pub(super) fn begin(
        mechanism: Mechanism,
        user: &str,
        password: Secret,
        fresh: &Fresh,
        unbound: Unbound,
    ) -> (Self, Vec<u8>) {
        let flag = match (mechanism.is_bound(), unbound, fresh.binding) {
            (true, _, _) => "p=tls-exporter,,",
            (false, Unbound::WouldBind, Some(_)) => "y,,",
            (false, Unbound::WouldBind | Unbound::Declines, _) => "n,,",
        };
        let mut header = flag.as_bytes().to_vec();
        if let (true, Some(binding)) = (mechanism.is_bound(), &fresh.binding) {
            header.extend_from_slice(binding);
        }
        let nonce = fresh.nonce.clone();
        let bare = format!("n={},r={nonce}", saslname(user));
        let first = format!("{flag}{bare}").into_bytes();
        let hash = match mechanism {
            Mechanism::ScramSha512Plus | Mechanism::ScramSha512 => Hash::Sha512,
            Mechanism::ScramSha256Plus
            | Mechanism::ScramSha256
            | Mechanism::External
            | Mechanism::OAuthBearer
            | Mechanism::XOAuth2
            | Mechanism::Plain
            | Mechanism::Login => Hash::Sha256,
        };
        let stage = Stage::First(Beginning { password, nonce, bare, header });
        (Self { hash, stage }, first)
    }

    /// Answers a message of the server.
    pub(super) fn challenged(self, message: &[u8]) -> Turn {
        let Ok(text) = std::str::from_utf8(message) else {
            return Turn::Broken("its message of SCRAM is no text".to_owned());
        };
        if let Some(error) = text.strip_prefix("e=") {
            let reason = Exchange::Refused(printable(error.as_bytes(), REASON_MAX));
            return match self.stage {
                // It has no verdict to give yet: the exchange is called off (RFC 4954, section 4).
                Stage::First(_) => Turn::Say(reason, Secret::new(b"*\r\n".to_vec())),
                Stage::Salting { .. } | Stage::Final(_) | Stage::Proved => {
                    Turn::Say(reason, line(b"", b""))
                }
            };
        }
        match self.stage {
            Stage::First(beginning) => match beginning.answer(self.hash, text) {
                Ok((stage, derivation)) => {
                    Turn::Derive(Exchange::Scram(Self { hash: self.hash, stage }), derivation)
                }
                Err(problem) => Turn::Broken(problem),
            },
            Stage::Final(signature) => {
                let shown = text.split(',').next().and_then(|part| part.strip_prefix("v="));
                let shown = shown.and_then(|shown| STANDARD.decode(shown).ok());
                let agrees = |shown: Vec<u8>| {
                    constant_time::verify_slices_are_equal(&shown, &signature).is_ok()
                };
                if shown.is_some_and(agrees) {
                    let proved = Self { hash: self.hash, stage: Stage::Proved };
                    Turn::Say(Exchange::Scram(proved), line(b"", b""))
                } else {
                    Turn::Unproved("its signature is not one of our password".to_owned())
                }
            }
            Stage::Salting { .. } | Stage::Proved => {
                Turn::Broken("it speaks out of turn in SCRAM".to_owned())
            }
        }
    }

    /// Goes on when the password is hashed: returns the final message with the proof.
    pub(super) fn derived(self, salted: &Salted) -> Turn {
        let Stage::Salting { without_proof, signed } = self.stage else {
            return Turn::Broken("nothing was to be derived".to_owned());
        };
        let (algorithm, digest) = match self.hash {
            Hash::Sha256 => (hmac::HMAC_SHA256, &digest::SHA256),
            Hash::Sha512 => (hmac::HMAC_SHA512, &digest::SHA512),
        };
        let salted = hmac::Key::new(algorithm, &salted.0);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(digest, client_key.as_ref());
        let signature =
            hmac::sign(&hmac::Key::new(algorithm, stored_key.as_ref()), signed.as_bytes());
        let proof: Zeroizing<Vec<u8>> = Zeroizing::new(
            client_key
                .as_ref()
                .iter()
                .zip(signature.as_ref())
                .map(|(key, mask)| key ^ mask)
                .collect(),
        );
        let server_key = hmac::Key::new(algorithm, hmac::sign(&salted, b"Server Key").as_ref());
        let expected = hmac::sign(&server_key, signed.as_bytes()).as_ref().to_vec();
        let message = format!("{without_proof},p={}", STANDARD.encode(&*proof));
        let stage = Stage::Final(expected);
        Turn::Say(Exchange::Scram(Self { hash: self.hash, stage }), line(b"", message.as_bytes()))
    }

    /// Tells whether the server has proved itself.
    pub(super) fn granted(&self) -> Result<(), String> {
        match self.stage {
            Stage::Proved => Ok(()),
            Stage::First(_) | Stage::Salting { .. } | Stage::Final(_) => {
                Err("it granted a login and did not show that it knows our password".to_owned())
            }
        }
    }
}

impl Beginning {
    /// Reads `r=…,s=…,i=…`. What follows may be extensions, which are passed over; one that must be
    /// understood stands in front (RFC 5802, section 5.1).
    fn answer(self, hash: Hash, text: &str) -> Result<(Stage, Derivation), String> {
        let malformed = || "its first message of SCRAM is malformed".to_owned();
        let mut parts = text.split(',');
        let mut value = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = value("r=").ok_or_else(malformed)?;
        let salt = value("s=").ok_or_else(malformed)?;
        let count = value("i=").ok_or_else(malformed)?;
        let is_longer =
            nonce.strip_prefix(self.nonce.as_str()).is_some_and(|rest| !rest.is_empty());
        if !is_longer || !nonce.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err("its nonce does not go on from ours".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| malformed())?;
        if salt.is_empty() || !count.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(malformed());
        }
        let iterations = count
            .parse()
            .ok()
            .filter(|count| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(count))
            .and_then(NonZeroU32::new)
            .ok_or_else(|| {
                format!(
                    "it asks for {} iterations, and {ITERATIONS_MIN} to {ITERATIONS_MAX} are done: it \
                     must store the password with another count, or `mechanisms` leave SCRAM out",
                    printable(count.as_bytes(), 20)
                )
            })?;
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.header));
        let signed = format!("{},{text},{without_proof}", self.bare);
        let derivation = Derivation { hash, password: self.password, salt, iterations };
        Ok((Stage::Salting { without_proof, signed }, derivation))
    }
}

/// Escapes a name: a comma is `=2C`, an equals sign `=3D` (RFC 5802, section 5.1). It is not prepared
/// further: the configuration names it as the next hop knows it.
pub(super) fn saslname(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}
