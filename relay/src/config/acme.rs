//! `[tls.acme]`: where the certificate comes from, and is renewed from.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::smtp::address::Address;

/// The directory that is asked where no other is named: that of Let's Encrypt.
pub const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The most names of a certificate.
pub const NAMES_MAX: usize = 100;

/// `[tls.acme]`: an authority that signs by ACME (RFC 8555). The relay itself never asks it: `sallyport tls obtain` and
/// `tls renew` do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The address of its directory; it begins with `https://`.
    pub directory: String,
    /// PEM file: who signed for the directory's own server; none: the public authorities.
    pub ca_file: Option<PathBuf>,
    /// The DNS names of the certificate, at most [`NAMES_MAX`]; none: the hostname.
    pub names: Vec<String>,
    /// Where the authority writes to the operators.
    pub contact: Option<Address>,
    /// Where proofs are answered while an order runs. The authority connects to port 80 of each name.
    pub address: SocketAddr,
    /// The file of the account and its key.
    pub account: PathBuf,
}

impl Acme {
    /// Returns the names that a certificate is ordered for, in lower case as some authorities want them.
    #[must_use]
    pub fn names(&self, hostname: &str) -> Vec<String> {
        let hostname = [hostname.to_owned()];
        let names = if self.names.is_empty() { &hostname[..] } else { &self.names };
        names.iter().map(|name| name.to_ascii_lowercase()).collect()
    }
}
