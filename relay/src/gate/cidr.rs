//! Between the networks that people write and those that the kernel looks up.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use relay_common::addr::Net;

/// Returns a network as people write it.
#[must_use]
pub fn network(net: Net) -> IpNetwork {
    IpNetwork::new(IpAddr::from(net.addr()), net.prefix())
        .expect("invariant: a Net's prefix is no longer than its address")
}

/// Returns the network as lists show it: a single address without its prefix.
#[must_use]
pub fn written(net: Net) -> String {
    if net.is_host() { IpAddr::from(net.addr()).to_string() } else { network(net).to_string() }
}

/// Returns `net` and every network around it, the narrowest first: at most 129.
pub fn ancestry(net: Net) -> impl Iterator<Item = Net> {
    std::iter::successors(Some(net), Net::parent)
}
