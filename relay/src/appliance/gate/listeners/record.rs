//! What is written down of the sockets: by it an earlier gate's are known again.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::socket::this_network;
use crate::gate::record::this_boot;

/// What the record in the state folder says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub boot: String,
    pub sockets: Vec<Noted>,
}

/// A socket as the record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub address: SocketAddr,
    pub cookie: u64,
    /// The number of the network namespace in which it was made. It is not given to another while there is a socket
    /// of that one.
    pub network: Option<u64>,
    /// The number of the table in which its door finds the judge; 0 for a socket without a door.
    pub door: u32,
}

/// Returns what an earlier gate noted. A cookie of another boot means nothing; a socket of another network namespace
/// serves nobody here, or whoever has it reaches that one by it.
pub(super) fn known(record: &Path) -> Vec<Noted> {
    let read = fs::read(record).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    let this = read.filter(|record| record.boot == this_boot());
    let mut sockets = this.map(|record| record.sockets).unwrap_or_default();
    let network = this_network();
    sockets.retain(|noted| network.is_some() && noted.network == network);
    sockets
}
