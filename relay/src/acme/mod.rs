//! A client of ACME (RFC 8555): certificates for names whose port 80 leads to this host (HTTP-01, section 8.3).
//!
//! It asks the authority and answers its proofs. It reads no file but that of authorities and keeps nothing, but for
//! [that it failed](failed): keys, accounts and chains come and go as texts. Every verb blocks until it is done.

mod courier;
/// That a certificate is not renewed, and why.
pub mod failed;
mod fault;
mod order;
mod responder;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use instant_acme::{Account, AccountCredentials, NewAccount};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::Deserialize;
use tokio::runtime::Builder;
use zeroize::Zeroizing;

use crate::smtp::address::Address;

use courier::Courier;
pub use fault::AcmeError;

/// The longest that an order takes, all its proofs and waits included.
const ORDER_WITHIN: Duration = Duration::from_secs(10 * 60);

/// An authority that signs certificates by ACME.
pub struct Authority {
    directory: String,
    courier: Courier,
}

/// What is ordered.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The DNS names that it is for; at least one, and no wildcard: HTTP-01 proves none.
    pub names: &'a [String],
    /// The key that it is for, PEM (PKCS #8).
    pub key: &'a str,
    /// Where proofs are answered while the order runs. The authority connects to port 80 of each name.
    pub listen: SocketAddr,
}

/// The part of a directory that instant-acme does not tell (RFC 8555, section 7.1.1).
#[derive(Debug, Default, Deserialize)]
struct Directory {
    #[serde(default)]
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    terms_of_service: Option<String>,
}

/// The part of an account's record that says whose it is.
#[derive(Deserialize)]
struct Whose {
    directory: Option<String>,
}

impl Authority {
    /// Returns the authority whose directory is at this address, which is one of `https://`. Its server is verified
    /// by the authorities of a file, or by the public ones.
    ///
    /// # Errors
    ///
    /// [`AcmeError::Setup`] if the file cannot be read.
    pub fn new(directory: &str, ca_file: Option<&Path>) -> Result<Self, AcmeError> {
        let courier = Courier::new(ca_file).map_err(AcmeError::Setup)?;
        Ok(Self { directory: directory.to_owned(), courier })
    }

    /// Returns where its terms stand; none: it has none.
    ///
    /// # Errors
    ///
    /// If it cannot be asked, or is no directory of ACME.
    pub fn terms(&self) -> Result<Option<String>, AcmeError> {
        let octets = self.courier.get(&self.directory).map_err(|problem| AcmeError::Unreached {
            directory: self.directory.clone(),
            problem,
        })?;
        let directory: Directory = serde_json::from_slice(&octets)
            .map_err(|_| AcmeError::NoDirectory { directory: self.directory.clone() })?;
        let terms = directory.meta.terms_of_service;
        Ok(terms.map(|terms| fault::plain(&terms)))
    }

    /// Makes an account with a new key, and returns both as the text that [`Authority::order`] takes. Calling this
    /// agrees to the authority's terms.
    ///
    /// # Errors
    ///
    /// If the authority cannot be asked, or refuses.
    pub fn register(&self, contact: Option<&Address>) -> Result<Zeroizing<String>, AcmeError> {
        let contact = contact.map(|contact| format!("mailto:{contact}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let account = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        run(async {
            let builder = Account::builder_with_http(Box::new(self.courier.clone()));
            let made = builder.create(&account, self.directory.clone(), None).await;
            let (_, credentials) = made.map_err(|error| self.fault(error))?;
            let text = serde_json::to_string_pretty(&credentials);
            Ok(Zeroizing::new(text.expect("an account is made of strings")))
        })
    }

    /// Orders a certificate and returns it with its chain, PEM. For the time of the order it listens where proofs are
    /// asked for, at most ten minutes.
    ///
    /// # Errors
    ///
    /// With what went wrong and what to do about it.
    pub fn order(&self, account: &str, wanted: Wanted<'_>) -> Result<String, AcmeError> {
        let whose: Whose = serde_json::from_str(account).map_err(|_| AcmeError::NoAccount)?;
        if whose.directory.as_ref() != Some(&self.directory) {
            let theirs = whose.directory.unwrap_or_else(|| "another directory".to_owned());
            return Err(AcmeError::Account { theirs, ours: self.directory.clone() });
        }
        let credentials: AccountCredentials =
            serde_json::from_str(account).map_err(|_| AcmeError::NoAccount)?;
        let request = request(wanted)?;
        run(async {
            let builder = Account::builder_with_http(Box::new(self.courier.clone()));
            let account = builder.from_credentials(credentials).await;
            let account = account.map_err(|error| self.fault(error))?;
            let ordered = order::order(self, &account, wanted, &request);
            let within = tokio::time::timeout(ORDER_WITHIN, ordered).await;
            within.unwrap_or_else(|_| Err(AcmeError::late()))
        })
    }

    /// Says what went wrong, with what the authority said about trying again.
    fn fault(&self, error: instant_acme::Error) -> AcmeError {
        AcmeError::of(&self.directory, error, self.courier.later())
    }
}

/// Runs to its end what has waits in it, on this thread; requests block on others.
fn run<T>(work: impl Future<Output = Result<T, AcmeError>>) -> Result<T, AcmeError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| AcmeError::Setup(format!("no runtime can be made: {error}")))?;
    runtime.block_on(work)
}

/// Returns the request for a certificate (RFC 2986), DER.
fn request(wanted: Wanted<'_>) -> Result<Vec<u8>, AcmeError> {
    let unfit = |error: rcgen::Error| AcmeError::Key(error.to_string());
    let key = KeyPair::from_pem(wanted.key).map_err(unfit)?;
    let mut params = CertificateParams::new(wanted.names.to_vec()).map_err(unfit)?;
    // The names stand in the alternative names; a subject of ours would be left out.
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(unfit)?;
    Ok(request.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_of_another_authority_is_named_and_nothing_is_ordered_by_it() {
        let authority = Authority::new("https://127.0.0.1:9/directory", None).unwrap();
        let key = KeyPair::generate().unwrap().serialize_pem();
        let names = ["relay.example.net".to_owned()];
        let wanted = Wanted { names: &names, key: &key, listen: "127.0.0.1:0".parse().unwrap() };
        let theirs = r#"{"id":"x","key_pkcs8":"","directory":"https://other.example/dir"}"#;
        let said = authority.order(theirs, wanted).unwrap_err().to_string();
        assert!(said.contains("https://other.example/dir"), "{said}");
        let said = authority.order("nonsense", wanted).unwrap_err().to_string();
        assert!(said.contains("is no account"), "{said}");
    }

    #[test]
    fn an_authority_that_does_not_answer_is_named() {
        let authority = Authority::new("https://127.0.0.1:9/directory", None).unwrap();
        for said in [
            authority.terms().map(drop).unwrap_err().to_string(),
            authority.register(None).map(drop).unwrap_err().to_string(),
        ] {
            assert!(said.contains("https://127.0.0.1:9/directory cannot be asked: "), "{said}");
        }
    }

    #[test]
    fn a_request_needs_a_key_that_is_one() {
        let names = ["relay.example.net".to_owned()];
        let listen = "127.0.0.1:0".parse().unwrap();
        let key = KeyPair::generate().unwrap().serialize_pem();
        assert!(request(Wanted { names: &names, key: &key, listen }).is_ok());
        let said = request(Wanted { names: &names, key: "x", listen }).unwrap_err().to_string();
        assert!(said.contains("--new-key"), "{said}");
    }
}
