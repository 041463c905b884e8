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
    verifier: DecodingKey,
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
            decode::<Map<String, Value>>(token, &key.verifier, &wanted).ok()
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
        let verifier = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm, verifier })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    /// An issuer with one key of ECDSA (RFC 7518, section 3.4).
    struct Issuer {
        key: rcgen::KeyPair,
        folder: tempfile::TempDir,
    }

    impl Issuer {
        fn new() -> Self {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            Self { key, folder: tempfile::tempdir().unwrap() }
        }

        fn jwk(&self, id: &str) -> Value {
            let point = self.key.public_key_raw();
            let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": id, "use": "sig",
                   "x": part(1..33), "y": part(33..65)})
        }

        fn keys(&self, set: &Value) -> Result<TokenKeys, TokenError> {
            let path = self.folder.path().join("jwks.json");
            std::fs::write(&path, set.to_string()).unwrap();
            TokenKeys::load(&OAuth {
                keys: path,
                issuer: "https://login.example.net".to_owned(),
                audience: "relay.example.net".to_owned(),
                login_claim: "sub".to_owned(),
            })
        }

        fn sign(&self, id: &str, claims: &Value) -> String {
            let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
            let key = EncodingKey::from_ec_der(&self.key.serialize_der());
            encode(&header, claims, &key).unwrap()
        }
    }

    /// Claims that are taken, with `changes`; null takes one away.
    fn claims(changes: &[(&str, Value)]) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({"iss": "https://login.example.net", "aud": "relay.example.net",
                                "exp": now + 600, "nbf": now - 10, "sub": "app"});
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    #[test]
    fn a_token_is_taken_from_its_issuer_for_us_in_its_time_only() {
        let issuer = Issuer::new();
        let keys = issuer.keys(&json!({"keys": [issuer.jwk("one")]})).unwrap();
        let now = jiff::Timestamp::now().as_second();
        let check = |claims: &Value| keys.check(&issuer.sign("one", claims)).ok();
        assert_eq!(check(&claims(&[])).as_deref(), Some("app"));
        let several = [("aud", json!(["other", "relay.example.net"]))];
        assert_eq!(check(&claims(&several)).as_deref(), Some("app"));
        for (name, value) in [
            ("iss", json!("https://other.example.net")),
            ("iss", Value::Null),
            ("aud", json!("other")),
            ("aud", Value::Null),
            ("exp", json!(now - 120)),
            ("exp", Value::Null),
            ("nbf", json!(now + 300)),
            ("sub", Value::Null),
            ("sub", json!(7)),
        ] {
            assert_eq!(check(&claims(&[(name, value.clone())])), None, "{name} = {value}");
        }
    }

    #[test]
    fn a_signature_by_another_key_or_by_none_is_refused() {
        let (issuer, other) = (Issuer::new(), Issuer::new());
        let keys = issuer.keys(&json!({"keys": [issuer.jwk("one")]})).unwrap();
        let good = issuer.sign("one", &claims(&[]));
        assert!(keys.check(&good).is_ok());
        assert!(keys.check(&issuer.sign("two", &claims(&[]))).is_err(), "an unknown key id");
        assert!(keys.check(&other.sign("one", &claims(&[]))).is_err());
        let (signed, _) = good.rsplit_once('.').unwrap();
        let unsigned = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\",\"typ\":\"JWT\"}");
        let body = signed.split_once('.').unwrap().1;
        let forged = [format!("{signed}."), format!("{unsigned}.{body}."), String::new()];
        let symmetric = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        let by_public = EncodingKey::from_secret(issuer.key.public_key_raw());
        let symmetric = encode(&symmetric, &claims(&[]), &by_public).unwrap();
        for token in forged.iter().chain([&symmetric]) {
            assert!(keys.check(token).is_err(), "{token}");
        }
    }

    #[test]
    fn a_file_without_public_keys_is_refused_by_its_name() {
        let issuer = Issuer::new();
        for set in [
            json!({}),
            json!({"keys": []}),
            json!({"keys": [{"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"}]}),
        ] {
            let error = issuer.keys(&set).err().unwrap().to_string();
            assert!(error.contains("jwks.json: "), "{error}");
        }
    }
}
