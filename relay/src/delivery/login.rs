//! Our login at a next hop: AUTH PLAIN and AUTH LOGIN (RFC 4954, RFC 4616).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::offer::Offer;

/// A user name and its password, for one login. The password is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Credentials {
    /// Shows the user; never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How far a login has got.
#[derive(Debug)]
pub enum Exchange {
    /// Everything is said; the verdict is due.
    Last,
    /// LOGIN: the prompt for the user name is due.
    User(Credentials),
    /// LOGIN: the prompt for the password is due.
    Password(Zeroizing<Vec<u8>>),
}

/// The octets to send; wiped from memory when dropped.
pub type Secret = Zeroizing<Vec<u8>>;

impl Exchange {
    /// Begins a login with what the next hop offers, PLAIN before LOGIN: one round trip instead of
    /// three. None if it offers neither.
    #[must_use]
    pub fn begin(credentials: Credentials, offer: Offer) -> Option<(Self, Secret)> {
        if offer.plain {
            let length = credentials.user.len() + credentials.password.len() + 2;
            // Reserved in one go: a buffer that grows would leave copies behind.
            let mut message = Zeroizing::new(Vec::with_capacity(length));
            message.push(0);
            message.extend_from_slice(credentials.user.as_bytes());
            message.push(0);
            message.extend_from_slice(&credentials.password);
            return Some((Self::Last, line(b"AUTH PLAIN ", &message)));
        }
        offer.login.then(|| (Self::User(credentials), Zeroizing::new(b"AUTH LOGIN\r\n".to_vec())))
    }

    /// Answers a 334. The prompts of LOGIN are not looked at: their wording was never agreed on,
    /// their order was. None if everything is said already.
    #[must_use]
    pub fn prompted(self) -> Option<(Self, Secret)> {
        match self {
            Self::Last => None,
            Self::User(Credentials { user, password }) => {
                Some((Self::Password(password), line(b"", user.as_bytes())))
            }
            Self::Password(password) => Some((Self::Last, line(b"", &password))),
        }
    }
}

/// Returns `start`, the base 64 of `secret`, and CRLF.
fn line(start: &[u8], secret: &[u8]) -> Secret {
    let encoded = Zeroizing::new(STANDARD.encode(secret));
    let mut line = Zeroizing::new(Vec::with_capacity(start.len() + encoded.len() + 2));
    line.extend_from_slice(start);
    line.extend_from_slice(encoded.as_bytes());
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials { user: "tim".into(), password: Zeroizing::new(b"tanstaaftanstaaf".to_vec()) }
    }

    #[test]
    fn plain_is_preferred_and_login_is_the_second_choice() {
        let both = Offer { plain: true, login: true, ..Offer::default() };
        let (exchange, sent) = Exchange::begin(credentials(), both).unwrap();
        // The example of RFC 4616, section 4.
        assert_eq!(*sent, b"AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
        assert!(exchange.prompted().is_none());

        let login = Offer { login: true, ..Offer::default() };
        let (exchange, sent) = Exchange::begin(credentials(), login).unwrap();
        assert_eq!(*sent, b"AUTH LOGIN\r\n");
        let (exchange, sent) = exchange.prompted().unwrap();
        assert_eq!(*sent, b"dGlt\r\n");
        let (exchange, sent) = exchange.prompted().unwrap();
        assert_eq!(*sent, b"dGFuc3RhYWZ0YW5zdGFhZg==\r\n");
        assert!(exchange.prompted().is_none());
        assert!(Exchange::begin(credentials(), Offer::default()).is_none());
    }

    #[test]
    fn a_password_is_not_shown_in_debug_output() {
        assert!(!format!("{:?}", credentials()).contains("tanstaaf"));
    }
}
