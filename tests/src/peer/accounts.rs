//! Logins at a peer: SCRAM by the server of rsasl, tokens by a list.

use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay::policy::credential::{Hash, Keys};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS, SCRAM_SHA512, SCRAM_SHA512_PLUS};
use rsasl::prelude::{
    Mechanism, Mechname, Registry, SASLConfig, SASLServer, SessionError, State, Validation,
};
use rsasl::property::{AuthId, ChannelBindings};

use rsasl::validate::{Validate, ValidationError};
use rustls::{ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, BufStream};

use super::{read_line, say};

/// The salt of every password.
const SALT: &[u8] = b"salt of the peer";
/// How often passwords are hashed.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// Who may log in at a peer.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// The one user.
    pub user: &'static str,
    /// Its password, for SCRAM.
    pub password: &'static str,
    /// The tokens that are good at the moment.
    pub tokens: Arc<Mutex<Vec<String>>>,
    /// Whether the peer knows what it says it knows.
    pub honesty: Honesty,
}

/// Whether a peer knows the password that it grants a login for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    /// It does.
    Honest,
    /// It does not, and shows a signature that it made up.
    MadeUp,
    /// It does not, and grants without a signature.
    Silent,
}

/// Returns what TLS 1.3 exports for channel binding (RFC 9266, section 2).
pub(super) fn binding(connection: &ServerConnection) -> Option<[u8; 32]> {
    let is_1_3 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let label = b"EXPORTER-Channel-Binding";
    is_1_3.then(|| connection.export_keying_material([0; 32], label, Some(b"")).ok()).flatten()
}

impl Accounts {
    /// Answers AUTH, up to the verdict.
    pub(super) async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        command: &str,
        binding: Option<[u8; 32]>,
    ) -> io::Result<()> {
        let mut words = command.split(' ').skip(1);
        let mechanism = words.next().unwrap_or_default();
        let first = if let Some(first) = words.next() {
            decoded(first)
        } else {
            self.ask(stream, b"").await?
        };
        let is_granted = match (mechanism, self.honesty) {
            ("OAUTHBEARER" | "XOAUTH2", _) => self.by_token(stream, &first).await?,
            (_, Honesty::Honest) => self.by_scram(stream, mechanism, first, binding).await?,
            (_, Honesty::MadeUp | Honesty::Silent) => self.as_if(stream, &first).await?,
        };
        let verdict =
            if is_granted { "235 2.7.0 welcome" } else { "535 5.7.8 wrong user or password" };
        say(stream, verdict).await
    }

    /// Says a challenge and reads the response.
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        challenge: &[u8],
    ) -> io::Result<Vec<u8>> {
        say(stream, &format!("334 {}", STANDARD.encode(challenge))).await?;
        let response = read_line(stream).await?;
        Ok(decoded(&response.ok_or(io::ErrorKind::UnexpectedEof)?))
    }

    async fn by_token<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        shown: &[u8],
    ) -> io::Result<bool> {
        let shown = String::from_utf8_lossy(shown).into_owned();
        let is_good = {
            let tokens = self.tokens.lock().expect("no test panics while it holds the tokens");
            let token = |token: &String| shown.contains(&format!("auth=Bearer {token}\u{1}\u{1}"));
            shown.contains(self.user) && tokens.iter().any(token)
        };
        if !is_good {
            self.ask(stream, b"{\"status\":\"invalid_token\"}").await?;
        }
        Ok(is_good)
    }

    async fn by_scram<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        mechanism: &str,
        mut shown: Vec<u8>,
        binding: Option<[u8; 32]>,
    ) -> io::Result<bool> {
        let hash = if mechanism.contains("512") { Hash::Sha512 } else { Hash::Sha256 };
        let keys = Keys::derive(hash, self.password.as_bytes(), SALT, ITERATIONS);
        let account = Account { user: self.user, keys, binding };
        let registered = MECHANISMS.iter().find(|(name, _)| *name == mechanism);
        let (_, registered) = registered.ok_or(io::ErrorKind::Unsupported)?;
        let registry = Registry::with_mechanisms(registered);
        let config = SASLConfig::builder().with_registry(registry).with_callback(account);
        let config: Arc<SASLConfig> = config.map_err(io::Error::other)?;
        let name = Mechname::parse(mechanism.as_bytes()).map_err(io::Error::other)?;
        let server = SASLServer::<Granted>::new(config);
        let mut session = server.start_suggested(name).map_err(io::Error::other)?;
        loop {
            let mut said = Vec::new();
            let state = session.step(Some(&shown), &mut said).map_err(io::Error::other)?;
            if !said.is_empty() {
                shown = self.ask(stream, &said).await?;
            }
            if let State::Finished(_) = state {
                return Ok(session.validation().is_some());
            }
        }
    }

    /// Plays SCRAM without the password, and grants.
    async fn as_if<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        first: &[u8],
    ) -> io::Result<bool> {
        let first = String::from_utf8_lossy(first).into_owned();
        let nonce = first.rsplit("r=").next().unwrap_or_default();
        let challenge = format!("r={nonce}x,s={},i=4096", STANDARD.encode(SALT));
        self.ask(stream, challenge.as_bytes()).await?;
        if self.honesty == Honesty::MadeUp {
            self.ask(stream, format!("v={}", STANDARD.encode([7; 32])).as_bytes()).await?;
        }
        Ok(true)
    }
}

/// The mechanisms, each alone: rsasl draws conclusions from what else is there.
const MECHANISMS: [(&str, &[Mechanism]); 4] = [
    ("SCRAM-SHA-512-PLUS", &[SCRAM_SHA512_PLUS]),
    ("SCRAM-SHA-256-PLUS", &[SCRAM_SHA256_PLUS]),
    ("SCRAM-SHA-512", &[SCRAM_SHA512]),
    ("SCRAM-SHA-256", &[SCRAM_SHA256]),
];

fn decoded(text: &str) -> Vec<u8> {
    if text == "=" { Vec::new() } else { STANDARD.decode(text).unwrap_or_default() }
}

/// What rsasl is told of the one account.
struct Account {
    user: &'static str,
    keys: Keys,
    binding: Option<[u8; 32]>,
}

/// That rsasl was convinced.
struct Granted;

impl Validation for Granted {
    type Value = ();
}

impl SessionCallback for Account {
    fn callback(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        if context.get_ref::<AuthId>() == Some(self.user)
            && request.is::<ScramStoredPassword<'static>>()
        {
            let Keys { stored, server } = &self.keys;
            let keys = ScramStoredPassword::new(ITERATIONS.get(), SALT, stored, server);
            request.satisfy::<ScramStoredPassword<'static>>(&keys)?;
        }
        if let Some(binding) = &self.binding
            && request.is::<ChannelBindings>()
        {
            request.satisfy::<ChannelBindings>(binding)?;
        }
        Ok(())
    }

    fn validate(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        validate.with::<Granted, _>(|| Ok(()))?;
        Ok(())
    }
}
