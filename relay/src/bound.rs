//! Sockets of TCP with an address of ours, and which addresses exclude one another.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Makes a socket with an address, which does not listen yet.
///
/// # Errors
///
/// What the operating system says: `EADDRINUSE` if somebody has the address, `EADDRNOTAVAIL` if no interface has it,
/// `EACCES` for a port that takes root.
pub fn bound(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of an earlier socket that have not timed out yet must not hold the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 clients too, whatever net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Tells whether nobody can listen on one of the addresses while somebody listens on the other, as [`bound`] makes
/// sockets: `[::]` takes IPv4, too.
#[must_use]
pub fn is_in_the_way(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(wide) if wide.is_unspecified() => true,
        IpAddr::V4(wide) if wide.is_unspecified() => narrow.is_ipv4(),
        IpAddr::V4(_) | IpAddr::V6(_) => wide == narrow,
    };
    one.port() == other.port() && (covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
}
