//! One AUTH exchange (RFC 4954, section 4): lines in, challenges and at last a proof out.
//!
//! rsasl speaks the mechanisms; whether a proof is right is asked of nobody here, but for SCRAM,
//! whose proof rsasl checks with the keys that it was given. The guards around rsasl stand here and
//! in the files below: strict base64, `=` and `*`, LOGIN's prompts, no step after an error.
//!
//! ```text
//! mechanism   which there are, and which a session offers
//! proof       what a client can show at the end
//! scram       the grammar of SCRAM's messages
//! server      rsasl, and what it is told
//! ```

mod mechanism;
mod proof;
mod scram;
mod server;

use base64::engine::general_purpose::STANDARD;
use base64::{Engine as _, decoded_len_estimate};
use zeroize::Zeroizing;

use crate::policy::credential::StoredKeys;
pub use mechanism::Tokens;
use mechanism::{Binding, Mechanism};
pub(super) use mechanism::{Means, known, offered};
pub use proof::{Credentials, Proof, Token, TokenMechanism, Wanted};
use scram::{ClientFirst, Offers, ScramFault};
use server::{Next, Server, Shown, Told};

/// What a client is told whose token is refused (RFC 7628, section 3.2.2). It says no more than the
/// reply after it.
const TOKEN_REFUSED: &str = "{\"status\":\"invalid_token\"}";
/// The same as clients of XOAUTH2 expect it.
const XOAUTH2_REFUSED: &str = "{\"status\":\"401\",\"schemes\":\"bearer\"}";

/// Why an exchange ended without a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeFault {
    /// The mechanism is not offered: 504 5.5.4.
    #[error("the mechanism is not offered here")]
    Unknown,
    /// A response is not strict base64: 501 5.5.2.
    #[error("the response is not base64")]
    Base64,
    /// The client cancelled: 501 5.7.0.
    #[error("the exchange was cancelled")]
    Cancelled,
    /// A response does not follow the mechanism's grammar: 501 5.5.2.
    #[error("the response is malformed")]
    Malformed,
    /// Channel binding was not used as it was offered: 535 5.7.8.
    #[error("channel binding is not used as it is offered: somebody may be in between")]
    Binding,
    /// A response was longer than 12,288 octets: 500 5.5.6.
    #[error("the response is too long")]
    TooLong,
}

/// What follows a response.
#[derive(Debug)]
pub enum Turn {
    /// Send this text after 334 and wait for a line.
    Challenge(Exchange, String),
    /// Look these keys up, and go on with [`Exchange::keys`].
    Lookup(Exchange, Wanted),
    /// The client has said everything.
    Complete(Proof),
    /// The client has said everything, and is to see our own proof if its own is granted.
    Sign(Signing, Proof),
    /// The client, who was granted this login, has seen our proof.
    Signed(String),
    /// The client has heard why its token is refused.
    Refused,
}

/// An exchange in which our own proof is ready. It is shown only if the client's is granted: whose
/// login has to wait learns nothing of whether it was right.
#[derive(Debug)]
pub struct Signing {
    mechanism: Mechanism,
    means: Means,
    text: String,
}

impl Signing {
    /// Goes on after the client was granted `login`.
    pub(super) fn granted(self, login: String) -> Turn {
        let Self { mechanism, means, text } = self;
        Turn::Challenge(Exchange { mechanism, means, place: Place::ScramEnd(login) }, text)
    }
}

/// An exchange that waits for a response, or for keys.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    means: Means,
    place: Place,
}

/// How far an exchange has come.
enum Place {
    /// Nothing was heard yet.
    First,
    /// rsasl wants another response: LOGIN's.
    Running(Server),
    /// The keys of the login are awaited; the message is the client's first.
    Keys(ClientFirst, Zeroizing<Vec<u8>>),
    /// The client's proof is awaited.
    ScramFinal(ClientFirst, Server),
    /// The client, who was granted this login, has been shown our proof, and answers with nothing.
    ScramEnd(String),
    /// The client has been told that its token is refused, and answers with anything.
    TokenEnd,
}

impl std::fmt::Debug for Place {
    /// Shows nothing that was sent.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::First => "First",
            Self::Running(_) => "Running",
            Self::Keys(..) => "Keys",
            Self::ScramFinal(..) => "ScramFinal",
            Self::ScramEnd(_) => "ScramEnd",
            Self::TokenEnd => "TokenEnd",
        })
    }
}

impl Exchange {
    /// Begins an exchange. `mechanism` is upper case; `initial` is the initial response as written:
    /// base64, or `=` for an empty one (RFC 4954, section 4).
    ///
    /// # Errors
    ///
    /// The mechanism is unknown or not offered, or the initial response is bad.
    pub(super) fn begin(
        mechanism: &str,
        initial: Option<&str>,
        means: Means,
    ) -> Result<Turn, ExchangeFault> {
        let mechanism = Mechanism::named(mechanism, &means).ok_or(ExchangeFault::Unknown)?;
        let exchange = Self { mechanism, means, place: Place::First };
        match (initial, mechanism) {
            (None, Mechanism::Login) => Ok(exchange.prompt(USERNAME)),
            (None, _) => Ok(exchange.prompt("")),
            (Some("="), _) => exchange.advance(&[]),
            (Some(initial), _) => exchange.advance(&decode(initial.as_bytes())?),
        }
    }

    /// Takes the client's answer to a challenge: a line without its CRLF.
    ///
    /// # Errors
    ///
    /// The exchange is over without a proof.
    pub fn respond(self, line: &[u8]) -> Result<Turn, ExchangeFault> {
        if matches!(self.place, Place::TokenEnd) {
            return Ok(Turn::Refused);
        }
        if line == b"*" {
            return Err(ExchangeFault::Cancelled);
        }
        let response = decode(line)?;
        self.advance(&response)
    }

    /// Takes the keys that [`Turn::Lookup`] asked for; those of a login that does not exist are
    /// false ones, so that it looks like any other.
    ///
    /// # Errors
    ///
    /// The exchange is over without a proof.
    pub(super) fn keys(self, keys: StoredKeys) -> Result<Turn, ExchangeFault> {
        let Place::Keys(first, message) = self.place else { return Err(ExchangeFault::Malformed) };
        let told = Told { keys: Some(keys), exporter: self.means.exporter };
        match Server::start(self.mechanism, told)?.step(Some(&message))? {
            (Next::Running(server), challenge) => {
                let place = Place::ScramFinal(first, server);
                let text = STANDARD.encode(challenge);
                Ok(Turn::Challenge(Self { place, ..self }, text))
            }
            (Next::Finished(_), _) => Err(ExchangeFault::Malformed),
        }
    }

    /// Goes on after a token that was refused: the client hears why, and answers (RFC 7628,
    /// section 3.2.3).
    pub(super) fn after_refused_token(by: TokenMechanism) -> Turn {
        let (mechanism, words) = match by {
            TokenMechanism::OAuthBearer => (Mechanism::OAuthBearer, TOKEN_REFUSED),
            TokenMechanism::XOAuth2 => (Mechanism::XOAuth2, XOAUTH2_REFUSED),
        };
        let exchange = Self { mechanism, means: Means::default(), place: Place::TokenEnd };
        Turn::Challenge(exchange, STANDARD.encode(words))
    }

    /// Returns whether the exchange has failed, and any answer of the client ends it.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.place, Place::TokenEnd)
    }

    fn prompt(self, text: &str) -> Turn {
        Turn::Challenge(self, text.to_owned())
    }

    fn advance(self, response: &[u8]) -> Result<Turn, ExchangeFault> {
        let Self { mechanism, means, place } = self;
        match (place, mechanism) {
            (Place::First, Mechanism::Scram(hash, binding)) => {
                let first = Self::client_first(response, binding, &means)?;
                let wanted = Wanted { login: first.login.clone(), hash };
                let place = Place::Keys(first, Zeroizing::new(response.to_vec()));
                Ok(Turn::Lookup(Self { mechanism, means, place }, wanted))
            }
            (Place::First, Mechanism::Login) => {
                // LOGIN's server speaks first, and rsasl loses a response given to that first step.
                let (next, _) = Server::start(mechanism, Told::default())?.step(None)?;
                let Next::Running(server) = next else { return Err(ExchangeFault::Malformed) };
                Self { mechanism, means, place: Place::Running(server) }.advance(response)
            }
            (
                Place::First,
                Mechanism::Plain
                | Mechanism::External
                | Mechanism::OAuthBearer
                | Mechanism::XOAuth2,
            ) => {
                let (next, _) = Server::start(mechanism, Told::default())?.step(Some(response))?;
                let Next::Finished(Some(shown)) = next else {
                    return Err(ExchangeFault::Malformed);
                };
                prove(mechanism, shown, means).map(Turn::Complete)
            }
            (Place::Running(server), _) => match server.step(Some(response))? {
                (Next::Running(server), _) => {
                    let place = Place::Running(server);
                    Ok(Self { mechanism, means, place }.prompt(PASSWORD))
                }
                (Next::Finished(Some(shown)), _) => {
                    prove(mechanism, shown, means).map(Turn::Complete)
                }
                (Next::Finished(None), _) => Err(ExchangeFault::Malformed),
            },
            (Place::ScramFinal(first, server), _) => {
                if !scram::is_client_final(response) {
                    return Err(ExchangeFault::Malformed);
                }
                let ClientFirst { login, acts_as } = first;
                match server.step(Some(response))? {
                    // Our own proof: the client is to see that we know its keys.
                    (Next::Finished(Some(_)), signature) => {
                        let signing =
                            Signing { mechanism, means, text: STANDARD.encode(signature) };
                        Ok(Turn::Sign(signing, Proof::Keys { login, acts_as }))
                    }
                    (Next::Finished(None), _) => Ok(Turn::Complete(Proof::NoKeys { login })),
                    (Next::Running(_), _) => Err(ExchangeFault::Malformed),
                }
            }
            (Place::ScramEnd(login), _) if response.is_empty() => Ok(Turn::Signed(login)),
            (Place::ScramEnd(_) | Place::Keys(..) | Place::TokenEnd, _) => {
                Err(ExchangeFault::Malformed)
            }
        }
    }

    fn client_first(
        message: &[u8],
        binding: Binding,
        means: &Means,
    ) -> Result<ClientFirst, ExchangeFault> {
        let offers = if means.exporter.is_some() { Offers::Binding } else { Offers::NoBinding };
        scram::client_first(message, binding, offers).map_err(|fault| match fault {
            ScramFault::Grammar => ExchangeFault::Malformed,
            ScramFault::Binding => ExchangeFault::Binding,
        })
    }
}

/// Our own prompts of LOGIN: those of rsasl are not what clients look for.
const USERNAME: &str = "VXNlcm5hbWU6";
/// The second one.
const PASSWORD: &str = "UGFzc3dvcmQ6";

/// Turns what rsasl read into a proof.
fn prove(mechanism: Mechanism, shown: Shown, means: Means) -> Result<Proof, ExchangeFault> {
    let Shown { login, acts_as, password, token } = shown;
    let missing = ExchangeFault::Malformed;
    match mechanism {
        Mechanism::Plain | Mechanism::Login => {
            let (login, password) = (login.ok_or(missing)?, password.ok_or(missing)?);
            // RFC 4616, section 2: UTF-8. No stored password could be meant by anything else.
            if std::str::from_utf8(&password).is_err() {
                return Err(missing);
            }
            Ok(Proof::Password(Credentials { login, password, acts_as }))
        }
        Mechanism::External => Ok(Proof::Certificate { names: means.names, acts_as }),
        Mechanism::OAuthBearer | Mechanism::XOAuth2 => {
            let text = token.ok_or(missing)?;
            // OAUTHBEARER gives the whole value; a scheme compares without case (RFC 6750).
            let text = match text.split_once(' ') {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("Bearer") => {
                    Zeroizing::new(rest.to_owned())
                }
                None if mechanism == Mechanism::XOAuth2 => text,
                Some(_) | None => return Err(missing),
            };
            let (claims, by) = if mechanism == Mechanism::XOAuth2 {
                (login, TokenMechanism::XOAuth2)
            } else {
                (acts_as.as_deref().map(unescaped), TokenMechanism::OAuthBearer)
            };
            Ok(Proof::Token(Token { text, claims, by }))
        }
        Mechanism::Scram(..) => Err(missing),
    }
}

/// Undoes the escapes that a name has in a header of GS2 (RFC 5801, section 4).
fn unescaped(name: &str) -> String {
    name.replace("=2C", ",").replace("=3D", "=")
}

/// Reads base64 with its padding, and nothing else (RFC 4648, sections 3.2 to 3.5).
fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, ExchangeFault> {
    // Given its room, it does not move; and what was decoded before a fault is wiped too.
    let mut octets = Zeroizing::new(Vec::with_capacity(decoded_len_estimate(text.len())));
    STANDARD.decode_vec(text, &mut octets).map_err(|_| ExchangeFault::Base64)?;
    Ok(octets)
}

#[cfg(test)]
mod tests;
