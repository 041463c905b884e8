//! What an attempt wants done.

use super::carriage::Conversion;
use super::login::{Derivation, Secret};
use super::ruling::Judged;

/// What the driver is to do next, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these octets.
    Send(Vec<u8>),
    /// Send these octets, which must not stay in memory.
    SendSecret(Secret),
    /// Run this where it holds nobody up, then call `derived`.
    Derive(Derivation),
    /// Do the TLS handshake, then call `arm` and `secured`, or `lost` if it fails.
    Secure,
    /// A message can begin: call `begin` when there is one.
    Ready,
    /// Wait until so many octets of memory may be used for the message, up to its settlement, then call
    /// `roomy`, or `crowded` if that takes too long.
    MakeRoom(u64),
    /// Once all is sent: call `body` with the next piece, or `body_end`.
    ReadBody,
    /// Once all is sent: call `go_on`. The rest of the body is in the attempt's own memory.
    GoOn,
    /// Run this where it holds nobody up, then call `converted`.
    Convert(Conversion),
    /// The transaction is over; these are the rulings, one for each recipient.
    Settle(Vec<Judged>),
    /// Close the connection.
    Close(End),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Finished,
    /// This host could not be used, or no longer: another one may.
    Unfit(String),
    /// As `Unfit`, and somebody should look: the next hop took our login and did not prove that it
    /// knows our password.
    Unproved(String),
    /// Something of ours is in the way, at every host: a secret or a certificate that cannot be read,
    /// an issuer that gives no token. It says nothing about this host.
    Ours(String),
    /// The next hop refused our login. Another try with the same password helps nobody and may
    /// lock the account.
    LoginRefused(String),
}
