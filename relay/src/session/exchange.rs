//! One AUTH exchange (RFC 4954, section 4): lines in, challenges and at last credentials out.
//!
//! rsasl speaks the mechanisms; whether a password is right is asked of nobody here. The guards
//! around rsasl stand here: strict base64, `=` and `*`, LOGIN's prompts, no step after an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsasl::callback::{Context, SessionCallback, SessionData};
use rsasl::mechanisms::{login::LOGIN, plain::PLAIN};
use rsasl::prelude::{
    Mechanism as Registered, Mechname, Registry, SASLConfig, SASLServer, State, Validation,
};
use rsasl::property::{AuthId, AuthzId, Password};

use rsasl::validate::{Validate, ValidationError};
use zeroize::Zeroizing;

/// The mechanisms offered, as EHLO lists them.
pub const MECHANISMS: &str = "PLAIN LOGIN";

static REGISTERED: &[Registered] = &[PLAIN, LOGIN];

/// The longest exchange: LOGIN's two answers.
const RESPONSES_MAX: u8 = 4;

/// What a client showed to prove who it is. The password is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The login as sent: any text.
    pub login: String,
    /// The password as sent: any octets.
    pub password: Zeroizing<Vec<u8>>,
    /// Whom the client wants to be: only its own login is granted (RFC 4616, section 2).
    pub acts_as: Option<String>,
}

impl std::fmt::Debug for Credentials {
    /// Shows no password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("login", &self.login).finish_non_exhaustive()
    }
}

/// Why an exchange ended without credentials.
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
    /// A response was longer than 12,288 octets: 500 5.5.6.
    #[error("the response is too long")]
    TooLong,
}

/// What follows a response.
#[derive(Debug)]
pub enum Turn {
    /// Send this text after 334 and wait for a line.
    Challenge(Exchange, &'static str),
    /// The client has said everything.
    Complete(Credentials),
}

/// An exchange that waits for a response.
pub struct Exchange {
    sasl: rsasl::prelude::Session<Shown>,
    mechanism: Mechanism,
    responses: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Login,
}

/// Carries what the client showed out of rsasl.
struct Shown;

impl Validation for Shown {
    type Value = Credentials;
}

struct CopyOut;

impl SessionCallback for CopyOut {
    fn validate(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        validate.with::<Shown, _>(|| {
            let missing = || ValidationError::MissingRequiredProperty;
            let login = context.get_ref::<AuthId>().ok_or_else(missing)?.to_owned();
            let password = context.get_ref::<Password>().ok_or_else(missing)?.to_vec();
            let acts_as = context.get_ref::<AuthzId>().filter(|id| !id.is_empty());
            Ok(Credentials {
                login,
                password: Zeroizing::new(password),
                acts_as: acts_as.map(str::to_owned),
            })
        })?;
        Ok(())
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl Exchange {
    /// Begins an exchange. `initial` is the initial response as written: base64, or `=` for an
    /// empty one (RFC 4954, section 4).
    ///
    /// # Errors
    ///
    /// The mechanism is unknown, or the initial response is bad.
    pub fn begin(mechanism: &str, initial: Option<&str>) -> Result<Turn, ExchangeFault> {
        let mechanism = match mechanism {
            "PLAIN" => Mechanism::Plain,
            "LOGIN" => Mechanism::Login,
            _ => return Err(ExchangeFault::Unknown),
        };
        let mut exchange = Self { sasl: server(mechanism)?, mechanism, responses: 0 };
        if mechanism == Mechanism::Login {
            // LOGIN's server speaks first, and rsasl loses a response given to that first step.
            exchange.step(None)?;
        }
        match initial {
            None => Ok(exchange.challenge()),
            Some("=") => exchange.advance(&[]),
            Some(initial) => exchange.advance(&decode(initial.as_bytes())?),
        }
    }

    /// Takes the client's answer to a challenge: a line without its CRLF.
    ///
    /// # Errors
    ///
    /// The exchange is over without credentials.
    pub fn respond(self, line: &[u8]) -> Result<Turn, ExchangeFault> {
        if line == b"*" {
            return Err(ExchangeFault::Cancelled);
        }
        let response = decode(line)?;
        self.advance(&response)
    }

    fn advance(mut self, response: &[u8]) -> Result<Turn, ExchangeFault> {
        self.responses += 1;
        match self.step(Some(response))? {
            // `Finished` says that the exchange is over, not that anybody is who he says he is.
            State::Finished(_) => {
                self.sasl.validation().map(Turn::Complete).ok_or(ExchangeFault::Malformed)
            }
            State::Running if self.responses < RESPONSES_MAX => Ok(self.challenge()),
            State::Running => Err(ExchangeFault::Malformed),
        }
    }

    /// Our own prompts: those of rsasl are not what clients of LOGIN look for.
    fn challenge(self) -> Turn {
        let text = match (self.mechanism, self.responses) {
            (Mechanism::Plain, _) => "",
            (Mechanism::Login, 0) => "VXNlcm5hbWU6",
            (Mechanism::Login, _) => "UGFzc3dvcmQ6",
        };
        Turn::Challenge(self, text)
    }

    /// A panic in rsasl's parsers must end the exchange, not the process.
    fn step(&mut self, response: Option<&[u8]>) -> Result<State, ExchangeFault> {
        let mut prompt = Vec::new();
        catch_unwind(AssertUnwindSafe(|| self.sasl.step(response, &mut prompt)))
            .map_err(|_| ExchangeFault::Malformed)?
            .map_err(|_| ExchangeFault::Malformed)
    }
}

fn server(mechanism: Mechanism) -> Result<rsasl::prelude::Session<Shown>, ExchangeFault> {
    let config: Arc<SASLConfig> = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(REGISTERED))
        .with_callback(CopyOut)
        .map_err(|_| ExchangeFault::Unknown)?;
    let name: &[u8] = match mechanism {
        Mechanism::Plain => b"PLAIN",
        Mechanism::Login => b"LOGIN",
    };
    let name = Mechname::parse(name).map_err(|_| ExchangeFault::Unknown)?;
    SASLServer::<Shown>::new(config).start_suggested(name).map_err(|_| ExchangeFault::Unknown)
}

/// Reads base64 with its padding, and nothing else (RFC 4648, sections 3.2 to 3.5).
fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, ExchangeFault> {
    STANDARD.decode(text).map(Zeroizing::new).map_err(|_| ExchangeFault::Base64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(mechanism: &str, initial: Option<&str>, lines: &[&str]) -> Result<Turn, ExchangeFault> {
        let mut turn = Exchange::begin(mechanism, initial)?;
        for line in lines {
            let Turn::Challenge(exchange, _) = turn else { panic!("no answer is due to {line}") };
            turn = exchange.respond(line.as_bytes())?;
        }
        Ok(turn)
    }

    fn credentials(turn: Result<Turn, ExchangeFault>) -> (String, Vec<u8>, Option<String>) {
        match turn {
            Ok(Turn::Complete(Credentials { login, password, acts_as })) => {
                (login, password.to_vec(), acts_as)
            }
            other => panic!("no credentials: {other:?}"),
        }
    }

    #[test]
    fn plain_and_login_give_what_the_client_showed() {
        let joe = || ("joe".to_owned(), b"secret".to_vec(), None);
        // NUL joe NUL secret
        assert_eq!(credentials(run("PLAIN", Some("AGpvZQBzZWNyZXQ="), &[])), joe());
        assert_eq!(credentials(run("PLAIN", None, &["AGpvZQBzZWNyZXQ="])), joe());
        assert_eq!(credentials(run("LOGIN", None, &["am9l", "c2VjcmV0"])), joe());
        assert_eq!(credentials(run("LOGIN", Some("am9l"), &["c2VjcmV0"])), joe());
        // ann NUL joe NUL secret
        let (_, _, acts_as) = credentials(run("PLAIN", Some("YW5uAGpvZQBzZWNyZXQ="), &[]));
        assert_eq!(acts_as.as_deref(), Some("ann"));
    }

    #[test]
    fn prompts_are_those_that_clients_look_for() {
        let prompt = |turn: Result<Turn, ExchangeFault>| match turn {
            Ok(Turn::Challenge(_, text)) => text,
            other => panic!("no challenge: {other:?}"),
        };
        assert_eq!(prompt(run("PLAIN", None, &[])), "");
        assert_eq!(prompt(run("LOGIN", None, &[])), "VXNlcm5hbWU6");
        assert_eq!(prompt(run("LOGIN", None, &["am9l"])), "UGFzc3dvcmQ6");
        assert_eq!(prompt(run("LOGIN", Some("am9l"), &[])), "UGFzc3dvcmQ6");
        assert_eq!(prompt(run("LOGIN", Some("="), &[])), "UGFzc3dvcmQ6");
    }

    #[test]
    fn faults_are_told_apart() {
        use ExchangeFault::{Base64, Cancelled, Malformed, Unknown};
        type Row<'a> = (&'a str, Option<&'a str>, &'a [&'a str], ExchangeFault);
        let rows: &[Row<'_>] = &[
            ("CRAM-MD5", None, &[], Unknown),
            ("SCRAM-SHA-256", None, &[], Unknown),
            ("PLAIN", None, &["*"], Cancelled),
            ("LOGIN", None, &["am9l", "*"], Cancelled),
            ("PLAIN", None, &["="], Base64),
            ("PLAIN", None, &["AGpvZQBzZWNyZXQ"], Base64),
            ("PLAIN", None, &["AGpv=QBzZWNyZXQ="], Base64),
            ("PLAIN", None, &["AGpvZQBz ZWNyZXQ="], Base64),
            ("PLAIN", None, &["AGpvZQBzZWNyZXR="], Base64),
            ("PLAIN", Some("****"), &[], Base64),
            ("PLAIN", Some("="), &[], Malformed),
            ("PLAIN", None, &[""], Malformed),
            ("PLAIN", Some("am9l"), &[], Malformed),
            // NUL joe NUL, and NUL joe NUL a NUL b, and NUL NUL secret
            ("PLAIN", Some("AGpvZQA="), &[], Malformed),
            ("PLAIN", Some("AGpvZQBhAGI="), &[], Malformed),
            ("PLAIN", Some("AABzZWNyZXQ="), &[], Malformed),
            // NUL 0xff NUL a
            ("PLAIN", Some("AP8AYQ=="), &[], Malformed),
            ("LOGIN", None, &["/w=="], Malformed),
        ];
        for (mechanism, initial, lines, fault) in rows {
            let found = run(mechanism, *initial, lines).map(|_| ());
            assert_eq!(found, Err(*fault), "{mechanism} {initial:?} {lines:?}");
        }
    }

    proptest! {
        #[test]
        fn no_response_panics(
            response in proptest::collection::vec(any::<u8>(), 0..80),
            login in any::<bool>(),
        ) {
            let mechanism = if login { "LOGIN" } else { "PLAIN" };
            let text = STANDARD.encode(&response);
            if let Ok(Turn::Challenge(exchange, _)) = Exchange::begin(mechanism, Some(&text)) {
                let _ = exchange.respond(&response);
            }
        }
    }
}
