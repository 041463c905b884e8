//! Tokens that another authority signs (RFC 7519), checked against its keys (RFC 7517).
//!
//! The keys stand in a file that an operator or a timer fetches: the relay asks nobody on the
//! network whom to let in.

use std::path::PathBuf;
use std::str::FromStr as _;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::config::OAuth;

/// The longest file of keys that is read, octets.
const FILE_MAX: u64 = 1 << 20;
/// The most keys in it.
const KEYS_MAX: usize = 100;
/// How far the clocks of issuer and relay may be apart, seconds.
const LEEWAY: u64 = 60;

/// Why keys cannot be read, or a token is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// The file is no set of public keys.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The token is not signed by a known key, is not for us, or its time is not now.
    #[error("the token is not taken")]
    Refused,
}

/// The public keys of one issuer, and what its tokens must say.
pub struct TokenKeys {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    claim: String,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl TokenKeys {
    /// Reads the file of keys that the configuration names.
    ///
    /// # Errors
    ///
    /// [`TokenError::Io`], [`TokenError::Malformed`].
    pub fn load(oauth: &OAuth) -> Result<Self, TokenError> {
        let path = || oauth.keys.clone();
        let failed = |cause| TokenError::Io { path: path(), cause };
        let malformed = |problem: String| TokenError::Malformed { path: path(), problem };
        let length = std::fs::metadata(&oauth.keys).map_err(failed)?.len();
        if length > FILE_MAX {
            return Err(malformed(format!("longer than {FILE_MAX} octets")));
        }
        let text = std::fs::read(&oauth.keys).map_err(failed)?;
        let set: JwkSet = serde_json::from_slice(&text)
            .map_err(|error| malformed(format!("no set of keys (RFC 7517): {error}")))?;
        if set.keys.len() > KEYS_MAX {
            return Err(malformed(format!("more than {KEYS_MAX} keys")));
        }
        // Keys for other purposes may stand beside ours; symmetric ones would be passwords.
        let keys: Vec<Key> = set.keys.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            let problem = "holds no public key with \"alg\" RS256, PS256, ES256 or EdDSA";
            return Err(malformed(problem.to_owned()));
        }
        let (issuer, audience) = (oauth.issuer.clone(), oauth.audience.clone());
        Ok(Self { keys, issuer, audience, claim: oauth.login_claim.clone() })
    }

    /// Returns the login that a token gives its bearer.
    ///
    /// # Errors
    ///
    /// [`TokenError::Refused`] if its signature is by none of the keys, it is of another issuer or
    /// for another audience, its time has not come or is over, or it names no login.
    pub fn check(&self, token: &str) -> Result<String, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Refused)?;
        let fits = |key: &&Key| {
            key.algorithm == header.alg && (header.kid.is_none() || key.id == header.kid)
        };
        let claims = self.keys.iter().filter(fits).find_map(|key| {
            let mut wanted = Validation::new(key.algorithm);
            wanted.set_required_spec_claims(&["exp", "iss", "aud"]);
            wanted.set_issuer(&[&self.issuer]);
            wanted.set_audience(&[&self.audience]);
            wanted.validate_nbf = true;
            wanted.leeway = LEEWAY;
            decode::<Map<String, Value>>(token, &key.key, &wanted).ok()
        });
        let claims = claims.ok_or(TokenError::Refused)?.claims;
        let login = claims.get(&self.claim).and_then(Value::as_str).ok_or(TokenError::Refused)?;
        Ok(login.to_owned())
    }
}

impl Key {
    /// Takes a public key that says which algorithm it is for.
    fn read(jwk: &Jwk) -> Option<Self> {
        let named = jwk.common.key_algorithm?.to_string();
        let algorithm = Algorithm::from_str(&named).ok().filter(|algorithm| match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
            | Algorithm::ES256
            | Algorithm::ES384
            | Algorithm::EdDSA => true,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => false,
        })?;
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm, key })
    }
}
