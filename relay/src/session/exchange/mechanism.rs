//! The mechanisms by which a client can prove who it is, and which of them a session offers.

use rsasl::mechanisms::external::EXTERNAL;
use rsasl::mechanisms::login::LOGIN;
use rsasl::mechanisms::oauthbearer::OAUTHBEARER;
use rsasl::mechanisms::plain::PLAIN;
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS, SCRAM_SHA512, SCRAM_SHA512_PLUS};
use rsasl::mechanisms::xoauth2::XOAUTH2;
use rsasl::prelude::Mechanism as Registered;

use crate::policy::credential::Hash;

/// A mechanism of SASL (RFC 4422).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// RFC 5802 and RFC 7677; RFC 9266 with channel binding.
    Scram(Hash, Binding),
    /// RFC 4422, appendix A: the client's certificate says who it is.
    External,
    /// RFC 7628.
    OAuthBearer,
    /// The elder form of the same, which some clients still send.
    XOAuth2,
    /// RFC 4616.
    Plain,
    /// User name and password, each to a prompt; never standardised, widely used.
    Login,
}

/// Whether a mechanism is bound to the TLS connection that it runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// It is: `-PLUS`.
    Bound,
    /// It is not.
    Unbound,
}

/// What a session has to prove an identity with, besides passwords.
#[derive(Clone, Debug, Default)]
pub(in crate::session) struct Means {
    /// The value that both ends of the TLS connection share (RFC 9266).
    pub(in crate::session) exporter: Option<[u8; 32]>,
    /// The names in the client's verified certificate, the first being the one it is known by.
    pub(in crate::session) names: Vec<String>,
    /// Whether tokens can be checked.
    pub(in crate::session) tokens: Tokens,
}

/// Whether there are keys to check tokens with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokens {
    /// There are.
    Checked,
    /// There are none: OAUTHBEARER and XOAUTH2 are not offered.
    #[default]
    Unknown,
}

/// Every mechanism by its name, in the order of EHLO: the strongest first. Those of rsasl beside
/// them are what its server is made of.
const MECHANISMS: [(&str, Mechanism, &[Registered]); 9] = [
    ("SCRAM-SHA-256-PLUS", Mechanism::Scram(Hash::Sha256, Binding::Bound), &[SCRAM_SHA256_PLUS]),
    ("SCRAM-SHA-512-PLUS", Mechanism::Scram(Hash::Sha512, Binding::Bound), &[SCRAM_SHA512_PLUS]),
    ("SCRAM-SHA-256", Mechanism::Scram(Hash::Sha256, Binding::Unbound), &[SCRAM_SHA256]),
    ("SCRAM-SHA-512", Mechanism::Scram(Hash::Sha512, Binding::Unbound), &[SCRAM_SHA512]),
    ("EXTERNAL", Mechanism::External, &[EXTERNAL]),
    ("OAUTHBEARER", Mechanism::OAuthBearer, &[OAUTHBEARER]),
    ("XOAUTH2", Mechanism::XOAuth2, &[XOAUTH2]),
    ("PLAIN", Mechanism::Plain, &[PLAIN]),
    ("LOGIN", Mechanism::Login, &[LOGIN]),
];

/// Returns the name of a mechanism, as we write it, if there is one of this name.
pub(in crate::session) fn known(name: &str) -> Option<&'static str> {
    MECHANISMS.iter().find(|(known, _, _)| *known == name).map(|(known, _, _)| *known)
}

impl Mechanism {
    /// Returns the mechanism of this name, upper case, if a session with these means offers it.
    pub(super) fn named(name: &str, means: &Means) -> Option<Self> {
        let (_, mechanism, _) = MECHANISMS.iter().find(|(known, _, _)| *known == name)?;
        mechanism.is_offered(means).then_some(*mechanism)
    }

    /// Returns the name.
    pub(super) fn name(self) -> &'static str {
        self.row().0
    }

    /// Returns the registry that rsasl is to choose from: never another than this one, since it
    /// draws conclusions from what else is there.
    pub(super) fn registered(self) -> &'static [Registered] {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static [Registered]) {
        let row = MECHANISMS.iter().find(|(_, mechanism, _)| *mechanism == self);
        let (name, _, registered) = row.expect("invariant: the table holds every mechanism");
        (name, registered)
    }

    const fn is_offered(self, means: &Means) -> bool {
        match self {
            Self::Scram(_, Binding::Bound) => means.exporter.is_some(),
            Self::External => !means.names.is_empty(),
            Self::OAuthBearer | Self::XOAuth2 => matches!(means.tokens, Tokens::Checked),
            Self::Scram(_, Binding::Unbound) | Self::Plain | Self::Login => true,
        }
    }
}

/// Returns the names of the mechanisms that a session with these means offers, as EHLO lists them
/// (RFC 4954, section 3).
pub(in crate::session) fn offered(means: &Means) -> String {
    let names = MECHANISMS.iter().filter(|(_, mechanism, _)| mechanism.is_offered(means));
    names.map(|(name, _, _)| *name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_depends_on_what_the_session_has() {
        let bare = Means::default();
        assert_eq!(offered(&bare), "SCRAM-SHA-256 SCRAM-SHA-512 PLAIN LOGIN");
        let all = Means {
            exporter: Some([0; 32]),
            names: vec!["app".to_owned()],
            tokens: Tokens::Checked,
        };
        let names = offered(&all);
        assert_eq!(names.split(' ').count(), MECHANISMS.len());
        for (name, mechanism, _) in MECHANISMS {
            assert_eq!(Mechanism::named(name, &all), Some(mechanism));
            assert_eq!(mechanism.name(), name);
            let offers_it = offered(&bare).split(' ').any(|offered| offered == name);
            assert_eq!(Mechanism::named(name, &bare).is_some(), offers_it, "{name}");
        }
    }
}
