//! Who a client is by its certificate, for SASL EXTERNAL (RFC 4422, appendix A).

use rustls::ServerConnection;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::policy::credential::is_login;

/// The most names that are taken from a certificate.
const NAMES_MAX: usize = 16;

/// The names of a client that its verified certificate vouches for; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    logins: Vec<String>,
}

impl ClientIdentity {
    /// Returns the names that can be logins, the first the most telling: mailboxes, then DNS names,
    /// then the common name. 1 to 16, each 1 to 64 visible US-ASCII octets, none twice.
    ///
    /// A mailbox names one person or service, a DNS name a host on which several may run. The common
    /// name comes last, since nothing says what kind of name it is (RFC 9525, section 2); small
    /// authorities of one's own often write nothing else.
    #[must_use]
    pub fn into_logins(self) -> Vec<String> {
        self.logins
    }

    /// Reads the names of a certificate that has been verified; none if no name can be a login.
    fn of(leaf: &X509Certificate<'_>) -> Option<Self> {
        let alternatives = leaf.subject_alternative_name().ok().flatten();
        let alternatives =
            alternatives.map_or(&[][..], |names| names.value.general_names.as_slice());
        let mailboxes = alternatives.iter().filter_map(|name| match name {
            GeneralName::RFC822Name(mailbox) => Some((*mailbox).to_owned()),
            _ => None,
        });
        // One name in any case (RFC 4343), while logins are compared octet by octet.
        let hosts = alternatives.iter().filter_map(|name| match name {
            GeneralName::DNSName(host) if !host.contains('*') => Some(host.to_ascii_lowercase()),
            _ => None,
        });
        let names = mailboxes.chain(hosts).chain(common_name(leaf));

        let mut logins: Vec<String> = Vec::new();
        for name in names.filter(|name| is_login(name)).take(NAMES_MAX) {
            if !logins.contains(&name) {
                logins.push(name);
            }
        }
        (!logins.is_empty()).then_some(Self { logins })
    }
}

/// Returns the common name. A subject with two of them is ambiguous: whoever signed it may have
/// looked at the other one.
fn common_name(leaf: &X509Certificate<'_>) -> Option<String> {
    let mut names = leaf.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    name.as_str().ok().map(str::to_owned)
}

/// Returns who the client is by its certificate. None before the end of the handshake, without a
/// certificate, without a usable name in it, and when it has expired: a resumed session stands for
/// its first handshake, which may be hours ago.
#[must_use]
pub fn client_identity(connection: &ServerConnection) -> Option<ClientIdentity> {
    if connection.is_handshaking() {
        return None;
    }
    // Whatever stands here went through the verifier of the listener.
    let leaf = connection.peer_certificates()?.first()?;
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    if leaf.validity().is_valid() { ClientIdentity::of(&leaf) } else { None }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// The object identifier of a common name, by which a second one gets past `rcgen`.
    const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];

    fn logins(common_names: &[&str], alternatives: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let types = [DnType::CommonName, DnType::CustomDnType(COMMON_NAME.to_vec())];
        for (kind, name) in types.into_iter().zip(common_names) {
            params.distinguished_name.push(kind, *name);
        }
        params.subject_alt_names = alternatives;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, leaf) = X509Certificate::from_der(made.der()).unwrap();
        ClientIdentity::of(&leaf).map(|identity| identity.logins).unwrap_or_default()
    }

    fn mailbox(name: &str) -> SanType {
        SanType::Rfc822Name(name.try_into().unwrap())
    }

    fn host(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    #[test]
    fn names_come_mailbox_first_and_common_name_last() {
        let all = [host("App.example.net"), mailbox("app@example.net"), host("b.example.net")];
        let expected = ["app@example.net", "app.example.net", "b.example.net", "app"];
        assert_eq!(logins(&["app"], all.to_vec()), expected);
        assert_eq!(logins(&["app.example.net"], vec![host("app.example.net")]).len(), 1);
    }

    #[test]
    fn what_cannot_be_a_login_is_no_name() {
        let long = "a".repeat(65);
        for name in ["two words", "gr\u{fc}n", "nul\0", &long] {
            assert_eq!(logins(&[name], vec![host("*.example.net")]), [""; 0], "{name:?}");
        }
        assert_eq!(logins(&[&"a".repeat(64)], Vec::new()).len(), 1);
    }

    #[test]
    fn of_two_common_names_neither_counts() {
        assert_eq!(logins(&["app", "admin"], Vec::new()), [""; 0]);
        assert_eq!(logins(&["app"], Vec::new()), ["app"]);
    }

    #[test]
    fn a_certificate_of_a_thousand_names_gives_sixteen() {
        let many = (0..1000).map(|n| host(&format!("n{n}.example.net"))).collect();
        assert_eq!(logins(&["app"], many).len(), NAMES_MAX);
    }
}
