//! Our login at a next hop (RFC 4954): which mechanism, and what is said in it.
//!
//! The messages are written and read here and not by rsasl, which serves our own clients: its client
//! hashes inside of a step, as often as the next hop says, keeps copies of the password, draws the
//! nonce itself, and indexes past the end of short messages.

mod prepared;
mod scram;
mod secret;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::config::{Mechanism, Mechanisms};
use crate::smtp::answer::printable;
use scram::Scram;
pub use scram::{Derivation, ITERATIONS_MAX, ITERATIONS_MIN, Salted};
pub use secret::Secret;

/// The longest line of a command with its end, octets (RFC 5321, section 4.5.3.1.4). What is longer
/// is said after a challenge, where 12288 octets may stand (RFC 4954, section 4).
const COMMAND_MAX: usize = 512;
/// The most octets of a next hop's reason that are kept.
const REASON_MAX: usize = 200;

/// What one login needs. The secret is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name; empty: the certificate says who we are.
    pub user: String,
    /// What proves it.
    pub proof: Proof,
    /// The mechanisms that may be used.
    pub mechanisms: Mechanisms,
}

/// What proves a login.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// A password.
    Password(Secret),
    /// A token (RFC 6750).
    Token(Secret),
    /// The certificate that we showed in the handshake.
    Certificate,
}

impl fmt::Debug for Credentials {
    /// Shows the user; never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What is new with every handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// A random nonce: visible US-ASCII without a comma, from at least 18 random octets.
    pub nonce: String,
    /// What TLS exports for channel binding (RFC 9266, section 2); none: it gives no binding.
    pub binding: Option<[u8; 32]>,
}

/// How far a login has got.
pub enum Exchange {
    /// The mechanism is named; the empty challenge is due, then this is said.
    Named(Box<Self>, Secret),
    /// Everything is said; the verdict is due.
    Last,
    /// LOGIN: the prompt for the user name is due.
    User(String, Secret),
    /// LOGIN: the prompt for the password is due.
    Password(Secret),
    /// SCRAM, which goes back and forth.
    Scram(Scram),
    /// A token is shown; the verdict is due, or the reason why there will be a bad one.
    Token(Mechanism),
    /// The next hop said why it refuses; the verdict is due.
    Refused(String),
}

impl fmt::Debug for Exchange {
    /// Shows where it stands; no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(..) => f.write_str("Named"),
            Self::Last => f.write_str("Last"),
            Self::User(..) => f.write_str("User"),
            Self::Password(_) => f.write_str("Password"),
            Self::Scram(scram) => scram.fmt(f),
            Self::Token(mechanism) => f.debug_tuple("Token").field(mechanism).finish(),
            Self::Refused(reason) => f.debug_tuple("Refused").field(reason).finish(),
        }
    }
}

/// What follows a challenge.
#[derive(Debug)]
pub enum Turn {
    /// These octets are to be sent; then an answer is due.
    Say(Exchange, Secret),
    /// This is to be derived, where it holds nobody up; then [`Exchange::derived`] goes on.
    Derive(Exchange, Derivation),
    /// The next hop does not keep to the mechanism, for the reason given.
    Broken(String),
    /// The next hop did not prove that it knows our password, for the reason given.
    Unproved(String),
}

impl Exchange {
    /// Begins a login by the strongest mechanism that the next hop offers and the login may use.
    /// Without `fresh` there is no SCRAM.
    ///
    /// # Errors
    ///
    /// There is none: says what is offered and what would be needed.
    pub fn begin(
        credentials: Credentials,
        offered: Mechanisms,
        fresh: Option<Fresh>,
    ) -> Result<(Self, Secret), String> {
        let Credentials { user, proof, mechanisms } = credentials;
        let binding = fresh.as_ref().and_then(|fresh| fresh.binding);
        let usable =
            |one: &Mechanism| mechanisms.has(*one) && (binding.is_some() || !one.is_bound());
        for mechanism in offered.iter().filter(usable) {
            let (exchange, first) = match (mechanism, &proof, &fresh) {
                (
                    Mechanism::ScramSha512Plus
                    | Mechanism::ScramSha256Plus
                    | Mechanism::ScramSha512
                    | Mechanism::ScramSha256,
                    Proof::Password(password),
                    Some(fresh),
                ) => {
                    let (scram, first) = Scram::begin(
                        mechanism,
                        &prepared::name(&user),
                        prepared::password(password.clone()),
                        fresh,
                        unbound(mechanisms, offered),
                    );
                    (Self::Scram(scram), Some(Secret::new(first)))
                }
                (Mechanism::Plain, Proof::Password(password), _) => {
                    let user = prepared::name(&user);
                    let password = prepared::password(password.clone());
                    (Self::Last, Some(joined(&[b"\0", user.as_bytes(), b"\0", &password])))
                }
                (Mechanism::Login, Proof::Password(password), _) => {
                    (Self::User(user.clone(), password.clone()), None)
                }
                (Mechanism::OAuthBearer, Proof::Token(token), _) => {
                    let user = scram::saslname(&user);
                    let parts: [&[u8]; 5] =
                        [b"n,a=", user.as_bytes(), b",\x01auth=Bearer ", token, b"\x01\x01"];
                    (Self::Token(mechanism), Some(joined(&parts)))
                }
                (Mechanism::XOAuth2, Proof::Token(token), _) => {
                    let parts: [&[u8]; 5] =
                        [b"user=", user.as_bytes(), b"\x01auth=Bearer ", token, b"\x01\x01"];
                    (Self::Token(mechanism), Some(joined(&parts)))
                }
                (Mechanism::External, Proof::Certificate, _) => {
                    (Self::Last, Some(joined(&[user.as_bytes()])))
                }
                _ => continue,
            };
            return Ok(named(mechanism, exchange, first));
        }
        Err(format!(
            "the next hop offers no login that we may use: it has {}, the route {}",
            offered.names(),
            mechanisms.names()
        ))
    }

    /// Answers a challenge: the text of a 334.
    #[must_use]
    pub fn challenged(self, challenge: &str) -> Turn {
        match self {
            Self::Named(then, first) => Turn::Say(*then, first),
            // The prompts of LOGIN are not looked at: their wording was never agreed on, their order
            // was.
            Self::User(user, password) => {
                Turn::Say(Self::Password(password), line(b"", user.as_bytes()))
            }
            Self::Password(password) => Turn::Say(Self::Last, line(b"", &password)),
            Self::Scram(scram) => match STANDARD.decode(challenge) {
                Ok(message) => scram.challenged(&message),
                Err(_) => Turn::Broken("its challenge is no base64".to_owned()),
            },
            Self::Token(mechanism) => {
                let reason = STANDARD.decode(challenge).unwrap_or_default();
                // OAUTHBEARER wants control-A (RFC 7628, section 3.2.3), its elder form nothing.
                let dummy: &[u8] = if mechanism == Mechanism::OAuthBearer { b"\x01" } else { b"" };
                Turn::Say(Self::Refused(printable(&reason, REASON_MAX)), line(b"", dummy))
            }
            Self::Last | Self::Refused(_) => {
                Turn::Broken("it asks for more than the login has to say".to_owned())
            }
        }
    }

    /// Goes on after [`Turn::Derive`].
    #[must_use]
    pub fn derived(self, salted: &Salted) -> Turn {
        match self {
            Self::Scram(scram) => scram.derived(salted),
            Self::Named(..)
            | Self::Last
            | Self::User(..)
            | Self::Password(_)
            | Self::Token(_)
            | Self::Refused(_) => Turn::Broken("nothing was to be derived".to_owned()),
        }
    }

    /// Tells whether a login that was granted is to be believed.
    ///
    /// # Errors
    ///
    /// It is not: the next hop grants what it could not check, or has refused.
    pub fn granted(&self) -> Result<(), String> {
        match self {
            Self::Last | Self::Token(_) => Ok(()),
            Self::Scram(scram) => scram.granted(),
            // Some grant before they were told the password: then it cannot have been checked.
            Self::Named(..) | Self::User(..) | Self::Password(_) => {
                Err("it granted a login before it was shown what proves it".to_owned())
            }
            Self::Refused(reason) => {
                Err(format!("it granted a login that it had refused: {reason}"))
            }
        }
    }

    /// Returns what the next hop gave as its reason before it refused.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(reason) if !reason.is_empty() => Some(reason),
            Self::Refused(_)
            | Self::Named(..)
            | Self::Last
            | Self::User(..)
            | Self::Password(_)
            | Self::Scram(_)
            | Self::Token(_) => None,
        }
    }
}

/// What the flag of SCRAM's first message says if it is not bound (RFC 5802, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unbound {
    /// `y`: we would bind if it were offered. Who took the offer away is found out.
    WouldBind,
    /// `n`: we do not want to.
    Declines,
}

/// Decides the flag of a message that is not bound: `y` only where the route would take a bound
/// mechanism and none was offered.
fn unbound(permitted: Mechanisms, offered: Mechanisms) -> Unbound {
    let bound = |set: Mechanisms| set.iter().any(Mechanism::is_bound);
    if bound(permitted) && !bound(offered) { Unbound::WouldBind } else { Unbound::Declines }
}

/// Names the mechanism, with the first message if there is one and the line is not too long for it.
fn named(mechanism: Mechanism, then: Exchange, first: Option<Secret>) -> (Exchange, Secret) {
    let name = mechanism.name();
    let bare = || Secret::new(format!("AUTH {name}\r\n").into_bytes());
    let Some(first) = first else { return (then, bare()) };
    let whole = if first.is_empty() {
        // An empty message, as opposed to none (RFC 4954, section 4).
        Secret::new(format!("AUTH {name} =\r\n").into_bytes())
    } else {
        line(format!("AUTH {name} ").as_bytes(), &first)
    };
    if whole.len() <= COMMAND_MAX {
        (then, whole)
    } else {
        (Exchange::Named(Box::new(then), line(b"", &first)), bare())
    }
}

/// Returns `parts` in one piece, reserved in one go: a buffer that grows would leave copies behind.
fn joined(parts: &[&[u8]]) -> Secret {
    let mut whole = Secret::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        whole.extend_from_slice(part);
    }
    whole
}

/// Returns `start`, the base 64 of `secret`, and CRLF.
fn line(start: &[u8], secret: &[u8]) -> Secret {
    let encoded = Zeroizing::new(STANDARD.encode(secret));
    joined(&[start, encoded.as_bytes(), b"\r\n"])
}
