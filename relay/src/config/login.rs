//! Our login at a next hop: what it is proved by, and by which mechanisms.

use std::path::PathBuf;

/// A login at a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLogin {
    /// The user name. Empty only with [`RouteProof::Certificate`]: then the name in the certificate
    /// decides.
    pub user: String,
    /// What the login is proved by.
    pub proof: RouteProof,
    /// The mechanisms that may be used; not empty, and all of the proof's kind.
    pub mechanisms: Mechanisms,
}

/// What a login is proved by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteProof {
    /// A password, in the first line of this file.
    Password(PathBuf),
    /// A token that somebody else keeps fresh, in the first line of this file.
    Token(PathBuf),
    /// A token that is got from an issuer.
    Issued(TokenIssuer),
    /// The route's client certificate.
    Certificate,
}

impl RouteProof {
    /// Returns which mechanisms can show it.
    #[must_use]
    pub const fn kind(&self) -> ProofKind {
        match self {
            Self::Password(_) => ProofKind::Password,
            Self::Token(_) | Self::Issued(_) => ProofKind::Token,
            Self::Certificate => ProofKind::Certificate,
        }
    }
}

/// Where tokens come from (RFC 6749).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIssuer {
    /// The token endpoint, `https://…`.
    pub url: String,
    /// Our name there.
    pub client_id: String,
    /// The file that holds our secret there in its first line.
    pub client_secret_file: Option<PathBuf>,
    /// The file that holds the refresh token in its first line (RFC 6749, section 6); none: the
    /// client's own credentials get the token (section 4.4).
    pub refresh_token_file: Option<PathBuf>,
    /// What the token is to be good for.
    pub scope: Option<String>,
    /// PEM file of the authorities that may sign the issuer's certificate; none: the public ones.
    pub ca_file: Option<PathBuf>,
}

/// What a mechanism shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    /// A password, or that we know it.
    Password,
    /// A token.
    Token,
    /// Nothing: the certificate of the handshake is the proof.
    Certificate,
}

/// A way to log in at a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 5802 with SHA-512, bound to the TLS connection.
    ScramSha512Plus,
    /// RFC 7677, bound to the TLS connection.
    ScramSha256Plus,
    /// RFC 5802 with SHA-512.
    ScramSha512,
    /// RFC 7677.
    ScramSha256,
    /// RFC 4422, appendix A.
    External,
    /// RFC 7628.
    OAuthBearer,
    /// The elder form of it.
    XOAuth2,
    /// RFC 4616.
    Plain,
    /// PLAIN in two steps, as many servers have it.
    Login,
}

impl Mechanism {
    /// All of them, the strongest first: those that give no password away, then those that take one
    /// round trip.
    pub const ALL: [Self; 9] = [
        Self::ScramSha512Plus,
        Self::ScramSha256Plus,
        Self::ScramSha512,
        Self::ScramSha256,
        Self::External,
        Self::OAuthBearer,
        Self::XOAuth2,
        Self::Plain,
        Self::Login,
    ];

    /// Returns the name in AUTH (RFC 4422, section 3.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha512Plus => "SCRAM-SHA-512-PLUS",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::External => "EXTERNAL",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// Returns the mechanism of this name, without regard to case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Returns what it shows.
    #[must_use]
    pub const fn shows(self) -> ProofKind {
        match self {
            Self::ScramSha512Plus
            | Self::ScramSha256Plus
            | Self::ScramSha512
            | Self::ScramSha256
            | Self::Plain
            | Self::Login => ProofKind::Password,
            Self::OAuthBearer | Self::XOAuth2 => ProofKind::Token,
            Self::External => ProofKind::Certificate,
        }
    }

    /// Tells whether it is bound to the TLS connection (RFC 5056).
    #[must_use]
    pub const fn is_bound(self) -> bool {
        match self {
            Self::ScramSha512Plus | Self::ScramSha256Plus => true,
            Self::ScramSha512
            | Self::ScramSha256
            | Self::External
            | Self::OAuthBearer
            | Self::XOAuth2
            | Self::Plain
            | Self::Login => false,
        }
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Returns all that show what `kind` says.
    #[must_use]
    pub fn that_show(kind: ProofKind) -> Self {
        Mechanism::ALL.into_iter().filter(|mechanism| mechanism.shows() == kind).collect()
    }

    /// Tells whether `mechanism` is among them.
    #[must_use]
    pub const fn has(self, mechanism: Mechanism) -> bool {
        self.0 & (1 << mechanism as u16) != 0
    }

    /// Adds one.
    pub const fn add(&mut self, mechanism: Mechanism) {
        self.0 |= 1 << mechanism as u16;
    }

    /// Returns those that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns them, the strongest first.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |mechanism| self.has(*mechanism))
    }

    /// Returns their names for people, the strongest first; `none` if there are none.
    #[must_use]
    pub fn names(self) -> String {
        let names: Vec<_> = self.iter().map(Mechanism::name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

impl FromIterator<Mechanism> for Mechanisms {
    fn from_iter<I: IntoIterator<Item = Mechanism>>(mechanisms: I) -> Self {
        let mut set = Self::default();
        mechanisms.into_iter().for_each(|mechanism| set.add(mechanism));
        set
    }
}
