//! What a client can show at the end of an exchange, and what is needed on the way.

use zeroize::Zeroizing;

use crate::policy::credential::Hash;

/// What a client showed to prove who it is by a password. The password is wiped when it is dropped.
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

/// A token that a client showed (RFC 7628). It is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token as sent: visible US-ASCII.
    pub text: Zeroizing<String>,
    /// Whom the client says it is, or wants to be: the token must say the same.
    pub claims: Option<String>,
    /// By which mechanism it came.
    pub by: TokenMechanism,
}

/// A mechanism that shows a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenMechanism {
    /// RFC 7628.
    OAuthBearer,
    /// Its elder form.
    XOAuth2,
}

impl std::fmt::Debug for Token {
    /// Shows no token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("claims", &self.claims).finish_non_exhaustive()
    }
}

/// What a client has shown at the end of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A password, to be checked.
    Password(Credentials),
    /// It holds the password whose keys are stored (SCRAM).
    Keys {
        /// The login.
        login: String,
        /// Whom it wants to be.
        acts_as: Option<String>,
    },
    /// It does not hold that password: the login is the one it named.
    NoKeys {
        /// The login.
        login: String,
    },
    /// Its certificate was verified in the handshake.
    Certificate {
        /// The names in the certificate, the one it is known by first. Not empty.
        names: Vec<String>,
        /// Whom it wants to be.
        acts_as: Option<String>,
    },
    /// A token, to be checked.
    Token(Token),
}

/// Whose keys are needed before an exchange can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The login as sent: any text.
    pub login: String,
    /// The keys of which hash.
    pub hash: Hash,
}
