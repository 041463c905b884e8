//! Keys that are stored instead of passwords (RFC 5802, section 3; RFC 7677), and the check of a
//! password against them.
//!
//! Pure: salts and secrets come as arguments. Everything here costs what a thief of the file would
//! have to pay for each guess, so it runs where it holds nobody up.

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use zeroize::Zeroizing;

/// Octets of a salt.
pub const SALT_OCTETS: usize = 16;
/// The longest login, octets.
pub const LOGIN_MAX: usize = 64;
/// How long a successful login is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// How many successful logins are remembered.
const REMEMBERED: usize = 10_000;

/// A hash that SCRAM is defined for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256 (RFC 7677).
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Returns the octets of its output.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// StoredKey and ServerKey of RFC 5802, section 3: enough to check a login, not to make one. They are wiped when
/// dropped: who has ServerKey can stand in for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// H(ClientKey).
    pub stored: Zeroizing<Vec<u8>>,
    /// HMAC(SaltedPassword, "Server Key").
    pub server: Zeroizing<Vec<u8>>,
}

/// Everything that SCRAM needs to know of a login (RFC 5802, section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKeys {
    /// How often the password was hashed.
    pub iterations: NonZeroU32,
    /// The salt of the login.
    pub salt: Vec<u8>,
    /// The keys.
    pub keys: Keys,
}

impl Keys {
    /// Derives the keys of a password. Takes time on purpose: `iterations` times two hashes.
    #[must_use]
    pub fn derive(hash: Hash, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let (pbkdf2, hmac, digest) = match hash {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
        };
        let mut salted = Zeroizing::new(vec![0; hash.octets()]);
        pbkdf2::derive(pbkdf2, iterations, salt, password, &mut salted);
        let salted = hmac::Key::new(hmac, &salted);
        let client = hmac::sign(&salted, b"Client Key");
        Self {
            stored: digest::digest(digest, client.as_ref()).as_ref().to_vec().into(),
            server: hmac::sign(&salted, b"Server Key").as_ref().to_vec().into(),
        }
    }

    /// Tells whether both are of one password, in constant time.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.stored, &other.stored).is_ok()
    }
}

/// Returns the salt that a login without keys pretends to have: always the same for one name, so
/// that it looks like any other.
#[must_use]
pub fn fake_salt(secret: &[u8], login: &str) -> [u8; SALT_OCTETS] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, login.as_bytes());
    let mut salt = [0; SALT_OCTETS];
    salt.copy_from_slice(&tag.as_ref()[..SALT_OCTETS]);
    salt
}

/// Returns the keys that a login without keys pretends to have: of no password, and the same each
/// time for one name.
#[must_use]
pub fn fake_keys(secret: &[u8], login: &str, hash: Hash) -> Keys {
    let algorithm = match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha512 => hmac::HMAC_SHA512,
    };
    let key = hmac::Key::new(algorithm, secret);
    let part = |what: &[u8]| {
        let mut context = hmac::Context::with_key(&key);
        context.update(what);
        context.update(login.as_bytes());
        context.sign().as_ref().to_vec().into()
    };
    // No salt is made of these words, and no name begins with them: a login holds no NUL.
    Keys { stored: part(b"stored\0"), server: part(b"server\0") }
}

/// Tells whether `login` may be the name of a user: 1 to 64 visible US-ASCII octets. Names of that
/// kind are their own normal form under every mechanism (RFC 4013).
#[must_use]
pub fn is_login(login: &str) -> bool {
    (1..=LOGIN_MAX).contains(&login.len()) && login.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Successful logins of the last five minutes, by a keyed hash of login and password; at most
/// 10,000. A thief of this memory learns no password from it.
#[derive(Debug)]
pub struct RecentLogins {
    key: hmac::Key,
    known: HashSet<[u8; 32]>,
    in_order: VecDeque<(Instant, [u8; 32])>,
}

impl RecentLogins {
    /// Returns an empty memory under a fresh random key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { key, known: HashSet::new(), in_order: VecDeque::new() }
    }

    /// Tells whether this login succeeded with this password in the last five minutes.
    pub fn knows(&mut self, login: &str, password: &[u8], now: Instant) -> bool {
        let expired = |at: Instant| now.saturating_duration_since(at) >= REMEMBERED_FOR;
        while self.in_order.front().is_some_and(|(at, _)| expired(*at)) {
            self.forget_first();
        }
        self.known.contains(&self.mark(login, password))
    }

    /// Remembers a success.
    pub fn remember(&mut self, login: &str, password: &[u8], now: Instant) {
        let mark = self.mark(login, password);
        if !self.known.insert(mark) {
            return;
        }
        self.in_order.push_back((now, mark));
        if self.in_order.len() > REMEMBERED {
            self.forget_first();
        }
    }

    /// Forgets everything: some login has changed.
    pub fn clear(&mut self) {
        self.known.clear();
        self.in_order.clear();
    }

    fn forget_first(&mut self) {
        if let Some((_, mark)) = self.in_order.pop_front() {
            self.known.remove(&mark);
        }
    }

    /// A login holds no NUL, so the two parts cannot be mistaken for others.
    fn mark(&self, login: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(login.as_bytes());
        context.update(&[0]);
        context.update(password);
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The exchange in RFC 7677, section 3: password "pencil", 4,096 iterations.
    #[test]
    fn keys_agree_with_the_example_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = NonZeroU32::new(4_096).unwrap();
        let keys = Keys::derive(Hash::Sha256, b"pencil", &salt, iterations);
        let auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF\
                    $k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
                    r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server = hmac::Key::new(hmac::HMAC_SHA256, &keys.server);
        let signature = hmac::sign(&server, auth.as_bytes());
        let expected = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(STANDARD.encode(signature.as_ref()), expected);
        // ClientProof xor HMAC(StoredKey, AuthMessage) is the ClientKey, whose hash is StoredKey.
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let stored = hmac::Key::new(hmac::HMAC_SHA256, &keys.stored);
        let signature = hmac::sign(&stored, auth.as_bytes());
        let client: Vec<u8> =
            proof.iter().zip(signature.as_ref()).map(|(proof, mask)| proof ^ mask).collect();
        assert_eq!(digest::digest(&digest::SHA256, &client).as_ref(), keys.stored.as_slice());
    }

    #[test]
    fn keys_are_wiped_when_they_are_dropped() {
        const fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let Keys { stored, server } = fake_keys(b"secret", "a", Hash::Sha256);
        wiped(&stored);
        wiped(&server);
    }

    #[test]
    fn only_the_same_password_agrees() {
        let iterations = NonZeroU32::new(10).unwrap();
        for hash in [Hash::Sha256, Hash::Sha512] {
            let keys = Keys::derive(hash, b"right", b"salt", iterations);
            assert_eq!((keys.stored.len(), keys.server.len()), (hash.octets(), hash.octets()));
            assert!(keys.agrees(&Keys::derive(hash, b"right", b"salt", iterations)));
            assert!(!keys.agrees(&Keys::derive(hash, b"wrong", b"salt", iterations)));
            assert!(!keys.agrees(&Keys::derive(hash, b"right", b"other", iterations)));
        }
    }

    #[test]
    fn a_fake_salt_is_stable_for_a_name_and_differs_between_names() {
        assert_eq!(fake_salt(b"secret", "a"), fake_salt(b"secret", "a"));
        assert_ne!(fake_salt(b"secret", "a"), fake_salt(b"secret", "b"));
        assert_ne!(fake_salt(b"secret", "a"), fake_salt(b"other", "a"));
    }

    #[test]
    fn a_success_is_remembered_for_five_minutes_and_not_for_other_passwords() {
        let start = Instant::now();
        let mut recent = RecentLogins::new(&[7; 32]);
        recent.remember("a", b"pw", start);
        assert!(recent.knows("a", b"pw", start + Duration::from_secs(299)));
        assert!(!recent.knows("a", b"px", start));
        assert!(!recent.knows("b", b"pw", start));
        assert!(!recent.knows("a", b"pw", start + REMEMBERED_FOR));
        recent.remember("a", b"pw", start);
        recent.clear();
        assert!(!recent.knows("a", b"pw", start));
    }

    #[test]
    fn no_more_than_ten_thousand_successes_are_remembered() {
        let start = Instant::now();
        let mut recent = RecentLogins::new(&[7; 32]);
        for count in 0..=REMEMBERED as u64 {
            recent.remember(&count.to_string(), b"pw", start);
        }
        assert_eq!((recent.known.len(), recent.in_order.len()), (REMEMBERED, REMEMBERED));
        assert!(!recent.knows("0", b"pw", start));
        assert!(recent.knows("1", b"pw", start));
    }
}
