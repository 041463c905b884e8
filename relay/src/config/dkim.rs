//! Who signs the mail of which domain.

use std::path::PathBuf;

/// `[[dkim]]`: a key that signs the mail of a domain (RFC 6376).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dkim {
    /// Mail is signed whose authors are in this domain or below it; lower case. Of more than one
    /// such domain the longest signs, with all its keys.
    pub domain: String,
    /// The name of the public key in the domain: `selector._domainkey.domain`.
    pub selector: String,
    /// PEM: the private key, RSA of 2048 bits or more, or Ed25519.
    pub key_file: PathBuf,
}
