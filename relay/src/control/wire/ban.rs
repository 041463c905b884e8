//! A ban, as the gate's process lists it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The network.
    pub cidr: IpNetwork,
    /// When it ends.
    pub until: Timestamp,
    /// The remark.
    pub note: Option<String>,
    /// Who asked for it.
    pub by_uid: u32,
    /// How often the network was banned before, within the last week of each time.
    pub repeats: u32,
}

impl Ban {
    /// Returns the networks of those bans that hold a client.
    #[must_use]
    pub fn holding(bans: &[Self], client: IpAddr) -> Vec<IpNetwork> {
        bans.iter().map(|ban| ban.cidr).filter(|network| network.contains(client)).collect()
    }
}
