//! Whom clients must trust for a certificate: by the names of those who signed it.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::client::Trust;

/// Returns whom clients must trust for the chain in `certificate`, beside which an authority of ours may lie.
/// Signatures are not verified: who puts files here is believed.
#[must_use]
pub fn of(certificate: &Path) -> Trust {
    let chain = read(certificate);
    let authority = read(&certificate.with_file_name("ca.pem"));
    let issuers: Vec<Vec<u8>> =
        chain.iter().filter_map(|one| names(one)).map(|(_, by)| by).collect();
    let is_ours = |authority: &CertificateDer<'_>| {
        chain.contains(authority)
            || names(authority).is_some_and(|(subject, _)| issuers.contains(&subject))
    };
    // The names of public authorities stand there without the head of their sequence (RFC 5280, section 4.1.2.4).
    let is_public = |issuer: &Vec<u8>| {
        let mut known = webpki_roots::TLS_SERVER_ROOTS.iter().map(|anchor| anchor.subject.as_ref());
        known.any(|known| issuer.ends_with(known) && issuer.len() - known.len() <= 4)
    };
    if authority.iter().any(is_ours) {
        Trust::Own
    } else if issuers.iter().any(is_public) {
        Trust::Public
    } else {
        Trust::Unknown
    }
}

fn read(file: &Path) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(file).into_iter().flatten();
    found.map_while(Result::ok).collect()
}

/// Returns the subject and the issuer of a certificate, encoded.
fn names(certificate: &CertificateDer<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    Some((read.subject().as_raw().to_vec(), read.issuer().as_raw().to_vec()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, Issuer, KeyPair};

    use super::*;
    use crate::cli::tls;

    /// Returns a certificate that an authority of these names signed.
    fn signed(by: &[(DnType, &str)]) -> String {
        let mut authority = CertificateParams::default();
        authority.distinguished_name = DistinguishedName::new();
        for (kind, value) in by {
            let value = DnValue::PrintableString((*value).try_into().unwrap());
            authority.distinguished_name.push(kind.clone(), value);
        }
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let leaf = CertificateParams::new(vec!["relay.example.net".to_owned()]).unwrap();
        leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem()
    }

    #[test]
    fn an_authority_that_lies_beside_counts_only_if_it_signed() {
        let folder = tempfile::tempdir().unwrap();
        let [chain, ca] = ["fullchain.pem", "ca.pem"].map(|name| folder.path().join(name));
        let made = tls::make(&["relay.example.net".to_owned()]).unwrap();
        fs::write(&chain, &made.chain).unwrap();
        assert_eq!(of(&chain), Trust::Unknown, "nobody can be given its authority");
        fs::write(&ca, &made.ca).unwrap();
        assert_eq!(of(&chain), Trust::Own);
        let mut known = vec![(DnType::CountryName, "US")];
        known.push((DnType::OrganizationName, "Internet Security Research Group"));
        known.push((DnType::CommonName, "ISRG Root X1"));
        fs::write(&chain, signed(&known)).unwrap();
        assert_eq!(of(&chain), Trust::Public);
        fs::write(&chain, signed(&[(DnType::CommonName, "Example Company CA")])).unwrap();
        assert_eq!(of(&chain), Trust::Unknown);
        fs::remove_file(&chain).unwrap();
        assert_eq!(of(&chain), Trust::Unknown);
    }
}
