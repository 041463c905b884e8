//! The status page in a browser.

use std::net::SocketAddr;

/// `[page]`: the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it is served: in the clear on loopback, elsewhere under TLS with the certificate of `[tls]`.
    pub address: SocketAddr,
    /// The logins that may look, at most 64; none: everybody who reaches the address, which is of loopback
    /// then.
    pub viewers: Vec<String>,
    /// Names by which browsers may call the page, besides `localhost`, the hostname and addresses; at most 64.
    pub names: Vec<String>,
}

impl Page {
    /// Tells whether it is served under TLS.
    #[must_use]
    pub const fn is_secured(&self) -> bool {
        !self.address.ip().to_canonical().is_loopback()
    }
}
